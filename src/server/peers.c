#include "server/peers.h"

#include <inttypes.h>

#include "base/buf.h"
#include "base/check.h"
#include "upstream/state.h"

struct page {
  struct wr_prom *out;  /* borrowed: the caller's */
  wr_prom_sink_fn sink; /* as above; for JSON */
  void *ctx;            /* borrowed: the sink's */
  uint64_t now_ms;
  enum wr_metric metric;
  size_t offset; /* of the counter that is printed */
  bool named; /* counters of names, not of their addresses */
  bool more;
};

/* How many of them there are. */
static size_t labels_of(const struct wr_peer_state *s, struct wr_prom_label labels[3]) {
  labels[0] = (struct wr_prom_label){ "upstream", wr_span_str(s->upstream) };
  labels[1] = (struct wr_prom_label){ "url", wr_span_str(s->url) };
  labels[2] = (struct wr_prom_label){ "address", wr_span_str(s->address) };
  return s->address[0] ? 3 : 2;
}

static uint64_t counter(const _Atomic uint64_t *at) {
  return atomic_load_explicit(at, memory_order_relaxed);
}

/* Requests may get there, or run there still. */
static bool is_shown(const struct wr_peer_state *s) {
  return atomic_load_explicit(&s->live, memory_order_relaxed) ||
         atomic_load_explicit(&s->streams, memory_order_relaxed);
}

static void print_counter(void *ctx, const struct wr_peer_state *s) {
  const struct page *p = ctx;
  struct wr_prom_label labels[3];
  size_t n = labels_of(s, labels);
  if (p->named ? s->address[0] || !s->url[0] : !is_shown(s)) return;
  const void *at = (const char *)s + p->offset;
  wr_prom_u64(p->out, labels, n, counter(at));
}

static void print_gauge(void *ctx, const struct wr_peer_state *s) {
  const struct page *p = ctx;
  struct wr_prom_label labels[3];
  size_t n = labels_of(s, labels);
  if (p->metric != WR_METRIC_UPSTREAM_LIMIT && !is_shown(s)) return;
  switch (p->metric) {
    case WR_METRIC_PEER_STATE:
      wr_prom_u64(p->out, labels, n, wr_peer_state_standing(s, p->now_ms));
      break;
    case WR_METRIC_PEER_STREAMS:
      wr_prom_u64(p->out, labels, n, atomic_load_explicit(&s->streams, memory_order_relaxed));
      break;
    case WR_METRIC_UPSTREAM_LIMIT: {
      uint32_t now = atomic_load_explicit(&s->limit_now, memory_order_relaxed);
      if (now) wr_prom_u64(p->out, labels, 1, now);
      break;
    }
    default:
      wr_prom_double(p->out, labels, n, wr_peer_state_first_token_us(s, p->now_ms) / 1e6);
      break;
  }
}

void wr_server_peers_print(struct wr_peer_book *book, uint64_t now_ms, struct wr_prom *out) {
  static const enum wr_metric gauges[] = { WR_METRIC_PEER_STATE, WR_METRIC_PEER_STREAMS,
                                           WR_METRIC_PEER_FIRST_TOKEN, WR_METRIC_UPSTREAM_LIMIT };
  static const struct {
    enum wr_metric metric;
    size_t offset;
  } counters[] = {
#define AT(metric, member) { WR_METRIC_PEER_##metric, offsetof(struct wr_peer_state, member) }
    AT(FAILURES, failures), AT(OPENS, opens), AT(EJECTIONS, ejections), AT(PROBES, probes),
    AT(PROBE_FAILURES, probe_failures), AT(NAME_FAILURES, name_failures),
    AT(NAME_CHANGES, name_changes),
#undef AT
  };
  struct page p = { .out = out, .now_ms = now_ms };
  for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++) {
    p.metric = gauges[i];
    wr_prom_family(out, p.metric);
    if (book) wr_peer_book_each(book, print_gauge, &p);
  }
  for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
    p.offset = counters[i].offset;
    p.named = p.offset >= offsetof(struct wr_peer_state, name_failures);
    wr_prom_family(out, counters[i].metric);
    if (book) wr_peer_book_each(book, print_counter, &p);
  }
}

static void put_row(void *ctx, const struct wr_peer_state *s) {
  struct page *p = ctx;
  char text[4096];
  struct wr_buf b;
  if (!is_shown(s)) return;
  wr_buf_init(&b, text, sizeof text);
  wr_buf_printf(&b, "%s{\"upstream\":", p->more ? "," : "");
  wr_buf_json_string(&b, wr_span_str(s->upstream));
  wr_buf_printf(&b, ",\"url\":");
  wr_buf_json_string(&b, wr_span_str(s->url));
  if (s->address[0]) {
    wr_buf_printf(&b, ",\"address\":");
    wr_buf_json_string(&b, wr_span_str(s->address));
  }
  uint64_t until = counter(&s->shut_until_ms);
  bool shut = until > p->now_ms && until != UINT64_MAX;
  wr_buf_printf(&b,
                ",\"state\":\"%s\",\"for_ms\":%" PRIu64 ",\"streams\":%u,\"first_token_ms\":%.3f,"
                "\"failures\":%" PRIu64 ",\"opens\":%" PRIu64 ",\"ejections\":%" PRIu64
                ",\"probes\":%" PRIu64 ",\"probe_failures\":%" PRIu64 "}",
                wr_standing_name(wr_peer_state_standing(s, p->now_ms)),
                shut ? until - p->now_ms : 0,
                atomic_load_explicit(&s->streams, memory_order_relaxed),
                wr_peer_state_first_token_us(s, p->now_ms) / 1e3, counter(&s->failures),
                counter(&s->opens), counter(&s->ejections), counter(&s->probes),
                counter(&s->probe_failures));
  if (b.overflow) return; /* a name beyond measure */
  p->sink(p->ctx, wr_buf_span(&b));
  p->more = true;
}

void wr_server_peers_json(struct wr_peer_book *book, uint64_t now_ms, wr_prom_sink_fn sink,
                          void *ctx) {
  struct page p = { .sink = sink, .ctx = ctx, .now_ms = now_ms };
  sink(ctx, WR_SPAN("["));
  if (book) wr_peer_book_each(book, put_row, &p);
  sink(ctx, WR_SPAN("]\n"));
}

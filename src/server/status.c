#include "server/status.h"

#include <inttypes.h>

#include "base/check.h"
#include "policy/engine.h"

/* More than these are only counted. */
#define MOST_NAMES 8u

static uint64_t load(const _Atomic uint64_t *counter) {
  return atomic_load_explicit(counter, memory_order_relaxed);
}

static void put_aside(const struct wr_engine *engine, struct wr_buf *out) {
  const char *name;
  size_t n = 0;
  wr_buf_put(out, WR_SPAN(",\"aside\":["));
  for (; (name = wr_engine_aside(engine, n)) != NULL; n++) {
    if (n >= MOST_NAMES) continue;
    if (n > 0) wr_buf_char(out, ',');
    struct wr_span text = wr_span_str(name);
    wr_buf_json_string(out, text.len > 96 ? wr_span_sub(text, 0, 96) : text);
  }
  wr_buf_printf(out, "],\"aside_count\":%zu", n);
}

void wr_status_worker(struct wr_worker *w, struct wr_buf *out) {
  const struct wr_relay_stats *st = wr_worker_relay_stats(w);
  struct wr_worker_policy p;
  wr_worker_policy(w, &p);
  wr_buf_printf(out,
                "{\"worker\":%u,\"connections\":%" PRIu64 ",\"requests\":%" PRIu64
                ",\"generations\":%u,\"retired\":%u,\"lua_bytes\":%zu,\"lua_limit_bytes\":%zu",
                wr_worker_index(w), load(&st->open), load(&st->active), p.generations, p.retired,
                p.lua_bytes, p.lua_limit_bytes);
  if (p.engine) put_aside(p.engine, out);
  wr_buf_char(out, '}');
}

struct flags {
  wr_prom_sink_fn sink;
  void *ctx; /* borrowed: the sink's */
  bool more;
};

static void put_flag(void *ctx, const struct wr_tally_info *info) {
  struct flags *f = ctx;
  char text[512];
  struct wr_buf b;
  if (info->kind != WR_TALLY_FLAG || !info->declared) return;
  wr_buf_init(&b, text, sizeof text);
  if (f->more) wr_buf_char(&b, ',');
  f->more = true;
  wr_buf_put(&b, WR_SPAN("{\"name\":"));
  wr_buf_json_string(&b, wr_span_str(info->name));
  wr_buf_printf(&b, ",\"on\":%s}", info->on ? "true" : "false");
  f->sink(f->ctx, wr_buf_span(&b));
}

void wr_status_flags(struct wr_tallies *tallies, wr_prom_sink_fn sink, void *sink_ctx) {
  struct flags f = { sink, sink_ctx, false };
  sink(sink_ctx, WR_SPAN("["));
  wr_tallies_each(tallies, put_flag, &f);
  sink(sink_ctx, WR_SPAN("]\n"));
}

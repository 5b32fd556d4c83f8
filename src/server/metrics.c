#include "server/metrics.h"

#include "base/check.h"
#include "base/heap.h"
#include "server/peers.h"
#include "server/strain.h"

#define MAX_SHARDS 256

/* Loop counters are plain integers that their owner writes without a lock, as its hot path wants
 * it. An aligned word is read whole on every machine that weir runs on; which of two values a
 * reader meets doesn't matter here. */
__attribute__((no_sanitize("thread"))) static uint64_t peek(const uint64_t *counter) {
  return *(const volatile uint64_t *)counter;
}

static uint64_t load(const _Atomic uint64_t *counter) {
  return atomic_load_explicit(counter, memory_order_relaxed);
}

struct shards {
  const struct wr_server_shard *list; /* borrowed: the caller's */
  size_t n;
};

/* Where a counter stands in its struct. */
static void print_relay(const struct shards *shards, enum wr_metric metric, size_t offset,
                        struct wr_prom *out) {
  uint64_t sum = 0;
  for (size_t i = 0; i < shards->n; i++) {
    const struct wr_relay_stats *stats = shards->list[i].relay;
    if (stats)
      sum += load((const _Atomic uint64_t *)(const void *)((const char *)stats + offset));
  }
  wr_prom_scalar(out, metric, sum);
}

static void print_loop(const struct shards *shards, enum wr_metric metric, size_t offset,
                       struct wr_prom *out) {
  wr_prom_family(out, metric);
  for (size_t i = 0; i < shards->n; i++) {
    const struct wr_loop_stats *stats = shards->list[i].loop;
    if (!stats) continue;
    char name[16];
    struct wr_buf text;
    wr_buf_init(&text, name, sizeof name);
    wr_buf_u64(&text, shards->list[i].worker);
    struct wr_prom_label label = { "worker", wr_buf_span(&text) };
    wr_prom_u64(out, &label, 1,
                peek((const uint64_t *)(const void *)((const char *)stats + offset)));
  }
}

static void print_retries(const struct shards *shards, struct wr_prom *out) {
  wr_prom_family(out, WR_METRIC_RETRIES);
  for (unsigned why = 1; why < WR_RETRY_WHYS; why++) {
    uint64_t sum = 0;
    for (size_t i = 0; i < shards->n; i++)
      if (shards->list[i].relay) sum += load(&shards->list[i].relay->retries[why]);
    wr_prom_one(out, "why", wr_retry_why_name(why), sum);
  }
}

static void print_queue(const struct shards *shards, struct wr_prom *out) {
  static const char *const ends[WR_QUEUE_ENDS] = {
    [WR_QUEUE_SERVED] = "served",   [WR_QUEUE_FULL] = "full", [WR_QUEUE_PUSHED] = "pushed_out",
    [WR_QUEUE_TIMEOUT] = "timeout", [WR_QUEUE_LEFT] = "left",
  };
  wr_prom_family(out, WR_METRIC_QUEUE_ENDS);
  for (size_t e = 0; e < WR_QUEUE_ENDS; e++) {
    uint64_t sum = 0;
    for (size_t i = 0; i < shards->n; i++)
      if (shards->list[i].relay) sum += load(&shards->list[i].relay->queue_ends[e]);
    wr_prom_one(out, "result", ends[e], sum);
  }
  uint64_t us = 0;
  for (size_t i = 0; i < shards->n; i++)
    if (shards->list[i].relay) us += load(&shards->list[i].relay->queue_us);
  wr_prom_family(out, WR_METRIC_QUEUE_SECONDS);
  wr_prom_double(out, NULL, 0, (double)us / 1e6);
}

static void print_hedges(const struct shards *shards, struct wr_prom *out) {
  static const char *const nots[WR_HEDGE_NOTS] = { "budget", "pressure", "body", "nobody" };
  wr_prom_family(out, WR_METRIC_HEDGES);
  for (unsigned e = 0; e < WR_HEDGE_ENDS; e++) {
    uint64_t sum = 0;
    for (size_t i = 0; i < shards->n; i++)
      if (shards->list[i].relay) sum += load(&shards->list[i].relay->hedge_ends[e]);
    wr_prom_one(out, "result", wr_hedge_end_name(e), sum);
  }
  wr_prom_family(out, WR_METRIC_HEDGES_NOT);
  for (unsigned e = 0; e < WR_HEDGE_NOTS; e++) {
    uint64_t sum = 0;
    for (size_t i = 0; i < shards->n; i++)
      if (shards->list[i].relay) sum += load(&shards->list[i].relay->hedge_nots[e]);
    wr_prom_one(out, "why", nots[e], sum);
  }
}

static void print_continued(const struct shards *shards, struct wr_prom *out) {
  static const char *const ends[WR_CONTINUE_ENDS] = { "joined", "failed", "refused" };
  wr_prom_family(out, WR_METRIC_CONTINUED);
  for (unsigned e = 0; e < WR_CONTINUE_ENDS; e++) {
    uint64_t sum = 0;
    for (size_t i = 0; i < shards->n; i++)
      if (shards->list[i].relay) sum += load(&shards->list[i].relay->continued[e]);
    wr_prom_one(out, "result", ends[e], sum);
  }
}

static void print_relays(const struct shards *shards, struct wr_prom *out) {
  static const struct {
    enum wr_metric metric;
    size_t offset;
  } counters[] = {
#define AT(metric, member) { WR_METRIC_##metric, offsetof(struct wr_relay_stats, member) }
    AT(CONNECTIONS, connections), AT(CONNECTIONS_OPEN, open), AT(REQUESTS_STARTED, requests),
    AT(REQUESTS_ACTIVE, active), AT(REFUSED, refused), AT(FALLBACKS, fallbacks),
    AT(RETRY_BUDGET, retry_budget_exhausted), AT(RETRY_BODY, retry_body_gone), AT(EVENTS, events),
    AT(EVENT_BYTES, event_bytes), AT(EVENTS_DROPPED, dropped_events), AT(HEARTBEATS, heartbeats),
    AT(PAUSES, pauses), AT(COALESCED, coalesced_events), AT(SLOW_DROPPED, slow_dropped_events),
    AT(QUEUE_WAITING, queue_waiting), AT(HEDGE_BYTES, hedge_bytes), AT(HEDGE_TOKENS, hedge_tokens),
#undef AT
  };
  for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
    print_relay(shards, counters[i].metric, counters[i].offset, out);
  print_retries(shards, out);
  print_queue(shards, out);
  print_hedges(shards, out);
  print_continued(shards, out);
}

static void print_slow(const struct shards *shards, struct wr_prom *out) {
  static const char *const actions[WR_SLOW_DIDS] = {
    [WR_SLOW_DID_PAUSE] = "pause_upstream", [WR_SLOW_DID_COALESCE] = "coalesce",
    [WR_SLOW_DID_WAIT] = "wait",            [WR_SLOW_DID_STOP] = "stop",
    [WR_SLOW_DID_GIVE_UP] = "give_up",
  };
  wr_prom_family(out, WR_METRIC_SLOW_ACTIONS);
  for (size_t a = 0; a < WR_SLOW_DIDS; a++) {
    uint64_t sum = 0;
    for (size_t i = 0; i < shards->n; i++)
      if (shards->list[i].relay) sum += load(&shards->list[i].relay->slow_did[a]);
    wr_prom_one(out, "action", actions[a], sum);
  }
}

static void print_limits(const struct shards *shards, const struct wr_relay_shared *shared,
                         struct wr_prom *out) {
  wr_prom_family(out, WR_METRIC_LIMIT_REFUSALS);
  for (size_t l = 0; l < WR_QUOTAS; l++) {
    uint64_t sum = 0;
    for (size_t i = 0; i < shards->n; i++)
      if (shards->list[i].relay) sum += load(&shards->list[i].relay->limited[l]);
    wr_prom_one(out, "limit", wr_quota_name((enum wr_quota)l), sum);
  }
  const struct wr_quotas *table =
      shared ? atomic_load_explicit(&shared->quotas, memory_order_acquire) : NULL;
  wr_prom_scalar(out, WR_METRIC_LIMIT_EVICTIONS, table ? wr_quotas_evicted(table) : 0);
}

static void print_loops(const struct shards *shards, struct wr_prom *out) {
  static const struct {
    enum wr_metric metric;
    size_t offset;
  } counters[] = {
#define AT(metric, member) { WR_METRIC_LOOP_##metric, offsetof(struct wr_loop_stats, member) }
    AT(TURNS, turns), AT(READS, reads), AT(READ_BYTES, read_bytes), AT(WRITES, writes),
    AT(WRITE_BYTES, write_bytes), AT(AGAIN, again), AT(ACCEPTED, accepted), AT(DIALED, dialed),
    AT(CLOSED, closed), AT(ACCEPT_ERRORS, accept_errors),
#undef AT
  };
  for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
    print_loop(shards, counters[i].metric, counters[i].offset, out);
}

static void print_copies(const struct shards *shards, struct wr_prom *out) {
  static const char *const reasons[WR_COPIES] = {
    [WR_COPY_STRADDLE] = "straddle", [WR_COPY_COMPACT] = "compact", [WR_COPY_TLS] = "tls",
    [WR_COPY_EDIT] = "edit",         [WR_COPY_FLATTEN] = "flatten",
    [WR_COPY_COALESCE] = "coalesce",
  };
  wr_prom_family(out, WR_METRIC_COPIED);
  for (size_t r = 0; r < WR_COPIES; r++) {
    uint64_t sum = 0;
    for (size_t i = 0; i < shards->n; i++)
      if (shards->list[i].loop) sum += peek(&shards->list[i].loop->copy_bytes[r]);
    wr_prom_one(out, "why", reasons[r], sum);
  }
}

static void print_pool(const struct wr_ledger *ledger, struct wr_prom *out) {
  wr_prom_scalar(out, WR_METRIC_POOL_SIZE, wr_ledger_pool_bytes(ledger));
  wr_prom_scalar(out, WR_METRIC_POOL_PEAK, wr_ledger_peak_bytes(ledger));
  wr_prom_scalar(out, WR_METRIC_POOL_LEVEL, wr_ledger_level(ledger));
  wr_prom_family(out, WR_METRIC_POOL_BYTES);
  for (unsigned c = 0; c < WR_CHARGES; c++)
    wr_prom_one(out, "class", wr_charge_name((enum wr_charge)c),
                wr_ledger_bytes(ledger, (enum wr_charge)c));
  wr_prom_family(out, WR_METRIC_POOL_REFUSALS);
  for (unsigned c = 0; c < WR_CHARGES; c++)
    wr_prom_one(out, "class", wr_charge_name((enum wr_charge)c),
                wr_ledger_refusals(ledger, (enum wr_charge)c));
}

static void print_heap(struct wr_prom *out) {
  wr_prom_scalar(out, WR_METRIC_HEAP_CALLS, wr_heap_calls());
  wr_prom_family(out, WR_METRIC_HEAP_BYTES);
  for (unsigned t = 0; t < WR_HEAP_TAGS; t++)
    wr_prom_one(out, "tag", wr_heap_tag_name((enum wr_heap_tag)t),
                wr_heap_live_bytes((enum wr_heap_tag)t));
  wr_prom_family(out, WR_METRIC_HEAP_LIVE);
  for (unsigned t = 0; t < WR_HEAP_TAGS; t++)
    wr_prom_one(out, "tag", wr_heap_tag_name((enum wr_heap_tag)t),
                wr_heap_live_count((enum wr_heap_tag)t));
}

struct states {
  struct wr_prom *out; /* borrowed: the caller's */
  enum wr_metric metric;
};

static void print_state(void *ctx, const struct wr_tally_info *info) {
  const struct states *s = ctx;
  if (!info->declared || (info->kind == WR_TALLY_FLAG) != (s->metric == WR_METRIC_FLAG)) return;
  const struct wr_prom_label labels[] = {
    { "type", wr_span_str(wr_tally_kind_name(info->kind)) }, { "name", wr_span_str(info->name) } };
  if (s->metric == WR_METRIC_FLAG) {
    wr_prom_u64(s->out, labels + 1, 1, info->on);
  } else {
    wr_prom_u64(s->out, labels, 2,
                s->metric == WR_METRIC_STATE_KEYS ? info->used : info->evictions);
  }
}

static void print_states(struct wr_tallies *tallies, struct wr_prom *out) {
  static const enum wr_metric metrics[] = { WR_METRIC_STATE_KEYS, WR_METRIC_STATE_EVICTIONS,
                                            WR_METRIC_FLAG };
  for (size_t i = 0; i < 3; i++) {
    struct states s = { out, metrics[i] };
    wr_prom_family(out, metrics[i]);
    if (tallies) wr_tallies_each(tallies, print_state, &s);
  }
}

static void print_generations(const struct wr_server_gauges *gauges, struct wr_prom *out) {
  wr_prom_scalar(out, WR_METRIC_CONFIG_GENERATION, gauges->generation);
  wr_prom_scalar(out, WR_METRIC_GENERATIONS_LIVE, gauges->generations_live);
  wr_prom_family(out, WR_METRIC_RELOADS);
  for (unsigned i = 0; i < WR_RELOAD_RESULTS; i++)
    wr_prom_one(out, "result", wr_reload_result_name((enum wr_reload_result)i), gauges->reloads[i]);
}

static void print_pressure(const struct shards *shards, const struct wr_relay_shared *shared,
                           struct wr_prom *out) {
  struct wr_strain_worker workers[MAX_SHARDS];
  size_t n = 0;
  for (size_t i = 0; i < shards->n; i++)
    if (shards->list[i].relay)
      workers[n++] = (struct wr_strain_worker){ shards->list[i].relay, shards->list[i].worker };
  wr_strain_metrics(shared, workers, n, out);
}

void wr_server_metrics_print(const struct wr_server_shard *list, size_t n,
                             const struct wr_server_gauges *gauges, struct wr_prom *out) {
  const struct shards shards = { list, n };
  struct wr_metrics *metrics[MAX_SHARDS];
  size_t count = 0;
  uint64_t dropped = 0;
  WR_CHECK(n <= MAX_SHARDS);
  for (size_t i = 0; i < n; i++) {
    if (list[i].metrics) metrics[count++] = list[i].metrics;
    if (list[i].logger) dropped += wr_logger_dropped(list[i].logger);
  }
  wr_prom_scalar(out, WR_METRIC_WORKERS, n);
  wr_prom_scalar(out, WR_METRIC_START_TIME, gauges->started_unix_s);
  wr_prom_scalar(out, WR_METRIC_DRAINING, gauges->draining ? 1 : 0);
  print_generations(gauges, out);
  print_relays(&shards, out);
  print_limits(&shards, gauges->shared, out);
  print_slow(&shards, out);
  wr_prom_scalar(out, WR_METRIC_SLOW_QUEUED,
                 gauges->shared ? load(&gauges->shared->slow_bytes) : 0);
  wr_server_peers_print(gauges->book, gauges->now_ms, out);
  wr_metrics_print(metrics, count, out);
  print_loops(&shards, out);
  print_copies(&shards, out);
  if (gauges->ledger) print_pool(gauges->ledger, out);
  if (gauges->shared) print_pressure(&shards, gauges->shared, out);
  print_heap(out);
  print_states(gauges->tallies, out);
  wr_prom_scalar(out, WR_METRIC_EXPECT_FAILURES, wr_expect_failures());
  wr_prom_scalar(out, WR_METRIC_LOG_DROPPED, dropped);
}

#include "server/panel.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "base/version.h"
#include "net/listen.h"
#include "server/admin.h"
#include "server/metrics.h"
#include "server/peers.h"
#include "server/reload.h"
#include "server/status.h"
#include "server/strain.h"

#define ROW_BYTES 2048u
#define MOST_ROWS 10000u

struct wr_panel {
  struct wr_panel_options o;
  struct wr_admin *admin;     /* owned */
  struct wr_listen *listen;   /* owned */
  uint64_t started_unix_s;
  uint32_t asks;              /* of streams, under way */
  struct wr_tracing tracing;
};

/* One question for /streams or /status: each worker adds its rows in turn and mails it on. */
struct ask {
  struct wr_letter letter;
  struct wr_panel *panel;     /* borrowed: waits for its asks */
  uint64_t token;
  uint32_t worker;            /* whose turn it is */
  struct wr_buf rows;
  char *room;                 /* owned */
  size_t count;
  void (*add)(struct ask *a, struct wr_worker *worker); /* on its thread */
  const char *end;            /* borrowed: static; what closes the rows */
};

static void ask_free(struct ask *a) {
  wr_heap_free(WR_HEAP_SERVER, a->room);
  wr_heap_free(WR_HEAP_SERVER, a);
}

static bool room_grow(struct ask *a) {
  size_t cap = a->rows.cap * 2;
  char *p = wr_heap_realloc(WR_HEAP_SERVER, a->room, cap);
  if (!p) return false;
  a->room = a->rows.ptr = p;
  a->rows.cap = cap;
  return true;
}

/* On a worker's thread. */
static bool begin_row(struct ask *a) {
  if (a->count >= MOST_ROWS || (wr_buf_room(&a->rows) < ROW_BYTES && !room_grow(a))) return false;
  if (a->count++) wr_buf_char(&a->rows, ',');
  return true;
}

static void put_row(void *ctx, const struct wr_relay_row *r) {
  struct ask *a = ctx;
  if (!begin_row(a)) return;
  struct wr_buf *b = &a->rows;
  wr_buf_printf(
      b, "{\"id\":\"%" PRIx64 "\",\"worker\":%u,\"step\":\"%s\",\"age_ms\":%" PRIu64 ",\"route\":",
      r->id, a->worker, r->step, r->age_ms);
  wr_buf_json_string(b, wr_span_str(r->route));
  wr_buf_printf(b, ",\"upstream\":");
  wr_buf_json_string(b, wr_span_str(r->upstream));
  wr_buf_printf(b, ",\"model\":");
  wr_buf_json_string(b, r->model);
  wr_buf_printf(b,
                ",\"status\":%u,\"events\":%" PRIu64 ",\"sent_bytes\":%" PRIu64
                ",\"queued_bytes\":%" PRIu64 ",\"committed\":%s,\"paused\":%s}",
                r->status, r->events, r->sent_bytes, r->queued_bytes,
                r->committed ? "true" : "false", r->paused ? "true" : "false");
}

static void ask_next(struct ask *a);

/* On the main thread: every worker has said its part. */
static void ask_done(struct wr_letter *letter) {
  struct ask *a = WR_CONTAINER(letter, struct ask, letter);
  struct wr_panel *panel = a->panel;
  WR_CHECK(panel->asks > 0);
  panel->asks--;
  wr_buf_put(&a->rows, wr_span_str(a->end));
  if (panel->admin) wr_admin_done(panel->admin, a->token, 200, wr_buf_span(&a->rows));
  ask_free(a);
}

static void ask_worker(struct wr_letter *letter) {
  struct ask *a = WR_CONTAINER(letter, struct ask, letter);
  a->add(a, a->panel->o.workers[a->worker]);
  a->worker++;
  ask_next(a);
}

static void ask_next(struct ask *a) {
  if (a->worker < a->panel->o.worker_count) {
    a->letter.run = ask_worker;
    wr_mailbox_post(wr_worker_mailbox(a->panel->o.workers[a->worker]), &a->letter);
  } else {
    a->letter.run = ask_done;
    wr_mailbox_post(a->panel->o.mailbox, &a->letter);
  }
}

static size_t strain_workers(const struct wr_panel *panel,
                             struct wr_strain_worker out[static WR_DEGRADE_WORKERS]) {
  size_t n = 0;
  for (; n < panel->o.worker_count && n < WR_DEGRADE_WORKERS; n++)
    out[n] = (struct wr_strain_worker){ wr_worker_relay_stats(panel->o.workers[n]), (uint32_t)n };
  return n;
}

static void op_pressure(void *ctx, wr_prom_sink_fn sink, void *sink_ctx) {
  struct wr_panel *panel = ctx;
  struct wr_strain_worker workers[WR_DEGRADE_WORKERS];
  wr_strain_json(panel->o.shared, workers, strain_workers(panel, workers), sink, sink_ctx);
}

/* NULL: there is no memory for it. */
static struct ask *ask_new(struct wr_panel *panel, uint64_t token) {
  struct ask *a = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *a);
  char *room = a ? wr_heap_alloc(WR_HEAP_SERVER, ROW_BYTES * 4) : NULL;
  if (!room) {
    wr_heap_free(WR_HEAP_SERVER, a);
    return NULL;
  }
  a->panel = panel;
  a->token = token;
  a->room = room;
  wr_buf_init(&a->rows, room, ROW_BYTES * 4);
  panel->asks++;
  return a;
}

static void add_streams(struct ask *a, struct wr_worker *worker) {
  struct wr_relay *relay = wr_worker_relay(worker);
  if (relay) wr_relay_each(relay, put_row, a);
}

static void op_streams(void *ctx, struct wr_admin *admin, uint64_t token) {
  struct ask *a = ask_new(ctx, token);
  if (!a) {
    wr_admin_done(admin, token, 200, WR_SPAN("[]\n"));
    return;
  }
  a->add = add_streams;
  a->end = "]\n";
  wr_buf_char(&a->rows, '[');
  ask_next(a);
}

static void add_status(struct ask *a, struct wr_worker *worker) {
  if (begin_row(a)) wr_status_worker(worker, &a->rows);
}

static void op_status(void *ctx, struct wr_admin *admin, uint64_t token) {
  struct wr_panel *panel = ctx;
  const struct wr_rollout *r = panel->o.rollout;
  struct ask *a = ask_new(panel, token);
  if (!a) {
    wr_admin_done(admin, token, 503, WR_SPAN("{\"error\":{\"code\":\"no_memory\"}}\n"));
    return;
  }
  a->add = add_status;
  a->end = "]}\n";
  wr_buf_put(&a->rows, WR_SPAN("{\"version\":"));
  wr_buf_json_string(&a->rows, wr_span_str(WR_VERSION));
  wr_buf_printf(&a->rows,
                ",\"started\":%" PRIu64 ",\"now\":%" PRIu64 ",\"draining\":%s,\"memory_level\":%u"
                ",\"generation\":%" PRIu64 ",\"generations_live\":%u,\"workers\":[",
                panel->started_unix_s, (uint64_t)time(NULL),
                atomic_load(&panel->o.shared->draining) ? "true" : "false",
                wr_ledger_level(panel->o.ledger), r && r->current ? r->current->number : 0,
                r ? r->plans.live : 0);
  ask_next(a);
}

static void op_flags(void *ctx, wr_prom_sink_fn sink, void *sink_ctx) {
  wr_status_flags(((struct wr_panel *)ctx)->o.tallies, sink, sink_ctx);
}

static bool op_flag(void *ctx, struct wr_span name, bool on) {
  return wr_tallies_switch(((struct wr_panel *)ctx)->o.tallies, name, on);
}

/* Degraded is ready still, unless nobody is let in. */
static bool say_step(struct wr_panel *panel, struct wr_buf *why) {
  struct wr_strain_worker workers[WR_DEGRADE_WORKERS];
  size_t n = strain_workers(panel, workers);
  uint32_t step = wr_strain_step(workers, n);
  const char *cause = wr_strain_cause(panel->o.shared);
  bool shedding = n > 0; /* on every worker */
  for (size_t i = 0; i < n; i++)
    shedding = shedding && atomic_load_explicit(&workers[i].stats->shedding, memory_order_relaxed);
  if (step)
    wr_buf_printf(why, "%s: degraded, step %u, %s", shedding ? "not ready" : "ready", step,
                  cause ? cause : "loop_lag");
  return !shedding;
}

static bool op_ready(void *ctx, struct wr_buf *why) {
  struct wr_panel *panel = ctx;
  if (atomic_load(&panel->o.shared->draining)) {
    wr_buf_put(why, WR_SPAN("draining"));
    return false;
  }
  if (!say_step(panel, why)) return false;
  if (wr_ledger_level(panel->o.ledger) < 3) return true;
  why->len = 0; /* the pool refuses, whatever the ladders say */
  wr_buf_put(why, WR_SPAN("memory"));
  return false;
}

static void op_metrics(void *ctx, struct wr_prom *out) {
  struct wr_panel *panel = ctx;
  size_t n = panel->o.worker_count;
  struct wr_server_shard *shards = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *shards + 1);
  if (!shards) return;
  for (uint32_t i = 0; i < n; i++) {
    const struct wr_worker *w = panel->o.workers[i];
    shards[i] = (struct wr_server_shard){ .metrics = wr_worker_metrics(w),
                                          .relay = wr_worker_relay_stats(w),
                                          .loop = wr_worker_loop_stats(w),
                                          .logger = wr_worker_logger(w),
                                          .worker = i };
  }
  struct wr_server_gauges gauges = { .ledger = panel->o.ledger,
                                     .book = panel->o.book,
                                     .now_ms = wr_loop_now_ms(panel->o.loop),
                                     .shared = panel->o.shared,
                                     .tallies = panel->o.tallies,
                                     .started_unix_s = panel->started_unix_s,
                                     .draining = atomic_load(&panel->o.shared->draining) };
  if (panel->o.rollout && panel->o.rollout->current) {
    gauges.generation = panel->o.rollout->current->number;
    gauges.generations_live = panel->o.rollout->plans.live;
  }
  for (unsigned i = 0; panel->o.reloads && i < WR_RELOAD_RESULTS; i++)
    gauges.reloads[i] = wr_reload_count(panel->o.reloads, (enum wr_reload_result)i);
  wr_server_metrics_print(shards, n, &gauges, out);
  wr_heap_free(WR_HEAP_SERVER, shards);
}

static void op_upstreams(void *ctx, wr_prom_sink_fn sink, void *sink_ctx) {
  struct wr_panel *panel = ctx;
  wr_server_peers_json(panel->o.book, wr_loop_now_ms(panel->o.loop), sink, sink_ctx);
}

static enum wr_err op_drain(void *ctx, struct wr_buf *why) {
  (void)why;
  struct wr_panel *panel = ctx;
  panel->o.drain(panel->o.ctx);
  return WR_OK;
}

static void op_reload(void *ctx, struct wr_admin *admin, uint64_t token) {
  (void)admin;
  struct wr_panel *panel = ctx;
  panel->o.reload(panel->o.ctx, token);
}

static void traced(void *ctx, uint64_t token, unsigned status, struct wr_span json) {
  struct wr_panel *panel = ctx;
  if (panel->admin) wr_admin_done(panel->admin, token, status, json);
}

static void op_trace(void *ctx, struct wr_admin *admin, enum wr_tracing_what what,
                     uint64_t last_ms, uint64_t token) {
  struct wr_panel *panel = ctx;
  if (wr_tracing_ask(&panel->tracing, what, last_ms, token) != WR_OK)
    wr_admin_done(admin, token, 503, WR_SPAN("{\"error\":{\"code\":\"no_memory\"}}\n"));
}

void wr_panel_reloaded(struct wr_panel *panel, uint64_t token, unsigned status,
                       struct wr_span json) {
  if (panel->admin) wr_admin_done(panel->admin, token, status, json);
}

enum wr_err wr_panel_new(const struct wr_panel_options *options, struct wr_panel **out, char *why,
                         size_t why_bytes) {
  struct wr_panel *panel = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *panel);
  if (!panel) return WR_E_NOMEM;
  panel->o = *options;
  panel->started_unix_s = (uint64_t)time(NULL);
  panel->tracing = (struct wr_tracing){ .workers = options->workers,
                                        .worker_count = options->worker_count,
                                        .mailbox = options->mailbox,
                                        .done = traced,
                                        .ctx = panel };
  struct wr_admin_ops ops = { .ctx = panel,
                              .version = WR_VERSION,
                              .ready = op_ready,
                              .metrics = op_metrics,
                              .streams = op_streams,
                              .trace = op_trace,
                              .upstreams = op_upstreams,
                              .status = op_status,
                              .flags = op_flags,
                              .flag = op_flag,
                              .pressure = op_pressure,
                              .drain = options->drain ? op_drain : NULL,
                              .reload = options->reload ? op_reload : NULL };
  struct wr_addr addr;
  char detail[200] = "";
  enum wr_err err = wr_admin_new(options->loop, &ops, &panel->admin);
  if (err == WR_OK) err = wr_addr_parse(wr_span_str(options->address), &addr);
  if (err == WR_OK)
    err = wr_listen_open(options->loop, &addr, NULL, wr_admin_accept, panel->admin, &panel->listen,
                         detail, sizeof detail);
  if (err != WR_OK) {
    snprintf(why, why_bytes, "admin %s: %s", options->address,
             detail[0] ? detail : wr_err_text(err));
    wr_panel_free(panel);
    return err;
  }
  *out = panel;
  return WR_OK;
}

void wr_panel_close(struct wr_panel *panel) {
  if (!panel) return;
  if (panel->listen) wr_listen_close(panel->listen);
  if (panel->admin) wr_admin_free(panel->admin);
  panel->listen = NULL;
  panel->admin = NULL;
}

void wr_panel_free(struct wr_panel *panel) {
  if (!panel) return;
  wr_panel_close(panel);
  WR_CHECK(panel->asks == 0 && panel->tracing.asks == 0);
  wr_heap_free(WR_HEAP_SERVER, panel);
}

const struct wr_addr *wr_panel_addr(const struct wr_panel *panel) {
  return wr_listen_addr(panel->listen);
}

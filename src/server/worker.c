#include "server/worker.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/heap.h"
#include "base/rand.h"
#include "net/listen.h"
#include "net/resolve.h"
#include "obs/access.h"
#include "obs/log.h"
#include "obs/metric.h"
#include "policy/engine.h"
#include "policy/load.h"

#define WORKER_MAGIC 0x30c4e4u
#define TICK_MS 250u

struct port {
  struct wr_worker *worker; /* borrowed: holds this */
  struct wr_listen *listen; /* owned */
  struct wr_tls_ctx *tls;   /* owned; NULL: plain */
  uint32_t index;
};

struct wr_worker {
  uint32_t magic;
  bool running;
  struct wr_worker_options o;
  pthread_t thread;
  struct wr_slabs *slabs;       /* owned */
  struct wr_loop *loop;         /* owned */
  struct wr_resolver *resolver; /* owned */
  struct wr_upstreams *upstreams; /* owned */
  struct wr_engine *engine;     /* owned */
  struct wr_conf *conf;         /* owned: this VM's own copy, so that what it holds lives as long */
  struct wr_relay *relay;       /* owned */
  struct wr_metrics *metrics;   /* owned */
  struct wr_logger *logger;     /* owned */
  struct wr_task log_task;
  struct wr_relay_gen gen;
  struct port *ports;           /* owned */
  size_t port_count;
  struct wr_mailbox mailbox;
  struct wr_timer tick;
  struct wr_letter drain_letter, stop_letter;
  bool drain_posted, stop_posted;
  struct wr_rand rand;
  struct {
    uint64_t handshakes, resumed, failures;
  } seen; /* counted already */
};

static uint64_t core_mono(void *ctx) { return wr_loop_now_us(((struct wr_worker *)ctx)->loop); }

static uint64_t core_wall(void *ctx) {
  (void)ctx;
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static uint64_t core_random(void *ctx) { return wr_rand_u64(&((struct wr_worker *)ctx)->rand); }

static void core_log(void *ctx, enum wr_script_level level, struct wr_span where,
                     struct wr_span text) {
  struct wr_worker *w = ctx;
  static struct wr_log_site sites[3];
  enum wr_log_level to = level == WR_SCRIPT_ERROR  ? WR_LOG_ERROR
                         : level == WR_SCRIPT_WARN ? WR_LOG_WARN
                                                   : WR_LOG_INFO;
  const struct wr_log_field fields[] = { WR_LOG_SPAN("where", where), WR_LOG_SPAN("text", text) };
  wr_log_event(w->logger, to, &sites[level], "script", fields, 2);
  wr_loop_mark(w->loop, &w->log_task);
}

/* Runs last in a turn that logged something. */
static void log_flush(struct wr_task *task) {
  wr_logger_flush(WR_CONTAINER(task, struct wr_worker, log_task)->logger);
}

/* What others count for themselves, as additions to the metrics. */
static void counts_take(struct wr_worker *w) {
  unsigned long handshakes = 0, resumed = 0, h = 0, r = 0;
  wr_upstreams_tls_counts(w->upstreams, &handshakes, &resumed);
  for (size_t i = 0; i < w->port_count; i++) {
    if (!w->ports[i].tls) continue;
    wr_tls_ctx_counts(w->ports[i].tls, &h, &r);
    handshakes += h;
    resumed += r;
  }
  uint64_t failures = 0;
  struct wr_hook_stats st;
  for (size_t i = 0; w->engine && wr_engine_stats(w->engine, i, &st); i++)
    for (unsigned k = 0; k < WR_FAILS; k++) failures += st.fails[k];
  wr_metrics_add(w->metrics, WR_METRIC_TLS_HANDSHAKES, handshakes - w->seen.handshakes);
  wr_metrics_add(w->metrics, WR_METRIC_TLS_RESUMED, resumed - w->seen.resumed);
  wr_metrics_add(w->metrics, WR_METRIC_HOOK_ERRORS, failures - w->seen.failures);
  w->seen.handshakes = handshakes;
  w->seen.resumed = resumed;
  w->seen.failures = failures;
}

static void tick_fire(struct wr_timer *timer) {
  struct wr_worker *w = WR_CONTAINER(timer, struct wr_worker, tick);
  wr_slabs_tick(w->slabs);
  counts_take(w);
  wr_slabs_trim(w->slabs);
  if (w->engine) (void)wr_engine_idle(w->engine);
  wr_logger_flush(w->logger);
  wr_timer_set(w->loop, &w->tick, TICK_MS);
}

static void record(void *ctx, const struct wr_record *r) {
  struct wr_worker *w = ctx;
  WR_MAGIC_CHECK(w, WORKER_MAGIC);
  wr_metrics_observe(w->metrics, r);
  wr_access_write(w->logger, r);
  wr_loop_mark(w->loop, &w->log_task);
  if (w->o.seen) w->o.seen(w->o.ctx, r);
}

static void drained(void *ctx) {
  struct wr_worker *w = ctx;
  if (w->o.drained) w->o.drained(w->o.ctx, w);
}

static void accepted(void *ctx, struct wr_conn *take_conn) {
  struct port *port = ctx;
  wr_relay_accept(port->worker->relay, port->index, take_conn);
}

static void ports_close(struct wr_worker *w) {
  for (size_t i = 0; i < w->port_count; i++) {
    if (w->ports[i].listen) wr_listen_close(w->ports[i].listen);
    w->ports[i].listen = NULL;
  }
}

static enum wr_err port_open(struct wr_worker *w, uint32_t i, char *why, size_t why_bytes) {
  const struct wr_conf_listen *c = &w->o.conf->listens[i];
  struct port *port = &w->ports[i];
  port->worker = w;
  port->index = i;
  char detail[256] = "";
  enum wr_err err = WR_OK;
  if (c->tls) {
    struct wr_tls_options t = { .server = true, .cert_file = c->tls->cert, .key_file = c->tls->key,
                                .ca_file = c->tls->ca, .verify = c->tls->verify };
    err = wr_tls_ctx_new(&t, &port->tls, detail, sizeof detail);
  }
  int fd = w->o.inherited ? w->o.inherited[i] : -1;
  if (err == WR_OK && fd >= 0)
    err = wr_listen_inherit(w->loop, fd, port->tls, accepted, port, &port->listen, detail,
                            sizeof detail);
  else if (err == WR_OK)
    err = wr_listen_open(w->loop, &w->o.listens[i], port->tls, accepted, port, &port->listen,
                         detail, sizeof detail);
  if (err != WR_OK) snprintf(why, why_bytes, "listen %s: %s", c->address, detail);
  return err;
}

/* The worker's own VM runs conf.lua again: functions can't cross between Lua states. */
static enum wr_err engine_make(struct wr_worker *w, char *why, size_t why_bytes) {
  bool hooks = false;
  for (size_t i = 0; i < w->o.conf->route_count; i++) hooks |= w->o.conf->routes[i].hooks != 0;
  if (!hooks) return WR_OK;
  struct wr_vm_limits limits = { .memory_bytes = w->o.conf->lua.memory_bytes,
                                 .instructions = w->o.conf->lua.instructions,
                                 .ledger = w->o.ledger };
  struct wr_vm *vm = NULL;
  enum wr_err err = wr_vm_new(&limits, &vm);
  if (err != WR_OK) return err;
  struct wr_script_core core = { .ctx = w, .mono_us = core_mono, .wall_us = core_wall,
                                 .random_u64 = core_random, .log = core_log };
  wr_vm_set_core(vm, &core);
  struct wr_diag diag;
  wr_diag_init(&diag);
  err = wr_conf_load(vm, w->o.file, w->o.source, &w->conf, &diag);
  if (err != WR_OK && diag.count) snprintf(why, why_bytes, "%s", diag.entries[0].text);
  wr_diag_fini(&diag);
  if (err != WR_OK) {
    wr_vm_free(vm);
    return err;
  }
  return wr_engine_new(vm, w->conf, w->slabs, &w->engine);
}

static enum wr_err parts_make(struct wr_worker *w, char *why, size_t why_bytes) {
  enum wr_err err = wr_slabs_new(w->o.depot, w->o.ledger, &w->slabs);
  if (err == WR_OK) err = wr_loop_new(w->slabs, &w->loop);
  if (err != WR_OK) return err;
  wr_loop_limit_accepted(w->loop, w->o.most_clients);
  wr_mailbox_init(&w->mailbox, w->loop);
  wr_timer_init(&w->tick, tick_fire);
  wr_task_init(&w->log_task, log_flush);
  err = wr_metrics_new(&w->metrics);
  if (err == WR_OK) err = wr_logger_new(w->o.log, (int)w->o.index, &w->logger);
  if (err == WR_OK) err = wr_resolver_new(w->loop, &w->resolver);
  if (err == WR_OK) err = engine_make(w, why, why_bytes);
  const struct wr_conf *conf = w->conf ? w->conf : w->o.conf;
  if (err == WR_OK)
    err = wr_upstreams_new(w->loop, w->resolver, conf, w->o.mocks, &w->upstreams, why, why_bytes);
  if (err != WR_OK) return err;
  w->gen = (struct wr_relay_gen){ .conf = conf,
                                  .hooks = w->engine ? wr_engine_hooks(w->engine) : NULL,
                                  .upstreams = w->upstreams };
  struct wr_relay_options ro = { .loop = w->loop,
                                 .shared = w->o.shared,
                                 .gen = &w->gen,
                                 .record = record,
                                 .record_ctx = w,
                                 .drained = drained };
  err = wr_relay_new(&ro, &w->relay);
  if (err != WR_OK) return err;
  w->ports = wr_heap_zalloc(WR_HEAP_SERVER, w->o.conf->listen_count * sizeof *w->ports + 1);
  if (!w->ports) return WR_E_NOMEM;
  for (uint32_t i = 0; err == WR_OK && i < w->o.conf->listen_count; i++) {
    w->port_count = i + 1;
    err = port_open(w, i, why, why_bytes);
  }
  if (err == WR_OK) wr_timer_set(w->loop, &w->tick, TICK_MS);
  return err;
}

enum wr_err wr_worker_new(const struct wr_worker_options *options, struct wr_worker **out,
                          char *why, size_t why_bytes) {
  struct wr_worker *w = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *w);
  if (!w) return WR_E_NOMEM;
  w->magic = WORKER_MAGIC;
  w->o = *options;
  enum wr_err err = wr_rand_init_system(&w->rand);
  if (err == WR_OK) err = parts_make(w, why, why_bytes);
  if (err != WR_OK) {
    if (why[0] == '\0') snprintf(why, why_bytes, "%s", wr_err_text(err));
    wr_worker_free(w);
    return err;
  }
  *out = w;
  return WR_OK;
}

static void report_line(void *ctx, const char *line) {
  (void)ctx;
  fprintf(stderr, "weir: left behind: %s\n", line);
}

size_t wr_worker_free(struct wr_worker *w) {
  if (!w) return 0;
  WR_MAGIC_CHECK(w, WORKER_MAGIC);
  WR_CHECK(!w->running);
  size_t left = 0;
  if (w->loop) {
    ports_close(w);
    wr_relay_free(w->relay);
    w->relay = NULL;
    wr_upstreams_free(w->upstreams);
    wr_engine_free(w->engine);
    for (size_t i = 0; i < w->port_count; i++)
      if (w->ports[i].tls) wr_tls_ctx_free(w->ports[i].tls);
    wr_resolver_free(w->resolver);
    wr_timer_clear(&w->tick);
    wr_loop_unmark(&w->log_task);
    for (int i = 0; i < 4; i++) wr_loop_turn(w->loop, 0); /* close callbacks */
    wr_mailbox_fini(&w->mailbox);
    left += wr_loop_free(w->loop);
  }
  if (w->slabs && wr_slabs_live_blocks(w->slabs)) wr_slabs_report(w->slabs, report_line, NULL);
  if (w->slabs) left += wr_slabs_free(w->slabs);
  if (w->conf) wr_conf_free(w->conf);
  wr_metrics_free(w->metrics);
  if (w->logger) wr_logger_free(w->logger);
  wr_heap_free(WR_HEAP_SERVER, w->ports);
  w->magic = 0;
  wr_heap_free(WR_HEAP_SERVER, w);
  return left;
}

static void *thread_main(void *arg) {
  struct wr_worker *w = arg;
  char name[16];
  snprintf(name, sizeof name, "weir-worker-%u", w->o.index % 100);
  pthread_setname_np(pthread_self(), name);
  wr_loop_run(w->loop);
  return NULL;
}

enum wr_err wr_worker_start(struct wr_worker *w) {
  WR_CHECK(!w->running);
  if (pthread_create(&w->thread, NULL, thread_main, w) != 0) return WR_E_IO;
  w->running = true;
  return WR_OK;
}

void wr_worker_join(struct wr_worker *w) {
  if (!w->running) return;
  pthread_join(w->thread, NULL);
  w->running = false;
}

static void drain_run(struct wr_letter *letter) {
  struct wr_worker *w = WR_CONTAINER(letter, struct wr_worker, drain_letter);
  ports_close(w);
  wr_relay_drain(w->relay);
}

static void stop_run(struct wr_letter *letter) {
  struct wr_worker *w = WR_CONTAINER(letter, struct wr_worker, stop_letter);
  ports_close(w);
  wr_relay_stop(w->relay);
  wr_loop_stop(w->loop);
}

void wr_worker_drain(struct wr_worker *w) {
  if (w->drain_posted) return;
  w->drain_posted = true;
  w->drain_letter.run = drain_run;
  wr_mailbox_post(&w->mailbox, &w->drain_letter);
}

void wr_worker_stop(struct wr_worker *w) {
  if (w->stop_posted) return;
  w->stop_posted = true;
  w->stop_letter.run = stop_run;
  wr_mailbox_post(&w->mailbox, &w->stop_letter);
}

struct wr_mailbox *wr_worker_mailbox(struct wr_worker *w) { return &w->mailbox; }
const struct wr_relay_stats *wr_worker_relay_stats(const struct wr_worker *w) {
  return wr_relay_stats(w->relay);
}
const struct wr_loop_stats *wr_worker_loop_stats(const struct wr_worker *w) {
  return wr_loop_stats(w->loop);
}
struct wr_metrics *wr_worker_metrics(const struct wr_worker *w) { return w->metrics; }
const struct wr_logger *wr_worker_logger(const struct wr_worker *w) { return w->logger; }
uint32_t wr_worker_index(const struct wr_worker *w) { return w->o.index; }
struct wr_relay *wr_worker_relay(struct wr_worker *w) { return w->relay; }
const struct wr_engine *wr_worker_engine(const struct wr_worker *w) { return w->engine; }

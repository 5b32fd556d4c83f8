#include "server/worker.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/heap.h"
#include "base/rand.h"
#include "obs/access.h"
#include "obs/log.h"
#include "obs/metric.h"
#include "obs/trace.h"
#include "server/gen.h"
#include "server/rollout.h"

#define WORKER_MAGIC 0x30c4e4u

struct wr_worker {
  uint32_t magic;
  bool running;
  struct wr_worker_options o;
  pthread_t thread;
  struct wr_slabs *slabs;       /* owned */
  struct wr_loop *loop;         /* owned */
  struct wr_resolver *resolver; /* owned */
  struct wr_relay *relay;       /* owned */
  struct wr_metrics *metrics;   /* owned */
  struct wr_logger *logger;     /* owned */
  struct wr_task log_task;
  struct wr_list
      gens; /* owned, of struct wr_gen: the newest last, before it those that requests hold */
  struct wr_list gone;          /* of struct wr_gen: held by nobody any more */
  struct wr_task gone_task;
  struct wr_list ports;         /* owned, of struct wr_port */
  bool closed;                  /* nothing is accepted any more */
  struct wr_mailbox mailbox;
  struct wr_timer tick;
  uint64_t tick_due_us;         /* when it should fire */
  struct wr_letter drain_letter, stop_letter;
  bool drain_posted, stop_posted;
  struct wr_rand rand;
  uint64_t acts[WR_ACTIONS];    /* of pressure, that were logged already */
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

static void tls_count(struct wr_worker *w, unsigned long handshakes, unsigned long resumed,
                      uint64_t *seen_handshakes, uint64_t *seen_resumed) {
  wr_metrics_add(w->metrics, WR_METRIC_TLS_HANDSHAKES, handshakes - *seen_handshakes);
  wr_metrics_add(w->metrics, WR_METRIC_TLS_RESUMED, resumed - *seen_resumed);
  *seen_handshakes = handshakes;
  *seen_resumed = resumed;
}

static void port_count(struct wr_worker *w, struct wr_port *port) {
  unsigned long handshakes = 0, resumed = 0;
  if (!port->tls) return;
  wr_tls_ctx_counts(port->tls, &handshakes, &resumed);
  tls_count(w, handshakes, resumed, &port->seen_handshakes, &port->seen_resumed);
}

/* What others count for themselves, as additions to the metrics. */
static void gen_count(struct wr_worker *w, struct wr_gen *g) {
  unsigned long handshakes = 0, resumed = 0;
  wr_upstreams_tls_counts(g->upstreams, &handshakes, &resumed);
  tls_count(w, handshakes, resumed, &g->seen_handshakes, &g->seen_resumed);
  struct wr_hook_stats st;
  for (size_t i = 0; g->engine && wr_engine_stats_take(g->engine, i, &st); i++) {
    struct wr_span plugin = wr_span_str(st.plugin), hook = wr_span_str(st.hook);
    wr_metrics_hook_calls(w->metrics, plugin, hook, st.calls);
    for (unsigned k = 0; k < WR_FAILS; k++)
      wr_metrics_hook_errors(w->metrics, plugin, hook, wr_span_str(wr_fail_name((enum wr_fail)k)),
                             st.fails[k]);
  }
  if (!g->engine) return;
  struct wr_view_counts views = wr_engine_views(g->engine);
  wr_metrics_add(w->metrics, WR_METRIC_VIEWS_RETAINED, views.retained - g->seen_views.retained);
  wr_metrics_add(w->metrics, WR_METRIC_VIEWS_LEAKED, views.leaked - g->seen_views.leaked);
  g->seen_views = views;
}

static void counts_take(struct wr_worker *w) {
  for (struct wr_list *l = w->gens.next; l != &w->gens; l = l->next)
    gen_count(w, WR_CONTAINER(l, struct wr_gen, link));
  for (struct wr_list *l = w->ports.next; l != &w->ports; l = l->next)
    port_count(w, WR_CONTAINER(l, struct wr_port, link));
}

/* A generation whose last request has ended goes when the turn's sessions are done. */
static void gone_run(struct wr_task *task) {
  struct wr_worker *w = WR_CONTAINER(task, struct wr_worker, gone_task);
  struct wr_list *l;
  while ((l = wr_list_pop_front(&w->gone)) != NULL) {
    struct wr_gen *g = WR_CONTAINER(l, struct wr_gen, link);
    gen_count(w, g);
    wr_gen_close(g);
    wr_rollout_retire(w->o.rollout, g);
  }
}

static void gen_gone(void *ctx, struct wr_relay_gen *relay_gen) {
  struct wr_worker *w = ctx;
  struct wr_gen *g = WR_CONTAINER(relay_gen, struct wr_gen, relay);
  wr_timer_clear(&g->every);
  wr_timer_clear(&g->retire);
  wr_list_remove(&g->link);
  wr_list_push_back(&w->gone, &g->link);
  wr_loop_mark(w->loop, &w->gone_task);
}

static void every_arm(struct wr_worker *w, struct wr_gen *g) {
  uint64_t ms = g->engine ? wr_engine_timers(g->engine, wr_loop_now_us(w->loop)) : 0;
  if (ms) wr_timer_set(w->loop, &g->every, ms);
}

static void every_fire(struct wr_timer *timer) {
  struct wr_gen *g = WR_CONTAINER(timer, struct wr_gen, every);
  every_arm(g->worker, g);
}

static void retire_fire(struct wr_timer *timer) {
  struct wr_gen *g = WR_CONTAINER(timer, struct wr_gen, retire);
  struct wr_worker *w = g->worker;
  if (!g->engine || wr_engine_retired(g->engine)) return;
  wr_engine_retire(g->engine);
  WR_LOG(w->logger, WARN, "policy_retired", WR_LOG_U64("streams", wr_engine_streams(g->engine)),
         WR_LOG_STR("why", "a newer configuration has run for as long as 'drain' says"));
  wr_loop_mark(w->loop, &w->log_task);
}

/* A VM that stays full makes place for a fresh one; one at a time, since the old one stays until
 * its streams have ended. */
static void look_for_wear(struct wr_worker *w) {
  struct wr_gen *newest = WR_CONTAINER(w->gens.prev, struct wr_gen, link);
  if (wr_list_empty(&w->gens) || !newest->engine || !wr_engine_worn(newest->engine)) return;
  for (struct wr_list *l = w->gens.next; l != &w->gens; l = l->next) {
    struct wr_gen *g = WR_CONTAINER(l, struct wr_gen, link);
    if (g->engine && wr_engine_retired(g->engine)) return;
  }
  wr_rollout_ask_renewal(w->o.rollout, w->o.index);
}

static void tick_set(struct wr_worker *w) {
  w->tick_due_us = wr_loop_now_us(w->loop) + (uint64_t)w->o.tick_ms * 1000;
  wr_timer_set(w->loop, &w->tick, w->o.tick_ms);
}

static void tick_fire(struct wr_timer *timer) {
  struct wr_worker *w = WR_CONTAINER(timer, struct wr_worker, tick);
  uint64_t now = wr_loop_now_us(w->loop);
  wr_slabs_tick(w->slabs);
  wr_relay_tick(w->relay, now > w->tick_due_us ? now - w->tick_due_us : 0);
  counts_take(w);
  wr_slabs_trim(w->slabs);
  for (struct wr_list *l = w->gens.next; l != &w->gens; l = l->next) {
    struct wr_gen *g = WR_CONTAINER(l, struct wr_gen, link);
    if (g->engine) (void)wr_engine_idle(g->engine);
    if (l->next == &w->gens) wr_upstreams_tick(g->upstreams);
  }
  look_for_wear(w);
  wr_logger_flush(w->logger);
  tick_set(w);
}

static void put_actions(struct wr_buf *b, uint32_t actions) {
  for (unsigned a = 0; a < WR_ACTIONS; a++)
    if (actions >> a & 1u)
      wr_buf_printf(b, "%s%s%s", b->len ? " " : "", wr_action_name((enum wr_action)a),
                    a == WR_ACTION_SHED_ALL ? ":all" : "");
}

/* What is one for the process is said once, by the first worker. What it cost since the last line
 * is all workers' together. */
static void pressed(void *ctx, const struct wr_relay_change *c) {
  struct wr_worker *w = ctx;
  WR_MAGIC_CHECK(w, WORKER_MAGIC);
  if (w->o.index > 0 && c->meter != WR_METER_LOOP_LAG && !c->by_policy) return;
  char actions[256], value[32];
  struct wr_buf ab, vb;
  wr_buf_init(&ab, actions, sizeof actions);
  put_actions(&ab, c->actions);
  wr_buf_init(&vb, value, sizeof value);
  if (wr_meter_is_time(c->meter)) wr_buf_printf(&vb, "%.1fms", c->value / 1000.0);
  else wr_buf_printf(&vb, "%.3f", (double)c->value / WR_LADDER_FULL);
  uint64_t done[WR_ACTIONS];
  for (unsigned a = 0; a < WR_ACTIONS; a++) {
    uint64_t all =
        atomic_load_explicit(&w->o.shared->degrade.acts[a], memory_order_relaxed);
    done[a] = all - w->acts[a];
    w->acts[a] = all;
  }
  const struct wr_log_field fields[] = {
    WR_LOG_U64("step", c->to),
    WR_LOG_U64("from", c->from),
    WR_LOG_STR("meter", wr_meter_name(c->meter)),
    WR_LOG_SPAN("value", wr_buf_span(&vb)),
    WR_LOG_BOOL("by_policy", c->by_policy),
    WR_LOG_SPAN("actions", wr_buf_span(&ab)),
    WR_LOG_U64("lasted_ms", c->lasted_us / 1000),
    WR_LOG_U64("shed", done[WR_ACTION_SHED] + done[WR_ACTION_SHED_ALL]),
    WR_LOG_U64("stopped", done[WR_ACTION_STOP_LARGEST]),
    WR_LOG_U64("capped", done[WR_ACTION_CAP_OUTPUT]),
    WR_LOG_U64("rerouted", done[WR_ACTION_ROUTE]),
  };
  static struct wr_log_site site;
  wr_log_event(w->logger, c->to > c->from ? WR_LOG_WARN : WR_LOG_INFO, &site, "pressure", fields,
               sizeof fields / sizeof fields[0]);
  wr_loop_mark(w->loop, &w->log_task);
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
  struct wr_port *port = ctx;
  wr_relay_accept(port->worker->relay, port->number, take_conn);
}

static void port_close(struct wr_worker *w, struct wr_port *port) {
  port_count(w, port);
  if (port->listen) wr_listen_close(port->listen);
  if (port->tls) wr_tls_ctx_free(port->tls); /* connections that use it keep its memory */
  wr_list_remove(&port->link);
  wr_heap_free(WR_HEAP_SERVER, port);
}

static void ports_close(struct wr_worker *w) {
  w->closed = true;
  while (!wr_list_empty(&w->ports))
    port_close(w, WR_CONTAINER(w->ports.next, struct wr_port, link));
}

static struct wr_port *port_find(struct wr_worker *w, uint32_t number) {
  for (struct wr_list *l = w->ports.next; l != &w->ports; l = l->next) {
    struct wr_port *port = WR_CONTAINER(l, struct wr_port, link);
    if (port->number == number) return port;
  }
  return NULL;
}

/* The door is the port from now on: the socket was bound when the generation was prepared. */
static enum wr_err port_open(struct wr_worker *w, struct wr_door *door, char *why,
                             size_t why_bytes) {
  struct wr_port *port = door->port;
  port->tls = door->tls;
  int fd = door->fd;
  door->port = NULL;
  door->tls = NULL;
  door->fd = -1;
  wr_list_push_back(&w->ports, &port->link);
  enum wr_err err = wr_listen_take(w->loop, fd, door->owns_path, port->tls, accepted, port,
                                   &port->listen, why, why_bytes);
  if (err == WR_OK) return WR_OK;
  port_close(w, port);
  return err;
}

/* New addresses are opened, those that are no more are closed, the others get the new certificates.
 */
static enum wr_err ports_apply(struct wr_worker *w, struct wr_gen *g, char *why, size_t why_bytes) {
  enum wr_err err = WR_OK;
  if (w->closed) return WR_OK;
  for (struct wr_list *l = w->ports.next, *next; l != &w->ports; l = next) {
    struct wr_port *port = WR_CONTAINER(l, struct wr_port, link);
    next = l->next;
    if (!wr_plan_has_listen(g->plan, port->number)) port_close(w, port);
  }
  for (size_t i = 0; i < g->plan->conf->listen_count; i++) {
    struct wr_door *door = &g->doors[i];
    struct wr_port *port = port_find(w, g->plan->listen_numbers[i]);
    if (!port && door->port) {
      enum wr_err e = port_open(w, door, why, why_bytes);
      if (err == WR_OK) err = e;
    } else if (port) {
      port_count(w, port);
      if (port->tls) wr_tls_ctx_free(port->tls);
      port->tls = door->tls;
      door->tls = NULL;
      port->seen_handshakes = port->seen_resumed = 0;
      wr_listen_set_tls(port->listen, port->tls);
    }
  }
  return err;
}

static void woken(void *ctx, struct wr_mailbox *box) {
  struct wr_worker *w = ctx;
  (void)box;
  if (w->relay) wr_relay_woken(w->relay);
}

static enum wr_err parts_make(struct wr_worker *w) {
  enum wr_err err = wr_slabs_new(w->o.depot, w->o.ledger, &w->slabs);
  if (err == WR_OK) err = wr_loop_new(w->slabs, &w->loop);
  if (err != WR_OK) return err;
  wr_loop_limit_accepted(w->loop, w->o.most_clients);
  wr_mailbox_init(&w->mailbox, w->loop);
  wr_mailbox_on_wake(&w->mailbox, woken, w);
  wr_timer_init(&w->tick, tick_fire);
  wr_task_init(&w->log_task, log_flush);
  wr_task_init(&w->gone_task, gone_run);
  err = wr_metrics_new(&w->metrics);
  if (err == WR_OK) err = wr_logger_new(w->o.log, (int)w->o.index, &w->logger);
  if (err == WR_OK) err = wr_resolver_new(w->loop, &w->resolver);
  return err;
}

enum wr_err wr_worker_prepare(struct wr_worker *w, struct wr_plan *plan,
                              const struct wr_plan *before, struct wr_gen **out, char *why,
                              size_t why_bytes) {
  WR_MAGIC_CHECK(w, WORKER_MAGIC);
  struct wr_script_core core = { .ctx = w, .mono_us = core_mono, .wall_us = core_wall,
                                 .random_u64 = core_random, .log = core_log };
  struct wr_gen_options o = { .worker = w,
                              .loop = w->loop,
                              .resolver = w->resolver,
                              .slabs = w->slabs,
                              .ledger = w->o.ledger,
                              .book = w->o.book,
                              .logger = w->logger,
                              .shared = w->o.shared,
                              .tallies = w->o.tallies,
                              .core = &core,
                              .file = w->o.file,
                              .plan = plan,
                              .before = before };
  return wr_gen_new(&o, out, why, why_bytes);
}

static void gen_adopt(struct wr_worker *w, struct wr_gen *g) {
  g->relay.gone = gen_gone;
  g->relay.gone_ctx = w;
  wr_list_push_back(&w->gens, &g->link);
  wr_timer_init(&g->every, every_fire);
  wr_timer_init(&g->retire, retire_fire);
  every_arm(w, g);
}

enum wr_err wr_worker_begin(struct wr_worker *w, struct wr_gen *g, char *why, size_t why_bytes) {
  WR_CHECK(!w->relay && !w->running);
  struct wr_relay_options ro = { .loop = w->loop,
                                 .shared = w->o.shared,
                                 .gen = &g->relay,
                                 .record = record,
                                 .record_ctx = w,
                                 .worker = w->o.index,
                                 .pressed = pressed,
                                 .drained = drained };
  enum wr_err err = wr_relay_new(&ro, &w->relay);
  if (err != WR_OK) {
    wr_gen_close(g);
    wr_rollout_retire(w->o.rollout, g);
    return err;
  }
  gen_adopt(w, g);
  tick_set(w);
  return ports_apply(w, g, why, why_bytes);
}

void wr_worker_take(struct wr_worker *w, struct wr_gen *g) {
  WR_MAGIC_CHECK(w, WORKER_MAGIC);
  WR_CHECK(w->relay && !wr_list_empty(&w->gens));
  struct wr_gen *old = WR_CONTAINER(w->gens.prev, struct wr_gen, link);
  gen_adopt(w, g);
  char why[256] = "";
  if (ports_apply(w, g, why, sizeof why) != WR_OK) /* rare: all that can be tried before was */
    WR_LOG(w->logger, ERROR, "listen_failed", WR_LOG_STR("why", why));
  wr_upstreams_retire(old->upstreams);
  uint32_t drain_ms = old->relay.conf->server.drain_ms;
  if (old->engine) wr_timer_set(w->loop, &old->retire, drain_ms ? drain_ms : 1);
  wr_relay_set_gen(w->relay, &g->relay);
  wr_loop_mark(w->loop, &w->log_task);
}

void wr_worker_renew(struct wr_worker *w, struct wr_gen *g) {
  struct wr_gen *old = WR_CONTAINER(w->gens.prev, struct wr_gen, link);
  WR_LOG(w->logger, WARN, "policy_renewed",
         WR_LOG_STR("why", "policies met the limit of their memory, and it stayed nearly full"));
  if (old->engine) wr_engine_retire(old->engine);
  wr_worker_take(w, g);
}

enum wr_err wr_worker_new(const struct wr_worker_options *options, struct wr_worker **out,
                          char *why, size_t why_bytes) {
  struct wr_worker *w = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *w);
  if (!w) return WR_E_NOMEM;
  w->magic = WORKER_MAGIC;
  w->o = *options;
  wr_list_init(&w->gens);
  wr_list_init(&w->gone);
  wr_list_init(&w->ports);
  enum wr_err err = wr_rand_init_system(&w->rand);
  if (err == WR_OK) err = parts_make(w);
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
    gone_run(&w->gone_task);
    wr_loop_unmark(&w->gone_task);
    WR_CHECK(wr_list_empty(&w->gens));
    wr_resolver_free(w->resolver);
    wr_timer_clear(&w->tick);
    wr_loop_unmark(&w->log_task);
    for (int i = 0; i < 4; i++) wr_loop_turn(w->loop, 0); /* close callbacks */
    wr_mailbox_fini(&w->mailbox);
    left += wr_loop_free(w->loop);
  }
  if (w->slabs && wr_slabs_live_blocks(w->slabs)) wr_slabs_report(w->slabs, report_line, NULL);
  if (w->slabs) left += wr_slabs_free(w->slabs);
  wr_metrics_free(w->metrics);
  if (w->logger) wr_logger_free(w->logger);
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
  wr_trace_off();
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
struct wr_rollout *wr_worker_rollout(const struct wr_worker *w) { return w->o.rollout; }

void wr_worker_policy(const struct wr_worker *w, struct wr_worker_policy *out) {
  *out = (struct wr_worker_policy){ .engine = NULL };
  for (struct wr_list *l = w->gens.next; l != &w->gens; l = l->next) {
    const struct wr_gen *g = WR_CONTAINER(l, struct wr_gen, link);
    out->generations++;
    out->engine = g->engine;
    if (!g->engine) continue;
    out->retired += wr_engine_retired(g->engine);
    out->lua_bytes += wr_engine_bytes(g->engine, &out->lua_limit_bytes);
  }
}

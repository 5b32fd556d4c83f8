#include "server/process.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heap.h"
#include "conf/conf.h"
#include "net/timer.h"
#include "obs/log.h"
#include "relay/tally.h"
#include "server/inherit.h"
#include "server/panel.h"
#include "server/reload.h"
#include "server/rollout.h"
#include "server/strain.h"
#include "server/worker.h"
#include "upstream/state.h"

#define PROCESS_MAGIC 0x9e0ce55u
#define MOST_WORKERS 64u
/* After the deadline of a drain, what is told to stop gets this long before the thread is asked
 * again. */
#define SIGNAL_POLL_MS 1000u

/* A worker says once that its last connection is gone. */
struct drained_letter {
  struct wr_letter letter;
  struct wr_process *process; /* borrowed: outlives its letters */
};

struct wr_process {
  uint32_t magic;
  bool started, draining, stopping, ended;
  struct wr_process_options o;
  struct wr_depot *depot;      /* owned */
  struct wr_ledger *ledger;    /* owned */
  struct wr_peer_book *book;   /* owned */
  struct wr_log *log;          /* owned */
  struct wr_tallies *tallies;  /* owned */
  struct wr_slabs *slabs;      /* owned: of the main loop */
  struct wr_loop *loop;        /* owned */
  struct wr_mailbox mailbox;
  bool mailbox_made;
  struct wr_relay_shared shared;
  struct wr_strain *strain;    /* owned */
  struct wr_rollout rollout;   /* the configuration, and what each worker has of it */
  struct wr_reload *reload;    /* owned */
  struct wr_panel *panel;      /* owned: the admin listener */
  struct wr_worker **workers;  /* owned */
  struct drained_letter
      *drained; /* owned: one a worker, made at the start: a drain needs no memory */
  uint32_t worker_count;
  uint32_t drained_count;
  struct wr_timer drain_timer;
};

/* Signals only note what came and wake the main loop. */
static struct {
  _Atomic(struct wr_process *) process; /* borrowed: the one that runs */
  _Atomic unsigned term, interrupt, hup;
} signals;

static void on_signal(int number) {
  if (number == SIGTERM) atomic_fetch_add(&signals.term, 1);
  if (number == SIGINT) atomic_fetch_add(&signals.interrupt, 1);
  if (number == SIGHUP) atomic_fetch_add(&signals.hup, 1);
  struct wr_process *p = atomic_load(&signals.process);
  if (p) wr_loop_wake(p->loop);
}

static void signals_take(struct wr_process *p) {
  char why[200] = "";
  if (atomic_exchange(&signals.hup, 0)) {
    if (wr_log_reopen(p->log, why, sizeof why) != WR_OK) fprintf(stderr, "weir: %s\n", why);
    wr_reload_ask(p->reload, 0);
  }
  unsigned terms = atomic_exchange(&signals.term, 0);
  if (atomic_exchange(&signals.interrupt, 0) || (terms && p->draining))
    wr_process_stop(p);
  else if (terms)
    wr_process_drain(p);
}

static void signals_install(struct wr_process *p) {
  atomic_store(&signals.process, p);
  struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
  sigemptyset(&sa.sa_mask);
  sigaction(SIGTERM, &sa, NULL);
  sigaction(SIGINT, &sa, NULL);
  sigaction(SIGHUP, &sa, NULL);
}

/* The soft limit of descriptors goes up to the hard one: a stream takes two. */
static void raise_limits(void) {
  struct rlimit r;
  if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= r.rlim_max) return;
  r.rlim_cur = r.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &r);
}

/* Descriptors that a process and each of its threads hold whatever comes. */
#define OWN_FDS 16u
#define OWN_FDS_A_WORKER 8u

/* How many clients one of n workers can serve: each needs a second descriptor, towards its
 * upstream. */
static uint32_t clients_a_worker(uint32_t n) {
  struct rlimit r;
  if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == RLIM_INFINITY) return 0;
  uint64_t own = OWN_FDS + (uint64_t)n * OWN_FDS_A_WORKER;
  uint64_t most = r.rlim_cur > own ? (r.rlim_cur - own) / 2 / n : 0;
  if (most > UINT32_MAX) return 0;
  return most > 0 ? (uint32_t)most : 1;
}

static uint32_t workers_wanted(const struct wr_process *p, const struct wr_conf *conf) {
  uint32_t n = p->o.workers ? p->o.workers : conf->server.workers;
  if (n == 0) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    n = cores > 0 ? (uint32_t)cores : 1;
  }
  return n > MOST_WORKERS ? MOST_WORKERS : n;
}

/* Sockets of a service manager are the first plan's. */
static enum wr_err inherit(struct wr_process *p, const struct wr_plan *plan) {
  size_t n = plan->conf->listen_count;
  if (!p->o.inherit || n == 0) return WR_OK;
  struct wr_addr *want = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *want);
  int *fds = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *fds);
  enum wr_err err = want && fds ? WR_OK : WR_E_NOMEM;
  for (size_t i = 0; err == WR_OK && i < n; i++)
    err = wr_addr_parse(wr_span_str(plan->conf->listens[i].address), &want[i]);
  if (err == WR_OK) wr_inherit_match(want, n, fds);
  for (size_t i = 0; err == WR_OK && i < n; i++) {
    if (fds[i] < 0) continue;
    p->rollout.plans.places[plan->listen_numbers[i]] =
        (struct wr_place){ .addr = want[i], .inherited = fds[i], .shared = -1, .known = true };
  }
  wr_heap_free(WR_HEAP_SERVER, want);
  wr_heap_free(WR_HEAP_SERVER, fds);
  return err;
}

static void all_ended(struct wr_process *p) {
  p->ended = true;
  wr_loop_stop(p->loop);
}

static void drained_run(struct wr_letter *letter) {
  struct wr_process *p = WR_CONTAINER(letter, struct drained_letter, letter)->process;
  if (++p->drained_count == p->worker_count) wr_process_stop(p);
}

/* On a worker's thread. */
static void worker_drained(void *ctx, struct wr_worker *worker) {
  struct wr_process *p = ctx;
  struct drained_letter *l = &p->drained[wr_worker_index(worker)];
  l->letter.run = drained_run;
  l->process = p;
  wr_mailbox_post(&p->mailbox, &l->letter);
}

static void worker_seen(void *ctx, const struct wr_record *record) {
  struct wr_process *p = ctx;
  if (p->o.seen) p->o.seen(p->o.ctx, record);
}

static enum wr_err workers_make(struct wr_process *p, const struct wr_conf *conf, char *why,
                                size_t why_bytes) {
  uint32_t n = workers_wanted(p, conf);
  p->workers = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof(struct wr_worker *));
  p->drained = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *p->drained);
  if (!p->workers || !p->drained) return WR_E_NOMEM;
  struct wr_worker_options wo = {
    .depot = p->depot,
    .ledger = p->ledger,
    .shared = &p->shared,
    .book = p->book,
    .tallies = p->tallies,
    .log = p->log,
    .file = p->o.file,
    .tick_ms = conf->server.sample_ms,
    .rollout = &p->rollout,
    .drained = worker_drained,
    .seen = worker_seen,
    .ctx = p,
    .most_clients = clients_a_worker(n),
  };
  enum wr_err err = WR_OK;
  for (uint32_t i = 0; err == WR_OK && i < n; i++) {
    wo.index = i;
    err = wr_worker_new(&wo, &p->workers[i], why, why_bytes);
    if (err == WR_OK) p->worker_count++;
  }
  p->rollout.workers = p->workers;
  p->rollout.worker_count = p->worker_count;
  return err;
}

static void drain_over(struct wr_timer *timer) {
  wr_process_stop(WR_CONTAINER(timer, struct wr_process, drain_timer));
}

static void woken(void *ctx, struct wr_mailbox *box) {
  (void)box;
  signals_take(ctx);
}

static void drain_asked(void *ctx) { wr_process_drain(ctx); }
static void reload_asked(void *ctx, uint64_t token) {
  wr_reload_ask(((struct wr_process *)ctx)->reload, token);
}

static void reload_answered(void *ctx, uint64_t token, unsigned status, struct wr_span json) {
  struct wr_process *p = ctx;
  if (p->panel) wr_panel_reloaded(p->panel, token, status, json);
}

static uint64_t unix_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static enum wr_err loop_make(struct wr_process *p, const struct wr_conf_server *sv, char *why,
                             size_t why_bytes) {
  enum wr_err err =
      wr_log_open(sv->log, sv->log_format == WR_LOG_JSON ? WR_LOG_STYLE_JSON : WR_LOG_STYLE_LOGFMT,
                  &p->log, why, why_bytes);
  if (err == WR_OK) err = wr_peer_book_new(&p->book);
  if (err == WR_OK) err = wr_depot_new(sv->memory_bytes, &p->depot);
  if (err == WR_OK) err = wr_ledger_new(wr_depot_memory_bytes(p->depot), NULL, &p->ledger);
  if (err == WR_OK) err = wr_slabs_new(p->depot, p->ledger, &p->slabs);
  if (err == WR_OK) err = wr_loop_new(p->slabs, &p->loop);
  if (err == WR_OK) err = wr_tallies_new(unix_us(), wr_loop_now_us(p->loop), &p->tallies);
  if (err != WR_OK) return err;
  wr_mailbox_init(&p->mailbox, p->loop);
  wr_mailbox_on_wake(&p->mailbox, woken, p);
  p->mailbox_made = true;
  wr_timer_init(&p->drain_timer, drain_over);
  err = wr_rollout_init(&p->rollout, p->loop, &p->mailbox);
  struct wr_strain_options so = {
    .loop = p->loop, .ledger = p->ledger, .shared = &p->shared, .server = sv
  };
  if (err == WR_OK) err = wr_strain_new(&so, &p->strain);
  p->rollout.strain = p->strain;
  return err;
}

static enum wr_err panel_make(struct wr_process *p, const struct wr_conf_server *sv, char *why,
                              size_t why_bytes) {
  struct wr_reload_options ro = { .loop = p->loop,
                                  .rollout = &p->rollout,
                                  .shared = &p->shared,
                                  .log = p->log,
                                  .file = p->o.file,
                                  .server = sv,
                                  .fixed = p->o.source.ptr != NULL,
                                  .quiet = p->o.quiet,
                                  .answer = reload_answered,
                                  .ctx = p };
  enum wr_err err = wr_reload_new(&ro, &p->reload);
  if (err != WR_OK || !sv->admin) return err;
  struct wr_panel_options po = { .loop = p->loop,
                                 .mailbox = &p->mailbox,
                                 .address = sv->admin,
                                 .workers = p->workers,
                                 .worker_count = p->worker_count,
                                 .ledger = p->ledger,
                                 .shared = &p->shared,
                                 .tallies = p->tallies,
                                 .book = p->book,
                                 .rollout = &p->rollout,
                                 .reloads = p->reload,
                                 .drain = drain_asked,
                                 .reload = reload_asked,
                                 .ctx = p };
  return wr_panel_new(&po, &p->panel, why, why_bytes);
}

/* take_plan is the rollout's or gone afterwards. */
static enum wr_err parts_make(struct wr_process *p, struct wr_plan *take_plan, char *why,
                              size_t why_bytes) {
  const struct wr_conf_server *sv = &take_plan->conf->server;
  enum wr_err err = loop_make(p, sv, why, why_bytes);
  if (err == WR_OK) err = workers_make(p, take_plan->conf, why, why_bytes);
  if (err == WR_OK) err = wr_plan_open(take_plan, &p->rollout.plans, why, why_bytes);
  if (err == WR_OK) err = inherit(p, take_plan);
  if (err != WR_OK) {
    wr_plan_unref(take_plan);
    return err;
  }
  err = wr_rollout_prepare(&p->rollout, take_plan, why, why_bytes);
  if (err == WR_OK) err = wr_rollout_begin(&p->rollout, why, why_bytes);
  if (err == WR_OK) err = panel_make(p, &p->rollout.current->conf->server, why, why_bytes);
  return err;
}

enum wr_err wr_process_new(const struct wr_process_options *options, struct wr_process **out,
                           struct wr_diag *diag, char *why, size_t why_bytes) {
  why[0] = '\0';
  struct wr_process *p = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *p);
  if (!p) return WR_E_NOMEM;
  p->magic = PROCESS_MAGIC;
  p->o = *options;
  signal(SIGPIPE, SIG_IGN);
  raise_limits();
  struct wr_plan *plan = NULL;
  enum wr_err err = wr_plan_load(p->o.file, p->o.source, &plan, diag);
  if (err == WR_OK) err = parts_make(p, plan, why, why_bytes);
  if (err != WR_OK) {
    if (!why[0]) snprintf(why, why_bytes, "%s", wr_err_text(err));
    wr_process_free(p);
    return err;
  }
  if (options->signals) signals_install(p);
  *out = p;
  return WR_OK;
}

static void announce(const struct wr_process *p) {
  if (p->o.quiet) return;
  char text[128];
  const struct wr_conf *conf = p->rollout.current->conf;
  for (size_t i = 0; i < conf->listen_count; i++)
    fprintf(stderr, "weir: listening on %s%s\n", conf->listens[i].tls ? "https://" : "http://",
            wr_addr_format(wr_process_listen_addr(p, i), text, sizeof text));
  if (p->panel)
    fprintf(stderr, "weir: admin on %s\n",
            wr_addr_format(wr_panel_addr(p->panel), text, sizeof text));
}

enum wr_err wr_process_start(struct wr_process *p) {
  WR_MAGIC_CHECK(p, PROCESS_MAGIC);
  WR_CHECK(!p->started);
  p->started = true;
  for (uint32_t i = 0; i < p->worker_count; i++) {
    enum wr_err err = wr_worker_start(p->workers[i]);
    if (err != WR_OK) return err;
  }
  announce(p);
  return WR_OK;
}

int wr_process_run(struct wr_process *p) {
  if (wr_process_start(p) != WR_OK) return 1;
  if (p->o.signals) signals_take(p);
  if (!p->ended) wr_loop_run(p->loop);
  return 0;
}

void wr_process_drain(struct wr_process *p) {
  WR_MAGIC_CHECK(p, PROCESS_MAGIC);
  if (p->draining || p->stopping) return;
  p->draining = true;
  atomic_store(&p->shared.draining, true);
  if (!p->o.quiet) fprintf(stderr, "weir: draining\n");
  uint32_t ms = p->rollout.current->conf->server.drain_ms;
  wr_timer_set(p->loop, &p->drain_timer, ms ? ms : 1);
  for (uint32_t i = 0; i < p->worker_count; i++) wr_worker_drain(p->workers[i]);
}

void wr_process_stop(struct wr_process *p) {
  WR_MAGIC_CHECK(p, PROCESS_MAGIC);
  if (p->stopping) return;
  p->stopping = true;
  atomic_store(&p->shared.draining, true);
  wr_timer_clear(&p->drain_timer);
  for (uint32_t i = 0; i < p->worker_count; i++) wr_worker_stop(p->workers[i]);
  for (uint32_t i = 0; i < p->worker_count; i++) wr_worker_join(p->workers[i]);
  p->rollout.stopped = true;
  all_ended(p);
}

void wr_process_free(struct wr_process *p) {
  if (!p) return;
  WR_MAGIC_CHECK(p, PROCESS_MAGIC);
  if (atomic_load(&signals.process) == p) atomic_store(&signals.process, NULL);
  if (p->started && !p->stopping) wr_process_stop(p);
  size_t left = 0;
  wr_panel_close(p->panel);
  for (uint32_t i = 0; i < p->worker_count; i++) left += wr_worker_free(p->workers[i]);
  p->rollout.strain = NULL;
  wr_strain_free(p->strain);
  if (p->loop) {
    wr_timer_clear(&p->drain_timer);
    for (int i = 0; i < 4; i++)
      wr_loop_turn(p->loop, 0); /* letters of the workers, close callbacks */
    if (p->mailbox_made) wr_mailbox_fini(&p->mailbox);
    wr_rollout_close(&p->rollout);
    wr_reload_free(p->reload);
    for (int i = 0; i < 4; i++) wr_loop_turn(p->loop, 0); /* and of the mocks */
    wr_panel_free(p->panel);
    left += wr_loop_free(p->loop);
    wr_rollout_fini(&p->rollout);
  }
  wr_tallies_free(p->tallies);
  if (p->slabs) left += wr_slabs_free(p->slabs);
  if (left) fprintf(stderr, "weir: %zu blocks or handles were left behind\n", left);
  wr_heap_free(WR_HEAP_SERVER, p->workers);
  wr_heap_free(WR_HEAP_SERVER, p->drained);
  wr_ledger_free(p->ledger);
  if (p->depot) wr_depot_free(p->depot);
  wr_log_close(p->log);
  wr_peer_book_free(p->book);
  wr_relay_shared_fini(&p->shared);
  p->magic = 0;
  wr_heap_free(WR_HEAP_SERVER, p);
}

struct wr_loop *wr_process_loop(struct wr_process *p) { return p->loop; }

const struct wr_addr *wr_process_listen_addr(const struct wr_process *p, size_t i) {
  const struct wr_plan *plan = p->rollout.current;
  WR_CHECK(i < plan->listens);
  return &plan->plans->places[plan->listen_numbers[i]].addr;
}

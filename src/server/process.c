#include "server/process.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heap.h"
#include "conf/conf.h"
#include "net/listen.h"
#include "net/timer.h"
#include "obs/log.h"
#include "policy/load.h"
#include "policy/vm.h"
#include "server/inherit.h"
#include "server/mocks.h"
#include "server/panel.h"
#include "server/worker.h"

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
  struct wr_conf *conf;        /* owned */
  char *source;                /* owned: text of the configuration */
  size_t source_len;
  struct wr_depot *depot;      /* owned */
  struct wr_ledger *ledger;    /* owned */
  struct wr_log *log;          /* owned */
  struct wr_slabs *slabs;      /* owned: of the main loop */
  struct wr_loop *loop;        /* owned */
  struct wr_mailbox mailbox;
  bool mailbox_made;
  struct wr_relay_shared shared;
  struct wr_addr *listens;     /* owned: one per conf->listens */
  int *inherited;              /* owned: one per conf->listens */
  int *bound;                  /* owned: sockets that hold a chosen port until the workers listen */
  struct wr_mocks *mocks;      /* owned */
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
  if (atomic_exchange(&signals.hup, 0) && wr_log_reopen(p->log, why, sizeof why) != WR_OK)
    fprintf(stderr, "weir: %s\n", why);
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

static uint32_t workers_wanted(const struct wr_process *p) {
  uint32_t n = p->o.workers ? p->o.workers : p->conf->server.workers;
  if (n == 0) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    n = cores > 0 ? (uint32_t)cores : 1;
  }
  return n > MOST_WORKERS ? MOST_WORKERS : n;
}

static enum wr_err conf_load(struct wr_process *p, struct wr_diag *diag) {
  enum wr_err err;
  if (p->o.source.ptr) {
    p->source = wr_heap_strndup(WR_HEAP_CONF, p->o.source.ptr, p->o.source.len);
    p->source_len = p->o.source.len;
    err = p->source ? WR_OK : WR_E_NOMEM;
  } else {
    err = wr_conf_read_source(p->o.file, &p->source, &p->source_len);
    if (err != WR_OK) {
      wr_diag_error(diag, p->o.file, 0, "can't be read");
      return WR_E_CONFIG;
    }
  }
  struct wr_vm *vm = NULL;
  if (err == WR_OK) err = wr_vm_new(NULL, &vm);
  if (err != WR_OK) return err;
  err = wr_conf_load(vm, p->o.file, wr_span_make(p->source, p->source_len), &p->conf, diag);
  wr_vm_free(vm);
  return err;
}

static enum wr_err listens_make(struct wr_process *p, char *why, size_t why_bytes) {
  size_t n = p->conf->listen_count;
  p->listens = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *p->listens + 1);
  p->inherited = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *p->inherited + 1);
  p->bound = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *p->bound + 1);
  if (!p->listens || !p->inherited || !p->bound) return WR_E_NOMEM;
  for (size_t i = 0; i < n; i++) {
    p->inherited[i] = p->bound[i] = -1;
    if (wr_addr_parse(wr_span_str(p->conf->listens[i].address), &p->listens[i]) != WR_OK) {
      snprintf(why, why_bytes, "listen '%s': not an address", p->conf->listens[i].address);
      return WR_E_CONFIG;
    }
  }
  if (p->o.inherit) wr_inherit_match(p->listens, n, p->inherited);
  enum wr_err err = WR_OK;
  for (size_t i = 0; err == WR_OK && i < n; i++) {
    bool chosen = wr_addr_port(&p->listens[i]) == 0 && !wr_addr_is_unix(&p->listens[i]);
    if (p->inherited[i] >= 0 || !chosen) continue;
    char detail[200] = "";
    struct wr_addr asked = p->listens[i];
    err = wr_listen_bind(&asked, &p->bound[i], &p->listens[i], detail, sizeof detail);
    if (err != WR_OK)
      snprintf(why, why_bytes, "listen %s: %s", p->conf->listens[i].address, detail);
  }
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

static enum wr_err workers_make(struct wr_process *p, char *why, size_t why_bytes) {
  uint32_t n = workers_wanted(p);
  p->workers = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof(struct wr_worker *));
  p->drained = wr_heap_zalloc(WR_HEAP_SERVER, n * sizeof *p->drained);
  if (!p->workers || !p->drained) return WR_E_NOMEM;
  struct wr_worker_options wo = {
    .depot = p->depot, .ledger = p->ledger, .shared = &p->shared, .log = p->log, .conf = p->conf,
    .file = p->o.file, .source = wr_span_make(p->source, p->source_len), .listens = p->listens,
    .inherited = p->inherited, .mocks = wr_mocks_addrs(p->mocks), .drained = worker_drained,
    .seen = worker_seen, .ctx = p, .most_clients = clients_a_worker(n),
  };
  enum wr_err err = WR_OK;
  for (uint32_t i = 0; err == WR_OK && i < n; i++) {
    wo.index = i;
    err = wr_worker_new(&wo, &p->workers[i], why, why_bytes);
    if (err == WR_OK) p->worker_count++;
  }
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

static enum wr_err parts_make(struct wr_process *p, struct wr_diag *diag, char *why,
                              size_t why_bytes) {
  enum wr_err err = conf_load(p, diag);
  if (err != WR_OK) return err;
  const struct wr_conf_server *sv = &p->conf->server;
  err =
      wr_log_open(sv->log, sv->log_format == WR_LOG_JSON ? WR_LOG_STYLE_JSON : WR_LOG_STYLE_LOGFMT,
                  &p->log, why, why_bytes);
  if (err == WR_OK) err = wr_depot_new(sv->memory_bytes, &p->depot);
  if (err == WR_OK) err = wr_ledger_new(wr_depot_memory_bytes(p->depot), NULL, &p->ledger);
  if (err == WR_OK) err = wr_slabs_new(p->depot, p->ledger, &p->slabs);
  if (err == WR_OK) err = wr_loop_new(p->slabs, &p->loop);
  if (err != WR_OK) return err;
  wr_mailbox_init(&p->mailbox, p->loop);
  wr_mailbox_on_wake(&p->mailbox, woken, p);
  p->mailbox_made = true;
  wr_timer_init(&p->drain_timer, drain_over);
  err = listens_make(p, why, why_bytes);
  if (err == WR_OK) err = wr_mocks_new(p->loop, p->conf, &p->mocks, why, why_bytes);
  if (err == WR_OK) err = workers_make(p, why, why_bytes);
  if (err == WR_OK && sv->admin) {
    struct wr_panel_options po = { .loop = p->loop,
                                   .mailbox = &p->mailbox,
                                   .address = sv->admin,
                                   .workers = p->workers,
                                   .worker_count = p->worker_count,
                                   .ledger = p->ledger,
                                   .shared = &p->shared,
                                   .drain = drain_asked,
                                   .ctx = p };
    err = wr_panel_new(&po, &p->panel, why, why_bytes);
  }
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
  enum wr_err err = parts_make(p, diag, why, why_bytes);
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
  for (size_t i = 0; i < p->conf->listen_count; i++)
    fprintf(stderr, "weir: listening on %s%s\n", p->conf->listens[i].tls ? "https://" : "http://",
            wr_addr_format(&p->listens[i], text, sizeof text));
  if (p->panel)
    fprintf(stderr, "weir: admin on %s\n",
            wr_addr_format(wr_panel_addr(p->panel), text, sizeof text));
}

enum wr_err wr_process_start(struct wr_process *p) {
  WR_MAGIC_CHECK(p, PROCESS_MAGIC);
  WR_CHECK(!p->started);
  for (size_t i = 0; i < p->conf->listen_count; i++) {
    if (p->bound[i] >= 0) close(p->bound[i]); /* the workers listen there by now */
    p->bound[i] = -1;
  }
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

bool wr_process_ended(const struct wr_process *p) { return p->ended; }

void wr_process_drain(struct wr_process *p) {
  WR_MAGIC_CHECK(p, PROCESS_MAGIC);
  if (p->draining || p->stopping) return;
  p->draining = true;
  atomic_store(&p->shared.draining, true);
  if (!p->o.quiet) fprintf(stderr, "weir: draining\n");
  uint32_t ms = p->conf->server.drain_ms;
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
  wr_mocks_free(p->mocks);
  if (p->loop) {
    wr_timer_clear(&p->drain_timer);
    for (int i = 0; i < 4; i++) wr_loop_turn(p->loop, 0); /* close callbacks */
    if (p->mailbox_made) wr_mailbox_fini(&p->mailbox);
    wr_panel_free(p->panel);
    left += wr_loop_free(p->loop);
  }
  if (p->slabs) left += wr_slabs_free(p->slabs);
  if (left) fprintf(stderr, "weir: %zu blocks or handles were left behind\n", left);
  for (size_t i = 0; p->bound && i < p->conf->listen_count; i++)
    if (p->bound[i] >= 0) close(p->bound[i]);
  wr_heap_free(WR_HEAP_SERVER, p->workers);
  wr_heap_free(WR_HEAP_SERVER, p->drained);
  wr_heap_free(WR_HEAP_SERVER, p->listens);
  wr_heap_free(WR_HEAP_SERVER, p->inherited);
  wr_heap_free(WR_HEAP_SERVER, p->bound);
  wr_ledger_free(p->ledger);
  if (p->depot) wr_depot_free(p->depot);
  wr_log_close(p->log);
  if (p->conf) wr_conf_free(p->conf);
  if (p->source) memset(p->source, 0, p->source_len);
  wr_heap_free(WR_HEAP_CONF, p->source);
  p->magic = 0;
  wr_heap_free(WR_HEAP_SERVER, p);
}

struct wr_loop *wr_process_loop(struct wr_process *p) { return p->loop; }

const struct wr_addr *wr_process_listen_addr(const struct wr_process *p, size_t i) {
  WR_CHECK(i < p->conf->listen_count);
  return &p->listens[i];
}

const struct wr_addr *wr_process_admin_addr(const struct wr_process *p) {
  return p->panel ? wr_panel_addr(p->panel) : NULL;
}

#include "cli/cmd_bench.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/heap.h"
#include "cli/bench_options.h"
#include "cli/bench_report.h"
#include "load/interval.h"
#include "mem/depot.h"
#include "mem/ledger.h"
#include "net/resolve.h"
#include "net/timer.h"

#define MEMORY_BYTES ((size_t)1024 * 1024 * 1024) /* reserved, not touched */
#define BODY_MAX_BYTES 49152u
#define WHY_BYTES 256
#define SAMPLE_MS 50
#define PROGRESS_SAMPLES 5
#define RESOLVE_TURNS 200

struct bench {
  struct wr_bench_options options;
  struct wr_depot *depot;       /* owned */
  struct wr_ledger *ledger;     /* owned */
  struct wr_slabs *slabs;       /* owned */
  struct wr_loop *loop;         /* owned */
  struct wr_resolver *resolver; /* owned */
  struct wr_tls_ctx *tls;       /* owned; or NULL */
  struct wr_load *load;         /* owned */
  char *body;                   /* owned; or NULL */
  struct wr_timer timer;        /* of the samples */
  struct wr_load_interval interval;
  struct wr_bench_usage before;
  uint64_t start_ns, measure_ns, end_ns;
  uint64_t sample_ns, sample_events, sample_streams, sample_cpu_ns;
  uint64_t own_cpu_ns;
  uint64_t ticks;
  double events_s;
  bool measuring, probed, progress;
  bool resolved;
  char why[WHY_BYTES];
};

static struct wr_loop *volatile signal_loop; /* borrowed: set while the loop lives */

static void on_signal(int number) {
  (void)number;
  struct wr_loop *loop = signal_loop;
  if (loop != NULL) wr_loop_stop(loop);
}

static uint64_t now_ns(clockid_t clock) {
  struct timespec t;
  (void)clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void begin_measuring(struct bench *b) {
  const struct wr_load_totals *t = wr_load_totals(b->load);
  wr_load_reset(b->load);
  b->measuring = true;
  if (b->options.probe.count > 0) b->probed = wr_bench_probe_read(&b->options.probe, &b->before);
  b->measure_ns = b->sample_ns = now_ns(CLOCK_MONOTONIC);
  b->own_cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
  b->sample_events = t->events;
  b->sample_streams = t->whole + t->failed + t->left;
  b->sample_cpu_ns = b->before.cpu_ns;
}

/* One sample of the figure: what the time since the last one came to. */
static void take_sample(struct bench *b, uint64_t at_ns) {
  const struct wr_load_totals *t = wr_load_totals(b->load);
  uint64_t streams = t->whole + t->failed + t->left;
  double seconds = (double)(at_ns - b->sample_ns) / 1e9;
  uint64_t events = t->events - b->sample_events;
  if (seconds <= 0) return;
  b->events_s = (double)events / seconds;
  if (b->options.figure == WR_BENCH_EVENTS) {
    wr_load_interval_add(&b->interval, b->events_s);
  } else if (b->options.figure == WR_BENCH_STREAMS) {
    wr_load_interval_add(&b->interval, (double)(streams - b->sample_streams) / seconds);
  } else if (b->probed && events > 0) {
    uint64_t cpu_ns = wr_bench_probe_cpu_ns(&b->options.probe);
    wr_load_interval_add(&b->interval, (double)(cpu_ns - b->sample_cpu_ns) / (double)events);
    b->sample_cpu_ns = cpu_ns;
  }
  b->sample_ns = at_ns;
  b->sample_events = t->events;
  b->sample_streams = streams;
}

static bool is_done(const struct bench *b, uint64_t at_ns) {
  if (wr_load_is_over(b->load)) return true;
  if (!b->measuring || at_ns <= b->measure_ns) return false;
  if (at_ns - b->measure_ns >= b->options.time_us * 1000) return true;
  double width = wr_load_interval_width(&b->interval);
  return b->options.until > 0 && width >= 0 && width <= b->options.until;
}

static void tick(struct wr_timer *timer) {
  struct bench *b = WR_CONTAINER(timer, struct bench, timer);
  uint64_t at_ns = now_ns(CLOCK_MONOTONIC);
  /* Connections that are opened for the first time belong to the warming up, however short. */
  bool warm = at_ns - b->start_ns >= b->options.warmup_us * 1000;
  if (!b->measuring && warm)
    begin_measuring(b);
  else if (b->measuring)
    take_sample(b, at_ns);
  if (b->progress && ++b->ticks % PROGRESS_SAMPLES == 0)
    wr_bench_progress((double)(at_ns - b->start_ns) / 1e9, b->load, b->events_s,
                      wr_load_interval_width(&b->interval));
  if (is_done(b, at_ns))
    wr_loop_stop(b->loop);
  else
    wr_timer_set(b->loop, timer, SAMPLE_MS);
}

/* One address is measured: IPv4 where there is one, as a name may have others that nobody
 * serves. */
static const struct wr_addr *one_of(const struct wr_addr *addrs, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const struct sockaddr *a = (const void *)addrs[i].raw;
    if (a->sa_family == AF_INET) return &addrs[i];
  }
  return addrs;
}

static void resolved(void *ctx, enum wr_err err, const struct wr_addr *addrs, size_t n,
                     const char *why) {
  struct bench *b = ctx;
  b->resolved = true;
  if (err == WR_OK && n > 0)
    b->options.plan.addr = *one_of(addrs, n);
  else
    (void)snprintf(b->why, sizeof b->why, "%.100s: %.100s", b->options.host, why);
}

static enum wr_err find_server(struct bench *b) {
  struct wr_addr addrs[WR_RESOLVE_MAX];
  struct wr_resolve *lookup = NULL;
  size_t n = 0;
  enum wr_err err = wr_resolver_new(b->loop, &b->resolver);
  if (err == WR_OK)
    err = wr_resolve_start(b->resolver, b->options.host, b->options.url.port, resolved, b, addrs,
                           &n, &lookup);
  if (err != WR_OK) return err;
  if (n > 0) {
    b->options.plan.addr = *one_of(addrs, n);
    return WR_OK;
  }
  for (int i = 0; !b->resolved && i < RESOLVE_TURNS; i++) wr_loop_turn(b->loop, SAMPLE_MS);
  if (!b->resolved) wr_resolve_cancel(lookup);
  return b->options.plan.addr.len > 0 ? WR_OK : WR_E_RESOLVE;
}

static enum wr_err read_body(struct bench *b) {
  if (b->options.body_file == NULL) return WR_OK;
  b->body = wr_heap_alloc(WR_HEAP_CLI, BODY_MAX_BYTES);
  if (b->body == NULL) return WR_E_NOMEM;
  int fd = open(b->options.body_file, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd >= 0 ? read(fd, b->body, BODY_MAX_BYTES) : -1;
  if (fd >= 0) close(fd);
  if (n <= 0 || (size_t)n == BODY_MAX_BYTES) {
    (void)snprintf(b->why, sizeof b->why, "%s can't be read, or is empty or over 48 KiB",
                   b->options.body_file);
    return WR_E_IO;
  }
  b->options.plan.body = wr_span_make(b->body, (size_t)n);
  return WR_OK;
}

static enum wr_err start(struct bench *b) {
  struct wr_tls_options tls = { .ca_file = b->options.ca_file, .verify = !b->options.insecure };
  enum wr_err err = wr_depot_new(MEMORY_BYTES, &b->depot);
  if (err == WR_OK) err = wr_ledger_new(MEMORY_BYTES, NULL, &b->ledger);
  if (err == WR_OK) err = wr_slabs_new(b->depot, b->ledger, &b->slabs);
  if (err == WR_OK) err = wr_loop_new(b->slabs, &b->loop);
  if (err == WR_OK) err = find_server(b);
  if (err == WR_OK) err = read_body(b);
  if (err == WR_OK && b->options.url.tls) {
    err = wr_tls_ctx_new(&tls, &b->tls, b->why, sizeof b->why);
    b->options.plan.tls = b->tls;
  }
  if (err == WR_OK) err = wr_load_new(b->loop, &b->options.plan, &b->load);
  return err;
}

static void stop(struct bench *b) {
  wr_load_free(b->load);
  if (b->resolver != NULL) wr_resolver_free(b->resolver);
  if (b->loop != NULL) {
    for (int i = 0; i < 4; i++) wr_loop_turn(b->loop, 0);
    unsigned left = wr_loop_free(b->loop);
    (void)WR_EXPECT(left == 0);
  }
  wr_tls_ctx_free(b->tls);
  if (b->slabs != NULL) (void)wr_slabs_free(b->slabs);
  wr_ledger_free(b->ledger);
  if (b->depot != NULL) wr_depot_free(b->depot);
  wr_heap_free(WR_HEAP_CLI, b->body);
}

static int report(struct bench *b, const struct wr_bench_usage *after, uint32_t open,
                  uint64_t backlog) {
  static const char *const figures[] = { "events", "streams", "cpu" };
  const struct wr_load_totals *t = wr_load_totals(b->load);
  const struct wr_load_plan *plan = &b->options.plan;
  struct wr_bench_result r = { .url = b->options.url_text, .plan = plan, .totals = t };
  r.mode = plan->hold ? "held" : plan->rate > 0 ? "open loop" : "closed loop";
  r.figure = figures[b->options.figure];
  r.width = wr_load_interval_width(&b->interval);
  r.seconds = (double)(b->end_ns - b->measure_ns) / 1e9;
  r.own_cpu = (double)b->own_cpu_ns / (r.seconds > 0 ? r.seconds : 1) / 1e9;
  r.open = open;
  r.backlog = backlog;
  r.before = b->before;
  r.after = *after;
  r.probed = b->probed;
  if (b->options.probe.count > 0 && !r.probed)
    (void)fprintf(stderr, "weir bench: the processes of --pid, or --admin, can't be read\n");
  if (b->options.json)
    wr_bench_print_json(&r);
  else
    wr_bench_print_table(&r);
  uint64_t faults = 0;
  for (int i = 0; i < WR_LOAD_FAULTS; i++) faults += t->faults[i];
  return faults > 0 || t->failed > 0 || t->events == 0 ? 1 : 0;
}

static int measure(struct bench *b) {
  struct sigaction action = { .sa_handler = on_signal };
  signal_loop = b->loop;
  (void)sigaction(SIGINT, &action, NULL);
  (void)sigaction(SIGTERM, &action, NULL);
  b->progress = !b->options.quiet && isatty(2);
  b->start_ns = now_ns(CLOCK_MONOTONIC);
  wr_timer_init(&b->timer, tick);
  wr_timer_set(b->loop, &b->timer, SAMPLE_MS);
  if (b->options.warmup_us == 0) begin_measuring(b);
  wr_load_start(b->load);
  wr_loop_run(b->loop);
  signal_loop = NULL;
  wr_timer_clear(&b->timer);
  if (!b->measuring) begin_measuring(b);
  b->end_ns = wr_load_is_over(b->load) ? wr_load_over_ns(b->load) : now_ns(CLOCK_MONOTONIC);
  b->own_cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID) - b->own_cpu_ns;
  uint32_t open = wr_load_open(b->load);
  uint64_t backlog = wr_load_backlog(b->load);
  if (b->progress) wr_bench_progress_end();
  /* The processes are looked at while the streams are still there; then what still waits counts. */
  struct wr_bench_usage after = { 0 };
  if (b->probed) b->probed = wr_bench_probe_read(&b->options.probe, &after);
  wr_load_stop(b->load);
  return report(b, &after, open, backlog);
}

int wr_cmd_bench(int argc, char **argv) {
  static struct bench b;
  if (!wr_bench_options_parse(&b.options, argc, argv)) return 2;
  if (b.options.help) {
    wr_bench_options_help();
    return 0;
  }
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
  }
  (void)signal(SIGPIPE, SIG_IGN);
  enum wr_err err = start(&b);
  int code = 1;
  if (err == WR_OK)
    code = measure(&b);
  else
    (void)fprintf(stderr, "weir bench: %s\n", b.why[0] != 0 ? b.why : wr_err_text(err));
  stop(&b);
  return code;
}

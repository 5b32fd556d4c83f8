/* load.c: the benchmark's load and its measure; see load.h.
 *
 *   load MODE RELAY_PORT UPSTREAM_PORT PID[,PID…] [--streams N] [--batch N] [--window N] [--rate N]
 *        [--per-stream N] [--seconds S]
 *
 *   saturated  every stream has up to `window` events under way, `batch` of them a write
 *   paced      every stream gets `rate` events a second, each alone
 *   short      each stream has `per-stream` events and a connection of its own; `streams` at a time
 *   idle       every stream gets one event and then nothing: memory
 *   slow       the upstream writes what it can, the clients do not read: memory, once nothing moves
 *
 * PIDs are those of the relay. Prints one line of name=value; exits 1 if any byte was wrong. */
#include "load.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS 5000000000u

enum { MAX_PIDS = 16, EPOLL_EVENTS = 512, LATENCY_SLOTS = 100000 };

struct options opt = { .streams = 32, .batch = 1, .window = 64, .rate = 50, .seconds = 2 };
struct stream streams[MAX_STREAMS];
uint64_t events_got, streams_done, failures;

static int epoll_fd;
static int pids[MAX_PIDS];
static int pid_count;
static int opened;
static bool measuring;
/* Microseconds from the upstream's write to the client's read. */
static uint32_t latency_us[LATENCY_SLOTS];

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void fail(const char *what, const struct stream *s) {
  if (failures++ < 5) {
    fprintf(stderr, "load: %s: %s (stream %d, event %llu of %llu)\n", opt.mode, what,
            s ? s->id : -1, s ? (unsigned long long)s->got : 0,
            s ? (unsigned long long)s->sent : 0);
  }
}

void watch(struct end *end, int op, uint32_t events) {
  struct epoll_event ev = { .events = events, .data.ptr = end };
  if (epoll_ctl(epoll_fd, op, end->fd, &ev) != 0) {
    perror("epoll_ctl");
    exit(2);
  }
}

/* --- What the relay used. */

static uint64_t cpu_of_ns(int pid) {
  char path[300];
  uint64_t sum = 0;
  snprintf(path, sizeof(path), "/proc/%d/task", pid);
  DIR *d = opendir(path);
  if (!d) return 0;
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    unsigned long long ns;
    snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", pid, e->d_name);
    FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
    if (!f) continue;
    if (fscanf(f, "%llu", &ns) == 1) sum += ns;
    fclose(f);
  }
  closedir(d);
  return sum;
}

static uint64_t cpu_ns(void) {
  uint64_t sum = 0;
  for (int i = 0; i < pid_count; i++) sum += cpu_of_ns(pids[i]);
  return sum;
}

/* Sum of a field of smaps_rollup over the relay's processes, in KB. */
static long memory_kb(const char *field) {
  long sum = 0;
  for (int i = 0; i < pid_count; i++) {
    char line[256];
    snprintf(line, sizeof(line), "/proc/%d/smaps_rollup", pids[i]);
    FILE *f = fopen(line, "r");
    if (!f) continue;
    while (fgets(line, sizeof(line), f)) {
      size_t n = strlen(field);
      if (strncmp(line, field, n) == 0 && line[n] == ':') sum += strtol(line + n + 1, NULL, 10);
    }
    fclose(f);
  }
  return sum;
}

/* What a process would give back by leaving: its own pages, and its part of what processes share
 * by writing. */
static long own_kb(void) { return memory_kb("Pss_Anon") + memory_kb("Pss_Shmem"); }

/* --- The loop. */

static void end_ready(struct end *end, uint32_t events) {
  uint64_t ticks;
  switch (end->kind) {
  case END_LISTENER: up_accept(end); break;
  case END_UP: up_ready((struct up *)end, events); break;
  case END_CLIENT: client_ready((struct client *)end, events); break;
  case END_TIMER: (void)!read(end->fd, &ticks, sizeof(ticks)); break;
  }
}

static void turn(int timeout_ms) {
  static struct epoll_event events[EPOLL_EVENTS];
  int n = epoll_wait(epoll_fd, events, EPOLL_EVENTS, timeout_ms);
  /* Upstream connections end in a later turn than the clients, so no event points to freed
   * memory. */
  for (int i = 0; i < n; i++) end_ready(events[i].data.ptr, events[i].events);
}

void stream_opened(struct stream *s) {
  (void)s;
  opened++;
}

void stream_progress(struct stream *s) {
  if (measuring && s->got == s->sent) {
    uint64_t us = (now_ns() - s->sent_at_ns) / 1000;
    latency_us[us < LATENCY_SLOTS ? us : LATENCY_SLOTS - 1]++;
  }
  if (s->complete && opt.per_stream && measuring) client_start(s);
}

static uint32_t quantile_us(double q) {
  uint64_t all = 0;
  uint64_t seen = 0;
  for (int i = 0; i < LATENCY_SLOTS; i++) all += latency_us[i];
  for (uint32_t i = 0; i < LATENCY_SLOTS; i++) {
    seen += latency_us[i];
    if (all && (double)seen >= q * (double)all) return i;
  }
  return 0;
}

static void start_all(void) {
  for (int i = 0; i < opt.streams; i++) {
    streams[i].id = i;
    client_start(&streams[i]);
    /* Not more at once than a listener's queue holds. */
    uint64_t until = now_ns() + PATIENCE_NS;
    while (!opt.per_stream && opened <= i && now_ns() < until) turn(1);
  }
}

static void finish_all(void) {
  measuring = false;
  for (int i = 0; i < opt.streams; i++) {
    /* A write that is under way goes out first. */
    uint64_t until = now_ns() + PATIENCE_NS;
    while (streams[i].up && streams[i].up->out_len && now_ns() < until) turn(1);
    up_finish(&streams[i]);
  }
  uint64_t until = now_ns() + 2 * PATIENCE_NS;
  for (int i = 0; i < opt.streams; i++) {
    while (!streams[i].complete && streams[i].client.end.fd >= 0 && now_ns() < until) turn(1);
    if (!streams[i].complete) fail("the stream did not complete", &streams[i]);
  }
}

static void run_saturated(uint64_t until) {
  while (now_ns() < until) {
    bool wrote = false;
    for (int i = 0; i < opt.streams; i++) {
      struct stream *s = &streams[i];
      uint64_t under_way = s->sent - s->got;
      if (under_way + (uint64_t)opt.batch <= (uint64_t)opt.window) wrote |= up_send(s, opt.batch);
    }
    turn(wrote ? 0 : 1);
  }
}

/* Writes are due one after the other at equal distances, so that each comes alone. */
static void run_paced(uint64_t until) {
  static struct end timer = { END_TIMER, -1 };
  static uint64_t due_ns;
  static int next;
  uint64_t step_ns = 1000000000u / (uint64_t)(opt.rate * opt.streams);
  if (timer.fd < 0) {
    timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(&timer, EPOLL_CTL_ADD, EPOLLIN);
    due_ns = now_ns();
  }
  while (now_ns() < until) {
    while (due_ns <= now_ns()) {
      (void)up_send(&streams[next], 1);
      next = (next + 1) % opt.streams;
      due_ns += step_ns;
    }
    struct itimerspec at = { 0 };
    at.it_value.tv_sec = (time_t)(due_ns / 1000000000u);
    at.it_value.tv_nsec = (long)(due_ns % 1000000000u);
    (void)timerfd_settime(timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
    turn(1);
  }
}

static void run_waiting(uint64_t until) {
  while (now_ns() < until) turn(10);
}

/* Until the kernel's buffers are full and the relay has stopped reading, which on a busy machine
 * takes longer than the time given: what is on its way isn't what a slow reader costs. */
static void run_slow(uint64_t until) {
  uint64_t last = now_ns(), settled_ns = 500000000u, limit = until + 2 * PATIENCE_NS;
  while (now_ns() < until || (now_ns() - last < settled_ns && now_ns() < limit)) {
    for (int i = 0; i < opt.streams; i++) {
      uint64_t before = streams[i].sent;
      (void)up_send(&streams[i], MAX_BATCH);
      if (streams[i].sent != before) last = now_ns();
    }
    turn(1);
  }
}

static void run_for(double seconds) {
  uint64_t until = now_ns() + (uint64_t)(seconds * 1e9);
  if (strcmp(opt.mode, "saturated") == 0) run_saturated(until);
  else if (strcmp(opt.mode, "paced") == 0) run_paced(until);
  else if (strcmp(opt.mode, "slow") == 0) run_slow(until);
  else run_waiting(until);
}

static void measure_cpu(void) {
  measuring = opt.per_stream > 0;
  start_all();
  run_for(0.4);
  measuring = true;
  memset(latency_us, 0, sizeof(latency_us));
  uint64_t events = events_got, done = streams_done, cpu = cpu_ns(), at = now_ns();
  run_for(opt.seconds);
  cpu = cpu_ns() - cpu;
  at = now_ns() - at;
  events = events_got - events;
  done = streams_done - done;
  double p50 = quantile_us(0.5), p99 = quantile_us(0.99);
  finish_all();
  printf("mode=%s events=%llu streams=%llu seconds=%.3f cpu_ms=%.3f busy=%.3f us_per_event=%.4f "
         "us_per_stream=%.3f p50_us=%.0f p99_us=%.0f all_events=%llu all_streams=%llu "
         "failures=%llu\n",
         opt.mode, (unsigned long long)events, (unsigned long long)done, (double)at / 1e9,
         (double)cpu / 1e6, (double)cpu / (double)at,
         events ? (double)cpu / 1e3 / (double)events : 0,
         done ? (double)cpu / 1e3 / (double)done : 0, p50, p99, (unsigned long long)events_got,
         (unsigned long long)streams_done, (unsigned long long)failures);
}

/* Nothing moves any more: four looks in a row say the same to within a page in a thousand. */
static void run_settled(void) {
  run_for(opt.seconds);
  long last = own_kb();
  for (int calm = 0, n = 0; calm < 4 && n < 80; n++) {
    run_for(0.25);
    long now = own_kb();
    calm = labs(now - last) <= 4 + last / 1000 ? calm + 1 : 0;
    last = now;
  }
}

static void measure_memory(void) {
  long base = memory_kb("Rss"), before = own_kb();
  start_all();
  run_settled();
  long after = own_kb();
  if (opt.slow) {
    opt.slow = false;
    for (int i = 0; i < opt.streams; i++) watch(&streams[i].client.end, EPOLL_CTL_MOD, EPOLLIN);
  }
  finish_all();
  printf("mode=%s streams=%d base_rss_kb=%ld own_kb=%ld kb_per_stream=%.3f left_kb=%ld "
         "failures=%llu\n",
         opt.mode, opt.streams, base, before, (double)(after - before) / opt.streams,
         own_kb() - before, (unsigned long long)failures);
}

static void parse_pids(char *list) {
  for (char *p = list; *p && pid_count < MAX_PIDS;) {
    pids[pid_count++] = (int)strtol(p, &p, 10);
    if (*p == ',') p++;
  }
}

static int parse(int argc, char **argv) {
  if (argc < 5) return 2;
  opt.mode = argv[1];
  opt.relay_port = (uint16_t)strtoul(argv[2], NULL, 10);
  opt.up_port = (uint16_t)strtoul(argv[3], NULL, 10);
  parse_pids(argv[4]);
  opt.slow = strcmp(opt.mode, "slow") == 0;
  for (int i = 5; i + 1 < argc; i += 2) {
    int n = (int)strtol(argv[i + 1], NULL, 10);
    if (strcmp(argv[i], "--streams") == 0) opt.streams = n;
    else if (strcmp(argv[i], "--batch") == 0) opt.batch = n;
    else if (strcmp(argv[i], "--window") == 0) opt.window = n;
    else if (strcmp(argv[i], "--rate") == 0) opt.rate = n;
    else if (strcmp(argv[i], "--per-stream") == 0) opt.per_stream = n;
    else if (strcmp(argv[i], "--seconds") == 0) opt.seconds = strtod(argv[i + 1], NULL);
    else return 2;
  }
  bool fits = opt.streams > 0 && opt.streams <= MAX_STREAMS;
  fits = fits && opt.batch > 0 && opt.batch <= MAX_BATCH;
  return fits && opt.per_stream <= MAX_BATCH ? 0 : 2;
}

int main(int argc, char **argv) {
  if (parse(argc, argv) != 0) {
    fputs("load: see the head of load.c for its arguments\n", stderr);
    return 2;
  }
  (void)signal(SIGPIPE, SIG_IGN);
  struct rlimit fds = { 65536, 65536 };
  (void)setrlimit(RLIMIT_NOFILE, &fds);
  epoll_fd = epoll_create1(0);
  event_init();
  up_listen(opt.up_port);
  if (strcmp(opt.mode, "idle") == 0 || opt.slow) measure_memory();
  else measure_cpu();
  return failures ? 1 : 0;
}

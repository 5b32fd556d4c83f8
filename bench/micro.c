/* The parts of weir, each alone: nanoseconds of the calling thread's CPU time per operation.
 *   micro pool|malloc [threads]   get and put of 256 bytes, LIFO and in a window of 64; blocks that
 *                                 another thread frees. `malloc` is whatever is preloaded.
 *   micro events FILE…            SSE and JSON on recordings, one payload a line
 *   micro head                    HTTP/1.1 request heads
 * Prints one line a result: part, case, threads, nanoseconds, and what else it says. The median of
 * nine rounds counts. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cjson/cJSON.h>

#include "mem/slab.h"
#include "relay/dialect.h"
#include "wire/http1_parse.h"
#include "wire/sse_parse.h"

#define ROUNDS 9
#define OBJECT_BYTES 256
#define WINDOW 64
#define QUEUE 1024 /* blocks on their way to the thread that frees them; a power of two */
#define TEXT_ROOM (8u << 20)

static void fail(const char *what) {
  fprintf(stderr, "micro: %s\n", what);
  exit(1);
}

static double thread_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double median(double *v, size_t n) {
  qsort(v, n, sizeof *v, by_value);
  return v[n / 2];
}

/* --- Memory. */

static struct wr_depot *depot;
static struct wr_ledger *ledger;
static bool use_pool;
static const char *allocator = "pool";

struct hand {
  struct wr_slabs *slabs; /* owned; NULL: malloc */
};

static void *get(struct hand *h) {
  if (!h->slabs) {
    char *p = malloc(OBJECT_BYTES);
    if (!p) fail("malloc");
    *(volatile char *)p = 1;
    return p;
  }
  struct wr_block *b = wr_slabs_alloc(h->slabs, OBJECT_BYTES, WR_CHARGE_UPSTREAM);
  if (!b) fail("the pool is exhausted");
  *(volatile char *)b->data = 1;
  return b;
}

static void put(struct hand *h, void *p) {
  if (h->slabs)
    wr_block_unref(p);
  else
    free(p);
}

static double lifo(struct hand *h, size_t n) {
  double begin = thread_ns();
  for (size_t i = 0; i < n; i++) put(h, get(h));
  return (thread_ns() - begin) / (double)n;
}

/* The oldest of 64 goes when a new one comes, as frames do. */
static double window(struct hand *h, size_t n) {
  void *live[WINDOW];
  for (size_t i = 0; i < WINDOW; i++) live[i] = get(h);
  double begin = thread_ns();
  for (size_t i = 0; i < n; i++) {
    put(h, live[i % WINDOW]);
    live[i % WINDOW] = get(h);
  }
  double ns = (thread_ns() - begin) / (double)n;
  for (size_t i = 0; i < WINDOW; i++) put(h, live[i]);
  return ns;
}

struct job {
  double (*run)(struct hand *h, size_t n);
  size_t n;
  double ns[ROUNDS];
  pthread_barrier_t *start; /* borrowed: in_threads */
};

static void *job_main(void *arg) {
  struct job *j = arg;
  struct hand h = { NULL };
  if (use_pool && wr_slabs_new(depot, ledger, &h.slabs) != WR_OK) fail("slab set");
  (void)j->run(&h, j->n / 4); /* warm */
  for (unsigned i = 0; i < ROUNDS; i++) {
    pthread_barrier_wait(j->start);
    j->ns[i] = j->run(&h, j->n);
    if (h.slabs) wr_slabs_tick(h.slabs);
  }
  if (h.slabs && wr_slabs_free(h.slabs)) fail("blocks are missing");
  return NULL;
}

static void in_threads(const char *name, double (*run)(struct hand *, size_t), unsigned threads) {
  pthread_t id[64];
  static struct job jobs[64];
  pthread_barrier_t start;
  pthread_barrier_init(&start, NULL, threads);
  for (unsigned i = 0; i < threads; i++) {
    jobs[i] = (struct job){ .run = run, .n = 2000000, .start = &start };
    if (pthread_create(&id[i], NULL, job_main, &jobs[i])) fail("thread");
  }
  double sum = 0;
  for (unsigned i = 0; i < threads; i++) {
    pthread_join(id[i], NULL);
    sum += median(jobs[i].ns, ROUNDS);
  }
  printf("part=%s case=%s threads=%u ns=%.2f\n", allocator, name, threads, sum / threads);
  pthread_barrier_destroy(&start);
}

/* One thread gets, another puts. */
struct pipe {
  _Atomic size_t head, tail;
  void *slot[QUEUE];
  size_t n;
  double ns;
};

static void *put_main(void *arg) {
  struct pipe *p = arg;
  double begin = thread_ns();
  for (size_t i = 0; i < p->n; i++) {
    while (atomic_load_explicit(&p->head, memory_order_acquire) == i) sched_yield();
    void *x = p->slot[i % QUEUE];
    atomic_store_explicit(&p->tail, i + 1, memory_order_release);
    if (use_pool)
      wr_block_give_remote(x);
    else
      free(x);
  }
  p->ns = thread_ns() - begin;
  return NULL;
}

static void across(void) {
  double ns[ROUNDS];
  struct hand h = { NULL };
  if (use_pool && wr_slabs_new(depot, ledger, &h.slabs) != WR_OK) fail("slab set");
  for (unsigned round = 0; round < ROUNDS; round++) {
    static struct pipe p;
    memset(&p, 0, sizeof p);
    p.n = 300000;
    pthread_t id;
    if (pthread_create(&id, NULL, put_main, &p)) fail("thread");
    double begin = thread_ns();
    for (size_t i = 0; i < p.n; i++) {
      void *x = get(&h);
      while (i - atomic_load_explicit(&p.tail, memory_order_acquire) >= QUEUE) sched_yield();
      p.slot[i % QUEUE] = x;
      atomic_store_explicit(&p.head, i + 1, memory_order_release);
    }
    double mine = thread_ns() - begin;
    pthread_join(id, NULL);
    ns[round] = (mine + p.ns) / (double)p.n;
    if (h.slabs) wr_slabs_tick(h.slabs);
  }
  if (h.slabs && wr_slabs_free(h.slabs)) fail("blocks are missing");
  printf("part=%s case=across threads=2 ns=%.2f\n", allocator, median(ns, ROUNDS));
}

static void memory(const char *what, unsigned most) {
  use_pool = strcmp(what, "pool") == 0;
  const char *name = getenv("MICRO_ALLOCATOR");
  if (!use_pool) allocator = name ? name : "malloc";
  if (use_pool && (wr_depot_new(64u << 20, &depot) != WR_OK ||
                   wr_ledger_new(64u << 20, NULL, &ledger) != WR_OK))
    fail("pool");
  for (unsigned t = 1; t <= most; t *= 2) {
    in_threads("lifo", lifo, t);
    in_threads("window", window, t);
  }
  across();
}

/* --- Events. */

struct text {
  char *bytes; /* owned */
  size_t len;
  size_t events;
};

static void load(const char *path, struct text *as_sse, struct text *lines) {
  FILE *f = fopen(path, "r");
  if (!f) fail(path);
  static char line[1u << 20];
  as_sse->len = lines->len = 0;
  as_sse->events = lines->events = 0;
  while (fgets(line, sizeof line, f)) {
    size_t n = strcspn(line, "\r\n");
    if (n == 0 || line[0] != '{') continue;
    if (as_sse->len + n + 16 > TEXT_ROOM) break;
    line[n] = '\0';
    as_sse->len += (size_t)snprintf(as_sse->bytes + as_sse->len, TEXT_ROOM - as_sse->len,
                                    "data: %s\n\n", line);
    memcpy(lines->bytes + lines->len, line, n);
    lines->bytes[lines->len + n] = '\0';
    lines->len += n + 1;
    as_sse->events++;
    lines->events++;
  }
  fclose(f);
}

static size_t parse_sse(const struct text *t) {
  struct wr_sse_parser p;
  struct wr_sse_event ev;
  wr_sse_init(&p, 0);
  struct wr_span in = wr_span_make(t->bytes, t->len);
  size_t events = 0, used = 0;
  while (in.len && wr_sse_next(&p, in, &used, &ev) == WR_OK) {
    in = wr_span_sub(in, used, in.len - used);
    events++;
  }
  return events;
}

static struct wr_dialects dialects;
static enum wr_dialect dialect;

/* As the relay reads an event: by its shape, or by a scan. */
static size_t read_events(const struct text *t) {
  size_t found = 0;
  for (const char *p = t->bytes; p < t->bytes + t->len; p += strlen(p) + 1) {
    struct wr_event ev = { .data = wr_span_make(p, strlen(p)) };
    struct wr_usage usage = { -1, -1, -1, -1 };
    if (wr_dialect_read(&dialects, dialect, &ev, &usage) == WR_OK) found++;
  }
  return found;
}

static size_t scan_events(const struct text *t) {
  struct wr_json_value v[WR_JSON_MAX_PATHS];
  size_t found = 0;
  for (const char *p = t->bytes; p < t->bytes + t->len; p += strlen(p) + 1)
    if (wr_json_scan(&dialects.progs[dialect], wr_span_make(p, strlen(p)), v) == WR_OK) found++;
  return found;
}

static size_t cjson_read(const struct text *t) {
  size_t found = 0;
  for (const char *p = t->bytes; p < t->bytes + t->len; p += strlen(p) + 1) {
    cJSON *doc = cJSON_Parse(p);
    const cJSON *choice = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(doc, "choices"), 0);
    const cJSON *delta = cJSON_GetObjectItemCaseSensitive(choice, "delta");
    (void)cJSON_GetObjectItemCaseSensitive(delta, "content");
    (void)cJSON_GetObjectItemCaseSensitive(choice, "finish_reason");
    found += doc != NULL;
    cJSON_Delete(doc);
  }
  return found;
}

static size_t cjson_reprint(const struct text *t) {
  size_t found = 0;
  for (const char *p = t->bytes; p < t->bytes + t->len; p += strlen(p) + 1) {
    cJSON *doc = cJSON_Parse(p);
    char *out = cJSON_PrintUnformatted(doc);
    found += out != NULL;
    cJSON_free(out);
    cJSON_Delete(doc);
  }
  return found;
}

static void time_text(const char *what, const char *file, size_t (*run)(const struct text *),
                      const struct text *t) {
  double ns[ROUNDS];
  size_t times = 4000000 / (t->len + 1) + 1;
  if (run(t) != t->events) fail("an event was not read");
  for (unsigned round = 0; round < ROUNDS; round++) {
    double begin = thread_ns();
    for (size_t i = 0; i < times; i++) (void)run(t);
    ns[round] = (thread_ns() - begin) / (double)times;
  }
  double each = median(ns, ROUNDS);
  const char *base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
  printf("part=events case=%s file=%s ns=%.1f gb_per_s=%.2f bytes=%.0f\n", what, base,
         each / (double)t->events, (double)t->len / each, (double)t->len / (double)t->events);
}

static void events(int count, char **files) {
  if (wr_dialects_init(&dialects) != WR_OK) fail("dialects");
  struct text sse = { .bytes = malloc(TEXT_ROOM) }, lines = { .bytes = malloc(TEXT_ROOM) };
  if (!sse.bytes || !lines.bytes) fail("memory");
  for (int i = 0; i < count; i++) {
    load(files[i], &sse, &lines);
    if (!sse.events) continue;
    dialect = strstr(files[i], "anthropic")   ? WR_DIALECT_ANTHROPIC
              : strstr(files[i], "responses") ? WR_DIALECT_RESPONSES
                                              : WR_DIALECT_CHAT;
    time_text("sse", files[i], parse_sse, &sse);
    time_text("event", files[i], read_events, &lines);
    time_text("scan", files[i], scan_events, &lines);
    time_text("cjson", files[i], cjson_read, &lines);
    time_text("cjson-reprint", files[i], cjson_reprint, &lines);
  }
  free(sse.bytes);
  free(lines.bytes);
}

/* --- Heads. */

static void heads(void) {
  static const char text[] =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nAccept: application/json\r\n"
      "Content-Type: application/json\r\nUser-Agent: OpenAI/JS 6.49.0\r\n"
      "X-Stainless-Lang: js\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n"
      "X-Stainless-Runtime: node\r\nX-Stainless-Retry-Count: 0\r\n"
      "Authorization: Bearer sk-0123456789abcdef0123456789abcdef\r\n"
      "Accept-Encoding: gzip, deflate\r\nContent-Length: 183\r\nConnection: keep-alive\r\n\r\n";
  struct wr_span bytes = wr_span_make(text, sizeof text - 1);
  const size_t n = 200000;
  double ns[ROUNDS];
  static struct wr_head head;
  for (unsigned round = 0; round < ROUNDS; round++) {
    double begin = thread_ns();
    for (size_t i = 0; i < n; i++) {
      size_t resume = 0, off = 0, len = 0;
      if (wr_http1_head_end(bytes, &resume, 16384, &off, &len) != WR_OK ||
          wr_http1_parse_request(wr_span_sub(bytes, off, len), NULL, &head) != WR_OK)
        fail("the head was refused");
    }
    ns[round] = (thread_ns() - begin) / (double)n;
  }
  double each = median(ns, ROUNDS);
  printf("part=head case=request threads=1 ns=%.1f per_s=%.0f gb_per_s=%.2f\n", each, 1e9 / each,
         (double)bytes.len / each);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  if (strcmp(what, "pool") == 0 || strcmp(what, "malloc") == 0)
    memory(what, argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) & 63u : 2);
  else if (strcmp(what, "events") == 0)
    events(argc - 2, argv + 2);
  else if (strcmp(what, "head") == 0)
    heads();
  else
    fail("usage: micro pool|malloc [threads] | events FILE... | head");
  return 0;
}

/* What each idea is worth: one relay loop with one idea after another taken out of it, in one run.
 *   ablation RECORDING [rounds]
 * Real sockets, weir's own parsers and pool. A turn: the upstream has written a batch of events,
 * each in a chunk of its own; the relay reads, cuts, understands and forwards them; the client
 * reads. Only the relay's CPU time is counted, kernel included. All variants take turns, medians
 * over the rounds count; the client compares what it gets with what was sent.
 *
 *   weir         views of the receive block, events read without a tree, one write a turn
 *   copies       instead of views: each event in a pool block of its own
 *   malloc       instead of the pool: each event copied into memory from malloc
 *   write each   instead of one write a turn: one an event
 *   reserialise  instead of forwarding bytes: cJSON parses each event and prints it again
 *   all          malloc, reserialise and write each: what most gateways do */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "mem/rxbuf.h"
#include "relay/dialect.h"
#include "relay/stream.h"
#include "wire/http1_body.h"
#include "wire/http1_write.h"
#include "wire/sse_parse.h"

#define MAX_EVENTS 4096
#define MAX_BATCH 64
#define TURNS 400 /* of a round */
#define ROOM (1u << 20)

enum { COPY = 1, MALLOC = 2, WRITE_EACH = 4, RESERIALISE = 8 };
static const struct variant {
  const char *name;
  unsigned without;
} variants[] = {
  { "weir", 0 },
  { "copies", COPY },
  { "malloc", MALLOC },
  { "write-each", WRITE_EACH },
  { "reserialise", RESERIALISE },
  { "all", MALLOC | WRITE_EACH | RESERIALISE },
};
#define VARIANTS (sizeof variants / sizeof *variants)

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double thread_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* A connected pair over the loopback. */
static void tcp_pair(int fd[2]) {
  struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  socklen_t len = sizeof a;
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  if (bind(listener, (struct sockaddr *)&a, len) || listen(listener, 1)) fail("listen");
  if (getsockname(listener, (struct sockaddr *)&a, &len)) fail("name");
  fd[0] = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd[0], (struct sockaddr *)&a, len)) fail("connect");
  fd[1] = accept(listener, NULL, NULL);
  if (fd[1] < 0) fail("accept");
  for (int i = 0; i < 2; i++) setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  close(listener);
}

/* --- The recording: events, and the same as chunks. */

static char *chunk[MAX_EVENTS];
static size_t chunk_len[MAX_EVENTS], events;

static void load(const char *path) {
  static char line[1u << 16], event[ROOM];
  FILE *f = fopen(path, "r");
  if (!f) fail(path);
  while (events < MAX_EVENTS && fgets(line, sizeof line, f)) {
    line[strcspn(line, "\r\n")] = '\0';
    if (line[0] != '{') continue;
    /* Printed by cJSON once, so that printing it again gives the same bytes. */
    cJSON *doc = cJSON_Parse(line);
    char *text = cJSON_PrintUnformatted(doc);
    cJSON_Delete(doc);
    if (!text) continue;
    int n = snprintf(event, sizeof event, "data: %s\n\n", text);
    cJSON_free(text);
    chunk[events] = malloc((size_t)n + 32);
    if (!chunk[events]) fail("memory");
    chunk_len[events] =
        (size_t)snprintf(chunk[events], (size_t)n + 32, "%x\r\n%s\r\n", (unsigned)n, event);
    events++;
  }
  fclose(f);
  if (!events) fail("no events in the recording");
}

/* --- The relay. */

struct relay {
  unsigned without;
  int in, out;
  struct wr_rxbuf rx;
  struct wr_slabs *slabs; /* owned */
  struct wr_http1_body body;
  struct wr_sse_parser sse;
  struct wr_stream log;
  struct wr_reader reader;
  struct {
    char *bytes; /* owned: MALLOC */
    size_t len;
  } frame[MAX_BATCH];
  size_t frames;
};
static struct wr_depot *depot;
static struct wr_ledger *ledger;
static struct wr_dialects dialects;

static void write_all(int fd, struct iovec *iov, size_t count) {
  size_t want = 0;
  for (size_t i = 0; i < count; i++) want += iov[i].iov_len;
  ssize_t n = writev(fd, iov, (int)count);
  if (n < 0 || (size_t)n != want) fail("the client's socket is full");
}

/* Frames that lie side by side leave as one piece. */
static void flush_views(struct relay *r) {
  struct iovec iov[MAX_BATCH];
  size_t n = 0, left = wr_reader_left(&r->reader);
  for (size_t i = 0; i < left; i++) {
    const struct wr_frame *f = wr_reader_peek(&r->reader, i);
    if (n && (char *)iov[n - 1].iov_base + iov[n - 1].iov_len == f->view.ptr)
      iov[n - 1].iov_len += f->view.len;
    else
      iov[n++] = (struct iovec){ (void *)(uintptr_t)f->view.ptr, f->view.len };
  }
  if (n) write_all(r->out, iov, n);
  wr_reader_next(&r->reader, left);
}

static void flush_malloc(struct relay *r) {
  struct iovec iov[MAX_BATCH];
  for (size_t i = 0; i < r->frames; i++)
    iov[i] = (struct iovec){ r->frame[i].bytes, r->frame[i].len };
  if (r->frames) write_all(r->out, iov, r->frames);
  for (size_t i = 0; i < r->frames; i++) free(r->frame[i].bytes);
  r->frames = 0;
}

static void flush(struct relay *r) {
  if (r->without & MALLOC)
    flush_malloc(r);
  else
    flush_views(r);
}

/* Bytes that are no view of the receive block: written as a chunk of their own. */
static void keep_copy(struct relay *r, const char *bytes, size_t len) {
  char head[WR_HTTP1_CHUNK_HEAD_BYTES];
  size_t n = wr_http1_chunk_head(head, len), total = n + len + 2;
  struct wr_block *b = NULL;
  char *to;
  if (r->without & MALLOC) {
    to = malloc(total);
  } else {
    b = wr_slabs_alloc(r->slabs, total, WR_CHARGE_CLIENT);
    to = b ? b->data : NULL;
  }
  if (!to) fail("memory");
  memcpy(to, head, n);
  memcpy(to + n, bytes, len);
  memcpy(to + n + len, "\r\n", 2);
  if (b) {
    struct wr_view v = wr_view_take(b, 0, total);
    if (wr_stream_append(&r->log, &v, WR_EVENT_TEXT) != WR_OK) fail("log");
  } else {
    r->frame[r->frames].bytes = to;
    r->frame[r->frames++].len = total;
  }
}

static void reserialise(struct relay *r, struct wr_span data) {
  static char event[ROOM];
  cJSON *doc = cJSON_ParseWithLength(data.ptr, data.len);
  const cJSON *choice = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(doc, "choices"), 0);
  (void)cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(choice, "delta"),
                                         "content");
  char *text = cJSON_PrintUnformatted(doc);
  if (!text) fail("cJSON");
  int n = snprintf(event, sizeof event, "data: %s\n\n", text);
  cJSON_free(text);
  cJSON_Delete(doc);
  keep_copy(r, event, (size_t)n);
}

/* whole: the event with the chunk around it. */
static void take_event(struct relay *r, const struct wr_view *whole, struct wr_span raw,
                       const struct wr_sse_event *sse) {
  struct wr_event ev = { .raw = raw, .data = wr_span_at(raw.ptr, sse->data) };
  struct wr_usage usage = { -1, -1, -1, -1 };
  if (r->without & RESERIALISE) {
    reserialise(r, ev.data);
  } else {
    if (wr_dialect_read(&dialects, WR_DIALECT_CHAT, &ev, &usage) != WR_OK) fail("dialect");
    if (r->without & (COPY | MALLOC)) {
      keep_copy(r, raw.ptr, raw.len);
    } else {
      struct wr_view v = wr_view_keep(whole);
      if (wr_stream_append(&r->log, &v, ev.kind) != WR_OK) fail("log");
    }
  }
  if (r->without & WRITE_EACH) flush(r);
}

/* One turn: what is there is read, understood and forwarded. */
static void turn(struct relay *r) {
  struct wr_room room;
  if (wr_rxbuf_room(&r->rx, 16384, &room) != WR_OK) fail("pool");
  ssize_t got = read(r->in, room.ptr, room.len);
  if (got <= 0) fail("read");
  struct wr_view in = wr_rxbuf_take(&r->rx, (size_t)got);
  while (in.len) {
    size_t used = 0, cut = 0;
    struct wr_span data;
    struct wr_sse_event sse;
    enum wr_err err = wr_http1_body_next(&r->body, wr_view_span(&in), &used, &data);
    if (err != WR_OK && err != WR_E_AGAIN) fail("chunk");
    if (!data.len || wr_sse_next(&r->sse, data, &cut, &sse) != WR_OK || cut != data.len)
      fail("an event was split: use a smaller batch");
    struct wr_view whole = wr_view_sub(&in, 0, used);
    take_event(r, &whole, data, &sse);
    wr_view_drop(&whole);
    wr_view_advance(&in, used);
  }
  wr_view_drop(&in);
  flush(r);
}

static void relay_open(struct relay *r, unsigned without, int in, int out) {
  memset(r, 0, sizeof *r);
  r->without = without;
  r->in = in;
  r->out = out;
  if (wr_slabs_new(depot, ledger, &r->slabs) != WR_OK) fail("slabs");
  wr_rxbuf_init(&r->rx, r->slabs, 65536, WR_CHARGE_UPSTREAM);
  wr_http1_body_init(&r->body, WR_FRAMING_CHUNKED, 0);
  wr_sse_init(&r->sse, 0);
  wr_stream_init(&r->log, r->slabs);
  wr_reader_init(&r->reader, &r->log);
}

static void relay_close(struct relay *r) {
  wr_reader_fini(&r->reader);
  wr_stream_fini(&r->log);
  wr_rxbuf_fini(&r->rx);
  if (wr_slabs_free(r->slabs)) fail("blocks are missing");
}

/* --- A round: some turns of one variant; nanoseconds an event. */

static double clock_cost_ns;

static double run(unsigned without, size_t batch) {
  static char sent[ROOM], got[ROOM];
  int up[2], down[2];
  struct relay r;
  tcp_pair(up);
  tcp_pair(down);
  relay_open(&r, without, up[1], down[0]);
  double ns = 0;
  size_t next = 0;
  for (unsigned t = 0; t < TURNS; t++) {
    size_t len = 0;
    for (size_t i = 0; i < batch; i++, next = (next + 1) % events) {
      if (len + chunk_len[next] > 16000) fail("the batch is longer than one read");
      memcpy(sent + len, chunk[next], chunk_len[next]);
      len += chunk_len[next];
    }
    if (write(up[0], sent, len) != (ssize_t)len) fail("write");
    double begin = thread_ns();
    turn(&r);
    ns += thread_ns() - begin - clock_cost_ns;
    for (size_t have = 0; have < len;) {
      ssize_t n = read(down[1], got + have, len - have);
      if (n <= 0) fail("read");
      have += (size_t)n;
    }
    if (memcmp(sent, got, len) != 0) fail("what came is not what was sent");
  }
  relay_close(&r);
  for (int i = 0; i < 2; i++) {
    close(up[i]);
    close(down[i]);
  }
  return ns / (double)(TURNS * batch);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double median(double *v, size_t n) {
  qsort(v, n, sizeof *v, by_value);
  return v[n / 2];
}

static void measure_clock(void) {
  double v[101];
  for (size_t i = 0; i < 101; i++) {
    double begin = thread_ns();
    v[i] = thread_ns() - begin;
  }
  clock_cost_ns = median(v, 101);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: ablation RECORDING [rounds]\n");
    return 2;
  }
  load(argv[1]);
  size_t rounds = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 15;
  if (rounds < 1 || rounds > 99) rounds = 15;
  if (wr_depot_new(16u << 20, &depot) != WR_OK || wr_ledger_new(16u << 20, NULL, &ledger) != WR_OK)
    fail("pool");
  if (wr_dialects_init(&dialects) != WR_OK) fail("dialects");
  measure_clock();
  static const size_t batches[] = { 1, 4, 16, 32 };
  for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
    double ns[VARIANTS][99];
    for (size_t i = 0; i < rounds; i++)
      for (size_t v = 0; v < VARIANTS; v++)
        ns[v][i] = run(variants[v].without, batches[b]);
    double whole = 0;
    for (size_t v = 0; v < VARIANTS; v++) {
      double m = median(ns[v], rounds);
      if (v == 0) whole = m;
      printf("batch=%zu variant=%s ns=%.0f events_per_cpu_s=%.0f times=%.2f\n", batches[b],
             variants[v].name, m, 1e9 / m, m / whole);
    }
  }
  return 0;
}

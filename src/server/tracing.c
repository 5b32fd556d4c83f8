#include "server/tracing.h"

#include <inttypes.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "mem/slab.h"
#include "obs/trace.h"

#define RECORDS (1u << 15) /* a worker's: 1.3 MB while it is on */
#define FIRST_BYTES 4096u
#define MOST_BYTES (64u << 20)
#define LINE_BYTES 512u

struct ask {
  struct wr_letter letter;
  struct wr_tracing *tracing; /* borrowed: waits for its asks */
  uint64_t token;
  uint64_t last_ns;
  enum wr_tracing_what what;
  uint32_t worker; /* whose turn it is */
  uint32_t on;     /* workers that trace */
  bool failed;     /* memory ran out: the file has a hole */
  struct wr_buf text;
  char *room; /* owned */
};

static void told(bool taken, size_t bytes) {
  if (!wr_tracing()) return;
  wr_trace_put(taken ? WR_TRACE_BLOCK_GET : WR_TRACE_BLOCK_PUT, taken ? "block get" : "block put",
               0, 0, bytes);
}

static void put_text(void *ctx, struct wr_span text) {
  struct ask *a = ctx;
  if (wr_buf_room(&a->text) < text.len) {
    size_t cap = a->text.cap * 2;
    char *p = cap <= MOST_BYTES ? wr_heap_realloc(WR_HEAP_SERVER, a->room, cap) : NULL;
    if (!p) {
      a->failed = true;
      return;
    }
    a->room = a->text.ptr = p;
    a->text.cap = cap;
  }
  wr_buf_put(&a->text, text);
}

static void put_thread(struct ask *a) {
  char line[LINE_BYTES];
  struct wr_buf b;
  wr_buf_init(&b, line, sizeof line);
  wr_buf_printf(&b,
                "{\"ph\":\"M\",\"pid\":1,\"tid\":%" PRIu32 ",\"name\":\"thread_name\",\"args\":"
                "{\"name\":\"worker %" PRIu32 "\"}},\n",
                a->worker, a->worker);
  put_text(a, wr_buf_span(&b));
}

static void ask_next(struct ask *a);

/* On the main thread. */
static void ask_done(struct wr_letter *letter) {
  struct ask *a = WR_CONTAINER(letter, struct ask, letter);
  struct wr_tracing *t = a->tracing;
  WR_CHECK(t->asks > 0);
  t->asks--;
  unsigned status = 200;
  if (a->what == WR_TRACING_TAKE && a->on == 0) {
    a->text.len = 0;
    put_text(a, WR_SPAN("{\"error\":{\"code\":\"off\",\"message\":\"no worker traces: POST "
                        "/trace/on first\"}}\n"));
    status = 409;
  } else if (a->what == WR_TRACING_TAKE) {
    /* The last record has a comma behind it; this closes the list. */
    put_text(a, WR_SPAN("{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_name\",\"args\":"
                        "{\"name\":\"weir\"}}]}\n"));
  } else {
    char line[64];
    struct wr_buf b;
    wr_buf_init(&b, line, sizeof line);
    wr_buf_printf(&b, "{\"workers\":%" PRIu32 "}\n", a->on);
    put_text(a, wr_buf_span(&b));
  }
  if (a->failed) {
    a->text.len = 0;
    wr_buf_put(&a->text, WR_SPAN("{\"error\":{\"code\":\"no_memory\",\"message\":\"the trace is "
                                 "larger than memory allows\"}}\n"));
    status = 503;
  }
  t->done(t->ctx, a->token, status, wr_buf_span(&a->text));
  wr_heap_free(WR_HEAP_SERVER, a->room);
  wr_heap_free(WR_HEAP_SERVER, a);
}

/* On a worker's thread. */
static void ask_worker(struct wr_letter *letter) {
  struct ask *a = WR_CONTAINER(letter, struct ask, letter);
  switch (a->what) {
    case WR_TRACING_ON:
      if (!wr_tracing() && wr_trace_on(RECORDS) != WR_OK) a->failed = true;
      break;
    case WR_TRACING_OFF: wr_trace_off(); break;
    case WR_TRACING_TAKE:
      if (wr_tracing()) put_thread(a);
      wr_trace_print(a->worker, a->last_ns, put_text, a);
      break;
  }
  a->on += wr_tracing();
  a->worker++;
  ask_next(a);
}

static void ask_next(struct ask *a) {
  bool more = a->worker < a->tracing->worker_count;
  a->letter.run = more ? ask_worker : ask_done;
  wr_mailbox_post(more ? wr_worker_mailbox(a->tracing->workers[a->worker]) : a->tracing->mailbox,
                  &a->letter);
}

enum wr_err wr_tracing_ask(struct wr_tracing *t, enum wr_tracing_what what, uint64_t last_ms,
                           uint64_t token) {
  WR_CHECK(t->done != NULL);
  struct ask *a = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *a);
  char *room = a ? wr_heap_alloc(WR_HEAP_SERVER, FIRST_BYTES) : NULL;
  if (!room) {
    wr_heap_free(WR_HEAP_SERVER, a);
    return WR_E_NOMEM;
  }
  a->tracing = t;
  a->what = what;
  a->token = token;
  a->last_ns = last_ms * 1000000u;
  a->room = room;
  wr_buf_init(&a->text, room, FIRST_BYTES);
  if (what == WR_TRACING_TAKE)
    wr_buf_put(&a->text, WR_SPAN("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"));
  /* Told of blocks only while somebody traces: it takes the short way through the pool away. */
  wr_mem_watch(what == WR_TRACING_OFF ? NULL : told);
  t->asks++;
  ask_next(a);
  return WR_OK;
}

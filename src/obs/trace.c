#include "obs/trace.h"

#include <inttypes.h>
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"

#define MAGIC 0x72ace000u
#define LINE_BYTES 256u

struct record {
  uint64_t at_ns;
  uint64_t id;
  const char *name; /* borrowed: static */
  uint32_t dur_ns;
  uint32_t bytes;
  uint8_t kind;
};

struct wr_trace {
  uint32_t magic;
  size_t count; /* of records, a power of two */
  uint64_t next; /* number of the record that comes */
  struct record records[];
};

_Thread_local struct wr_trace *wr_trace_here;

enum wr_err wr_trace_on(size_t records) {
  WR_CHECK(records >= 64 && records <= 1u << 20 && (records & (records - 1)) == 0);
  wr_trace_off();
  struct wr_trace *t =
      wr_heap_alloc(WR_HEAP_OBS, sizeof *t + records * sizeof t->records[0]);
  if (!t) return WR_E_NOMEM;
  t->magic = MAGIC;
  t->count = records;
  t->next = 0;
  wr_trace_here = t;
  return WR_OK;
}

void wr_trace_off(void) {
  struct wr_trace *t = wr_trace_here;
  wr_trace_here = NULL;
  if (!t) return;
  WR_MAGIC_CHECK(t, MAGIC);
  t->magic = 0;
  wr_heap_free(WR_HEAP_OBS, t);
}

uint64_t wr_trace_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void wr_trace_put(enum wr_trace_kind kind, const char *name, uint64_t id, uint64_t began_ns,
                  size_t bytes) {
  struct wr_trace *t = wr_trace_here;
  WR_MAGIC_CHECK(t, MAGIC);
  uint64_t now = wr_trace_now_ns(), took = began_ns && began_ns < now ? now - began_ns : 0;
  t->records[t->next++ & (t->count - 1)] = (struct record){
    .at_ns = began_ns ? began_ns : now,
    .id = id,
    .name = name,
    .dur_ns = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX,
    .bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX,
    .kind = (uint8_t)kind,
  };
}

static const struct {
  const char *phase, *category;
} forms[WR_TRACE_KINDS] = {
  [WR_TRACE_STEP_BEGIN] = { "b", "session" }, [WR_TRACE_STEP_END] = { "e", "session" },
  [WR_TRACE_LUA] = { "X", "lua" },            [WR_TRACE_WRITE] = { "X", "net" },
  [WR_TRACE_BLOCK_GET] = { "i", "mem" },      [WR_TRACE_BLOCK_PUT] = { "i", "mem" },
};

/* Times are microseconds with three decimals. */
static void put_us(struct wr_buf *b, const char *name, uint64_t ns) {
  wr_buf_printf(b, ",\"%s\":%" PRIu64 ".%03u", name, ns / 1000, (unsigned)(ns % 1000));
}

static void print_record(const struct record *r, uint32_t thread, struct wr_buf *b) {
  WR_DCHECK(r->kind < WR_TRACE_KINDS);
  const char *phase = forms[r->kind].phase;
  wr_buf_printf(b, "{\"ph\":\"%s\",\"cat\":\"%s\",\"pid\":1,\"tid\":%" PRIu32 ",\"name\":", phase,
                forms[r->kind].category, thread);
  wr_buf_json_string(b, wr_span_str(r->name));
  put_us(b, "ts", r->at_ns);
  if (phase[0] == 'X') put_us(b, "dur", r->dur_ns);
  if (phase[0] == 'i') wr_buf_put(b, WR_SPAN(",\"s\":\"t\""));
  if (r->id) wr_buf_printf(b, ",\"id\":\"%" PRIx64 "\"", r->id);
  if (r->bytes) wr_buf_printf(b, ",\"args\":{\"bytes\":%" PRIu32 "}", r->bytes);
  wr_buf_put(b, WR_SPAN("},\n"));
}

void wr_trace_print(uint32_t thread, uint64_t last_ns,
                    void (*put)(void *ctx, struct wr_span text), void *ctx) {
  const struct wr_trace *t = wr_trace_here;
  if (!t) return;
  uint64_t now = wr_trace_now_ns(), from = now > last_ns ? now - last_ns : 0;
  uint64_t first = t->next > t->count ? t->next - t->count : 0;
  for (uint64_t i = first; i < t->next; i++) {
    const struct record *r = &t->records[i & (t->count - 1)];
    if (r->at_ns + r->dur_ns < from) continue;
    char line[LINE_BYTES];
    struct wr_buf b;
    wr_buf_init(&b, line, sizeof line);
    print_record(r, thread, &b);
    put(ctx, wr_buf_span(&b));
  }
}

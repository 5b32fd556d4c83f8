/* Server-sent events: any split gives the same events, and no byte is lost. The first byte of the
 * input chooses the cap, the second the size of the pieces. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "wire/sse_parse.h"

struct run {
  uint64_t sum; /* over kinds, names and joined data */
  size_t events;
  size_t consumed;
  enum wr_err end;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mix(struct run *run, const char *p, size_t len) {
  for (size_t i = 0; i < len; i++) run->sum = (run->sum ^ (uint8_t)p[i]) * 0x100000001b3u;
  run->sum = (run->sum ^ len ^ 0xff00) * 0x100000001b3u;
}

static void take(struct run *run, struct wr_span raw, const struct wr_sse_event *ev) {
  WR_CHECK(ev->bytes == raw.len && raw.len > 0);
  WR_CHECK((size_t)ev->name.off + ev->name.len < raw.len || ev->name.len == 0);
  WR_CHECK((size_t)ev->data.off + ev->data.len < raw.len || ev->data.len == 0);
  char *room = malloc(raw.len);
  WR_CHECK(room != NULL);
  struct wr_buf out;
  wr_buf_init(&out, room, ev->data.len);
  WR_CHECK(wr_sse_join_data(raw, ev, &out) == WR_OK);
  uint8_t head[4] = { ev->kind, ev->multi_data, ev->has_id, ev->has_retry };
  mix(run, (const char *)head, sizeof head);
  mix(run, raw.ptr + ev->name.off, ev->name.len);
  mix(run, out.ptr, out.len);
  run->events++;
  free(room);
}

static struct run feed(struct wr_span in, size_t piece, uint32_t max) {
  struct run run = { 0, 0, 0, WR_OK };
  struct wr_sse_parser p;
  wr_sse_init(&p, max);
  size_t start = 0;
  while (run.consumed < in.len) {
    struct wr_sse_event ev;
    size_t used;
    size_t end = (run.consumed / piece + 1) * piece;
    if (end > in.len) end = in.len;
    struct wr_span part = wr_span_sub(in, run.consumed, end - run.consumed);
    enum wr_err err = wr_sse_next(&p, part, &used, &ev);
    if (err == WR_E_EVENT_TOO_LARGE) break;
    run.consumed += used;
    if (err == WR_OK) {
      take(&run, wr_span_sub(in, start, run.consumed - start), &ev);
      start = run.consumed;
    } else {
      WR_CHECK(err == WR_E_AGAIN && run.consumed == end);
    }
    WR_CHECK(wr_sse_pending(&p) == run.consumed - start);
  }
  run.end = wr_sse_finish(&p);
  return run;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  struct wr_span in = wr_span_make(data + 2, size - 2);
  /* A CR at a cut moves an LF to the next event, so a tight cap may tell splits apart: only one run
   * with it. */
  (void)feed(in, 1 + data[1] % 37u, 1 + data[0]);
  struct run whole = feed(in, in.len + 1, 0);
  const size_t pieces[] = { 1, 2, 1 + data[1] };
  for (size_t i = 0; i < 3; i++) {
    struct run split = feed(in, pieces[i], 0);
    WR_CHECK(split.sum == whole.sum && split.events == whole.events);
    WR_CHECK(split.end == whole.end && split.consumed == whole.consumed);
  }
  return 0;
}

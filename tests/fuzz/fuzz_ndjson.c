/* Lines: any split gives the same ones, each at most as long as the cap. The first byte of the
 * input chooses the cap, the second the size of the pieces. */
#include "base/check.h"
#include "wire/ndjson.h"

struct run {
  uint64_t sum;
  size_t lines;
  enum wr_err end;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(struct run *run, struct wr_span text) {
  for (size_t i = 0; i < text.len; i++) {
    WR_CHECK(text.ptr[i] != '\n');
    run->sum = (run->sum ^ (uint8_t)text.ptr[i]) * 0x100000001b3u;
  }
  run->sum = (run->sum ^ text.len ^ 0xff00) * 0x100000001b3u;
  run->lines++;
}

static struct run feed(struct wr_span in, size_t piece, uint32_t max) {
  struct run run = { 0, 0, WR_OK };
  struct wr_ndjson p;
  struct wr_ndjson_line line;
  wr_ndjson_init(&p, max);
  size_t at = 0;
  size_t start = 0;
  while (at < in.len) {
    size_t used;
    size_t end = (at / piece + 1) * piece;
    if (end > in.len) end = in.len;
    run.end = wr_ndjson_next(&p, wr_span_sub(in, at, end - at), &used, &line);
    if (run.end == WR_E_EVENT_TOO_LARGE) return run;
    at += used;
    WR_CHECK(run.end == WR_OK || at == end);
    if (run.end != WR_OK) continue;
    WR_CHECK(line.bytes == at - start && line.bytes <= max && line.text.len < line.bytes);
    take(&run, wr_span_at(in.ptr + start, line.text));
    start = at;
  }
  run.end = wr_ndjson_finish(&p, &line);
  if (run.end == WR_OK) {
    WR_CHECK(line.bytes == in.len - start);
    take(&run, wr_span_at(in.ptr + start, line.text));
  } else {
    WR_CHECK(start == in.len);
  }
  return run;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  struct wr_span in = wr_span_make(data + 2, size - 2);
  struct run whole = feed(in, in.len + 1, 1 + data[0]);
  const size_t pieces[] = { 1, 2, 1 + data[1] };
  for (size_t i = 0; i < 3; i++) {
    struct run split = feed(in, pieces[i], 1 + data[0]);
    WR_CHECK(split.sum == whole.sum && split.lines == whole.lines && split.end == whole.end);
  }
  return 0;
}

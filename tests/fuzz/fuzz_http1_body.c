#include <string.h>

#include "fuzz/fuzz.h"
#include "wire/http1_body.h"

struct outcome {
  enum wr_err err;
  size_t consumed;
  size_t len;
  char bytes[65536];
};

static struct outcome whole, split;

/* In pieces of `step` bytes. */
static void decode(struct wr_span in, size_t step, struct outcome *out) {
  struct wr_http1_body body;
  wr_http1_body_init(&body, WR_FRAMING_CHUNKED, 0);
  out->consumed = out->len = 0;
  out->err = WR_E_AGAIN;
  for (size_t end = 0; out->err == WR_E_AGAIN && end < in.len;) {
    end = in.len - end > step ? end + step : in.len;
    do {
      struct wr_span data, rest = wr_span_sub(in, out->consumed, end - out->consumed);
      size_t consumed;
      out->err = wr_http1_body_next(&body, rest, &consumed, &data);
      WR_CHECK(consumed <= rest.len && data.len <= consumed);
      WR_CHECK(out->err != WR_OK || consumed > 0);
      WR_CHECK(out->err != WR_E_AGAIN || consumed == rest.len);
      if (data.len > 0) memcpy(out->bytes + out->len, data.ptr, data.len);
      out->len += data.len;
      out->consumed += consumed;
    } while (out->err == WR_OK);
  }
  WR_CHECK(body.total == out->len);
  bool ended = out->err == WR_E_END;
  WR_CHECK(wr_http1_body_ended(&body) == ended);
  WR_CHECK((wr_http1_body_eof(&body) == WR_OK) == ended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > sizeof whole.bytes) return 0;
  struct wr_span in = wr_span_make(data, size);
  decode(in, size + 1, &whole);
  size_t steps[] = { 1, 2, 7, 1 + fuzz_cut(data, size, 1) };
  for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
    decode(in, steps[i], &split);
    WR_CHECK(split.err == whole.err && split.consumed == whole.consumed && split.len == whole.len);
    WR_CHECK(memcmp(split.bytes, whole.bytes, whole.len) == 0);
  }
  return 0;
}

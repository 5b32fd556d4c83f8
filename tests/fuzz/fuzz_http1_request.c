#include "base/buf.h"
#include "fuzz/fuzz_http1_message.h"
#include "wire/http1_write.h"

static char written[65536 + 4096];

/* What was taken, written anew, must be read as the same request: our writer and our reader
 * agree. */
static void check_rewrite(const char *base) {
  static struct wr_head again;
  const struct wr_head *h = &whole.head;
  struct wr_buf out;
  wr_buf_init(&out, written, sizeof written);
  WR_CHECK(wr_http1_put_request(&out, wr_span_at(base, h->method_text),
                                wr_span_at(base, h->target)) == WR_OK);
  for (unsigned i = 0; i < h->field_count; i++)
    WR_CHECK(wr_http1_put_field(&out, wr_span_at(base, h->fields[i].name),
                                wr_span_at(base, h->fields[i].value)) == WR_OK);
  WR_CHECK(wr_http1_put_end(&out) == WR_OK);
  enum wr_err err = wr_http1_parse_request(wr_buf_span(&out), NULL, &again);
  /* The writer adds a blank behind a colon, and always says HTTP/1.1, where Expect means
   * something. */
  if (err == WR_E_HEAD_TOO_LARGE || (err == WR_E_EXPECTATION && h->version_minor == 0)) return;
  WR_CHECK(err == WR_OK && again.field_count == h->field_count && again.framing == h->framing);
  WR_CHECK(again.content_length == h->content_length && again.seen == h->seen);
  WR_CHECK(wr_span_eq(wr_span_at(written, again.path), wr_span_at(base, h->path)));
  for (unsigned i = 0; i < h->field_count; i++)
    WR_CHECK(wr_span_eq(wr_span_at(written, again.fields[i].value),
                        wr_span_at(base, h->fields[i].value)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > 65536) return 0;
  fuzz_message(data, size, false, WR_METHOD_GET);
  if (whole.head_ok) check_rewrite((const char *)data + whole.head_off);
  return 0;
}

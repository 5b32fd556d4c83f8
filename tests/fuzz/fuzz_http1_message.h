/* fuzz_http1_message.h: one message, read whole, in two and in three pieces, and byte by byte. */
#ifndef WR_FUZZ_FUZZ_HTTP1_MESSAGE_H
#define WR_FUZZ_FUZZ_HTTP1_MESSAGE_H

#include "fuzz/fuzz.h"
#include "wire/http1_run.h"

static struct http1_run whole, split;

static inline void check_head(const struct wr_head *h, size_t len) {
  WR_CHECK(h->head_len <= len && h->field_count <= WR_HEAD_MAX_FIELDS);
  WR_CHECK(fuzz_inside(h->target, len) && fuzz_inside(h->path, len) && fuzz_inside(h->query, len));
  WR_CHECK(fuzz_inside(h->host, len) && fuzz_inside(h->reason, len) &&
           fuzz_inside(h->method_text, len));
  for (unsigned i = 0; i < h->field_count; i++)
    WR_CHECK(h->fields[i].name.len > 0 && fuzz_inside(h->fields[i].name, len) &&
             fuzz_inside(h->fields[i].value, len));
}

/* The verdict and all that was read must not depend on how the bytes arrive. `whole` holds the
 * run. */
static inline void fuzz_message(const uint8_t *data, size_t size, bool response,
                                enum wr_method method) {
  static size_t cuts[4096];
  struct wr_span in = wr_span_make(data, size);
  http1_run(in, response, method, NULL, NULL, 0, &whole);
  for (size_t n = 1; n <= 2; n++) {
    cuts[0] = fuzz_cut(data, size, n);
    cuts[1] = cuts[0] + (size_t)(fuzz_number(data, size, 9) % (size - cuts[0] + 1));
    http1_run(in, response, method, NULL, cuts, n, &split);
    WR_CHECK(http1_run_same(&whole, &split));
  }
  size_t n = size < 4096 ? size : 4096;
  for (size_t i = 0; i < n; i++) cuts[i] = i;
  http1_run(in, response, method, NULL, cuts, n, &split);
  WR_CHECK(http1_run_same(&whole, &split));
  if (whole.head_ok) check_head(&whole.head, size);
  if (whole.err == WR_OK) WR_CHECK(whole.consumed <= size && whole.body_len <= whole.consumed);
}

#endif

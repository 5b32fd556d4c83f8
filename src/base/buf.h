/* buf.h: a bounded writer over bytes that the caller owns.
 *
 * Everything is appended whole or not at all: what doesn't fit sets `overflow`, and from then on
 * nothing more is written, so that the bytes up to len are always a prefix of what was meant and
 * never a text with a hole. The caller tests `overflow` once, at the end. No NUL is written. One
 * thread. */
#ifndef WR_BASE_BUF_H
#define WR_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/err.h"
#include "base/span.h"

struct wr_buf {
  char *ptr; /* borrowed: the caller's storage, outlives the writer */
  size_t cap;
  size_t len;
  bool overflow;
};

/* ptr may be NULL when cap is 0. */
void wr_buf_init(struct wr_buf *buf, void *ptr, size_t cap);
/* The bytes written so far; borrowed from the storage. */
static inline struct wr_span wr_buf_span(const struct wr_buf *buf) {
  return wr_span_make(buf->ptr, buf->len);
}
/* Bytes that still fit; 0 after an overflow. */
static inline size_t wr_buf_room(const struct wr_buf *buf) {
  return buf->overflow ? 0 : buf->cap - buf->len;
}

/* Inline: most of what is put are constants of a few bytes. */
static inline void wr_buf_put(struct wr_buf *buf, struct wr_span bytes) {
  WR_DCHECK(buf->len <= buf->cap);
  if (bytes.len == 0) return;
  if (bytes.len > wr_buf_room(buf)) {
    buf->overflow = true;
    return;
  }
  memcpy(buf->ptr + buf->len, bytes.ptr, bytes.len);
  buf->len += bytes.len;
}

static inline void wr_buf_char(struct wr_buf *buf, char c) {
  if (wr_buf_room(buf) == 0) {
    buf->overflow = true;
    return;
  }
  buf->ptr[buf->len++] = c;
}

/* Decimal, without leading zeros. */
void wr_buf_u64(struct wr_buf *buf, uint64_t value);
/* Lower-case hex without a prefix, at least min_digits (0..16) digits; 0 with min_digits 0 or 1
 * is "0". */
void wr_buf_hex(struct wr_buf *buf, uint64_t value, unsigned min_digits);
/* Needs one byte of room more than it writes. */
void wr_buf_printf(struct wr_buf *buf, const char *format, ...) WR_PRINTF(2, 3);
/* A quoted and escaped JSON string. A byte that isn't part of valid UTF-8 becomes \ufffd.
 * Written whole or not at all, as everything else. */
void wr_buf_json_string(struct wr_buf *buf, struct wr_span text);
/* The same without the quotes, for a string that is put together from pieces; each piece must be
 * whole UTF-8. */
void wr_buf_json_text(struct wr_buf *buf, struct wr_span text);

#endif

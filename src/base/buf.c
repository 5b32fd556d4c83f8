#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"

void wr_buf_init(struct wr_buf *buf, void *ptr, size_t cap) {
  WR_CHECK(ptr || cap == 0);
  buf->ptr = ptr;
  buf->cap = cap;
  buf->len = 0;
  buf->overflow = false;
}

void wr_buf_u64(struct wr_buf *buf, uint64_t value) {
  char digits[20];
  size_t at = sizeof digits;
  do {
    digits[--at] = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  wr_buf_put(buf, wr_span_make(digits + at, sizeof digits - at));
}

void wr_buf_hex(struct wr_buf *buf, uint64_t value, unsigned min_digits) {
  WR_CHECK(min_digits <= 16);
  char digits[16];
  size_t at = sizeof digits;
  do {
    digits[--at] = "0123456789abcdef"[value & 15];
    value >>= 4;
  } while (value);
  while (sizeof digits - at < min_digits) digits[--at] = '0';
  wr_buf_put(buf, wr_span_make(digits + at, sizeof digits - at));
}

void wr_buf_printf(struct wr_buf *buf, const char *format, ...) {
  size_t room = wr_buf_room(buf);
  va_list args;
  va_start(args, format);
  int n = vsnprintf(room ? buf->ptr + buf->len : NULL, room, format, args);
  va_end(args);
  if (n < 0 || (size_t)n >= room)
    buf->overflow = true; /* the NUL must fit as well, or vsnprintf cuts the last byte */
  else
    buf->len += (size_t)n;
}

static bool tail_byte(const unsigned char *p, const unsigned char *end) {
  return p < end && (*p & 0xc0) == 0x80;
}

/* Bytes of the valid UTF-8 sequence at p (2..4), or 0: no overlong form, no surrogate, nothing
 * above U+10FFFF. */
static size_t sequence_bytes(const unsigned char *p, const unsigned char *end) {
  unsigned char c = p[0];
  if (c < 0xc2 || c > 0xf4 || !tail_byte(p + 1, end)) return 0;
  if (c < 0xe0) return 2;
  if (!tail_byte(p + 2, end)) return 0;
  if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f)) return 0;
  if (c < 0xf0) return 3;
  if (!tail_byte(p + 3, end)) return 0;
  if ((c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f)) return 0;
  return 4;
}

static void put_escape(struct wr_buf *buf, unsigned char c) {
  static const char brief[] = "btn?fr"; /* 8 .. 13; 11 has no short form */
  wr_buf_char(buf, '\\');
  if (c == '"' || c == '\\') {
    wr_buf_char(buf, (char)c);
  } else if (c >= 8 && c <= 13 && c != 11) {
    wr_buf_char(buf, brief[c - 8]);
  } else {
    wr_buf_put(buf, WR_SPAN("u"));
    wr_buf_hex(buf, c, 4);
  }
}

void wr_buf_json_text(struct wr_buf *buf, struct wr_span text) {
  size_t start = buf->len;
  const unsigned char *p = (const unsigned char *)text.ptr;
  const unsigned char *end = text.len ? p + text.len : p;
  const unsigned char *plain = p; /* what needs no escape is copied in one piece */
  while (p < end) {
    if (*p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') {
      p++;
      continue;
    }
    size_t n = *p >= 0x80 ? sequence_bytes(p, end) : 0;
    if (n) {
      p += n;
      continue;
    }
    wr_buf_put(buf, wr_span_make(plain, (size_t)(p - plain)));
    if (*p >= 0x80)
      wr_buf_put(buf, WR_SPAN("\\ufffd"));
    else
      put_escape(buf, *p);
    plain = ++p;
  }
  wr_buf_put(buf, wr_span_make(plain, (size_t)(end - plain)));
  if (buf->overflow) buf->len = start;
}

void wr_buf_json_string(struct wr_buf *buf, struct wr_span text) {
  size_t start = buf->len;
  wr_buf_char(buf, '"');
  wr_buf_json_text(buf, text);
  wr_buf_char(buf, '"');
  if (buf->overflow) buf->len = start;
}

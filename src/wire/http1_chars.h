/* http1_chars.h: what each byte may be in HTTP, in one table; private to wire. */
#ifndef WR_WIRE_HTTP1_CHARS_H
#define WR_WIRE_HTTP1_CHARS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/span.h"

enum {
  WR_CHAR_TOKEN = 1,  /* RFC 9110 tchar */
  WR_CHAR_DIGIT = 2,  /* 0-9 */
  WR_CHAR_HEX = 4,    /* 0-9 a-f A-F */
  WR_CHAR_PATH = 8,   /* RFC 3986 pchar and "/", without "%" */
  WR_CHAR_QUERY = 16, /* PATH, "?", and "[" "]", which SDKs send bare */
  WR_CHAR_HOST = 32,  /* letters, digits, "-", ".", "_", "~" (the unreserved set) */
  WR_CHAR_VALUE = 64  /* field values: all but control characters; HTAB is one of them */
};

extern const uint8_t wr_http1_chars[256];

static inline bool wr_char_is(char c, unsigned cls) {
  return (wr_http1_chars[(unsigned char)c] & cls) != 0;
}

static inline bool wr_chars_all(struct wr_span s, unsigned cls) {
  for (size_t i = 0; i < s.len; i++)
    if (!wr_char_is(s.ptr[i], cls)) return false;
  return true;
}

static inline unsigned char wr_char_lower(char c) {
  unsigned char u = (unsigned char)c;
  return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

/* 0..15; only for hex digits. */
static inline unsigned wr_char_hex(char c) {
  /* '1' is 0x31, 'A' 0x41 and 'a' 0x61: letters alone have the bit of 64, and start at 1. */
  return ((unsigned)c & 15) + ((unsigned)c >> 6) * 9;
}

/* The first control character (0x00..0x1f, 0x7f) at or after p, or end. Eight bytes a step,
 * because this is where the bytes of a head are spent: for each lane, the top bit of (x - 0x20)
 * & ~x tells x < 0x20. */
static inline const char *wr_http1_skip_plain(const char *p, const char *end) {
  const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
  while (end - p >= 8) {
    uint64_t x;
    memcpy(&x, p, 8);
    uint64_t del = x ^ (ones * 0x7f);
    if ((((x - ones * 0x20) & ~x) | ((del - ones) & ~del)) & tops) break;
    p += 8;
  }
  while (p < end && (unsigned char)*p >= 0x20 && *p != 0x7f) p++;
  return p;
}

#endif

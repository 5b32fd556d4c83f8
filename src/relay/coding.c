#include "relay/coding.h"

#include <string.h>

#include "base/check.h"
#include "wire/head.h"

#define ANY 0x80u

/* 0: not one that is known. */
static uint8_t bit_of(struct wr_span name) {
  static const struct {
    const char *name; /* borrowed: a literal */
    uint8_t bit;
  } codings[] = { { "gzip", 1 }, { "x-gzip", 1 }, { "deflate", 2 },
                  { "br", 4 },   { "zstd", 8 },   { "*", ANY } };
  for (size_t i = 0; i < sizeof codings / sizeof codings[0]; i++)
    if (wr_span_ieq(name, wr_span_str(codings[i].name))) return codings[i].bit;
  return 0;
}

/* "q=0", "q=0.0" and so on, with blanks where they may stand. */
static bool is_refused(struct wr_span parameters) {
  struct wr_span p = wr_span_trim(parameters);
  if (p.len < 3 || (p.ptr[0] | 0x20) != 'q' || p.ptr[1] != '=') return false;
  for (size_t i = 2; i < p.len; i++)
    if (p.ptr[i] != '0' && p.ptr[i] != '.') return false;
  return true;
}

uint8_t wr_coding_accepted(struct wr_span list) {
  uint8_t bits = 0;
  struct wr_span e;
  while (wr_list_next(&list, &e)) {
    WR_DCHECK(e.len > 0);
    const char *semicolon = memchr(e.ptr, ';', e.len);
    size_t n = semicolon ? (size_t)(semicolon - e.ptr) : e.len;
    if (semicolon && is_refused(wr_span_sub(e, n + 1, e.len - n - 1))) continue;
    bits |= bit_of(wr_span_trim(wr_span_sub(e, 0, n)));
  }
  return bits;
}

bool wr_coding_suits(uint8_t accepted, struct wr_span list) {
  struct wr_span e;
  while (wr_list_next(&list, &e)) {
    if (wr_span_ieq(e, WR_SPAN("identity"))) continue;
    uint8_t bit = bit_of(e);
    if (bit == 0 || bit == ANY || !(accepted & (bit | ANY))) return false;
  }
  return true;
}

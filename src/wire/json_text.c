/* Strings and numbers of JSON: decoding, comparing, validating. */
#include "base/buf.h"
#include "wire/json_lex.h"

static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

static const char *digits(const char *p, const char *end) {
  const char *from = p;
  while (p < end && is_digit(*p)) p++;
  return p == from ? NULL : p;
}

const char *wr_json_lex_number(const char *p, const char *end) {
  if (p < end && *p == '-') p++;
  if (p < end && *p == '0') {
    p++;
  } else {
    p = digits(p, end);
  }
  if (p && p < end && *p == '.') p = digits(p + 1, end);
  if (p && p < end && (*p | 0x20) == 'e') {
    p++;
    if (p < end && (*p == '+' || *p == '-')) p++;
    p = digits(p, end);
  }
  return p;
}

size_t wr_json_lex_utf8(uint32_t code, char out[4]) {
  if (code >= 0xd800 && code < 0xe000) code = 0xfffd;
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  if (code < 0x800) {
    out[0] = (char)(0xc0 | code >> 6);
    out[1] = (char)(0x80 | (code & 0x3f));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = (char)(0xe0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 0x3f));
    out[2] = (char)(0x80 | (code & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | code >> 18);
  out[1] = (char)(0x80 | (code >> 12 & 0x3f));
  out[2] = (char)(0x80 | (code >> 6 & 0x3f));
  out[3] = (char)(0x80 | (code & 0x3f));
  return 4;
}

const char *wr_json_lex_char(const char *p, const char *end, char out[4], size_t *n) {
  out[0] = *p;
  *n = 1;
  if (*p != '\\') return p + 1;
  if (end - p < 2) return NULL;
  if (p[1] != 'u') {
    out[0] = wr_json_lex_escape(p[1]);
    return out[0] ? p + 2 : NULL;
  }
  int32_t unit = wr_json_lex_unit(p + 2, end);
  if (unit < 0) return NULL;
  p += 6;
  uint32_t code = (uint32_t)unit;
  if (code >= 0xd800 && code < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
    int32_t low = wr_json_lex_unit(p + 2, end);
    if (low >= 0xdc00 && low < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
      p += 6;
    }
  }
  *n = wr_json_lex_utf8(code, out);
  return p;
}

static bool is_literal(struct wr_span raw) {
  return raw.len >= 2 && raw.ptr[0] == '"' && raw.ptr[raw.len - 1] == '"';
}

enum wr_err wr_json_string_decode(struct wr_span raw, struct wr_buf *out) {
  if (!is_literal(raw)) return WR_E_JSON_SYNTAX;
  const char *p = raw.ptr + 1;
  const char *end = raw.ptr + raw.len - 1;
  while (p < end) {
    const char *q = wr_json_lex_plain(p, end);
    wr_buf_put(out, wr_span_make(p, (size_t)(q - p)));
    if (q == end) break;
    if (*q != '\\') return WR_E_JSON_SYNTAX;
    char bytes[4];
    size_t n;
    p = wr_json_lex_char(q, end, bytes, &n);
    if (!p) return WR_E_JSON_SYNTAX;
    wr_buf_put(out, wr_span_make(bytes, n));
  }
  return out->overflow ? WR_E_AGAIN : WR_OK;
}

bool wr_json_string_eq(struct wr_span raw, struct wr_span plain) {
  if (!is_literal(raw)) return false;
  const char *p = raw.ptr + 1;
  const char *end = raw.ptr + raw.len - 1;
  size_t at = 0;
  while (p < end) {
    char bytes[4];
    size_t n;
    p = wr_json_lex_char(p, end, bytes, &n);
    if (!p || plain.len - at < n || memcmp(plain.ptr + at, bytes, n) != 0) return false;
    at += n;
  }
  return at == plain.len;
}

/* False above 2^64 - 1. */
static bool add_digit(uint64_t *v, unsigned d) {
  if (*v > (UINT64_MAX - d) / 10) return false;
  *v = *v * 10 + d;
  return true;
}

/* The exponent behind e or E, cut to +-1000: out of range for all but curious spellings. */
static int exponent(const char *p, const char *end) {
  bool neg = *p == '-';
  if (*p == '-' || *p == '+') p++;
  int v = 0;
  for (; p < end; p++) v = v < 1000 ? v * 10 + (*p - '0') : v;
  if (v > 1000) v = 1000;
  return neg ? -v : v;
}

enum wr_err wr_json_u64(struct wr_span number, uint64_t *out) {
  if (number.len == 0) return WR_E_TEXT_SYNTAX;
  const char *p = number.ptr;
  const char *end = p + number.len;
  if (wr_json_lex_number(p, end) != end) return WR_E_TEXT_SYNTAX;
  bool neg = *p == '-';
  if (neg) p++;
  const char *e = p;
  while (e < end && (*e | 0x20) != 'e') e++;
  int shift = e < end ? exponent(e + 1, end) : 0;
  uint64_t v = 0;
  int zeros = 0; /* zeros that were read and not yet multiplied in */
  bool fraction = false;
  for (; p < e; p++) {
    if (*p == '.') {
      fraction = true;
      continue;
    }
    if (fraction && shift > -1000000) shift--;
    if (*p == '0') {
      if (zeros < 1000000) zeros++;
      continue;
    }
    for (; zeros > 0; zeros--) {
      if (!add_digit(&v, 0)) return WR_E_TEXT_RANGE;
    }
    if (!add_digit(&v, (unsigned)(*p - '0'))) return WR_E_TEXT_RANGE;
  }
  shift += zeros;
  *out = 0;
  if (v == 0) return WR_OK;
  if (neg || shift < 0) return WR_E_TEXT_RANGE;
  for (; shift > 0; shift--) {
    if (!add_digit(&v, 0)) return WR_E_TEXT_RANGE;
  }
  *out = v;
  return WR_OK;
}

/* Length of the well-formed sequence at p, or 0. */
static size_t sequence(const unsigned char *p, size_t room) {
  unsigned c = p[0];
  if (c < 0x80) return 1;
  size_t n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  if (c < 0xc2 || c > 0xf4 || room < n) return 0;
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
  }
  /* Overlong forms, surrogates, and code points past the last show in the second byte. */
  if (c == 0xe0 && p[1] < 0xa0) return 0;
  if (c == 0xed && p[1] > 0x9f) return 0;
  if (c == 0xf0 && p[1] < 0x90) return 0;
  if (c == 0xf4 && p[1] > 0x8f) return 0;
  return n;
}

bool wr_json_utf8_valid(struct wr_span s) {
  const char *p = s.ptr;
  size_t left = s.len;
  while (left > 0) {
    uint64_t eight;
    if (left >= sizeof eight) {
      memcpy(&eight, p, sizeof eight);
      if (!(eight & 0x8080808080808080u)) {
        p += sizeof eight;
        left -= sizeof eight;
        continue;
      }
    }
    size_t n = sequence((const unsigned char *)p, left);
    if (n == 0) return false;
    p += n;
    left -= n;
  }
  return true;
}

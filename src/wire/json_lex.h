/* json_lex.h: what the JSON codecs share: bytes of strings and names, and steps through a program.
 *
 * Internal to wire/: nothing outside includes it. Functions take a place and the end, and give the
 * place behind what they read, or NULL where the text isn't JSON. Pure; nothing is owned. */
#ifndef WR_WIRE_JSON_LEX_H
#define WR_WIRE_JSON_LEX_H

#include "wire/json_scan.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__SSE2__)
/* Bit n: byte n of the sixteen at p is a quote, a backslash or a control character. */
static inline unsigned wr_json_lex_mask(const char *p) {
  __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
  __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
  __m128i slash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
  __m128i ctl = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
  return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, slash), ctl));
}
#endif

/* The first quote, backslash or control character in p .. end, or end. */
static inline const char *wr_json_lex_plain(const char *p, const char *end) {
#if defined(__SSE2__)
  for (; end - p >= 16; p += 16) {
    unsigned m = wr_json_lex_mask(p);
    if (m) return p + __builtin_ctz(m);
  }
#endif
  while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
  return p;
}

/* Value of a hex digit, or -1. */
static inline int wr_json_lex_hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  char l = (char)(c | 0x20);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/* What a one-letter escape stands for, or 0 where it is none (\u is not one). */
static inline char wr_json_lex_escape(char c) {
  switch (c) {
  case '"': return '"';
  case '\\': return '\\';
  case '/': return '/';
  case 'b': return '\b';
  case 'f': return '\f';
  case 'n': return '\n';
  case 'r': return '\r';
  case 't': return '\t';
  default: return 0;
  }
}

/* Code unit of four hex digits at p, or -1. */
static inline int32_t wr_json_lex_unit(const char *p, const char *end) {
  if (end - p < 4) return -1;
  int32_t unit = 0;
  for (int i = 0; i < 4; i++) {
    int d = wr_json_lex_hex(p[i]);
    if (d < 0) return -1;
    unit = unit * 16 + d;
  }
  return unit;
}

/* p is a backslash; the place behind the escape. */
static inline const char *wr_json_lex_escape_end(const char *p, const char *end) {
  if (end - p < 2) return NULL;
  if (p[1] == 'u') return wr_json_lex_unit(p + 2, end) < 0 ? NULL : p + 6;
  return wr_json_lex_escape(p[1]) ? p + 2 : NULL;
}

/* p is behind the opening quote; the place of the closing one. */
static inline const char *wr_json_lex_string(const char *p, const char *end, bool *escaped) {
  for (;;) {
    p = wr_json_lex_plain(p, end);
    if (p == end) return NULL;
    if (__builtin_expect(*p == '"', 1)) return p;
    if (*p != '\\') return NULL;
    *escaped = true;
    p = wr_json_lex_escape_end(p, end);
    if (!p) return NULL;
  }
}

/* Up to the next character that ends no number; validates the number. */
const char *wr_json_lex_number(const char *p, const char *end);

/* UTF-8 of a code point (a surrogate is written as U+FFFD); 1 .. 4 bytes. */
size_t wr_json_lex_utf8(uint32_t code, char out[4]);
/* Decodes one character, escaped or not, of a validated string: its bytes (1 .. 4; of a plain
 * character, the first byte only). */
const char *wr_json_lex_char(const char *p, const char *end, char out[4], size_t *n);

/* Do the bytes of a name behind its first eight agree? */
bool wr_json_prog_tail(const char *text, const char *key, size_t len);

/* Node that a name (decoded) leads to, or 0. */
static inline unsigned wr_json_prog_key(const struct wr_json_prog *prog,
                                        const struct wr_json_node *node, const char *key,
                                        size_t len, uint64_t head) {
  const struct wr_json_edge *e = prog->edges + node->first;
  const struct wr_json_edge *last = e + node->n_keys;
  for (; e < last; e++) {
    if (e->head == head && e->len == len &&
        (len <= 8 || wr_json_prog_tail(prog->text + e->text_off, key, len))) {
      return e->node;
    }
  }
  return 0;
}
/* The first eight bytes of a name, as an edge has them. */
static inline uint64_t wr_json_prog_head(const char *key, size_t len) {
  uint64_t head = 0;
  memcpy(&head, key, len < 8 ? len : 8);
  return head;
}
/* Node that an index leads to, or 0. */
static inline unsigned wr_json_prog_index(const struct wr_json_prog *prog,
                                          const struct wr_json_node *node, uint32_t index) {
  const struct wr_json_edge *e = prog->edges + node->first + node->n_keys;
  for (unsigned n = node->n_indices; n > 0; n--, e++) {
    if (e->index == index) return e->node;
  }
  return node->wild;
}

#endif

#include "wire/json_shape.h"

#include "base/check.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* A change of length at a place of the shape's document. */
struct shift {
  uint32_t at; /* first offset of doc behind the hole */
  int32_t by;  /* sum up to here */
};

/* Bytes of a string's content up to its closing quote, or -1: no end, or a byte that must not
 * stand there. */
static ptrdiff_t string_len(const char *p, const char *end, bool *escaped) {
  const char *from = p;
#ifdef __SSE2__
  const __m128i quote = _mm_set1_epi8('"'), back = _mm_set1_epi8('\\'), low = _mm_set1_epi8(0x1f);
  while (end - p >= 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, back));
    hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(v, low), v));
    int mask = _mm_movemask_epi8(hit);
    if (!mask) {
      p += 16;
      continue;
    }
    p += __builtin_ctz((unsigned)mask);
    break;
  }
#endif
  while (p < end) {
    unsigned char c = (unsigned char)*p;
    if (c == '"') return p - from;
    if (c < 0x20) return -1;
    if (c != '\\') {
      p++;
      continue;
    }
    *escaped = true;
    if (end - p < 2 || !memchr("\"\\/bfnrtu", p[1], 9)) return -1;
    if (p[1] == 'u') {
      if (end - p < 6) return -1;
      for (int i = 2; i < 6; i++) {
        char h = p[i];
        if (!((h >= '0' && h <= '9') || ((h | 0x20) >= 'a' && (h | 0x20) <= 'f'))) return -1;
      }
      p += 4;
    }
    p += 2;
  }
  return -1;
}

/* Plain digits only: other numbers take the long way. */
static ptrdiff_t number_len(const char *p, const char *end) {
  const char *from = p;
  while (p < end && *p >= '0' && *p <= '9') p++;
  ptrdiff_t n = p - from;
  if (n == 0 || n > 18 || (n > 1 && *from == '0')) return -1;
  return n;
}

struct match {
  const char *doc, *end;
  struct shift shifts[WR_JSON_SHAPE_HOLES];
  bool escaped[WR_JSON_SHAPE_HOLES];
  size_t n;
  bool first_differs; /* some hole, that never did before */
};

/* Reads a hole at p; its end, or NULL. */
static const char *read_hole(const struct wr_json_hole *h, const char *p, const char *end,
                             bool *escaped) {
  ptrdiff_t n = h->number ? number_len(p, end) : string_len(p, end, escaped);
  return n < 0 ? NULL : p + n;
}

/* One run of doc, from `from` to `to`, hole by hole: some hole in it differs for the first time. */
static const char *match_run(struct wr_json_shape *s, struct match *m, uint32_t from, uint32_t to,
                             size_t hole, const char *p) {
  for (; hole < s->n_holes && s->holes[hole].off < to; hole++) {
    struct wr_json_hole *h = &s->holes[hole];
    size_t lead = h->off - from;
    if ((size_t)(m->end - p) < lead || memcmp(p, s->doc + from, lead) != 0) return NULL;
    p += lead;
    bool escaped = false;
    const char *q = read_hole(h, p, m->end, &escaped);
    if (!q) return NULL;
    if (q - p != h->len || memcmp(p, s->doc + h->off, h->len) != 0) {
      h->differs = m->first_differs = true;
      int32_t by = m->n ? m->shifts[m->n - 1].by : 0;
      m->escaped[m->n] = escaped;
      m->shifts[m->n++] =
          (struct shift){ (uint32_t)h->off + h->len, by + (int32_t)(q - p) - h->len };
    }
    p = q;
    from = (uint32_t)h->off + h->len;
  }
  size_t rest = to - from;
  if ((size_t)(m->end - p) < rest || memcmp(p, s->doc + from, rest) != 0) return NULL;
  return p + rest;
}

static bool match_doc(struct wr_json_shape *s, struct match *m) {
  const char *p = m->doc;
  uint32_t from = 0;
  size_t first = 0; /* of the run */
  for (size_t k = 0; k <= s->n_differ; k++) {
    bool last = k == s->n_differ;
    size_t i = last ? s->n_holes : s->differ[k];
    uint32_t to = last ? s->len : s->holes[i].off;
    size_t lead = to - from;
    if ((size_t)(m->end - p) >= lead && memcmp(p, s->doc + from, lead) == 0)
      p += lead;
    else if ((p = match_run(s, m, from, to, first, p)) == NULL)
      return false;
    if (last) break;
    const struct wr_json_hole *h = &s->holes[i];
    bool escaped = false;
    const char *q = read_hole(h, p, m->end, &escaped);
    if (!q) return false;
    int32_t by = m->n ? m->shifts[m->n - 1].by : 0;
    m->escaped[m->n] = escaped;
    m->shifts[m->n++] = (struct shift){ (uint32_t)h->off + h->len, by + (int32_t)(q - p) - h->len };
    p = q;
    from = (uint32_t)h->off + h->len;
    first = i + 1;
  }
  return p == m->end;
}

static void note_differing(struct wr_json_shape *s) {
  s->n_differ = 0;
  for (size_t i = 0; i < s->n_holes; i++)
    if (s->holes[i].differs) s->differ[s->n_differ++] = (uint8_t)i;
}

/* Where a value of the shape's document lies in this one. Behind its first byte a string has no
 * hole but its own content. */
static void move_value(const struct match *m, const struct wr_json_shape_value *v,
                       struct wr_json_value *out) {
  uint32_t from = v->off, to = from + v->len;
  int32_t by = 0;
  size_t k = 0;
  out->type = v->type;
  out->escaped = v->escaped;
  for (; k < m->n && m->shifts[k].at <= from; k++) by = m->shifts[k].by;
  out->raw.off = (uint32_t)((int32_t)from + by);
  for (; k < m->n && m->shifts[k].at <= to; k++) {
    by = m->shifts[k].by;
    if (v->type == WR_JSON_STRING) out->escaped = m->escaped[k];
  }
  out->raw.len = (uint32_t)((int32_t)to + by) - out->raw.off;
}

bool wr_json_shape_match(struct wr_json_shape *s, struct wr_span doc, size_t n_paths,
                         struct wr_json_value *out) {
  if (s->len == 0 || doc.len == 0) return false;
  struct match m;
  m.doc = doc.ptr;
  m.end = doc.ptr + doc.len;
  m.n = 0;
  m.first_differs = false;
  bool matched = match_doc(s, &m);
  if (m.first_differs) note_differing(s);
  if (!matched) {
    s->misses++;
    return false;
  }
  s->misses = 0;
  memset(out, 0, n_paths * sizeof *out);
  for (size_t i = 0; i < s->n_values; i++)
    move_value(&m, &s->values[i], &out[s->values[i].path]);
  return true;
}

/* Notes the holes of a document that is known to be valid. False: not for a shape. */
static bool find_holes(struct wr_json_shape *s, const char *p, size_t len) {
  const char *from = p, *end = p + len;
  bool key = false; /* the next string is a member's name */
  uint64_t objects = 0;
  unsigned depth = 0;
  s->n_holes = 0;
  while (p < end) {
    char c = *p++;
    if (c == '{' || c == '[') {
      if (++depth > 60) return false;
      objects = objects << 1 | (c == '{');
      key = c == '{';
    } else if (c == '}' || c == ']') {
      depth--;
      objects >>= 1;
      key = false;
    } else if (c == ',') {
      key = objects & 1;
    } else if (c == ':') {
      key = false;
    } else if (c == '"') {
      bool escaped = false;
      ptrdiff_t n = string_len(p, end, &escaped);
      if (n < 0) return false;
      if (!key) {
        if (s->n_holes == WR_JSON_SHAPE_HOLES) return false;
        s->holes[s->n_holes++] =
            (struct wr_json_hole){ (uint16_t)(p - from), (uint16_t)n, false, false };
      }
      p += n + 1;
    } else if ((c >= '0' && c <= '9') || c == '-') {
      ptrdiff_t n = number_len(p - 1, end);
      bool plain = n > 0 && (p - 1 + n == end || !memchr("+-.eE0123456789", p[n - 1], 15));
      if (plain && s->n_holes < WR_JSON_SHAPE_HOLES)
        s->holes[s->n_holes++] =
            (struct wr_json_hole){ (uint16_t)(p - 1 - from), (uint16_t)n, true, false };
      while (p < end && memchr("+-.eE0123456789", *p, 15)) p++; /* not a hole: must be equal */
    }
  }
  return true;
}

void wr_json_shape_learn(struct wr_json_shape *s, struct wr_span doc, size_t n_paths,
                         const struct wr_json_value *values) {
  WR_CHECK(n_paths <= WR_JSON_MAX_PATHS);
  if (doc.len == 0 || doc.len > WR_JSON_SHAPE_BYTES) return;
  s->len = 0;
  if (!find_holes(s, doc.ptr, doc.len)) return;
  s->n_values = s->n_differ = 0;
  s->misses = 0;
  for (size_t i = 0; i < n_paths; i++) {
    const struct wr_json_value *v = &values[i];
    if (v->type == WR_JSON_MISSING) continue;
    s->values[s->n_values++] =
        (struct wr_json_shape_value){ (uint16_t)v->raw.off, (uint16_t)v->raw.len, (uint8_t)i,
                                      v->type, v->escaped };
  }
  memcpy(s->doc, doc.ptr, doc.len);
  s->len = (uint16_t)doc.len;
}

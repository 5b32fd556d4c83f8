#include "base/check.h"
#include "wire/json_lex.h"

/* An array or object that paths lead into. */
struct frame {
  uint32_t index; /* of the current element */
  uint32_t lock;  /* paths that an earlier element settled: they take no more values here */
  uint8_t node;
  bool is_object;
  bool started;
};

struct scan {
  const struct wr_json_prog *prog; /* borrowed: the caller's */
  const char *base;                /* borrowed: the caller's document */
  const char *end;                 /* borrowed: as above */
  struct wr_json_value *out;       /* borrowed: the caller's */
  uint32_t found;
  uint32_t nulls;                  /* found as null */
  uint32_t open;                   /* found as a container that isn't closed yet */
  unsigned flags;
  enum wr_err err;
  unsigned n; /* frames in use */
  struct frame frames[WR_JSON_MAX_STEPS + 1];
};

/* Kept out of the loops that are short because of it. */
#define COLD __attribute__((noinline))

static COLD const char *fail(struct scan *s, enum wr_err err) {
  s->err = err;
  return NULL;
}
static COLD const char *bad(struct scan *s) { return fail(s, WR_E_JSON_SYNTAX); }

static inline bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static inline const char *skip_space(const char *p, const char *end) {
  if (__builtin_expect(p < end && (unsigned char)*p > ' ', 1)) return p;
  while (p < end && is_space(*p)) p++;
  return p;
}

/* Strings with escapes, and those longer than a block. */
static COLD const char *long_string(const char *p, const char *end, bool *escaped) {
  return wr_json_lex_string(p, end, escaped);
}

/* p is behind the opening quote: the closing one, or NULL. Most strings end within sixteen bytes;
 * near the document's end those are read backwards from there. */
static inline const char *string_end(const struct scan *s, const char *p, bool *escaped) {
#if defined(__SSE2__)
  size_t left = (size_t)(s->end - p);
  if (__builtin_expect(left >= 16, 1)) {
    unsigned m = wr_json_lex_mask(p);
    if (__builtin_expect(m != 0, 1)) {
      p += __builtin_ctz(m);
      if (__builtin_expect(*p == '"', 1)) return p;
    } else {
      p += 16;
    }
    return long_string(p, s->end, escaped);
  }
  if (s->end - s->base >= 16 && left > 0) {
    unsigned m = wr_json_lex_mask(s->end - 16) >> (16 - left);
    const char *q = p + __builtin_ctz(m | 0x10000);
    if (m && *q == '"') return q;
  }
#endif
  return long_string(p, s->end, escaped);
}

static inline const char *literal(struct scan *s, const char *p, const char *word, size_t len) {
  if ((size_t)(s->end - p) < len || memcmp(p, word, len) != 0) return bad(s);
  return p + len;
}

/* A number or literal. */
static COLD const char *plain_scalar(struct scan *s, const char *p, uint8_t *type) {
  switch (*p) {
  case 'n':
    *type = WR_JSON_NULL;
    return literal(s, p, "null", 4);
  case 't':
    *type = WR_JSON_BOOL;
    return literal(s, p, "true", 4);
  case 'f':
    *type = WR_JSON_BOOL;
    return literal(s, p, "false", 5);
  default:
    *type = WR_JSON_NUMBER;
    p = wr_json_lex_number(p, s->end);
    return p ? p : bad(s);
  }
}

/* A string, number or literal; *escaped is only ever set. */
static inline const char *scalar(struct scan *s, const char *p, uint8_t *type, bool *escaped) {
  if (*p != '"') return plain_scalar(s, p, type);
  *type = WR_JSON_STRING;
  p = string_end(s, p + 1, escaped);
  return p ? p + 1 : bad(s);
}

/* --- Subtrees that no path leads into. */

/* p is behind the name's opening quote; the place behind the colon. */
static const char *skip_name(struct scan *s, const char *p) {
  bool escaped = false;
  p = string_end(s, p, &escaped);
  if (!p) return bad(s);
  p = skip_space(p + 1, s->end);
  return p < s->end && *p == ':' ? p + 1 : bad(s);
}

/* p is behind a value: closes what ends there; where nesting stays above `base`, another value
 * follows at the place given. */
static const char *skip_after(struct scan *s, const char *p, uint64_t *kinds, unsigned *depth,
                              unsigned base) {
  while (*depth > base) {
    p = skip_space(p, s->end);
    if (p == s->end) return bad(s);
    bool object = *kinds & 1;
    if (*p == ',') {
      if (!object) return p + 1;
      p = skip_space(p + 1, s->end);
      return p < s->end && *p == '"' ? skip_name(s, p + 1) : bad(s);
    }
    if (*p != (object ? '}' : ']')) return bad(s);
    p++;
    *kinds >>= 1;
    (*depth)--;
  }
  return p;
}

/* p is at a bracket at nesting level s->n; validates up to its end. */
static const char *skip_strict(struct scan *s, const char *p) {
  uint64_t kinds = 0;
  unsigned depth = s->n;
  do {
    p = skip_space(p, s->end);
    if (p == s->end) return bad(s);
    if (*p != '{' && *p != '[') {
      uint8_t type;
      bool escaped = false;
      p = scalar(s, p, &type, &escaped);
      if (p) p = skip_after(s, p, &kinds, &depth, s->n);
      continue;
    }
    if (depth == WR_JSON_MAX_DEPTH) return fail(s, WR_E_JSON_DEPTH);
    bool object = *p == '{';
    kinds = kinds << 1 | object;
    depth++;
    p = skip_space(p + 1, s->end);
    if (p == s->end) return bad(s);
    if (*p == (object ? '}' : ']')) {
      p = skip_after(s, p, &kinds, &depth, s->n);
    } else if (object) {
      p = *p == '"' ? skip_name(s, p + 1) : bad(s);
    }
  } while (p && depth > s->n);
  return p;
}

/* The next quote or bracket, or end. Brackets and braces differ by one bit, which is set first. */
static inline const char *find_structure(const char *p, const char *end) {
#if defined(__SSE2__)
  while (end - p >= 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i low = _mm_or_si128(v, _mm_set1_epi8(0x20));
    __m128i any = _mm_or_si128(_mm_cmpeq_epi8(low, _mm_set1_epi8('{')),
                               _mm_cmpeq_epi8(low, _mm_set1_epi8('}')));
    any = _mm_or_si128(any, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
    unsigned m = (unsigned)_mm_movemask_epi8(any);
    if (m) return p + __builtin_ctz(m);
    p += 16;
  }
#endif
  while (p < end && *p != '"' && (*p | 0x20) != '{' && (*p | 0x20) != '}') p++;
  return p;
}

/* p is at a bracket; counts brackets outside of strings. */
static const char *skip_fast(struct scan *s, const char *p) {
  size_t depth = 0;
  bool escaped = false;
  for (;;) {
    p = find_structure(p, s->end);
    if (p == s->end) return bad(s);
    if (*p == '"') {
      p = wr_json_lex_string(p + 1, s->end, &escaped);
      if (!p) return bad(s);
    } else if ((*p | 0x20) == '{') {
      depth++;
    } else if (--depth == 0) {
      return p + 1;
    }
    p++;
  }
}

static COLD const char *skip_container(struct scan *s, const char *p) {
  return s->flags & WR_JSON_SKIP_FAST ? skip_fast(s, p) : skip_strict(s, p);
}

/* --- Values that paths lead to. */

static void set_values(struct scan *s, uint32_t targets, struct wr_json_value v) {
  s->found |= targets;
  s->nulls = v.type == WR_JSON_NULL ? s->nulls | targets : s->nulls & ~targets;
  for (; targets; targets &= targets - 1) s->out[__builtin_ctz(targets)] = v;
}

static void set_lengths(struct scan *s, uint32_t targets, const char *end) {
  s->open &= ~targets;
  for (; targets; targets &= targets - 1) {
    struct wr_json_value *v = &s->out[__builtin_ctz(targets)];
    v->raw.len = (uint32_t)(end - s->base) - v->raw.off;
  }
}

static COLD void forget(struct scan *s, uint32_t paths) {
  s->found &= ~paths;
  s->nulls &= ~paths;
  for (; paths; paths &= paths - 1) {
    memset(&s->out[__builtin_ctz(paths)], 0, sizeof *s->out);
  }
}

static inline bool is_done(const struct scan *s) {
  return s->flags & WR_JSON_STOP_WHEN_FOUND && s->found == s->prog->all && !s->open &&
         !(s->nulls & s->prog->wild);
}

/* A container at p that paths lead to or into; a frame is pushed where they lead on. */
static COLD const char *open_container(struct scan *s, const char *p,
                                       const struct wr_json_node *node, uint32_t lock) {
  bool object = *p == '{';
  uint32_t targets = node->ends & ~lock;
  struct wr_json_value v = { { (uint32_t)(p - s->base), 0 },
                             object ? WR_JSON_OBJECT : WR_JSON_ARRAY,
                             false };
  if (targets) set_values(s, targets, v);
  bool leads_on = object ? node->n_keys > 0 : node->n_indices > 0 || node->wild;
  if (!leads_on) {
    p = skip_container(s, p);
    if (p) set_lengths(s, targets, p);
    return p;
  }
  s->open |= targets;
  struct frame *f = &s->frames[s->n++];
  f->index = 0;
  f->lock = lock;
  f->node = (uint8_t)(node - s->prog->nodes);
  f->is_object = object;
  f->started = false;
  return p + 1;
}

/* A value at p (not the end) for a node; lock holds for the container that it stands in. */
static inline const char *value(struct scan *s, const char *p, unsigned id, uint32_t lock) {
  const struct wr_json_node *node = &s->prog->nodes[id];
  if ((*p | 0x20) == '{') return open_container(s, p, node, lock);
  struct wr_json_value v = { { (uint32_t)(p - s->base), 0 }, 0, false };
  p = scalar(s, p, &v.type, &v.escaped);
  uint32_t targets = node->ends & ~lock;
  if (targets && p) {
    v.raw.len = (uint32_t)(p - s->base) - v.raw.off;
    set_values(s, targets, v);
  }
  return p;
}

/* A value at p that no path leads to. */
static inline const char *skip_value(struct scan *s, const char *p) {
  if (*p == '"') {
    bool escaped = false;
    p = string_end(s, p + 1, &escaped);
    return p ? p + 1 : bad(s);
  }
  if ((*p | 0x20) == '{') return skip_container(s, p);
  uint8_t type;
  return plain_scalar(s, p, &type);
}

static const char *close_frame(struct scan *s, const char *p) {
  s->n--;
  uint32_t lock = s->n ? s->frames[s->n - 1].lock : 0;
  uint32_t targets = s->prog->nodes[s->frames[s->n].node].ends & ~lock;
  if (targets) set_lengths(s, targets, p + 1);
  return p + 1;
}

/* An element ended: what it settled under `[]` stays, what is null there doesn't count. */
static void end_element(struct scan *s, struct frame *f, uint32_t wild) {
  uint32_t nulls = s->nulls & wild & ~f->lock;
  if (nulls) forget(s, nulls);
  f->lock |= s->found & wild;
}

/* A name with escapes: decoded as far as any name of a path is long. */
static COLD unsigned escaped_name(const struct scan *s, const struct wr_json_node *node,
                             const char *p, const char *end) {
  char key[WR_JSON_MAX_KEY];
  size_t len = 0;
  while (p && p < end) {
    char bytes[4];
    size_t n;
    p = wr_json_lex_char(p, end, bytes, &n);
    if (len + n > sizeof key) return 0;
    memcpy(key + len, bytes, n);
    len += n;
  }
  return wr_json_prog_key(s->prog, node, key, len, wr_json_prog_head(key, len));
}

static inline unsigned find_name(const struct scan *s, const struct wr_json_node *node,
                                 const char *p, size_t len, bool escaped) {
  if (escaped) return escaped_name(s, node, p, p + len);
  uint64_t head;
  if (s->end - p >= 8) {
    memcpy(&head, p, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (len < 8) head &= ((uint64_t)1 << (8 * len)) - 1;
#else
    head = wr_json_prog_head(p, len);
#endif
  } else {
    head = wr_json_prog_head(p, len);
  }
  return wr_json_prog_key(s->prog, node, p, len, head);
}

/* From behind the object's brace or a member, to the next name's opening quote; where the object
 * ends instead, its frame is closed and the place behind the brace given. */
static COLD const char *next_member(struct scan *s, const char *p, bool first) {
  p = skip_space(p, s->end);
  if (p == s->end) return bad(s);
  if (*p == '}') return close_frame(s, p);
  if (!first) {
    if (*p != ',') return bad(s);
    p = skip_space(p + 1, s->end);
  }
  return p < s->end && *p == '"' ? p : bad(s);
}

/* p is behind a name's closing quote: the place of the value. */
static COLD const char *after_name(struct scan *s, const char *p) {
  p = skip_space(p, s->end);
  if (p == s->end || *p != ':') return bad(s);
  p = skip_space(p + 1, s->end);
  return p == s->end ? bad(s) : p;
}

/* A member's value, with the paths that its name is on. */
static const char *found_member(struct scan *s, struct frame *f, const char *p, unsigned id) {
  uint32_t again = s->found & s->prog->nodes[id].mask & ~f->lock;
  if (again) forget(s, again);
  f->started = true;
  return value(s, p, id, f->lock);
}

/* Reads members until one opens a frame or the object ends. Compact text takes the short way: each
 * name follows on `,"` and each value on a colon. */
static const char *run_object(struct scan *s, const char *p) {
  struct frame *f = &s->frames[s->n - 1];
  const struct wr_json_node *node = &s->prog->nodes[f->node];
  const char *end = s->end;
  const uint64_t lens = node->lens;
  const unsigned level = s->n;
  p = next_member(s, p, !f->started);
  if (!p || s->n != level) return p;
  for (;;) {
    bool escaped = false;
    const char *name = p + 1;
    p = string_end(s, name, &escaped);
    /* Behind it come at least a colon, a digit and the brace. */
    if (!p || end - p < 4) return bad(s);
    size_t len = (size_t)(p - name);
    if (__builtin_expect(p[1] == ':' && (unsigned char)p[2] > ' ', 1)) {
      p += 2;
    } else {
      p = after_name(s, p + 1);
      if (!p) return NULL;
    }
    unsigned id = 0;
    if (escaped || (len < 64 && (lens >> len & 1))) id = find_name(s, node, name, len, escaped);
    if (id) {
      p = found_member(s, f, p, id);
      if (!p || s->n != level || is_done(s)) return p;
    } else {
      p = skip_value(s, p);
      if (!p) return NULL;
    }
    if (__builtin_expect(end - p >= 2 && p[0] == ',' && p[1] == '"', 1)) {
      p++;
      continue;
    }
    p = next_member(s, p, false);
    if (!p || s->n != level) return p;
  }
}

/* Reads elements until one opens a frame or the array ends. */
static const char *run_array(struct scan *s, const char *p) {
  struct frame *f = &s->frames[s->n - 1];
  const struct wr_json_node *node = &s->prog->nodes[f->node];
  const char *end = s->end;
  unsigned level = s->n;
  while (p && s->n == level) {
    p = skip_space(p, end);
    if (p == end) return bad(s);
    if (f->started && node->wild_mask) end_element(s, f, node->wild_mask);
    if (*p == ']') return close_frame(s, p);
    if (f->started) {
      if (*p != ',') return bad(s);
      p = skip_space(p + 1, end);
      if (p == end) return bad(s);
      f->index++;
    }
    f->started = true;
    unsigned id = wr_json_prog_index(s->prog, node, f->index);
    p = id ? value(s, p, id, f->lock) : skip_value(s, p);
    if (p && is_done(s)) return p;
  }
  return p;
}

enum wr_err wr_json_scan_with(const struct wr_json_prog *prog, struct wr_span doc, unsigned flags,
                              struct wr_json_value *out) {
  struct scan s;
  s.prog = prog;
  s.base = doc.ptr;
  s.end = doc.ptr + doc.len;
  s.out = out;
  s.found = s.nulls = s.open = 0;
  s.flags = flags;
  s.err = WR_E_JSON_SYNTAX;
  s.n = 0;
  memset(out, 0, prog->n_paths * sizeof *out);
  if (doc.len == 0 || doc.len >= UINT32_MAX) return WR_E_JSON_SYNTAX;
  const char *p = skip_space(s.base, s.end);
  if (p == s.end) return WR_E_JSON_SYNTAX;
  p = value(&s, p, 1, 0);
  while (p && s.n > 0 && !is_done(&s)) {
    p = s.frames[s.n - 1].is_object ? run_object(&s, p) : run_array(&s, p);
  }
  if (!p) return s.err;
  if (is_done(&s)) return WR_OK;
  return skip_space(p, s.end) == s.end ? WR_OK : WR_E_JSON_SYNTAX;
}

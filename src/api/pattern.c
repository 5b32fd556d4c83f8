#include "api/pattern.h"

#include "base/check.h"

enum choice_kind {
  CHOICE_GREEDY, /* `*` and `+`: give one byte back */
  CHOICE_LAZY,   /* `-`: take one byte more */
  CHOICE_SKIP,   /* `?`: go on without the byte */
  UNDO_OPEN,     /* not a choice: a capture was begun */
  UNDO_CLOSE     /* not a choice: a capture was ended */
};

struct choice {
  const char *item; /* borrowed: the pattern */
  const char *next; /* borrowed: the pattern; behind the item and its suffix */
  const char *at;   /* borrowed: the subject */
  size_t count, min;
  enum choice_kind kind;
};

struct matcher {
  const char *begin;          /* borrowed: the subject */
  const char *end;            /* borrowed: the subject */
  const char *p_end;          /* borrowed: the pattern */
  int64_t *left;              /* borrowed: the caller's */
  struct wr_pattern_match *m; /* borrowed: the caller's */
  enum wr_pattern_end error;
  size_t depth;
  struct choice stack[WR_PATTERN_CHOICES];
};

const char *wr_pattern_text(enum wr_pattern_end end) {
  switch (end) {
    case WR_PATTERN_NONE: return "no match";
    case WR_PATTERN_MATCH: return "match";
    case WR_PATTERN_STEPS: return "too many steps";
    case WR_PATTERN_TAIL_ESCAPE: return "malformed pattern (ends with '%')";
    case WR_PATTERN_NO_BRACKET: return "malformed pattern (missing ']')";
    case WR_PATTERN_NO_FRONTIER: return "missing '[' after '%f' in pattern";
    case WR_PATTERN_NO_BALANCE: return "malformed pattern (missing arguments to '%b')";
    case WR_PATTERN_CAPTURE_INDEX: return "invalid capture index in pattern";
    case WR_PATTERN_CAPTURE_CLOSE: return "invalid pattern capture";
    case WR_PATTERN_UNFINISHED: return "unfinished capture";
    case WR_PATTERN_MANY_CAPTURES: return "too many captures";
    case WR_PATTERN_COMPLEX: return "pattern too complex";
    case WR_PATTERN_ENDS: break;
  }
  return "unknown";
}

/* The bytes of each class below 128, as in the C locale; no class has others. */
static const uint64_t classes[26][2] = {
  ['a' - 'a'] = { 0, 0x07fffffe07fffffe },
  ['c' - 'a'] = { 0xffffffff, 0x8000000000000000 },
  ['d' - 'a'] = { 0x03ff000000000000, 0 },
  ['g' - 'a'] = { 0xfffffffe00000000, 0x7fffffffffffffff },
  ['l' - 'a'] = { 0, 0x07fffffe00000000 },
  ['p' - 'a'] = { 0xfc00fffe00000000, 0x78000001f8000001 },
  ['s' - 'a'] = { 0x0000000100003e00, 0 },
  ['u' - 'a'] = { 0, 0x0000000007fffffe },
  ['w' - 'a'] = { 0x03ff000000000000, 0x07fffffe07fffffe },
  ['x' - 'a'] = { 0x03ff000000000000, 0x0000007e0000007e },
  ['z' - 'a'] = { 1, 0 }, /* deprecated, but stock Lua still has it */
};

/* NULL: what is no letter of a class is itself. */
static const uint64_t *class_of(unsigned char cl) {
  unsigned i = (cl | 0x20u) - 'a';
  if (i >= 26 || !(classes[i][0] | classes[i][1])) return NULL;
  return classes[i];
}

/* An upper-case letter is the complement of its class. */
static bool class_has(unsigned char c, unsigned char cl) {
  const uint64_t *bits = class_of(cl);
  if (!bits) return cl == c;
  bool in = c < 128 && (bits[c >> 6] >> (c & 63u) & 1u);
  return in == ((cl & 0x20u) != 0);
}

/* set: from behind '[' to before the ']' that ends it. */
static bool set_has(unsigned char c, const char *set, const char *end) {
  bool want = true;
  if (set < end && *set == '^') {
    want = false;
    set++;
  }
  while (set < end) {
    unsigned char a = (unsigned char)*set;
    if (a == '%' && set + 1 < end) {
      if (class_has(c, (unsigned char)set[1])) return want;
      set += 2;
    } else if (set + 2 < end && set[1] == '-') {
      if (a <= c && c <= (unsigned char)set[2]) return want;
      set += 3;
    } else {
      if (a == c) return want;
      set++;
    }
  }
  return !want;
}

/* Behind the single-byte item at p, before its suffix; NULL when it is malformed. */
static const char *item_end(struct matcher *mt, const char *p) {
  char c = *p++;
  if (c == '%') {
    if (p < mt->p_end) return p + 1;
    mt->error = WR_PATTERN_TAIL_ESCAPE;
    return NULL;
  }
  if (c != '[') return p;
  if (p < mt->p_end && *p == '^') p++;
  bool first = true; /* a ']' right at the start is a byte of the set */
  for (;; first = false) {
    if (p >= mt->p_end) break;
    if (*p == ']' && !first) return p + 1;
    if (*p++ == '%') {
      if (p >= mt->p_end) break;
      p++;
    }
  }
  mt->error = WR_PATTERN_NO_BRACKET;
  return NULL;
}

static inline bool item_has(struct matcher *mt, const char *at, const char *p, const char *ep) {
  if (at >= mt->end) return false;
  unsigned char c = (unsigned char)*at;
  switch (*p) {
    case '.': *mt->left -= 1; return true;
    case '%': *mt->left -= 1; return class_has(c, (unsigned char)p[1]);
    case '[': *mt->left -= (ep - p) / 2; return set_has(c, p + 1, ep - 1);
    default: *mt->left -= 1; return (unsigned char)*p == c;
  }
}

static bool push(struct matcher *mt, struct choice c) {
  if (mt->depth == WR_PATTERN_CHOICES) {
    mt->error = WR_PATTERN_COMPLEX;
    return false;
  }
  mt->stack[mt->depth++] = c;
  return true;
}

/* Undoes captures and finds the last choice that has another way; false when there is none. */
static bool backtrack(struct matcher *mt, const char **s, const char **p) {
  while (mt->depth > 0 && *mt->left >= 0) {
    struct choice *c = &mt->stack[mt->depth - 1];
    *mt->left -= 1;
    switch (c->kind) {
      case UNDO_OPEN: mt->m->count--; break;
      case UNDO_CLOSE: mt->m->captures[c->count].len = WR_PATTERN_OPEN; break;
      case CHOICE_SKIP:
        *s = c->at;
        *p = c->next;
        mt->depth--;
        return true;
      case CHOICE_GREEDY:
        if (c->count <= c->min) break;
        c->count--;
        *s = c->at + c->count;
        *p = c->next;
        return true;
      case CHOICE_LAZY:
        if (!item_has(mt, c->at, c->item, c->next - 1)) break;
        c->at++;
        *s = c->at;
        *p = c->next;
        return true;
    }
    mt->depth--;
  }
  return false;
}

static bool capture_begin(struct matcher *mt, const char *s, bool position) {
  struct wr_pattern_match *m = mt->m;
  if (m->count == WR_PATTERN_CAPTURES) {
    mt->error = WR_PATTERN_MANY_CAPTURES;
    return false;
  }
  m->captures[m->count].off = (size_t)(s - mt->begin);
  m->captures[m->count].len = position ? WR_PATTERN_POSITION : WR_PATTERN_OPEN;
  m->count++;
  return push(mt, (struct choice){ NULL, NULL, NULL, 0, 0, UNDO_OPEN });
}

static bool capture_end(struct matcher *mt, const char *s) {
  struct wr_pattern_match *m = mt->m;
  unsigned i = m->count;
  while (i > 0 && m->captures[i - 1].len != WR_PATTERN_OPEN) i--;
  if (i == 0) {
    mt->error = WR_PATTERN_CAPTURE_CLOSE;
    return false;
  }
  m->captures[i - 1].len = (ptrdiff_t)((size_t)(s - mt->begin) - m->captures[i - 1].off);
  return push(mt, (struct choice){ NULL, NULL, NULL, i - 1, 0, UNDO_CLOSE });
}

/* %bxy at s: behind the balanced piece, or NULL. */
static const char *balance(struct matcher *mt, const char *s, const char *p) {
  if (s >= mt->end || *s != p[0]) return NULL;
  size_t open = 1;
  while (++s < mt->end) {
    *mt->left -= 1;
    if (*s == p[1]) {
      if (--open == 0) return s + 1;
    } else if (*s == p[0]) {
      open++;
    }
  }
  return NULL;
}

/* %1 at s: behind the repeated bytes, or NULL (also for an index that isn't valid: mt->error). */
static const char *back_reference(struct matcher *mt, const char *s, char digit) {
  unsigned i = (unsigned)(digit - '1');
  if (digit < '1' || i >= mt->m->count || mt->m->captures[i].len == WR_PATTERN_OPEN) {
    mt->error = WR_PATTERN_CAPTURE_INDEX;
    return NULL;
  }
  /* A position has no bytes: the stock matcher never finds it again. */
  if (mt->m->captures[i].len < 0) return NULL;
  size_t len = (size_t)mt->m->captures[i].len;
  *mt->left -= (int64_t)(len / 16 + 1);
  if (len > (size_t)(mt->end - s) || memcmp(mt->begin + mt->m->captures[i].off, s, len) != 0)
    return NULL;
  return s + len;
}

/* %f[set] at s. p is behind "%f". */
static bool frontier(struct matcher *mt, const char *s, const char *p, const char **next) {
  if (p >= mt->p_end || *p != '[') {
    mt->error = WR_PATTERN_NO_FRONTIER;
    return false;
  }
  const char *ep = item_end(mt, p);
  if (!ep) return false;
  *mt->left -= ep - p;
  unsigned char before = s == mt->begin ? 0 : (unsigned char)s[-1];
  unsigned char after = s < mt->end ? (unsigned char)*s : 0;
  *next = ep;
  return !set_has(before, p + 1, ep - 1) && set_has(after, p + 1, ep - 1);
}

/* A byte with or without a suffix. True: *s and *p have moved on. */
static bool single(struct matcher *mt, const char **s, const char **p) {
  const char *item = *p, *ep = item_end(mt, item);
  if (!ep) return false;
  char suffix = ep < mt->p_end ? *ep : '\0';
  if (suffix == '*' || suffix == '+') {
    size_t n = 0, min = suffix == '+';
    while (*mt->left >= 0 && item_has(mt, *s + n, item, ep)) n++;
    if (n < min) return false;
    if (n > min && !push(mt, (struct choice){ item, ep + 1, *s, n, min, CHOICE_GREEDY }))
      return false;
    *s += n;
    *p = ep + 1;
    return true;
  }
  if (suffix == '-') {
    if (!push(mt, (struct choice){ item, ep + 1, *s, 0, 0, CHOICE_LAZY })) return false;
    *p = ep + 1;
    return true;
  }
  bool has = item_has(mt, *s, item, ep);
  if (suffix == '?') {
    if (has && !push(mt, (struct choice){ item, ep + 1, *s, 0, 0, CHOICE_SKIP })) return false;
    *p = ep + 1;
    *s += has;
    return true;
  }
  if (!has) return false;
  *p = ep;
  *s += 1;
  return true;
}

/* '%' and one of b, f, 0-9. True: *s and *p have moved on. */
static bool special(struct matcher *mt, const char **s, const char **p) {
  const char *next = NULL;
  switch ((*p)[1]) {
    case 'b':
      if (*p + 3 >= mt->p_end) {
        mt->error = WR_PATTERN_NO_BALANCE;
        return false;
      }
      next = balance(mt, *s, *p + 2);
      if (!next) return false;
      *s = next;
      *p += 4;
      return true;
    case 'f':
      if (!frontier(mt, *s, *p + 2, &next)) return false;
      *p = next;
      return true;
    default:
      next = back_reference(mt, *s, (*p)[1]);
      if (!next) return false;
      *s = next;
      *p += 2;
      return true;
  }
}

static bool step(struct matcher *mt, const char **s, const char **p) {
  const char *at = *p;
  bool more = at + 1 < mt->p_end;
  *mt->left -= 1;
  switch (*at) {
    case '(':
      if (more && at[1] == ')') {
        *p = at + 2;
        return capture_begin(mt, *s, true);
      }
      *p = at + 1;
      return capture_begin(mt, *s, false);
    case ')': *p = at + 1; return capture_end(mt, *s);
    case '$':
      if (more) return single(mt, s, p);
      *p = at + 1;
      return *s == mt->end;
    case '%':
      if (more && (at[1] == 'b' || at[1] == 'f' || class_has((unsigned char)at[1], 'd')))
        return special(mt, s, p);
      return single(mt, s, p);
    default: return single(mt, s, p);
  }
}

static enum wr_pattern_end finish(struct matcher *mt, const char *at, const char *s) {
  for (unsigned i = 0; i < mt->m->count; i++) {
    if (mt->m->captures[i].len == WR_PATTERN_OPEN) return WR_PATTERN_UNFINISHED;
  }
  mt->m->start = (size_t)(at - mt->begin);
  mt->m->end = (size_t)(s - mt->begin);
  return WR_PATTERN_MATCH;
}

static enum wr_pattern_end run(struct matcher *mt, const char *at, const char *pattern) {
  const char *s = at, *p = pattern;
  mt->depth = 0;
  mt->m->count = 0;
  for (;;) {
    if (*mt->left < 0) return WR_PATTERN_STEPS;
    if (p == mt->p_end) return finish(mt, at, s);
    if (step(mt, &s, &p)) continue;
    if (mt->error != WR_PATTERN_NONE) return mt->error;
    if (!backtrack(mt, &s, &p)) return *mt->left < 0 ? WR_PATTERN_STEPS : WR_PATTERN_NONE;
  }
}

static void matcher_init(struct matcher *mt, struct wr_span subject, struct wr_span pattern,
                         int64_t *left, struct wr_pattern_match *m) {
  static const char nothing[1] = "";
  mt->begin = subject.ptr ? subject.ptr : nothing;
  mt->end = mt->begin + subject.len;
  mt->p_end = pattern.ptr + pattern.len;
  mt->left = left;
  mt->m = m;
  mt->error = WR_PATTERN_NONE;
  mt->depth = 0;
}

enum wr_pattern_end wr_pattern_at(struct wr_span subject, struct wr_span pattern, size_t at,
                                  int64_t *left, struct wr_pattern_match *m) {
  WR_DCHECK(at <= subject.len);
  struct matcher mt;
  if (!pattern.ptr) pattern = WR_SPAN("");
  matcher_init(&mt, subject, pattern, left, m);
  return run(&mt, mt.begin + at, pattern.ptr);
}

/* A pattern that starts with a plain byte can only match where that byte is. */
static bool literal_start(struct wr_span pattern) {
  if (pattern.len == 0 || memchr("^$()%.[*+-?", pattern.ptr[0], 11)) return false;
  return pattern.len == 1 || !memchr("*?-", pattern.ptr[1], 3);
}

/* What the first byte of any match is one of. */
struct first {
  struct wr_pattern_set set;
  bool frontier; /* and the byte before the match is none of them */
};

/* The bytes that a pattern's matches start with, where its first item is a valid class, set or
 * frontier that needs a byte: no other place has to be tried, and at none of those it would have
 * shown an error. */
static bool first_of(struct matcher *mt, const char *p, struct first *out) {
  if (mt->p_end - p > 2 && p[0] == '(' && p[1] != ')') p++;
  if (mt->p_end - p < 2 || (*p != '%' && *p != '[')) return false;
  out->frontier = *p == '%' && p[1] == 'f';
  if (out->frontier) p += 2;
  else if (*p == '%' && !class_of((unsigned char)p[1])) return false;
  if (p == mt->p_end || (out->frontier && *p != '[')) return false;
  const char *ep = item_end(mt, p);
  mt->error = WR_PATTERN_NONE; /* said where the pattern is tried */
  if (!ep || (!out->frontier && ep < mt->p_end && memchr("*?-", *ep, 3))) return false;
  wr_pattern_set_of(*p == '[' ? wr_span_make(p + 1, (size_t)(ep - p) - 2) : wr_span_make(p, 2),
                    &out->set);
  *mt->left -= ep - p;
  return true;
}

/* Tries where a match can start only. A byte that is passed by costs a quarter of a step. */
static enum wr_pattern_end find_from(struct matcher *mt, const char *at, const char *pattern,
                                     const struct first *first) {
  int64_t passed = 0;
  for (; at < mt->end; at++, passed++) {
    if (!wr_pattern_set_has(&first->set, *at)) continue;
    if (first->frontier && at > mt->begin && wr_pattern_set_has(&first->set, at[-1])) continue;
    enum wr_pattern_end end = run(mt, at, pattern);
    if (end != WR_PATTERN_NONE) return end;
  }
  *mt->left -= passed / 4;
  if (*mt->left < 0) return WR_PATTERN_STEPS;
  /* Behind the last byte a frontier sees a zero; nothing else is there to begin with. */
  return first->frontier ? run(mt, at, pattern) : WR_PATTERN_NONE;
}

enum wr_pattern_end wr_pattern_find(struct wr_span subject, struct wr_span pattern, size_t init,
                                    int64_t *left, struct wr_pattern_match *m) {
  WR_DCHECK(init <= subject.len);
  struct matcher mt;
  struct first first;
  if (!pattern.ptr) pattern = WR_SPAN("");
  bool anchored = pattern.len > 0 && pattern.ptr[0] == '^';
  if (anchored) pattern = wr_span_sub(pattern, 1, pattern.len - 1);
  matcher_init(&mt, subject, pattern, left, m);
  const char *at = mt.begin + init;
  if (!anchored && first_of(&mt, pattern.ptr, &first))
    return find_from(&mt, at, pattern.ptr, &first);
  bool literal = !anchored && literal_start(pattern);
  for (;; at++) {
    if (literal && at < mt.end) {
      const char *hit = memchr(at, pattern.ptr[0], (size_t)(mt.end - at));
      *left -= ((hit ? hit : mt.end) - at) / 16;
      /* At the end the pattern is still tried: its errors must show. */
      at = hit ? hit : mt.end;
    }
    enum wr_pattern_end end = run(&mt, at, pattern.ptr);
    if (end != WR_PATTERN_NONE || anchored || at >= mt.end) return end;
  }
}

bool wr_pattern_is_plain(struct wr_span pattern) {
  /* The bytes of "^$*+?.([%-". */
  static const struct wr_pattern_set magic = { { 0x80006d3000000000, 0x48000000, 0, 0 } };
  for (size_t i = 0; i < pattern.len; i++) {
    if (wr_pattern_set_has(&magic, pattern.ptr[i])) return false;
  }
  return true;
}

size_t wr_pattern_plain(struct wr_span subject, struct wr_span needle, size_t init, int64_t *left) {
  if (init > subject.len || needle.len > subject.len - init) return SIZE_MAX;
  if (needle.len == 0) return init;
  const char *from = subject.ptr + init;
  const char *hit = memmem(from, subject.len - init, needle.ptr, needle.len);
  *left -= (int64_t)((hit ? (size_t)(hit - from) : subject.len - init) / 16 + 1);
  return hit ? (size_t)(hit - subject.ptr) : SIZE_MAX;
}

bool wr_pattern_in_set(struct wr_span body, char c) {
  return set_has((unsigned char)c, body.ptr, body.ptr + body.len);
}

void wr_pattern_set_of(struct wr_span body, struct wr_pattern_set *out) {
  const char *p = body.ptr, *end = p + body.len;
  bool without = p < end && *p == '^';
  *out = (struct wr_pattern_set){ { 0, 0, 0, 0 } };
  for (p += without; p < end;) {
    unsigned from = (unsigned char)*p, to = from;
    const uint64_t *bits = NULL;
    if (from == '%' && p + 1 < end) {
      from = to = (unsigned char)p[1];
      bits = class_of((unsigned char)from);
      p += 2;
    } else if (p + 2 < end && p[1] == '-') {
      to = (unsigned char)p[2];
      p += 3;
    } else {
      p++;
    }
    uint64_t flip = bits && !(from & 0x20u) ? UINT64_MAX : 0;
    for (unsigned i = 0; bits && i < 4; i++) out->bits[i] |= (i < 2 ? bits[i] : 0) ^ flip;
    for (unsigned c = from; !bits && c <= to; c++) out->bits[c >> 6] |= UINT64_C(1) << (c & 63u);
  }
  for (unsigned i = 0; without && i < 4; i++) out->bits[i] = ~out->bits[i];
}

/* pattern.h: Lua patterns over borrowed bytes, with a step budget.
 *
 * What the manual of Lua 5.4 says of patterns (section 6.4.1) holds here, for strings and for views
 * alike. The difference is in how long it may take: each comparison of a byte costs a step, and a
 * search that has used its steps ends. No recursion and no allocation: choices lie on a stack of
 * fixed size, because an item of a pattern is visited at most once on a path. Pure functions, any
 * thread. */
#ifndef WR_API_PATTERN_H
#define WR_API_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define WR_PATTERN_CAPTURES 32
#define WR_PATTERN_CHOICES 200 /* quantifiers and captures in one pattern */

/* A capture's length that is none. */
#define WR_PATTERN_OPEN (-1)
#define WR_PATTERN_POSITION (-2) /* "()": off is the position */

struct wr_pattern_capture {
  size_t off; /* from the subject's first byte */
  ptrdiff_t len;
};

struct wr_pattern_match {
  size_t start, end; /* from the subject's first byte; end is behind the last one */
  unsigned count;
  struct wr_pattern_capture captures[WR_PATTERN_CAPTURES];
};

enum wr_pattern_end {
  WR_PATTERN_NONE,
  WR_PATTERN_MATCH,
  WR_PATTERN_STEPS,  /* *left went below zero */
  WR_PATTERN_ERRORS, /* what follows: a pattern that is not valid */
  WR_PATTERN_TAIL_ESCAPE = WR_PATTERN_ERRORS,
  WR_PATTERN_NO_BRACKET,
  WR_PATTERN_NO_FRONTIER,
  WR_PATTERN_NO_BALANCE,
  WR_PATTERN_CAPTURE_INDEX,
  WR_PATTERN_CAPTURE_CLOSE,
  WR_PATTERN_UNFINISHED,
  WR_PATTERN_MANY_CAPTURES,
  WR_PATTERN_COMPLEX,
  WR_PATTERN_ENDS
};
/* The text of an error; static. */
const char *wr_pattern_text(enum wr_pattern_end end);

/* One try, at offset `at` of the subject. A '^' is a byte like others: its meaning is the caller's.
 * *left is lowered by the steps that were made. */
enum wr_pattern_end wr_pattern_at(struct wr_span subject, struct wr_span pattern, size_t at,
                                  int64_t *left, struct wr_pattern_match *m);
/* The first match at or behind init (0 .. subject.len); '^' at the pattern's start allows only
 * init. */
enum wr_pattern_end wr_pattern_find(struct wr_span subject, struct wr_span pattern, size_t init,
                                    int64_t *left, struct wr_pattern_match *m);
/* Has the pattern none of the bytes that mean something? Then plain search finds the same. */
bool wr_pattern_is_plain(struct wr_span pattern);
/* The offset of needle at or behind init, or SIZE_MAX. Costs a step for 16 bytes. */
size_t wr_pattern_plain(struct wr_span subject, struct wr_span needle, size_t init, int64_t *left);

/* Is the byte one of a set without its brackets, such as "%w._-" or "^%s"? */
bool wr_pattern_in_set(struct wr_span body, char c);
/* All bytes of such a set: worth it where many are looked at. */
struct wr_pattern_set {
  uint64_t bits[4];
};
void wr_pattern_set_of(struct wr_span body, struct wr_pattern_set *out);
static inline bool wr_pattern_set_has(const struct wr_pattern_set *set, char c) {
  unsigned char u = (unsigned char)c;
  return set->bits[u >> 6] >> (u & 63u) & 1u;
}

#endif

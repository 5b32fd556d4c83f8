/* span.h: bytes that belong to somebody else.
 *
 * A span is borrowed: it is never stored past the call that received it. An extent is an offset
 * and a length into bytes that its holder already references; it survives a move of those bytes.
 * A view (mem/view.h) is a reference of its own. They are different types so that the compiler
 * keeps them apart. */
#ifndef WR_BASE_SPAN_H
#define WR_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wr_span {
  const char *ptr; /* borrowed: the caller's bytes; may be NULL when len is 0 */
  size_t len;
};

struct wr_extent {
  uint32_t off;
  uint32_t len;
};

/* A span over a string literal. */
#define WR_SPAN(literal) ((struct wr_span){ "" literal, sizeof(literal) - 1 })

static inline struct wr_span wr_span_make(const void *ptr, size_t len) {
  struct wr_span s = { (const char *)ptr, len };
  return s;
}

/* A span over a C string; NULL gives the empty span. */
static inline struct wr_span wr_span_str(const char *str) {
  return wr_span_make(str, str ? strlen(str) : 0);
}

static inline struct wr_span wr_span_sub(struct wr_span s, size_t off, size_t len) {
  return wr_span_make(s.ptr ? s.ptr + off : NULL, len);
}

/* The bytes of an extent, given the bytes that its offsets count from. */
static inline struct wr_span wr_span_at(const void *base, struct wr_extent e) {
  return wr_span_make(base ? (const char *)base + e.off : NULL, e.len);
}

static inline bool wr_span_eq(struct wr_span a, struct wr_span b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* ASCII case is ignored (field names and tokens of RFC 9110). */
bool wr_span_ieq(struct wr_span a, struct wr_span b);

bool wr_span_starts(struct wr_span s, struct wr_span prefix);

/* Without leading and trailing SP and HTAB (RFC 9110 OWS). */
struct wr_span wr_span_trim(struct wr_span s);

#endif

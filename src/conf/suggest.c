/* "did you mean": the nearest name within a small edit distance. */
#include <string.h>

#include "conf/schema.h"

#define NAME_MAX_BYTES 48

static unsigned min3(unsigned a, unsigned b, unsigned c) {
  unsigned m = a < b ? a : b;
  return m < c ? m : c;
}

/* Optimal string alignment: insert, delete, replace, swap of neighbours cost one each. */
static unsigned distance(struct wr_span a, struct wr_span b) {
  unsigned rows[3][NAME_MAX_BYTES + 1];
  unsigned *before = rows[0], *prev = rows[1], *cur = rows[2];
  for (size_t j = 0; j <= b.len; j++) prev[j] = (unsigned)j;
  memset(before, 0, sizeof rows[0]);
  for (size_t i = 1; i <= a.len; i++) {
    cur[0] = (unsigned)i;
    for (size_t j = 1; j <= b.len; j++) {
      unsigned same = a.ptr[i - 1] == b.ptr[j - 1] ? 0 : 1;
      cur[j] = min3(prev[j] + 1, cur[j - 1] + 1, prev[j - 1] + same);
      if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1] &&
          before[j - 2] + 1 < cur[j])
        cur[j] = before[j - 2] + 1;
    }
    unsigned *recycled = before;
    before = prev;
    prev = cur;
    cur = recycled;
  }
  return prev[b.len];
}

const char *wr_suggest(struct wr_span wrong, wr_name_at_fn name_at, const void *ctx) {
  if (wrong.len == 0 || wrong.len > NAME_MAX_BYTES) return NULL;
  const char *best = NULL;
  unsigned limit = wrong.len <= 3 ? 1 : wrong.len <= 6 ? 2 : 3, least = limit + 1;
  const char *name;
  for (size_t i = 0; (name = name_at(ctx, i)) != NULL; i++) {
    struct wr_span right = wr_span_str(name);
    if (right.len == 0 || right.len > NAME_MAX_BYTES) continue;
    unsigned d = distance(wrong, right);
    if (d < least && d < right.len) {
      least = d;
      best = name;
    }
  }
  return best;
}

static const char *field_at(const void *ctx, size_t i) {
  const struct wr_schema *schema = ctx;
  return i < schema->field_count ? schema->fields[i].name : NULL;
}

const char *wr_schema_suggest(const struct wr_schema *schema, struct wr_span wrong) {
  return wr_suggest(wrong, field_at, schema);
}

static const char *word_at(const void *ctx, size_t i) { return ((const char *const *)ctx)[i]; }

const char *wr_words_suggest(const char *const *words, struct wr_span wrong) {
  return wr_suggest(wrong, word_at, words);
}

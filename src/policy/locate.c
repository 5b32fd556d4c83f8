#include "policy/locate.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "policy/tokens.h"

/* Reads "name =" or ["name"] = when one stands here, behind "{" or ",". */
static bool at_key(struct wr_tokens *s, enum wr_token first, struct wr_span *key) {
  struct wr_tokens ahead = *s;
  if (first == WR_T_BRACKET) {
    if (wr_tokens_next(&ahead) != WR_T_STRING) return false;
    *key = ahead.value;
    if (wr_tokens_next(&ahead) != WR_T_OTHER) return false; /* "]" */
  } else if (first == WR_T_NAME) {
    *key = s->value;
  } else {
    return false;
  }
  if (wr_tokens_next(&ahead) != WR_T_EQUALS) return false;
  *s = ahead;
  return true;
}

/* Does the n-th value without a name stand for "[n]"? */
static bool is_item(const char *key, size_t n) {
  char text[24];
  snprintf(text, sizeof text, "[%zu]", n);
  return strcmp(key, text) == 0;
}

int wr_locate(struct wr_span source, int line, const char *const *path, size_t depth) {
  WR_CHECK(depth <= WR_LOCATE_DEPTH);
  struct wr_tokens s = { .text = source, .line = 1 };
  while (s.line < line && wr_tokens_peek(&s, 0) >= 0) wr_tokens_step(&s);
  int found = line;
  size_t braces = 0, matched = 0; /* matched options are the tables that we are inside of */
  size_t items = 0;               /* values without a name, in the innermost of those */
  bool key_may_come = false;
  for (;;) {
    wr_tokens_skip(&s);
    int here = s.line;
    enum wr_token t = wr_tokens_next(&s);
    if (t == WR_T_END || matched == depth) return found;
    struct wr_span key;
    if (key_may_come && braces == matched + 1) {
      bool named = at_key(&s, t, &key);
      bool item = !named && t != WR_T_CLOSE && t != WR_T_SEP;
      if ((named && wr_span_eq(key, wr_span_str(path[matched]))) ||
          (item && is_item(path[matched], ++items))) {
        found = here;
        matched++;
        items = 0;
        if (matched == depth) return found;
      }
    }
    key_may_come = t == WR_T_OPEN || t == WR_T_SEP;
    if (t == WR_T_OPEN) braces++;
    if (t == WR_T_CLOSE && (braces <= 1 || --braces <= matched)) {
      if (braces <= 1 || matched > 0) return found; /* the table that we looked in has ended */
    }
  }
}

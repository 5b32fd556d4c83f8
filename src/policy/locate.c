#include "policy/locate.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

enum token { T_END, T_OPEN, T_CLOSE, T_SEP, T_EQUALS, T_NAME, T_STRING, T_BRACKET, T_OTHER };

struct scan {
  struct wr_span text;
  size_t at;
  int line;
  struct wr_span value; /* of the last NAME or STRING */
};

static int peek(const struct scan *s, size_t ahead) {
  return s->at + ahead < s->text.len ? (unsigned char)s->text.ptr[s->at + ahead] : -1;
}

static void step(struct scan *s) {
  if (peek(s, 0) == '\n') s->line++;
  s->at++;
}

static bool is_word(int c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The number of "=" in a long bracket that opens here, or -1. */
static int long_level(const struct scan *s) {
  if (peek(s, 0) != '[') return -1;
  size_t n = 1;
  while (peek(s, n) == '=') n++;
  return peek(s, n) == '[' ? (int)n - 1 : -1;
}

static void skip_long(struct scan *s, int level) {
  for (int i = 0; i < level + 2; i++) step(s);
  while (peek(s, 0) >= 0) {
    if (peek(s, 0) == ']') {
      size_t n = 1;
      while (peek(s, n) == '=') n++;
      if ((int)n - 1 == level && peek(s, n) == ']') {
        for (size_t i = 0; i <= n; i++) step(s);
        return;
      }
    }
    step(s);
  }
}

static void skip_comment(struct scan *s) {
  step(s);
  step(s);
  int level = long_level(s);
  if (level >= 0) {
    skip_long(s, level);
    return;
  }
  while (peek(s, 0) >= 0 && peek(s, 0) != '\n') step(s);
}

static void read_string(struct scan *s) {
  int quote = peek(s, 0);
  step(s);
  size_t from = s->at;
  while (peek(s, 0) >= 0 && peek(s, 0) != quote && peek(s, 0) != '\n') {
    if (peek(s, 0) == '\\') step(s);
    if (peek(s, 0) >= 0) step(s);
  }
  size_t to = s->at < s->text.len ? s->at : s->text.len;
  s->value = wr_span_sub(s->text, from, to - from);
  if (peek(s, 0) == quote) step(s);
}

static void skip_blanks(struct scan *s) {
  for (;;) {
    int c = peek(s, 0);
    if (c == '-' && peek(s, 1) == '-') {
      skip_comment(s);
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      step(s);
    } else {
      return;
    }
  }
}

static enum token next(struct scan *s) {
  skip_blanks(s);
  int c = peek(s, 0);
  if (c < 0) return T_END;
  if (c == '"' || c == '\'') {
    read_string(s);
    return T_STRING;
  }
  int level = long_level(s);
  if (level >= 0) {
    skip_long(s, level);
    return T_OTHER;
  }
  if (is_word(c)) {
    size_t from = s->at;
    while (is_word(peek(s, 0))) step(s);
    s->value = wr_span_sub(s->text, from, s->at - from);
    return T_NAME;
  }
  step(s);
  if (c == '{') return T_OPEN;
  if (c == '}') return T_CLOSE;
  if (c == ',' || c == ';') return T_SEP;
  if (c == '[') return T_BRACKET;
  if (c == '=' && peek(s, 0) != '=') return T_EQUALS;
  return T_OTHER;
}

/* Reads "name =" or ["name"] = when one stands here, behind "{" or ",". */
static bool at_key(struct scan *s, enum token first, struct wr_span *key) {
  struct scan ahead = *s;
  if (first == T_BRACKET) {
    if (next(&ahead) != T_STRING) return false;
    *key = ahead.value;
    if (next(&ahead) != T_OTHER) return false; /* "]" */
  } else if (first == T_NAME) {
    *key = s->value;
  } else {
    return false;
  }
  if (next(&ahead) != T_EQUALS) return false;
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
  struct scan s = { source, 0, 1, wr_span_make(NULL, 0) };
  while (s.line < line && peek(&s, 0) >= 0) step(&s);
  int found = line;
  size_t braces = 0, matched = 0; /* matched options are the tables that we are inside of */
  size_t items = 0;               /* values without a name, in the innermost of those */
  bool key_may_come = false;
  for (;;) {
    skip_blanks(&s);
    int here = s.line;
    enum token t = next(&s);
    if (t == T_END || matched == depth) return found;
    struct wr_span key;
    if (key_may_come && braces == matched + 1) {
      bool named = at_key(&s, t, &key);
      bool item = !named && t != T_CLOSE && t != T_SEP;
      if ((named && wr_span_eq(key, wr_span_str(path[matched]))) ||
          (item && is_item(path[matched], ++items))) {
        found = here;
        matched++;
        items = 0;
        if (matched == depth) return found;
      }
    }
    key_may_come = t == T_OPEN || t == T_SEP;
    if (t == T_OPEN) braces++;
    if (t == T_CLOSE && (braces <= 1 || --braces <= matched)) {
      if (braces <= 1 || matched > 0) return found; /* the table that we looked in has ended */
    }
  }
}

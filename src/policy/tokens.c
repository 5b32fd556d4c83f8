#include "policy/tokens.h"

int wr_tokens_peek(const struct wr_tokens *s, size_t ahead) {
  return s->at + ahead < s->text.len ? (unsigned char)s->text.ptr[s->at + ahead] : -1;
}

void wr_tokens_step(struct wr_tokens *s) {
  if (wr_tokens_peek(s, 0) == '\n') s->line++;
  s->at++;
}

static bool is_word(int c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The number of "=" in a long bracket that opens here, or -1. */
static int long_level(const struct wr_tokens *s) {
  if (wr_tokens_peek(s, 0) != '[') return -1;
  size_t n = 1;
  while (wr_tokens_peek(s, n) == '=') n++;
  return wr_tokens_peek(s, n) == '[' ? (int)n - 1 : -1;
}

static void skip_long(struct wr_tokens *s, int level) {
  for (int i = 0; i < level + 2; i++) wr_tokens_step(s);
  while (wr_tokens_peek(s, 0) >= 0) {
    if (wr_tokens_peek(s, 0) == ']') {
      size_t n = 1;
      while (wr_tokens_peek(s, n) == '=') n++;
      if ((int)n - 1 == level && wr_tokens_peek(s, n) == ']') {
        for (size_t i = 0; i <= n; i++) wr_tokens_step(s);
        return;
      }
    }
    wr_tokens_step(s);
  }
}

static void skip_comment(struct wr_tokens *s) {
  wr_tokens_step(s);
  wr_tokens_step(s);
  int level = long_level(s);
  if (level >= 0) {
    skip_long(s, level);
    return;
  }
  while (wr_tokens_peek(s, 0) >= 0 && wr_tokens_peek(s, 0) != '\n') wr_tokens_step(s);
}

static void read_string(struct wr_tokens *s) {
  int quote = wr_tokens_peek(s, 0);
  wr_tokens_step(s);
  size_t from = s->at;
  for (int c; (c = wr_tokens_peek(s, 0)) >= 0 && c != quote && c != '\n';) {
    if (wr_tokens_peek(s, 0) == '\\') wr_tokens_step(s);
    if (wr_tokens_peek(s, 0) >= 0) wr_tokens_step(s);
  }
  size_t to = s->at < s->text.len ? s->at : s->text.len;
  s->value = wr_span_sub(s->text, from, to - from);
  if (wr_tokens_peek(s, 0) == quote) wr_tokens_step(s);
}

void wr_tokens_skip(struct wr_tokens *s) {
  for (;;) {
    int c = wr_tokens_peek(s, 0);
    if (c == '-' && wr_tokens_peek(s, 1) == '-') {
      skip_comment(s);
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      wr_tokens_step(s);
    } else {
      return;
    }
  }
}

enum wr_token wr_tokens_next(struct wr_tokens *s) {
  wr_tokens_skip(s);
  int c = wr_tokens_peek(s, 0);
  s->begin = s->at;
  s->begin_line = s->line;
  if (c < 0) return WR_T_END;
  if (c == '"' || c == '\'') {
    read_string(s);
    return WR_T_STRING;
  }
  int level = long_level(s);
  if (level >= 0) {
    skip_long(s, level);
    return WR_T_OTHER;
  }
  if (is_word(c)) {
    size_t from = s->at;
    while (is_word(wr_tokens_peek(s, 0))) wr_tokens_step(s);
    s->value = wr_span_sub(s->text, from, s->at - from);
    return WR_T_NAME;
  }
  wr_tokens_step(s);
  if (c == '{') return WR_T_OPEN;
  if (c == '}') return WR_T_CLOSE;
  if (c == ',' || c == ';') return WR_T_SEP;
  if (c == '[') return WR_T_BRACKET;
  if (c == '=' && wr_tokens_peek(s, 0) != '=') return WR_T_EQUALS;
  return WR_T_OTHER;
}

/* tokens.h: the text of a Lua file as tokens, for messages and hints: comments and long strings are
 * skipped, operators come a character at a time, numbers are names. It accepts any bytes. Pure. */
#ifndef WR_POLICY_TOKENS_H
#define WR_POLICY_TOKENS_H

#include <stddef.h>

#include "base/span.h"

enum wr_token {
  WR_T_END,
  WR_T_OPEN,    /* { */
  WR_T_CLOSE,   /* } */
  WR_T_SEP,     /* , ; */
  WR_T_EQUALS,  /* = that no other = follows */
  WR_T_NAME,    /* also keywords and the digits of numbers */
  WR_T_STRING,  /* in quotes; value is what stands between them */
  WR_T_BRACKET, /* [ */
  WR_T_OTHER
};

/* Begins as { text, .line = 1 }. */
struct wr_tokens {
  struct wr_span text;
  size_t at;
  int line;             /* of `at` */
  size_t begin;         /* of the last token */
  int begin_line;       /* its line */
  struct wr_span value; /* of the last name or string: within text */
};

/* The byte so far ahead, or -1 behind the end. */
int wr_tokens_peek(const struct wr_tokens *s, size_t ahead);
/* One byte on. */
void wr_tokens_step(struct wr_tokens *s);
/* To where the next token begins. */
void wr_tokens_skip(struct wr_tokens *s);
enum wr_token wr_tokens_next(struct wr_tokens *s);

#endif

#include "mock/prefill.h"

enum { KEY_ANY, KEY_ROLE, KEY_CONTENT };

void wr_mock_prefill_init(struct wr_mock_prefill *p, uint64_t seed, bool numbered) {
  *p = (struct wr_mock_prefill){ .seed = seed, .numbered = numbered };
}

static void string_begin(struct wr_mock_prefill *p) {
  p->in_string = true;
  p->word_len = 0;
  p->got = 0;
  p->token_len = p->token_at = 0;
  p->matches = p->is_value && p->key == KEY_CONTENT && p->assistant;
  if (p->matches) wr_mock_text_init(&p->text, p->seed, p->numbered);
}

static void string_byte(struct wr_mock_prefill *p, char c) {
  if (p->word_len < sizeof p->word) p->word[p->word_len++] = c;
  if (!p->matches) return;
  if (p->token_at == p->token_len) {
    p->token_len = (uint8_t)wr_mock_text_next(&p->text, p->token).len;
    p->token_at = 0;
  }
  p->matches = p->token[p->token_at++] == c;
  p->got++;
}

/* A message of anybody that comes later is the last one. */
static void string_end(struct wr_mock_prefill *p) {
  struct wr_span word = wr_span_make(p->word, p->word_len);
  p->in_string = false;
  if (!p->is_value) {
    p->key = wr_span_eq(word, WR_SPAN("role")) ? KEY_ROLE
             : wr_span_eq(word, WR_SPAN("content")) ? KEY_CONTENT : KEY_ANY;
    if (p->key != KEY_ANY) p->bytes = 0;
    return;
  }
  if (p->key == KEY_ROLE) p->assistant = wr_span_eq(word, WR_SPAN("assistant"));
  if (p->key == KEY_CONTENT) p->bytes = p->matches ? p->got : 0;
}

void wr_mock_prefill_feed(struct wr_mock_prefill *p, struct wr_span body) {
  for (size_t i = 0; i < body.len; i++) {
    char c = body.ptr[i];
    if (p->in_string) {
      bool ends = c == '"' && !p->escaped;
      p->escaped = c == '\\' && !p->escaped;
      if (ends) string_end(p);
      else string_byte(p, c);
    } else if (c == '"') {
      string_begin(p);
    } else if (c == ':') {
      p->is_value = true;
    } else if (c == ',' || c == '{' || c == '[') {
      p->is_value = false;
    }
  }
}

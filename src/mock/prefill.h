/* prefill.h: finds out, while a request's body goes by, how much of its answer the client has: the
 * content of a last message of the assistant, if that is how the answer would begin.
 *
 * Reads `"role":"assistant"` and behind it `"content":"…"`, the text without escapes, as generated
 * text needs none. Nothing of the body is kept. Private to mock. One thread. */
#ifndef WR_MOCK_PREFILL_H
#define WR_MOCK_PREFILL_H

#include "mock/text.h"

struct wr_mock_prefill {
  struct wr_mock_text text; /* the answer, from its start */
  char token[WR_MOCK_TOKEN_BYTES];
  char word[16]; /* the last string, as far as it fits */
  uint8_t word_len;
  uint8_t token_len, token_at; /* of the text that is compared */
  bool in_string, escaped, matches;
  bool is_value;  /* the string is a member's value, not its name */
  bool assistant; /* of the message that is read */
  uint8_t key;    /* whose value comes next: 0 any, 1 role, 2 content */
  uint64_t seed;
  bool numbered;
  uint32_t got;   /* bytes of the content so far */
  uint32_t bytes; /* of the answer that the client has; 0: none */
};

void wr_mock_prefill_init(struct wr_mock_prefill *p, uint64_t seed, bool numbered);
void wr_mock_prefill_feed(struct wr_mock_prefill *p, struct wr_span body);

#endif

/* text.h: the words of a generated answer: readable, endless, and the same for the same seed.
 *
 * A token is a word with its blank in front (the very first has none) or a word with its full stop.
 * Plain data, copied by assignment; any thread. */
#ifndef WR_MOCK_TEXT_H
#define WR_MOCK_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

#define WR_MOCK_TOKEN_BYTES 32

struct wr_mock_text {
  uint64_t state;  /* of the random choice */
  uint32_t index;  /* tokens given out */
  uint8_t pattern; /* of the sentence under way */
  uint8_t place;   /* in the pattern; 0: a new sentence begins */
  bool numbered;
};

void wr_mock_text_init(struct wr_mock_text *text, uint64_t seed, bool numbered);
/* The next token, borrowed from room (WR_MOCK_TOKEN_BYTES). Plain ASCII without quotes or
 * backslashes: it needs no escape in JSON. */
struct wr_span wr_mock_text_next(struct wr_mock_text *text, char room[static WR_MOCK_TOKEN_BYTES]);
/* Appends the next n tokens. */
void wr_mock_text_put(struct wr_mock_text *text, uint32_t n, struct wr_buf *out);

#endif

/* join.h: where the text of a second answer takes up that of the first.
 *
 * The second server was given the text so far but for its tail (white space and an unfinished
 * character at the end). It may say all that again before it goes on, as Mistral does; it may say
 * the tail again, which the client has; usually it does neither. Text that may be a repeat is held:
 * nothing is stored for that, as it equals the beginning of what is kept. A pure function of bytes,
 * whatever the cuts. One thread. Internal to relay/. */
#ifndef WR_RELAY_JOIN_H
#define WR_RELAY_JOIN_H

#include "relay/kept.h"

/* A repeat of so much is none by chance. */
#define WR_JOIN_SURE_BYTES 32u

enum wr_join_phase { WR_JOIN_OPEN, WR_JOIN_ECHO, WR_JOIN_TAIL };

struct wr_join {
  uint8_t phase;
  uint16_t high; /* ECHO: half of a pair that came last */
  size_t body;   /* what the server was given */
  size_t at;     /* ECHO: so much of it came again; TAIL: bytes of the text so far */
};

/* What becomes of a literal. */
struct wr_joined {
  bool held;        /* all of it may be a repeat: nothing goes to the client now */
  size_t from, to;  /* of the kept text: was held and is no repeat after all; goes first */
  uint16_t high;    /* and behind that half of a pair; 0: none */
  size_t cut;       /* so many bytes of the literal don't go, */
  char head[8];     /* in their place these do: JSON text, or the rest of a UTF-8 character */
  uint8_t head_len;
};

/* echoes: the server says what it was given. A shorter text than WR_JOIN_SURE_BYTES isn't taken for
 * a repeat otherwise. */
void wr_join_init(struct wr_join *join, const struct wr_kept *kept, bool echoes);
/* literal: the text of one event, without quotes. */
struct wr_joined wr_join_take(struct wr_join *join, const struct wr_kept *kept,
                              struct wr_span literal);
/* Something else than text follows: from, to and high say what was held. */
struct wr_joined wr_join_end(struct wr_join *join, const struct wr_kept *kept);

#endif

/* note.h: what became of an attempt, as the relay tells it to the peer.
 *
 * The relay notes each attempt once when it is decided: FIRST at its first content, or one of the
 * others when it ends (an attempt that noted FIRST may end with FAILED still). Loop thread. */
#ifndef WR_UPSTREAM_NOTE_H
#define WR_UPSTREAM_NOTE_H

#include <stdint.h>

#include "upstream/peer.h"

enum wr_note {
  WR_NOTE_FIRST,   /* content has come, after first_token_us */
  WR_NOTE_GOOD,    /* a whole answer that has no first token: an embedding, a 4xx */
  WR_NOTE_CONNECT, /* there was no connection to be had */
  WR_NOTE_FAILED,  /* reset, truncated, timed out, malformed, 5xx */
  WR_NOTE_BUSY,    /* 429 or 503 with a retry-after: to be left alone for so long */
  WR_NOTE_NOTHING  /* says nothing of the peer: the client left, a kept connection was dead */
};

/* epoch: wr_peer_epoch when the peer was picked. first_token_us: since the attempt began, for
 * FIRST; for FAILED and NOTHING how long no content had come, 0 where none was due: where that is
 * longer than what is known of the peer it counts as a time, for it would have been longer still.
 * retry_after_ms: for BUSY; capped by breaker.retry_after. now_ms: the loop's clock. */
void wr_peer_note(struct wr_peer *peer, uint32_t epoch, enum wr_note what, uint32_t first_token_us,
                  uint64_t retry_after_ms, uint64_t now_ms);
/* Taken right after the pick. */
uint32_t wr_peer_epoch(const struct wr_peer *peer);

#endif

/* coalesce.h: what a slow client's log holds takes less room: text deltas that wait become one.
 *
 * Works on frames that no reader has begun to take. Those of one choice and kind that are pure
 * deltas (relay/delta.h) are joined into the first of them, up to WR_COALESCE_BYTES an event;
 * everything else is a fence that nothing passes, so that the order to other events stays. Events
 * of another choice are no fence. The first event's envelope is kept; a Responses event gets the
 * number of the last one that it holds, so numbers still rise and a client that goes on after it
 * misses nothing.
 *
 * One coalescer a worker, made on first use (about 66 KiB). One thread. Internal to relay/. */
#ifndef WR_RELAY_COALESCE_H
#define WR_RELAY_COALESCE_H

#include "relay/dialect.h"
#include "relay/stream.h"

#define WR_COALESCE_BYTES 8192u

struct wr_coalescer;

/* NULL: no memory. */
struct wr_coalescer *wr_coalescer_new(void);
void wr_coalescer_free(struct wr_coalescer *coalescer);

struct wr_coalesced {
  uint64_t joined;  /* events that became part of another */
  uint64_t dropped; /* events that were left out */
  uint64_t copied_bytes;
};

/* lines: NDJSON. joins: whether text is joined. drop: bits of enum wr_event_kind; pure deltas of
 * these kinds are left out. At most one reader, which has taken no part of the first frame. When
 * the pool has no room, what it is for stays as it is. Adds to *out. */
void wr_coalesce(struct wr_coalescer *coalescer, struct wr_stream *stream, enum wr_dialect dialect,
                 bool lines, bool joins, uint32_t drop, struct wr_coalesced *out);

#endif

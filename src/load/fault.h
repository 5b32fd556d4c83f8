/* fault.h: what can be wrong with a stream, by kind, as the load generator sees it, and the
 * accounts of one stream's events.
 *
 * Every kind is counted as often as it happens; an event may count under several. Plain values,
 * nothing is owned, any one thread. */
#ifndef WR_LOAD_FAULT_H
#define WR_LOAD_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "mock/stamp.h"

/* X(ID, name in reports, meaning) */
#define WR_LOAD_FAULT_LIST(X)                                                                  \
  X(CONNECT, "connect", "no connection")                                                       \
  X(TLS, "tls", "no TLS connection, or its certificate is not trusted")                        \
  X(STATUS, "status", "an answer other than 200")                                              \
  X(FRAMING, "framing", "an answer that isn't valid HTTP or events of the kind asked for")     \
  X(RESET, "reset", "the connection broke in the middle of an answer")                         \
  X(TRUNCATED, "truncated", "a clean end of the body without the end of the stream")           \
  X(TIMEOUT, "timeout", "silence for longer than --timeout")                                   \
  X(ERROR_EVENT, "error_event", "the stream ended with an error event")                        \
  X(LOST, "lost", "an event that never came")                                                  \
  X(LATE, "late", "an event behind one that was sent after it")                                \
  X(REPEATED, "repeated", "an event that came before")                                         \
  X(CHANGED, "changed", "an event with other bytes than were sent")                            \
  X(MIXED, "mixed", "an event of another stream")                                              \
  X(UNSTAMPED, "unstamped", "an event without a stamp where there should be one")              \
  X(MEMORY, "memory", "the load generator's own memory was short")

enum wr_load_fault {
#define X(id, name, meaning) WR_LOAD_##id,
  WR_LOAD_FAULT_LIST(X)
#undef X
      WR_LOAD_FAULTS
};

const char *wr_load_fault_name(enum wr_load_fault kind);
const char *wr_load_fault_meaning(enum wr_load_fault kind);

/* Which numbers of one stream have been seen. Zeroed is the beginning of a stream. */
struct wr_load_order {
  uint32_t next;    /* the number that should come */
  bool ended;       /* a stamp has said that it is the last */
  uint64_t missing; /* bit n: number next - 1 - n has been passed over */
};

/* An event with a stamp; counts[WR_LOAD_FAULTS]. What was counted as lost and comes after all is
 * late instead, if fewer than 64 events stand between. */
void wr_load_order_see(struct wr_load_order *o, const struct wr_mock_stamp *stamp, uint32_t tag,
                       uint64_t *counts);
/* An event without one takes a number as well. */
void wr_load_order_skip(struct wr_load_order *o);
/* The stream has ended as it should: did its last events come? */
void wr_load_order_end(struct wr_load_order *o, uint64_t *counts);

#endif

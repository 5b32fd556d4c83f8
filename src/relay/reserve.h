/* reserve.h: what one stream has taken from budgets, until its end.
 *
 * A hook reserves before the call (wr_reserve); the relay settles when the exchange is over
 * (wr_reserves_settle), whatever became of the stream, of the hook or of its VM: each reservation
 * is given back exactly once. What is charged in the end are the tokens that were really used, as
 * far as they are known. The list belongs to the stream (struct wr_hook_stream), on its worker's
 * thread; a stream that reserves nothing has none. */
#ifndef WR_RELAY_RESERVE_H
#define WR_RELAY_RESERVE_H

#include "base/err.h"
#include "relay/hooks.h"
#include "relay/tally.h"

/* Budgets and keys of one stream. The same one twice is one reservation, of both. */
#define WR_RESERVES_MAX 8u

/* NOMEM; ARG: more than WR_RESERVES_MAX. Then, and when out->ok is false, nothing has changed. */
WR_MUST_USE enum wr_err wr_reserve(struct wr_hook_stream *s, struct wr_tally *budget, uint64_t tag,
                                   int64_t n, int64_t limit, uint64_t now_us,
                                   struct wr_tally_grant *out);

/* How well the tokens of a stream that has ended are known. */
const char *wr_usage_status_name(enum wr_usage_status status);
/* Sets s->usage_status and s->charged, and settles what was reserved. A second call does nothing
 * more. */
void wr_reserves_settle(struct wr_hook_stream *s, enum wr_outcome outcome);

#endif

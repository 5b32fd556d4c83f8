/* slow.h: a client that reads slower than its upstream writes, and what becomes of its stream.
 *
 * A client is slow from the high mark (route: slow_client.high) until it is down at the low one.
 * Meanwhile one action holds, the route's or the one that on_slow_client chose:
 *   pause     the upstream is read no further;
 *   coalesce  it is read on, and what waits in the log is joined (relay/coalesce.h), until
 *             slow_client.max bytes wait, or the process has no room for more such bytes: then it
 *             is paused after all;
 *   wait      as coalesce, without the joining (a script's "wait");
 *   stop      the stream ends as if its token limit had been reached, behind what waits.
 * Where the route names kinds to drop, their deltas are left out while the client is slow. A client
 * that takes nothing for slow_client.give_up is given up, whatever the action.
 *
 * Internal to relay/, but for the functions of the pressure ladder. Loop thread only. */
#ifndef WR_RELAY_SLOW_H
#define WR_RELAY_SLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "relay/hooks.h"

struct wr_session;
struct wr_relay;

/* --- for the pressure ladder: any session of the relay, between turns --- */

/* Joins what waits for the client of a stream, now. Returns the bytes that this gave back; 0 for
 * what is no stream of events, or has nothing that can be joined. */
size_t wr_session_coalesce(struct wr_session *s);
/* The same for every session, and from now on for each client that is slow on a route whose action
 * is pause_upstream: what it leaves waiting is joined at once. */
void wr_relay_coalesce(struct wr_relay *relay, bool on);
/* Ends a stream of events that runs, legally, as a policy's stop with that reason would: behind
 * what waits. outcome: WR_OUTCOME_SHED for the ladder. False: this is none (no stream, no answer
 * yet, or about to end), and nothing was done. */
bool wr_session_end_legally(struct wr_session *s, struct wr_span reason, enum wr_outcome outcome,
                            enum wr_err err);

/* What a stream holds: log, output, input that waits. */
size_t wr_session_held_bytes(const struct wr_session *s);

/* --- for the steps --- */

/* Bytes that may wait for the client before the upstream is read no further. */
size_t wr_slow_bound(const struct wr_session *s);
/* Once a turn of a stream whose answer has begun. The stream may be `stopping` then.
 * WR_E_POLICY_ERROR: a guard could not judge. */
WR_MUST_USE enum wr_err wr_slow_turn(struct wr_session *s);
/* WR_DUE_SLOW has passed. WR_E_CLIENT_SLOW: the client is given up; else as above. */
WR_MUST_USE enum wr_err wr_slow_due(struct wr_session *s);
/* The stream has left its step, or ends: nothing of it counts any more. */
void wr_slow_end(struct wr_session *s);
#endif

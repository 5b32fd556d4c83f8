/* queue.h: requests that wait until an upstream with a limit has room for them. Internal to relay/.
 *
 * One line a group that declares `queue`, for all workers; in it the classes of keys stand by rank,
 * and within a class who came first. Room is handed over, never announced: whoever gives a place
 * back passes it to the first who waits for that upstream, counted as taken already, so nobody who
 * comes later gets in between and nobody is woken in vain. A waiter of another worker is told by
 * waking its loop. Who waits does so for all upstreams that could have the request, also for those
 * that are left alone: it hears when one of them answers again. What opens room by itself (an
 * adaptive limit that grows, a check that goes well, a breaker whose time is up, a reload) is seen
 * at the next tick.
 *
 * One lock guards the lines. It is taken by requests that wait, and by attempts that end at an
 * upstream for which somebody does; all others look at one counter. */
#ifndef WR_RELAY_QUEUE_H
#define WR_RELAY_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct wr_peer;
struct wr_queues;
struct wr_relay;
struct wr_relay_shared;
struct wr_session;
struct wr_waiter;

/* How a wait ended, for the metric. */
enum wr_queue_end {
  WR_QUEUE_SERVED,
  WR_QUEUE_FULL,    /* there was no place in the line */
  WR_QUEUE_PUSHED,  /* one of a better class got the place */
  WR_QUEUE_TIMEOUT,
  WR_QUEUE_LEFT,    /* the client, or the process ends */
  WR_QUEUE_ENDS
};

/* A place at the upstream of a peer: counted if there is one. Who has a line of its own doesn't
 * pass those who wait. */
bool wr_room_enter(const struct wr_session *s, const struct wr_peer *peer);
/* It is over; the next one gets the place. */
void wr_room_leave(struct wr_session *s, const struct wr_peer *peer);

/* The peer has answered: whoever waits for its upstream may be asked now, if it was left alone. */
void wr_queue_hear(struct wr_session *s, const struct wr_peer *peer);

/* Does the session's group have a line? */
bool wr_queue_is_declared(const struct wr_session *s);
/* Joins the line of the session's group for the upstreams of these peers (bits). QUEUE_FULL, with
 * the session's retry_after_ms set; NOMEM. */
WR_MUST_USE enum wr_err wr_queue_join(struct wr_session *s, uint64_t peers);
/* The peers of the upstream at which the session got a place, or 0. */
uint64_t wr_queue_granted(const struct wr_session *s);
/* The place is used: the caller has it, as after wr_room_enter. */
void wr_queue_use(struct wr_session *s);
/* Leaves the line, and gives back a place that wasn't used. Harmless where nobody waits. */
void wr_queue_leave(struct wr_session *s);

/* The relay's loop was woken. */
void wr_queue_woken(struct wr_relay *relay);
/* Whatever room there is by now is handed out. */
void wr_queue_tick(struct wr_relay *relay);
void wr_queues_free(struct wr_queues *queues);

#endif

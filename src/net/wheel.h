/* wheel.h: the timing wheel behind timer.h, without a clock: time is an argument.
 *
 * Seven levels of 64 slots, each level 64 times coarser than the one below. A timer stands at the
 * level of the highest group of six bits in which its due time differs from now, so everything at a
 * level is due before everything at the next, and each timer moves down at most six times. A timer
 * may be unlinked without telling the wheel; the bitmaps are therefore hints: a set bit may be
 * stale, a clear one never is. */
#ifndef WR_NET_WHEEL_H
#define WR_NET_WHEEL_H

#include "net/timer.h"

#define WR_WHEEL_LEVELS 7u
#define WR_WHEEL_SLOTS 64u

struct wr_wheel {
  uint64_t now_ms; /* everything due up to here has fired */
  uint64_t used[WR_WHEEL_LEVELS];
  struct wr_list slots[WR_WHEEL_LEVELS][WR_WHEEL_SLOTS];
};

void wr_wheel_init(struct wr_wheel *wheel, uint64_t now_ms);
/* The timer must not be linked. A due time that has passed becomes the next millisecond. */
void wr_wheel_add(struct wr_wheel *wheel, struct wr_timer *timer, uint64_t due_ms);
/* The next time at which the wheel has work (a timer, or a slot to spread): never later than the
 * earliest timer; UINT64_MAX when there is none. */
uint64_t wr_wheel_next_ms(struct wr_wheel *wheel);
/* Fires all that is due up to and including now_ms, in the order of their due times. */
void wr_wheel_advance(struct wr_wheel *wheel, uint64_t now_ms);
/* Unlinks every timer and says how many there were. */
unsigned wr_wheel_clear(struct wr_wheel *wheel);

#endif

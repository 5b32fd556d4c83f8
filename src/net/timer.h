/* timer.h: deadlines, thousands a worker, set and cleared in constant time without a system call.
 *
 * A hierarchical wheel with a resolution of 1 ms on the worker's loop; a timer never fires early
 * and at most a few ms late. The holder owns the struct and clears it before its memory goes. Loop
 * thread only. */
#ifndef WR_NET_TIMER_H
#define WR_NET_TIMER_H

#include "net/loop.h"

struct wr_timer {
  struct wr_list link;
  uint64_t due_ms;
  void (*fire)(struct wr_timer *timer); /* on the loop's thread; may set the timer anew */
};

static inline void wr_timer_init(struct wr_timer *timer, void (*fire)(struct wr_timer *timer)) {
  wr_list_init(&timer->link);
  timer->due_ms = 0;
  timer->fire = fire;
}
/* Moves the timer if it is set already. */
void wr_timer_set(struct wr_loop *loop, struct wr_timer *timer, uint64_t delay_ms);
void wr_timer_clear(struct wr_timer *timer);
static inline bool wr_timer_is_set(const struct wr_timer *timer) {
  return wr_list_linked(&timer->link);
}

#endif

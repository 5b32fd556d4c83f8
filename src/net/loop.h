/* loop.h: one worker's event loop.
 *
 * I/O callbacks append bytes and mark a task runnable; tasks run in the loop's check phase, once a
 * turn each, however often they were marked. A task that marks itself or another while tasks run is
 * run in the same phase if it has not run this turn, else in the next turn, which then doesn't wait
 * for I/O. One thread owns a loop; only wr_loop_wake and wr_loop_stop may be called from elsewhere.
 */
#ifndef WR_NET_LOOP_H
#define WR_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "mem/rxbuf.h"
#include "mem/slab.h"

struct wr_loop;

struct wr_task {
  struct wr_list link; /* in the run list, or alone */
  void (*run)(struct wr_task *task);
  uint32_t turn; /* the turn in which it ran last */
};

static inline void wr_task_init(struct wr_task *task, void (*run)(struct wr_task *task)) {
  wr_list_init(&task->link);
  task->run = run;
  task->turn = 0;
}

/* The slab set is the worker's and outlives the loop. */
WR_MUST_USE enum wr_err wr_loop_new(struct wr_slabs *slabs, struct wr_loop **out);
/* Closes what is left of the loop's own handles. Connections, listeners, timers and requests of
 * others must be gone: returns the number of handles that were not (0 in a clean end). */
unsigned wr_loop_free(struct wr_loop *loop);

/* Runs until wr_loop_stop. */
void wr_loop_run(struct wr_loop *loop);
/* One turn; waits for I/O or a timer for at most max_wait_ms (0: polls; -1: as long as it takes).
 * For tests and demos. */
void wr_loop_turn(struct wr_loop *loop, int max_wait_ms);
void wr_loop_stop(struct wr_loop *loop);

/* Any thread: runs the wake function (set once, before the loop runs) on the loop's thread soon. */
void wr_loop_on_wake(struct wr_loop *loop, void (*fn)(void *ctx), void *ctx);
void wr_loop_wake(struct wr_loop *loop);

/* Harmless when marked already. */
void wr_loop_mark(struct wr_loop *loop, struct wr_task *task);
/* Takes a task off the run list; needed before its memory goes. */
void wr_loop_unmark(struct wr_task *task);

/* Monotonic time of this turn, read at most once a turn. */
uint64_t wr_loop_now_us(struct wr_loop *loop);
uint64_t wr_loop_now_ms(struct wr_loop *loop);

/* For trials of policies: from now on time stands still but for wr_loop_advance. */
void wr_loop_hold_clock(struct wr_loop *loop);
/* Moves a held clock and fires the timers that are due, each at its own time. */
void wr_loop_advance(struct wr_loop *loop, uint64_t us);
/* When the wheel has its next work, in ms of the loop's clock, not later than its first timer;
 * UINT64_MAX: nothing waits. */
uint64_t wr_loop_next_timer_ms(struct wr_loop *loop);

struct wr_slabs *wr_loop_slabs(struct wr_loop *loop);
/* Smaller receive blocks while memory is short: a piece that somebody keeps pins less. From the
 * next block on; and no connection has more input waiting than one of these. */
void wr_loop_shrink(struct wr_loop *loop, bool small);

/* Why bytes were copied on the data path, and how many, since the loop began. */
enum wr_copy {
  WR_COPY_STRADDLE,
  WR_COPY_COMPACT,
  WR_COPY_TLS,
  WR_COPY_EDIT,
  WR_COPY_FLATTEN,
  WR_COPY_COALESCE,
  WR_COPIES
};
struct wr_loop_stats {
  uint64_t turns;
  uint64_t reads, read_bytes;      /* read(2) calls with data */
  uint64_t writes, write_bytes;    /* writev(2) calls that took bytes */
  uint64_t again;                  /* writes that took nothing or only a part */
  uint64_t copy_bytes[WR_COPIES];
  uint64_t accepted, dialed, closed; /* connections */
  uint64_t accept_errors;          /* EMFILE and friends */
};
/* At most so many accepted connections at a time; more wait in the kernel's queue, so that those
 * that were accepted find a descriptor for their upstream. 0, at first: as many as come. */
void wr_loop_limit_accepted(struct wr_loop *loop, uint32_t most);

/* Mutable: the owners of each cost add to it. */
struct wr_loop_stats *wr_loop_stats(struct wr_loop *loop);

/* The event library that runs, such as "1.44.2". */
const char *wr_loop_library_version(void);

#endif

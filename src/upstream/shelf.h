/* shelf.h: idle kept-alive connections to one peer, the youngest taken first.
 *
 * Bounded in number and time. A connection on the shelf that says anything (bytes, end, error)
 * is closed at once, so what is taken was quiet a moment ago; that the other side closes in that
 * moment is possible, and the attempt that sees it dials anew. Loop thread only. */
#ifndef WR_UPSTREAM_SHELF_H
#define WR_UPSTREAM_SHELF_H

#include <stdint.h>

#include "base/list.h"
#include "net/conn.h"
#include "net/timer.h"

struct wr_shelf {
  struct wr_loop *loop; /* borrowed: the worker's, outlives us */
  struct wr_list items; /* youngest first */
  struct wr_timer timer;
  void *spare;          /* owned: a place that nothing stands in; NULL: none */
  uint32_t count;
  uint32_t max;
  uint32_t idle_ms;
  uint64_t hits, misses, expired, dropped;
};

void wr_shelf_init(struct wr_shelf *shelf, struct wr_loop *loop, uint32_t max, uint32_t idle_ms);
/* Closes all. */
void wr_shelf_fini(struct wr_shelf *shelf);
/* The shelf owns the connection; it is closed when there is no room. */
void wr_shelf_put(struct wr_shelf *shelf, struct wr_conn *take_conn);
/* NULL when the shelf is empty. The caller owns the connection and sets its owner task. */
struct wr_conn *wr_shelf_take(struct wr_shelf *shelf);
/* Closes all, as the shelf of a pressed process does. */
void wr_shelf_clear(struct wr_shelf *shelf);

#endif

/* viewq.h: a queue of views: bytes in order, in as many pieces as it takes.
 *
 * Used for a connection's unread input, its unsent output, a request body that waits. The queue
 * owns its views. Pieces that touch (same block, end to start) are joined, so that a queue
 * seldom has more than one. That one stands in the struct itself; more take a pool block, which
 * goes back when the queue is empty. One thread. */
#ifndef WR_MEM_VIEWQ_H
#define WR_MEM_VIEWQ_H

#include <stddef.h>

#include "mem/slab.h"
#include "mem/view.h"

struct wr_viewq {
  struct wr_view inl[1];
  struct wr_block *more; /* owned: a ring of struct wr_view when inl is not enough */
  uint16_t head;         /* index of the first piece */
  uint16_t count;        /* pieces */
  uint16_t cap;          /* 1, or what `more` holds */
  size_t bytes;
};

void wr_viewq_init(struct wr_viewq *q);
/* Drops all pieces. */
void wr_viewq_fini(struct wr_viewq *q);
static inline bool wr_viewq_empty(const struct wr_viewq *q) { return q->count == 0; }

/* Appends; the queue owns the view even on an error (then it is dropped). Empty views are
 * dropped. WR_E_POOL_FULL when the ring must grow and the pool has nothing; at most 4,000 pieces
 * (or what the largest block holds). */
WR_MUST_USE enum wr_err wr_viewq_push(struct wr_viewq *q, struct wr_slabs *slabs,
                                      struct wr_view *take_view);
/* Puts bytes back in front of the queue (what a reader took and didn't use). Same ownership and
 * errors. */
WR_MUST_USE enum wr_err wr_viewq_unshift(struct wr_viewq *q, struct wr_slabs *slabs,
                                         struct wr_view *take_view);
/* The first piece moves to *out. False when the queue is empty. */
bool wr_viewq_shift(struct wr_viewq *q, struct wr_view *out);
/* The i-th piece, borrowed until the next change; i < count. */
const struct wr_view *wr_viewq_peek(const struct wr_viewq *q, size_t i);
/* Drops n bytes from the front; n <= bytes. */
void wr_viewq_consume(struct wr_viewq *q, size_t n);
/* Fills up to max spans from the front, returns how many; the bytes stay borrowed until the next
 * change. */
size_t wr_viewq_gather(const struct wr_viewq *q, struct wr_span *out, size_t max);
/* Moves every piece into a new block of its own size where its block is mostly dead weight (piece <
 * a quarter of cap, and a smaller block would do); neighbours go into one block together, up to
 * 4 KiB. Adds the copied bytes to *copied. Does nothing the second time. On POOL_FULL, pieces that
 * found no block stay as they are. */
WR_MUST_USE enum wr_err wr_viewq_compact(struct wr_viewq *q, struct wr_slabs *slabs,
                                         enum wr_charge charge, size_t *copied);
/* Moves all bytes into few blocks that they fill but for an eighth, whatever they were in: for a
 * queue that nobody takes from for a while. Where a piece ended is forgotten. A queue of more than
 * WR_VIEWQ_PACK_BYTES, or one that is packed well enough, stays as it is; so does all of it on
 * POOL_FULL. */
#define WR_VIEWQ_PACK_BYTES 16384u
WR_MUST_USE enum wr_err wr_viewq_pack(struct wr_viewq *q, struct wr_slabs *slabs,
                                      enum wr_charge charge, size_t *copied);

#endif

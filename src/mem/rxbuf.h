/* rxbuf.h: the receive block of a worker, which successive reads fill.
 *
 * A read of any connection asks for room, reads into it, and takes a view of what arrived; the
 * next read, of whatever connection, goes on behind it. So an idle stream holds nothing, and a
 * block lives as long as the youngest view of it. The same struct serves for small writes (chunk
 * heads, response heads): wr_rxbuf_append. One thread. */
#ifndef WR_MEM_RXBUF_H
#define WR_MEM_RXBUF_H

#include "mem/slab.h"
#include "mem/view.h"

struct wr_rxbuf {
  struct wr_slabs *slabs; /* borrowed: the worker's, outlives us */
  struct wr_block *block; /* owned reference, or NULL */
  uint32_t used;          /* bytes of block that are given out */
  uint32_t block_bytes;   /* size asked for a new block */
  uint8_t charge;         /* enum wr_charge */
};

void wr_rxbuf_init(struct wr_rxbuf *rx, struct wr_slabs *slabs, size_t block_bytes,
                   enum wr_charge charge);
void wr_rxbuf_fini(struct wr_rxbuf *rx);

/* Room for at least min_bytes (1 .. block_bytes) in one piece: *out is writable until the next
 * call; the whole rest of the block is offered. A block that nobody else references any more
 * starts anew from its first byte. WR_E_POOL_FULL. */
struct wr_room {
  char *ptr; /* borrowed: inside the receive block */
  size_t len;
};
WR_MUST_USE enum wr_err wr_rxbuf_room(struct wr_rxbuf *rx, size_t min_bytes, struct wr_room *out);
/* The first n bytes of the room just given become a view. */
struct wr_view wr_rxbuf_take(struct wr_rxbuf *rx, size_t n);
/* Copies a few bytes in and gives the view of them. */
WR_MUST_USE enum wr_err wr_rxbuf_append(struct wr_rxbuf *rx, struct wr_span bytes,
                                        struct wr_view *out);

#endif

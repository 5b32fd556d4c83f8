/* block.h: a reference-counted piece of the pool, 256 B to 64 KiB.
 *
 * The descriptor stands in a side table, apart from the data, so that data stays aligned and can
 * be poisoned after it was freed. Counts are plain integers: a block belongs to the worker (the
 * slab set) that made it, and only that thread counts. Another thread may end up with the sole
 * reference and hands it back with wr_block_give_remote. */
#ifndef WR_MEM_BLOCK_H
#define WR_MEM_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct wr_slabs;

#define WR_BLOCK_MAGIC 0xb10cu

struct wr_block {
  char *data;             /* borrowed: the depot's region outlives every block */
  struct wr_slabs *owner; /* borrowed: the slab set outlives its blocks */
  struct wr_block *next;  /* borrowed: free list or remote list of the owner */
  uint32_t refs;
  uint32_t cap;   /* bytes */
  uint16_t magic; /* WR_BLOCK_MAGIC while the block lives */
  uint8_t cls;    /* size class of mem/slab.h */
  uint8_t charge; /* enum wr_charge of mem/ledger.h */
  uint32_t tag;   /* debug: who took it, 0 otherwise */
};

/* What happens when the last reference goes; called by wr_block_unref only. */
void wr_block_release(struct wr_block *b);

static inline struct wr_block *wr_block_ref(struct wr_block *b) {
  WR_DCHECK(b->magic == WR_BLOCK_MAGIC && b->refs > 0);
  b->refs++;
  return b;
}

static inline void wr_block_unref(struct wr_block *b) {
  WR_DCHECK(b->magic == WR_BLOCK_MAGIC && b->refs > 0);
  if (--b->refs == 0) wr_block_release(b);
}

/* For a thread that is not the owner and holds the only reference: pushes the block onto its
 * owner's list by one compare-and-swap. The owner takes the whole list by one exchange at its tick,
 * or when a class has no block left; as nobody pops single blocks there is no ABA. */
void wr_block_give_remote(struct wr_block *b);

#endif

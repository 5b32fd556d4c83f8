/* depot_priv.h: what depot.c and slab.c share, and nobody else: the layout of the region's side
 * tables.
 *
 * A slab's record and its block descriptors belong to the slab set that took the slab, from
 * wr_depot_take to wr_depot_give; the hand-over is ordered by the stack's head. Both tables are
 * mapped, not touched, until a slab is used. */
#ifndef WR_MEM_DEPOT_PRIV_H
#define WR_MEM_DEPOT_PRIV_H

#include <stdatomic.h>

#include "base/list.h"
#include "mem/block.h"
#include "mem/depot.h"

#define WR_BLOCK_MIN_BYTES 256u

/* One cache line a slab, so that workers don't share one. */
struct wr_slab {
  struct wr_list link;   /* in its class's partial or full list */
  struct wr_block *free; /* borrowed: blocks of this slab that were used and are free */
  uint32_t used;         /* live blocks */
  uint32_t carved;       /* blocks ever handed out; those behind were never touched */
  uint32_t total;        /* blocks that the slab holds */
  uint32_t cls;
  char pad[64 - 3 * sizeof(void *) - 4 * sizeof(uint32_t)];
};

struct wr_depot {
  char *base;              /* owned: the region */
  struct wr_slab *slabs;   /* owned: one record a slab */
  char *blocks;            /* owned: the descriptors, see wr_depot_blocks */
  size_t slab_bytes;
  size_t slab_count;
  size_t blocks_stride; /* bytes of one slab's descriptors: whole pages, so that they go with it */
  unsigned slab_shift;
  _Atomic uint32_t *next; /* owned: the stack's links: slab + 1, 0 ends */
  _Atomic uint64_t head;  /* tag << 32 | slab + 1; slabs whose pages are resident */
  _Atomic uint64_t cold;  /* the same; slabs whose pages were given back to the system */
  _Atomic uint32_t warm;  /* slabs on `head`, about: counted after the move */
  _Atomic uint32_t fresh; /* slabs from here on were never taken */
  _Atomic size_t out;     /* slabs that are taken */
};

/* The descriptors of a slab's blocks, as many as the smallest class has. */
static inline struct wr_block *wr_depot_blocks(const struct wr_depot *d, size_t slab) {
  return (struct wr_block *)(void *)(d->blocks + slab * d->blocks_stride);
}

#endif

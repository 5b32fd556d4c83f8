/* arena.h: small memory of one session, freed whole.
 *
 * A chain of pool blocks, the first one small (256 B .. 1 KiB); nothing is freed singly. For
 * what lives exactly as long as a request: its head, the route's scratch, names. One thread. */
#ifndef WR_MEM_ARENA_H
#define WR_MEM_ARENA_H

#include "base/span.h"
#include "mem/slab.h"

struct wr_arena {
  struct wr_slabs *slabs; /* borrowed: the worker's, outlives us */
  struct wr_block *first; /* owned: chain through the blocks' own first bytes */
  struct wr_block *cur;   /* borrowed: the one of the chain that is being filled */
  uint32_t used;          /* bytes used of cur */
  uint8_t charge;         /* enum wr_charge */
};

void wr_arena_init(struct wr_arena *arena, struct wr_slabs *slabs, enum wr_charge charge);
void wr_arena_fini(struct wr_arena *arena); /* and reset: may be used again */
/* 16-byte aligned, at most wr_slabs_max_block minus a small header; NULL when the pool has
 * nothing. */
WR_MUST_USE void *wr_arena_alloc(struct wr_arena *arena, size_t bytes);
/* A copy with a NUL behind it; ptr NULL in *out on WR_E_POOL_FULL. */
WR_MUST_USE enum wr_err wr_arena_copy(struct wr_arena *arena, struct wr_span bytes,
                                      struct wr_span *out);

#endif

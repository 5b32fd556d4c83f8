/* slab_priv.h: what slab.c and slab_debug.c share, and nobody else. */
#ifndef WR_MEM_SLAB_PRIV_H
#define WR_MEM_SLAB_PRIV_H

#include <stdatomic.h>

#include "base/list.h"
#include "mem/depot_priv.h"
#include "mem/ledger_priv.h"
#include "mem/slab.h"

#define WR_SLABS_MAGIC 0x51ab5e75u

struct class_lists {
  struct wr_list partial; /* slabs with a free block; the one in use first, an empty one last */
  struct wr_list full;
  struct wr_block *stash; /* owned: free blocks that still count as used in their slabs */
  uint32_t stash_room, stash_most; /* blocks that fit in now, and at most */
  uint32_t empty; /* slabs in partial without a live block */
};

struct wr_slabs {
  uint32_t magic;
  unsigned slab_shift;
  char *base;              /* borrowed: the depot's region */
  struct wr_slab *records; /* borrowed: the depot's, as are the descriptors */
  struct wr_depot *depot;  /* borrowed: outlives all sets */
  struct wr_ledger *ledger; /* borrowed: outlives all sets */
  size_t unpublished; /* live bytes that the ledger doesn't know; wraps when it knows too many */
  size_t batch_bytes;
  size_t live[WR_CHARGES];
  size_t published[WR_CHARGES];
  size_t max_block;
  unsigned classes;
  struct class_lists cls[WR_SLAB_CLASSES];
  /* Other threads write here: a line of its own, away from what the owner uses all the time. */
  char apart[64];
  _Atomic(struct wr_block *) remote; /* owned: blocks that came back from other threads */
};

/* True when any switch is on; the switches themselves are read only then. */
extern _Atomic bool wr_mem_debug_on;

void wr_mem_told(bool taken, const struct wr_block *b);

/* The n-th allocation that must fail is this one. */
bool wr_mem_debug_must_fail(void);
void wr_mem_debug_freed(struct wr_block *b);
/* Who asked for it: an address in the program. */
void wr_mem_debug_tag(struct wr_block *b, const void *caller);
/* used_before: the block was handed out earlier from this slab, so its fill is known. */
void wr_mem_debug_taken(struct wr_block *b, bool used_before);

#endif

/* slab.h: one worker's share of the depot: free lists of blocks by size class.
 *
 * Not thread safe: one set a worker, used by its thread only (but for wr_block_give_remote).
 * Allocation is a pop from a free list; a class without one carves a new slab from the depot. A
 * slab whose blocks are all free goes back to the depot at once, but for one spare a class; up to
 * 32 freed blocks of a class wait for the next allocations and pin their slabs until
 * wr_slabs_trim. When the depot is empty all of these go back too, and then a larger block serves
 * for a small one. The last slabs of the depot are kept from a class by its ceiling in the ledger,
 * as bytes are. */
#ifndef WR_MEM_SLAB_H
#define WR_MEM_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/block.h"
#include "mem/depot.h"
#include "mem/ledger.h"

/* Classes are powers of two: 256 B, 512 B, 1, 2, 4, 8, 16, 32, 64 KiB; those above the depot's
 * slab size don't exist. */
#define WR_SLAB_CLASSES 9

struct wr_slabs;

/* Debug switches, process-wide; `poison` is set before the first slab set is made. Debug and
 * sanitizer builds begin with poison and owners on. */
struct wr_mem_debug {
  bool poison;          /* fill freed blocks with 0xdb and check the fill at the next allocation */
  uint64_t fail_nth;    /* the n-th allocation fails (and each n-th with fail_every); 0: never */
  bool fail_every;
  bool owners;          /* wr_slabs_report tells who took which block */
};
void wr_mem_debug_set(const struct wr_mem_debug *debug);
/* Each block that is taken and given back is told, on its thread; NULL: none is. Any thread may set
 * it at any time. */
typedef void (*wr_mem_watch_fn)(bool taken, size_t bytes);
void wr_mem_watch(wr_mem_watch_fn fn);

/* The ledger is shared by all sets and outlives them. */
WR_MUST_USE enum wr_err wr_slabs_new(struct wr_depot *depot, struct wr_ledger *ledger,
                                     struct wr_slabs **out);
/* Every block must be back: returns the number that is not (0 in a clean end) and frees the set
 * all the same. */
size_t wr_slabs_free(struct wr_slabs *slabs);

/* A block of at least min_bytes (1 .. wr_slabs_max_block), with one reference, charged to a
 * class of the ledger. NULL when the pool is exhausted or the ledger refuses the class. */
WR_MUST_USE struct wr_block *wr_slabs_alloc(struct wr_slabs *slabs, size_t min_bytes,
                                            enum wr_charge charge);
/* Moves the charge of a block to another class. */
void wr_block_recharge(struct wr_block *b, enum wr_charge charge);
size_t wr_slabs_max_block(const struct wr_slabs *slabs);

/* Once a turn of the loop: takes back what other threads freed and publishes to the ledger. Two
 * loads when nothing happened. */
void wr_slabs_tick(struct wr_slabs *slabs);
/* Freed blocks go to their slabs, empty slabs to the depot, the pages of a few free ones to the
 * system. From a timer: each slab is two system calls. Returns how many. */
size_t wr_slabs_trim(struct wr_slabs *slabs);
/* Walks the slabs: for reports and tests. */
size_t wr_slabs_live_blocks(struct wr_slabs *slabs);
size_t wr_slabs_live_bytes(const struct wr_slabs *slabs);
struct wr_ledger *wr_slabs_ledger(struct wr_slabs *slabs);

/* The size class for a size: 0..8. */
unsigned wr_slab_class(size_t bytes);

/* Debug: live blocks by charge class and by who took them, a line each for fn. With `owners` that
 * is an address in the program (addr2line names it), otherwise 0. */
typedef void (*wr_slabs_report_fn)(void *ctx, const char *line);
void wr_slabs_report(struct wr_slabs *slabs, wr_slabs_report_fn fn, void *ctx);

#endif

/* depot.h: the one mmap region of the process, cut into slabs.
 *
 * The region is reserved, not touched: pages cost memory only once a slab is used. Free slabs
 * stand on a lock-free stack whose head carries a tag against ABA; any thread may take and give.
 * A worker keeps the slabs that it took (mem/slab.h) and returns empty ones. One depot a process
 * (tests make their own); it outlives all slab sets. */
#ifndef WR_MEM_DEPOT_H
#define WR_MEM_DEPOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct wr_depot;

/* memory_bytes: 64 KiB .. 64 GiB, rounded down to whole slabs. The slab size follows from it: 64
 * KiB where the region holds at least 16 of them, smaller (a power of two, at least 4 KiB) below
 * that; it is also the largest block. */
WR_MUST_USE enum wr_err wr_depot_new(size_t memory_bytes, struct wr_depot **out);
/* All slab sets must be gone. */
void wr_depot_free(struct wr_depot *depot);

size_t wr_depot_slab_bytes(const struct wr_depot *depot);
size_t wr_depot_slab_count(const struct wr_depot *depot);
/* Slabs on the stack now; other threads may change it at once. */
size_t wr_depot_free_slabs(const struct wr_depot *depot);
size_t wr_depot_memory_bytes(const struct wr_depot *depot);

/* The index of a free slab, or UINT32_MAX when none is left. Any thread. */
uint32_t wr_depot_take(struct wr_depot *depot);
void wr_depot_give(struct wr_depot *depot, uint32_t slab);
/* Gives the pages of up to `most` free slabs back to the system, as long as more than `keep`
 * free slabs hold some; returns how many. A burst then costs resident memory only while it
 * lasts. Any thread. */
size_t wr_depot_trim(struct wr_depot *depot, size_t keep, size_t most);
/* The first byte of a slab. */
char *wr_depot_base(const struct wr_depot *depot, uint32_t slab);

#endif

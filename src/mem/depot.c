#include "mem/depot.h"

#include <sys/mman.h>

#include "base/check.h"
#include "base/heap.h"
#include "mem/depot_priv.h"
#include "mem/poison.h"

#define MIN_BYTES (64u << 10)
#define MAX_BYTES (UINT64_C(64) << 30)
#define SLAB_MAX_BYTES (64u << 10)
#define SLAB_MIN_BYTES (4u << 10)
#define SLABS_WANTED 16u
/* On machines with larger pages the descriptors of some slabs stay resident, nothing else. */
#define PAGE_BYTES 4096u

_Static_assert(sizeof(struct wr_slab) == 64, "a slab's record fills one cache line");

static void *map(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
  if (p == MAP_FAILED) return NULL;
  /* A huge page would make a gateway that serves one stream resident with two megabytes more. */
  (void)madvise(p, bytes, MADV_NOHUGEPAGE);
  return p;
}

static void unmap(void *p, size_t bytes) {
  if (p) WR_CHECK(munmap(p, bytes) == 0);
}

static size_t region_bytes(const struct wr_depot *d) { return d->slab_count * d->slab_bytes; }
static size_t records_bytes(const struct wr_depot *d) { return d->slab_count * sizeof *d->slabs; }
static size_t links_bytes(const struct wr_depot *d) { return d->slab_count * sizeof *d->next; }
static size_t blocks_bytes(const struct wr_depot *d) {
  return d->slab_count * d->blocks_stride;
}

enum wr_err wr_depot_new(size_t memory_bytes, struct wr_depot **out) {
  if (memory_bytes < MIN_BYTES || memory_bytes > MAX_BYTES) return WR_E_ARG;
  struct wr_depot *d = wr_heap_zalloc(WR_HEAP_MEM, sizeof *d);
  if (!d) return WR_E_NOMEM;
  d->slab_bytes = SLAB_MAX_BYTES;
  while (d->slab_bytes > SLAB_MIN_BYTES && memory_bytes / d->slab_bytes < SLABS_WANTED)
    d->slab_bytes /= 2;
  d->slab_count = memory_bytes / d->slab_bytes;
  size_t blocks = d->slab_bytes / WR_BLOCK_MIN_BYTES * sizeof(struct wr_block);
  d->blocks_stride = (blocks + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
  d->slab_shift = (unsigned)__builtin_ctzl(d->slab_bytes);
  d->base = map(region_bytes(d));
  d->slabs = map(records_bytes(d));
  d->blocks = map(blocks_bytes(d));
  d->next = map(links_bytes(d));
  if (!d->base || !d->slabs || !d->blocks || !d->next) {
    wr_depot_free(d);
    return WR_E_NOMEM;
  }
  wr_poison(d->base, region_bytes(d));
  *out = d;
  return WR_OK;
}

void wr_depot_free(struct wr_depot *d) {
  if (!d) return;
  WR_CHECK(atomic_load_explicit(&d->out, memory_order_acquire) == 0);
  if (d->base) wr_unpoison(d->base, region_bytes(d));
  unmap(d->base, region_bytes(d));
  unmap(d->slabs, records_bytes(d));
  unmap(d->blocks, blocks_bytes(d));
  unmap(d->next, links_bytes(d));
  wr_heap_free(WR_HEAP_MEM, d);
}

size_t wr_depot_slab_bytes(const struct wr_depot *d) { return d->slab_bytes; }
size_t wr_depot_slab_count(const struct wr_depot *d) { return d->slab_count; }
size_t wr_depot_memory_bytes(const struct wr_depot *d) { return region_bytes(d); }

size_t wr_depot_free_slabs(const struct wr_depot *d) {
  size_t out = atomic_load_explicit(&d->out, memory_order_relaxed);
  return out < d->slab_count ? d->slab_count - out : 0;
}

/* The tag changes with every move, so that a head that was taken and given back meanwhile is not
 * mistaken for the one that was read. */
static uint64_t head_make(uint64_t old, uint32_t link) {
  return ((old >> 32) + 1) << 32 | link;
}

static uint32_t pop(struct wr_depot *d, _Atomic uint64_t *stack) {
  uint64_t head = atomic_load_explicit(stack, memory_order_acquire);
  for (;;) {
    uint32_t link = (uint32_t)head;
    if (link == 0) return UINT32_MAX;
    WR_DCHECK(link <= d->slab_count);
    /* May read the link of a slab that somebody just took; the tag then makes the swap fail. */
    uint32_t rest = atomic_load_explicit(&d->next[link - 1], memory_order_relaxed);
    if (atomic_compare_exchange_weak_explicit(stack, &head, head_make(head, rest),
                                              memory_order_acq_rel, memory_order_acquire))
      return link - 1;
  }
}

static void push(struct wr_depot *d, _Atomic uint64_t *stack, uint32_t slab) {
  uint64_t head = atomic_load_explicit(stack, memory_order_relaxed);
  do atomic_store_explicit(&d->next[slab], (uint32_t)head, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(stack, &head, head_make(head, slab + 1),
                                                memory_order_acq_rel, memory_order_relaxed));
}

static uint32_t take_warm(struct wr_depot *d) {
  uint32_t slab = pop(d, &d->head);
  if (slab != UINT32_MAX) atomic_fetch_sub_explicit(&d->warm, 1, memory_order_relaxed);
  return slab;
}

static uint32_t take_used(struct wr_depot *d) {
  uint32_t slab = take_warm(d);
  return slab != UINT32_MAX ? slab : pop(d, &d->cold);
}

static uint32_t take_fresh(struct wr_depot *d) {
  uint32_t fresh = atomic_load_explicit(&d->fresh, memory_order_relaxed);
  while (fresh < d->slab_count)
    if (atomic_compare_exchange_weak_explicit(&d->fresh, &fresh, fresh + 1, memory_order_relaxed,
                                              memory_order_relaxed))
      return fresh;
  return UINT32_MAX;
}

uint32_t wr_depot_take(struct wr_depot *d) {
  /* Used slabs first: their pages are resident already. */
  uint32_t slab = take_used(d);
  if (slab == UINT32_MAX) slab = take_fresh(d);
  if (slab == UINT32_MAX) slab = take_used(d); /* one may have come back in between */
  if (slab == UINT32_MAX) return UINT32_MAX;
  WR_CHECK(slab < d->slab_count);
  atomic_fetch_add_explicit(&d->out, 1, memory_order_relaxed);
  return slab;
}

void wr_depot_give(struct wr_depot *d, uint32_t slab) {
  WR_CHECK(slab < d->slab_count);
  WR_CHECK(atomic_fetch_sub_explicit(&d->out, 1, memory_order_release) > 0);
  atomic_fetch_add_explicit(&d->warm, 1, memory_order_relaxed);
  push(d, &d->head, slab);
}

size_t wr_depot_trim(struct wr_depot *d, size_t keep, size_t most) {
  size_t done = 0;
  while (done < most && atomic_load_explicit(&d->warm, memory_order_relaxed) > keep) {
    uint32_t slab = take_warm(d);
    if (slab == UINT32_MAX) break;
    if (madvise(wr_depot_base(d, slab), d->slab_bytes, MADV_DONTNEED) != 0) {
      atomic_fetch_add_explicit(&d->warm, 1, memory_order_relaxed);
      push(d, &d->head, slab);
      break;
    }
    /* Nobody reads them before the slab is carved anew. */
    (void)madvise(wr_depot_blocks(d, slab), d->blocks_stride, MADV_DONTNEED);
    push(d, &d->cold, slab);
    done++;
  }
  return done;
}

char *wr_depot_base(const struct wr_depot *d, uint32_t slab) {
  WR_DCHECK(slab < d->slab_count);
  return d->base + (size_t)slab * d->slab_bytes;
}

/* ring.h: the two counters of a ring; its user owns the slots.
 *
 * The counters run on and wrap at 32 bits; the capacity is a power of two up to 2^31, so a slot
 * is counter & mask, and full and empty differ without a spare slot. One thread. */
#ifndef WR_BASE_RING_H
#define WR_BASE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

struct wr_ring {
  uint32_t head; /* next to take */
  uint32_t tail; /* next to fill */
  uint32_t mask; /* capacity - 1 */
};

static inline void wr_ring_init(struct wr_ring *r, uint32_t capacity) {
  WR_CHECK(capacity > 0 && (capacity & (capacity - 1)) == 0);
  r->head = r->tail = 0;
  r->mask = capacity - 1;
}

static inline uint32_t wr_ring_count(const struct wr_ring *r) { return r->tail - r->head; }
static inline uint32_t wr_ring_capacity(const struct wr_ring *r) { return r->mask + 1; }
static inline bool wr_ring_empty(const struct wr_ring *r) { return r->head == r->tail; }
static inline bool wr_ring_full(const struct wr_ring *r) { return wr_ring_count(r) > r->mask; }

/* The slot to fill; the ring must not be full. */
static inline uint32_t wr_ring_push(struct wr_ring *r) {
  WR_DCHECK(!wr_ring_full(r));
  return r->tail++ & r->mask;
}
/* The slot to take; the ring must not be empty. */
static inline uint32_t wr_ring_pop(struct wr_ring *r) {
  WR_DCHECK(!wr_ring_empty(r));
  return r->head++ & r->mask;
}
/* For a ring that keeps the newest: the slot to fill, dropping the oldest when full. */
static inline uint32_t wr_ring_push_over(struct wr_ring *r) {
  if (wr_ring_full(r)) r->head++;
  return r->tail++ & r->mask;
}
/* The slot of the i-th entry from the oldest; i < count. */
static inline uint32_t wr_ring_at(const struct wr_ring *r, uint32_t i) {
  WR_DCHECK(i < wr_ring_count(r));
  return (r->head + i) & r->mask;
}

#endif

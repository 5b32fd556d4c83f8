/* ewma.h: a moving average of the time to the first token that forgets.
 *
 * A sample weighs a quarter, or more the longer ago the last one was. Without samples the average
 * falls (by half in ten seconds), so that a peer that was slow once is tried again. Integers only:
 * the same on every machine. Pure. */
#ifndef WR_UPSTREAM_EWMA_H
#define WR_UPSTREAM_EWMA_H

#include <stdint.h>

#define WR_EWMA_HALF_MS 10000u

/* Zeroed storage has no sample. */
struct wr_ewma {
  uint32_t us;
  uint64_t at_ms; /* of the last sample */
};

static inline void wr_ewma_add(struct wr_ewma *e, uint32_t us, uint64_t now_ms) {
  uint64_t age = now_ms > e->at_ms ? now_ms - e->at_ms : 0;
  if (us == 0) us = 1;
  if (e->us == 0 || age >= 4 * WR_EWMA_HALF_MS) {
    e->us = us;
  } else {
    uint64_t weight = 256 + age * 768 / (4 * WR_EWMA_HALF_MS); /* of 1024 */
    uint64_t mixed = (e->us * (1024 - weight) + us * weight) / 1024;
    e->us = mixed ? (uint32_t)mixed : 1;
  }
  e->at_ms = now_ms;
}

/* What the average counts for when its last sample was so long ago; 0: not known. */
static inline uint32_t wr_ewma_faded(uint32_t us, uint64_t age_ms) {
  uint64_t halves = age_ms / WR_EWMA_HALF_MS;
  if (us == 0) return 0;
  uint64_t faded = halves < 31 ? us >> halves : 0;
  faded -= faded / 2 * (age_ms % WR_EWMA_HALF_MS) / WR_EWMA_HALF_MS;
  return faded ? (uint32_t)faded : 1;
}

#endif

/* ladder.h: the state of one meter's ladder: which step it stands on.
 *
 * Pure: samples come from outside, and with them time, so a test owns both. Up at once, as many
 * steps as the sample says; down by one step at a time, when three samples in a row were below that
 * step's `off` mark. One owner takes samples; any thread may raise. Caller's storage, zeroed is a
 * ladder without steps. */
#ifndef WR_RELAY_LADDER_H
#define WR_RELAY_LADDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/ladder.h"

#define WR_LADDER_CALM_SAMPLES 3u

struct wr_ladder {
  _Atomic uint32_t level; /* 0 .. count */
  _Atomic uint32_t value; /* the last sample */
  _Atomic uint32_t count;
  _Atomic uint32_t at[WR_LADDER_STEPS], off[WR_LADDER_STEPS];
  _Atomic uint32_t stop_at;   /* `at` of the first step with stop_largest; UINT32_MAX: none */
  _Atomic uint64_t ups, downs; /* steps */
  uint32_t calm;              /* samples in a row below the mark; the owner's */
  uint32_t calm_level;        /* the level that those were taken at; the owner's */
};

/* The owner. A level that the new steps don't have falls to the last that they have. */
void wr_ladder_set(struct wr_ladder *ladder, const struct wr_conf_ladder *conf);
/* Any thread: up, if the value says so. True when the level changed. */
bool wr_ladder_raise(struct wr_ladder *ladder, uint32_t value);
/* The owner: up or down. True when the level changed. */
bool wr_ladder_sample(struct wr_ladder *ladder, uint32_t value);
/* Is a stream to be stopped at the last sample's value? */
bool wr_ladder_stops(const struct wr_ladder *ladder);

static inline uint32_t wr_ladder_level(const struct wr_ladder *ladder) {
  return atomic_load_explicit(&ladder->level, memory_order_relaxed);
}

#endif

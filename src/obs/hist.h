/* hist.h: histograms with fixed bounds, written by one thread and read by any.
 *
 * Values are whole numbers (microseconds, tokens), bounds are in the printed unit (seconds,
 * tokens): the scale of a kind says how many of the one make one of the other. */
#ifndef WR_OBS_HIST_H
#define WR_OBS_HIST_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define WR_HIST_MAX_BOUNDS 16

enum wr_hist_kind {
  WR_HIST_DURATION,    /* of operations: 10 ms to 81.92 s */
  WR_HIST_FIRST_TOKEN, /* 1 ms to 10 s */
  WR_HIST_TOKENS,      /* 1 to 67,108,864 */
  WR_HIST_KINDS
};

struct wr_hist_shape {
  uint64_t scale; /* raw values in one printed unit */
  size_t count;   /* of bounds; 1 .. WR_HIST_MAX_BOUNDS */
  double bounds[WR_HIST_MAX_BOUNDS];      /* inclusive, as printed */
  uint64_t raw_bounds[WR_HIST_MAX_BOUNDS];/* the same as raw values */
};
const struct wr_hist_shape *wr_hist_shape(enum wr_hist_kind kind);

/* Zeroed is empty. */
struct wr_hist {
  _Atomic uint64_t counts[WR_HIST_MAX_BOUNDS + 1];
  _Atomic uint64_t sum; /* raw */
};

/* One thread a histogram. */
void wr_hist_observe(struct wr_hist *hist, enum wr_hist_kind kind, uint64_t value);
/* Any thread: adds to counts (shape's count + 1 entries) and *sum. */
void wr_hist_collect(const struct wr_hist *hist, enum wr_hist_kind kind, uint64_t *counts,
                     uint64_t *sum);

#endif

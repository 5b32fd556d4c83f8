/* hist.h: a histogram of times whose error is below 0.8 % at any size, in 40 KiB.
 *
 * Log-linear, as HDR histograms are: each power of two is cut into 128 equal buckets. obs/hist.h
 * has the few bounds that Prometheus wants; this one is for percentiles. Values are nanoseconds,
 * those of 2^45 (ten hours) and more count as the largest. The holder owns it; zeroed is empty.
 * One thread. */
#ifndef WR_LOAD_HIST_H
#define WR_LOAD_HIST_H

#include <stddef.h>
#include <stdint.h>

#define WR_LOAD_HIST_BITS 7
#define WR_LOAD_HIST_TOP 45
#define WR_LOAD_HIST_BUCKETS ((WR_LOAD_HIST_TOP - WR_LOAD_HIST_BITS + 1) << WR_LOAD_HIST_BITS)

struct wr_load_hist {
  uint64_t count;
  uint64_t sum;
  uint64_t max; /* exact */
  uint64_t min; /* exact; meaningless when empty */
  uint64_t buckets[WR_LOAD_HIST_BUCKETS];
};

void wr_load_hist_add(struct wr_load_hist *h, uint64_t value);
/* The value that a share q (0..1) of all values don't exceed: the upper bound of its bucket, never
 * above max. 0 when empty. */
uint64_t wr_load_hist_at(const struct wr_load_hist *h, double q);

#endif

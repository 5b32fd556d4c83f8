#include "obs/hist.h"

#include "base/check.h"

/* The bounds that OpenTelemetry's generative AI conventions recommend. */
static const struct wr_hist_shape shapes[WR_HIST_KINDS] = {
  [WR_HIST_DURATION] = { 1000000, 14,
    { 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92 },
    { 10000, 20000, 40000, 80000, 160000, 320000, 640000, 1280000, 2560000, 5120000, 10240000,
      20480000, 40960000, 81920000 } },
  [WR_HIST_FIRST_TOKEN] = { 1000000, 16,
    { 0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10 },
    { 1000, 5000, 10000, 20000, 40000, 60000, 80000, 100000, 250000, 500000, 750000, 1000000,
      2500000, 5000000, 7500000, 10000000 } },
  [WR_HIST_TOKENS] = { 1, 14,
    { 1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864 },
    { 1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216,
      67108864 } },
};

const struct wr_hist_shape *wr_hist_shape(enum wr_hist_kind kind) {
  WR_CHECK(kind < WR_HIST_KINDS);
  return &shapes[kind];
}

static void bump(_Atomic uint64_t *counter, uint64_t n) {
  uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
  atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

void wr_hist_observe(struct wr_hist *hist, enum wr_hist_kind kind, uint64_t value) {
  const struct wr_hist_shape *shape = wr_hist_shape(kind);
  size_t i = 0;
  while (i < shape->count && value > shape->raw_bounds[i]) i++;
  bump(&hist->counts[i], 1);
  bump(&hist->sum, value);
}

void wr_hist_collect(const struct wr_hist *hist, enum wr_hist_kind kind, uint64_t *counts,
                     uint64_t *sum) {
  const struct wr_hist_shape *shape = wr_hist_shape(kind);
  for (size_t i = 0; i <= shape->count; i++)
    counts[i] += atomic_load_explicit(&hist->counts[i], memory_order_relaxed);
  *sum += atomic_load_explicit(&hist->sum, memory_order_relaxed);
}

#include "load/interval.h"

#include <math.h>
#include <stddef.h>

#define BATCHES_MIN 8

/* Student's t for 95 %, by degrees of freedom from BATCHES_MIN - 1 on; beyond the table the value
 * of its last row is a little too careful. */
static const double quantiles[] = { 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
                                    2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074,
                                    2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042 };
#define QUANTILES (sizeof quantiles / sizeof quantiles[0])

void wr_load_interval_add(struct wr_load_interval *i, double sample) {
  if (i->batch_size == 0) i->batch_size = 1;
  i->open += sample;
  if (++i->in_open < i->batch_size) return;
  i->sums[i->batches++] = i->open;
  i->open = 0;
  i->in_open = 0;
  if (i->batches < WR_LOAD_BATCHES) return;
  for (uint32_t k = 0; k < WR_LOAD_BATCHES / 2; k++)
    i->sums[k] = i->sums[2 * k] + i->sums[2 * k + 1];
  i->batches = WR_LOAD_BATCHES / 2;
  i->batch_size *= 2;
}

double wr_load_interval_mean(const struct wr_load_interval *i) {
  double sum = 0;
  for (uint32_t k = 0; k < i->batches; k++) sum += i->sums[k];
  return i->batches > 0 ? sum / i->batches / i->batch_size : 0;
}

double wr_load_interval_width(const struct wr_load_interval *i) {
  double mean = wr_load_interval_mean(i), squares = 0;
  if (i->batches < BATCHES_MIN || !(mean > 0)) return -1;
  for (uint32_t k = 0; k < i->batches; k++) {
    double off = i->sums[k] / i->batch_size - mean;
    squares += off * off;
  }
  size_t row = i->batches - BATCHES_MIN;
  double t = quantiles[row < QUANTILES ? row : QUANTILES - 1];
  return t * sqrt(squares / (i->batches - 1) / i->batches) / mean;
}

/* interval.h: how sure a mean is, of a figure that is sampled again and again.
 *
 * Neighbouring samples of a running system resemble each other, so a confidence interval over
 * single samples would be too narrow. They are gathered in batches (at most 64; when these are
 * full, pairs become one and the batch's size doubles), and the interval is that of the batches'
 * means: 95 %, Student's t. Fixed memory; zeroed is empty. One thread. */
#ifndef WR_LOAD_INTERVAL_H
#define WR_LOAD_INTERVAL_H

#include <stdint.h>

#define WR_LOAD_BATCHES 64

struct wr_load_interval {
  double sums[WR_LOAD_BATCHES];
  uint32_t batches;    /* that are full */
  uint32_t batch_size; /* samples in each; 0 stands for 1 */
  uint32_t in_open;
  double open; /* the sum of the batch that isn't full */
};

void wr_load_interval_add(struct wr_load_interval *i, double sample);
/* Of the full batches; 0 without one. */
double wr_load_interval_mean(const struct wr_load_interval *i);
/* Half the interval's width as a share of the mean: 0.02 is "± 2 %". Negative while fewer than
 * eight batches are full, or the mean is 0. */
double wr_load_interval_width(const struct wr_load_interval *i);

#endif

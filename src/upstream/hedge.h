/* hedge.h: when a route's requests get a second attempt beside the first, and how many may.
 *
 * One a route and worker, so nothing is shared; pure, the clock is the caller's; zeroed storage is
 * ready. The share is kept by a bucket: each request puts its share in, each hedge takes a whole
 * one out, and what a quiet hour saves is bounded. So the load that hedges add never exceeds that
 * share, whatever the upstreams do.
 *
 * How long is late is the 95th percentile of the time to first content: a histogram of eight
 * buckets an octave, good to about 9 %, which is halved every thousand samples and every minute, so
 * that it is about the last minutes. */
#ifndef WR_UPSTREAM_HEDGE_H
#define WR_UPSTREAM_HEDGE_H

#include <stdbool.h>
#include <stdint.h>

#define WR_HEDGE_BUCKETS 160u /* from 1 ms to 2^20 ms */
#define WR_HEDGE_SAMPLES 20u  /* before a percentile is known */
#define WR_HEDGE_BURST 10u    /* hedges that may be saved up */

struct wr_hedging {
  uint32_t saved_permille; /* of a hedge */
  uint32_t count;          /* of the samples below */
  uint64_t halved_ms;
  uint16_t buckets[WR_HEDGE_BUCKETS];
};

/* A request came. */
void wr_hedging_request(struct wr_hedging *h, uint32_t permille);
/* May one more be made? Takes it if so. */
bool wr_hedging_take(struct wr_hedging *h);
/* Content came, that long after its request's first attempt began. now_ms: any clock that doesn't
 * go back. */
void wr_hedging_sample(struct wr_hedging *h, uint64_t first_token_ms, uint64_t now_ms);
/* The 95th percentile, at least 1; 0: not known. */
uint64_t wr_hedging_late_ms(const struct wr_hedging *h);

#endif

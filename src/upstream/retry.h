/* retry.h: how much a group's requests may be sent again: a budget, and the wait in between.
 *
 * When an upstream fails, each request that is sent a second time is load that it had not asked
 * for. The budget bounds that to a share of the requests of the last ten seconds, with a floor so
 * that a quiet gateway can retry at all. One a group and worker, so nothing is shared. Pure: the
 * clock and the random numbers are the caller's. Zeroed storage is ready. */
#ifndef WR_UPSTREAM_RETRY_H
#define WR_UPSTREAM_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"

/* The window, and what is allowed in each of its seconds whatever the share is. */
#define WR_RETRY_WINDOW_S 10u
#define WR_RETRY_FLOOR 1u
/* The longest wait is so many times the first. */
#define WR_RETRY_BACKOFF_STEPS 5u /* powers of two */

struct wr_retry_budget {
  uint64_t second;                     /* of the newest slot */
  uint32_t requests[WR_RETRY_WINDOW_S]; /* by second */
  uint32_t retries[WR_RETRY_WINDOW_S];
  uint32_t request_sum, retry_sum;     /* of the window */
};

/* A request came. now_ms: any clock that doesn't go back. */
void wr_retry_budget_request(struct wr_retry_budget *b, uint64_t now_ms);
/* May one be sent again? Counts it if so. permille: of the requests; 0: never. */
bool wr_retry_budget_take(struct wr_retry_budget *b, uint32_t permille, uint64_t now_ms);

/* Before the n-th try of a request (2 and up): uniform from 0 to base_ms * 2^(n-2), at most
 * base_ms * 32. All who fail together so come back apart. */
uint64_t wr_retry_backoff_ms(struct wr_rand *rand, uint32_t base_ms, uint32_t attempt);

#endif

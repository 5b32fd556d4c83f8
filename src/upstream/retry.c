#include "upstream/retry.h"

#include <string.h>

#include "base/check.h"

/* Empties the slots of the seconds that have passed since the last call. */
static unsigned slot_now(struct wr_retry_budget *b, uint64_t now_ms) {
  uint64_t now = now_ms / 1000;
  if (now > b->second + WR_RETRY_WINDOW_S) {
    memset(b, 0, sizeof *b);
    b->second = now;
  }
  while (b->second < now) {
    unsigned i = (unsigned)(++b->second % WR_RETRY_WINDOW_S);
    WR_DCHECK(b->request_sum >= b->requests[i] && b->retry_sum >= b->retries[i]);
    b->request_sum -= b->requests[i];
    b->retry_sum -= b->retries[i];
    b->requests[i] = b->retries[i] = 0;
  }
  return (unsigned)(b->second % WR_RETRY_WINDOW_S);
}

void wr_retry_budget_request(struct wr_retry_budget *b, uint64_t now_ms) {
  unsigned i = slot_now(b, now_ms);
  b->requests[i]++;
  b->request_sum++;
}

bool wr_retry_budget_take(struct wr_retry_budget *b, uint32_t permille, uint64_t now_ms) {
  WR_DCHECK(permille <= 1000);
  unsigned i = slot_now(b, now_ms);
  uint64_t share = (uint64_t)b->request_sum * permille / 1000;
  uint64_t allowed = share + WR_RETRY_FLOOR * WR_RETRY_WINDOW_S;
  if (permille == 0 || b->retry_sum >= allowed) return false;
  b->retries[i]++;
  b->retry_sum++;
  return true;
}

uint64_t wr_retry_backoff_ms(struct wr_rand *rand, uint32_t base_ms, uint32_t attempt) {
  WR_DCHECK(attempt >= 2);
  uint32_t n = attempt - 2 < WR_RETRY_BACKOFF_STEPS ? attempt - 2 : WR_RETRY_BACKOFF_STEPS;
  return wr_rand_range(rand, 0, (uint64_t)base_ms << n);
}

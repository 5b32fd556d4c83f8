/* When a request is late, and how many may be asked twice: over days of a clock of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "upstream/hedge.h"

/* Whatever the upstreams do, never more than the share of the requests, and what was saved. */
static void bounded(void **state) {
  (void)state;
  struct wr_hedging h = { 0 };
  uint64_t hedges = 0;
  for (uint64_t n = 1; n <= 1000000; n++) {
    wr_hedging_request(&h, 50);
    bool outage = n / 10000 % 3 == 0; /* all are late for long, then none */
    if (outage && wr_hedging_take(&h)) hedges++;
    assert_true(hedges <= n * 50 / 1000);
  }
  assert_true(hedges > 10000); /* and the share is used where it is needed */
  /* A quiet day saves no more than a few. */
  for (unsigned n = 0; n < 100000; n++) wr_hedging_request(&h, 50);
  for (hedges = 0; wr_hedging_take(&h); hedges++) {}
  assert_int_equal(hedges, WR_HEDGE_BURST);
  wr_hedging_request(&h, 0);
  assert_false(wr_hedging_take(&h));
}

static void percentile(void **state) {
  (void)state;
  struct wr_hedging h = { 0 };
  assert_int_equal(wr_hedging_late_ms(&h), 0);
  for (unsigned i = 0; i < WR_HEDGE_SAMPLES - 1; i++) wr_hedging_sample(&h, 100, 0);
  assert_int_equal(wr_hedging_late_ms(&h), 0);
  wr_hedging_sample(&h, 100, 0);
  assert_in_range(wr_hedging_late_ms(&h), 100, 113);
  memset(&h, 0, sizeof h);
  for (unsigned i = 0; i < 1000; i++) wr_hedging_sample(&h, i + 1, 0); /* 1 .. 1000, evenly */
  assert_in_range(wr_hedging_late_ms(&h), 900, 1024);
  /* Beyond all measure, and nothing. */
  memset(&h, 0, sizeof h);
  for (unsigned i = 0; i < 100; i++) wr_hedging_sample(&h, UINT64_MAX, 0);
  assert_in_range(wr_hedging_late_ms(&h), 1u << 19, 1u << 20);
  memset(&h, 0, sizeof h);
  for (unsigned i = 0; i < 100; i++) wr_hedging_sample(&h, 0, 0);
  assert_in_range(wr_hedging_late_ms(&h), 1, 2);
}

/* Days of traffic that becomes slower and faster again: what is late follows within minutes, and
 * with it about one in twenty is. */
static void follows(void **state) {
  (void)state;
  struct wr_hedging h = { 0 };
  struct wr_rand rand;
  wr_rand_init(&rand, 7);
  uint64_t now = 0;
  for (unsigned hour = 0; hour < 72; hour++) {
    uint64_t scale = hour % 6 < 3 ? 100 : 1000;
    uint64_t late = 0, requests = 0;
    for (unsigned i = 0; i < 3600; i++, now += 1000) {
      uint64_t ms = wr_rand_range(&rand, scale / 2, scale * 3 / 2), limit = wr_hedging_late_ms(&h);
      if (i > 900) { /* a quarter of an hour to learn */
        requests++;
        late += ms > limit;
        assert_in_range(limit, scale * 5 / 4, scale * 7 / 4);
      }
      wr_hedging_sample(&h, ms, now);
    }
    assert_true(late * 10 < requests);
    assert_true(late * 200 > requests);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(bounded),
    cmocka_unit_test(percentile),
    cmocka_unit_test(follows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The retry budget over hours of traffic on a clock of its own, and the backoff's spread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it. */
#include <cmocka.h>
#include <string.h>

#include "upstream/retry.h"

#define HOUR_MS 3600000u

/* An outage of every upstream: each request fails and wants `tries` more. In every window of ten
 * seconds no more is sent again than the share of its requests and the floor. */
static void outage_adds_its_share(void **state) {
  (void)state;
  static const unsigned permilles[] = { 0, 1, 50, 200, 1000 };
  for (size_t p = 0; p < sizeof permilles / sizeof permilles[0]; p++) {
    struct wr_retry_budget b = { 0 };
    struct wr_rand rand;
    uint32_t requests[720] = { 0 }, retries[720] = { 0 }; /* by second */
    wr_rand_init(&rand, p + 1);
    uint64_t start = wr_rand_below(&rand, 1000000), now = start;
    while (now - start < 720000) {
      /* A slow night, a busy noon, and silence between. */
      uint64_t phase = (now - start) / 120000;
      now += phase % 3 == 2 ? 15000 : wr_rand_below(&rand, phase % 3 == 0 ? 2000 : 20);
      size_t at = (size_t)((now / 1000) - (start / 1000));
      if (at >= 720) break;
      wr_retry_budget_request(&b, now);
      requests[at]++;
      for (unsigned tries = 3; tries; tries--)
        if (wr_retry_budget_take(&b, permilles[p], now)) retries[at]++;
    }
    if (permilles[p] == 0)
      for (size_t i = 0; i < 720; i++) assert_int_equal(retries[i], 0);
    uint64_t all = 0, extra = 0;
    for (size_t i = 0; i < 720; i++) {
      all += requests[i];
      extra += retries[i];
    }
    assert_true(extra <= all * permilles[p] / 1000 + 720 + 10);
  }
}

/* Steady traffic, everything fails for an hour: the extra load is the share, not less by much. */
static void steady_outage(void **state) {
  (void)state;
  struct wr_retry_budget b = { 0 };
  uint64_t retries = 0, requests = 0;
  for (uint64_t now = 5; now < HOUR_MS; now += 10) {
    wr_retry_budget_request(&b, now);
    requests++;
    retries += wr_retry_budget_take(&b, 200, now);
    retries += wr_retry_budget_take(&b, 200, now);
  }
  assert_true(retries <= requests / 5 + HOUR_MS / 1000 + 10);
  assert_true(retries >= requests / 5 - 20);
}

/* A single failure now and then is always tried again, however few requests there are. */
static void quiet_gateway(void **state) {
  (void)state;
  struct wr_retry_budget b = { 0 };
  for (uint64_t now = 0; now < 24 * (uint64_t)HOUR_MS; now += 7000) {
    wr_retry_budget_request(&b, now);
    assert_true(wr_retry_budget_take(&b, 1, now));
  }
  /* But not without end: ten in a window. */
  uint64_t now = 100 * (uint64_t)HOUR_MS;
  unsigned n = 0;
  while (wr_retry_budget_take(&b, 1, now)) n++;
  assert_int_equal(n, WR_RETRY_FLOOR * WR_RETRY_WINDOW_S);
  assert_false(wr_retry_budget_take(&b, 1, now + 9000));
  assert_true(wr_retry_budget_take(&b, 1, now + 10000));
}

/* An upstream that dies under many streams at once: what the last seconds have saved is there. */
static void burst(void **state) {
  (void)state;
  struct wr_retry_budget b = { 0 };
  for (uint64_t now = 0; now < 10000; now += 5) wr_retry_budget_request(&b, now);
  unsigned n = 0;
  while (wr_retry_budget_take(&b, 200, 9999)) n++;
  assert_int_equal(n, 2000 / 5 + 10);
}

static void backoff_spreads(void **state) {
  (void)state;
  struct wr_rand rand;
  wr_rand_init(&rand, 7);
  for (uint32_t attempt = 2; attempt <= 12; attempt++) {
    uint64_t top = UINT64_C(100) << (attempt < 7 ? attempt - 2 : 5), least = top, most = 0, sum = 0;
    for (unsigned i = 0; i < 4000; i++) {
      uint64_t ms = wr_retry_backoff_ms(&rand, 100, attempt);
      if (ms < least) least = ms;
      if (ms > most) most = ms;
      sum += ms;
    }
    assert_true(most <= top && most > top * 9 / 10 && least < top / 10);
    assert_in_range(sum / 4000, top * 45 / 100, top * 55 / 100);
  }
  assert_int_equal(wr_retry_backoff_ms(&rand, 0, 9), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(outage_adds_its_share), cmocka_unit_test(steady_outage),
    cmocka_unit_test(quiet_gateway),         cmocka_unit_test(burst),
    cmocka_unit_test(backoff_spreads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

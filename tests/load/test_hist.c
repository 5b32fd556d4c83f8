/* The histogram against sorted values, and the confidence interval against its definition. */
#include "harness.h"

#include <math.h>

#include "base/rand.h"
#include "load/hist.h"
#include "load/interval.h"

#define VALUES 20000

static int by_size(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void test_hist_percentiles(void **state) {
  static const double shares[] = { 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1 };
  static struct wr_load_hist h;
  static uint64_t values[VALUES];
  struct wr_rand r;
  (void)state;
  wr_rand_init(&r, 7);
  /* Spread over eight powers of ten. */
  for (size_t i = 0; i < VALUES; i++) {
    values[i] = wr_rand_below(&r, UINT64_C(1) << wr_rand_range(&r, 3, 33));
    wr_load_hist_add(&h, values[i]);
  }
  qsort(values, VALUES, sizeof values[0], by_size);
  assert_int_equal(h.count, VALUES);
  assert_int_equal(h.min, values[0]);
  assert_int_equal(h.max, values[VALUES - 1]);
  for (size_t k = 0; k < sizeof shares / sizeof shares[0]; k++) {
    uint64_t want = values[(size_t)ceil(shares[k] * VALUES) - 1];
    uint64_t got = wr_load_hist_at(&h, shares[k]);
    if (got < want || (double)got > (double)want * 1.008)
      fail_msg("share %g: %llu, want %llu", shares[k], (unsigned long long)got,
               (unsigned long long)want);
  }
}

static void test_hist_edges(void **state) {
  static struct wr_load_hist h;
  (void)state;
  assert_int_equal(wr_load_hist_at(&h, 0.5), 0);
  wr_load_hist_add(&h, 0);
  assert_int_equal(wr_load_hist_at(&h, 0), 0);
  assert_int_equal(wr_load_hist_at(&h, 1), 0);
  wr_load_hist_add(&h, UINT64_MAX);
  assert_int_equal(wr_load_hist_at(&h, 0.5), 0);
  assert_true(wr_load_hist_at(&h, 1) >= UINT64_C(1) << 44);
  assert_int_equal(h.max, UINT64_MAX);
  /* Each value up to 4096 lies in a bucket whose upper bound isn't below it. */
  for (uint64_t v = 1; v < 4096; v++) {
    memset(&h, 0, sizeof h);
    wr_load_hist_add(&h, v);
    wr_load_hist_add(&h, UINT64_C(1) << 40);
    uint64_t got = wr_load_hist_at(&h, 0.5);
    assert_true(got >= v && got <= v + v / 128);
  }
}

static void test_interval_definition(void **state) {
  struct wr_load_interval i = { 0 };
  (void)state;
  for (int k = 0; k < 7; k++) wr_load_interval_add(&i, 10);
  assert_true(wr_load_interval_width(&i) < 0);
  wr_load_interval_add(&i, 18);
  /* Mean 11, standard deviation sqrt(8), eight batches, t = 2.365. */
  assert_true(fabs(wr_load_interval_mean(&i) - 11) < 1e-9);
  assert_true(fabs(wr_load_interval_width(&i) - 2.365 * sqrt(8.0 / 8) / 11) < 1e-6);
}

static void test_interval_batches(void **state) {
  struct wr_load_interval one = { 0 }, slow = { 0 };
  struct wr_rand r;
  (void)state;
  wr_rand_init(&r, 3);
  double drift = 0;
  for (int k = 0; k < 10000; k++) {
    double noise = (double)wr_rand_below(&r, 1u << 20) / (1u << 20) - 0.5;
    wr_load_interval_add(&one, 100 + 20 * noise);
    /* The same spread, but each sample resembles the one before. */
    drift = 0.99 * drift + noise;
    wr_load_interval_add(&slow, 100 + 2.8 * drift);
  }
  assert_true(one.batches >= WR_LOAD_BATCHES / 2 && one.batches < WR_LOAD_BATCHES);
  assert_true(fabs(wr_load_interval_mean(&one) - 100) < 1);
  assert_true(wr_load_interval_width(&one) > 0 && wr_load_interval_width(&one) < 0.003);
  assert_true(wr_load_interval_width(&slow) > 4 * wr_load_interval_width(&one));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_hist_percentiles),
    cmocka_unit_test(test_hist_edges),
    cmocka_unit_test(test_interval_definition),
    cmocka_unit_test(test_interval_batches),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

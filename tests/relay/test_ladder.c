/* The ladder of a meter: hysteresis, no flapping, one way up and one down an overload. Samples are
 * the only clock. */
#include "harness.h"

#include "base/rand.h"
#include "relay/ladder.h"

#define P(n) ((n) * (WR_LADDER_FULL / 100u))

static const struct wr_conf_step steps[] = {
  { .at = P(70), .off = P(60), .actions = 1 },
  { .at = P(80), .off = P(70), .actions = 1 },
  { .at = P(90), .off = P(80), .actions = 1 },
  { .at = P(96), .off = P(90), .actions = 1u << WR_ACTION_STOP_LARGEST },
};
static const struct wr_conf_ladder conf = { .steps = steps, .count = 4 };

static void sample(struct wr_ladder *l, uint32_t percent, uint32_t want) {
  uint32_t before = wr_ladder_level(l);
  bool moved = wr_ladder_sample(l, P(percent));
  assert_int_equal(wr_ladder_level(l), want);
  assert_int_equal(moved, before != want);
}

static void up_at_once(void **state) {
  (void)state;
  struct wr_ladder l = { 0 };
  sample(&l, 100, 0); /* no steps, nothing happens */
  wr_ladder_set(&l, &conf);
  sample(&l, 69, 0);
  sample(&l, 70, 1);
  sample(&l, 95, 3);
  assert_false(wr_ladder_stops(&l));
  sample(&l, 96, 4);
  assert_true(wr_ladder_stops(&l));
  sample(&l, 95, 4);
  assert_false(wr_ladder_stops(&l)); /* it holds, and stops nobody below its mark */
  assert_int_equal(l.ups, 4);
  assert_int_equal(l.downs, 0);
}

static void down_after_three(void **state) {
  (void)state;
  struct wr_ladder l = { 0 };
  wr_ladder_set(&l, &conf);
  sample(&l, 85, 2);
  sample(&l, 69, 2);
  sample(&l, 69, 2);
  sample(&l, 70, 2); /* not below: counted anew */
  sample(&l, 69, 2);
  sample(&l, 69, 2);
  sample(&l, 69, 1);
  for (int i = 0; i < 20; i++) sample(&l, 61, 1); /* between its marks a step stays */
  sample(&l, 10, 1);
  sample(&l, 10, 1);
  sample(&l, 10, 0);
  assert_int_equal(l.ups, 2);
  assert_int_equal(l.downs, 2);
  /* A step at a time. */
  sample(&l, 100, 4);
  for (uint32_t left = 4; left > 0; left--) {
    sample(&l, 0, left);
    sample(&l, 0, left);
    sample(&l, 0, left - 1);
  }
}

static void raised_elsewhere(void **state) {
  (void)state;
  struct wr_ladder l = { 0 };
  wr_ladder_set(&l, &conf);
  assert_false(wr_ladder_raise(&l, P(60)));
  assert_true(wr_ladder_raise(&l, P(80)));
  assert_false(wr_ladder_raise(&l, P(70))); /* never down */
  assert_int_equal(wr_ladder_level(&l), 2);
  sample(&l, 10, 2);
  sample(&l, 10, 2);
  assert_true(wr_ladder_raise(&l, P(90))); /* what was calm before doesn't count after */
  sample(&l, 10, 3);
  sample(&l, 10, 3);
  sample(&l, 10, 2);
}

/* Load that swings between the marks of a step, or spikes for a moment, moves nothing twice. */
static void no_flapping(void **state) {
  (void)state;
  struct wr_ladder l = { 0 };
  struct wr_rand rand;
  wr_rand_init(&rand, 7);
  wr_ladder_set(&l, &conf);
  sample(&l, 70, 1);
  for (int i = 0; i < 100000; i++) /* 7 hours of four samples a second */
    sample(&l, 60 + (uint32_t)(wr_rand_u64(&rand) % 20), 1);
  for (int i = 0; i < 100000; i++) /* calm for two samples at most */
    sample(&l, i % 3 < 2 ? 10 : 65, 1);
  assert_int_equal(l.ups, 1);
  assert_int_equal(l.downs, 0);
}

/* An overload that comes, stays and goes, with noise less than the hysteresis. */
static void once_an_overload(void **state) {
  (void)state;
  struct wr_ladder l = { 0 };
  struct wr_rand rand;
  wr_rand_init(&rand, 11);
  wr_ladder_set(&l, &conf);
  for (unsigned day = 1; day <= 50; day++) {
    for (unsigned i = 0; i < 3000; i++) {
      unsigned hill = i < 1000 ? i / 10 : i < 2000 ? 100 : (3000 - i) / 10;
      unsigned noise = (unsigned)(wr_rand_u64(&rand) % 6);
      (void)wr_ladder_sample(&l, P(hill > noise ? hill - noise : 0));
    }
    assert_int_equal(wr_ladder_level(&l), 0);
    assert_int_equal(l.ups, 4 * day);
    assert_int_equal(l.downs, 4 * day);
  }
}

static void another_configuration(void **state) {
  (void)state;
  struct wr_ladder l = { 0 };
  wr_ladder_set(&l, &conf);
  sample(&l, 100, 4);
  const struct wr_conf_ladder shorter = { .steps = steps, .count = 2 }, none = { .count = 0 };
  wr_ladder_set(&l, &shorter);
  assert_int_equal(wr_ladder_level(&l), 2);
  assert_false(wr_ladder_stops(&l));
  sample(&l, 100, 2);
  wr_ladder_set(&l, &none);
  sample(&l, 100, 0);
  struct wr_conf_ladder d;
  wr_conf_ladder_default(WR_METER_MEMORY, &d);
  assert_true(d.count > 0 && d.line == 0);
  for (uint32_t i = 0; i < d.count; i++) /* nobody's stream ends unless somebody said so */
    assert_false(d.steps[i].actions >> WR_ACTION_STOP_LARGEST & 1u);
  wr_conf_ladder_default(WR_METER_LOOP_LAG, &d);
  assert_int_equal(d.count, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(up_at_once),       cmocka_unit_test(down_after_three),
    cmocka_unit_test(raised_elsewhere), cmocka_unit_test(no_flapping),
    cmocka_unit_test(once_an_overload), cmocka_unit_test(another_configuration),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

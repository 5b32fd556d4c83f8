/* The breaker, health and the moving average: days of made-up traffic with a made-up clock. */
#include "harness.h"

#include "upstream/breaker.h"
#include "upstream/ewma.h"
#include "upstream/health.h"

#define SECOND 1000u
#define HOUR (3600u * SECOND)

static const struct wr_conf_breaker conf = { .failures = 5,
                                             .rate_permille = 500,
                                             .least = 20,
                                             .window_ms = 10 * SECOND,
                                             .open_ms = 5 * SECOND,
                                             .open_max_ms = 60 * SECOND };

/* One request: 0 when nobody may ask, else 1. */
static int ask(struct wr_breaker *b, uint64_t now, enum wr_result result, struct wr_rand *rand) {
  if (b->state != WR_BREAKER_CLOSED) {
    if (!wr_breaker_may_probe(b, now)) return 0;
    wr_breaker_probe(b, now);
  }
  (void)wr_breaker_note(b, &conf, b->epoch, result, now, rand);
  return 1;
}

static void opens_and_closes(void **state) {
  (void)state;
  struct wr_breaker b = { 0 };
  struct wr_rand rand;
  wr_rand_init(&rand, 1);
  uint64_t now = 1000;
  for (unsigned i = 0; i < 4; i++) ask(&b, now, WR_RESULT_BAD, &rand);
  ask(&b, now, WR_RESULT_GOOD, &rand); /* the row is broken */
  for (unsigned i = 0; i < 4; i++) ask(&b, now, WR_RESULT_BAD, &rand);
  assert_int_equal(b.state, WR_BREAKER_CLOSED);
  ask(&b, now, WR_RESULT_NONE, &rand);
  assert_int_equal(b.state, WR_BREAKER_CLOSED);
  uint32_t epoch = b.epoch;
  assert_true(wr_breaker_note(&b, &conf, epoch, WR_RESULT_BAD, now, &rand));
  assert_int_equal(b.state, WR_BREAKER_OPEN);
  assert_in_range(b.until_ms - now, 4 * SECOND, 6 * SECOND);
  /* What began before says nothing now. */
  assert_false(wr_breaker_note(&b, &conf, epoch, WR_RESULT_GOOD, now, &rand));
  assert_false(wr_breaker_may_probe(&b, b.until_ms - 1));
  now = b.until_ms;
  assert_true(wr_breaker_may_probe(&b, now));
  wr_breaker_probe(&b, now);
  assert_false(wr_breaker_may_probe(&b, now)); /* one at a time */
  /* Of what began before only the probe's result counts. */
  assert_false(wr_breaker_note(&b, &conf, epoch, WR_RESULT_GOOD, now, &rand));
  assert_int_equal(b.state, WR_BREAKER_HALF_OPEN);
  assert_true(wr_breaker_note(&b, &conf, b.epoch, WR_RESULT_NONE, now, &rand));
  assert_true(wr_breaker_may_probe(&b, now)); /* it didn't find out: the next one does */
  wr_breaker_probe(&b, now);
  assert_true(wr_breaker_may_probe(&b, now + WR_BREAKER_LEASE_MS)); /* or it was lost */
  uint64_t before = now;
  assert_true(wr_breaker_note(&b, &conf, b.epoch, WR_RESULT_BAD, now, &rand));
  assert_in_range(b.until_ms - before, 8 * SECOND, 12 * SECOND); /* longer now */
  assert_true(wr_breaker_hint(&b, now)); /* somebody else knows better */
  assert_false(wr_breaker_hint(&b, now));
  assert_int_equal(ask(&b, now, WR_RESULT_GOOD, &rand), 1);
  assert_int_equal(b.state, WR_BREAKER_CLOSED);
  /* Hung streams of the outage that time out now don't open it anew. */
  for (unsigned i = 0; i < 100; i++)
    assert_false(wr_breaker_note(&b, &conf, epoch, WR_RESULT_BAD, now, &rand));
}

static void rate_in_window(void **state) {
  (void)state;
  struct wr_breaker b = { 0 };
  struct wr_rand rand;
  wr_rand_init(&rand, 2);
  /* Every second one fails: never five in a row, but half of the window. */
  unsigned asked = 0;
  for (uint64_t now = 0; b.state == WR_BREAKER_CLOSED && asked < 100; now += 100)
    asked += (unsigned)ask(&b, now, asked % 2 ? WR_RESULT_GOOD : WR_RESULT_BAD, &rand);
  assert_in_range(asked, 19, 22);
  /* A few failures an hour never do. */
  struct wr_breaker calm = { 0 };
  for (uint64_t now = 0; now < 48 * (uint64_t)HOUR; now += 10 * SECOND) {
    ask(&calm, now, now % HOUR == 0 ? WR_RESULT_BAD : WR_RESULT_GOOD, &rand);
    assert_int_equal(calm.state, WR_BREAKER_CLOSED);
  }
}

/* A peer that is dead for two days hears little; once it is back, it is used again and stays so. */
static void outage(void **state) {
  (void)state;
  struct wr_breaker b = { 0 };
  struct wr_rand rand;
  wr_rand_init(&rand, 3);
  uint64_t now = 1, heard = 0, wanted = 0;
  for (; now < 48 * (uint64_t)HOUR; now += 100) {
    heard += (uint64_t)ask(&b, now, WR_RESULT_BAD, &rand);
    wanted++;
  }
  assert_true(wanted > 1700000);
  /* One a minute, after the first few: the load that an outage adds is bounded. */
  assert_in_range(heard, 48 * 60 * 4 / 5, 48 * 60 * 13 / 10);
  uint64_t back = now, changes = 0;
  for (; now < back + 24 * (uint64_t)HOUR; now += 100) {
    uint8_t was = b.state;
    ask(&b, now, WR_RESULT_GOOD, &rand);
    changes += was != b.state;
  }
  assert_int_equal(b.state, WR_BREAKER_CLOSED);
  assert_int_equal(changes, 1);
  assert_in_range(b.closed_ms - back, 0, 75 * SECOND);
}

/* A peer that comes and goes every few seconds isn't followed up and down: the times grow. */
static void flapping(void **state) {
  (void)state;
  struct wr_breaker b = { 0 };
  struct wr_rand rand;
  wr_rand_init(&rand, 4);
  unsigned opened = 0, hours = 24;
  for (uint64_t now = 1; now < hours * (uint64_t)HOUR; now += 50) {
    bool well = now / (7 * SECOND) % 2 == 0;
    uint8_t was = b.state;
    ask(&b, now, well ? WR_RESULT_GOOD : WR_RESULT_BAD, &rand);
    opened += was == WR_BREAKER_CLOSED && b.state == WR_BREAKER_OPEN;
  }
  /* Every seven seconds would be 6171 times. */
  assert_in_range(opened, 10, hours * 60);
}

static void health_rises_and_falls(void **state) {
  (void)state;
  const struct wr_conf_health h = { .rise = 2, .fall = 3 };
  struct wr_health s = { 0 };
  static const bool results[] = { 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 1 };
  static const bool down[] = { 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0 };
  for (unsigned i = 0; i < sizeof results / sizeof *results; i++) {
    bool was = s.down;
    assert_int_equal(wr_health_note(&s, &h, results[i]), was != down[i]);
    assert_int_equal(s.down, down[i]);
  }
}

static void average(void **state) {
  (void)state;
  struct wr_ewma e = { 0 };
  wr_ewma_add(&e, 1000, 5);
  assert_int_equal(e.us, 1000);
  for (unsigned i = 0; i < 40; i++) wr_ewma_add(&e, 9000, 6 + i);
  assert_in_range(e.us, 8900, 9000);
  wr_ewma_add(&e, 0, 100); /* not zero: that is "not known" */
  assert_in_range(e.us, 6000, 7000);
  wr_ewma_add(&e, 500, 100 + 5 * WR_EWMA_HALF_MS); /* the past is forgotten */
  assert_int_equal(e.us, 500);
  assert_int_equal(wr_ewma_faded(0, 5), 0);
  assert_int_equal(wr_ewma_faded(8000, 0), 8000);
  assert_int_equal(wr_ewma_faded(8000, WR_EWMA_HALF_MS), 4000);
  assert_int_equal(wr_ewma_faded(8000, WR_EWMA_HALF_MS * 40), 1);
  uint32_t last = 8000;
  for (uint64_t age = 0; age < 5 * WR_EWMA_HALF_MS; age += 100) {
    assert_true(wr_ewma_faded(8000, age) <= last);
    last = wr_ewma_faded(8000, age);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(opens_and_closes), cmocka_unit_test(rate_in_window),
    cmocka_unit_test(outage),           cmocka_unit_test(flapping),
    cmocka_unit_test(health_rises_and_falls), cmocka_unit_test(average),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

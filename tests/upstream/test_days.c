/* Breakers over three days: of the only peer, of two and of ten, with every kind of outage. */
#include "upstream/days_run.h"

#define EVERY UINT32_C(0x3ff)
enum { CRASH, BROWN, SLOW, FLAP, BUSY, HANG, SLOW_FLAP, ALL_CRASH, ALL_HANG, NINE_CRASH, FAULTS };
static const struct days_fault faults[FAULTS] = {
  [CRASH] = { DAYS_CRASH, 1, 3, 9, 0 },
  [BROWN] = { DAYS_BROWN, 1, 11, 13, 300 },
  [SLOW] = { DAYS_SLOW, 1, 15, 17, 8 },
  [FLAP] = { DAYS_FLAP, 1, 26, 29, 20000 },
  [BUSY] = { DAYS_BUSY, 1, 31, 33, 20000 },
  [HANG] = { DAYS_HANG, 1, 36, 38, 0 },
  [SLOW_FLAP] = { DAYS_FLAP, 1, 40, 42, 120000 },
  [ALL_CRASH] = { DAYS_CRASH, EVERY, 50, 50.5, 0 },
  [ALL_HANG] = { DAYS_HANG, EVERY, 55, 55.5, 0 },
  [NINE_CRASH] = { DAYS_CRASH, EVERY & ~1u, 60, 62, 0 },
};

static const struct days_plan base = {
  .workers = 2, .hours = 72, .per_s = 2, .swing = 0.7, .first_ms = 300, .spread = 0.5,
  .rest_ms = 3000, .capacity = 64, .bad_permille = 5, .attempts = 3, .budget_permille = 200,
  .faults = faults, .fault_count = FAULTS,
};

/* How often a peer may be opened in so many hours of an outage: once in the longest time, which
 * is up to a fifth shorter, and the first few. */
static uint64_t openings(double hours) { return (uint64_t)(hours * 3600 / 48) + 5; }

static uint64_t opened(const struct days *d, unsigned fault) {
  return d->seen[fault].opens_until - d->seen[fault].opens_from;
}

/* The seconds in which requests came and nobody was asked, and the busiest one of attempts. */
static void assert_nobody_starves(const struct days *d) {
  for (size_t i = 0; i < d->plan->hours * 3600u; i++)
    assert_true(d->seconds[i].attempts >= d->seconds[i].requests);
  assert_int_equal(d->shed, 0);
}

/* Attempts in the ten seconds behind the end of an outage, against requests. */
static void assert_no_stampede(const struct days *d, unsigned fault) {
  size_t at = (size_t)(faults[fault].until_h * 3600);
  unsigned requests = 0, attempts = 0, gratis = 0;
  for (size_t i = at; i < at + 10; i++) {
    requests += d->seconds[i].requests;
    attempts += d->seconds[i].attempts;
    gratis += d->seconds[i].free;
  }
  assert_true(attempts - gratis <= requests * 12 / 10 + 20);
}

static void assert_outages(const struct days *d) {
  bool alone = d->plan->peers == 1;
  for (unsigned f = 0; f < FAULTS; f++) {
    const struct days_seen *s = &d->seen[f];
    double hours = faults[f].until_h - faults[f].from_h;
    unsigned peers = 0;
    for (unsigned i = 0; i < d->plan->peers; i++) peers += faults[f].peers >> i & 1u;
    if (!peers) continue;
    if (faults[f].how == DAYS_FLAP) /* who is in reach again is asked again */
      assert_true(opened(d, f) <= (uint64_t)(hours * 3600000 / (2.0 * faults[f].arg)) *
                                          (f == FLAP ? 2 : 5) + 5);
    else
      assert_true(opened(d, f) <= peers * openings(hours));
    /* An attempt that began within may fail behind it; nobody swings on. */
    assert_true(s->opens_after - s->opens_until <= peers);
    /* The longest time, a fifth, and a minute for the probe to be somebody's turn and to answer;
     * of who can't be reached it is known at once. */
    assert_in_range(s->again_ms, 1, 135000);
    if (faults[f].how == DAYS_CRASH || faults[f].how == DAYS_FLAP)
      assert_in_range(s->again_ms, 1, 30000);
    assert_in_range(s->closed_ms, 0, 240000);
    if (!alone && peers < d->plan->peers && faults[f].how == DAYS_CRASH && f == CRASH)
      assert_true(s->asked <= 5 + openings(hours) * 2); /* five, then a probe each */
  }
  assert_int_equal(opened(d, SLOW), 0);
  assert_int_equal(opened(d, BUSY), 0);
  assert_no_stampede(d, ALL_CRASH);
  assert_no_stampede(d, ALL_HANG);
}

static void run(struct days *d, unsigned peers, bool apart, uint64_t seed) {
  struct days_plan plan = base;
  char what[64];
  plan.peers = peers;
  plan.apart = apart;
  days_open(d, &plan, seed);
  days_run(d);
  snprintf(what, sizeof what, "%u peers, seed %u", peers, (unsigned)seed);
  days_show(d, what);
  assert_nobody_starves(d);
  assert_outages(d);
  uint64_t in_faults = 0;
  for (unsigned f = 0; f < FAULTS; f++) in_faults += d->seen[f].opens_after - d->seen[f].opens_from;
  assert_int_equal(in_faults, days_opens(d, UINT32_MAX)); /* none on a good day */
}

/* Who has nobody else is asked by every request, however it does, and well the moment it is. */
static void the_only_one(void **state) {
  (void)state;
  static struct days d;
  for (uint64_t seed = 1; seed <= days_seeds(3); seed++) {
    run(&d, 1, false, seed);
    assert_int_equal(d.attempts, d.requests);
    assert_true(d.gap_most_ms[0] < 60000);
    assert_true(d.seen[ALL_CRASH].again_ms < 15000 && d.seen[ALL_HANG].again_ms < 15000);
    days_close(&d);
  }
}

static void one_of_two(void **state) {
  (void)state;
  static struct days d;
  for (uint64_t seed = 1; seed <= days_seeds(3); seed++) {
    run(&d, 2, seed == 2, seed);
    /* Outages of one peer cost next to nothing: 25 hours of them, and the good days' five in a
     * thousand. */
    assert_true(d.failed <= d.requests * 35 / 1000);
    days_close(&d);
  }
}

static void some_of_ten(void **state) {
  (void)state;
  static struct days d;
  for (uint64_t seed = 1; seed <= days_seeds(3); seed++) {
    run(&d, 10, seed == 2, seed);
    /* With all or nine of them down half stay in use, and each gets its turn. */
    const struct days_seen *nine = &d.seen[NINE_CRASH];
    assert_int_equal(d.seen[ALL_CRASH].used, EVERY);
    assert_int_equal(nine->used, EVERY & ~1u);
    assert_true(nine->asked >= nine->opens_until - nine->opens_from);
    days_close(&d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(the_only_one),
                                      cmocka_unit_test(one_of_two),
                                      cmocka_unit_test(some_of_ten) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What retries and hedges add over three days: never more than their share in any window, nothing
 * taken from first attempts, and no growth out of their own load. */
#include "upstream/days_run.h"

#define EVERY UINT32_C(0x3ff)

static const struct days_plan base = {
  .peers = 3, .workers = 2, .hours = 72, .per_s = 3, .swing = 0.6, .first_ms = 300, .spread = 0.5,
  .rest_ms = 3000, .capacity = 64, .bad_permille = 5, .attempts = 3, .budget_permille = 200,
  .apart = true, .balance = WR_BALANCE_ROUND_ROBIN,
};

static unsigned sum(const struct days *d, double from_h, double until_h, unsigned of) {
  unsigned n = 0;
  for (size_t i = (size_t)(from_h * 3600); i < (size_t)(until_h * 3600); i++) {
    const struct days_second *s = &d->seconds[i];
    n += of == 0 ? s->requests : of == 1 ? s->paid : of == 2 ? s->hedges : s->attempts;
  }
  return n;
}

/* Of any ten seconds (the budget's own window) and of longer ones: the share of the requests that
 * came in them and just before, and one a second for each worker. */
static void assert_budget_holds(const struct days *d) {
  const unsigned windows[] = { 10, 60, 600, 3600 };
  for (unsigned i = 0; i < 4; i++) {
    int64_t most = days_beyond(d, days_paid, d->plan->budget_permille, windows[i], 9);
    if (getenv("WEIR_DAYS")) printf("  %u s: %.1f beyond\n", windows[i], (double)most / 1000);
    assert_true(most <= (int64_t)windows[i] * d->plan->workers * 1000);
  }
}

/* Everything fails for hours, or a third of everything: retries cost their share, first attempts
 * go on as if there were none, and the budget is back when the outage is over. */
static void retries(void **state) {
  (void)state;
  static const struct days_fault faults[] = {
    { DAYS_BROWN, EVERY, 5, 8, 1000 },  { DAYS_BROWN, EVERY, 12, 14, 300 },
    { DAYS_HANG, EVERY, 20, 21, 0 },    { DAYS_FLAP, EVERY, 30, 32, 30000 },
    { DAYS_BUSY, EVERY, 40, 41, 5000 }, { DAYS_BROWN, 1, 50, 56, 1000 },
  };
  static struct days d;
  for (uint64_t seed = 1; seed <= days_seeds(3); seed++) {
    struct days_plan plan = base;
    plan.again = seed != 2;
    plan.faults = faults;
    plan.fault_count = sizeof faults / sizeof faults[0];
    days_open(&d, &plan, seed);
    days_run(&d);
    days_show(&d, "retries");
    assert_budget_holds(&d);
    assert_true(d.unpaid > 1000); /* it did run dry */
    for (size_t i = 0; i < plan.hours * 3600u; i++)
      assert_true(d.seconds[i].attempts >= d.seconds[i].requests);
    /* Dry for three hours: a fifth more, and the floor. */
    unsigned all = sum(&d, 5.1, 7.9, 0), again = sum(&d, 5.1, 7.9, 1);
    assert_in_range(again, all / 10, all * 2 / 10 + (unsigned)(2.8 * 3600 * 2));
    /* Well again: whoever fails by chance has a second attempt. */
    assert_in_range(sum(&d, 8.01, 12, 1), sum(&d, 8.01, 12, 0) * 3 / 1000,
                    sum(&d, 8.01, 12, 0) * 9 / 1000);
    days_close(&d);
  }
}

/* A budget of nothing makes no second attempts, and hinders no first ones. */
static void no_budget(void **state) {
  (void)state;
  static const struct days_fault faults[] = { { DAYS_BROWN, EVERY, 5, 8, 500 } };
  static struct days d;
  struct days_plan plan = base;
  plan.budget_permille = 0;
  plan.faults = faults;
  plan.fault_count = 1;
  days_open(&d, &plan, 1);
  days_run(&d);
  assert_int_equal(d.paid, 0);
  assert_int_equal(d.attempts, d.requests);
  assert_int_equal(d.shed, 0);
  days_close(&d);
}

/* ---- hedges */

static const struct days_fault slow[] = { { DAYS_SLOW, EVERY, 20, 24, 10 },
                                          { DAYS_SLOW, 1, 40, 46, 10 },
                                          { DAYS_HANG, 1, 60, 62, 0 } };

static void assert_hedges_hold(const struct days *d) {
  const unsigned windows[] = { 1, 10, 60, 600, 3600, 86400 };
  for (unsigned i = 0; i < 6; i++) {
    int64_t most = days_beyond(d, days_hedges, d->plan->hedge_permille, windows[i], 0);
    /* What is saved up, and what may be a part of one, for each worker. */
    assert_true(most <= (int64_t)(WR_HEDGE_BURST + 1) * d->plan->workers * 1000);
  }
}

/* With no bound but the percentile's own: about a twentieth on a good day; where everything slows
 * the percentile follows, and hedges don't make more hedges. */
static void by_percentile(void **state) {
  (void)state;
  static struct days d;
  for (uint64_t seed = 1; seed <= days_seeds(3); seed++) {
    struct days_plan plan = base;
    plan.hedge = true;
    plan.hedge_permille = 1000;
    plan.faults = slow;
    plan.fault_count = 3;
    plan.bad_permille = 0;
    days_open(&d, &plan, seed);
    days_run(&d);
    days_show(&d, "by the percentile");
    for (unsigned h = 1; h < 20; h++)
      assert_in_range(sum(&d, h, h + 1, 2) * 1000 / sum(&d, h, h + 1, 0), 30, 70);
    /* Ten times as slow: half an hour later it is a twentieth again, and so it is when all are
     * quick again. */
    for (unsigned h = 21; h < 40; h++)
      assert_in_range(sum(&d, h + 0.5, h + 1, 2) * 1000 / sum(&d, h + 0.5, h + 1, 0), 25, 80);
    days_close(&d);
  }
}

/* The share holds whatever happens; hedges help where one is slow. */
static void by_share(void **state) {
  (void)state;
  static struct days d;
  double alone_ms = 0;
  for (uint64_t seed = 0; seed <= days_seeds(3); seed++) {
    struct days_plan plan = base;
    plan.hedge = seed != 0;
    plan.hedge_permille = 50;
    plan.hedge_after_ms = seed == 3 ? 400 : 0; /* a third of all are later than that */
    plan.faults = slow;
    plan.fault_count = 3;
    plan.balance = seed == 2 ? WR_BALANCE_FIRST_TOKEN : WR_BALANCE_ROUND_ROBIN;
    days_open(&d, &plan, seed + 1);
    days_run(&d);
    days_show(&d, "by the share");
    double mean_ms = (double)d.first_sum_ms / (double)d.first_count;
    if (!plan.hedge) alone_ms = mean_ms;
    else assert_true(mean_ms < alone_ms);
    assert_hedges_hold(&d);
    assert_true(d.hedges * 1000 <= d.requests * 50 + 20000 && d.won <= d.hedges);
    assert_true(!plan.hedge || d.won * 6 > d.hedges);
    if (plan.hedge) assert_true(d.attempts <= d.requests + d.hedges + d.paid + d.gratis);
    days_close(&d);
  }
}

/* One server has nobody to hedge to. */
static void alone(void **state) {
  (void)state;
  static struct days d;
  struct days_plan plan = base;
  plan.peers = 1;
  plan.hedge = true;
  plan.hedge_permille = 1000;
  days_open(&d, &plan, 1);
  days_run(&d);
  assert_int_equal(d.hedges, 0);
  assert_true(d.late > d.requests * 3 / 100);
  days_close(&d);
}

/* ---- all of it together */

/* Retries, hedges, breakers, limits and a line over every kind of outage: what is asked of the
 * upstreams is never more than one and the shares, and nearly all that they can do is done. */
static void together(void **state) {
  (void)state;
  static const struct days_fault faults[] = {
    { DAYS_CRASH, 1, 3, 7, 0 },        { DAYS_BROWN, EVERY, 10, 12, 300 },
    { DAYS_SLOW, EVERY, 15, 17, 8 },   { DAYS_SLOW, 2, 18, 22, 8 },
    { DAYS_FLAP, 1, 26, 29, 20000 },   { DAYS_BUSY, 3, 31, 33, 20000 },
    { DAYS_HANG, 1, 36, 38, 0 },       { DAYS_SIZE, EVERY, 40, 46, 500 },
    { DAYS_CRASH, EVERY, 50, 50.5, 0 }, { DAYS_HANG, EVERY, 55, 55.5, 0 },
    { DAYS_BROWN, EVERY, 60, 61, 1000 },
  };
  static struct days d;
  for (uint64_t seed = 1; seed <= days_seeds(4); seed++) {
    struct days_plan plan = base;
    plan.peers = seed % 2 ? 3 : 2;
    plan.again = true;
    plan.hedge = true;
    plan.hedge_permille = 50;
    plan.capacity = 10;
    plan.per_s = 1.2 * plan.peers;
    plan.rest_ms = 5000;
    plan.limit_min = 2;
    plan.limit_max = 64;
    plan.line = 30;
    plan.line_ms = 5000;
    plan.balance = seed > 2 ? WR_BALANCE_FIRST_TOKEN : WR_BALANCE_LEAST_STREAMS;
    plan.faults = faults;
    plan.fault_count = sizeof faults / sizeof faults[0];
    days_open(&d, &plan, seed);
    days_run(&d);
    days_show(&d, "together");
    assert_budget_holds(&d);
    assert_hedges_hold(&d);
    /* What no connection was made for reached nobody. */
    uint64_t asked = d.attempts - d.gratis;
    assert_true(asked * 1000 <= d.requests * (1000 + plan.budget_permille + 50));
    for (unsigned h = 0; h < 72; h++) {
      unsigned gratis = 0, begin = h * 3600;
      for (unsigned i = begin; i < begin + 3600; i++) gratis += d.seconds[i].free;
      assert_true(sum(&d, h, h + 1, 3) - gratis <=
                  sum(&d, h, h + 1, 0) * 125 / 100 + 3600 * plan.workers + 22);
    }
    for (unsigned i = 0; i < plan.fault_count; i++) assert_in_range(d.seen[i].again_ms, 1, 150000);
    /* Two hours of nothing, fourteen of less, and evenings of a tenth too much. */
    assert_true(d.served >= d.requests * 80 / 100);
    for (unsigned i = 0; i < plan.peers; i++) {
      assert_true(d.running[i] <= plan.limit_max);
      assert_int_equal(wr_peer_state_standing(days_state(&d, i), d.now_ms), WR_STANDING_READY);
    }
    days_close(&d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(retries),  cmocka_unit_test(no_budget), cmocka_unit_test(by_percentile),
    cmocka_unit_test(by_share), cmocka_unit_test(alone),     cmocka_unit_test(together),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The adaptive limit over three days: it finds what a server can do from below and from above,
 * stays there, follows a server that gets weaker and stronger, and wastes little. */
#include "upstream/days_run.h"

#define HOURS 72u

/* What was seen in each hour, a minute at a time. A limit that has stepped back to look at an idle
 * server counts for the work that is done, and not for where it stands. */
struct hour { double sum, square, busy; unsigned count, all, low, high; };
static struct hour hours[HOURS];
static uint32_t down_minute, up_minute;

static void watch(struct days *d) {
  uint64_t minute = (d->now_ms - d->begin_ms) / 60000;
  struct hour *h = &hours[minute / 60 % HOURS];
  const struct wr_limit *l = &d->set[0]->ranges[0].limit->limit;
  uint32_t is = wr_peer_limit(&d->set[0]->peers[0]), capacity = 0, busy = 0;
  assert_in_range(is, d->plan->limit_min, d->plan->limit_max);
  for (uint32_t i = 0; i < d->plan->peers; i++) {
    capacity += days_capacity(d, i);
    busy += d->servers[i].serving < days_capacity(d, i) ? d->servers[i].serving
                                                        : days_capacity(d, i);
  }
  h->busy += (double)busy / capacity;
  h->all++;
  uint32_t half = d->plan->capacity * d->plan->peers / 2;
  if (minute > 24 * 60 && !down_minute && is <= half * 5 / 4) down_minute = (uint32_t)minute;
  if (minute > 48 * 60 && !up_minute && is >= half * 9 / 5) up_minute = (uint32_t)minute;
  if (l->look) return;
  if (!h->count) h->low = is;
  h->sum += is;
  h->square += (double)is * is;
  h->count++;
  if (is < h->low) h->low = is;
  if (is > h->high) h->high = is;
}

static struct hour of(unsigned from, unsigned until) {
  struct hour all = { .low = UINT32_MAX };
  for (unsigned i = from; i < until; i++) {
    all.sum += hours[i].sum;
    all.square += hours[i].square;
    all.busy += hours[i].busy;
    all.count += hours[i].count;
    all.all += hours[i].all;
    if (hours[i].low < all.low) all.low = hours[i].low;
    if (hours[i].high > all.high) all.high = hours[i].high;
  }
  all.busy /= all.all;
  all.sum /= all.count;
  all.square = sqrt(all.square / all.count - all.sum * all.sum);
  if (getenv("WEIR_DAYS"))
    printf("  hours %u to %u: limit %.1f, deviation %.1f, %u to %u, busy %.3f\n", from, until,
           all.sum, all.square, all.low, all.high, all.busy);
  return all;
}

static const struct days_fault halved[] = { { DAYS_SIZE, UINT32_MAX, 24, 48, 500 } };
static const struct days_fault longer[] = { { DAYS_SLOW, UINT32_MAX, 24, 48, 3 } };

static const struct days_plan base = {
  .peers = 1, .workers = 2, .hours = HOURS, .per_s = 1.5, .first_ms = 300, .spread = 0.5,
  .rest_ms = 20000, .capacity = 20, .bad_permille = 5, .limit_min = 4, .limit_max = 256,
  .line = 50, .line_ms = 5000, .attempts = 1, .balance = WR_BALANCE_LEAST_STREAMS,
  .faults = halved, .fault_count = 1, .minute = watch,
};

static void run(struct days *d, const struct days_plan *plan, uint64_t seed) {
  memset(hours, 0, sizeof hours);
  down_minute = up_minute = 0;
  days_open(d, plan, seed);
  days_run(d);
  char what[64];
  snprintf(what, sizeof what, "%u peers of %u, seed %u", plan->peers, plan->capacity,
           (unsigned)seed);
  days_show(d, what);
  assert_true(d->waited_most_ms <= plan->line_ms);
}

/* Steady: near what the server can do, and nearly all of that is used. */
static void assert_steady(unsigned from, unsigned until, double capacity) {
  struct hour h = of(from, until);
  assert_true(h.sum > capacity * 0.88 && h.sum < capacity * 1.25);
  assert_true(h.square < capacity * 0.1 + 0.8);
  assert_true(h.low >= capacity * 0.55 && h.high <= capacity * 1.5 + 1);
  assert_true(h.busy > 0.9);
}

static void halves_and_doubles(const struct days_plan *plan, uint64_t seed) {
  static struct days d;
  double all = plan->capacity * plan->peers;
  run(&d, plan, seed);
  assert_steady(2, 24, all);
  assert_steady(25, 48, all / 2);
  assert_steady(50, 72, all);
  assert_in_range(down_minute, 24 * 60, 24 * 60 + 15);
  assert_in_range(up_minute, 48 * 60, 48 * 60 + 60);
  assert_true(d.gap_most_ms[0] < 60000);
  days_close(&d);
}

static void one_server(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= days_seeds(4); seed++) halves_and_doubles(&base, seed);
}

/* Prompts that differ far more, two servers behind one limit, many places, short streams. */
static void other_servers(void **state) {
  (void)state;
  struct days_plan wide = base, two = base, large = base, brisk = base;
  wide.spread = 1;
  wide.capacity = 40;
  wide.per_s = 3;
  two.peers = 2;
  two.per_s = 3;
  large.capacity = 100;
  large.rest_ms = 60000;
  large.per_s = 2.5;
  large.limit_min = 8;
  brisk.rest_ms = 2000;
  brisk.spread = 0.3;
  brisk.per_s = 12;
  brisk.line = 10;
  for (uint64_t seed = 1; seed <= days_seeds(2); seed++) {
    halves_and_doubles(&wide, seed);
    halves_and_doubles(&two, seed);
    halves_and_doubles(&large, seed);
  }
  halves_and_doubles(&brisk, 1);
}

/* Prompts three times as long for a day are no load, and the limit comes back. */
static void longer_prompts(void **state) {
  (void)state;
  static struct days d;
  struct days_plan plan = base;
  plan.faults = longer;
  for (uint64_t seed = 1; seed <= days_seeds(3); seed++) {
    run(&d, &plan, seed);
    assert_steady(2, 24, 20);
    assert_steady(29, 48, 20);
    assert_steady(50, 72, 20);
    days_close(&d);
  }
}

/* Day and night: who comes when there is room isn't refused, and the evening finds the limit where
 * the morning left it. */
static void day_and_night(void **state) {
  (void)state;
  static struct days d;
  struct days_plan plan = base;
  plan.per_s = 1;
  plan.swing = 0.7;
  plan.fault_count = 0;
  for (uint64_t seed = 1; seed <= days_seeds(3); seed++) {
    run(&d, &plan, seed);
    for (unsigned day = 0; day < 3; day++) {
      struct hour noon = of(day * 24 + 3, day * 24 + 9), night = of(day * 24 + 14, day * 24 + 22);
      assert_true(noon.busy > 0.9 && noon.sum > 18 && noon.high < 31);
      assert_true(night.busy < 0.7 && night.low >= 12);
    }
    /* Half a day is more than the server can do by up to 0.7, the other half is less. */
    assert_true(d.shed + d.timeouts < d.requests * 30 / 100);
    days_close(&d);
  }
}

/* The smallest of servers, and the only one: somebody always gets through. */
static void never_starved(void **state) {
  (void)state;
  static struct days d;
  struct days_plan plan = base;
  plan.capacity = 2;
  plan.limit_min = 1;
  plan.per_s = 0.3;
  plan.fault_count = 0;
  for (uint64_t seed = 1; seed <= days_seeds(3); seed++) {
    run(&d, &plan, seed);
    struct hour h = of(2, 72);
    assert_true(h.busy > 0.9 && h.high <= 6);
    assert_true(d.gap_most_ms[0] < 180000);
    days_close(&d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_server), cmocka_unit_test(other_servers),
    cmocka_unit_test(longer_prompts), cmocka_unit_test(day_and_night),
    cmocka_unit_test(never_starved),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

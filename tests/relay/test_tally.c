/* Counters, budgets and flags of the process: exact over threads, windows and evictions; and what a
 * stream takes from budgets and gives back. */
#include "harness.h"

#include <pthread.h>

#include "relay/reserve.h"
#include "relay/tally.h"

#define SECOND UINT64_C(1000000)
/* Half past some hour. */
#define WALL (UINT64_C(1800000) * SECOND + 1800 * SECOND)

static struct wr_tallies *tallies;
static struct t_heap heap;

static int set_up(void **state) {
  (void)state;
  t_heap_mark(&heap);
  T_OK(wr_tallies_new(WALL, 0, &tallies));
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  wr_tallies_free(tallies);
  t_heap_check(&heap);
  return 0;
}

static struct wr_tally *get(enum wr_tally_kind kind, const char *name, uint32_t window_ms,
                            uint32_t keys) {
  struct wr_tally_options o = { .kind = kind, .name = name, .window_ms = window_ms, .keys = keys };
  struct wr_tally *t = NULL;
  T_OK(wr_tally_get(tallies, &o, &t));
  return t;
}

static uint64_t tag(const struct wr_tally *t, const char *key) {
  return wr_tally_tag(t, wr_span_str(key));
}

static uint64_t tag_of(const struct wr_tally *t, unsigned n) {
  char key[32];
  snprintf(key, sizeof key, "key %u", n);
  return tag(t, key);
}

static void take_info(void *ctx, const struct wr_tally_info *info) {
  struct wr_tally_info *to = ctx;
  if (strcmp(info->name, to->name) == 0) *to = *info;
}

static struct wr_tally_info info_of(const char *name) {
  struct wr_tally_info info = { .name = name, .used = UINT32_MAX };
  wr_tallies_each(tallies, take_info, &info);
  return info;
}

static void test_counter(void **state) {
  (void)state;
  struct wr_tally *t = get(WR_TALLY_COUNTER, "c", 0, 10);
  uint64_t a = tag(t, "a"), b = tag(t, "b");
  assert_int_equal(wr_tally_read(t, a, 0), 0);
  assert_int_equal(info_of("c").used, 0);
  assert_int_equal(wr_tally_add(t, a, 5, 0), 5);
  assert_int_equal(wr_tally_add(t, a, 2, 1000 * 3600 * SECOND), 7);
  assert_int_equal(wr_tally_add(t, b, 0, 0), 0);
  assert_int_equal(wr_tally_read(t, a, 0), 7);
  assert_int_equal(wr_tally_add(t, a, INT64_MAX, 0), INT64_MAX);
  assert_int_equal(info_of("c").used, 2);
  wr_tally_put(t);
}

/* Names, kinds and options make a tally; it is the same for everyone, and it stays. */
static void test_names(void **state) {
  (void)state;
  struct wr_tally *a = get(WR_TALLY_COUNTER, "n", 60000, 10);
  struct wr_tally *same = get(WR_TALLY_COUNTER, "n", 60000, 10);
  struct wr_tally *window = get(WR_TALLY_COUNTER, "n", 1000, 10);
  struct wr_tally *keys = get(WR_TALLY_COUNTER, "n", 60000, 11);
  struct wr_tally *budget = get(WR_TALLY_BUDGET, "n", 60000, 10);
  assert_ptr_equal(a, same);
  assert_ptr_not_equal(a, window);
  assert_ptr_not_equal(a, keys);
  assert_ptr_not_equal(a, budget);
  wr_tally_add(a, tag(a, "k"), 3, 0);
  wr_tally_put(a);
  wr_tally_put(same);
  assert_ptr_equal(get(WR_TALLY_COUNTER, "n", 60000, 10), a);
  assert_int_equal(wr_tally_read(a, tag(a, "k"), 0), 3);
  wr_tally_put(a);
  wr_tally_put(window);
  wr_tally_put(keys);
  wr_tally_put(budget);
}

/* What nobody declares makes room; what somebody holds never does. */
static void test_room(void **state) {
  (void)state;
  struct wr_tally *held[5], *t = NULL;
  char name[] = "big 0";
  struct wr_tally_options o = { .kind = WR_TALLY_COUNTER, .name = name,
                                .keys = WR_TALLY_KEYS_MAX };
  for (unsigned i = 0; i < 5; i++, name[4]++) T_OK(wr_tally_get(tallies, &o, &held[i]));
  assert_int_equal(wr_tally_get(tallies, &o, &t), WR_E_ARG);
  wr_tally_add(held[2], 1, 1, 0);
  wr_tally_put(held[2]);
  T_OK(wr_tally_get(tallies, &o, &t));
  assert_int_equal(info_of("big 2").used, UINT32_MAX);
  assert_int_equal(wr_tally_read(t, 1, 0), 0);
  held[2] = t;
  for (unsigned i = 0; i < 5; i++) wr_tally_put(held[i]);
  struct wr_tally *many[WR_TALLIES_MAX];
  char small[] = "s000";
  o = (struct wr_tally_options){ .kind = WR_TALLY_COUNTER, .name = small, .keys = 1 };
  for (unsigned i = 0; i < WR_TALLIES_MAX; i++) {
    snprintf(small, sizeof small, "s%03u", i % 1000);
    T_OK(wr_tally_get(tallies, &o, &many[i]));
  }
  memcpy(small, "more", 5);
  assert_int_equal(wr_tally_get(tallies, &o, &t), WR_E_ARG);
  for (unsigned i = 0; i < WR_TALLIES_MAX; i++) wr_tally_put(many[i]);
}

/* An hour begins at the hour; a clock that is behind doesn't bring the last one back. */
static void test_window(void **state) {
  (void)state;
  struct wr_tally *t = get(WR_TALLY_COUNTER, "w", 3600000, 10);
  uint64_t a = tag(t, "a");
  assert_int_equal(wr_tally_add(t, a, 4, 0), 4);
  assert_int_equal(wr_tally_add(t, a, 1, 1800 * SECOND - 1), 5);
  assert_int_equal(wr_tally_read(t, a, 1800 * SECOND), 0);
  assert_int_equal(wr_tally_add(t, a, 1, 1800 * SECOND), 1);
  assert_int_equal(wr_tally_add(t, a, 1, 1800 * SECOND - 1), 2);
  assert_int_equal(wr_tally_read(t, a, 1800 * SECOND - 1), 2);
  wr_tally_put(t);
}

static void test_eviction(void **state) {
  (void)state;
  struct wr_tally *t = get(WR_TALLY_COUNTER, "e", 60000, 100);
  for (unsigned i = 0; i < 100; i++) wr_tally_add(t, tag_of(t, i), i, 0);
  for (unsigned i = 0; i < 100; i++) assert_int_equal(wr_tally_read(t, tag_of(t, i), 0), i);
  assert_int_equal(info_of("e").evictions, 0);
  wr_tally_add(t, tag_of(t, 0), 1000, 0); /* used: the next one goes in its place */
  wr_tally_add(t, tag_of(t, 100), 7, 0);
  assert_int_equal(wr_tally_read(t, tag_of(t, 0), 0), 1000);
  assert_int_equal(wr_tally_read(t, tag_of(t, 1), 0), 0);
  assert_int_equal(wr_tally_read(t, tag_of(t, 2), 0), 2);
  assert_int_equal(info_of("e").evictions, 1);
  /* In the next window what is left of the last one is no loss. */
  for (unsigned i = 200; i < 300; i++) wr_tally_add(t, tag_of(t, i), 1, 60 * SECOND);
  assert_int_equal(info_of("e").evictions, 1);
  for (unsigned i = 200; i < 300; i++)
    assert_int_equal(wr_tally_read(t, tag_of(t, i), 60 * SECOND), 1);
  wr_tally_add(t, tag_of(t, 300), 1, 60 * SECOND);
  assert_int_equal(info_of("e").evictions, 2);
  assert_int_equal(info_of("e").used, 100);
  wr_tally_put(t);
}

/* Any bytes are a key, and none of them can be aimed at another. */
static void test_keys(void **state) {
  (void)state;
  struct wr_tally *t = get(WR_TALLY_COUNTER, "k", 0, 1);
  static char large[1 << 20];
  uint64_t empty = wr_tally_tag(t, wr_span_make("", 0));
  uint64_t zero = wr_tally_tag(t, wr_span_make("\0", 1));
  uint64_t zeros = wr_tally_tag(t, wr_span_make(large, sizeof large));
  assert_true(empty != zero && zero != zeros && empty != zeros && empty != 0);
  struct wr_tallies *other = NULL;
  T_OK(wr_tallies_new(0, 0, &other));
  struct wr_tally_options o = { .kind = WR_TALLY_COUNTER, .name = "k", .keys = 1 };
  struct wr_tally *t2 = NULL;
  T_OK(wr_tally_get(other, &o, &t2));
  assert_int_not_equal(tag(t, "a"), tag(t2, "a"));
  wr_tally_put(t2);
  wr_tallies_free(other);
  for (unsigned i = 0; i < 1000; i++) assert_int_equal(wr_tally_add(t, tag_of(t, i), 1, 0), 1);
  assert_int_equal(info_of("k").evictions, 999);
  wr_tally_put(t);
}

static struct wr_tally_grant reserve(struct wr_tally *t, const char *key, int64_t n, int64_t limit,
                                     uint64_t now_us) {
  struct wr_tally_grant g;
  wr_tally_reserve(t, tag(t, key), n, limit, now_us, &g);
  return g;
}

static void test_budget(void **state) {
  (void)state;
  struct wr_tally *t = get(WR_TALLY_BUDGET, "b", 3600000, 2);
  struct wr_tally_grant g = reserve(t, "a", 60, 100, 0), first = g;
  assert_true(g.ok && g.left == 40 && g.reset_ms == 1800000);
  g = reserve(t, "a", 41, 100, SECOND);
  assert_true(!g.ok && g.left == 40 && g.reset_ms == 1799000);
  g = reserve(t, "a", 40, 100, SECOND);
  assert_true(g.ok && g.left == 0);
  g = reserve(t, "a", 1, 50, SECOND); /* a limit that was lowered meanwhile */
  assert_true(!g.ok && g.left == 0);
  assert_true(!reserve(t, "z", 5, -1, 0).ok);
  assert_true(!reserve(t, "z", INT64_MAX, 1000, 0).ok);
  assert_int_equal(info_of("b").used, 1); /* a refusal makes no entry */
  wr_tally_settle(t, tag(t, "a"), first.window, 60, 10);
  assert_int_equal(wr_tally_read(t, tag(t, "a"), SECOND), 50);
  wr_tally_settle(t, tag(t, "a"), g.window, 40, 400); /* used more than it asked for */
  assert_int_equal(wr_tally_read(t, tag(t, "a"), SECOND), 410);
  wr_tally_settle(t, tag(t, "never"), g.window, 40, 400);
  assert_int_equal(wr_tally_read(t, tag(t, "never"), SECOND), 0);
  /* What was reserved in a window that is over changes nothing in the next. */
  g = reserve(t, "a", 30, 100, 1800 * SECOND);
  assert_true(g.ok && g.left == 70 && g.reset_ms == 3600000);
  wr_tally_settle(t, tag(t, "a"), first.window, 60, 0);
  assert_int_equal(wr_tally_read(t, tag(t, "a"), 1800 * SECOND), 30);
  wr_tally_put(t);
}

static void test_flag(void **state) {
  (void)state;
  struct wr_tally *a = get(WR_TALLY_FLAG, "f", 0, 0), *b = NULL;
  struct wr_tally_options o = { .kind = WR_TALLY_FLAG, .name = "f", .on = true };
  T_OK(wr_tally_get(tallies, &o, &b));
  assert_true(!wr_tally_is_on(a) && wr_tally_is_on(b));
  assert_true(wr_tallies_switch(tallies, WR_SPAN("f"), true));
  assert_true(wr_tally_is_on(a) && wr_tally_is_on(b));
  assert_true(wr_tallies_switch(tallies, WR_SPAN("f"), false));
  assert_true(!wr_tally_is_on(a) && !wr_tally_is_on(b));
  assert_false(wr_tallies_switch(tallies, WR_SPAN("g"), true));
  struct wr_tally *c = get(WR_TALLY_COUNTER, "g", 0, 1);
  assert_false(wr_tallies_switch(tallies, WR_SPAN("g"), true));
  wr_tally_put(a);
  wr_tally_put(b);
  wr_tally_put(c);
}

/* Four threads, as many as the machine likes to run at a time. */
#define THREADS 4
#define ROUNDS 20000
struct job {
  struct wr_tally *shared, *scarce, *windows, *budget;
  unsigned number;
  uint64_t granted, kept, refused;
};

static void *work(void *arg) {
  struct job *j = arg;
  for (unsigned i = 0; i < ROUNDS; i++) {
    wr_tally_add(j->shared, tag_of(j->shared, i % 7), 1, 0);
    wr_tally_add(j->scarce, tag_of(j->scarce, (i * 7 + j->number) % 50), 1, 0);
    wr_tally_add(j->windows, tag_of(j->windows, 1), 1, i / 1000 * SECOND);
    struct wr_tally_grant g;
    uint64_t t = tag_of(j->budget, i % 3);
    wr_tally_reserve(j->budget, t, 10, 1000000, 0, &g);
    j->granted += g.ok;
    j->refused += !g.ok;
    if (g.ok) wr_tally_settle(j->budget, t, g.window, 10, i % 10);
    if (g.ok) j->kept += i % 10;
  }
  return NULL;
}

static void test_threads(void **state) {
  (void)state;
  struct wr_tally *shared = get(WR_TALLY_COUNTER, "shared", 0, 7);
  struct wr_tally *scarce = get(WR_TALLY_COUNTER, "scarce", 0, 20);
  struct wr_tally *windows = get(WR_TALLY_COUNTER, "windows", 1000, 2);
  struct wr_tally *budget = get(WR_TALLY_BUDGET, "budget", 60000, 3);
  pthread_t threads[THREADS];
  struct job jobs[THREADS];
  for (unsigned i = 0; i < THREADS; i++) {
    jobs[i] = (struct job){ shared, scarce, windows, budget, i, 0, 0, 0 };
    assert_int_equal(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
  }
  int64_t sum = 0, kept = 0, in_budget = 0;
  for (unsigned i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(jobs[i].refused, 0);
    kept += (int64_t)jobs[i].kept;
  }
  for (unsigned i = 0; i < 7; i++) sum += wr_tally_read(shared, tag_of(shared, i), 0);
  assert_int_equal(sum, THREADS * ROUNDS);
  assert_int_equal(info_of("shared").evictions, 0);
  for (unsigned i = 0; i < 3; i++) in_budget += wr_tally_read(budget, tag_of(budget, i), 0);
  assert_int_equal(in_budget, kept);
  /* All counted into the last window, or into one before. */
  int64_t last = wr_tally_read(windows, tag_of(windows, 1), (ROUNDS / 1000 - 1) * SECOND);
  assert_in_range(last, 1000, THREADS * ROUNDS);
  assert_int_equal(info_of("windows").evictions, 0);
  assert_int_equal(info_of("scarce").used, 20);
  assert_true(info_of("scarce").evictions > 0);
  wr_tally_put(shared);
  wr_tally_put(scarce);
  wr_tally_put(windows);
  wr_tally_put(budget);
}

/* However many ask at once, no more than the limit is granted. */
static void *grab(void *arg) {
  struct job *j = arg;
  for (unsigned i = 0; i < ROUNDS; i++) {
    struct wr_tally_grant g;
    wr_tally_reserve(j->budget, 42, 3, 10000, 0, &g);
    j->granted += g.ok;
    assert_true(g.left >= 0);
  }
  return NULL;
}

static void test_limit_over_threads(void **state) {
  (void)state;
  struct wr_tally *budget = get(WR_TALLY_BUDGET, "limit", 60000, 3);
  pthread_t threads[THREADS];
  struct job jobs[THREADS];
  uint64_t granted = 0;
  for (unsigned i = 0; i < THREADS; i++) {
    jobs[i] = (struct job){ .budget = budget };
    assert_int_equal(pthread_create(&threads[i], NULL, grab, &jobs[i]), 0);
  }
  for (unsigned i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    granted += jobs[i].granted;
  }
  assert_int_equal(granted, 3333);
  assert_int_equal(wr_tally_read(budget, 42, 0), 9999);
  wr_tally_put(budget);
}

static struct wr_hook_stream stream(void) {
  struct wr_hook_stream s = { .attempt = 1, .status = 200, .prompt_tokens = 25 };
  s.usage = (struct wr_usage){ -1, -1, -1, -1 };
  return s;
}

static bool take(struct wr_hook_stream *s, struct wr_tally *t, const char *key, int64_t n) {
  struct wr_tally_grant g;
  T_OK(wr_reserve(s, t, tag(t, key), n, 1000, 0, &g));
  return g.ok;
}

static int64_t left_in(struct wr_tally *t, const char *key) {
  return wr_tally_read(t, tag(t, key), 0);
}

static void test_reserve(void **state) {
  (void)state;
  struct wr_tally *a = get(WR_TALLY_BUDGET, "a", 60000, 10);
  struct wr_tally *b = get(WR_TALLY_BUDGET, "b", 60000, 10);
  struct wr_hook_stream s = stream();
  assert_true(take(&s, a, "x", 100) && take(&s, b, "x", 200) && take(&s, a, "x", 50));
  assert_false(take(&s, a, "x", 900));
  assert_false(take(&s, a, "y", 1001));
  assert_int_equal(left_in(a, "x"), 150);
  assert_int_equal(left_in(b, "x"), 200);
  s.usage = (struct wr_usage){ 30, 12, 5, -1 };
  wr_reserves_settle(&s, WR_OUTCOME_COMPLETE);
  wr_reserves_settle(&s, WR_OUTCOME_REFUSED); /* once is enough */
  assert_int_equal(s.charged, 42);
  assert_int_equal(s.usage_status, WR_USAGE_COMPLETE);
  assert_int_equal(left_in(a, "x"), 42);
  assert_int_equal(left_in(b, "x"), 42);
  struct wr_tally_grant g;
  struct wr_hook_stream many = stream();
  for (unsigned i = 0; i < WR_RESERVES_MAX; i++)
    T_OK(wr_reserve(&many, a, tag_of(a, i), 1, 1000, 0, &g));
  assert_int_equal(wr_reserve(&many, a, tag_of(a, 99), 1, 1000, 0, &g), WR_E_ARG);
  assert_int_equal(wr_tally_read(a, tag_of(a, 99), 0), 0);
  T_OK(wr_reserve(&many, a, tag_of(a, 3), 1, 1000, 0, &g));
  many.attempt = 0; /* refused by the next hook */
  wr_reserves_settle(&many, WR_OUTCOME_REFUSED);
  for (unsigned i = 0; i < WR_RESERVES_MAX; i++)
    assert_int_equal(wr_tally_read(a, tag_of(a, i), 0), 0);
  wr_tally_put(a);
  wr_tally_put(b);
}

static void test_charged(void **state) {
  (void)state;
  static const struct {
    uint32_t attempt, status;
    int64_t input, output;
    uint64_t counted;
    enum wr_outcome outcome;
    int64_t charged;
    enum wr_usage_status known;
  } cases[] = {
    { 0, 429, -1, -1, 0, WR_OUTCOME_REFUSED, 0, WR_USAGE_MISSING },
    { 1, 502, -1, -1, 0, WR_OUTCOME_UPSTREAM_ERROR, 0, WR_USAGE_MISSING },
    { 1, 0, -1, -1, 0, WR_OUTCOME_CLIENT_GONE, 25, WR_USAGE_ESTIMATED },
    { 1, 200, -1, -1, 9, WR_OUTCOME_COMPLETE, 34, WR_USAGE_ESTIMATED },
    { 1, 200, 10, 7, 9, WR_OUTCOME_COMPLETE, 17, WR_USAGE_COMPLETE },
    { 1, 200, 10, 1, 9, WR_OUTCOME_CLIENT_GONE, 19, WR_USAGE_PARTIAL },
    { 1, 200, 10, 50, 9, WR_OUTCOME_STOPPED, 60, WR_USAGE_PARTIAL },
    { 1, 200, -1, 7, 7, WR_OUTCOME_COMPLETE, 32, WR_USAGE_PARTIAL },
    { 1, 200, 10, -1, 3, WR_OUTCOME_TRUNCATED, 13, WR_USAGE_PARTIAL },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct wr_hook_stream s = stream();
    s.attempt = cases[i].attempt;
    s.status = cases[i].status;
    s.usage.input = cases[i].input;
    s.usage.output = cases[i].output;
    s.output_tokens = cases[i].counted;
    wr_reserves_settle(&s, cases[i].outcome);
    if (s.charged != cases[i].charged || s.usage_status != (uint8_t)cases[i].known)
      fail_msg("case %zu: charged %lld, usage %s", i, (long long)s.charged,
               wr_usage_status_name((enum wr_usage_status)s.usage_status));
  }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
    T(test_counter), T(test_names),  T(test_room),    T(test_window),
    T(test_eviction), T(test_keys),  T(test_budget),  T(test_flag),
    T(test_threads), T(test_limit_over_threads),      T(test_reserve), T(test_charged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

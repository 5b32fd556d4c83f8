/* The algorithms, each alone: shares, loads, times, and what a hash promises. */
#include "harness.h"

#include "base/hash.h"
#include "upstream/pick.h"

#define N 5u

static struct wr_pick_item items[N];
static struct wr_rand rand_;

static struct wr_pick_want want_all(void) {
  for (unsigned i = 0; i < N; i++)
    items[i] = (struct wr_pick_item){ .id = wr_hash_mix64(i + 1), .weight = 1 };
  return (struct wr_pick_want){ .items = items, .count = N, .usable = 31, .rand = &rand_ };
}

static void turns(void **state) {
  (void)state;
  struct wr_pick_memory m = { 0 };
  struct wr_pick_want w = want_all();
  w.usable = 0x15; /* 0, 2, 4 */
  for (unsigned i = 0; i < 9; i++) assert_int_equal(wr_pick_round_robin.pick(&m, &w), i % 3 * 2);
}

static void weights(void **state) {
  (void)state;
  int32_t credits[N] = { 0 };
  struct wr_pick_memory m = { .credits = credits };
  struct wr_pick_want w = want_all();
  items[0].weight = 5;
  w.usable = 7;
  char said[8] = "";
  for (unsigned i = 0; i < 7; i++) said[i] = (char)('a' + wr_pick_weighted.pick(&m, &w));
  assert_string_equal(said, "aabacaa");
  w.usable = 6; /* one goes: the others share evenly */
  unsigned got[N] = { 0 };
  for (unsigned i = 0; i < 100; i++) got[wr_pick_weighted.pick(&m, &w)]++;
  assert_int_equal(got[0], 0);
  assert_in_range(got[1], 48, 52);
  assert_in_range(got[2], 48, 52);
}

static void least_streams(void **state) {
  (void)state;
  struct wr_pick_memory m = { 0 };
  struct wr_pick_want w = want_all();
  items[3].weight = 3;
  for (unsigned i = 0; i < 70; i++) items[wr_pick_least_streams.pick(&m, &w)].streams++;
  for (unsigned i = 0; i < N; i++) assert_int_equal(items[i].streams, i == 3 ? 30 : 10);
}

/* Streams begin and end; a peer whose first token takes ten times as long gets the least, but is
 * not forgotten. */
static void first_token(void **state) {
  (void)state;
  struct wr_pick_memory m = { 0 };
  struct wr_pick_want w = want_all();
  wr_rand_init(&rand_, 7);
  unsigned got[N] = { 0 }, ring[64], at = 0;
  for (unsigned i = 0; i < N; i++) items[i].first_token_us = i == 2 ? 500000 : 50000;
  for (unsigned i = 0; i < 64; i++) ring[i] = N;
  for (unsigned i = 0; i < 20000; i++) {
    size_t p = wr_pick_first_token.pick(&m, &w);
    got[p]++;
    items[p].streams++;
    if (ring[at] < N) items[ring[at]].streams--;
    ring[at] = (unsigned)p;
    at = (at + 1) % 64;
  }
  for (unsigned i = 0; i < N; i++)
    if (i != 2) assert_true(got[2] * 3 < got[i]);
  assert_true(got[2] > 100);
  items[0].first_token_us = 0; /* not known: neither flooded nor starved */
  unsigned fresh = 0;
  for (unsigned i = 0; i < 1000; i++) fresh += wr_pick_first_token.pick(&m, &w) == 0;
  assert_in_range(fresh, 20, 700);
}

static void hash_sticks(void **state) {
  (void)state;
  struct wr_pick_memory m = { 0 };
  struct wr_pick_want w = want_all();
  unsigned got[N] = { 0 }, moved = 0;
  size_t first[1000];
  for (unsigned i = 0; i < 1000; i++) {
    w.hash = wr_hash_mix64(i + 77);
    first[i] = wr_pick_hash.pick(&m, &w);
    assert_int_equal(wr_pick_hash.pick(&m, &w), first[i]);
    got[first[i]]++;
  }
  for (unsigned i = 0; i < N; i++) assert_in_range(got[i], 150, 250);
  w.usable &= ~UINT64_C(2); /* one goes: only what was there moves */
  for (unsigned i = 0; i < 1000; i++) {
    w.hash = wr_hash_mix64(i + 77);
    size_t now = wr_pick_hash.pick(&m, &w);
    moved += now != first[i];
    if (first[i] != 1) assert_int_equal(now, first[i]);
  }
  assert_int_equal(moved, got[1]);
}

/* One prompt that everybody sends doesn't bury one peer. */
static void hash_is_bounded(void **state) {
  (void)state;
  struct wr_pick_memory m = { 0 };
  struct wr_pick_want w = want_all();
  w.hash = 12345;
  for (unsigned i = 0; i < 100; i++) items[wr_pick_hash.pick(&m, &w)].streams++;
  unsigned most = 0;
  for (unsigned i = 0; i < N; i++) most = items[i].streams > most ? items[i].streams : most;
  assert_in_range(most, 21, 27);
  w.hash = 0; /* nothing to go by: the least loaded */
  size_t p = wr_pick_hash.pick(&m, &w);
  for (unsigned i = 0; i < N; i++) assert_true(items[p].streams <= items[i].streams);
}

static void every_word_has_one(void **state) {
  (void)state;
  struct wr_pick_memory m = { 0 };
  struct wr_pick_want w = want_all();
  for (unsigned b = 0; b < WR_BALANCES; b++) {
    const struct wr_pick_ops *ops = wr_pick_ops_of((enum wr_balance)b);
    assert_non_null(ops->name);
    for (unsigned i = 0; i < N; i++) { /* the only one is never starved */
      w.usable = UINT64_C(1) << i;
      items[i].streams = 1000;
      w.hash = b + i;
      assert_int_equal(ops->pick(&m, &w), i);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(turns),       cmocka_unit_test(weights),     cmocka_unit_test(least_streams),
    cmocka_unit_test(first_token), cmocka_unit_test(hash_sticks), cmocka_unit_test(hash_is_bounded),
    cmocka_unit_test(every_word_has_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

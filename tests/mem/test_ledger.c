#include <pthread.h>

#include "harness.h"

static void levels_have_hysteresis(void **state) {
  (void)state;
  struct wr_ledger *l;
  T_OK(wr_ledger_new(1000, NULL, &l));
  /* bytes in use, the level that must follow; in this order */
  static const struct { size_t used; unsigned level; } walk[] = {
    { 699, 0 }, { 700, 1 }, { 650, 1 }, { 600, 1 }, { 599, 0 }, { 699, 0 }, { 799, 1 }, { 800, 2 },
    { 700, 2 }, { 699, 1 }, { 899, 2 }, { 900, 3 }, { 959, 3 }, { 960, 4 }, { 900, 4 }, { 899, 3 },
    { 800, 3 }, { 799, 2 }, { 1000, 4 }, { 0, 0 },   { 990, 4 }, { 610, 1 }, { 0, 0 },
  };
  size_t used = 0;
  for (size_t i = 0; i < sizeof walk / sizeof *walk; i++) {
    if (walk[i].used > used) wr_ledger_add(l, WR_CHARGE_CLIENT, walk[i].used - used);
    if (walk[i].used < used) wr_ledger_sub(l, WR_CHARGE_CLIENT, used - walk[i].used);
    used = walk[i].used;
    assert_int_equal(wr_ledger_used_bytes(l), used);
    if (wr_ledger_level(l) != walk[i].level)
      fail_msg("step %zu: level %u, want %u", i, wr_ledger_level(l), walk[i].level);
  }
  assert_int_equal(wr_ledger_peak_bytes(l), 1000);
  wr_ledger_free(l);
}

static void classes_are_refused_in_order(void **state) {
  (void)state;
  struct wr_ledger *l;
  T_OK(wr_ledger_new(100000, NULL, &l));
  static const struct { size_t used; enum wr_charge charge; } edge[] = {
    { 70000, WR_CHARGE_IDLE }, { 80000, WR_CHARGE_KEPT_LOG },  { 85000, WR_CHARGE_KEPT_VIEW },
    { 90000, WR_CHARGE_HEAD }, { 96000, WR_CHARGE_UPSTREAM },
  };
  for (size_t i = 0; i < 5; i++) {
    assert_true(wr_ledger_admits(l, edge[i].charge, edge[i].used));
    assert_false(wr_ledger_admits(l, edge[i].charge, edge[i].used + 1));
    assert_int_equal(wr_ledger_refusals(l, edge[i].charge), 1);
  }
  wr_ledger_add(l, WR_CHARGE_CLIENT, 100000);
  assert_true(wr_ledger_admits(l, WR_CHARGE_CLIENT, 1));
  assert_true(wr_ledger_admits(l, WR_CHARGE_TLS, 1));
  assert_false(wr_ledger_admits(l, WR_CHARGE_UPSTREAM, 1));
  assert_int_equal(wr_ledger_refusals(l, WR_CHARGE_CLIENT), 0);
  wr_ledger_free(l);
}

static void lua_is_counted_apart(void **state) {
  (void)state;
  struct wr_ledger *l;
  T_OK(wr_ledger_new(1000, NULL, &l));
  wr_ledger_add(l, WR_CHARGE_LUA, 5000);
  assert_int_equal(wr_ledger_bytes(l, WR_CHARGE_LUA), 5000);
  assert_int_equal(wr_ledger_used_bytes(l), 0);
  assert_int_equal(wr_ledger_level(l), 0);
  wr_ledger_sub(l, WR_CHARGE_LUA, 5000);
  for (int c = 0; c < WR_CHARGES; c++) assert_non_null(wr_charge_name((enum wr_charge)c));
  wr_ledger_free(l);
}

static void bad_marks_are_refused(void **state) {
  (void)state;
  struct wr_ledger *l;
  struct wr_ledger_marks good = { { 0.1, 0.2, 0.3, 0.4 }, { 0.05, 0.1, 0.2, 0.3 } };
  T_OK(wr_ledger_new(1000, &good, &l));
  wr_ledger_free(l);
  struct wr_ledger_marks bad = good;
  bad.off[2] = 0.35; /* above its own on */
  assert_int_equal(wr_ledger_new(1000, &bad, &l), WR_E_ARG);
  bad = good;
  bad.on[1] = 0.05; /* below the level before */
  assert_int_equal(wr_ledger_new(1000, &bad, &l), WR_E_ARG);
  bad = good;
  bad.on[3] = 1.5;
  assert_int_equal(wr_ledger_new(1000, &bad, &l), WR_E_ARG);
  assert_int_equal(wr_ledger_new(0, NULL, &l), WR_E_ARG);
}

/* Batches hide at most 16 KiB a set, and nothing after its tick. */
static void sets_publish_in_batches(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 4u << 20);
  struct wr_block *held[200];
  for (size_t i = 0; i < 200; i++) {
    held[i] = wr_slabs_alloc(p.slabs, 256, WR_CHARGE_HEAD);
    assert_non_null(held[i]);
    size_t known = wr_ledger_used_bytes(p.ledger), live = 256 * (i + 1);
    assert_true(known <= live && live - known <= 16u << 10);
  }
  assert_true(wr_ledger_used_bytes(p.ledger) > 0);
  wr_slabs_tick(p.slabs);
  assert_int_equal(wr_ledger_bytes(p.ledger, WR_CHARGE_HEAD), 200 * 256);
  for (size_t i = 0; i < 200; i++) wr_block_recharge(held[i], WR_CHARGE_CLIENT);
  wr_slabs_tick(p.slabs);
  assert_int_equal(wr_ledger_bytes(p.ledger, WR_CHARGE_HEAD), 0);
  assert_int_equal(wr_ledger_bytes(p.ledger, WR_CHARGE_CLIENT), 200 * 256);
  assert_int_equal(wr_ledger_peak_bytes(p.ledger), 200 * 256); /* a recharge is no peak */
  for (size_t i = 0; i < 200; i++) wr_block_unref(held[i]);
  t_pool_close(&p);
}

static void *churn(void *arg) {
  struct wr_ledger *l = arg;
  for (int i = 0; i < 20000; i++) {
    wr_ledger_add(l, WR_CHARGE_TLS, 300);
    wr_ledger_sub(l, WR_CHARGE_TLS, 300);
  }
  return NULL;
}

static void the_level_settles_after_races(void **state) {
  (void)state;
  struct wr_ledger *l;
  T_OK(wr_ledger_new(1000, NULL, &l));
  pthread_t t[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, churn, l), 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  assert_int_equal(wr_ledger_used_bytes(l), 0);
  assert_int_equal(wr_ledger_level(l), 0);
  wr_ledger_free(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(levels_have_hysteresis),
    cmocka_unit_test(classes_are_refused_in_order),
    cmocka_unit_test(lua_is_counted_apart),
    cmocka_unit_test(bad_marks_are_refused),
    cmocka_unit_test(sets_publish_in_batches),
    cmocka_unit_test(the_level_settles_after_races),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

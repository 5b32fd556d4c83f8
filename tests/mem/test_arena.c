#include "base/rand.h"
#include "harness.h"
#include "mem/arena.h"

static void pieces_are_apart_and_aligned(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_rand r;
  wr_rand_init(&r, 8);
  struct wr_arena a;
  wr_arena_init(&a, p.slabs, WR_CHARGE_HEAD);
  for (int round = 0; round < 20; round++) {
    unsigned char *piece[150];
    size_t len[150];
    for (size_t i = 0; i < 150; i++) {
      len[i] = wr_rand_below(&r, wr_rand_below(&r, 10) ? 100 : 6000);
      piece[i] = wr_arena_alloc(&a, len[i]);
      assert_non_null(piece[i]);
      assert_int_equal((uintptr_t)piece[i] % 16, 0);
      memset(piece[i], (int)i, len[i]);
    }
    for (size_t i = 0; i < 150; i++)
      for (size_t k = 0; k < len[i]; k++) assert_int_equal(piece[i][k], i);
    wr_arena_fini(&a);
    assert_int_equal(wr_slabs_live_blocks(p.slabs), 0);
  }
  t_pool_close(&p);
}

static void a_small_session_is_small(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_arena a;
  wr_arena_init(&a, p.slabs, WR_CHARGE_HEAD);
  assert_int_equal(wr_slabs_live_bytes(p.slabs), 0);
  for (int i = 0; i < 15; i++) assert_non_null(wr_arena_alloc(&a, 16));
  assert_int_equal(wr_slabs_live_bytes(p.slabs), 256);
  /* A large piece doesn't end the block that is being filled. */
  assert_non_null(wr_arena_alloc(&a, 1));
  assert_int_equal(wr_slabs_live_bytes(p.slabs), 256 + 512);
  assert_non_null(wr_arena_alloc(&a, 4096 - 16));
  char *x = wr_arena_alloc(&a, 16);
  assert_non_null(x);
  assert_int_equal(wr_slabs_live_bytes(p.slabs), 256 + 512 + 4096);
  wr_arena_fini(&a);
  t_pool_close(&p);
}

static void copies_end_in_nul(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_arena a;
  wr_arena_init(&a, p.slabs, WR_CHARGE_HEAD);
  struct wr_span out;
  T_OK(wr_arena_copy(&a, WR_SPAN("host"), &out));
  t_span_is(out, "host");
  assert_int_equal(out.ptr[4], 0);
  T_OK(wr_arena_copy(&a, wr_span_make(NULL, 0), &out));
  assert_non_null(out.ptr);
  assert_int_equal(out.len, 0);
  wr_arena_fini(&a);
  t_pool_close(&p);
}

static void limits(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 64u << 10);
  struct wr_arena a;
  wr_arena_init(&a, p.slabs, WR_CHARGE_HEAD);
  struct wr_span out = WR_SPAN("x");
  assert_non_null(wr_arena_alloc(&a, 4096 - 16));
  assert_null(wr_arena_alloc(&a, 4096 - 15));
  assert_null(wr_arena_alloc(&a, SIZE_MAX));
  static char big[8192];
  assert_int_equal(wr_arena_copy(&a, wr_span_make(big, sizeof big), &out), WR_E_POOL_FULL);
  assert_null(out.ptr);
  size_t n = 0;
  while (wr_arena_alloc(&a, 1000)) n++;
  assert_true(n > 20); /* heads get most of the pool, and the end is an answer, not a crash */
  assert_true(wr_ledger_refusals(p.ledger, WR_CHARGE_HEAD) > 0);
  wr_arena_fini(&a);
  assert_non_null(wr_arena_alloc(&a, 1000));
  wr_arena_fini(&a);
  t_pool_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(pieces_are_apart_and_aligned),
    cmocka_unit_test(a_small_session_is_small),
    cmocka_unit_test(copies_end_in_nul),
    cmocka_unit_test(limits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <pthread.h>

#include "base/rand.h"
#include "harness.h"

static void geometry(void **state) {
  (void)state;
  static const struct { size_t memory, slab, count; } cases[] = {
    { 64u << 10, 4u << 10, 16 },   { 100u << 10, 4u << 10, 25 },
    { 512u << 10, 32u << 10, 16 }, { 1u << 20, 64u << 10, 16 },
    { 64u << 20, 64u << 10, 1024 }, { (1u << 20) - 1, 32u << 10, 31 },
  };
  struct t_heap heap;
  t_heap_mark(&heap);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct wr_depot *d;
    T_OK(wr_depot_new(cases[i].memory, &d));
    assert_int_equal(wr_depot_slab_bytes(d), cases[i].slab);
    assert_int_equal(wr_depot_slab_count(d), cases[i].count);
    assert_int_equal(wr_depot_free_slabs(d), cases[i].count);
    assert_int_equal(wr_depot_memory_bytes(d), cases[i].slab * cases[i].count);
    wr_depot_free(d);
  }
  struct wr_depot *d;
  assert_int_equal(wr_depot_new((64u << 10) - 1, &d), WR_E_ARG);
  assert_int_equal(wr_depot_new((UINT64_C(64) << 30) + 1, &d), WR_E_ARG);
  wr_heap_fail_at(1, false);
  assert_int_equal(wr_depot_new(1u << 20, &d), WR_E_NOMEM);
  wr_heap_fail_at(0, false);
  t_heap_check(&heap);
}

static void each_slab_once(void **state) {
  (void)state;
  struct wr_depot *d;
  T_OK(wr_depot_new(64u << 10, &d));
  bool taken[16] = { false };
  for (int i = 0; i < 16; i++) {
    uint32_t s = wr_depot_take(d);
    assert_true(s < 16 && !taken[s]);
    taken[s] = true;
  }
  assert_int_equal(wr_depot_take(d), UINT32_MAX);
  assert_int_equal(wr_depot_free_slabs(d), 0);
  wr_depot_give(d, 7);
  wr_depot_give(d, 3);
  assert_int_equal(wr_depot_take(d), 3); /* the warmest first */
  assert_int_equal(wr_depot_take(d), 7);
  assert_int_equal(wr_depot_take(d), UINT32_MAX);
  for (uint32_t s = 0; s < 16; s++) wr_depot_give(d, s);
  wr_depot_free(d);
}

#define THREADS 4
#define ROUNDS 20000

struct hammer {
  struct wr_depot *depot;
  uint32_t *owner; /* one word a slab, plain on purpose: the stack must order its hand-over */
  uint32_t id;
  uint32_t misses;
};

static void *hammer_run(void *arg) {
  struct hammer *h = arg;
  struct wr_rand r;
  wr_rand_init(&r, h->id);
  uint32_t held[8], n = 0;
  for (int i = 0; i < ROUNDS; i++) {
    if (n < 8 && (n == 0 || wr_rand_below(&r, 2))) {
      uint32_t s = wr_depot_take(h->depot);
      if (s == UINT32_MAX) {
        h->misses++;
        continue;
      }
      WR_CHECK(h->owner[s] == 0);
      h->owner[s] = h->id;
      held[n++] = s;
    } else {
      uint32_t s = held[--n];
      WR_CHECK(h->owner[s] == h->id);
      h->owner[s] = 0;
      wr_depot_give(h->depot, s);
    }
  }
  while (n) {
    h->owner[held[--n]] = 0;
    wr_depot_give(h->depot, held[n]);
  }
  return NULL;
}

static void four_threads_never_share_a_slab(void **state) {
  (void)state;
  struct wr_depot *d;
  T_OK(wr_depot_new(64u << 10, &d));
  uint32_t owner[16] = { 0 };
  struct hammer h[THREADS];
  pthread_t t[THREADS];
  for (uint32_t i = 0; i < THREADS; i++) {
    h[i] = (struct hammer){ d, owner, i + 1, 0 };
    assert_int_equal(pthread_create(&t[i], NULL, hammer_run, &h[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
  assert_int_equal(wr_depot_free_slabs(d), 16);
  wr_depot_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(geometry),
    cmocka_unit_test(each_slab_once),
    cmocka_unit_test(four_threads_never_share_a_slab),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

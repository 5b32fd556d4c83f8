#include <pthread.h>
#include <sys/mman.h>

#include "base/rand.h"
#include "harness.h"
#include "mem/poison.h"

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
    if (i % 64 == 0) (void)wr_depot_trim(h->depot, 2, 4);
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

static size_t resident_pages(const struct wr_depot *d) {
  unsigned char in[16];
  size_t n = 0;
  assert_int_equal(mincore(wr_depot_base(d, 0), 64u << 10, in), 0);
  for (size_t i = 0; i < sizeof in; i++) n += in[i] & 1u;
  return n;
}

static void what_is_trimmed_is_not_resident(void **state) {
  (void)state;
  struct wr_depot *d;
  T_OK(wr_depot_new(64u << 10, &d)); /* 16 slabs of one page */
  for (uint32_t s = 0; s < 16; s++) {
    uint32_t got = wr_depot_take(d);
    wr_unpoison(wr_depot_base(d, got), 4096);
    memset(wr_depot_base(d, got), 1, 4096);
  }
  assert_int_equal(resident_pages(d), 16);
  assert_int_equal(wr_depot_trim(d, 0, 100), 0); /* none is free */
  for (uint32_t s = 0; s < 16; s++) wr_depot_give(d, s);
  assert_int_equal(wr_depot_trim(d, 10, 4), 4);
  assert_int_equal(wr_depot_trim(d, 10, 4), 2);
  assert_int_equal(wr_depot_trim(d, 10, 4), 0);
  assert_int_equal(resident_pages(d), 10);
  bool seen[16] = { false };
  for (int i = 0; i < 16; i++) { /* warm ones first, and each still once */
    uint32_t s = wr_depot_take(d);
    assert_true(s < 16 && !seen[s]);
    seen[s] = true;
    assert_int_equal(*wr_depot_base(d, s), i < 10 ? 1 : 0);
  }
  assert_int_equal(wr_depot_take(d), UINT32_MAX);
  for (uint32_t s = 0; s < 16; s++) wr_depot_give(d, s);
  wr_depot_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(geometry),
    cmocka_unit_test(each_slab_once),
    cmocka_unit_test(what_is_trimmed_is_not_resident),
    cmocka_unit_test(four_threads_never_share_a_slab),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

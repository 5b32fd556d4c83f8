#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/heap.h"

static void counts_are_exact(void **state) {
  (void)state;
  size_t bytes = wr_heap_live_bytes(WR_HEAP_CONF), count = wr_heap_live_count(WR_HEAP_CONF);
  uint64_t calls = wr_heap_calls();
  char *p = wr_heap_zalloc(WR_HEAP_CONF, 100);
  assert_non_null(p);
  for (int i = 0; i < 100; i++) assert_int_equal(p[i], 0);
  memset(p, 'x', 100);
  p = wr_heap_realloc(WR_HEAP_CONF, p, 1000);
  assert_non_null(p);
  for (int i = 0; i < 100; i++) assert_int_equal(p[i], 'x');
  assert_int_equal(wr_heap_live_bytes(WR_HEAP_CONF), bytes + 1000);
  assert_int_equal(wr_heap_live_count(WR_HEAP_CONF), count + 1);
  char *s = wr_heap_strndup(WR_HEAP_CONF, "abcdef", 3);
  assert_non_null(s);
  assert_string_equal(s, "abc");
  wr_heap_free(WR_HEAP_CONF, s);
  wr_heap_free(WR_HEAP_CONF, p);
  wr_heap_free(WR_HEAP_CONF, NULL);
  assert_int_equal(wr_heap_live_bytes(WR_HEAP_CONF), bytes);
  assert_int_equal(wr_heap_live_count(WR_HEAP_CONF), count);
  assert_int_equal(wr_heap_calls(), calls + 3);
}

static void fails_on_demand(void **state) {
  (void)state;
  wr_heap_fail_at(3, false);
  void *got[5];
  for (int i = 0; i < 5; i++) got[i] = wr_heap_alloc(WR_HEAP_BASE, 8);
  for (int i = 0; i < 5; i++) {
    assert_int_equal(got[i] == NULL, i == 2);
    wr_heap_free(WR_HEAP_BASE, got[i]);
  }
  wr_heap_fail_at(2, true);
  for (int i = 0; i < 6; i++) {
    void *p = wr_heap_alloc(WR_HEAP_BASE, 8);
    assert_int_equal(p == NULL, i % 2 == 1);
    wr_heap_free(WR_HEAP_BASE, p);
  }
  wr_heap_fail_at(0, false);
}

static void a_failed_realloc_keeps_the_old(void **state) {
  (void)state;
  char *p = wr_heap_alloc(WR_HEAP_BASE, 4);
  assert_non_null(p);
  memcpy(p, "abc", 4);
  wr_heap_fail_at(1, false);
  assert_null(wr_heap_realloc(WR_HEAP_BASE, p, 4096));
  assert_string_equal(p, "abc");
  wr_heap_fail_at(1, false);
  char *q = wr_heap_realloc(WR_HEAP_BASE, p, 2); /* a shrink never fails */
  wr_heap_fail_at(0, false);
  assert_non_null(q);
  wr_heap_free(WR_HEAP_BASE, q);
  volatile size_t huge = SIZE_MAX;
  assert_null(wr_heap_alloc(WR_HEAP_BASE, huge));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(counts_are_exact),
    cmocka_unit_test(fails_on_demand),
    cmocka_unit_test(a_failed_realloc_keeps_the_old),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

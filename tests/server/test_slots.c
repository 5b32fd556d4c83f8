/* Numbers of names: stable while used, free afterwards, shared only when there are too many. */
#include "server/slots.h"

#include <stdio.h>

#include "harness.h"

static void a_name_keeps_its_number(void **state) {
  (void)state;
  struct wr_slots *s;
  uint32_t a, b, again;
  assert_int_equal(wr_slots_new(4, &s), WR_OK);
  assert_int_equal(wr_slots_take(s, "a", &a), WR_OK);
  assert_int_equal(wr_slots_take(s, "b", &b), WR_OK);
  assert_int_not_equal(a, b);
  assert_int_equal(wr_slots_take(s, "a", &again), WR_OK);
  assert_int_equal(a, again);
  wr_slots_give(s, "a", a);
  assert_int_equal(wr_slots_take(s, "a", &again), WR_OK);
  assert_int_equal(a, again);
  assert_int_equal(wr_slots_used(s), 2);
  wr_slots_free(s);
}

static void a_number_is_free_when_its_name_has_gone(void **state) {
  (void)state;
  struct wr_slots *s;
  assert_int_equal(wr_slots_new(8, &s), WR_OK);
  char name[32];
  uint32_t numbers[8];
  for (int round = 0; round < 50; round++) {
    for (int i = 0; i < 8; i++) {
      snprintf(name, sizeof name, "%d-%d", round, i);
      assert_int_equal(wr_slots_take(s, name, &numbers[i]), WR_OK);
      for (int k = 0; k < i; k++) assert_int_not_equal(numbers[k], numbers[i]);
    }
    for (int i = 0; i < 8; i++) {
      snprintf(name, sizeof name, "%d-%d", round, (i * 3) % 8);
      wr_slots_give(s, name, numbers[(i * 3) % 8]);
    }
    assert_int_equal(wr_slots_used(s), 0);
  }
  wr_slots_free(s);
}

static void too_many_names_share(void **state) {
  (void)state;
  struct wr_slots *s;
  uint32_t a, b, c, d;
  assert_int_equal(wr_slots_new(2, &s), WR_OK);
  assert_int_equal(wr_slots_take(s, "a", &a), WR_OK);
  assert_int_equal(wr_slots_take(s, "b", &b), WR_OK);
  assert_int_equal(wr_slots_take(s, "c", &c), WR_OK);
  assert_true(c < 2);
  wr_slots_give(s, "c", c); /* takes nothing away from the name that it shared with */
  assert_int_equal(wr_slots_used(s), 2);
  wr_slots_give(s, "a", a);
  assert_int_equal(wr_slots_take(s, "d", &d), WR_OK);
  assert_int_equal(d, a);
  wr_slots_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_name_keeps_its_number),
    cmocka_unit_test(a_number_is_free_when_its_name_has_gone),
    cmocka_unit_test(too_many_names_share),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

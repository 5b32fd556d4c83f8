#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/rand.h"

/* The vectors of the SipHash paper: key 00..0f, message 00, 01, ... of each length. */
static void siphash_vectors(void **state) {
  (void)state;
  uint8_t key[16], message[16];
  for (uint8_t i = 0; i < 16; i++) key[i] = message[i] = i;
  assert_true(wr_siphash(key, wr_span_make(message, 0)) == UINT64_C(0x726fdb47dd0e0e31));
  assert_true(wr_siphash(key, wr_span_make(message, 1)) == UINT64_C(0x74f839c593dc67fd));
  assert_true(wr_siphash(key, wr_span_make(message, 8)) == UINT64_C(0x93f5f5799a932462));
  assert_true(wr_siphash(key, wr_span_make(message, 15)) == UINT64_C(0xa129ca6149be45e5));
  key[0] ^= 1;
  assert_true(wr_siphash(key, wr_span_make(message, 15)) != UINT64_C(0xa129ca6149be45e5));
}

static void mixer_spreads_every_bit(void **state) {
  (void)state;
  for (unsigned bit = 0; bit < 64; bit++) {
    int flips = 0;
    for (uint64_t x = 1; x <= 64; x++)
      flips += __builtin_popcountll(wr_hash_mix64(x) ^ wr_hash_mix64(x ^ UINT64_C(1) << bit));
    assert_in_range(flips / 64, 24, 40);
  }
}

static void random_numbers(void **state) {
  (void)state;
  struct wr_rand a, b;
  wr_rand_init(&a, 42);
  wr_rand_init(&b, 42);
  for (int i = 0; i < 100; i++) assert_true(wr_rand_u64(&a) == wr_rand_u64(&b));
  unsigned seen[10] = { 0 };
  for (int i = 0; i < 100000; i++) seen[wr_rand_below(&a, 10)]++;
  for (int i = 0; i < 10; i++) assert_in_range(seen[i], 9500, 10500);
  for (int i = 0; i < 10000; i++) {
    assert_in_range(wr_rand_range(&a, 5, 7), 5, 7);
  }
  assert_true(wr_rand_below(&a, 1) == 0);
  assert_true(wr_rand_range(&a, 9, 9) == 9);
  (void)wr_rand_range(&a, 0, UINT64_MAX);
  struct wr_rand c;
  assert_int_equal(wr_rand_init_system(&b), WR_OK);
  assert_int_equal(wr_rand_init_system(&c), WR_OK);
  assert_true(wr_rand_u64(&b) != wr_rand_u64(&c));
}

/* The first numbers of the published generator from the state 1, 2, 3, 4. */
static void the_generator_is_xoshiro(void **state) {
  (void)state;
  struct wr_rand r = { { 1, 2, 3, 4 } };
  assert_true(wr_rand_u64(&r) == 11520);
  assert_true(wr_rand_u64(&r) == 0);
  assert_true(wr_rand_u64(&r) == 1509978240);
  assert_true(wr_rand_u64(&r) == UINT64_C(1215971899390074240));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(siphash_vectors),
    cmocka_unit_test(mixer_spreads_every_bit),
    cmocka_unit_test(random_numbers),
    cmocka_unit_test(the_generator_is_xoshiro),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rand.h"
#include "base/text.h"

static enum wr_err size_of(const char *text, uint64_t *out) {
  return wr_text_size_bytes(wr_span_str(text), out);
}
static enum wr_err time_of(const char *text, uint64_t *out) {
  return wr_text_duration_us(wr_span_str(text), out);
}

static void numbers_are_strict(void **state) {
  (void)state;
  uint64_t v = 7;
  assert_int_equal(wr_text_u64(WR_SPAN("18446744073709551615"), UINT64_MAX, &v), WR_OK);
  assert_true(v == UINT64_MAX);
  assert_int_equal(wr_text_u64(WR_SPAN("007"), 7, &v), WR_OK);
  assert_true(v == 7);
  const char *bad[] = { "", "+1", "-1", " 1", "1 ", "1a", "0x1", "1.0", "99999999999999999999x" };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(wr_text_u64(wr_span_str(bad[i]), UINT64_MAX, &v), WR_E_TEXT_SYNTAX);
  assert_int_equal(wr_text_u64(wr_span_make("1\0", 2), 9, &v), WR_E_TEXT_SYNTAX);
  assert_int_equal(wr_text_u64(WR_SPAN("18446744073709551616"), UINT64_MAX, &v), WR_E_TEXT_RANGE);
  assert_int_equal(wr_text_u64(WR_SPAN("99999999999999999999"), UINT64_MAX, &v), WR_E_TEXT_RANGE);
  assert_int_equal(wr_text_u64(WR_SPAN("8"), 7, &v), WR_E_TEXT_RANGE);
  assert_true(v == 7); /* untouched by errors */
}

static void hex_takes_either_case(void **state) {
  (void)state;
  uint64_t v = 0;
  assert_int_equal(wr_text_hex(WR_SPAN("DeadBeef"), UINT64_MAX, &v), WR_OK);
  assert_true(v == 0xdeadbeef);
  assert_int_equal(wr_text_hex(WR_SPAN("ffffffffffffffff"), UINT64_MAX, &v), WR_OK);
  assert_true(v == UINT64_MAX);
  assert_int_equal(wr_text_hex(WR_SPAN("0ffffffffffffffff"), UINT64_MAX, &v), WR_OK);
  assert_int_equal(wr_text_hex(WR_SPAN("10000000000000000"), UINT64_MAX, &v), WR_E_TEXT_RANGE);
  assert_int_equal(wr_text_hex(WR_SPAN("100"), 0xff, &v), WR_E_TEXT_RANGE);
  assert_int_equal(wr_text_hex(WR_SPAN("g"), 99, &v), WR_E_TEXT_SYNTAX);
  assert_int_equal(wr_text_hex(WR_SPAN(""), 99, &v), WR_E_TEXT_SYNTAX);
  for (int c = 0; c < 256; c++) {
    bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    assert_int_equal(wr_text_hex_digit((char)c) >= 0, digit);
  }
}

static void sizes_need_a_unit(void **state) {
  (void)state;
  static const struct { const char *text; uint64_t bytes; } good[] = {
    { "512B", 512 }, { "64KiB", 65536 }, { "16MiB", 16u << 20 }, { "1GiB", 1u << 30 },
    { "3KB", 3000 }, { "2MB", 2000000 }, { "1GB", 1000000000 }, { "0B", 0 },
    { "17179869183GiB", UINT64_C(17179869183) << 30 },
  };
  uint64_t v;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    assert_int_equal(size_of(good[i].text, &v), WR_OK);
    assert_true(v == good[i].bytes);
  }
  assert_int_equal(size_of("64", &v), WR_E_TEXT_UNIT);
  assert_int_equal(size_of("64kib", &v), WR_E_TEXT_UNIT);
  assert_int_equal(size_of("64 KiB", &v), WR_E_TEXT_UNIT);
  assert_int_equal(size_of("64KiBx", &v), WR_E_TEXT_UNIT);
  assert_int_equal(size_of("1.5MiB", &v), WR_E_TEXT_UNIT);
  assert_int_equal(size_of("KiB", &v), WR_E_TEXT_SYNTAX);
  assert_int_equal(size_of("-1KiB", &v), WR_E_TEXT_SYNTAX);
  assert_int_equal(size_of("", &v), WR_E_TEXT_SYNTAX);
  assert_int_equal(size_of("17179869184GiB", &v), WR_E_TEXT_RANGE);
}

static void durations_need_a_unit(void **state) {
  (void)state;
  static const struct { const char *text; uint64_t us; } good[] = {
    { "500us", 500 }, { "15ms", 15000 }, { "30s", 30000000 }, { "5m", 300000000 },
    { "10m", 600000000 }, { "1h", UINT64_C(3600000000) }, { "2d", UINT64_C(172800000000) },
  };
  uint64_t v;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    assert_int_equal(time_of(good[i].text, &v), WR_OK);
    assert_true(v == good[i].us);
  }
  assert_int_equal(time_of("30", &v), WR_E_TEXT_UNIT);
  assert_int_equal(time_of("30sec", &v), WR_E_TEXT_UNIT);
  assert_int_equal(time_of("30S", &v), WR_E_TEXT_UNIT);
  assert_int_equal(time_of("s", &v), WR_E_TEXT_SYNTAX);
  assert_int_equal(time_of("213503983d", &v), WR_E_TEXT_RANGE);
}

static void what_is_written_is_read_back(void **state) {
  (void)state;
  struct wr_rand r;
  wr_rand_init(&r, 1);
  for (int i = 0; i < 4000; i++) {
    uint64_t value = wr_rand_u64(&r) >> wr_rand_below(&r, 64);
    if (i & 1) value &= ~UINT64_C(0) << wr_rand_below(&r, 40);
    if (i & 2) value = value / 1000000 * 1000000;
    char text[WR_TEXT_UNIT_MAX_BYTES];
    struct wr_buf buf;
    uint64_t back = ~value;
    wr_buf_init(&buf, text, sizeof text);
    wr_text_put_size(&buf, value);
    assert_int_equal(wr_text_size_bytes(wr_buf_span(&buf), &back), WR_OK);
    assert_true(back == value && !buf.overflow);
    back = ~value;
    wr_buf_init(&buf, text, sizeof text);
    wr_text_put_duration(&buf, value);
    assert_int_equal(wr_text_duration_us(wr_buf_span(&buf), &back), WR_OK);
    assert_true(back == value && !buf.overflow);
  }
}

static void units_are_the_largest_exact_ones(void **state) {
  (void)state;
  char text[64];
  struct wr_buf buf;
  wr_buf_init(&buf, text, sizeof text);
  wr_text_put_size(&buf, 65536);
  wr_buf_char(&buf, ' ');
  wr_text_put_size(&buf, 65537);
  wr_buf_char(&buf, ' ');
  wr_text_put_size(&buf, 0);
  wr_buf_char(&buf, ' ');
  wr_text_put_duration(&buf, 1500000);
  wr_buf_char(&buf, ' ');
  wr_text_put_duration(&buf, UINT64_C(172800000000));
  wr_buf_char(&buf, ' ');
  wr_text_put_duration(&buf, 0);
  assert_true(wr_span_eq(wr_buf_span(&buf), WR_SPAN("64KiB 65537B 0B 1500ms 2d 0s")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(numbers_are_strict),
    cmocka_unit_test(hex_takes_either_case),
    cmocka_unit_test(sizes_need_a_unit),
    cmocka_unit_test(durations_need_a_unit),
    cmocka_unit_test(what_is_written_is_read_back),
    cmocka_unit_test(units_are_the_largest_exact_ones),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

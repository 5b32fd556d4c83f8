#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"

static void is(const struct wr_buf *buf, const char *want) {
  if (!wr_span_eq(wr_buf_span(buf), wr_span_str(want)))
    fail_msg("got \"%.*s\", want \"%s\"", (int)buf->len, buf->ptr, want);
}

static void numbers_and_text(void **state) {
  (void)state;
  char store[128];
  struct wr_buf buf;
  wr_buf_init(&buf, store, sizeof store);
  wr_buf_u64(&buf, 0);
  wr_buf_char(&buf, ' ');
  wr_buf_u64(&buf, UINT64_MAX);
  wr_buf_char(&buf, ' ');
  wr_buf_hex(&buf, 0, 0);
  wr_buf_hex(&buf, 0xabc, 5);
  wr_buf_hex(&buf, UINT64_MAX, 16);
  wr_buf_printf(&buf, " %d-%s", -3, "x");
  is(&buf, "0 18446744073709551615 000abcffffffffffffffff -3-x");
  assert_false(buf.overflow);
}

/* Each writer, at each capacity: never a byte past cap, all or nothing. */
static void put_all(struct wr_buf *buf, int which) {
  if (which == 0) wr_buf_put(buf, WR_SPAN("abcdef"));
  if (which == 1) wr_buf_u64(buf, 123456);
  if (which == 2) wr_buf_hex(buf, 0x12, 6);
  if (which == 3) wr_buf_printf(buf, "%06d", 42);
  if (which == 4) wr_buf_json_string(buf, WR_SPAN("\n\n"));
  if (which == 5) wr_buf_json_text(buf, WR_SPAN("\x01"));
}

static void overflow_writes_nothing_past_cap(void **state) {
  (void)state;
  for (int which = 0; which < 6; which++) {
    for (size_t cap = 0; cap <= 9; cap++) {
      char store[16];
      memset(store, '#', sizeof store);
      struct wr_buf buf;
      wr_buf_init(&buf, store, cap);
      wr_buf_char(&buf, '<');
      put_all(&buf, which);
      size_t need = which == 3 ? 8 : 7; /* printf needs room for its NUL */
      if (cap >= need) {
        assert_false(buf.overflow);
        assert_int_equal(buf.len, 7);
      } else {
        assert_true(buf.overflow);
        assert_int_equal(buf.len, cap ? 1 : 0);
        wr_buf_char(&buf, '>'); /* no hole: nothing is written after an overflow */
        assert_int_equal(buf.len, cap ? 1 : 0);
        assert_int_equal(wr_buf_room(&buf), 0);
      }
      for (size_t i = cap; i < sizeof store; i++) assert_int_equal(store[i], '#');
    }
  }
}

static void json(struct wr_span in, const char *want) {
  char store[256];
  struct wr_buf buf;
  wr_buf_init(&buf, store, sizeof store);
  wr_buf_json_string(&buf, in);
  is(&buf, want);
}

static void json_strings(void **state) {
  (void)state;
  json(WR_SPAN(""), "\"\"");
  json(wr_span_make(NULL, 0), "\"\"");
  json(WR_SPAN("a\"b\\c/"), "\"a\\\"b\\\\c/\"");
  json(WR_SPAN("\b\f\n\r\t\v\0\x1f\x7f"), "\"\\b\\f\\n\\r\\t\\u000b\\u0000\\u001f\x7f\"");
  json(WR_SPAN("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
       "\"h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
  json(WR_SPAN("\x80x"), "\"\\ufffdx\"");                     /* a lone tail */
  json(WR_SPAN("\xc0\xaf"), "\"\\ufffd\\ufffd\"");            /* overlong */
  json(WR_SPAN("\xe0\x9f\xbf"), "\"\\ufffd\\ufffd\\ufffd\""); /* overlong */
  json(WR_SPAN("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\""); /* a surrogate */
  json(WR_SPAN("\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
  json(WR_SPAN("\xf0\x8f\xbf\xbf"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
  json(WR_SPAN("\xff\xfe"), "\"\\ufffd\\ufffd\"");
  json(WR_SPAN("\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80"),
       "\"\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80\"");
}

/* Each prefix of a sequence is invalid; nothing behind the span is looked at. */
static void json_cut_sequences(void **state) {
  (void)state;
  static const char face[] = "\xf0\x9f\x98\x80";
  json(wr_span_make(face, 1), "\"\\ufffd\"");
  json(wr_span_make(face, 2), "\"\\ufffd\\ufffd\"");
  json(wr_span_make(face, 3), "\"\\ufffd\\ufffd\\ufffd\"");
  json(wr_span_make(face, 4), "\"\xf0\x9f\x98\x80\"");
  json(wr_span_make("\xc3\xa9", 1), "\"\\ufffd\"");
  json(wr_span_make("\xe2\x82\xac", 2), "\"\\ufffd\\ufffd\"");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(numbers_and_text),
    cmocka_unit_test(overflow_writes_nothing_past_cap),
    cmocka_unit_test(json_strings),
    cmocka_unit_test(json_cut_sequences),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

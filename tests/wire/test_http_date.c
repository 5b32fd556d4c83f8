#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "wire/http_date.h"

static void expect(const char *text, uint64_t want) {
  uint64_t got = UINT64_MAX;
  assert_int_equal(wr_http_date_s(wr_span_str(text), &got), WR_OK);
  assert_int_equal(got, want);
}

static void refuse(const char *text) {
  uint64_t got = 7;
  assert_int_equal(wr_http_date_s(wr_span_str(text), &got), WR_E_TEXT_SYNTAX);
  assert_int_equal(got, 7);
}

static void known_dates(void **state) {
  (void)state;
  expect("Sun, 06 Nov 1994 08:49:37 GMT", 784111777);
  expect("Thu, 01 Jan 1970 00:00:00 GMT", 0);
  expect("Tue, 29 Feb 2000 23:59:59 GMT", 951868799);
  expect("Fri, 31 Dec 9999 23:59:59 GMT", UINT64_C(253402300799));
}

/* Every day from 1970 to 2110, as the C library writes it. */
static void every_day(void **state) {
  (void)state;
  for (time_t day = 0; day < 51000; day++) {
    time_t at = day * 86400 + day % 86400;
    struct tm tm;
    char text[64];
    assert_non_null(gmtime_r(&at, &tm));
    assert_int_equal(strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm), 29);
    expect(text, (uint64_t)at);
  }
}

static void what_is_no_date(void **state) {
  (void)state;
  refuse("");
  refuse("120");
  refuse("Sunday, 06-Nov-94 08:49:37 GMT");
  refuse("Sun Nov  6 08:49:37 1994");
  refuse("Sun, 06 Nov 1994 08:49:37 UTC");
  refuse("Sun, 06 Nov 1994 08:49:37 GMT ");
  refuse("Sun, 00 Nov 1994 08:49:37 GMT");
  refuse("Sun, 31 Nov 1994 08:49:37 GMT");
  refuse("Wed, 29 Feb 1995 08:49:37 GMT");
  refuse("Thu, 29 Feb 1900 08:49:37 GMT");
  refuse("Sun, 06 nov 1994 08:49:37 GMT");
  refuse("Sun, 06 Nov 1969 08:49:37 GMT");
  refuse("Sun, 06 Nov 1994 24:49:37 GMT");
  refuse("Sun, 06 Nov 1994 08:60:37 GMT");
  refuse("Sun, 06 Nov 1994 08:49:61 GMT");
  refuse("Sun, 06 Nov -994 08:49:37 GMT");
  refuse("Sun, +6 Nov 1994 08:49:37 GMT");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(known_dates),
    cmocka_unit_test(every_day),
    cmocka_unit_test(what_is_no_date),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

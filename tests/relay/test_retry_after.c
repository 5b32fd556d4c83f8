#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "relay/retry.h"
#include "wire/http1_parse.h"

/* Seconds, a fraction of them, milliseconds, a date by the clock of who wrote it. */
static void retry_after_in_every_form(void **state) {
  (void)state;
  static const struct { const char *fields; int64_t want_ms; } rows[] = {
    { "", -1 },
    { "retry-after: 3\r\n", 3000 },
    { "retry-after: 0\r\n", 0 },
    { "retry-after: 1.5\r\n", 1500 },
    { "retry-after: 1.50049\r\n", 1500 },
    { "retry-after: 1.x\r\n", -1 },
    { "retry-after: 1.\r\n", -1 },
    { "retry-after: .5\r\n", -1 },
    { "retry-after: -3\r\n", -1 },
    { "retry-after: soon\r\n", -1 },
    { "retry-after: 99999999999999999999.5\r\n", 86400000 },
    { "retry-after-ms: 250\r\nretry-after: 1\r\n", 250 },
    { "retry-after-ms: 0.5\r\n", 0 },
    { "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:50:07 GMT\r\n",
      30000 },
    { "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:49:30 GMT\r\n",
      0 },
    { "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n",
      86400000 },
    { "retry-after: Sun, 06 Nov 1994 08:50:07 GMT\r\n", 0 }, /* by this machine's clock */
    { "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", 86400000 },
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    static struct wr_head h;
    char text[256];
    int n = snprintf(text, sizeof text, "HTTP/1.1 429 Busy\r\n%scontent-length: 0\r\n\r\n",
                     rows[i].fields);
    assert_in_range(n, 1, sizeof text - 1);
    assert_int_equal(wr_http1_parse_response(wr_span_str(text), WR_METHOD_POST, NULL, &h), WR_OK);
    if (wr_retry_after_ms(&h, text) != rows[i].want_ms)
      fail_msg("%s: %lld", rows[i].fields, (long long)wr_retry_after_ms(&h, text));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(retry_after_in_every_form) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The access line: each field, what is left out, and that nothing from outside can break it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "obs/access.h"

static char bytes[WR_LOG_LINE_MAX_BYTES];

static const char *format(enum wr_log_style style, const struct wr_record *r) {
  struct wr_buf buf;
  wr_buf_init(&buf, bytes, sizeof bytes - 1);
  wr_access_format(&buf, style, r);
  assert_false(buf.overflow);
  bytes[buf.len] = '\0';
  return bytes;
}

static struct wr_record full(void) {
  struct wr_record r = { .kind = WR_RECORD_REQUEST, .streamed = true, .reused = true, .status = 200,
    .upstream_status = 200, .attempts = 2, .id = 77, .started_unix_us = UINT64_C(1709210096000007),
    .duration_us = 1234567, .first_byte_us = 1001, .first_token_us = 20050, .events = 12,
    .bytes_in = 34, .bytes_out = 567, .copied_bytes = 8, .input_tokens = 9, .output_tokens = 10,
    .cached_tokens = 0, .reasoning_tokens = -1 };
  r.client = WR_SPAN("10.1.2.3:4567");
  r.method = WR_SPAN("POST");
  r.path = WR_SPAN("/v1/chat/completions");
  r.route = WR_SPAN("chat");
  r.key = WR_SPAN("team a");
  r.model = WR_SPAN("gpt-x");
  r.upstream = WR_SPAN("openai");
  r.peer = WR_SPAN("api:443");
  r.outcome = WR_SPAN("complete");
  return r;
}

static void json(void **state) {
  (void)state;
  struct wr_record r = full();
  assert_string_equal(
      format(WR_LOG_STYLE_JSON, &r),
      "{\"ts\":\"2024-02-29T12:34:56.000007Z\",\"id\":77,\"client\":\"10.1.2.3:4567\","
      "\"method\":\"POST\",\"path\":\"/v1/chat/completions\",\"route\":\"chat\",\"key\":\"team a\","
      "\"model\":\"gpt-x\",\"upstream\":\"openai\",\"peer\":\"api:443\",\"status\":200,"
      "\"upstream_status\":200,\"outcome\":\"complete\",\"stream\":true,\"ttfb_ms\":1.001,"
      "\"ttft_ms\":20.050,\"duration_ms\":1234.567,\"events\":12,\"bytes_in\":34,"
      "\"bytes_out\":567,\"copied_bytes\":8,\"attempts\":2,\"reused\":true,"
      "\"usage\":{\"input\":9,\"output\":10,\"cached\":0}}");
}

static void logfmt(void **state) {
  (void)state;
  struct wr_record r = full();
  r.err = WR_E_TRUNCATED;
  r.why = WR_SPAN("eof \"early\"");
  assert_string_equal(
      format(WR_LOG_STYLE_LOGFMT, &r),
      "ts=2024-02-29T12:34:56.000007Z id=77 client=10.1.2.3:4567 method=POST "
      "path=/v1/chat/completions route=chat key=\"team a\" model=gpt-x upstream=openai "
      "peer=api:443 status=200 upstream_status=200 outcome=complete error=truncated "
      "why=\"eof \\\"early\\\"\" stream=true ttfb_ms=1.001 ttft_ms=20.050 duration_ms=1234.567 "
      "events=12 bytes_in=34 bytes_out=567 copied_bytes=8 attempts=2 reused=true usage.input=9 "
      "usage.output=10 usage.cached=0");
}

static void what_is_unknown_is_left_out(void **state) {
  (void)state;
  struct wr_record r = { .kind = WR_RECORD_REQUEST, .first_byte_us = -1, .first_token_us = -1,
    .input_tokens = -1, .output_tokens = -1, .cached_tokens = -1, .reasoning_tokens = -1,
    .err = WR_E_HEAD_TIMEOUT, .status = 408 };
  assert_string_equal(
      format(WR_LOG_STYLE_JSON, &r),
      "{\"ts\":\"1970-01-01T00:00:00.000000Z\",\"id\":0,\"status\":408,\"error\":\"head_timeout\","
      "\"stream\":false,\"duration_ms\":0.000,\"events\":0,\"bytes_in\":0,\"bytes_out\":0,"
      "\"copied_bytes\":0,\"attempts\":0,\"reused\":false}");
}

static void connection(void **state) {
  (void)state;
  struct wr_record r = { .kind = WR_RECORD_CONNECTION, .err = WR_E_TLS, .duration_us = 5 };
  r.client = WR_SPAN("[::1]:9");
  assert_string_equal(format(WR_LOG_STYLE_LOGFMT, &r),
                      "ts=1970-01-01T00:00:00.000000Z kind=connection client=[::1]:9 error=tls "
                      "duration_ms=0.005");
}

static void hostile_texts(void **state) {
  (void)state;
  struct wr_record r = full();
  r.path = WR_SPAN("/x\n\"y\"\xff=\x7f?key=SECRET");
  r.model = WR_SPAN("a=b");
  const char *line = format(WR_LOG_STYLE_JSON, &r);
  assert_non_null(strstr(line, "\"path\":\"/x\\n\\\"y\\\"\\ufffd=\x7f\","));
  assert_null(strstr(line, "SECRET"));
  line = format(WR_LOG_STYLE_LOGFMT, &r);
  assert_non_null(strstr(line, " path=\"/x\\n\\\"y\\\"\\ufffd=\x7f\" "));
  assert_non_null(strstr(line, " model=\"a=b\" "));
  assert_null(strchr(line, '\n'));
}

static void long_texts_are_cut(void **state) {
  (void)state;
  static char plain[20000], control[20000];
  memset(plain, 'p', sizeof plain);
  memset(control, 2, sizeof control);
  struct wr_record r = full();
  r.path = wr_span_make(plain, sizeof plain);
  const char *line = format(WR_LOG_STYLE_JSON, &r);
  assert_int_equal(strspn(strstr(line, "ppp"), "p"), 1024);
  r.path = r.route = r.model = r.key = wr_span_make(plain, sizeof plain);
  line = format(WR_LOG_STYLE_JSON, &r);
  assert_int_equal(strspn(strstr(line, "ppp"), "p"), 96);
  r.path = r.route = r.model = r.key = r.why = r.upstream = r.peer = r.client = r.method =
      r.outcome = wr_span_make(control, sizeof control);
  line = format(WR_LOG_STYLE_JSON, &r);
  assert_true(strlen(line) < WR_LOG_LINE_MAX_BYTES);
  assert_int_equal(line[strlen(line) - 1], '}');
  /* A cut never leaves half a character. */
  for (size_t i = 0; i + 1 < sizeof plain; i += 2) memcpy(plain + i, "\xc3\xa9", 2);
  plain[0] = 'p';
  struct wr_record s = full();
  s.path = wr_span_make(plain + 1, sizeof plain - 2); /* begins with a tail byte */
  line = format(WR_LOG_STYLE_JSON, &s);
  assert_non_null(strstr(line, "\"path\":\"\\ufffd\xc3\xa9"));
  assert_null(strstr(strstr(line, "\\ufffd") + 1, "\\ufffd"));
}

static void dates(void **state) {
  (void)state;
  static const struct { uint64_t s; const char *date; } known[] = {
    { 951782400, "2000-02-29T00:00:00" }, { 951868799, "2000-02-29T23:59:59" },
    { 951868800, "2000-03-01T00:00:00" }, { 1767225599, "2025-12-31T23:59:59" },
    { 1767225600, "2026-01-01T00:00:00" }, { 4107542400, "2100-03-01T00:00:00" },
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    struct wr_record r = { .kind = WR_RECORD_CONNECTION, .started_unix_us = known[i].s * 1000000 };
    assert_memory_equal(format(WR_LOG_STYLE_LOGFMT, &r) + 3, known[i].date, 19);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(json),          cmocka_unit_test(logfmt),
    cmocka_unit_test(connection),    cmocka_unit_test(what_is_unknown_is_left_out),
    cmocka_unit_test(hostile_texts), cmocka_unit_test(long_texts_are_cut),
    cmocka_unit_test(dates),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

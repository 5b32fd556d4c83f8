#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "wire/http1_body.h"
#include "wire/http1_parse.h"
#include "wire/http1_write.h"

static char storage[4096];
static struct wr_buf out;

static void fresh(void) { wr_buf_init(&out, storage, sizeof storage); }

static void assert_written(const char *text) {
  assert_false(out.overflow);
  assert_int_equal(out.len, strlen(text));
  assert_memory_equal(storage, text, out.len);
}

static void heads_are_written(void **state) {
  (void)state;
  fresh();
  assert_int_equal(wr_http1_put_status(&out, 200, WR_SPAN("")), WR_OK);
  assert_int_equal(wr_http1_put_field(&out, WR_SPAN("X-A"), WR_SPAN(" \tb c\t ")), WR_OK);
  assert_int_equal(wr_http1_put_field(&out, WR_SPAN("Empty"), WR_SPAN("")), WR_OK);
  assert_int_equal(wr_http1_put_field_u64(&out, WR_SPAN("Content-Length"), UINT64_MAX), WR_OK);
  assert_int_equal(wr_http1_put_field_u64(&out, WR_SPAN("Zero"), 0), WR_OK);
  assert_int_equal(wr_http1_put_end(&out), WR_OK);
  assert_written("HTTP/1.1 200 OK\r\nX-A: b c\r\nEmpty: \r\n"
                 "Content-Length: 18446744073709551615\r\nZero: 0\r\n\r\n");
  fresh();
  assert_int_equal(wr_http1_put_status(&out, 599, WR_SPAN("Own Reason")), WR_OK);
  assert_int_equal(wr_http1_put_status(&out, 598, WR_SPAN("")), WR_OK);
  assert_int_equal(wr_http1_put_request(&out, WR_SPAN("POST"), WR_SPAN("/v1/x?y")), WR_OK);
  assert_written("HTTP/1.1 599 Own Reason\r\nHTTP/1.1 598 Unknown\r\nPOST /v1/x?y HTTP/1.1\r\n");
}

/* Each control byte, in each place, is refused, and nothing of the line is written. */
static void no_line_can_be_injected(void **state) {
  (void)state;
  for (int c = 0; c < 256; c++) {
    char text[3] = { 'a', (char)c, 'b' };
    struct wr_span s = wr_span_make(text, 3);
    bool control = (c < 0x20 && c != '\t') || c == 0x7f;
    fresh();
    assert_int_equal(wr_http1_put_field(&out, WR_SPAN("X"), s), control ? WR_E_ARG : WR_OK);
    if (control) assert_int_equal(out.len, 0);
    fresh();
    assert_int_equal(wr_http1_put_status(&out, 200, s), control ? WR_E_ARG : WR_OK);
    fresh();
    bool token = c && (c < 0x80) &&
                 ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                  strchr("!#$%&'*+-.^_`|~", c));
    assert_int_equal(wr_http1_put_field(&out, s, WR_SPAN("v")), token ? WR_OK : WR_E_ARG);
    if (!token) assert_int_equal(out.len, 0);
    assert_int_equal(wr_http1_put_request(&out, s, WR_SPAN("/")), token ? WR_OK : WR_E_ARG);
    fresh();
    bool visible = c > 0x20 && c < 0x7f;
    assert_int_equal(wr_http1_put_request(&out, WR_SPAN("GET"), s), visible ? WR_OK : WR_E_ARG);
  }
  fresh();
  assert_int_equal(wr_http1_put_field(&out, WR_SPAN(""), WR_SPAN("v")), WR_E_ARG);
  assert_int_equal(wr_http1_put_request(&out, WR_SPAN(""), WR_SPAN("/")), WR_E_ARG);
  assert_int_equal(wr_http1_put_request(&out, WR_SPAN("GET"), WR_SPAN("")), WR_E_ARG);
  assert_int_equal(wr_http1_put_status(&out, 99, WR_SPAN("")), WR_E_ARG);
  assert_int_equal(wr_http1_put_status(&out, 600, WR_SPAN("")), WR_E_ARG);
  assert_int_equal(out.len, 0);
}

static enum wr_err write_all(void) {
  enum wr_err err = wr_http1_put_request(&out, WR_SPAN("GET"), WR_SPAN("/x"));
  if (!err) err = wr_http1_put_field(&out, WR_SPAN("Host"), WR_SPAN("a"));
  return err ? err : wr_http1_put_end(&out);
}

static void a_full_buffer_holds_whole_lines(void **state) {
  (void)state;
  fresh();
  assert_int_equal(write_all(), WR_OK);
  size_t total = out.len;
  for (size_t cap = 0; cap < total; cap++) {
    wr_buf_init(&out, storage, cap);
    assert_int_equal(write_all(), WR_E_AGAIN);
    assert_true(out.overflow);
    assert_true(out.len == 0 || (storage[out.len - 2] == '\r' && storage[out.len - 1] == '\n'));
  }
  wr_buf_init(&out, storage, total);
  assert_int_equal(write_all(), WR_OK);
}

static void what_is_written_parses(void **state) {
  (void)state;
  static struct wr_head h;
  for (unsigned status = 100; status < 600; status++) {
    if (status == 101) continue;
    fresh();
    assert_int_equal(wr_http1_put_status(&out, status, WR_SPAN("")), WR_OK);
    assert_int_equal(wr_http1_put_end(&out), WR_OK);
    assert_int_equal(wr_http1_parse_response(wr_buf_span(&out), WR_METHOD_GET, NULL, &h), WR_OK);
    assert_int_equal(h.status, status);
    assert_true(wr_span_eq(wr_span_at(storage, h.reason), wr_http1_reason(status)));
  }
  fresh();
  assert_int_equal(write_all(), WR_OK);
  assert_int_equal(wr_http1_parse_request(wr_buf_span(&out), NULL, &h), WR_OK);
}

static void chunk_heads_are_right(void **state) {
  (void)state;
  char head[WR_HTTP1_CHUNK_HEAD_BYTES + 1], want[32];
  for (unsigned bit = 0; bit < 40; bit++) {
    for (int delta = -1; delta <= 1; delta++) {
      size_t len = ((size_t)1 << bit) + (size_t)delta;
      if (len == 0) continue;
      head[WR_HTTP1_CHUNK_HEAD_BYTES] = '!';
      size_t n = wr_http1_chunk_head(head, len);
      assert_int_equal(n, snprintf(want, sizeof want, "%zx\r\n", len));
      assert_memory_equal(head, want, n);
      assert_int_equal(head[WR_HTTP1_CHUNK_HEAD_BYTES], '!');
    }
  }
  struct wr_http1_body body;
  struct wr_span data;
  size_t consumed;
  wr_http1_body_init(&body, WR_FRAMING_CHUNKED, 0);
  assert_int_equal(wr_http1_body_next(&body, WR_HTTP1_LAST_CHUNK, &consumed, &data), WR_E_END);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(heads_are_written),
    cmocka_unit_test(no_line_can_be_injected),
    cmocka_unit_test(a_full_buffer_holds_whole_lines),
    cmocka_unit_test(what_is_written_parses),
    cmocka_unit_test(chunk_heads_are_right),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

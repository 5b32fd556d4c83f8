#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire/http1_body.h"

struct outcome {
  enum wr_err err; /* WR_E_END, WR_E_AGAIN or what is wrong */
  size_t consumed;
  size_t len;
  char bytes[70000];
};

static struct outcome whole, split;

/* Feeds the bytes cut at two offsets; a decoder's data must lie inside what it was fed. */
static void decode(enum wr_framing framing, uint64_t length, struct wr_span in, size_t cut_a,
                   size_t cut_b, struct outcome *out) {
  struct wr_http1_body body;
  size_t ends[3] = { cut_a, cut_b, in.len };
  wr_http1_body_init(&body, framing, length);
  out->consumed = out->len = 0;
  out->err = WR_E_AGAIN;
  for (int i = 0; i < 3 && out->err == WR_E_AGAIN; i++) {
    do {
      struct wr_span data, rest = wr_span_sub(in, out->consumed, ends[i] - out->consumed);
      size_t consumed;
      out->err = wr_http1_body_next(&body, rest, &consumed, &data);
      assert_true(consumed <= rest.len);
      if (out->err == WR_OK) assert_true(consumed > 0);
      if (data.len > 0) {
        assert_true(data.ptr >= rest.ptr && data.ptr + data.len <= rest.ptr + consumed);
        memcpy(out->bytes + out->len, data.ptr, data.len);
        out->len += data.len;
      }
      out->consumed += consumed;
    } while (out->err == WR_OK);
    if (out->err == WR_E_AGAIN) assert_int_equal(out->consumed, ends[i]);
  }
  assert_int_equal(wr_http1_body_ended(&body), out->err == WR_E_END);
  assert_int_equal(body.total, out->len);
}

static void check(enum wr_framing framing, uint64_t length, struct wr_span in, enum wr_err verdict,
                  const char *data) {
  decode(framing, length, in, in.len, in.len, &whole);
  if (whole.err != verdict) fail_msg("%.*s: %s", (int)in.len, in.ptr, wr_err_label(whole.err));
  if (data) assert_true(wr_span_eq(wr_span_make(whole.bytes, whole.len), wr_span_str(data)));
  for (size_t i = 0; i <= in.len; i++) {
    for (size_t j = i; j <= in.len; j += in.len > 200 ? 97 : 1) {
      decode(framing, length, in, i, j, &split);
      if (split.err != whole.err || split.len != whole.len || split.consumed != whole.consumed ||
          memcmp(split.bytes, whole.bytes, whole.len) != 0)
        fail_msg("%.*s differs when cut at %zu and %zu", (int)in.len, in.ptr, i, j);
    }
  }
}

static void chunks_are_joined(void **state) {
  (void)state;
#define CH(text, verdict, data) check(WR_FRAMING_CHUNKED, 0, WR_SPAN(text), verdict, data)
  CH("0\r\n\r\n", WR_E_END, "");
  CH("5\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n", WR_E_END, "hello 0123456789");
  CH("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n", WR_E_END, "hello");
  assert_int_equal(whole.consumed, 15);
  CH("2;x\r\nhi\r\n0;a=\"b;c\";d\r\nX: y\r\nZ:\r\n\r\nrest", WR_E_END, "hi");
  CH("2\r\nhi\r\n", WR_E_AGAIN, "hi");
  CH("7fffffffffffffff\r\nhi", WR_E_AGAIN, "hi");
  CH("", WR_E_AGAIN, "");
}

static void broken_chunks_are_refused(void **state) {
  (void)state;
  CH("2\r\nhix", WR_E_HTTP_CHUNK, "hi");
  CH("2\r\nhi\n0\r\n\r\n", WR_E_HTTP_CHUNK, "hi");
  CH("2\nhi\r\n", WR_E_HTTP_CHUNK, "");
  CH(";x\r\n", WR_E_HTTP_CHUNK, "");
  CH("8000000000000000\r\n", WR_E_HTTP_CHUNK, "");
  CH("00000000000000000\r\n", WR_E_HTTP_CHUNK, "");
  CH("1\r\nx\r\n10000000000000000\r\n", WR_E_HTTP_CHUNK, "x");
  CH("0\r\nContent-Length: 1\r\n\r\n", WR_E_HTTP_FRAMING, "");
  CH("0\r\ntransfer_encoding:\r\n\r\n", WR_E_HTTP_FRAMING, "");
  CH("0\r\nhOST: a\r\n\r\n", WR_E_HTTP_FRAMING, "");
  CH("0\r\nHost : a\r\n\r\n", WR_E_HTTP_CHUNK, "");
  CH("0\r\n folded\r\n\r\n", WR_E_HTTP_CHUNK, "");
  CH("0\r\nX: \x7f\r\n\r\n", WR_E_HTTP_CHUNK, "");
}

static void an_error_stays(void **state) {
  (void)state;
  struct wr_http1_body body;
  struct wr_span data;
  size_t consumed;
  wr_http1_body_init(&body, WR_FRAMING_CHUNKED, 0);
  assert_int_equal(wr_http1_body_next(&body, WR_SPAN("x"), &consumed, &data), WR_E_HTTP_CHUNK);
  assert_int_equal(wr_http1_body_next(&body, WR_SPAN("0\r\n\r\n"), &consumed, &data),
                   WR_E_HTTP_CHUNK);
  assert_int_equal(consumed, 0);
  assert_int_equal(wr_http1_body_eof(&body), WR_E_UPSTREAM_FRAMING);
}

/* The limits count over a body, however it is cut and however its chunks share the bytes. */
static void extensions_and_trailers_are_bounded(void **state) {
  (void)state;
  static char in[20000];
  for (unsigned total = 255; total <= 257; total++) {
    size_t n = 0;
    for (unsigned left = total; left > 0;) {
      unsigned part = left > 100 ? 100 : left;
      n += (size_t)snprintf(in + n, sizeof in - n, "1;%0*d\r\nx\r\n", (int)part, 0);
      left -= part;
    }
    n += (size_t)snprintf(in + n, sizeof in - n, "0\r\n\r\n");
    check(WR_FRAMING_CHUNKED, 0, wr_span_make(in, n), total <= 256 ? WR_E_END : WR_E_HTTP_CHUNK,
          NULL);
  }
  for (int total = 8191; total <= 8193; total++) {
    int n = snprintf(in, sizeof in, "0\r\nX:%0*d\r\n\r\n", total - 6, 0);
    decode(WR_FRAMING_CHUNKED, 0, wr_span_make(in, (size_t)n), 1, 9, &whole);
    assert_int_equal(whole.err, total <= 8192 ? WR_E_END : WR_E_HTTP_CHUNK);
  }
  int n = snprintf(in, sizeof in, "0\r\n%0*d:x\r\n\r\n", 1000, 0);
  check(WR_FRAMING_CHUNKED, 0, wr_span_make(in, (size_t)n), WR_E_END, "");
}

static void lengths_are_counted(void **state) {
  (void)state;
  check(WR_FRAMING_LENGTH, 5, WR_SPAN("hello and more"), WR_E_END, "hello");
  assert_int_equal(whole.consumed, 5);
  check(WR_FRAMING_LENGTH, 5, WR_SPAN("hell"), WR_E_AGAIN, "hell");
  check(WR_FRAMING_LENGTH, 0, WR_SPAN("next"), WR_E_END, "");
  check(WR_FRAMING_NONE, 0, WR_SPAN("next"), WR_E_END, "");
  assert_int_equal(whole.consumed, 0);
  check(WR_FRAMING_UNTIL_CLOSE, 0, WR_SPAN("all of it"), WR_E_AGAIN, "all of it");
}

static enum wr_err eof_after(enum wr_framing framing, uint64_t length, struct wr_span in) {
  struct wr_http1_body body;
  enum wr_err err;
  wr_http1_body_init(&body, framing, length);
  do {
    size_t consumed;
    struct wr_span data;
    err = wr_http1_body_next(&body, in, &consumed, &data);
    in = wr_span_sub(in, consumed, in.len - consumed);
  } while (err == WR_OK);
  return wr_http1_body_eof(&body);
}

static void end_of_connection_is_judged(void **state) {
  (void)state;
  assert_int_equal(eof_after(WR_FRAMING_UNTIL_CLOSE, 0, WR_SPAN("x")), WR_OK);
  assert_int_equal(eof_after(WR_FRAMING_UNTIL_CLOSE, 0, WR_SPAN("")), WR_OK);
  assert_int_equal(eof_after(WR_FRAMING_NONE, 0, WR_SPAN("")), WR_OK);
  assert_int_equal(eof_after(WR_FRAMING_LENGTH, 1, WR_SPAN("x")), WR_OK);
  assert_int_equal(eof_after(WR_FRAMING_LENGTH, 2, WR_SPAN("x")), WR_E_UPSTREAM_FRAMING);
  assert_int_equal(eof_after(WR_FRAMING_CHUNKED, 0, WR_SPAN("1\r\nx\r\n")), WR_E_UPSTREAM_FRAMING);
  assert_int_equal(eof_after(WR_FRAMING_CHUNKED, 0, WR_SPAN("0\r\n")), WR_E_UPSTREAM_FRAMING);
  assert_int_equal(eof_after(WR_FRAMING_CHUNKED, 0, WR_SPAN("0\r\n\r\n")), WR_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(chunks_are_joined),
    cmocka_unit_test(broken_chunks_are_refused),
    cmocka_unit_test(an_error_stays),
    cmocka_unit_test(extensions_and_trailers_are_bounded),
    cmocka_unit_test(lengths_are_counted),
    cmocka_unit_test(end_of_connection_is_judged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

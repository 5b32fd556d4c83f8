#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire/http1_corpus.h"
#include "wire/http1_run.h"

static struct http1_run whole, split;

static struct wr_span at(const char *base, struct wr_extent e) { return wr_span_at(base, e); }

#define assert_span(span, text)                          \
  do {                                                   \
    struct wr_span s_ = (span);                          \
    assert_int_equal(s_.len, sizeof(text) - 1);          \
    assert_memory_equal(s_.ptr, text, sizeof(text) - 1); \
  } while (0)

/* Reads from memory of exactly the right size, so that a sanitizer sees one byte too many. */
static void run(const char *name, struct wr_span bytes, bool response, enum wr_method method,
                enum wr_err verdict) {
  char *copy = malloc(bytes.len ? bytes.len : 1);
  size_t cuts[4096];
  memcpy(copy, bytes.ptr, bytes.len);
  struct wr_span in = wr_span_make(copy, bytes.len);
  http1_run(in, response, method, NULL, NULL, 0, &whole);
  if (whole.err != verdict)
    fail_msg("%s: %s, not %s", name, wr_err_label(whole.err), wr_err_label(verdict));
  for (size_t i = 0; i <= in.len; i++) {
    cuts[0] = i;
    http1_run(in, response, method, NULL, cuts, 1, &split);
    if (!http1_run_same(&whole, &split)) fail_msg("%s differs when cut at %zu", name, i);
    for (size_t j = i; j <= in.len && in.len < 90; j++) {
      cuts[1] = j;
      http1_run(in, response, method, NULL, cuts, 2, &split);
      if (!http1_run_same(&whole, &split)) fail_msg("%s differs, cut at %zu and %zu", name, i, j);
    }
  }
  for (size_t i = 0; i < in.len && i < 4096; i++) cuts[i] = i;
  http1_run(in, response, method, NULL, cuts, in.len < 4096 ? in.len : 4096, &split);
  if (!http1_run_same(&whole, &split)) fail_msg("%s differs byte by byte", name);
  free(copy);
}

static void corpus_has_its_verdicts(void **state) {
  (void)state;
  assert_true(CORPUS_COUNT >= 120);
  for (size_t i = 0; i < CORPUS_COUNT; i++) {
    const struct corpus_item *c = &corpus[i];
    run(c->name, wr_span_make(c->bytes, c->len), false, WR_METHOD_GET, c->verdict);
  }
}

static const struct response_case {
  const char *bytes;
  enum wr_method method;
  enum wr_err verdict;
  enum wr_framing framing;
  bool keep_alive;
} responses[] = {
#define OK11 "HTTP/1.1 200 OK\r\n"
  { OK11 "Content-Length: 2\r\n\r\nhi", WR_METHOD_POST, WR_OK, WR_FRAMING_LENGTH, true },
  { OK11 "Content-Length: 2\r\n\r\n", WR_METHOD_HEAD, WR_OK, WR_FRAMING_NONE, true },
  { OK11 "Transfer-Encoding: chunked\r\n\r\n", WR_METHOD_HEAD, WR_OK, WR_FRAMING_NONE, true },
  { OK11 "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", WR_METHOD_POST, WR_OK,
    WR_FRAMING_CHUNKED, true },
  { OK11 "\r\nhi", WR_METHOD_POST, WR_OK, WR_FRAMING_UNTIL_CLOSE, false },
  { OK11 "Connection: close\r\nContent-Length: 0\r\n\r\n", WR_METHOD_POST, WR_OK, WR_FRAMING_LENGTH,
    false },
  { "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", WR_METHOD_GET, WR_OK, WR_FRAMING_LENGTH,
    false },
  { "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", WR_METHOD_GET, WR_OK,
    WR_FRAMING_LENGTH, true },
  { "HTTP/1.1 204 No Content\r\n\r\nx", WR_METHOD_POST, WR_OK, WR_FRAMING_NONE, true },
  { "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", WR_METHOD_POST, WR_OK, WR_FRAMING_NONE,
    true },
  { "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", WR_METHOD_GET, WR_OK, WR_FRAMING_NONE,
    true },
  { "HTTP/1.1 100 Continue\r\n\r\n", WR_METHOD_POST, WR_OK, WR_FRAMING_NONE, true },
  { "HTTP/1.1 200\r\n\r\n", WR_METHOD_POST, WR_OK, WR_FRAMING_UNTIL_CLOSE, false },
  { "HTTP/1.1 200 \r\n\r\n", WR_METHOD_POST, WR_OK, WR_FRAMING_UNTIL_CLOSE, false },
  { "HTTP/1.1 529 Site is \xc3\xbc"
    "berlastet\r\nContent-Length: 0\r\n\r\n",
    WR_METHOD_POST, WR_OK, WR_FRAMING_LENGTH, true },
  { OK11 "Content-Length: 3\r\n\r\nhi", WR_METHOD_POST, WR_E_AGAIN, WR_FRAMING_LENGTH, true },
#define SYNTAX WR_METHOD_POST, WR_E_UPSTREAM_SYNTAX, WR_FRAMING_NONE, false
#define FRAMING WR_METHOD_POST, WR_E_UPSTREAM_FRAMING, WR_FRAMING_NONE, false
  { "\r\nHTTP/1.1 200 OK\r\n\r\n", SYNTAX },
  { "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", SYNTAX },
  { "HTTP/2.0 200 OK\r\n\r\n", SYNTAX },
  { "HTTP/1.1 20 OK\r\n\r\n", SYNTAX },
  { "HTTP/1.1 2000 OK\r\n\r\n", SYNTAX },
  { "HTTP/1.1 099 OK\r\n\r\n", SYNTAX },
  { "HTTP/1.1 600 OK\r\n\r\n", SYNTAX },
  { "HTTP/1.1  200 OK\r\n\r\n", SYNTAX },
  { "HTTP/1.1 200\tOK\r\n\r\n", SYNTAX },
  { "HTTP/1.1 200 O\x01K\r\n\r\n", SYNTAX },
  { "ICY 200 OK\r\n\r\n", SYNTAX },
  { "HTTP/1.1 200 OK\n\n", SYNTAX },
  { OK11 "X : y\r\n\r\n", SYNTAX },
  { OK11 "X: y\r\n z\r\n\r\n", SYNTAX },
  { OK11 "X: y\rZ: z\r\n\r\n", SYNTAX },
  { "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", FRAMING },
  { OK11 "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", FRAMING },
  { OK11 "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", FRAMING },
  { OK11 "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", FRAMING },
  { OK11 "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", FRAMING },
  { OK11 "Content-Length: 2, 2\r\n\r\nhi", FRAMING },
  { OK11 "Content_Length: 2\r\n\r\nhi", FRAMING },
  { OK11 "Transfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n", FRAMING },
  { OK11 "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n", FRAMING },
  { "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", FRAMING },
  { "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\nx", FRAMING },
  { "HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\nx", FRAMING },
};

static void responses_have_their_framing(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof responses / sizeof responses[0]; i++) {
    const struct response_case *c = &responses[i];
    run(c->bytes, wr_span_str(c->bytes), true, c->method, c->verdict);
    if (!whole.head_ok) continue;
    if (whole.err == WR_OK || whole.err == WR_E_AGAIN) {
      assert_int_equal(whole.head.framing, c->framing);
      assert_int_equal(whole.head.keep_alive, c->keep_alive);
    }
  }
}

#define SDK_REQUEST                                                              \
  "POST /v1/chat/completions?beta=true HTTP/1.1\r\nHost: gw.example:8443\r\n"    \
  "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive, X-Hop, te\r\n"      \
  "accept: application/json\r\nContent-Type: application/json\r\n"               \
  "X-HOP: 1\r\nTE: trailers\r\nAuthorization: Bearer sk-test\r\nX-Twice: a\r\n"  \
  "x-twice:b\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"

static void request_table_is_right(void **state) {
  (void)state;
  static struct wr_head h;
  struct wr_span req = WR_SPAN(SDK_REQUEST);
  const char *b = req.ptr;
  assert_int_equal(wr_http1_parse_request(req, NULL, &h), WR_OK);
  assert_int_equal(h.method, WR_METHOD_POST);
  assert_span(at(b, h.method_text), "POST");
  assert_span(at(b, h.target), "/v1/chat/completions?beta=true");
  assert_span(at(b, h.path), "/v1/chat/completions");
  assert_span(at(b, h.query), "beta=true");
  assert_true(h.has_query);
  assert_span(at(b, h.host), "gw.example:8443");
  assert_int_equal(h.version_minor, 1);
  assert_int_equal(h.framing, WR_FRAMING_LENGTH);
  assert_int_equal(h.content_length, 2);
  assert_int_equal(h.field_count, 12);
  assert_int_equal(h.head_len, req.len);
  assert_true(h.keep_alive && h.expect_continue && h.connection_names && !h.has_upgrade);
  assert_span(wr_head_value(&h, b, WR_FIELD_AUTHORIZATION), "Bearer sk-test");
  assert_int_equal(wr_head_value(&h, b, WR_FIELD_X_API_KEY).len, 0);
  assert_null(wr_head_find(&h, WR_FIELD_UPGRADE, NULL));
  const struct wr_field *f = wr_head_find_name(&h, b, WR_SPAN("X-TWICE"), NULL);
  assert_non_null(f);
  assert_span(at(b, f->value), "a");
  f = wr_head_find_name(&h, b, WR_SPAN("x-Twice"), f);
  assert_non_null(f);
  assert_span(at(b, f->value), "b");
  assert_null(wr_head_find_name(&h, b, WR_SPAN("x-twice"), f));
  assert_non_null(wr_head_find_name(&h, b, WR_SPAN("ACCEPT"), NULL));
}

static void hop_by_hop_includes_what_connection_names(void **state) {
  (void)state;
  static struct wr_head h;
  struct wr_span req = WR_SPAN(SDK_REQUEST);
  const char *b = req.ptr;
  assert_int_equal(wr_http1_parse_request(req, NULL, &h), WR_OK);
  unsigned hop = 0, rewritten = 0;
  for (unsigned i = 0; i < h.field_count; i++) {
    if (wr_head_is_hop_by_hop(&h, b, &h.fields[i])) hop++;
    if (wr_head_is_rewritten(&h.fields[i])) rewritten++;
  }
  assert_int_equal(hop, 3); /* Connection, X-HOP, TE */
  assert_int_equal(rewritten, 3);
  const struct wr_field *f = wr_head_find_name(&h, b, WR_SPAN("x-hop"), NULL);
  assert_true(wr_head_is_hop_by_hop(&h, b, f));
  assert_false(wr_head_is_hop_by_hop(&h, b, wr_head_find(&h, WR_FIELD_AUTHORIZATION, NULL)));
}

static void every_known_name_is_found(void **state) {
  (void)state;
  for (unsigned id = 1; id < WR_FIELD_IDS; id++) {
    struct wr_span name = wr_field_name((enum wr_field_id)id);
    char upper[64];
    for (size_t i = 0; i < name.len; i++)
      upper[i] = name.ptr[i] >= 'a' && name.ptr[i] <= 'z' ? (char)(name.ptr[i] - 32) : name.ptr[i];
    assert_int_equal(wr_field_id_of(name), id);
    assert_int_equal(wr_field_id_of(wr_span_make(upper, name.len)), id);
    for (size_t i = 0; i < name.len; i++) {
      char c = upper[i];
      upper[i] = '_';
      assert_int_not_equal(wr_field_id_of(wr_span_make(upper, name.len)), id);
      upper[i] =
          (char)(c ^ 0x20); /* for "-" this is a CR: folding case must not make it a hyphen */
      if (c == '-') assert_int_not_equal(wr_field_id_of(wr_span_make(upper, name.len)), id);
      upper[i] = c;
    }
    assert_int_not_equal(wr_field_id_of(wr_span_sub(name, 0, name.len - 1)), id);
  }
  for (unsigned m = 1; m < WR_METHODS; m++)
    assert_int_equal(wr_method_of(wr_method_name((enum wr_method)m)), m);
  assert_int_equal(wr_method_of(WR_SPAN("Get")), WR_METHOD_OTHER);
}

static void limits_hold_exactly(void **state) {
  (void)state;
  static char big[40000];
  for (unsigned fields = 99; fields <= 101; fields++) {
    size_t n = (size_t)snprintf(big, sizeof big, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (unsigned i = 1; i < fields; i++)
      n += (size_t)snprintf(big + n, sizeof big - n, "X: y\r\n");
    n += (size_t)snprintf(big + n, sizeof big - n, "\r\n");
    http1_run(wr_span_make(big, n), false, WR_METHOD_GET, NULL, NULL, 0, &whole);
    assert_int_equal(whole.err, fields <= 100 ? WR_OK : WR_E_HEAD_TOO_LARGE);
    if (whole.err == WR_OK) assert_int_equal(whole.head.field_count, fields);
  }
  for (size_t total = 16383; total <= 16386; total++) {
    size_t n = (size_t)snprintf(big, sizeof big, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    memset(big + n, 'x', total - n - 4);
    memcpy(big + total - 4, "\r\n\r\n", 4);
    http1_run(wr_span_make(big, total), false, WR_METHOD_GET, NULL, NULL, 0, &whole);
    assert_int_equal(whole.err, total <= 16384 ? WR_OK : WR_E_HEAD_TOO_LARGE);
    for (size_t cut = total - 8; cut <= total; cut++) {
      http1_run(wr_span_make(big, total), false, WR_METHOD_GET, NULL, &cut, 1, &split);
      assert_true(http1_run_same(&whole, &split));
    }
  }
  /* What stands past the limit has no say, or the verdict would depend on how the bytes arrive. */
  memset(big, 'x', sizeof big);
  big[16384] = '\n';
  size_t resume = 0, off, len;
  assert_int_equal(wr_http1_head_end(wr_span_make(big, 20000), &resume, 16384, &off, &len),
                   WR_E_HEAD_TOO_LARGE);
  big[16383] = '\n';
  resume = 0;
  assert_int_equal(wr_http1_head_end(wr_span_make(big, 20000), &resume, 16384, &off, &len),
                   WR_E_HTTP_SYNTAX);
  memset(big, 'x', sizeof big);
  http1_run(wr_span_make(big, sizeof big), false, WR_METHOD_GET, NULL, NULL, 0, &whole);
  assert_int_equal(whole.err, WR_E_HEAD_TOO_LARGE);
  http1_run(wr_span_make(big, 16383), false, WR_METHOD_GET, NULL, NULL, 0, &whole);
  assert_int_equal(whole.err, WR_E_AGAIN);
}

/* The scan resumes: what was looked at may change without a difference, because it is never read
 * again. */
static void head_end_never_rescans(void **state) {
  (void)state;
  char bytes[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  size_t resume = 0, off = 0, len = 0, n = sizeof bytes - 1;
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(wr_http1_head_end(wr_span_make(bytes, i), &resume, 16384, &off, &len),
                     WR_E_AGAIN);
    assert_true(resume + 1 >= i);
    for (size_t k = 0; k + 2 < resume; k++) bytes[k] = '\0';
  }
  assert_int_equal(wr_http1_head_end(wr_span_make(bytes, n), &resume, 16384, &off, &len), WR_OK);
  assert_int_equal(len, n);
  assert_int_equal(off, 0);
}

/* At every place of an eight-byte step, and next to every kind of neighbour. */
static void control_bytes_are_found_anywhere(void **state) {
  (void)state;
  static const char neighbours[] = { 'x', ' ', '\x7e', '\x80', '\xff', '!' };
  for (size_t n = 0; n < sizeof neighbours; n++) {
    for (size_t at = 4; at < 40; at++) {
      for (int c = 0; c < 256; c++) {
        char head[] = "GET / HTTP/1.1\r\nHost: a\r\n"
                      "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n";
        memset(head + 29, neighbours[n], 40);
        head[29] = head[68] = 'y';
        head[26 + at] = (char)c;
        bool control = (c < 0x20 && c != '\t') || c == 0x7f;
        http1_run(wr_span_make(head, sizeof head - 1), false, WR_METHOD_GET, NULL, NULL, 0,
                  &whole);
        assert_int_equal(control ? WR_E_HTTP_SYNTAX : WR_OK, whole.err);
      }
    }
  }
}

static void parser_refuses_what_is_not_one_head(void **state) {
  (void)state;
  static struct wr_head h;
  struct wr_span req = WR_SPAN(SDK_REQUEST "x");
  assert_int_not_equal(wr_http1_parse_request(req, NULL, &h), WR_OK);
  for (size_t n = 0; n + 1 < req.len; n++)
    assert_int_not_equal(wr_http1_parse_request(wr_span_sub(req, 0, n), NULL, &h), WR_OK);
  assert_int_equal(wr_http1_parse_request(wr_span_sub(req, 0, req.len - 1), NULL, &h), WR_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(corpus_has_its_verdicts),
    cmocka_unit_test(responses_have_their_framing),
    cmocka_unit_test(request_table_is_right),
    cmocka_unit_test(hop_by_hop_includes_what_connection_names),
    cmocka_unit_test(every_known_name_is_found),
    cmocka_unit_test(limits_hold_exactly),
    cmocka_unit_test(head_end_never_rescans),
    cmocka_unit_test(control_bytes_are_found_anywhere),
    cmocka_unit_test(parser_refuses_what_is_not_one_head),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

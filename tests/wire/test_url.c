#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "wire/url.h"

static const struct good_url {
  const char *text, *authority, *host, *path;
  unsigned port;
  enum wr_host_kind kind;
  bool tls;
} good_urls[] = {
  { "http://a", "a", "a", "", 80, WR_HOST_NAME, false },
  { "HTTPS://API.example.com/v1", "API.example.com", "API.example.com", "/v1", 443, WR_HOST_NAME,
    true },
  { "http://127.0.0.1:11434/", "127.0.0.1:11434", "127.0.0.1", "/", 11434, WR_HOST_IPV4, false },
  { "https://[::1]:8443/a/b/", "[::1]:8443", "::1", "/a/b/", 8443, WR_HOST_IPV6, true },
  { "http://[2001:db8::8:800:200c:417a]", "[2001:db8::8:800:200c:417a]",
    "2001:db8::8:800:200c:417a", "", 80, WR_HOST_IPV6, false },
  { "http://[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8]", "1:2:3:4:5:6:7:8", "", 80, WR_HOST_IPV6,
    false },
  { "http://[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", "::ffff:1.2.3.4", "", 80, WR_HOST_IPV6, false },
  { "http://[::]", "[::]", "::", "", 80, WR_HOST_IPV6, false },
  { "http://[1::]", "[1::]", "1::", "", 80, WR_HOST_IPV6, false },
  { "http://my_host.local.:65535/x%20y", "my_host.local.:65535", "my_host.local.", "/x%20y", 65535,
    WR_HOST_NAME, false },
  { "http://0a", "0a", "0a", "", 80, WR_HOST_NAME, false },
};

static const struct bad_url {
  const char *text;
  enum wr_err err;
} bad_urls[] = {
  { "", WR_E_TEXT_SYNTAX },
  { "a", WR_E_TEXT_SYNTAX },
  { "http:/a", WR_E_TEXT_SYNTAX },
  { "http://", WR_E_TEXT_SYNTAX },
  { "http:///x", WR_E_TEXT_SYNTAX },
  { "ftp://a", WR_E_TEXT_SYNTAX },
  { "//a", WR_E_TEXT_SYNTAX },
  { "http://u@a", WR_E_TEXT_SYNTAX },
  { "http://u:p@a", WR_E_TEXT_SYNTAX },
  { "http://a?x", WR_E_TEXT_SYNTAX },
  { "http://a/?x", WR_E_TEXT_SYNTAX },
  { "http://a#x", WR_E_TEXT_SYNTAX },
  { "http://a/#x", WR_E_TEXT_SYNTAX },
  { "http://a b", WR_E_TEXT_SYNTAX },
  { "http://a/b c", WR_E_TEXT_SYNTAX },
  { " http://a", WR_E_TEXT_SYNTAX },
  { "http://a\n", WR_E_TEXT_SYNTAX },
  { "http://a:", WR_E_TEXT_SYNTAX },
  { "http://a:x", WR_E_TEXT_SYNTAX },
  { "http://a:-1", WR_E_TEXT_SYNTAX },
  { "http://a:0", WR_E_TEXT_RANGE },
  { "http://a:65536", WR_E_TEXT_RANGE },
  { "http://a:00080", WR_OK },
  { "http://a:000080", WR_E_TEXT_RANGE },
  { "http://a:80:80", WR_E_TEXT_SYNTAX },
  { "http://1.2.3", WR_E_TEXT_SYNTAX },
  { "http://1.2.3.256", WR_E_TEXT_SYNTAX },
  { "http://1.2.3.04", WR_E_TEXT_SYNTAX },
  { "http://1.2.3.4.5", WR_E_TEXT_SYNTAX },
  { "http://2130706433", WR_E_TEXT_SYNTAX },
  { "http://0x7f000001", WR_E_TEXT_SYNTAX },
  { "http://1.2.3.0x4", WR_E_TEXT_SYNTAX },
  { "http://1.2.3.4.", WR_E_TEXT_SYNTAX },
  { "http://.", WR_E_TEXT_SYNTAX },
  { "http://a..", WR_E_TEXT_SYNTAX },
  { "http://[::1", WR_E_TEXT_SYNTAX },
  { "http://::1", WR_E_TEXT_SYNTAX },
  { "http://[]", WR_E_TEXT_SYNTAX },
  { "http://[:]", WR_E_TEXT_SYNTAX },
  { "http://[:1]", WR_E_TEXT_SYNTAX },
  { "http://[1:]", WR_E_TEXT_SYNTAX },
  { "http://[1]", WR_E_TEXT_SYNTAX },
  { "http://[1::2::3]", WR_E_TEXT_SYNTAX },
  { "http://[:::]", WR_E_TEXT_SYNTAX },
  { "http://[1:2:3:4:5:6:7]", WR_E_TEXT_SYNTAX },
  { "http://[1:2:3:4:5:6:7:8:9]", WR_E_TEXT_SYNTAX },
  { "http://[1:2:3:4::5:6:7:8]", WR_E_TEXT_SYNTAX },
  { "http://[12345::]", WR_E_TEXT_SYNTAX },
  { "http://[fe80::1%25eth0]", WR_E_TEXT_SYNTAX },
  { "http://[::1.2.3]", WR_E_TEXT_SYNTAX },
  { "http://[::1]x", WR_E_TEXT_SYNTAX },
  { "http://[::g]", WR_E_TEXT_SYNTAX },
  { "http://a/../b", WR_E_TEXT_SYNTAX },
  { "http://a//b", WR_E_TEXT_SYNTAX },
  { "http://a/%zz", WR_E_TEXT_SYNTAX },
  { "http://\xc3\xa9", WR_E_TEXT_SYNTAX },
  { "http://a\\b", WR_E_TEXT_SYNTAX },
};

static void urls_are_taken_apart(void **state) {
  (void)state;
  struct wr_url u;
  for (size_t i = 0; i < sizeof good_urls / sizeof good_urls[0]; i++) {
    const struct good_url *g = &good_urls[i];
    struct wr_span s = wr_span_str(g->text);
    if (wr_url_parse(s, &u)) fail_msg("%s is refused", g->text);
    assert_true(wr_span_eq(wr_span_at(s.ptr, u.authority), wr_span_str(g->authority)));
    assert_true(wr_span_eq(wr_span_at(s.ptr, u.host), wr_span_str(g->host)));
    assert_true(wr_span_eq(wr_span_at(s.ptr, u.path), wr_span_str(g->path)));
    assert_int_equal(u.port, g->port);
    assert_int_equal(u.kind, g->kind);
    assert_int_equal(u.tls, g->tls);
  }
  for (size_t i = 0; i < sizeof bad_urls / sizeof bad_urls[0]; i++) {
    enum wr_err err = wr_url_parse(wr_span_str(bad_urls[i].text), &u);
    if (err != bad_urls[i].err) fail_msg("%s: %s", bad_urls[i].text, wr_err_label(err));
  }
  assert_int_equal(wr_url_parse(wr_span_make("http://a\0b", 10), &u), WR_E_TEXT_SYNTAX);
}

/* Every prefix of every text, in memory of exactly its size, is judged without a read past its
 * end. */
static void prefixes_are_safe(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof good_urls / sizeof good_urls[0]; i++) {
    struct wr_span s = wr_span_str(good_urls[i].text);
    for (size_t n = 1; n <= s.len; n++) {
      char *copy = malloc(n);
      struct wr_url u;
      memcpy(copy, s.ptr, n);
      enum wr_err err = wr_url_parse(wr_span_make(copy, n), &u);
      if (!err) assert_true(u.host.len > 0 && u.path.off + u.path.len == n);
      free(copy);
    }
  }
}

static void paths_are_checked(void **state) {
  (void)state;
  static const char *const good[] = {
    "/",    "/a",   "/a/",    "/a//b", "/...",  "/.a",  "/a.",
    "/..a", "/%2f", "/a%2Fb", "/;x",   "/a;..", "/%41", "/a:b@c"
  };
  static const char *const bad[] = {
    "",       "a",    "*",       "//",          "//a",     "/.",       "/..",   "/./",
    "/../",   "/a/.", "/a/..",   "/a/../b",     "/%2e",    "/%2E%2e/", "/.%2e", "/..;",
    "/..;x/", "/.;x", "/a%2f..", "/a%2f..%2fb", "/a%5c..", "/..%5ca",  "/%00",  "/%",
    "/%1",    "/%g0", "/a b",    "/a?b",        "/a#b",    "/a\\b",    "/\x7f", "/\x80",
    "/a\"",   "/[",   "/{",      "/|",          "/^",      "/..%3bx"
  };
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
    if (!wr_path_check(wr_span_str(good[i]))) fail_msg("%s is refused", good[i]);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    if (wr_path_check(wr_span_str(bad[i]))) fail_msg("%s is taken", bad[i]);
  assert_true(wr_query_check(wr_span_str("")));
  assert_true(wr_query_check(wr_span_str("a=b&c[]=/?%20..")));
  assert_false(wr_query_check(wr_span_str("a#b")));
  assert_false(wr_query_check(wr_span_str("a=%2")));
  assert_false(wr_query_check(wr_span_str("a b")));
}

static bool exact(const char *path, const char *pattern) {
  return wr_path_matches(wr_span_str(path), wr_span_str(pattern), WR_PATH_EXACT);
}

static bool prefix(const char *path, const char *pattern) {
  return wr_path_matches(wr_span_str(path), wr_span_str(pattern), WR_PATH_PREFIX);
}

static void routes_match_what_an_upstream_would_read(void **state) {
  (void)state;
  assert_true(exact("/v1/chat", "/v1/chat"));
  assert_true(exact("/v1/%63hat", "/v1/chat"));
  assert_true(exact("/v1//chat", "/v1/chat"));
  assert_true(exact("/a%2Db", "/a-b"));
  assert_false(exact("/v1/chat/", "/v1/chat"));
  assert_false(exact("/v1/cha", "/v1/chat"));
  assert_false(exact("/V1/chat", "/v1/chat"));
  assert_false(exact("/v1%2fchat", "/v1/chat"));
  assert_false(exact("/v1/%2563hat", "/v1/chat"));
  assert_false(exact("/v1/chat%3a", "/v1/chat:"));
  assert_true(prefix("/v1", "/v1"));
  assert_true(prefix("/v1/", "/v1"));
  assert_true(prefix("/v1/x", "/v1"));
  assert_true(prefix("/v1/x", "/v1/"));
  assert_true(prefix("/v1", "/v1/"));
  assert_false(prefix("/v1x", "/v1"));
  assert_false(prefix("/v1x", "/v1/"));
  assert_false(prefix("/v", "/v1"));
  assert_false(prefix("/v1%2fx", "/v1"));
  assert_true(prefix("/", "/"));
  assert_true(prefix("/anything", "/"));
  assert_true(prefix("/anything", ""));
}

static void paths_are_joined(void **state) {
  (void)state;
  static const char *const joins[][3] = {
    { "", "/x?y", "/x?y" },        { "/", "/x", "/x" },    { "/base", "/x", "/base/x" },
    { "/base/", "/x", "/base/x" }, { "/b//", "/", "/b/" },
  };
  char storage[64];
  struct wr_buf out;
  for (size_t i = 0; i < sizeof joins / sizeof joins[0]; i++) {
    size_t n = strlen(joins[i][2]);
    for (size_t cap = 0; cap <= n; cap++) {
      wr_buf_init(&out, storage, cap);
      enum wr_err err = wr_path_join(&out, wr_span_str(joins[i][0]), wr_span_str(joins[i][1]));
      assert_int_equal(err, cap < n ? WR_E_AGAIN : WR_OK);
      assert_int_equal(out.len, cap < n ? 0 : n);
    }
    assert_memory_equal(storage, joins[i][2], n);
  }
  wr_buf_init(&out, storage, sizeof storage);
  assert_int_equal(wr_path_join(&out, WR_SPAN("/a"), WR_SPAN("b")), WR_E_ARG);
  assert_int_equal(wr_path_join(&out, WR_SPAN("/a"), WR_SPAN("")), WR_E_ARG);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(urls_are_taken_apart),
    cmocka_unit_test(prefixes_are_safe),
    cmocka_unit_test(paths_are_checked),
    cmocka_unit_test(routes_match_what_an_upstream_would_read),
    cmocka_unit_test(paths_are_joined),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

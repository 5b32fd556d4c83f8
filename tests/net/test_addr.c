#include "net/world.h"

#include "net/digest.h"

static void both_ways(void **state) {
  (void)state;
  static const char *const texts[] = { "127.0.0.1:8080", "[::1]:8080", "0.0.0.0:0",
                                       "[2001:db8::1]:65535", "unix:/run/weir.sock" };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    struct wr_addr addr;
    char text[128];
    assert_int_equal(wr_addr_parse(wr_span_str(texts[i]), &addr), WR_OK);
    assert_string_equal(wr_addr_format(&addr, text, sizeof text), texts[i]);
    assert_int_equal(wr_addr_is_unix(&addr), i == 4);
    assert_int_equal(wr_addr_is_loopback(&addr), i != 2 && i != 3);
  }
  struct wr_addr any;
  char text[128], tiny[6];
  assert_int_equal(wr_addr_parse(WR_SPAN(":80"), &any), WR_OK);
  assert_string_equal(wr_addr_format(&any, text, sizeof text), "[::]:80");
  assert_string_equal(wr_addr_format(&any, tiny, sizeof tiny), "[::]:");
  assert_int_equal(wr_addr_port(&any), 80);
}

static void refused(void **state) {
  (void)state;
  static const char *const texts[] = {
    "",         "80",         "localhost:80", "1.2.3.4",      "1.2.3.4:65536", "1.2.3.4:-1",
    "1.2.3.4:", "::1:80",     "[::1]",        "[1.2.3.4]:80", "[::1]:x",       "[]:80",
    "unix:",    "1.2.3.4:+1", "1.2.3:1",      "[::1:80",      " :80",          "unix"
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    struct wr_addr addr;
    if (wr_addr_parse(wr_span_str(texts[i]), &addr) != WR_E_TEXT_SYNTAX)
      fail_msg("taken: %s", texts[i]);
  }
  char path[256] = "unix:/";
  struct wr_addr addr;
  memset(path + 6, 'a', 200);
  assert_int_equal(wr_addr_parse(wr_span_make(path, 5 + 107), &addr), WR_OK);
  assert_int_equal(wr_addr_parse(wr_span_make(path, 5 + 108), &addr), WR_E_TEXT_SYNTAX);
  assert_int_equal(wr_addr_parse(wr_span_make("unix:/a\0b", 9), &addr), WR_E_TEXT_SYNTAX);
}

static void literals(void **state) {
  (void)state;
  struct wr_addr addr;
  assert_int_equal(wr_addr_literal(WR_SPAN("10.0.0.1"), 443, &addr), WR_OK);
  assert_int_equal(wr_addr_port(&addr), 443);
  assert_int_equal(wr_addr_literal(WR_SPAN("::ffff:127.0.0.1"), 1, &addr), WR_OK);
  assert_true(wr_addr_is_loopback(&addr));
  assert_int_equal(wr_addr_literal(WR_SPAN("localhost"), 1, &addr), WR_E_TEXT_SYNTAX);
  assert_int_equal(wr_addr_literal(WR_SPAN(""), 1, &addr), WR_E_TEXT_SYNTAX);
}

static void digest(void **state) {
  (void)state;
  static const uint8_t abc[4] = { 0xba, 0x78, 0x16, 0xbf };
  uint8_t a[WR_DIGEST_BYTES], b[WR_DIGEST_BYTES];
  wr_digest_sha256(WR_SPAN("abc"), a);
  assert_memory_equal(a, abc, 4);
  assert_int_equal(a[31], 0xad);
  memcpy(b, a, sizeof b);
  assert_true(wr_digest_equal(a, b));
  for (unsigned i = 0; i < WR_DIGEST_BYTES; i++) {
    b[i] ^= 0x80;
    assert_false(wr_digest_equal(a, b));
    b[i] ^= 0x80;
  }
  wr_digest_sha256(wr_span_make(NULL, 0), a);
  assert_int_equal(a[0], 0xe3);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(both_ways), cmocka_unit_test(refused),
                                      cmocka_unit_test(literals), cmocka_unit_test(digest) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The one table of options, and the names of faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "mock/mock.h"

static enum wr_err set(struct wr_mock_options *o, const char *key, const char *value) {
  char why[128];
  return wr_mock_options_set(o, WR_MOCK_FROM_OPERATOR, wr_span_str(key), wr_span_str(value), why,
                             sizeof why);
}

static void test_values(void **state) {
  (void)state;
  struct wr_mock_options o;
  wr_mock_options_init(&o);
  assert_int_equal(o.knobs.tokens, 64);
  assert_int_equal(set(&o, "tokens", "20"), WR_OK);
  assert_int_equal(o.knobs.tokens, 20);
  assert_int_equal(set(&o, "First_Token_MS", " 7 "), WR_OK);
  assert_int_equal(o.knobs.first_token_ms, 7);
  assert_int_equal(set(&o, "ttft", "8"), WR_OK);
  assert_int_equal(o.knobs.first_token_ms, 8);
  assert_int_equal(set(&o, "jitter", "0.25"), WR_OK);
  assert_int_equal(o.knobs.jitter_permille, 250);
  assert_int_equal(set(&o, "jitter", "1"), WR_OK);
  assert_int_equal(o.knobs.jitter_permille, 1000);
  assert_int_equal(set(&o, "numbered", ""), WR_OK);
  assert_true(o.knobs.numbered);
  assert_int_equal(set(&o, "numbered", "off"), WR_OK);
  assert_false(o.knobs.numbered);
  assert_int_equal(set(&o, "line-end", "CRLF"), WR_OK);
  assert_int_equal(o.knobs.line_end, WR_MOCK_CRLF);
  assert_int_equal(set(&o, "replay", "/tmp/x"), WR_OK);
  assert_string_equal(o.replay, "/tmp/x");
  assert_int_equal(set(&o, "seed", "18446744073709551615"), WR_OK);
  assert_true(o.knobs.seed == UINT64_MAX);
}

static void test_refused(void **state) {
  (void)state;
  struct wr_mock_options o, before;
  wr_mock_options_init(&o);
  before = o;
  assert_int_equal(set(&o, "token", "20"), WR_E_ARG);
  assert_int_equal(set(&o, "tokens", "x"), WR_E_TEXT_SYNTAX);
  assert_int_equal(set(&o, "tokens", "1000001"), WR_E_TEXT_RANGE);
  assert_int_equal(set(&o, "batch", "0"), WR_E_TEXT_RANGE);
  assert_int_equal(set(&o, "jitter", "1.001"), WR_E_TEXT_RANGE);
  assert_int_equal(set(&o, "jitter", "0.1234"), WR_E_TEXT_RANGE);
  assert_int_equal(set(&o, "numbered", "maybe"), WR_E_TEXT_SYNTAX);
  assert_int_equal(set(&o, "fault", "stall@x"), WR_E_TEXT_SYNTAX);
  assert_memory_equal(&o, &before, sizeof o);
}

/* A request may not read files of its choice or turn the log on. */
static void test_request_scope(void **state) {
  (void)state;
  struct wr_mock_options o;
  char why[128];
  static const char *const refused[] = { "replay", "replay-dir", "key", "log", "accept-delay-ms" };
  wr_mock_options_init(&o);
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    enum wr_err err = wr_mock_options_set(&o, WR_MOCK_FROM_REQUEST, wr_span_str(refused[i]),
                                          WR_SPAN("1"), why, sizeof why);
    assert_int_equal(err, WR_E_ARG);
    assert_true(strlen(why) > 0);
  }
  assert_int_equal(
      wr_mock_options_set(&o, WR_MOCK_FROM_REQUEST, WR_SPAN("rate"), WR_SPAN("5"), why, sizeof why),
      WR_OK);
  assert_int_equal(o.knobs.rate, 5);
}

static void test_faults(void **state) {
  (void)state;
  struct wr_mock_fault f = { 0, 0 };
  char why[128];
  static const struct {
    const char *text;
    enum wr_mock_fault_kind kind;
    uint32_t n;
  } good[] = { { "stall@5", WR_MOCK_FAULT_STALL, 5 },       { "stall", WR_MOCK_FAULT_STALL, 8 },
               { "status:429", WR_MOCK_FAULT_STATUS, 429 }, { "Reset:0", WR_MOCK_FAULT_RESET, 0 },
               { "no-done", WR_MOCK_FAULT_NO_DONE, 0 },     { "none", WR_MOCK_FAULT_NONE, 0 } };
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_int_equal(wr_mock_fault_parse(wr_span_str(good[i].text), &f, why, sizeof why), WR_OK);
    assert_int_equal(f.kind, good[i].kind);
    assert_int_equal(f.n, good[i].n);
  }
  static const char *const bad[] = { "",       "stal",   "status:99", "status:600",
                                     "stall@", "hang@1", "stall@-1" };
  struct wr_mock_fault before = f;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_int_not_equal(wr_mock_fault_parse(wr_span_str(bad[i]), &f, why, sizeof why), WR_OK);
    assert_int_equal(f.kind, before.kind);
  }
  for (int kind = 0; kind < WR_MOCK_FAULTS; kind++) {
    const char *name = wr_mock_fault_name((enum wr_mock_fault_kind)kind);
    assert_int_equal(wr_mock_fault_parse(wr_span_str(name), &f, why, sizeof why), WR_OK);
    assert_int_equal(f.kind, kind);
    assert_true(strlen(wr_mock_fault_help((enum wr_mock_fault_kind)kind)) > 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_values),
    cmocka_unit_test(test_refused),
    cmocka_unit_test(test_request_scope),
    cmocka_unit_test(test_faults),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Stamps, the accounts of a stream's events, and what the generator knows of each API. */
#include "harness.h"

#include "load/api.h"
#include "load/fault.h"

#define TAG 7

static struct wr_span stamped(struct wr_buf *out, const char *payload, uint32_t number, bool last) {
  struct wr_mock_stamp s = { .tag = TAG, .number = number, .sent_ns = 1234567890123, .last = last };
  wr_buf_put(out, wr_span_str(payload));
  assert_true(wr_mock_stamp_put(out, 0, &s));
  assert_false(out->overflow);
  return wr_buf_span(out);
}

static void test_stamp_round(void **state) {
  char room[512];
  struct wr_buf out;
  struct wr_mock_stamp s;
  (void)state;
  wr_buf_init(&out, room, sizeof room);
  struct wr_span p = stamped(&out, "{\"a\":1,\"b\":\"some text that is long\"}", 65537, true);
  assert_true(wr_mock_stamp_read(p, &s));
  assert_true(s.tag == TAG && s.number == 65537 && s.sent_ns == 1234567890123 && s.last);
  assert_true(s.intact);
  /* Any other byte is noticed, or makes the stamp no stamp. */
  for (size_t i = 0; i < p.len; i++) {
    room[i] ^= 1;
    bool found = wr_mock_stamp_read(p, &s);
    bool is_end = i >= p.len - 3;
    if (found && s.intact && !is_end) fail_msg("byte %zu of %zu", i, p.len);
    room[i] ^= 1;
  }
  for (size_t n = 0; n < p.len; n++) (void)wr_mock_stamp_read(wr_span_make(room, n), &s);
}

static void test_stamp_elsewhere(void **state) {
  char room[512];
  struct wr_buf out;
  struct wr_mock_stamp s;
  (void)state;
  wr_buf_init(&out, room, sizeof room);
  (void)stamped(&out, "{\"a\":1}", 3, false);
  /* Somebody added a member behind it: still read, but not intact. */
  out.len--;
  wr_buf_put(&out, WR_SPAN(",\"more\":\"0123456789012345678901234567890123456789\"}"));
  assert_true(wr_mock_stamp_read(wr_buf_span(&out), &s));
  assert_true(s.number == 3 && !s.intact);
  wr_buf_init(&out, room, sizeof room);
  wr_buf_put(&out, WR_SPAN("[DONE]"));
  assert_false(wr_mock_stamp_put(&out, 0, &s));
  t_span_is(wr_buf_span(&out), "[DONE]");
}

/* Numbers as a client sees them, and what is wrong with them. */
static void test_order(void **state) {
  static const struct {
    const char *seen; /* '$' behind the last one: it was marked so */
    uint32_t lost, late, repeated;
  } cases[] = {
    { "012345$", 0, 0, 0 }, { "01345$", 1, 0, 0 }, { "021345$", 0, 1, 0 },
    { "0112345$", 0, 0, 1 }, { "345$", 3, 0, 0 },  { "543210$", 0, 5, 0 },
    { "01234", 1, 0, 0 },   { "0123450$", 0, 0, 1 }, { "05$1", 3, 1, 0 },
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct wr_load_order o = { 0 };
    uint64_t counts[WR_LOAD_FAULTS] = { 0 };
    for (const char *c = cases[i].seen; *c; c++) {
      if (*c == '$') continue;
      struct wr_mock_stamp s = { .tag = TAG, .number = (uint32_t)(*c - '0'), .intact = true,
                                 .last = c[1] == '$' };
      wr_load_order_see(&o, &s, TAG, counts);
    }
    wr_load_order_end(&o, counts);
    if (counts[WR_LOAD_LOST] != cases[i].lost || counts[WR_LOAD_LATE] != cases[i].late ||
        counts[WR_LOAD_REPEATED] != cases[i].repeated)
      fail_msg("%s: %llu lost, %llu late, %llu repeated", cases[i].seen,
               (unsigned long long)counts[WR_LOAD_LOST], (unsigned long long)counts[WR_LOAD_LATE],
               (unsigned long long)counts[WR_LOAD_REPEATED]);
  }
}

static void test_order_others(void **state) {
  struct wr_load_order o = { 0 };
  uint64_t counts[WR_LOAD_FAULTS] = { 0 };
  struct wr_mock_stamp s = { .tag = TAG + 1, .intact = true };
  (void)state;
  wr_load_order_see(&o, &s, TAG, counts);
  assert_int_equal(counts[WR_LOAD_MIXED], 1);
  s = (struct wr_mock_stamp){ .tag = 1, .intact = false };
  wr_load_order_see(&o, &s, TAG, counts);
  assert_int_equal(counts[WR_LOAD_MIXED], 1);
  assert_int_equal(counts[WR_LOAD_CHANGED], 1);
  /* A gap that is wider than what is remembered. */
  s = (struct wr_mock_stamp){ .tag = TAG, .number = 200, .intact = true };
  wr_load_order_see(&o, &s, TAG, counts);
  assert_int_equal(counts[WR_LOAD_LOST], 199);
  s.number = 2;
  wr_load_order_see(&o, &s, TAG, counts);
  assert_int_equal(counts[WR_LOAD_REPEATED], 1);
  s.number = 199;
  wr_load_order_see(&o, &s, TAG, counts);
  assert_int_equal(counts[WR_LOAD_LATE], 1);
  assert_int_equal(counts[WR_LOAD_LOST], 198);
}

static void test_apis(void **state) {
  enum wr_load_api api;
  struct wr_span none = wr_span_make(NULL, 0);
  (void)state;
  for (int i = 0; i < WR_LOAD_APIS; i++) {
    assert_true(wr_load_api_of_path(wr_span_str(wr_load_api_path((enum wr_load_api)i)), &api));
    assert_int_equal(api, i);
    assert_true(wr_load_api_find(wr_span_str(wr_load_api_name((enum wr_load_api)i)), &api));
    assert_int_equal(api, i);
  }
  assert_true(wr_load_api_of_path(WR_SPAN("/openai/chat/completions"), &api));
  assert_int_equal(api, WR_LOAD_CHAT);
  assert_false(wr_load_api_of_path(WR_SPAN("/v1/models"), &api));
  assert_int_equal(wr_load_api_sign(WR_LOAD_CHAT, none, WR_SPAN("[DONE]")), WR_LOAD_ENDS);
  assert_int_equal(wr_load_api_sign(WR_LOAD_CHAT, none, WR_SPAN("{\"error\":{}}")), WR_LOAD_FAILS);
  assert_int_equal(wr_load_api_sign(WR_LOAD_MESSAGES, WR_SPAN("error"), none), WR_LOAD_FAILS);
  assert_true(wr_load_api_has_content(WR_LOAD_CHAT, none,
                                      WR_SPAN("{\"delta\":{\"content\": \"x\"}}")));
  assert_false(wr_load_api_has_content(WR_LOAD_CHAT, none,
                                       WR_SPAN("{\"delta\":{\"content\":\"\"}}")));
  assert_false(wr_load_api_has_content(WR_LOAD_CHAT, none, WR_SPAN("{\"content\":null}")));
  assert_false(wr_load_api_has_content(WR_LOAD_MESSAGES, WR_SPAN("content_block_start"),
                                       WR_SPAN("{\"text\":\"x\"}")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_stamp_round),  cmocka_unit_test(test_stamp_elsewhere),
    cmocka_unit_test(test_order),        cmocka_unit_test(test_order_others),
    cmocka_unit_test(test_apis),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

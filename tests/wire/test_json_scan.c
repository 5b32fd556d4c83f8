#include "recordings.h"

#include "base/buf.h"
#include "json_cases.h"
#include "wire/json_doc.h"
#include "wire/json_scan.h"

static struct wr_json_prog prog;

static void same_value(const struct wr_json_value *a, const struct wr_json_value *b) {
  assert_int_equal(a->type, b->type);
  assert_int_equal(a->raw.off, b->raw.off);
  assert_int_equal(a->raw.len, b->raw.len);
  assert_int_equal(a->escaped, b->escaped);
}

static void compile_all(void) {
  assert_int_equal(wr_json_compile(&prog, JSON_PATHS, JSON_PATH_COUNT), WR_OK);
}

static void conformance(void **state) {
  (void)state;
  static const char *const paths[][2] = { { "", "" }, { "a.b", "x[].y" }, { "[0]", "[]" } };
  for (size_t k = 0; k < 3; k++) {
    assert_int_equal(wr_json_compile(&prog, paths[k], 2), WR_OK);
    for (size_t i = 0; i < JSON_CASE_COUNT; i++) {
      struct wr_json_value v[2];
      /* A copy of just that size, so that a sanitizer sees a read past the end. */
      struct wr_span doc = JSON_CASES[i].doc;
      char *copy = malloc(doc.len + 1);
      assert_non_null(copy);
      memcpy(copy, doc.ptr, doc.len);
      char *exact = realloc(copy, doc.len ? doc.len : 1);
      enum wr_err err = wr_json_scan(&prog, wr_span_make(exact, doc.len), v);
      if ((err == WR_OK) != JSON_CASES[i].accept) fail_msg("case %zu: %s", i, doc.ptr);
      if (err == WR_OK && k == 0) assert_true(v[0].raw.len > 0 && v[0].raw.len <= doc.len);
      free(exact);
    }
  }
}

static void depth_has_its_own_error(void **state) {
  (void)state;
  struct wr_json_value v[JSON_PATH_COUNT];
  compile_all();
  assert_int_equal(wr_json_scan(&prog, WR_SPAN("[" OPEN64 SHUT64 "]"), v), WR_E_JSON_DEPTH);
  assert_int_equal(wr_json_scan(&prog, WR_SPAN(OPEN64 "{"), v), WR_E_JSON_DEPTH);
  assert_int_equal(wr_json_scan(&prog, WR_SPAN("[1x" OPEN64 OPEN64), v), WR_E_JSON_SYNTAX);
}

static void expect(const char *doc, const char *path, const char *want) {
  struct wr_json_value v;
  assert_int_equal(wr_json_compile(&prog, &path, 1), WR_OK);
  for (unsigned flags = 0; flags < 2; flags++) {
    assert_int_equal(wr_json_scan_with(&prog, wr_span_str(doc), flags, &v), WR_OK);
    struct wr_span raw = wr_json_raw(wr_span_str(doc), &v);
    if (!wr_span_eq(raw, wr_span_str(want))) {
      fail_msg("%s in %s: %.*s", path, doc, (int)raw.len, raw.len ? raw.ptr : "");
    }
  }
}

static void values(void **state) {
  (void)state;
  expect(JSON_DOCS[0], "choices[0].delta.content", "\"Hi\\n\"");
  expect(JSON_DOCS[0], "choices.0.delta.content", "\"Hi\\n\"");
  expect(JSON_DOCS[0], "choices[1].delta.content", NULL);
  expect(JSON_DOCS[0], "choices[].finish_reason", NULL);
  expect(JSON_DOCS[0], "choices[0].finish_reason", "null");
  expect(JSON_DOCS[0], "usage", "null");
  expect(JSON_DOCS[1], "choices[].finish_reason", "\"stop\"");
  expect(JSON_DOCS[1], "choices[*].finish_reason", "\"stop\"");
  expect(JSON_DOCS[1], "choices.*.index", "7");
  expect(JSON_DOCS[1], "usage", "{\"total\":12.5e1,\"x\":[{\"}\":\"]\"}]}");
  expect(JSON_DOCS[1], "usage.total", "12.5e1");
  expect(JSON_DOCS[2], "a", "{\"c\":[]}");
  expect(JSON_DOCS[2], "a.b", NULL);
  expect(JSON_DOCS[2], "a.c", "[]");
  expect(JSON_DOCS[2], "error.message", NULL);
  expect(JSON_DOCS[3], "a.b", "false");
  expect(JSON_DOCS[3], "a.0", "\"zero\"");
  expect(JSON_DOCS[4], "a.0", "10");
  expect(JSON_DOCS[4], "a[1]", "20");
  expect(JSON_DOCS[4], "a_name_that_is_longer_than_eight", "1");
  expect(JSON_DOCS[5], "[].a", "1");
  expect(JSON_DOCS[5], "[2].a", "2");
  expect(JSON_DOCS[6], "[].a", NULL);
  expect(JSON_DOCS[7], "x[].y[].z", "2");
  expect(JSON_DOCS[8], "x[].y[].z", NULL);
  expect(JSON_DOCS[9], "caf\xc3\xa9", "\"e\"");
  expect(JSON_DOCS[9], "\xf0\x9f\x98\x80", "\"face\"");
  expect(JSON_DOCS[9], "\xef\xbf\xbdx", "1");
  expect(JSON_DOCS[10], "\xf0\x9f\x98\x80.a[1]", "{}");
  expect(JSON_DOCS[11], "", "\"\\\"top\\\"\"");
  expect(JSON_DOCS[12], "", "-12.50E-3");
  expect(JSON_DOCS[15], "usage.total", NULL);
  expect(JSON_DOCS[15], "choices.1", "2");
  expect(JSON_DOCS[15], "choices.1.index", NULL);
  expect(JSON_DOCS[16], "\xef\xbf\xbd\x41", "1");
  expect(JSON_DOCS[16], "\xef\xbf\xbd\xf0\x9f\x98\x80", "2");
}

/* Many paths in one program give what each gives alone. */
static void paths_do_not_disturb_each_other(void **state) {
  (void)state;
  for (size_t d = 0; d < JSON_DOC_COUNT; d++) {
    struct wr_json_value all[JSON_PATH_COUNT];
    compile_all();
    assert_int_equal(wr_json_scan(&prog, wr_span_str(JSON_DOCS[d]), all), WR_OK);
    for (size_t i = 0; i < JSON_PATH_COUNT; i++) {
      struct wr_json_value one;
      assert_int_equal(wr_json_compile(&prog, &JSON_PATHS[i], 1), WR_OK);
      assert_int_equal(wr_json_scan(&prog, wr_span_str(JSON_DOCS[d]), &one), WR_OK);
      same_value(&one, &all[i]);
    }
  }
}

static void stops_when_found(void **state) {
  (void)state;
  static const char *const paths[] = { "a", "b[].c" };
  struct wr_json_value v[2];
  assert_int_equal(wr_json_compile(&prog, paths, 2), WR_OK);
  struct wr_span doc = WR_SPAN("{\"b\":[{\"c\":null},{\"c\":1}],\"a\":{\"x\":[]},\"a\":2,,,");
  assert_int_equal(wr_json_scan(&prog, doc, v), WR_E_JSON_SYNTAX);
  assert_int_equal(wr_json_scan_with(&prog, doc, WR_JSON_STOP_WHEN_FOUND, v), WR_OK);
  assert_true(wr_span_eq(wr_json_raw(doc, &v[0]), WR_SPAN("{\"x\":[]}")));
  assert_true(wr_span_eq(wr_json_raw(doc, &v[1]), WR_SPAN("1")));
  doc = WR_SPAN("{\"b\":[{\"c\":null}],\"a\":2,,");
  assert_int_equal(wr_json_scan_with(&prog, doc, WR_JSON_STOP_WHEN_FOUND, v), WR_E_JSON_SYNTAX);
}

static void skips_fast(void **state) {
  (void)state;
  const char *path = "b";
  struct wr_json_value v;
  assert_int_equal(wr_json_compile(&prog, &path, 1), WR_OK);
  struct wr_span doc = WR_SPAN("{\"a\":[1 2 {\"]\\\"}\":x}],\"b\":3}");
  assert_int_equal(wr_json_scan(&prog, doc, &v), WR_E_JSON_SYNTAX);
  assert_int_equal(wr_json_scan_with(&prog, doc, WR_JSON_SKIP_FAST, &v), WR_OK);
  assert_true(wr_span_eq(wr_json_raw(doc, &v), WR_SPAN("3")));
  doc = WR_SPAN("{\"a\":[[]");
  assert_int_equal(wr_json_scan_with(&prog, doc, WR_JSON_SKIP_FAST, &v), WR_E_JSON_SYNTAX);
}

static void bad_paths(void **state) {
  (void)state;
  static const char *const bad[] = { "a.",
                                     ".a",
                                     "a..b",
                                     "a[",
                                     "a[x]",
                                     "a[-1]",
                                     "a]b[",
                                     "a[0]b",
                                     "a[01]",
                                     "a[1",
                                     "a[0].",
                                     "a.b.c.d.e.f.g.h.i.j.k",
                                     "a[9999999999]",
                                     "0123456789012345678901234567890123456789012345678" };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (wr_json_compile(&prog, &bad[i], 1) != WR_E_ARG) fail_msg("%s", bad[i]);
  }
  const char *good[WR_JSON_MAX_PATHS + 1];
  for (size_t i = 0; i <= WR_JSON_MAX_PATHS; i++) good[i] = "a[].b";
  assert_int_equal(wr_json_compile(&prog, good, WR_JSON_MAX_PATHS), WR_OK);
  assert_int_equal(wr_json_compile(&prog, good, WR_JSON_MAX_PATHS + 1), WR_E_ARG);
  assert_int_equal(wr_json_compile(&prog, good, 0), WR_E_ARG);
}

static void strings(void **state) {
  (void)state;
  static const struct { const char *raw, *text;
  } cases[] = {
    { "\"\"", "" },
    { "\"plain\"", "plain" },
    { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
    { "\"\\u0041\\u00e9\\u20ac\"", "A\xc3\xa9\xe2\x82\xac" },
    { "\"x\\ud83d\\ude00y\"", "x\xf0\x9f\x98\x80y" },
    { "\"\\ud83d\"", "\xef\xbf\xbd" },
    { "\"\\ud83dz\"", "\xef\xbf\xbdz" },
    { "\"\\ude00\\ud83d\\ud83d\\ude00\"", "\xef\xbf\xbd\xef\xbf\xbd\xf0\x9f\x98\x80" },
    { "\"\\ud83d\\u0041\"",
      "\xef\xbf\xbd"
      "A" },
    { "\"a long run of plain text, then \\n and more\"",
      "a long run of plain text, then \n and more" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct wr_span raw = wr_span_str(cases[i].raw);
    struct wr_span text = wr_span_str(cases[i].text);
    char room[64];
    struct wr_buf buf;
    wr_buf_init(&buf, room, sizeof room);
    assert_int_equal(wr_json_string_decode(raw, &buf), WR_OK);
    assert_true(wr_span_eq(wr_buf_span(&buf), text));
    assert_true(wr_json_string_eq(raw, text));
    assert_false(wr_json_string_eq(raw, WR_SPAN("other")));
    if (text.len) assert_false(wr_json_string_eq(raw, wr_span_sub(text, 0, text.len - 1)));
    if (text.len) {
      wr_buf_init(&buf, room, text.len - 1);
      assert_int_equal(wr_json_string_decode(raw, &buf), WR_E_AGAIN);
    }
  }
  struct wr_buf buf;
  char room[8];
  wr_buf_init(&buf, room, sizeof room);
  assert_int_equal(wr_json_string_decode(WR_SPAN("12"), &buf), WR_E_JSON_SYNTAX);
  assert_false(wr_json_string_eq(WR_SPAN("\""), WR_SPAN("")));
}

static void numbers(void **state) {
  (void)state;
  static const struct { const char *text; enum wr_err err; uint64_t value; } cases[] = {
    { "0", WR_OK, 0 }, { "-0", WR_OK, 0 }, { "0.000e99999999999", WR_OK, 0 },
    { "42", WR_OK, 42 }, { "1e3", WR_OK, 1000 }, { "5.0", WR_OK, 5 }, { "1.5e1", WR_OK, 15 },
    { "1200e-2", WR_OK, 12 }, { "18446744073709551615", WR_OK, UINT64_MAX },
    { "1.8446744073709551615e19", WR_OK, UINT64_MAX },
    { "18446744073709551616", WR_E_TEXT_RANGE, 0 }, { "1e20", WR_E_TEXT_RANGE, 0 },
    { "-1", WR_E_TEXT_RANGE, 0 }, { "1.5", WR_E_TEXT_RANGE, 0 }, { "1e-1", WR_E_TEXT_RANGE, 0 },
    { "", WR_E_TEXT_SYNTAX, 0 }, { "01", WR_E_TEXT_SYNTAX, 0 }, { "\"1\"", WR_E_TEXT_SYNTAX, 0 },
    { "1 ", WR_E_TEXT_SYNTAX, 0 }, { "null", WR_E_TEXT_SYNTAX, 0 },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint64_t v = 0;
    assert_int_equal(wr_json_u64(wr_span_str(cases[i].text), &v), cases[i].err);
    if (cases[i].err == WR_OK) assert_int_equal(v, cases[i].value);
  }
}

static void utf8(void **state) {
  (void)state;
  static const char *const good[] = { "", "abcdefghijk", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
                                      "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80",
                                      "\xf4\x8f\xbf\xbf", "12345678\xc3\xa9" };
  static const char *const bad[] = { "\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf",
                                     "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                                     "\xf5\x80\x80\x80", "\xff", "12345678\xe2\x82", "\xc3(" };
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_true(wr_json_utf8_valid(wr_span_str(good[i])));
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_false(wr_json_utf8_valid(wr_span_str(bad[i])));
  }
}

static void same_text(const struct wr_json_item *item, struct wr_span raw) {
  static char a[1 << 18];
  static char b[1 << 18];
  struct wr_buf buf_a;
  struct wr_buf buf_b;
  struct wr_json_doc *part;
  wr_buf_init(&buf_a, a, sizeof a);
  wr_buf_init(&buf_b, b, sizeof b);
  assert_int_equal(wr_json_doc_parse(raw, 0, &part), WR_OK);
  assert_int_equal(wr_json_item_print(item, false, &buf_a), WR_OK);
  assert_int_equal(wr_json_item_print(wr_json_doc_root(part), false, &buf_b), WR_OK);
  assert_true(wr_span_eq(wr_buf_span(&buf_a), wr_buf_span(&buf_b)));
  wr_json_doc_free(part);
}

static void recordings(void **state) {
  (void)state;
  static const char *const paths[] = {
    "choices[0].delta.content", "choices[0].delta.role", "choices[0].finish_reason",
    "choices[0].delta.reasoning_content", "choices[0].delta.tool_calls", "usage", "error", "type",
    "delta.text", "delta.partial_json", "message.usage.output_tokens", "response.status", "delta",
    "response.usage", "candidates[0].content.parts[0].text", "delta.message.content.text", "model",
    "response.output[0].content", "usageMetadata",
  };
  enum { N = sizeof paths / sizeof paths[0] };
  assert_int_equal(wr_json_compile(&prog, paths, N), WR_OK);
  size_t seen = 0;
  for (size_t r = 0; r < RECORDING_COUNT; r++) {
    struct wr_span file = recording_load(RECORDINGS[r]);
    struct wr_span rest = file;
    struct wr_span line;
    while (recording_line(&rest, &line)) {
      struct wr_json_value v[N];
      struct wr_json_value w[N];
      struct wr_json_doc *doc;
      assert_int_equal(wr_json_scan(&prog, line, v), WR_OK);
      assert_int_equal(wr_json_scan_with(&prog, line, WR_JSON_SKIP_FAST, w), WR_OK);
      for (size_t i = 0; i < N; i++) same_value(&v[i], &w[i]);
      assert_int_equal(wr_json_doc_parse(line, 0, &doc), WR_OK);
      for (size_t i = 0; i < N; i++) {
        const struct wr_json_item *item = wr_json_item_at(wr_json_doc_root(doc), paths[i]);
        assert_int_equal(wr_json_item_type(item), v[i].type);
        if (item) same_text(item, wr_json_raw(line, &v[i]));
        seen += item != NULL;
      }
      wr_json_doc_free(doc);
    }
    recording_free(file);
  }
  assert_true(seen > 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(conformance),
    cmocka_unit_test(depth_has_its_own_error),
    cmocka_unit_test(values),
    cmocka_unit_test(paths_do_not_disturb_each_other),
    cmocka_unit_test(stops_when_found),
    cmocka_unit_test(skips_fast),
    cmocka_unit_test(bad_paths),
    cmocka_unit_test(strings),
    cmocka_unit_test(numbers),
    cmocka_unit_test(utf8),
    cmocka_unit_test(recordings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

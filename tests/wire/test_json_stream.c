#include "recordings.h"

#include "json_cases.h"
#include "wire/json_stream.h"

static struct wr_json_prog prog;

/* Feeds the document in two pieces cut at `a` and `b`; exact copies show reads past an end. */
static enum wr_err feed(struct wr_json_stream *s, struct wr_span doc, size_t a, size_t b) {
  const size_t cuts[] = { 0, a, b, doc.len };
  wr_json_stream_init(s, &prog);
  for (size_t i = 0; i < 3; i++) {
    size_t n = cuts[i + 1] - cuts[i];
    char *piece = malloc(n ? n : 1);
    assert_non_null(piece);
    memcpy(piece, doc.ptr + cuts[i], n);
    enum wr_err err = wr_json_stream_feed(s, wr_span_make(piece, n));
    free(piece);
    if (err != WR_OK) {
      assert_int_equal(wr_json_stream_feed(s, WR_SPAN(" ")), err);
      return err;
    }
  }
  return wr_json_stream_finish(s);
}

static void check_values(const struct wr_json_stream *s, struct wr_span doc,
                         const struct wr_json_value *want) {
  for (size_t i = 0; i < prog.n_paths; i++) {
    const struct wr_json_stream_value *v = wr_json_stream_value(s, i);
    assert_int_equal(v->type, want[i].type);
    assert_int_equal(v->off, want[i].raw.off);
    assert_int_equal(v->len, want[i].raw.len);
    assert_int_equal(v->escaped, want[i].escaped);
    bool scalar = v->type > WR_JSON_MISSING && v->type < WR_JSON_OBJECT;
    if (!scalar) assert_false(v->captured);
    if (v->captured) {
      assert_true(wr_span_eq(wr_json_stream_raw(s, i), wr_json_raw(doc, &want[i])));
    }
  }
}

static void check_splits(struct wr_span doc, bool pairs) {
  struct wr_json_value want[WR_JSON_MAX_PATHS];
  struct wr_json_stream s;
  enum wr_err err = wr_json_scan(&prog, doc, want);
  for (size_t a = 0; a <= doc.len; a++) {
    for (size_t b = a; b <= doc.len; b += pairs ? 1 : doc.len - a + 1) {
      assert_int_equal(feed(&s, doc, a, b), err);
      if (err == WR_OK) check_values(&s, doc, want);
    }
  }
}

static void conformance_at_every_split(void **state) {
  (void)state;
  static const char *const paths[] = { "a.b", "x[].y", "", "[0]" };
  assert_int_equal(wr_json_compile(&prog, paths, 4), WR_OK);
  for (size_t i = 0; i < JSON_CASE_COUNT; i++) check_splits(JSON_CASES[i].doc, true);
}

static void values_at_every_split(void **state) {
  (void)state;
  assert_int_equal(wr_json_compile(&prog, JSON_PATHS, JSON_PATH_COUNT), WR_OK);
  for (size_t i = 0; i < JSON_DOC_COUNT; i++) check_splits(wr_span_str(JSON_DOCS[i]), true);
}

static void small_values_are_captured(void **state) {
  (void)state;
  static const char *const paths[] = { "model", "stream", "big", "n" };
  static char doc[2048];
  assert_int_equal(wr_json_compile(&prog, paths, 4), WR_OK);
  char text[300];
  memset(text, 'x', sizeof text);
  int n = snprintf(doc, sizeof doc,
                   "{\"big\":\"%.254s\",\"model\":\"m\\u0041\",\"n\":[1],\"stream\":true}", text);
  struct wr_json_stream s;
  assert_int_equal(feed(&s, wr_span_make(doc, (size_t)n), 1, 2), WR_OK);
  assert_int_equal(wr_json_stream_raw(&s, 2).len, 256);
  assert_true(wr_json_string_eq(wr_json_stream_raw(&s, 0), WR_SPAN("mA")));
  assert_true(wr_json_stream_value(&s, 0)->escaped);
  assert_true(wr_span_eq(wr_json_stream_raw(&s, 1), WR_SPAN("true")));
  assert_int_equal(wr_json_stream_raw(&s, 3).len, 0);
  assert_int_equal(wr_json_stream_value(&s, 3)->len, 3);
  n = snprintf(doc, sizeof doc, "{\"big\":\"%.255s\"}", text);
  assert_int_equal(feed(&s, wr_span_make(doc, (size_t)n), 1, 2), WR_OK);
  assert_false(wr_json_stream_value(&s, 2)->captured);
  assert_int_equal(wr_json_stream_value(&s, 2)->len, 257);
}

/* Values that are replaced over and over don't use up the room. */
static void replaced_values_free_their_room(void **state) {
  (void)state;
  static const char *const paths[] = { "a", "b", "c", "b" };
  assert_int_equal(wr_json_compile(&prog, paths, 4), WR_OK);
  struct wr_json_stream s;
  wr_json_stream_init(&s, &prog);
  assert_int_equal(wr_json_stream_feed(&s, WR_SPAN("{\"c\":\"stays\"")), WR_OK);
  char member[400];
  for (int i = 0; i < 500; i++) {
    int n = snprintf(member, sizeof member, ",\"%c\":\"%0*d\"", i % 3 ? 'a' : 'b', 1 + i % 200, i);
    assert_int_equal(wr_json_stream_feed(&s, wr_span_make(member, (size_t)n)), WR_OK);
  }
  assert_int_equal(wr_json_stream_feed(&s, WR_SPAN("}")), WR_OK);
  assert_int_equal(wr_json_stream_finish(&s), WR_OK);
  assert_true(wr_json_string_eq(wr_json_stream_raw(&s, 2), WR_SPAN("stays")));
  (void)snprintf(member, sizeof member, "%0*d", 1 + 499 % 200, 499);
  assert_true(wr_json_string_eq(wr_json_stream_raw(&s, 0), wr_span_str(member)));
  (void)snprintf(member, sizeof member, "%0*d", 1 + 498 % 200, 498);
  assert_true(wr_json_string_eq(wr_json_stream_raw(&s, 1), wr_span_str(member)));
  assert_true(wr_json_string_eq(wr_json_stream_raw(&s, 3), wr_span_str(member)));
  assert_true(sizeof s <= 2048);
}

static void recordings_at_every_split(void **state) {
  (void)state;
  static const char *const paths[] = { "choices[0].delta.content", "choices[].finish_reason",
                                       "usage", "type", "response.usage.output_tokens",
                                       "delta.text", "choices[0].delta" };
  assert_int_equal(wr_json_compile(&prog, paths, 7), WR_OK);
  for (size_t r = 0; r < RECORDING_COUNT; r++) {
    struct wr_span file = recording_load(RECORDINGS[r]);
    struct wr_span rest = file;
    struct wr_span line;
    for (int n = 0; recording_line(&rest, &line); n++) {
      if (line.len < 3000 && n % 7 == 0) check_splits(line, false);
    }
    recording_free(file);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(conformance_at_every_split),
    cmocka_unit_test(values_at_every_split),
    cmocka_unit_test(small_values_are_captured),
    cmocka_unit_test(replaced_values_free_their_room),
    cmocka_unit_test(recordings_at_every_split),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

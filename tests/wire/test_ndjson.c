#include "recordings.h"

#include "wire/ndjson.h"

/* The lines of a stream cut at `cut`, each with a bar behind it; the last one, unterminated, with a
 * dash. */
static size_t run(struct wr_span in, size_t cut, uint32_t max, char *out, enum wr_err *err) {
  struct wr_ndjson p;
  struct wr_ndjson_line line;
  size_t at = 0;
  size_t start = 0;
  size_t n = 0;
  wr_ndjson_init(&p, max);
  for (size_t end = cut;; end = in.len) {
    while (at < end) {
      size_t used;
      char *piece = malloc(end - at);
      assert_non_null(piece);
      memcpy(piece, in.ptr + at, end - at);
      *err = wr_ndjson_next(&p, wr_span_make(piece, end - at), &used, &line);
      free(piece);
      if (*err == WR_E_EVENT_TOO_LARGE) {
        assert_int_equal(wr_ndjson_finish(&p, &line), *err);
        return n;
      }
      at += used;
      assert_int_equal(wr_ndjson_pending(&p), *err == WR_OK ? 0 : at - start);
      if (*err != WR_OK) continue;
      assert_int_equal(line.bytes, at - start);
      memcpy(out + n, in.ptr + start + line.text.off, line.text.len);
      n += line.text.len;
      out[n++] = '|';
      start = at;
    }
    if (end == in.len) break;
  }
  *err = wr_ndjson_finish(&p, &line);
  if (*err == WR_OK) {
    assert_int_equal(line.bytes, in.len - start);
    memcpy(out + n, in.ptr + start, line.text.len);
    n += line.text.len;
    out[n++] = '-';
  }
  return n;
}

static void expect(const char *text, uint32_t max, const char *want, enum wr_err err) {
  struct wr_span in = wr_span_str(text);
  for (size_t cut = 0; cut <= in.len; cut++) {
    char out[256];
    enum wr_err got;
    size_t n = run(in, cut, max, out, &got);
    if (!wr_span_eq(wr_span_make(out, n), wr_span_str(want))) {
      fail_msg("cut %zu: %.*s, not %s", cut, (int)n, out, want);
    }
    assert_int_equal(got, err);
  }
}

static void lines_at_every_split(void **state) {
  (void)state;
  expect("", 0, "", WR_E_END);
  expect("a\n", 0, "a|", WR_E_END);
  expect("a\nbc\n", 0, "a|bc|", WR_E_END);
  expect("a\r\nb\r\n", 0, "a|b|", WR_E_END);
  expect("\n\r\n", 0, "||", WR_E_END);
  expect("a\rb\r\r\n", 0, "a\rb\r|", WR_E_END);
  expect("a\nb", 0, "a|b-", WR_OK);
  expect("a\nb\r", 0, "a|b-", WR_OK);
  expect("{\"done\":false}\n{\"done\":true}\n", 0, "{\"done\":false}|{\"done\":true}|", WR_E_END);
}

static void size_cap(void **state) {
  (void)state;
  expect("abc\nabc\nab\r\n", 4, "abc|abc|ab|", WR_E_END);
  expect("abc\nabcd\n", 4, "abc|", WR_E_EVENT_TOO_LARGE);
  expect("abcd", 4, "abcd-", WR_OK);
  expect("abcde", 4, "", WR_E_EVENT_TOO_LARGE);
  expect("abc\r\n", 4, "", WR_E_EVENT_TOO_LARGE);
}

static void recordings(void **state) {
  (void)state;
  for (size_t r = 0; r < RECORDING_COUNT; r++) {
    struct wr_span file = recording_load(RECORDINGS[r]);
    struct wr_span rest = file;
    struct wr_span want;
    struct wr_ndjson p;
    struct wr_ndjson_line line;
    size_t at = 0;
    wr_ndjson_init(&p, 0);
    while (recording_line(&rest, &want)) {
      size_t used;
      struct wr_span in = wr_span_sub(file, at, file.len - at);
      enum wr_err err = wr_ndjson_next(&p, in, &used, &line);
      if (err != WR_OK) err = wr_ndjson_finish(&p, &line);
      assert_int_equal(err, WR_OK);
      assert_true(wr_span_eq(wr_span_at(file.ptr + at, line.text), want));
      at += used;
    }
    assert_int_equal(at, file.len);
    recording_free(file);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(lines_at_every_split),
    cmocka_unit_test(size_cap),
    cmocka_unit_test(recordings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

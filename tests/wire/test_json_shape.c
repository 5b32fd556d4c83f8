/* A shape must give what the scan gives, for every document that it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "wire/json_shape.h"

static const char *const paths[] = { "choices[0].delta.content",
                                     "choices[].finish_reason",
                                     "usage",
                                     "error",
                                     "choices[0].index",
                                     "id",
                                     "n" };
#define PATHS (sizeof paths / sizeof paths[0])

static struct wr_json_prog prog;
static unsigned hits;

static bool same(const struct wr_json_value *a, const struct wr_json_value *b) {
  if (a->type != b->type) return false;
  if (a->type == WR_JSON_MISSING) return true;
  return a->raw.off == b->raw.off && a->raw.len == b->raw.len && a->escaped == b->escaped;
}

/* Matches doc against the shape; on a match compares with the scan; teaches what didn't match. */
static bool check(struct wr_json_shape *shape, struct wr_span doc) {
  struct wr_json_value got[PATHS], want[PATHS];
  enum wr_err err = wr_json_scan(&prog, doc, want);
  bool hit = wr_json_shape_match(shape, doc, PATHS, got);
  if (hit) {
    hits++;
    if (err != WR_OK) fail_msg("took a document that is no JSON: %.*s", (int)doc.len, doc.ptr);
    for (size_t i = 0; i < PATHS; i++)
      if (!same(&got[i], &want[i]))
        fail_msg("path %s differs in %.*s", paths[i], (int)doc.len, doc.ptr);
  } else if (err == WR_OK) {
    wr_json_shape_learn(shape, doc, PATHS, want);
  }
  return hit;
}

static bool check_str(struct wr_json_shape *shape, const char *doc) {
  return check(shape, wr_span_str(doc));
}

static void test_repeats(void **state) {
  (void)state;
  struct wr_json_shape s = { 0 };
  static const char one[] = "{\"id\":\"a1\",\"n\":12,\"choices\":[{\"index\":0,\"delta\":{"
                            "\"content\":\"Hi\"},"
                            "\"finish_reason\":null}],\"o\":\"x\"}";
  static const char two[] = "{\"id\":\"a1\",\"n\":7,\"choices\":[{\"index\":0,\"delta\":{"
                            "\"content\":\" the\\nre\"},"
                            "\"finish_reason\":null}],\"o\":\"yyyy\"}";
  static const char three[] = "{\"id\":\"b\",\"n\":123456,\"choices\":[{\"index\":10,\"delta\":{"
                              "\"content\":\"\"},"
                              "\"finish_reason\":null}],\"o\":\"\"}";
  assert_false(check_str(&s, one));
  assert_true(check_str(&s, one));
  assert_true(check_str(&s, two));
  assert_true(check_str(&s, three));
  assert_true(check_str(&s, one));
}

static void test_others_are_scanned(void **state) {
  (void)state;
  static const char *const first = "{\"id\":\"a\",\"n\":1,\"choices\":[{\"delta\":{\"content\":"
                                   "\"x\"},"
                                   "\"finish_reason\":null}]}";
  static const char *const others[] = {
    "{\"id\":\"a\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]"
    "}",
    "{\"id\":null,\"n\":1,\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}",
    "{\"id\":\"a\",\"n\":1.5,\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}",
    "{\"id\":\"a\",\"n\":01,\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}",
    "{\"id\":\"a\",\"n\":-1,\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}",
    "{\"id\":\"a\",\"n\":,\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}",
    "{\"id\":\"a\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"x\\q\"},\"finish_reason\":null}]"
    "}",
    "{\"id\":\"a\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"x\\u12g4\"},\"finish_reason\":"
    "null}]}",
    "{\"id\":\"a\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"x\n\"},\"finish_reason\":null}]}",
    "{\"id\":\"a\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}}",
    "{\"id\":\"a\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]",
    "{\"id\":\"a\",\"n\":1,\"choices\":[{\"delta\":{\"content\":\"x",
  };
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    struct wr_json_shape s = { 0 };
    check_str(&s, first);
    assert_true(check_str(&s, first));
    if (check_str(&s, others[i])) fail_msg("matched %s", others[i]);
  }
}

static void test_mutants(void **state) {
  (void)state;
  struct wr_rand r;
  wr_rand_init(&r, 7);
  static const char *const bases[] = {
    "{\"id\":\"a1\",\"n\":12,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"end\":1}]}",
    "{\"error\":{\"m\":\"x\"},\"usage\":{\"a\":[1,2,{\"b\":\"\\u00e9\"}]},\"id\":\"\"}",
    "[1,\"a\",{\"id\":\"x\"},-3.5e7]",
  };
  for (size_t b = 0; b < sizeof bases / sizeof bases[0]; b++) {
    size_t len = strlen(bases[b]);
    for (unsigned n = 0; n < 60000; n++) {
      struct wr_json_shape s = { 0 };
      check(&s, wr_span_make(bases[b], len));
      char text[256];
      size_t k = len;
      memcpy(text, bases[b], len);
      for (unsigned m = (unsigned)wr_rand_below(&r, 3) + 1; m--;) {
        size_t at = (size_t)wr_rand_below(&r, k);
        static const char bytes[] = "\"\\{}[],:0123456789-.eEnu\n a\x80";
        char c = bytes[wr_rand_below(&r, sizeof bytes - 1)];
        if (wr_rand_below(&r, 2) && k < sizeof text - 1) { /* insert, else replace */
          memmove(text + at + 1, text + at, k - at);
          k++;
        }
        text[at] = c;
      }
      check(&s, wr_span_make(text, k));
      check(&s, wr_span_make(bases[b], len));
    }
  }
  assert_true(hits > 1000);
}

/* Every recorded event through a few shapes in turn, as the relay does it. */
static void test_recordings(void **state) {
  (void)state;
  const char *shared = getenv("WEIR_SHARED");
  char name[512];
  snprintf(name, sizeof name, "%s/streams/openai-chat-text.jsonl", shared ? shared : "../shared");
  FILE *f = fopen(name, "r");
  if (!f) {
    print_message("no recordings (%s): skipped\n", name);
    skip();
  }
  static char line[1 << 20];
  struct wr_json_shape s = { 0 };
  unsigned lines = 0, taken = 0;
  while (fgets(line, sizeof line, f)) {
    lines++;
    taken += check(&s, wr_span_make(line, strcspn(line, "\n")));
  }
  fclose(f);
  assert_true(lines > 100);
  assert_true(taken * 10 > lines * 9);
}

int main(void) {
  if (wr_json_compile(&prog, paths, PATHS) != WR_OK) return 1;
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_repeats),
    cmocka_unit_test(test_others_are_scanned),
    cmocka_unit_test(test_mutants),
    cmocka_unit_test(test_recordings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

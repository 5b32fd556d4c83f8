/* A recording as an upstream writes it, and what became of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "trial/recording.h"

static void check(enum wr_dialect dialect, const char *text, const char *expected) {
  char *bytes = NULL;
  size_t len = 0;
  assert_int_equal(wr_trial_recording(dialect, wr_span_str(text), &bytes, &len), WR_OK);
  if (!wr_span_eq(wr_span_make(bytes, len), wr_span_str(expected)))
    fail_msg("%.*s", (int)len, bytes);
  wr_heap_free(WR_HEAP_CLI, bytes);
}

static void framing(void **state) {
  (void)state;
  check(WR_DIALECT_CHAT, "{\"a\":1}\r\n\n{\"a\":2}",
        "data: {\"a\":1}\n\ndata: {\"a\":2}\n\ndata: [DONE]\n\n");
  check(WR_DIALECT_CHAT, "{\"a\":1}\n[DONE]\n", "data: {\"a\":1}\n\ndata: [DONE]\n\n");
  check(WR_DIALECT_CHAT, "data: x\n\n", "data: x\n\n");
  check(WR_DIALECT_ANTHROPIC, "{\"type\":\"ping\"}\n{\"b\":{\"type\":\"x\"}}\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\ndata: {\"b\":{\"type\":\"x\"}}\n\n");
  check(WR_DIALECT_OLLAMA, " {\"done\":true} \n", "{\"done\":true}\n");
}

static void names(void **state) {
  (void)state;
  assert_int_equal(wr_trial_recording_dialect("a/openai-chat-x.jsonl"), WR_DIALECT_CHAT);
  assert_int_equal(wr_trial_recording_dialect("openai-responses-x"), WR_DIALECT_RESPONSES);
  assert_int_equal(wr_trial_recording_dialect("responses.sse"), WR_DIALECT_RESPONSES);
  assert_int_equal(wr_trial_recording_dialect("anthropic-x"), WR_DIALECT_ANTHROPIC);
  assert_int_equal(wr_trial_recording_dialect("ollama"), WR_DIALECT_OLLAMA);
  assert_int_equal(wr_trial_recording_dialect("anthropic/google"), WR_DIALECT_NONE);
}

static char told[64];
static void tell(void *ctx, enum wr_trial_change change, size_t place, struct wr_span before,
                 struct wr_span after) {
  (void)ctx;
  assert_true((before.len == 0) == (change == WR_TRIAL_ADDED));
  assert_true((after.len == 0) == (change == WR_TRIAL_REMOVED));
  size_t n = strlen(told);
  snprintf(told + n, sizeof told - n, "%c%zu", "=~-+"[change], place);
}

/* Each letter is an event. */
static void diff(const char *before, const char *after, const char *expected) {
  char text[2][256] = { "", "" };
  const char *const sides[2] = { before, after };
  for (int s = 0; s < 2; s++)
    for (const char *p = sides[s]; *p; p++) {
      size_t n = strlen(text[s]);
      snprintf(text[s] + n, sizeof text[s] - n, "data: %c\n\n", *p);
    }
  told[0] = '\0';
  assert_int_equal(wr_trial_diff(WR_DIALECT_CHAT, wr_span_str(text[0]), wr_span_str(text[1]), tell,
                                 NULL),
                   WR_OK);
  assert_string_equal(told, expected);
}

static void differences(void **state) {
  (void)state;
  diff("abc", "abc", "=1=2=3");
  diff("abc", "axc", "=1~2=3");
  diff("abc", "ac", "=1-2=3");
  diff("ac", "abc", "=1+2=2");
  diff("abc", "", "-1-2-3");
  diff("", "ab", "+1+2");
  diff("ab", "xy", "~1~2");
  diff("abcd", "d", "-1-2-3=4");
  diff("aab", "ab", "=1-2=3");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(framing),
    cmocka_unit_test(names),
    cmocka_unit_test(differences),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

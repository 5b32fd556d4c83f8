/* A trial: requests through the relay, its hooks and upstreams of this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/heap.h"
#include "trial/trial.h"

#define CONF                                                                                       \
  "weir.api(1)\n"                                                                                  \
  "weir.listen '127.0.0.1:8080' {}\n"                                                              \
  "weir.upstream 'one' { kind = 'openai-compatible', url = 'https://api.example' }\n"              \
  "weir.upstream 'two' { kind = 'mock' }\n"                                                        \
  "weir.group 'both' { 'one', 'two', retry = { attempts = 2 } }\n"

#define EVENT(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"

#define STOP "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"

static const struct wr_span parts[] = {
  WR_SPAN(EVENT("one ")),
  WR_SPAN(EVENT("two")),
  WR_SPAN(STOP),
  WR_SPAN("data: [DONE]\n\n"),
};
static const struct wr_trial_answer fine = { .parts = parts, .part_count = 4 };

static struct wr_trial *open_trial(const char *more) {
  char source[2048];
  struct wr_trial *t = NULL;
  struct wr_diag diag;
  wr_diag_init(&diag);
  snprintf(source, sizeof source, "%s%s", CONF, more);
  struct wr_trial_options o = { .file = "trial.lua", .source = wr_span_str(source), .seed = 1,
                                .unix_us = UINT64_C(1767225600000000) };
  enum wr_err err = wr_trial_new(&o, &t, &diag);
  for (size_t i = 0; i < diag.count; i++) print_message("%s\n", diag.entries[i].text);
  wr_diag_fini(&diag);
  assert_int_equal(err, WR_OK);
  return t;
}

static void close_trial(struct wr_trial *t) {
  wr_trial_free(t);
  for (int tag = 0; tag < WR_HEAP_TAGS; tag++)
    if (wr_heap_live_count((enum wr_heap_tag)tag))
      fail_msg("%s: something is left", wr_heap_tag_name((enum wr_heap_tag)tag));
}

static struct wr_trial_ask ask_of(const struct wr_trial_answer *fault) {
  return (struct wr_trial_ask){ .path = "/v1/chat/completions",
                                .body = WR_SPAN("{\"model\":\"m\",\"stream\":true}"),
                                .answer = &fine,
                                .fault = fault };
}

static bool has(struct wr_span text, const char *part) {
  return text.len > 0 && memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

static void whole(void **state) {
  (void)state;
  struct wr_trial *t = open_trial("weir.route 'r' { match = { path = '*' }, to = 'one',\n"
                                  "  on_text = function(win)\n"
                                  "    local i, j = win:find('two')\n"
                                  "    if i then return 'replace', 'three', i, j end\n"
                                  "  end }\n");
  struct wr_trial_result r;
  struct wr_trial_ask ask = ask_of(NULL);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(wr_trial_run(t, &ask, &r), WR_OK);
    assert_int_equal(r.status, 200);
    assert_true(r.whole && !r.stuck);
    assert_string_equal(r.outcome, "complete");
    assert_string_equal(r.route, "r");
    assert_true(has(r.body, EVENT("one ")) && has(r.body, EVENT("three")));
    assert_int_equal(r.sent_count, 1);
    assert_string_equal(r.sent[0].upstream, "one");
    assert_true(has(r.sent[0].head, "host: api.example") && has(r.sent[0].body, "\"model\":\"m\""));
    assert_int_equal(r.note_count, 1);
    assert_string_equal(r.notes[0].verdict, "replace");
    assert_string_equal(r.notes[0].hook, "on_text");
    assert_true(wr_span_eq(r.notes[0].text, WR_SPAN("three")));
    assert_int_equal(r.log.len, 0);
  }
  close_trial(t);
}

/* What a provider does wrong, and time that costs none. */
static void faults(void **state) {
  (void)state;
  struct wr_trial *t = open_trial("weir.route 'r' { match = { path = '*' }, to = 'one' }\n");
  struct wr_trial_result r;
  static const struct {
    struct wr_trial_answer answer;
    unsigned status;
    const char *outcome, *err;
  } cases[] = {
    { { .then = WR_TRIAL_REFUSE }, 502, "upstream_error", "connect" },
    { { .status = 500, .then = WR_TRIAL_END }, 500, NULL, NULL },
    { { .parts = parts, .part_count = 1, .then = WR_TRIAL_HANG }, 200, "stalled", "idle" },
    { { .parts = parts, .part_count = 1, .then = WR_TRIAL_CUT }, 200, "truncated", NULL },
    { { .parts = parts, .part_count = 1, .then = WR_TRIAL_RESET }, 200, "truncated", NULL },
    { { .then = WR_TRIAL_HANG }, 504, NULL, NULL },
    { { .raw = WR_SPAN("SSH-2.0-x\r\n\r\n") }, 502, "upstream_error", NULL },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct wr_trial_ask ask = ask_of(&cases[i].answer);
    assert_int_equal(wr_trial_run(t, &ask, &r), WR_OK);
    assert_false(r.stuck);
    print_message("%zu: %u %s %s\n", i, r.status, r.outcome, r.err);
    if (r.status != cases[i].status) fail_msg("case %zu: status %u", i, r.status);
    if (cases[i].outcome) assert_string_equal(r.outcome, cases[i].outcome);
  }
  struct wr_trial_ask ask = ask_of(NULL);
  assert_int_equal(wr_trial_run(t, &ask, &r), WR_OK);
  assert_true(r.whole);
  close_trial(t);
}

static void pace_and_clock(void **state) {
  (void)state;
  struct wr_trial *t = open_trial("weir.route 'r' { match = { path = '*' }, to = 'two',\n"
                                  "  on_event = function(ev, s)\n"
                                  "    if ev.kind == 'text' then\n"
                                  "      weir.log.info('%.1f %.1f', s.age, weir.now())\n"
                                  "    end\n"
                                  "  end }\n");
  struct wr_trial_result r;
  struct wr_trial_answer slow = fine;
  slow.pace_ms = 2500;
  struct wr_trial_ask ask = ask_of(NULL);
  ask.answer = &slow;
  uint64_t begin_us = wr_trial_now_us(t);
  assert_int_equal(wr_trial_run(t, &ask, &r), WR_OK);
  assert_true(has(r.log, "0.0 1767225600.0\n") && has(r.log, "2.5 1767225602.5\n"));
  assert_in_range(wr_trial_now_us(t) - begin_us, 7500000, 7600000);
  wr_trial_advance(t, 3600000000u);
  assert_int_equal(wr_trial_run(t, &ask, &r), WR_OK);
  assert_true(has(r.log, "0.0 1767229207."));
  close_trial(t);
}

static void keys(void **state) {
  (void)state;
  struct wr_trial *t = open_trial("weir.route 'r' { match = { path = '*' }, to = 'one',\n"
                                  "  on_request = function(req, s)\n"
                                  "    return 'reject', 418, s.key.name .. s.key.class\n"
                                  "  end }\n");
  struct wr_trial_result r;
  struct wr_trial_ask ask = ask_of(NULL);
  ask.key = "team-a";
  assert_int_equal(wr_trial_run(t, &ask, &r), WR_E_ARG);
  assert_int_equal(wr_trial_key(t, "team-a", "paid"), WR_OK);
  assert_int_equal(wr_trial_run(t, &ask, &r), WR_OK);
  assert_int_equal(r.status, 418);
  assert_true(has(r.body, "team-apaid"));
  assert_string_equal(r.outcome, "refused");
  assert_int_equal(r.sent_count, 0);
  assert_string_equal(r.notes[0].verdict, "reject");
  assert_int_equal(r.notes[0].status, 418);
  close_trial(t);
}

/* Whatever a script does wrong is seen; a handle that it keeps is dead at once. */
static void failures(void **state) {
  (void)state;
  struct wr_trial *t = open_trial("weir.route 'r' { match = { path = '*' }, to = 'one',\n"
                                  "  on_event = function(ev, s)\n"
                                  "    local old = s.ctx.old\n"
                                  "    s.ctx.old = ev\n"
                                  "    return old and old.kind and nil\n"
                                  "  end }\n");
  struct wr_trial_result r;
  struct wr_trial_ask ask = ask_of(NULL);
  assert_int_equal(wr_trial_run(t, &ask, &r), WR_OK);
  assert_true(r.whole && r.note_count >= 1);
  assert_string_equal(r.notes[0].fail, "error");
  assert_true(has(r.notes[0].error, "expired") && has(r.log, "error: "));
  close_trial(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(whole), cmocka_unit_test(faults),   cmocka_unit_test(pace_and_clock),
    cmocka_unit_test(keys),  cmocka_unit_test(failures),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

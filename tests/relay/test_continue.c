/* A stream that breaks off goes on at the other upstream: one answer, each word once, in every
 * dialect, wherever it breaks. */
#include "relay/breakable.h"

/* Each dialect, each break between two characters. */
static void every_break(void **state) {
  (void)state;
  const enum shape shapes[] = { CHAT, MESSAGES, OLLAMA };
  for (size_t k = 0; k < 3; k++) {
    enum shape shape = shapes[k];
    struct try t;
    init_try(&t);
    rig_open(&t.r);
    for (size_t at = 1; at < strlen(TEXT); at++) {
      if (((unsigned char)TEXT[at] & 0xc0u) == 0x80u) continue;
      char part[256];
      snprintf(part, sizeof part, "%.*s", (int)at, TEXT);
      struct rig_up *up = first_says(&t, shape, JSON_BODY, part);
      if (at % 3 == 0) rig_write(up->conn, "40\r\ndata: {\"choi", 15); /* and half an event */
      TURN_UNTIL(&t.r.w, t.r.got_len > 0);
      drop(up);
      up = second(&t);
      size_t body_bytes = at;
      while (strchr(" \n", TEXT[body_bytes - 1])) body_bytes--;
      say_head(up, shape);
      say(up, first_of[shape]);
      size_t half = body_bytes + (strlen(TEXT) - body_bytes) / 2;
      while (((unsigned char)TEXT[half] & 0xc0u) == 0x80u) half++;
      say_text(up, shape, &TEXT[body_bytes], half - body_bytes);
      say_text(up, shape, &TEXT[half], strlen(TEXT) - half);
      say(up, last_of[shape]);
      end_body(up);
      expect_whole(&t, shape, TEXT);
      assert_int_equal(t.r.record.attempts, 2);
      assert_int_equal(t.r.record.continued, 1);
      assert_int_equal(t.r.record.continued_bytes, at);
      assert_int_equal(count_of(body, "\"role\":\"assistant\",\"content\":\"\""),
                       shape == MESSAGES ? 0 : 1);
      if (shape == MESSAGES) {
        assert_int_equal(count_of(body, "event: message_start"), 1);
        assert_int_equal(count_of(body, "event: content_block_start"), 1);
        assert_int_equal(count_of(body, "event: content_block_stop"), 1);
        assert_int_equal(count_of(body, "event: message_stop"), 1);
      }
    }
    assert_true(ends(&t.r, WR_CONTINUE_JOINED) > 40);
    assert_int_equal(ends(&t.r, WR_CONTINUE_FAILED) + ends(&t.r, WR_CONTINUE_REFUSED), 0);
    rig_close(&t.r);
  }
}

/* What the second server is asked, in each way to ask. */
static void requests(void **state) {
  (void)state;
  static const char *const wants[] = {
    "{\"model\":\"m\",\"stream\":true,\"max_tokens\":99,\"messages\":[{\"role\":\"user\","
    "\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"say \\\"hi\\\"\\\\\xc3\xbc\"}]}",
    "{\"model\":\"m\",\"stream\":true,\"max_tokens\":99,\"messages\":[{\"role\":\"user\","
    "\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"say \\\"hi\\\"\\\\\xc3\xbc\","
    "\"prefix\":true}]}",
    "{\"continue_final_message\":true,\"add_generation_prompt\":false,\"model\":\"m\","
    "\"stream\":true,\"max_tokens\":99,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
    "{\"role\":\"assistant\",\"content\":\"say \\\"hi\\\"\\\\\xc3\xbc\"}]}",
    "{\"model\":\"m\",\"prompt\":\"Go: say \\\"hi\\\"\\\\\xc3\xbc\",\"max_completion_tokens\":1}",
  };
  for (unsigned i = 0; i < 4; i++) {
    struct try t;
    init_try(&t);
    for (unsigned k = 0; k < 2; k++)
      t.r.upstreams[k].prefill = i == 3 ? WR_PREFILL_VLLM : (enum wr_prefill)(i + 1);
    rig_open(&t.r);
    const char *json = i < 3 ? JSON_BODY
                             : "{\"model\":\"m\",\"prompt\":\"Go: \",\"max_completion_tokens\":1}";
    struct rig_up *up = first_says(&t, CHAT, json, "say \"hi\"\\\xc3\xbc \n");
    TURN_UNTIL(&t.r.w, t.r.got_len > 0);
    drop(up);
    up = second(&t);
    assert_string_equal(strstr(t.request, "\r\n\r\n") + 4, wants[i]);
    char length[48];
    snprintf(length, sizeof length, "content-length: %zu\r\n", strlen(wants[i]));
    assert_non_null(strstr(t.request, length));
    say_head(up, CHAT);
    say_text(up, CHAT, " \nso", 4);
    say(up, STOP DONE);
    end_body(up);
    expect_whole(&t, CHAT, "say \"hi\"\\\xc3\xbc \nso");
    rig_close(&t.r);
  }
}

/* Counts beyond all reason add up to no negative number: quotas are settled by the sum. */
static void hostile_counts(void **state) {
  (void)state;
  static const char *const seconds[] = { "9223372036854775807", "4294967295", "7" };
  for (unsigned i = 0; i < 3; i++) {
    struct try t;
    init_try(&t);
    rig_open(&t.r);
    ask_body(&t, CHAT, JSON_BODY);
    TURN_UNTIL(&t.r.w, asked(&t.r));
    struct rig_up *up = asked(&t.r);
    t.first = up->peer;
    say_head(up, CHAT);
    say_text(up, CHAT, "a", 1);
    say(up, "data: {\"choices\":[],\"usage\":{\"completion_tokens\":9223372036854775807}}\n\n");
    TURN_UNTIL(&t.r.w, strstr(t.r.got, "completion_tokens"));
    drop(up);
    up = second(&t);
    say_head(up, CHAT);
    say_text(up, CHAT, "b", 1);
    char last[160];
    snprintf(last, sizeof last,
             "data: {\"choices\":[],\"usage\":{\"completion_tokens\":%s}}\n\n" DONE, seconds[i]);
    say(up, STOP);
    say(up, last);
    end_body(up);
    expect_whole(&t, CHAT, "ab");
    assert_true(t.r.record.output_tokens >= (int64_t)UINT32_MAX);
    rig_close(&t.r);
  }
}

/* The envelope goes on: the id, counts of tokens; thoughts and a second role don't. */
static void envelopes(void **state) {
  (void)state;
  struct try t;
  init_try(&t);
  rig_open(&t.r);
  ask_body(&t, CHAT, JSON_BODY);
  TURN_UNTIL(&t.r.w, asked(&t.r));
  struct rig_up *up = asked(&t.r);
  t.first = up->peer;
  say_head(up, CHAT);
  say(up, "data: {\"id\":\"one\",\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n");
  say(up, "data: {\"id\":\"one\",\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n");
  say(up, "data: {\"id\":\"one\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n");
  say(up, "data: {\"id\":\"one\",\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n");
  TURN_UNTIL(&t.r.w, strstr(t.r.got, "\"b\""));
  end_body(up); /* truncated */
  up = second(&t);
  say_head(up, CHAT);
  say(up, ": hello\n\n");
  say(up, "data: {\"id\":\"two\",\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n");
  say(up, "data: {\"id\":\"two\",\"choices\":[{\"delta\":{\"reasoning_content\":\"no\"}}]}\n\n");
  say(up, "data: {\"id\":\"two\",\ndata: \"choices\":[{\"delta\":"
          "{\"role\":\"assistant\",\"content\":\"c\"}}]}\n\n");
  say(up, "data: {\"id\":\"two\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
  say(up, "data: {\"id\":\"two\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,"
          "\"completion_tokens\":4,\"total_tokens\":9}}\n\n" DONE);
  end_body(up);
  TURN_UNTIL(&t.r.w, rig_dechunk(t.r.got, body, sizeof body, NULL) || t.r.client_end);
  assert_string_equal(
      body,
      "data: {\"id\":\"one\",\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"
      "data: {\"id\":\"one\",\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n"
      "data: {\"id\":\"one\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
      "data: {\"id\":\"one\",\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n"
      ": hello\n\n"
      "data: {\"id\":\"one\", \"choices\":[{\"delta\":{\"role\":null,\"content\":\"c\"}}]}\n\n"
      "data: {\"id\":\"one\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
      "data: {\"id\":\"one\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,"
      "\"completion_tokens\":7,\"total_tokens\":12}}\n\n" DONE);
  assert_int_equal(t.r.record.output_tokens, 7);
  assert_int_equal(t.r.record.input_tokens, 5);
  assert_string_equal(t.r.outcome, "complete");
  rig_close(&t.r);
}

#define ANT(name, json) "event: " name "\ndata: {\"type\":\"" name "\"," json "}\n\n"
#define ANT_START(i, type) \
  ANT("content_block_start", "\"index\":" #i ",\"content_block\":{\"type\":\"" type "\"}")
#define ANT_TEXT(i, text) \
  ANT("content_block_delta", "\"index\":" #i ",\"delta\":{\"type\":\"text_delta\"," \
                             "\"text\":\"" text "\"}")
#define ANT_STOP(i) ANT("content_block_stop", "\"index\":" #i)
#define ANT_END \
  ANT("message_delta", "\"delta\":{\"stop_reason\":\"end_turn\"}," \
                       "\"usage\":{\"output_tokens\":%d}") \
  "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

/* Blocks keep their numbers: thoughts in front, a tool behind, none at all. */
static void blocks(void **state) {
  (void)state;
  static const char begin[] =
      ANT("message_start", "\"message\":{\"id\":\"m1\",\"usage\":{\"input_tokens\":3}}")
      ANT_START(0, "thinking") ANT_STOP(0) ANT_START(1, "text") ANT_TEXT(1, "one");
  static const struct { const char *says, *gets; int open; } cases[] = {
    { ANT_START(0, "thinking")
      ANT("content_block_delta", "\"index\":0,\"delta\":{\"thinking\":\"x\"}") ANT_STOP(0)
      ANT_START(1, "text") ANT_TEXT(1, " two") ANT_STOP(1),
      ANT_TEXT(1, " two") ANT_STOP(1), 1 },
    { ANT_START(0, "text") ANT_TEXT(0, " two") ANT_STOP(0) ANT_START(1, "tool_use") ANT_STOP(1),
      ANT_TEXT(1, " two") ANT_STOP(1) ANT_START(2, "tool_use") ANT_STOP(2), 1 },
    { ANT_START(0, "tool_use") ANT_STOP(0),
      ANT_STOP(1) ANT_START(2, "tool_use") ANT_STOP(2), 1 },
    { "", ANT_STOP(1), 1 },
    { ANT_START(0, "text") ANT_TEXT(0, " two") ANT_STOP(0),
      ANT_START(2, "text") ANT_TEXT(2, " two") ANT_STOP(2), 0 },
  };
  struct try t;
  init_try(&t);
  rig_open(&t.r);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    rig_ups_drop(&t.r);
    ask_body(&t, MESSAGES, JSON_BODY);
    TURN_UNTIL(&t.r.w, asked(&t.r));
    struct rig_up *up = asked(&t.r);
    t.first = up->peer;
    say_head(up, MESSAGES);
    say(up, begin);
    if (!cases[i].open) say(up, ANT_STOP(1));
    TURN_UNTIL(&t.r.w, strstr(t.r.got, cases[i].open ? "\"one\"" : "stop\",\"index\":1"));
    drop(up);
    up = second(&t);
    char text[4096], want[4096];
    say_head(up, MESSAGES);
    snprintf(text, sizeof text, "%s%s" ANT_END,
             ANT("message_start", "\"message\":{\"id\":\"m2\",\"usage\":{\"input_tokens\":4}}")
             "event: ping\ndata: {\"type\":\"ping\"}\n\n", cases[i].says, 9);
    say(up, text);
    end_body(up);
    TURN_UNTIL(&t.r.w, rig_dechunk(t.r.got, body, sizeof body, NULL) || t.r.client_end);
    snprintf(want, sizeof want, "%s%s%s" ANT_END, begin, cases[i].open ? "" : ANT_STOP(1),
             cases[i].gets, 10);
    assert_string_equal(body, want);
    assert_string_equal(t.r.outcome, "complete");
    assert_int_equal(t.r.record.output_tokens, 10);
  }
  rig_close(&t.r);
}

/* A server that says all again, one that only seems to, and one that ends while that is open. */
static void repeats(void **state) {
  (void)state;
  static const char said[] = "It was the best of times, it was the worst of times, ";
  static const struct { const char *says[4], *gets; bool echoes; } cases[] = {
    { { "It was the best of ", "times, it was the worst of times", ", it was", " all" },
      "It was the best of times, it was the worst of times, it was all", false },
    { { "It was the best of ", "times, it was the worst of times, it was all" },
      "It was the best of times, it was the worst of times, it was all", false },
    { { "It was the best ", "of all" },
      "It was the best of times, it was the worst of times, It was the best of all", false },
    { { "It was the ", "best" },
      "It was the best of times, it was the worst of times, It was the best", false },
    { { "It was the best of times, it was the worst of times," },
      "It was the best of times, it was the worst of times, ", true },
  };
  const enum shape shapes[] = { CHAT, MESSAGES, OLLAMA };
  for (size_t n = 0; n < 3 * sizeof cases / sizeof cases[0]; n++) {
    enum shape shape = shapes[n % 3];
    size_t i = n / 3;
    struct try t;
    init_try(&t);
    t.r.upstreams[0].prefill_echo = t.r.upstreams[1].prefill_echo = cases[i].echoes;
    rig_open(&t.r);
    struct rig_up *up = first_says(&t, shape, JSON_BODY, said);
    TURN_UNTIL(&t.r.w, t.r.got_len > 0);
    drop(up);
    up = second(&t);
    say_head(up, shape);
    say(up, first_of[shape]);
    for (size_t k = 0; k < 4 && cases[i].says[k]; k++)
      say_text(up, shape, cases[i].says[k], strlen(cases[i].says[k]));
    say(up, last_of[shape]);
    end_body(up);
    expect_whole(&t, shape, cases[i].gets);
    rig_close(&t.r);
  }
}

/* What is held as a repeat isn't lost when no more text comes: a tool call, another block. */
static void held_then_tool(void **state) {
  (void)state;
  static const char said[] = "Let me look that up for you, it won't take long.";
  static const char tool[] = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,"
                             "\"id\":\"x\"}]}}]}\n\n";
  const enum shape shapes[] = { CHAT, MESSAGES };
  for (size_t k = 0; k < 2; k++) {
    struct try t;
    init_try(&t);
    rig_open(&t.r);
    struct rig_up *up = first_says(&t, shapes[k], JSON_BODY, said);
    TURN_UNTIL(&t.r.w, t.r.got_len > 0);
    drop(up);
    up = second(&t);
    say_head(up, shapes[k]);
    say(up, first_of[shapes[k]]);
    say_text(up, shapes[k], "Let me", 6);
    say_text(up, shapes[k], " look", 5);
    if (shapes[k] == CHAT) say(up, tool);
    else say(up, ANT_START(1, "tool_use") ANT_STOP(1));
    say(up, last_of[shapes[k]]);
    end_body(up);
    char want[128];
    snprintf(want, sizeof want, "%sLet me look", said);
    expect_whole(&t, shapes[k], want);
    assert_non_null(strstr(body, shapes[k] == CHAT ? "tool_calls" : "tool_use"));
    rig_close(&t.r);
  }
}

/* Text hooks see one stream: what they hold at the break joins what comes. */
static void censor(void *ctx, struct wr_hook_stream *s, const struct wr_hook_window *win,
                   struct wr_verdict *out) {
  (void)ctx;
  (void)s;
  const char *at = memmem(win->text.ptr, win->text.len, "secret", 6);
  if (at) {
    out->kind = WR_VERDICT_REPLACE;
    out->text = WR_SPAN("******");
    out->i = (size_t)(at - win->text.ptr) + 1;
    out->j = out->i + 5;
  } else if (!win->last) {
    for (size_t n = 5; n > 0; n--) {
      const char *tail = win->text.ptr + win->text.len - n;
      if (win->text.len < n || memcmp(tail, "secret", n) != 0) continue;
      out->kind = WR_VERDICT_HOLD;
      out->i = win->text.len - n + 1;
      return;
    }
  }
}
static void count_end(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome) {
  assert_int_equal(outcome, WR_OUTCOME_COMPLETE);
  assert_int_equal(s->attempt, 2);
  ((struct try *)ctx)->r.ends++;
}

static void hooks(void **state) {
  (void)state;
  static const char text[] = "the secret is that the secret is none";
  const enum shape shapes[] = { CHAT, MESSAGES, OLLAMA };
  for (size_t k = 0; k < 3; k++) {
    struct try t;
    init_try(&t);
    const struct wr_conf_text stage = { 7, 256, true };
    t.r.use_hooks = true;
    t.r.hooks = (struct wr_hooks){ .ctx = &t, .end = count_end, .text = censor };
    t.r.routes[0].hooks = WR_HOOK_TEXT | WR_HOOK_END;
    t.r.routes[0].texts = &stage;
    t.r.routes[0].text_count = 1;
    rig_open(&t.r);
    unsigned n = 0;
    for (size_t at = 1; at < sizeof text - 1; at++, n++) {
      char part[64];
      snprintf(part, sizeof part, "%.*s", (int)at, text);
      struct rig_up *up = first_says(&t, shapes[k], JSON_BODY, "t");
      say_text(up, shapes[k], part + 1, at - 1);
      end_body(up); /* an abort could lose what was said last */
      up = second(&t);
      snprintf(part, sizeof part, "%.*s", (int)(at - (text[at - 1] == ' ')), text);
      assert_non_null(strstr(t.request, part)); /* before the filter */
      say_head(up, shapes[k]);
      say(up, first_of[shapes[k]]);
      say_text(up, shapes[k], text + strlen(part), strlen(text) - strlen(part));
      say(up, last_of[shapes[k]]);
      end_body(up);
      expect_whole(&t, shapes[k], "the ****** is that the ****** is none");
      assert_int_equal(t.r.ends, n + 1);
    }
    rig_close(&t.r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_break),
    cmocka_unit_test(requests),
    cmocka_unit_test(envelopes),
    cmocka_unit_test(hostile_counts),
    cmocka_unit_test(blocks),
    cmocka_unit_test(repeats),
    cmocka_unit_test(held_then_tool),
    cmocka_unit_test(hooks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A stream that breaks off goes on at the other upstream: one answer, each word once, in every
 * dialect, wherever it breaks; and what isn't continued ends as ever. */
#include "relay/stream_texts.h"

#define TEXT                                                                                   \
  "Gr\xc3\xbc\xc3\x9f" "e from \xf0\x9f\x98\x80\xf0\x9f\x98\x81 both: one, \n\n two and three "  \
  "\"at last\"."
#define MESSAGES_JSON "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define JSON_BODY "{\"model\":\"m\",\"stream\":true,\"max_tokens\":100," MESSAGES_JSON "}"
#define SHORT "Hello there, "

static const char *const path_of[SHAPES] = { "/v1/chat/completions", "/v1/messages",
                                             "/v1/responses", "/api/chat" };

struct try {
  struct rig r;
  unsigned first; /* the upstream that was asked first */
  char request[8192];
};

static uint64_t ends(struct rig *r, enum wr_continue_end how) {
  return wr_relay_stats(r->relay)->continued[how];
}

static void init_try(struct try *t) {
  memset(t, 0, sizeof *t);
  rig_init(&t->r);
  t->r.routes[0].to = 2;
  t->r.routes[0].continues = true;
  t->r.routes[0].continue_bytes = 4096;
  t->r.groups[2].retry_budget_permille = 1000;
  for (unsigned i = 0; i < 2; i++) {
    t->r.upstreams[i].prefill = WR_PREFILL_ASSISTANT;
    t->r.upstreams[i].breaker.failures = 0;
  }
}

static void ask_body(struct try *t, enum shape shape, const char *json) {
  char text[8192];
  snprintf(text, sizeof text,
           "POST %s HTTP/1.1\r\nHost: h\r\ncontent-type: application/json\r\n"
           "content-length: %zu\r\n\r\n%s", path_of[shape], strlen(json), json);
  assert_true(rig_dial(&t->r));
  rig_send(&t->r, text);
}

/* The newest connection that has got a request, which is one. */
static struct rig_up *asked(struct rig *r) {
  struct rig_up *up = r->up_count ? r->ups[r->up_count - 1] : NULL;
  return up && up->conn && rig_request_bytes(up->text) ? up : NULL;
}

static void say(struct rig_up *up, const char *text) {
  char head[32];
  size_t n = strlen(text);
  if (!n) return;
  rig_write(up->conn, head, (size_t)snprintf(head, sizeof head, "%zx\r\n", n));
  rig_write(up->conn, text, n);
  rig_write(up->conn, "\r\n", 2);
}

static void say_head(struct rig_up *up, enum shape shape) {
  const char *head = shape == OLLAMA ? "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
                                       "transfer-encoding: chunked\r\n\r\n"
                                     : SSE_HEAD;
  rig_write(up->conn, head, strlen(head));
}

static void say_text(struct rig_up *up, enum shape shape, const char *text, size_t n) {
  char room[4096];
  struct wr_buf b;
  wr_buf_init(&b, room, sizeof room - 1);
  if (n) put_delta(&b, shape, 0, wr_span_make(text, n));
  room[b.len] = 0;
  say(up, room);
}

static void end_body(struct rig_up *up) { rig_write(up->conn, "0\r\n\r\n", 5); }

/* The first server: its beginning and so much of the text. */
static struct rig_up *first_says(struct try *t, enum shape shape, const char *json,
                                 const char *text) {
  rig_ups_drop(&t->r);
  ask_body(t, shape, json);
  TURN_UNTIL(&t->r.w, asked(&t->r));
  struct rig_up *up = asked(&t->r);
  t->first = up->peer;
  say_head(up, shape);
  say(up, first_of[shape]);
  say_text(up, shape, text, strlen(text));
  return up;
}

/* The second one has been asked; what it was asked is in t->request. */
static struct rig_up *second(struct try *t) {
  size_t before = t->r.up_count;
  TURN_UNTIL(&t->r.w, t->r.up_count > before ? asked(&t->r) != NULL
                                             : asked(&t->r) && asked(&t->r)->peer != t->first);
  struct rig_up *up = asked(&t->r);
  assert_int_not_equal(up->peer, t->first);
  assert_true(up->len < sizeof t->request);
  memcpy(t->request, up->text, up->len + 1);
  return up;
}

static void drop(struct rig_up *up) { rig_up_drop(up); }

static void expect_whole(struct try *t, enum shape shape, const char *text) {
  TURN_UNTIL(&t->r.w, rig_dechunk(t->r.got, body, sizeof body, NULL) || t->r.client_end);
  assert_true(rig_dechunk(t->r.got, body, sizeof body, NULL));
  assert_string_equal(text_of(shape, 0, body), text);
  assert_null(strstr(body, "error"));
  assert_string_equal(t->r.outcome, "complete");
  for (unsigned n = 0; n < 2; n++) assert_int_equal(t->r.shared.upstreams[n], 0);
}

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
      say_text(up, shape, TEXT + body_bytes, half - body_bytes);
      say_text(up, shape, TEXT + half, strlen(TEXT) - half);
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
  static const char tool[] =
      "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\"}]}}]}\n\n";
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

/* The deadlines of the second attempt are its own; a client that doesn't read meanwhile gets all. */
static void deadlines(void **state) {
  (void)state;
  struct try t;
  init_try(&t);
  t.r.routes[0].heartbeat_ms = 50;
  for (unsigned i = 0; i < 2; i++) t.r.upstreams[i].timeout.first_token_ms = 600;
  rig_open(&t.r);
  struct rig_up *up = first_says(&t, CHAT, JSON_BODY, SHORT);
  TURN_UNTIL(&t.r.w, t.r.got_len > 0);
  drop(up);
  up = second(&t);
  say_head(up, CHAT);
  say_text(up, CHAT, " you", 4);
  TURN_UNTIL(&t.r.w, strstr(t.r.got, "you"));
  size_t before = count_of(t.r.got, "\r\n:");
  TURN_UNTIL(&t.r.w, count_of(t.r.got, "\r\n:") > before + 13); /* longer than first_token */
  t.r.client_hold = true;
  say_text(up, CHAT, ".", 1);
  say(up, STOP DONE);
  end_body(up);
  TURN_UNTIL(&t.r.w, up->answered || t.r.records == 1 || wr_conn_unsent_bytes(up->conn) == 0);
  t.r.client_hold = false;
  wr_loop_mark(t.r.w.loop, &t.r.task);
  expect_whole(&t, CHAT, "Hello there, you.");
  /* And one that says nothing in time is given up. */
  up = first_says(&t, CHAT, JSON_BODY, SHORT);
  TURN_UNTIL(&t.r.w, t.r.got_len > 0);
  drop(up);
  up = second(&t);
  say_head(up, CHAT);
  say(up, ROLE);
  TURN_UNTIL(&t.r.w, t.r.records == 2);
  assert_string_equal(t.r.outcome, "truncated");
  assert_int_equal(ends(&t.r, WR_CONTINUE_FAILED), 1);
  rig_close(&t.r);
}

/* A pool that has no room for the text: the stream itself goes on. */
static void small_pool(void **state) {
  (void)state;
  struct try t;
  init_try(&t);
  t.r.routes[0].continue_bytes = 1u << 20;
  rig_open_pool(&t.r, 256u << 10);
  char line[2001];
  memset(line, 'x', sizeof line - 1);
  line[sizeof line - 1] = 0;
  struct rig_up *up = first_says(&t, CHAT, JSON_BODY, SHORT);
  for (unsigned i = 0; i < 150; i++) {
    size_t had = t.r.got_len;
    say_text(up, CHAT, line, sizeof line - 1);
    TURN_UNTIL(&t.r.w, t.r.got_len > had + sizeof line);
  }
  say(up, STOP DONE);
  end_body(up);
  TURN_UNTIL(&t.r.w, t.r.records == 1);
  assert_string_equal(t.r.outcome, "complete");
  rig_close(&t.r);
}

/* The text that is kept is what the second server gets also when the break is the stream's end, a
 * deadline, an error event, or rubbish. */
static void breaks(void **state) {
  (void)state;
  for (unsigned how = 0; how < 5; how++) {
    struct try t;
    init_try(&t);
    for (unsigned i = 0; i < 2; i++) t.r.upstreams[i].timeout.idle_ms = how == 2 ? 150 : 5000;
    rig_open(&t.r);
    struct rig_up *up = first_says(&t, CHAT, JSON_BODY, SHORT);
    t.r.upstreams[!t.first].timeout.idle_ms = 5000;
    if (how == 0) end_body(up);
    if (how == 1) rig_write(up->conn, "zz\r\n", 4);
    if (how == 3) say(up, "data: {\"error\":{\"type\":\"overloaded_error\"}}\n\n");
    if (how == 4) say(up, "data: {nothing\n\n");
    up = second(&t);
    assert_non_null(strstr(t.request, "\"content\":\"Hello there,\"}]}"));
    say_head(up, CHAT);
    say_text(up, CHAT, " you.", 5);
    say(up, STOP DONE);
    end_body(up);
    expect_whole(&t, CHAT, "Hello there, you.");
    assert_null(strstr(body, "overloaded"));
    assert_int_equal(t.r.record.err, WR_OK);
    rig_close(&t.r);
  }
}

/* Nobody is asked: the error event, as ever. */
static void refused(void **state) {
  (void)state;
  static const char tool[] =
      "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n";
  enum { TOOL, CHOICES, TOO_LONG, SPACE, FAULT_EVENT, N2, ATTEMPTS, NO_PREFILL, OFF, BUDGET,
         CASES };
  for (unsigned how = 0; how < CASES; how++) {
    struct try t;
    init_try(&t);
    if (how == ATTEMPTS) t.r.groups[2].attempts = 1;
    if (how == OFF) t.r.routes[0].continues = false;
    if (how == TOO_LONG) t.r.routes[0].continue_bytes = 12;
    if (how == BUDGET) t.r.groups[2].retry_budget_permille = 0;
    for (unsigned i = 0; i < 2; i++)
      if (how == NO_PREFILL) t.r.upstreams[i].prefill = WR_PREFILL_NONE;
    rig_open(&t.r);
    const char *json = how == N2 ? "{\"model\":\"m\",\"n\":2," MESSAGES_JSON "}" : JSON_BODY;
    struct rig_up *up = first_says(&t, CHAT, json, how == SPACE ? " \n" : SHORT);
    if (how == TOOL) say(up, tool);
    if (how == CHOICES)
      say(up, "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}\n\n");
    if (how == FAULT_EVENT)
      say(up, "data: {\"error\":{\"type\":\"invalid_request_error\"}}\n\n");
    end_body(up);
    TURN_UNTIL(&t.r.w, t.r.records == 1);
    TURN_UNTIL(&t.r.w, t.r.client_end || strstr(t.r.got, "error"));
    assert_non_null(strstr(t.r.got, "error"));
    assert_int_equal(t.r.record.attempts, 1);
    assert_string_equal(t.r.outcome, how == FAULT_EVENT ? "upstream_error" : "truncated");
    assert_int_equal(ends(&t.r, WR_CONTINUE_REFUSED), how == OFF ? 0 : 1);
    assert_int_equal(ends(&t.r, WR_CONTINUE_JOINED), 0);
    rig_close(&t.r);
  }
}

/* The second one fails too: before it has said anything, and behind it. */
static void second_fails(void **state) {
  (void)state;
  for (unsigned how = 0; how < 5; how++) {
    struct try t;
    init_try(&t);
    t.r.groups[2].attempts = how == 4 ? 3 : 2;
    rig_open(&t.r);
    struct rig_up *up = first_says(&t, CHAT, JSON_BODY, SHORT);
    TURN_UNTIL(&t.r.w, t.r.got_len > 0);
    end_body(up);
    up = second(&t);
    if (how == 0) rig_write(up->conn, "HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno", 41);
    if (how == 1) rig_write(up->conn, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 40);
    if (how == 2) {
      say_head(up, CHAT);
      say(up, ROLE FAULT);
    }
    if (how >= 3) {
      say_head(up, CHAT);
      say_text(up, CHAT, " you", 4);
      TURN_UNTIL(&t.r.w, strstr(t.r.got, "you"));
      drop(up);
    }
    if (how == 4) { /* and the first one again, with both texts */
      unsigned was = t.first;
      t.first = !was;
      up = second(&t);
      assert_non_null(strstr(t.request, "\"content\":\"Hello there, you\"}]}"));
      assert_non_null(strstr(t.request, "\"max_tokens\":98"));
      say_head(up, CHAT);
      say_text(up, CHAT, ", all.", 6);
      say(up, STOP DONE);
      end_body(up);
      expect_whole(&t, CHAT, "Hello there, you, all.");
      assert_int_equal(ends(&t.r, WR_CONTINUE_JOINED), 2);
      assert_int_equal(t.r.record.attempts, 3);
    } else {
      TURN_UNTIL(&t.r.w, t.r.records == 1);
      TURN_UNTIL(&t.r.w, strstr(t.r.got, "error"));
      assert_string_equal(t.r.outcome, "truncated");
      assert_null(strstr(t.r.got, "overloaded"));
      assert_int_equal(ends(&t.r, WR_CONTINUE_FAILED), how < 3);
      assert_int_equal(ends(&t.r, WR_CONTINUE_JOINED), how == 3);
      assert_int_equal(ends(&t.r, WR_CONTINUE_REFUSED), how == 3);
    }
    rig_close(&t.r);
  }
}

/* Nobody waits for the rest: the second attempt ends at once; heartbeats come until then. */
static void client_leaves(void **state) {
  (void)state;
  struct try t;
  init_try(&t);
  t.r.routes[0].heartbeat_ms = 30;
  rig_open(&t.r);
  struct rig_up *up = first_says(&t, CHAT, JSON_BODY, SHORT);
  TURN_UNTIL(&t.r.w, t.r.got_len > 0);
  drop(up);
  up = second(&t);
  size_t before = count_of(t.r.got, "\r\n:");
  TURN_UNTIL(&t.r.w, count_of(t.r.got, "\r\n:") > before + 1);
  rig_client_drop(&t.r);
  TURN_UNTIL(&t.r.w, t.r.records == 1 && up->ended);
  assert_string_equal(t.r.outcome, "client_gone");
  rig_close(&t.r);
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
    cmocka_unit_test(every_break), cmocka_unit_test(requests),     cmocka_unit_test(envelopes),
    cmocka_unit_test(blocks),      cmocka_unit_test(repeats),      cmocka_unit_test(breaks),
    cmocka_unit_test(refused),     cmocka_unit_test(second_fails), cmocka_unit_test(client_leaves),
    cmocka_unit_test(hooks),       cmocka_unit_test(held_then_tool),
    cmocka_unit_test(deadlines),   cmocka_unit_test(small_pool),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

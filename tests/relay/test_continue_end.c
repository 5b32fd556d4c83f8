/* What makes a stream go on at the other upstream, what doesn't, and what fails on the way: then it
 * ends as ever. */
#include "relay/breakable.h"

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

/* The deadlines of the second attempt are its own; a client that doesn't read meanwhile gets all
 * of it. */
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

/* Everybody who could go on is at its limit: that is waited for in line, and not for ever. */
static void line_is_long(void **state) {
  (void)state;
  for (unsigned queue = 0; queue < 2; queue++) {
    struct try t;
    init_try(&t);
    if (queue) t.r.groups[2].queue = (struct wr_conf_queue){ .length = 4, .wait_ms = 30 };
    rig_open(&t.r);
    struct rig_up *up = first_says(&t, CHAT, JSON_BODY, SHORT);
    TURN_UNTIL(&t.r.w, t.r.got_len > 0);
    t.r.upstreams[!t.first].max_streams = 1;
    t.r.shared.upstreams[!t.first] = 1; /* somebody else's */
    drop(up);
    TURN_UNTIL(&t.r.w, t.r.records == 1);
    assert_string_equal(t.r.outcome, "truncated");
    assert_int_equal(t.r.record.attempts, 1);
    assert_int_equal(t.r.record.queued_us >= 30000, queue);
    assert_int_equal(ends(&t.r, WR_CONTINUE_REFUSED), 1);
    TURN_UNTIL(&t.r.w, strstr(t.r.got, "error"));
    t.r.shared.upstreams[!t.first] = 0;
    rig_close(&t.r);
  }
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

#define DELTA(id, text) \
  "data: {\"id\":\"" id "\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define FIRST "This is what the first one says, and no more than that: "
#define SECOND_1 "This is what"
#define SECOND_2 " the second says, which isn't the same."

/* The first one breaks off; the second seems to repeat it. */
static void answers(struct rig *r) {
  static char first[2048];
  const char *const one[] = { ROLE, DELTA("one", FIRST) };
  const char *const two[] = { ROLE, DELTA("two", SECOND_1), DELTA("two", SECOND_2), STOP, DONE };
  struct wr_span a = chunked(one, 2);
  memcpy(first, a.ptr, a.len);
  r->answer_of[0] = wr_span_make(first, a.len);
  r->answer_of[1] = chunked(two, 5);
}

/* One exchange under failing allocations ends somehow, and never looks whole when it isn't. */
static void exchange_somehow(struct try *t) {
  struct rig *r = &t->r;
  if (rig_dial(r)) {
    char text[512];
    snprintf(text, sizeof text, POST "connection: close\r\ncontent-length: %zu\r\n\r\n%s",
             strlen(JSON_BODY), JSON_BODY);
    rig_send(r, text);
    /* The scripted peers may be hit as well: who has nothing to wait for any more goes on. */
    for (unsigned quiet = 0; !r->client_end && quiet < 60;) {
      size_t before = r->got_len;
      wr_loop_turn(r->w.loop, 1);
      quiet = r->got_len == before ? quiet + 1 : 0;
    }
  }
  if (strncmp(r->got, "HTTP/1.1 200", 12) == 0 && rig_dechunk(r->got, body, sizeof body, NULL)) {
    static char all[1024]; /* the envelope isn't that which text_of knows */
    size_t n = 0;
    for (const char *p = body; (p = strstr(p, "\"content\":\"")) != NULL;) {
      p += 11;
      size_t len = strcspn(p, "\"");
      assert_true(n + len < sizeof all);
      memcpy(all + n, p, len);
      n += len;
    }
    all[n] = 0;
    bool one = strcmp(all, SECOND_1 SECOND_2) == 0; /* it was asked first */
    if (!one) assert_string_equal(all, FIRST SECOND_1 SECOND_2);
  }
  rig_client_drop(r);
  rig_ups_drop(r);
  TURN_UNTIL(&r->w, wr_relay_connections(r->relay) == 0);
}

static void memory_fails(void **state) {
  (void)state;
  struct try t;
  init_try(&t);
  rig_open(&t.r);
  answers(&t.r);
  for (unsigned i = 0; i < 2; i++) exchange_somehow(&t); /* libuv has its tables by then */
  assert_true(ends(&t.r, WR_CONTINUE_JOINED) >= 1);
  for (uint64_t n = 1; n < 120; n++) {
    struct wr_mem_debug d = { .poison = true, .owners = true, .fail_nth = n / 2 };
    if (n & 1u) wr_heap_fail_at(n / 2 + 1, false);
    else wr_mem_debug_set(&d);
    exchange_somehow(&t);
    exchange_somehow(&t); /* whoever is asked first */
    wr_heap_fail_at(0, false);
    d.fail_nth = 0;
    wr_mem_debug_set(&d);
  }
  for (unsigned i = 0; i < 2; i++) exchange_somehow(&t);
  assert_string_equal(t.r.outcome, "complete");
  assert_true(ends(&t.r, WR_CONTINUE_JOINED) > 40);
  rig_close(&t.r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(breaks),
    cmocka_unit_test(refused),
    cmocka_unit_test(second_fails),
    cmocka_unit_test(client_leaves),
    cmocka_unit_test(deadlines),
    cmocka_unit_test(small_pool),
    cmocka_unit_test(line_is_long),
    cmocka_unit_test(memory_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

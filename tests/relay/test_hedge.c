/* A second attempt beside one that is late: whose content comes first is the answer, all of it and
 * nothing else; the other one is ended at once, and nothing of it is left. */
#include "relay/texts.h"

#define HELLO_2 "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"second\"}}]}\n\n"
#define ROLE_2                                                                                     \
  "data: {\"id\":\"other\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n"

static uint64_t ends(struct rig *r, enum wr_hedge_end how) {
  return wr_relay_stats(r->relay)->hedge_ends[how];
}
static uint64_t nots(struct rig *r, enum wr_hedge_not why) {
  return wr_relay_stats(r->relay)->hedge_nots[why];
}

static void rig_hedge(struct rig *r) {
  rig_init(r);
  r->routes[0].to = 2;
  r->routes[0].hedge = (struct wr_conf_hedge){ .on = true, .after_ms = 20, .max_permille = 1000 };
}

static bool has_got(const struct rig *r, size_t n) {
  return r->up_count > n && r->ups[n]->len > 0;
}

static void say(struct rig *r, size_t n, struct wr_span bytes) {
  rig_write(r->ups[n]->conn, bytes.ptr, bytes.len);
}

/* Asks; both have the request then: the first attempt is ups[0], the rival ups[1]. */
static void ask_both(struct rig *r) {
  assert_true(rig_dial(r));
  rig_send(r, ASK_CLOSE);
  TURN_UNTIL(&r->w, has_got(r, 0) && has_got(r, 1));
  assert_int_equal(r->up_count, 2);
  assert_int_not_equal(r->ups[0]->peer, r->ups[1]->peer);
  assert_string_equal(r->ups[0]->text, r->ups[1]->text);
}

static void expect_end(struct rig *r, const char *text) {
  TURN_UNTIL(&r->w, r->client_end);
  assert_true(rig_dechunk(r->got, body, sizeof body, NULL));
  assert_string_equal(body, text);
  assert_string_equal(r->outcome, "complete");
  assert_int_equal(r->record.attempts, 1);
  for (unsigned n = 0; n < 2; n++) assert_int_equal(r->shared.upstreams[n], 0);
}

static struct wr_span second_answer(void) {
  const char *const parts[] = { ROLE_2, HELLO_2, STOP, USAGE, DONE };
  return chunked(parts, 5);
}
#define SECOND ROLE_2 HELLO_2 STOP USAGE DONE

/* The first one has said what isn't content; the rival's answer comes byte by byte. */
static void rival_wins(void **state) {
  (void)state;
  struct rig r;
  rig_hedge(&r);
  rig_open(&r);
  ask_both(&r);
  char chunk[512];
  snprintf(chunk, sizeof chunk, SSE_HEAD "%zx\r\n%s\r\n", strlen(ROLE), ROLE);
  say(&r, 0, wr_span_str(chunk));
  struct wr_span a = second_answer();
  for (size_t i = 0; i < a.len; i++) {
    say(&r, 1, wr_span_make(a.ptr + i, 1));
    wr_loop_turn(r.w.loop, 0);
  }
  expect_end(&r, SECOND);
  TURN_UNTIL(&r.w, r.ups[0]->ended);
  assert_int_equal(ends(&r, WR_HEDGE_WON), 1);
  assert_string_equal(r.record.hedge.ptr, "won");
  assert_int_equal(wr_relay_stats(r.relay)->hedge_bytes, strlen(chunk));
  assert_int_equal(wr_relay_stats(r.relay)->hedge_tokens, strlen(BODY) / 4);
  assert_int_equal(r.record.input_tokens, 3);
  assert_int_equal(r.record.events, 5);
  rig_close(&r);
}

static void rival_loses(void **state) {
  (void)state;
  struct rig r;
  rig_hedge(&r);
  rig_open(&r);
  ask_both(&r);
  char chunk[512];
  snprintf(chunk, sizeof chunk, SSE_HEAD "%zx\r\n%s\r\n", strlen(ROLE_2), ROLE_2);
  say(&r, 1, wr_span_str(chunk)); /* no content */
  for (unsigned i = 0; i < 5; i++) wr_loop_turn(r.w.loop, 1);
  assert_int_equal(r.got_len, 0);
  say(&r, 0, whole_answer());
  expect_end(&r, WHOLE);
  TURN_UNTIL(&r.w, r.ups[1]->ended);
  assert_int_equal(ends(&r, WR_HEDGE_LOST), 1);
  assert_int_equal(wr_relay_stats(r.relay)->hedge_bytes, strlen(chunk));
  /* Who always loses is known to be slow for all that: at least as slow as it was then. */
  for (uint32_t i = 0; i < 2; i++) {
    struct wr_upstream_view v;
    wr_upstreams_view(r.set, i, &v);
    assert_int_not_equal(v.first_token_us, 0);
  }
  rig_close(&r);
}

/* An answer that begins with more than can be watched has no content for all that (a Responses
 * stream says all its instructions twice before its first word): it doesn't win. */
static void much_before_content(void **state) {
  (void)state;
  for (unsigned i = 0; i < 2; i++) {
    struct rig r;
    rig_hedge(&r);
    rig_open(&r);
    ask_both(&r);
    say(&r, 1, wr_span_str(SSE_HEAD));
    static char comment[1024];
    memset(comment, ' ', sizeof comment);
    memcpy(comment, "3f8\r\n: ", 7);
    memcpy(comment + 5 + 0x3f8 - 2, "\n\n\r\n", 4);
    for (unsigned n = 0; n < (i ? 80 : 40); n++) {
      say(&r, 1, wr_span_make(comment, 5 + 0x3f8 + 2));
      wr_loop_turn(r.w.loop, 0);
    }
    for (unsigned n = 0; n < 5; n++) wr_loop_turn(r.w.loop, 1);
    assert_int_equal(ends(&r, WR_HEDGE_WON), 0);
    if (i) {
      say(&r, 0, whole_answer());
      expect_end(&r, WHOLE);
      assert_int_equal(ends(&r, WR_HEDGE_LOST), 1);
    } else { /* and what comes behind as much as can be watched does */
      struct wr_span a = second_answer();
      say(&r, 1, wr_span_sub(a, strlen(SSE_HEAD), a.len - strlen(SSE_HEAD)));
      TURN_UNTIL(&r.w, r.client_end);
      assert_int_equal(ends(&r, WR_HEDGE_WON), 1);
    }
    rig_close(&r);
  }
}

/* The first one fails meanwhile: the rival is its second attempt, and no other is made. */
static void rescued(void **state) {
  (void)state;
  static const char *const how[] = { "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", "" };
  for (unsigned i = 0; i < 2; i++) {
    struct rig r;
    rig_hedge(&r);
    rig_open(&r);
    ask_both(&r);
    if (how[i][0]) say(&r, 0, wr_span_str(how[i]));
    else rig_up_drop(r.ups[0]);
    TURN_UNTIL(&r.w, ends(&r, WR_HEDGE_RESCUED) == 1);
    say(&r, 1, second_answer());
    expect_end(&r, SECOND);
    assert_int_equal(r.up_count, 2);
    rig_close(&r);
  }
}

/* The rival fails: nobody notices. */
static void rival_fails(void **state) {
  (void)state;
  static const char *const how[] = { "HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno", "",
                                     "nonsense\r\n\r\n", SSE_HEAD "zz\r\n",
                                     SSE_HEAD "28\r\n" FAULT "\r\n" };
  for (unsigned i = 0; i < sizeof how / sizeof how[0]; i++) {
    struct rig r;
    rig_hedge(&r);
    rig_open(&r);
    ask_both(&r);
    if (how[i][0]) say(&r, 1, wr_span_str(how[i]));
    else rig_up_drop(r.ups[1]);
    TURN_UNTIL(&r.w, ends(&r, WR_HEDGE_FAILED) == 1);
    say(&r, 0, whole_answer());
    expect_end(&r, WHOLE);
    rig_close(&r);
  }
}

/* Whole answers: whose head comes first. */
static void plain(void **state) {
  (void)state;
  struct rig r;
  rig_hedge(&r);
  rig_open(&r);
  ask_both(&r);
  say(&r, 1, wr_span_str("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                         "content-length: 2\r\n\r\n{}"));
  TURN_UNTIL(&r.w, r.client_end);
  assert_non_null(strstr(r.got, "\r\n\r\n{}"));
  assert_int_equal(ends(&r, WR_HEDGE_WON), 1);
  rig_close(&r);
}

/* The client leaves, or the process ends: both attempts do. */
static void left(void **state) {
  (void)state;
  struct rig r;
  rig_hedge(&r);
  rig_open(&r);
  ask_both(&r);
  rig_client_drop(&r);
  TURN_UNTIL(&r.w, r.ups[0]->ended && r.ups[1]->ended);
  assert_int_equal(ends(&r, WR_HEDGE_DROPPED), 1);
  rig_ups_drop(&r);
  ask_both(&r);
  rig_close(&r);
}

/* Neither without a share, nor under pressure, nor where nobody else has room. */
static void kept_from(void **state) {
  (void)state;
  struct rig r;
  rig_hedge(&r);
  r.routes[0].hedge.max_permille = 500;
  rig_open(&r);
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, nots(&r, WR_HEDGE_NOT_BUDGET) == 1);
  rig_ups_drop(&r);
  TURN_UNTIL(&r.w, r.client_end);
  rig_ups_drop(&r);
  r.upstreams[0].max_streams = r.upstreams[1].max_streams = 1;
  r.shared.upstreams[1] = 1;
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, nots(&r, WR_HEDGE_NOT_PEER) == 1);
  r.shared.upstreams[1] = 0;
  say(&r, 0, whole_answer());
  expect_end(&r, WHOLE);
  rig_close(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(rival_wins), cmocka_unit_test(rival_loses), cmocka_unit_test(rescued),
    cmocka_unit_test(rival_fails), cmocka_unit_test(plain), cmocka_unit_test(left),
    cmocka_unit_test(kept_from), cmocka_unit_test(much_before_content),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

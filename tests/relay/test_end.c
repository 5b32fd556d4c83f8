/* How things end: drained, stopped, swapped for another generation, short of memory in the middle.
 */
#include "relay/rig.h"

#define MESSAGES                                                                                   \
  "POST /v1/messages HTTP/1.1\r\nHost: h\r\nconnection: close\r\ncontent-length: 27\r\n\r\n" BODY

static char body[RIG_GOT];

/* Bytes of the upstream that take no memory of the pool; one piece at a time. */
static void say(struct rig *r, const char *constant) {
  struct wr_view v = wr_view_static(wr_span_str(constant));
  assert_int_equal(wr_conn_write(r->ups[0]->conn, &v), WR_OK);
  assert_int_equal(wr_conn_flush(r->ups[0]->conn), WR_OK);
}

static void begin(struct rig *r, const char *text) {
  assert_true(rig_dial(r));
  rig_send(r, text);
  TURN_UNTIL(&r->w, r->up_count == 1 && rig_request_bytes(r->ups[0]->text) > 0);
  say(r, SSE_HEAD);
}

static const char *chunk_of(const char *text) {
  static char rooms[8][512];
  static unsigned next;
  char *room = rooms[next++ % 8];
  snprintf(room, sizeof rooms[0], "%zx\r\n%s\r\n", strlen(text), text);
  return room;
}

/* A stream that runs loses nothing while the pool has nothing, for whatever share of the
 * allocations. */
static void memory_comes_and_goes(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.routes[0].heartbeat_ms = 15;
  rig_open(&r);
  static const char *const halves[] = { "data: {\"choices\":[{\"index\":0,",
                                        "\"delta\":{\"content\":\"split\"}}]}\n\n" };
  char mixed[2048]; /* frames of several blocks in one turn */
  size_t len = 0;
  static const char *const cuts[] = { "data: {\"choices\":[{\"index\":0,",
                                      "\"delta\":{\"content\":\"split\"}}]}\n\n" HELLO,
                                      "data: {\"choices\":[{\"index\":0,",
                                      "\"delta\":{\"content\":\"split\"}}]}\n\n" HELLO };
  for (unsigned i = 0; i < 4; i++)
    len += (size_t)snprintf(mixed + len, sizeof mixed - len, "%s", chunk_of(cuts[i]));
  for (uint64_t every = 1; every < 9; every++) {
    begin(&r, ASK_CLOSE);
    say(&r, chunk_of(HELLO));
    TURN_UNTIL(&r.w, strstr(r.got, "hello") != NULL);
    struct wr_mem_debug d = {
      .poison = true, .owners = true, .fail_nth = every, .fail_every = true
    };
    wr_mem_debug_set(&d);
    for (unsigned i = 0; i < 30; i++) {
      say(&r, i % 3 == 2 ? mixed : chunk_of(i % 3 ? HELLO : halves[0]));
      wr_loop_turn(r.w.loop, 0);
      if (i % 3 == 0) {
        if (i % 2) wr_loop_turn(r.w.loop, 12);
        TURN_UNTIL(&r.w, wr_conn_unsent_bytes(r.ups[0]->conn) == 0);
        say(&r, chunk_of(halves[1]));
      }
      TURN_UNTIL(&r.w, wr_conn_unsent_bytes(r.ups[0]->conn) == 0);
    }
    say(&r, chunk_of(DONE));
    for (unsigned i = 0; i < 10; i++) wr_loop_turn(r.w.loop, 3);
    d.fail_nth = 0;
    wr_mem_debug_set(&d);
    say(&r, "0\r\n\r\n");
    TURN_UNTIL(&r.w, r.client_end);
    assert_true(rig_dechunk(r.got, body, sizeof body, NULL));
    size_t hellos = 0, splits = 0;
    for (const char *p = body; (p = strstr(p, "hello")) != NULL; p++) hellos++;
    for (const char *p = body; (p = strstr(p, "split")) != NULL; p++) splits++;
    assert_int_equal(hellos, 1 + 10 + 20);
    assert_int_equal(splits, 10 + 20);
    assert_string_equal(r.outcome, "complete");
    rig_ups_drop(&r);
  }
  rig_close(&r);
}

static void drains(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  begin(&r, ASK);
  say(&r, chunk_of(HELLO));
  TURN_UNTIL(&r.w, strstr(r.got, "hello") != NULL);
  wr_relay_drain(r.relay);
  for (unsigned i = 0; i < 5; i++) wr_loop_turn(r.w.loop, 2);
  assert_int_equal(wr_relay_connections(r.relay), 1);
  say(&r, chunk_of(DONE));
  wr_loop_turn(r.w.loop, 5);
  say(&r, "0\r\n\r\n");
  TURN_UNTIL(&r.w, r.client_end);
  assert_true(rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(r.outcome, "complete");
  assert_int_equal(wr_relay_connections(r.relay), 0);
  rig_close(&r);
}

/* Now: the stream gets the dialect's error, and no clean end. */
static void stops(void **state) {
  (void)state;
  static const char *const asks[] = { ASK, MESSAGES };
  for (unsigned i = 0; i < 2; i++) {
    struct rig r;
    rig_init(&r);
    rig_open(&r);
    begin(&r, asks[i]);
    say(&r,
        i ? chunk_of(
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
                "\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n")
          : chunk_of(HELLO));
    TURN_UNTIL(&r.w, strstr(r.got, "hello") != NULL);
    wr_relay_stop(r.relay);
    assert_int_equal(r.records, 1);
    assert_string_equal(r.outcome, "shed");
    TURN_UNTIL(&r.w, r.client_end);
    assert_false(rig_dechunk(r.got, body, sizeof body, NULL));
    assert_non_null(strstr(body, i ? "event: error\n" : "data: {\"error\""));
    rig_close(&r);
  }
}

/* An answer without chunks can say only by a reset that it isn't whole. */
static void stops_without_chunks(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  begin(&r, "POST /v1/chat/completions HTTP/1.0\r\nHost: h\r\ncontent-length: 27\r\n\r\n" BODY);
  say(&r, chunk_of(HELLO));
  TURN_UNTIL(&r.w, strstr(r.got, "hello") != NULL);
  wr_relay_stop(r.relay);
  TURN_UNTIL(&r.w, r.client_end);
  assert_int_equal(wr_conn_state(r.client), WR_CONN_FAILED);
  rig_close(&r);
}

static void leaves_after_the_last_word(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  begin(&r, ASK);
  say(&r, chunk_of(HELLO DONE)); /* and the upstream never ends its body */
  TURN_UNTIL(&r.w, strstr(r.got, "[DONE]") != NULL);
  rig_client_drop(&r);
  TURN_UNTIL(&r.w, r.records == 1);
  assert_string_equal(r.outcome, "complete");
  TURN_UNTIL(&r.w, r.ups[0]->ended);
  rig_close(&r);
}

static void count_gone(void *ctx, struct wr_relay_gen *gen) {
  unsigned *n = ctx;
  (void)gen;
  (*n)++;
}

/* A request keeps the generation that it began with. */
static void generations(void **state) {
  (void)state;
  struct rig r;
  unsigned gone = 0;
  rig_init(&r);
  rig_open(&r);
  r.gen.gone = count_gone;
  r.gen.gone_ctx = &gone;
  struct wr_conf conf = r.conf;
  struct wr_conf_route route = r.routes[0];
  route.path = "/other";
  conf.routes = &route;
  struct wr_relay_gen next = { .conf = &conf, .upstreams = r.set };
  begin(&r, ASK);
  wr_relay_set_gen(r.relay, &next);
  assert_int_equal(gone, 0);
  say(&r, chunk_of(HELLO DONE));
  wr_loop_turn(r.w.loop, 5);
  say(&r, "0\r\n\r\n");
  TURN_UNTIL(&r.w, r.records == 1);
  assert_string_equal(r.outcome, "complete");
  assert_int_equal(gone, 1);
  rig_send(&r, ASK); /* the same connection, the new generation */
  TURN_UNTIL(&r.w, r.records == 2);
  assert_int_equal(r.record.err, WR_E_NO_ROUTE);
  rig_close(&r);
  assert_int_equal(next.refs, 0);
}

/* The policy ends a stream in every dialect's own way. */
static void stop_event(void *ctx, struct wr_hook_stream *s, const struct wr_event *ev,
                       const struct wr_view *raw, struct wr_verdict *out) {
  (void)ctx;
  (void)s;
  (void)raw;
  if (!wr_span_eq(ev->text, WR_SPAN("bad"))) return;
  out->kind = WR_VERDICT_STOP;
  out->text = WR_SPAN("content_filter");
}
static void count_end(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome) {
  struct rig *r = ctx;
  r->ends++;
  assert_int_equal(s->status, 200);
  assert_int_equal(outcome, WR_OUTCOME_STOPPED);
}

static void stopped_messages(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.use_hooks = true;
  r.hooks = (struct wr_hooks){ .ctx = &r, .event = stop_event, .end = count_end };
  r.routes[0].hooks = WR_HOOK_EVENT;
  rig_open(&r);
  begin(&r, MESSAGES);
  say(&r,
      chunk_of(
          "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2}\n\n"));
  wr_loop_turn(r.w.loop, 5);
  say(&r,
      chunk_of("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,"
               "\"delta\":{\"type\":\"text_delta\",\"text\":\"bad\"}}\n\n"));
  TURN_UNTIL(&r.w, r.client_end);
  assert_true(rig_dechunk(r.got, body, sizeof body, NULL));
  assert_null(strstr(body, "bad"));
  assert_non_null(strstr(body, "{\"type\":\"content_block_stop\",\"index\":2}"));
  assert_non_null(strstr(body, "\"stop_reason\":\"refusal\""));
  assert_non_null(strstr(body, "message_stop"));
  assert_string_equal(r.outcome, "stopped");
  assert_int_equal(r.ends, 1);
  rig_close(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(memory_comes_and_goes),
    cmocka_unit_test(drains),
    cmocka_unit_test(stops),
    cmocka_unit_test(stops_without_chunks),
    cmocka_unit_test(leaves_after_the_last_word),
    cmocka_unit_test(generations),
    cmocka_unit_test(stopped_messages),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Sessions from the first byte to the record: outcomes, faults, pipelining, retries, deadlines. */
#include "relay/texts.h"

static void complete_stream(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  answer_with(&r, whole_answer());
  ask(&r, ASK);
  TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(body, WHOLE);
  assert_string_equal(r.outcome, "complete");
  assert_string_equal(r.model, "m");
  assert_int_equal(r.record.status, 200);
  assert_int_equal(r.record.events, 5);
  assert_int_equal(r.record.input_tokens, 3);
  assert_int_equal(r.record.output_tokens, 7);
  assert_int_equal(r.record.attempts, 1);
  assert_int_equal(r.record.bytes_in, 27);
  assert_int_equal(r.record.bytes_out, strlen(WHOLE));
  assert_true(r.record.first_token_us >= r.record.first_byte_us);
  rig_close(&r);
}

/* Request and answer cross each side once: the end leaves with the last event. */
static void whole_answer_is_one_write(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  answer_with(&r, whole_answer());
  uint64_t before = wr_loop_stats(r.w.loop)->writes;
  ask(&r, ASK);
  TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  assert_int_equal(wr_loop_stats(r.w.loop)->writes - before, 4);
  rig_close(&r);
}

/* The upstream breaks off after every number of bytes: never a clean end unless the answer is
 * whole. */
static void upstream_breaks_at(struct rig *r, size_t n, bool reset) {
  r->answer_bytes = n;
  r->then = reset ? RIG_RESET : RIG_FIN;
  ask(r, ASK_CLOSE);
  TURN_UNTIL(&r->w, r->client_end);
  bool clean = rig_dechunk(r->got, body, sizeof body, NULL);
  bool ok = strncmp(r->got, "HTTP/1.1 200", 12) == 0;
  if (n == r->answer.len && !reset) assert_true(clean && ok);
  if (ok && clean) assert_string_equal(body, WHOLE);
  if (ok && !clean) assert_true(strstr(body, "\"error\"") != NULL || reset);
  if (!ok && r->got_len) assert_true(strncmp(r->got, "HTTP/1.1 502", 12) == 0);
  assert_string_equal(r->outcome, ok && clean ? "complete" : ok ? "truncated" : r->outcome);
  rig_ups_drop(r);
}

static void upstream_breaks(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  answer_with(&r, whole_answer());
  size_t len = r.answer.len;
  for (size_t n = 0; n <= len; n++) upstream_breaks_at(&r, n, false);
  for (size_t n = 0; n <= len; n += 7) upstream_breaks_at(&r, n, true);
  rig_close(&r);
}

/* A body that ends well by its framing, with something of the dialect missing. */
static void ends_of_dialect(void **state) {
  (void)state;
  static const struct {
    const char *text, *outcome;
    bool clean;
  } cases[] = {
    { ROLE HELLO, "truncated", false },
    { ROLE HELLO STOP, "complete", true }, /* a finish reason will do */
    { ROLE HELLO DONE, "complete", true },
    { ROLE HELLO DONE "data: x", "complete", true },
    { ROLE HELLO STOP "data: {\"us", "truncated", false },
    { ROLE FAULT, "upstream_error", true }, /* byte for byte */
    { FAULT, "upstream_error", true },
    { ROLE HELLO "data: {\"a\n\n", "upstream_error", false },
    { ":\n\n" ROLE "data:\n\n" HELLO DONE, "complete", true },
    { "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"x\"}}]}\n\n" DONE,
      "complete", true },
  };
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    answer_with(&r, chunked(&cases[i].text, 1));
    ask(&r, ASK_CLOSE);
    TURN_UNTIL(&r.w, r.client_end);
    assert_int_equal(rig_dechunk(r.got, body, sizeof body, NULL), cases[i].clean);
    assert_string_equal(r.outcome, cases[i].outcome);
    if (cases[i].clean && !strstr(cases[i].text, "data: x"))
      assert_string_equal(body, cases[i].text);
    if (!cases[i].clean) assert_non_null(strstr(body, "\"error\""));
  }
  rig_close(&r);
}

/* The request in two pieces, split at every byte. */
static void request_splits(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.routes[0].output_tokens = 5;
  rig_open(&r);
  answer_with(&r, whole_answer());
  static const char ask_text[] = ASK_CLOSE;
  size_t len = strlen(ask_text);
  for (size_t i = 1; i < len; i++) {
    unsigned before = r.records;
    assert_true(rig_dial(&r));
    rig_write(r.client, ASK_CLOSE, i);
    TURN_UNTIL(&r.w, wr_conn_state(r.client) == WR_CONN_OPEN &&
                         wr_conn_unsent_bytes(r.client) == 0 &&
                         wr_relay_stats(r.relay)->active == 1);
    rig_write(r.client, &ask_text[i], len - i);
    TURN_UNTIL(&r.w, r.records > before && r.client_end);
    assert_true(rig_dechunk(r.got, body, sizeof body, NULL));
    assert_string_equal(body, WHOLE);
    assert_string_equal(r.outcome, "complete");
  }
  rig_close(&r);
}

/* Body edits arrive at the upstream: the model replaced, the cap inserted or lowered, wherever the
 * body is split. */
static void request_edits(void **state) {
  (void)state;
  static const struct {
    const char *from, *to;
  } cases[] = {
    { "{\"model\":\"m\",\"x\":1}", "{\"max_tokens\":5,\"model\":\"real\",\"x\":1}" },
    { "{\"max_tokens\":9,\"model\":\"m\"}", "{\"max_tokens\":5,\"model\":\"real\"}" },
    { "{\"max_tokens\":4,\"model\":\"m\"}", "{\"max_tokens\":4,\"model\":\"real\"}" },
    { "{\"max_tokens\":null,\"model\":\"m\"}", "{\"max_tokens\":5,\"model\":\"real\"}" },
    { "{\"max_tokens\":1,\"max_completion_tokens\":99,\"model\":\"m\"}",
      "{\"max_tokens\":1,\"max_completion_tokens\":5,\"model\":\"real\"}" },
    { "{\"model\":\"real\",\"max_tokens\":1e9}", "{\"model\":\"real\",\"max_tokens\":5}" },
  };
  struct rig r;
  rig_init(&r);
  r.routes[0].output_tokens = 5;
  r.models[0] = (struct wr_conf_model){ "m", "real" };
  r.upstreams[0].models = r.models;
  r.upstreams[0].model_count = 1;
  rig_open(&r);
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    size_t len = strlen(cases[c].from);
    for (size_t i = 0; i <= len; i += 3) {
      char text[512];
      int head = snprintf(text, sizeof text, POST "content-length: %zu\r\n\r\n", len);
      memcpy(text + head, cases[c].from, len + 1);
      assert_true(rig_dial(&r));
      rig_write(r.client, text, (size_t)head + i);
      TURN_UNTIL(&r.w, wr_relay_stats(r.relay)->active == 1 && wr_conn_unsent_bytes(r.client) == 0);
      rig_write(r.client, text + head + i, len - i);
      TURN_UNTIL(&r.w, r.up_count > 0 && rig_request_bytes(r.ups[0]->text) > 0);
      const char *got = strstr(r.ups[0]->text, "\r\n\r\n") + 4;
      assert_string_equal(got, cases[c].to);
      rig_client_drop(&r);
      TURN_UNTIL(&r.w, wr_relay_connections(r.relay) == 0);
      assert_string_equal(r.outcome, "client_gone");
      rig_ups_drop(&r);
    }
  }
  rig_close(&r);
}

/* The same for Ollama, whose bound lies deeper. */
static void ollama_edits(void **state) {
  (void)state;
  static const struct {
    const char *from, *to;
  } cases[] = {
    { "{\"model\":\"m\"}", "{\"options\":{\"num_predict\":5},\"model\":\"m\"}" },
    { "{\"model\":\"m\",\"options\":null}", "{\"model\":\"m\",\"options\":{\"num_predict\":5}}" },
    { "{\"options\":{ },\"model\":\"m\"}", "{\"options\":{\"num_predict\":5 },\"model\":\"m\"}" },
    { "{\"options\":{\"seed\":{}},\"model\":\"m\"}",
      "{\"options\":{\"num_predict\":5,\"seed\":{}},\"model\":\"m\"}" },
    { "{\"options\":{\"num_predict\":-1},\"model\":\"m\"}",
      "{\"options\":{\"num_predict\":5},\"model\":\"m\"}" },
    { "{\"options\":{\"num_predict\":4},\"model\":\"m\"}",
      "{\"options\":{\"num_predict\":4},\"model\":\"m\"}" },
    { "{\"max_tokens\":9,\"options\":{\"num_predict\":4},\"options\":{\"a\":1},\"model\":\"m\"}",
      "{\"max_tokens\":9,\"options\":{\"num_predict\":4},\"options\":{\"num_predict\":5,"
      "\"a\":1},\"model\":\"m\"}" },
  };
  struct rig r;
  rig_init(&r);
  r.routes[0].output_tokens = 5;
  r.upstreams[0].kind = WR_KIND_OLLAMA;
  rig_open(&r);
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    char text[512];
    snprintf(text, sizeof text,
             "POST /api/chat HTTP/1.1\r\nhost: h\r\ncontent-length: %zu\r\n\r\n%s",
             strlen(cases[c].from), cases[c].from);
    assert_true(rig_dial(&r));
    rig_write(r.client, text, strlen(text));
    TURN_UNTIL(&r.w, r.up_count > 0 && rig_request_bytes(r.ups[0]->text) > 0);
    assert_string_equal(strstr(r.ups[0]->text, "\r\n\r\n") + 4, cases[c].to);
    rig_client_drop(&r);
    TURN_UNTIL(&r.w, wr_relay_connections(r.relay) == 0);
    rig_ups_drop(&r);
  }
  rig_close(&r);
}

/* Requests in one breath are answered in order, over one upstream connection. */
static void pipelining(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  answer_with(&r, whole_answer());
  assert_true(rig_dial(&r));
  rig_send(&r, ASK ASK "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n" ASK_CLOSE);
  TURN_UNTIL(&r.w, r.records == 4 && r.client_end);
  const char *at = r.got;
  for (unsigned i = 0; i < 4; i++) {
    assert_true(strncmp(at, "HTTP/1.1 200", 12) == 0);
    assert_true(rig_dechunk(at, body, sizeof body, &at));
    assert_string_equal(body, WHOLE);
  }
  assert_int_equal(*at, 0);
  assert_int_equal(r.up_count, 1);
  assert_true(r.record.reused);
  rig_close(&r);
}

/* The client goes at every moment: the upstream is cancelled, one record is written. */
static void client_leaves(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  size_t len = strlen(ASK);
  for (size_t i = 1; i <= len; i += 9) { /* within the request */
    assert_true(rig_dial(&r));
    rig_write(r.client, ASK, i);
    TURN_UNTIL(&r.w, wr_relay_stats(r.relay)->active == 1);
    unsigned before = r.records;
    rig_client_drop(&r);
    TURN_UNTIL(&r.w, wr_relay_connections(r.relay) == 0);
    assert_int_equal(r.records, before + 1);
    assert_string_equal(r.outcome, "client_gone");
  }
  rig_ups_drop(&r);
  static const char *const sent[] = { "", "HTTP/1.1 200", SSE_HEAD, SSE_HEAD "3\r\n:\n\n\r\n" };
  for (size_t i = 0; i < sizeof sent / sizeof sent[0]; i++) { /* while it waits for the answer */
    unsigned before = r.records;
    assert_true(rig_dial(&r));
    rig_send(&r, ASK);
    TURN_UNTIL(&r.w, r.up_count == 1 && rig_request_bytes(r.ups[0]->text) > 0);
    rig_write(r.ups[0]->conn, sent[i], strlen(sent[i]));
    wr_loop_turn(r.w.loop, 5);
    wr_conn_close(r.client); /* a FIN, not a reset */
    r.client = NULL;
    TURN_UNTIL(&r.w, r.ups[0]->ended);
    assert_int_equal(r.records, before + 1);
    assert_string_equal(r.outcome, "client_gone");
    rig_ups_drop(&r);
  }
  rig_close(&r);
}

/* A refused connection is tried elsewhere; the stream then is whole. */
static void retry_connect(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.routes[0].to = 2;
  r.models[0] = (struct wr_conf_model){ "m", "only-first" };
  r.upstreams[0].models = r.models;
  r.upstreams[0].model_count = 1;
  rig_open(&r);
  rig_back_close(&r, 0);
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.up_count == 1 && rig_request_bytes(r.ups[0]->text) > 0);
  assert_int_equal(r.ups[0]->peer, 1);
  assert_string_equal(strstr(r.ups[0]->text, "\r\n\r\n") + 4,
                      BODY); /* the first's name for the model is not told */
  struct wr_span a = whole_answer();
  rig_write(r.ups[0]->conn, a.ptr, a.len);
  TURN_UNTIL(&r.w, r.client_end && r.records == 1);
  assert_true(rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(body, WHOLE);
  assert_int_equal(r.record.attempts, 2);
  rig_close(&r);
}

/* A kept connection that died is no attempt. */
static void stale_connection(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  answer_with(&r, whole_answer());
  r.answer_first_only = true;
  ask(&r, ASK);
  ask(&r, ASK);
  TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(body, WHOLE);
  assert_int_equal(r.up_count, 2);
  assert_int_equal(r.record.attempts, 1);
  assert_int_equal(wr_relay_stats(r.relay)->retries[WR_RETRY_WHY_STALE], 1);
  rig_close(&r);
}

static void up_wait(struct rig *r) {
  TURN_UNTIL(&r->w, r->up_count == 1 && rig_request_bytes(r->ups[0]->text) > 0);
}

/* Nothing is committed before content; then what was held comes first. */
static void commit_point(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.upstreams[0].timeout.first_token_ms = 40;
  rig_open(&r);
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  up_wait(&r);
  const char *const parts[] = { ROLE, HELLO };
  struct wr_span a = chunked(parts, 1);
  rig_write(r.ups[0]->conn, a.ptr, a.len - 5); /* without the last chunk */
  TURN_UNTIL(&r.w, r.client_end);
  assert_true(strncmp(r.got, "HTTP/1.1 504", 12) == 0);
  assert_string_equal(r.outcome, "stalled");
  assert_int_equal(r.record.err, WR_E_FIRST_TOKEN_TIMEOUT);
  rig_ups_drop(&r);
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  up_wait(&r);
  a = chunked(parts, 2);
  rig_write(r.ups[0]->conn, a.ptr, a.len - 5);
  TURN_UNTIL(&r.w, strstr(r.got, "hello") != NULL);
  assert_false(rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(body, ROLE HELLO);
  rig_close(&r);
}

/* Heartbeats flow into silence; comments don't put off the idle deadline; its end is the dialect's
 * error. */
static void heartbeat_and_idle(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.routes[0].heartbeat_ms = 10;
  r.upstreams[0].timeout.idle_ms = 45;
  rig_open(&r);
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  up_wait(&r);
  const char *const parts[] = { HELLO };
  struct wr_span a = chunked(parts, 1);
  rig_write(r.ups[0]->conn, a.ptr, a.len - 5);
  TURN_UNTIL(&r.w, r.client_end);
  assert_false(rig_dechunk(r.got, body, sizeof body, NULL));
  assert_non_null(strstr(body, ":\n\n"));
  assert_non_null(strstr(body, "idle_timeout"));
  assert_string_equal(r.outcome, "stalled");
  assert_true(wr_relay_stats(r.relay)->heartbeats >= 1);
  rig_close(&r);
}

/* The cap on the whole request outlives an attempt. */
static void total_deadline(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.routes[0].timeout.total_ms = 50;
  r.routes[0].to = 2;
  rig_open(&r);
  rig_back_close(&r, 0);
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_int_equal(r.record.err, WR_E_TOTAL_TIMEOUT);
  assert_true(strncmp(r.got, "HTTP/1.1 504", 12) == 0);
  assert_true(r.record.duration_us < 2000000);
  rig_close(&r);
}

static void request_deadlines(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.routes[0].body_timeout_ms = 20;
  r.upstreams[0].timeout.first_byte_ms = 20;
  rig_open(&r);
  ask(&r, POST "content-length: 100\r\n\r\n{");
  TURN_UNTIL(&r.w, r.client_end);
  assert_true(strncmp(r.got, "HTTP/1.1 408", 12) == 0);
  ask(&r, ASK);
  TURN_UNTIL(&r.w, strstr(r.got, "HTTP/1.1 504") != NULL);
  assert_int_equal(r.record.err, WR_E_FIRST_BYTE_TIMEOUT);
  rig_close(&r);
}

/* ---- requests and answers that are no streams */

static void plain_answers(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  answer_with(&r, WR_SPAN("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Nope\r\ncontent-length: "
                          "2\r\nx-a: b\r\n\r\nno"));
  ask(&r, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
  TURN_UNTIL(&r.w, strstr(r.got, "\r\n\r\nno") != NULL);
  assert_non_null(strstr(r.got, "content-length: 2\r\n"));
  assert_non_null(strstr(r.got, "x-a: b\r\n"));
  answer_with(&r, WR_SPAN("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"));
  ask(&r, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n");
  TURN_UNTIL(&r.w, strstr(r.got, "content-length: 5\r\n\r\n") != NULL);
  answer_with(&r, WR_SPAN("HTTP/1.1 204 No Content\r\n\r\n"));
  ask(&r, "DELETE /x HTTP/1.1\r\nHost: h\r\n\r\n");
  TURN_UNTIL(&r.w, strstr(r.got, "HTTP/1.1 204") != NULL && strstr(r.got, "\r\n\r\n"));
  assert_null(strstr(r.got, "content-length"));
  assert_int_equal(r.up_count, 1); /* each left its connection to the next */
  answer_with(&r, WR_SPAN("HTTP/1.0 200 OK\r\n\r\nuntil the end"));
  r.then = RIG_FIN;
  ask(&r, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
  TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(body, "until the end");
  answer_with(&r, whole_answer());
  r.then = RIG_STAY;
  ask(&r, "POST /v1/chat/completions HTTP/1.0\r\nHost: h\r\ncontent-length: 27\r\n\r\n" BODY);
  TURN_UNTIL(&r.w, r.client_end);
  assert_string_equal(strstr(r.got, "\r\n\r\n") + 4, WHOLE);
  rig_close(&r);
}

static void bad_requests(void **state) {
  (void)state;
  static const struct {
    const char *text;
    unsigned status;
  } cases[] = {
    { "GET / HTTP/1.1\r\n\r\n", 400 },
    { "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 400 },
    { POST "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400 },
    { POST "transfer-encoding: chunked\r\n\r\nzz\r\n", 400 },
    { "POST /x HTTP/1.1\r\nHost: h\r\ncontent-length: 99999999\r\n\r\n", 413 },
  };
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char want[32];
    ask(&r, cases[i].text);
    TURN_UNTIL(&r.w, r.client_end);
    snprintf(want, sizeof want, "HTTP/1.1 %u ", cases[i].status);
    assert_memory_equal(r.got, want, strlen(want));
    assert_non_null(strstr(r.got, "connection: close\r\n"));
    assert_string_equal(r.outcome, "refused");
  }
  rig_close(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(complete_stream), cmocka_unit_test(whole_answer_is_one_write),
    cmocka_unit_test(upstream_breaks), cmocka_unit_test(ends_of_dialect),
    cmocka_unit_test(request_splits),  cmocka_unit_test(request_edits),
    cmocka_unit_test(ollama_edits),    cmocka_unit_test(pipelining),
       cmocka_unit_test(client_leaves),
    cmocka_unit_test(retry_connect),   cmocka_unit_test(stale_connection),
    cmocka_unit_test(commit_point),    cmocka_unit_test(heartbeat_and_idle),
    cmocka_unit_test(total_deadline),  cmocka_unit_test(request_deadlines),
    cmocka_unit_test(plain_answers),   cmocka_unit_test(bad_requests),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

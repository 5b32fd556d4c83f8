/* Attempts that fail before the client has got anything: whether there is another, whom it asks,
 * and that nothing of the one before is to be seen. */
#include "relay/texts.h"
#include "upstream/set_priv.h"

#define BUSY                                                                                       \
  "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: 8\r\n"      \
  "x-from: busy\r\n"
#define BUSY_BODY "{\"a\": 1}"
#define PLAIN_500 "HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno"
#define ROLE_2                                                                                     \
  "data: {\"id\":\"other\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n"
#define USAGE_9 "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":9}}\n\n"

static uint64_t tries(struct rig *r, unsigned why) {
  return wr_relay_stats(r->relay)->retries[why];
}

/* The first of the group fails with what `first` says, the second has the whole answer. */
static void rig_two(struct rig *r, uint32_t on) {
  rig_init(r);
  r->routes[0].to = 2;
  if (on) r->groups[2].retry_on = on;
}

static char other_room[96 << 10];
static struct wr_span keep(struct wr_span text) {
  memcpy(other_room, text.ptr, text.len);
  return wr_span_make(other_room, text.len);
}

/* Which of them is asked first is the balancer's affair: asks until it was the first. */
static void ask_first(struct rig *r) {
  do {
    r->asked[0] = r->asked[1] = 0;
    ask(r, ASK_CLOSE);
    TURN_UNTIL(&r->w, r->client_end);
    rig_ups_drop(r);
  } while (r->asked[0] == 0);
}

static void expect_second(struct rig *r, unsigned why) {
  uint64_t before = tries(r, why);
  ask_first(r);
  assert_true(rig_dechunk(r->got, body, sizeof body, NULL));
  assert_string_equal(body, WHOLE);
  assert_int_equal(r->asked[1], 1);
  assert_int_equal(r->record.attempts, 2);
  assert_string_equal(r->outcome, "complete");
  assert_int_equal(r->record.err, WR_OK);
  assert_int_equal(r->record.input_tokens, 3);
  assert_int_equal(r->record.events, 5);
  assert_int_equal(tries(r, why), before + 1);
}

/* What an upstream says itself, and nothing of it is seen. */
static void refusals(void **state) {
  (void)state;
  struct rig r;
  rig_two(&r, 0);
  rig_open(&r);
  const char *const fault[] = { ROLE_2, USAGE_9, FAULT };
  answer_with(&r, whole_answer());
  static char whole[4096];
  memcpy(whole, r.answer.ptr, r.answer.len);
  r.answer_of[1] = wr_span_make(whole, r.answer.len);
  r.answer_of[0] = wr_span_str(BUSY "\r\n" BUSY_BODY);
  expect_second(&r, WR_RETRY_WHY_429);
  assert_null(strstr(r.got, "x-from"));
  r.answer_of[0] = wr_span_str("HTTP/1.1 529 Busy\r\ncontent-length: 0\r\nretry-after: 5\r\n\r\n");
  expect_second(&r, WR_RETRY_WHY_503);
  r.answer_of[0] = keep(chunked(fault, 3));
  expect_second(&r, WR_RETRY_ERROR);
  assert_int_equal(wr_relay_stats(r.relay)->fallbacks, 3);
  rig_close(&r);
}

/* What may have been carried out is only tried again where the group says so; else it passes on as
 * it came. */
static void named(void **state) {
  (void)state;
  const char *const held[] = { ROLE_2 };
  struct wr_span half = keep(chunked(held, 1));
  static char stalled[512];
  memcpy(stalled, half.ptr, half.len - 5);
  const struct {
    struct wr_span first;
    uint32_t on;
    unsigned why, status;
  } cases[] = {
    { wr_span_str(PLAIN_500), WR_RETRY_ON_5XX, WR_RETRY_WHY_STATUS, 500 },
    { half, 1u << WR_RETRY_TRUNCATED, WR_RETRY_TRUNCATED, 502 },
    { wr_span_make(stalled, half.len - 5), 1u << WR_RETRY_FIRST_TOKEN, WR_RETRY_FIRST_TOKEN, 504 },
    { wr_span_str("HTTP/1.1 2OO ?\r\n\r\n"), 1u << WR_RETRY_PROTOCOL, WR_RETRY_PROTOCOL, 502 },
    { wr_span_str("HTTP/1.1 100 Continue\r\n\r\n"), 1u << WR_RETRY_FIRST_BYTE,
      WR_RETRY_FIRST_BYTE, 504 },
  };
  for (size_t i = 0; i < 2 * (sizeof cases / sizeof cases[0]); i++) {
    struct rig r;
    bool on = i & 1u;
    rig_two(&r, on ? cases[i / 2].on : WR_RETRY_ON_429);
    for (unsigned k = 0; k < 2; k++) {
      r.upstreams[k].timeout.first_token_ms = 200;
      r.upstreams[k].timeout.first_byte_ms = 150;
    }
    rig_open(&r);
    answer_with(&r, whole_answer());
    r.answer_of[0] = cases[i / 2].first;
    if (on) {
      expect_second(&r, cases[i / 2].why);
    } else {
      ask_first(&r);
      char want[32];
      snprintf(want, sizeof want, "HTTP/1.1 %u ", cases[i / 2].status);
      assert_memory_equal(r.got, want, strlen(want));
      assert_int_equal(r.record.attempts, 1);
    }
    rig_close(&r);
  }
}

/* Both fail: the client gets what the last one said, byte for byte. */
static void all_fail(void **state) {
  (void)state;
  struct rig r;
  rig_two(&r, 0);
  r.groups[2].attempts = 4;
  rig_open(&r);
  answer_with(&r, wr_span_str(BUSY "retry-after: 77\r\n\r\n" BUSY_BODY));
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_memory_equal(r.got, "HTTP/1.1 429 ", 13);
  assert_non_null(strstr(r.got, "x-from: busy\r\n"));
  assert_non_null(strstr(r.got, "retry-after: 77\r\n"));
  assert_non_null(strstr(r.got, "\r\n\r\n" BUSY_BODY));
  assert_int_equal(r.record.attempts, 2); /* nobody waits for 77 s */
  assert_string_equal(r.outcome, "upstream_error");
  const char *const fault[] = { ROLE, FAULT };
  answer_with(&r, chunked(fault, 2));
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_true(rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(body, ROLE FAULT);
  assert_int_equal(r.record.attempts, 4); /* the round began anew */
  rig_close(&r);
}

/* Who asked to be left alone is no way out for others: what the first one says passes on. */
static void left_alone(void **state) {
  (void)state;
  struct rig r;
  rig_two(&r, 0);
  r.groups[2].last = "second"; /* the floor keeps one of the others in use */
  for (unsigned i = 0; i < 2; i++) r.upstreams[i].breaker.busy_max_ms = 60000;
  rig_open(&r);
  answer_with(&r, wr_span_str(BUSY "retry-after: 50\r\n\r\n" BUSY_BODY));
  for (unsigned i = 0; i < 3; i++) {
    ask(&r, ASK_CLOSE);
    TURN_UNTIL(&r.w, r.client_end);
    assert_memory_equal(r.got, "HTTP/1.1 429 ", 13);
    assert_non_null(strstr(r.got, "x-from: busy\r\n"));
    assert_int_equal(r.record.attempts, i == 0 ? 2 : 1);
  }
  rig_close(&r);
}

/* One that says when to come back is asked then, and not before. */
static void same_again(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.groups[0].again = true;
  r.groups[0].attempts = 2;
  rig_open(&r);
  answer_with(&r, wr_span_str(BUSY "retry-after-ms: 150\r\n\r\n" BUSY_BODY));
  uint64_t start = wr_loop_now_us(r.w.loop);
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.asked[0] == 1);
  answer_with(&r, whole_answer());
  TURN_UNTIL(&r.w, r.client_end);
  assert_true(rig_dechunk(r.got, body, sizeof body, NULL));
  assert_true(wr_loop_now_us(r.w.loop) - start >= 150000);
  assert_int_equal(r.asked[0], 2);
  /* The client leaves while weir waits. */
  answer_with(&r, wr_span_str(BUSY "retry-after: 9\r\n\r\n" BUSY_BODY));
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.asked[0] == 3);
  wr_loop_turn(r.w.loop, 5);
  unsigned before = r.records;
  rig_client_drop(&r);
  TURN_UNTIL(&r.w, r.records == before + 1);
  assert_string_equal(r.outcome, "client_gone");
  /* An upstream that a route names itself is asked once. */
  r.groups[0].again = false;
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_memory_equal(r.got, "HTTP/1.1 429 ", 13);
  assert_int_equal(r.record.attempts, 1);
  rig_close(&r);
}

/* x-should-retry: an upstream that says no isn't asked again, others are; one that says
 * yes makes a retry of what would have been none. */
static void upstream_decides(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.routes[0].to = 0;
  r.groups[0].again = true;
  r.groups[0].attempts = 3;
  r.groups[0].backoff_ms = 1;
  rig_open(&r);
  answer_with(&r, wr_span_str(BUSY "x-should-retry: false\r\n\r\n" BUSY_BODY));
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_memory_equal(r.got, "HTTP/1.1 429 ", 13);
  assert_non_null(strstr(r.got, "x-should-retry: false\r\n"));
  assert_int_equal(r.record.attempts, 1);
  answer_with(&r, wr_span_str(BUSY "\r\n" BUSY_BODY));
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_int_equal(r.record.attempts, 3); /* without a word */
  rig_close(&r);
  rig_two(&r, 0);
  rig_open(&r);
  answer_with(&r, whole_answer());
  r.answer_of[0] = wr_span_str(BUSY "x-should-retry: false\r\n\r\n" BUSY_BODY);
  expect_second(&r, WR_RETRY_WHY_429);
#define YES "content-length: 0\r\nx-should-retry: true\r\n\r\n"
  r.answer_of[0] = wr_span_str("HTTP/1.1 500 Oops\r\n" YES);
  expect_second(&r, WR_RETRY_WHY_STATUS);
  r.answer_of[0] = wr_span_str("HTTP/1.1 409 Conflict\r\n" YES);
  expect_second(&r, WR_RETRY_WHY_STATUS);
  rig_close(&r);
}

/* `last` is asked when the others have failed, never before. */
static void last_comes_last(void **state) {
  (void)state;
  struct rig r;
  rig_two(&r, 0);
  r.groups[2].last = "second";
  rig_open(&r);
  answer_with(&r, whole_answer());
  for (unsigned i = 0; i < 4; i++) {
    ask(&r, ASK_CLOSE);
    TURN_UNTIL(&r.w, r.client_end);
  }
  assert_int_equal(r.asked[0], 4);
  assert_int_equal(r.asked[1], 0);
  r.answer_of[0] = wr_span_str(BUSY "\r\n" BUSY_BODY);
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_int_equal(r.asked[1], 1);
  rig_close(&r);
}

static void budget_and_body(void **state) {
  (void)state;
  struct rig r;
  rig_two(&r, 0);
  r.groups[2].retry_budget_permille = 0;
  r.routes[0].inspect_bytes = 4096;
  rig_open(&r);
  answer_with(&r, wr_span_str(BUSY "\r\n" BUSY_BODY));
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_int_equal(r.record.attempts, 1);
  assert_int_equal(wr_relay_stats(r.relay)->retry_budget_exhausted, 1);
  /* Who has not been reached costs nothing. */
  rig_ups_drop(&r);
  rig_back_close(&r, 0);
  r.answer_of[1] = whole_answer();
  for (unsigned i = 0; i < 2; i++) {
    ask(&r, ASK_CLOSE);
    TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  }
  assert_int_equal(tries(&r, WR_RETRY_CONNECT), 1);
  /* A body that has streamed by can't be sent again. */
  r.groups[2].retry_budget_permille = 1000;
  r.groups[2].attempts = 3;
  r.answer_of[1] = wr_span_str(BUSY "\r\n" BUSY_BODY);
  static char big[16384];
  size_t at = (size_t)snprintf(big, sizeof big,
                               POST "content-length: 9000\r\n\r\n{\"model\":\"m\"");
  memset(big + at, ' ', 9000 - 12);
  big[at + 9000 - 12 - 1] = '}';
  rig_client_drop(&r);
  ask(&r, big);
  TURN_UNTIL(&r.w, strstr(r.got, "HTTP/1.1 429 ") != NULL);
  assert_int_equal(wr_relay_stats(r.relay)->retry_body_gone, 1);
  rig_close(&r);
}

/* A long prompt is kept as long as another attempt may need it. */
static void long_body(void **state) {
  (void)state;
  struct rig r;
  rig_two(&r, 0);
  r.routes[0].inspect_bytes = 1u << 20;
  rig_open(&r);
  answer_with(&r, whole_answer());
  r.answer_of[0] = wr_span_str(BUSY "\r\n" BUSY_BODY);
  static char big[120 << 10];
  size_t bytes = 100000;
  size_t at = (size_t)snprintf(big, sizeof big, POST "content-length: %zu\r\n\r\n{\"model\":\"m\"",
                               bytes);
  memset(big + at, ' ', bytes - 12);
  big[at + bytes - 12 - 1] = '}';
  do {
    r.asked[0] = 0;
    ask(&r, big);
    TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  } while (r.asked[0] == 0);
  assert_string_equal(body, WHOLE);
  assert_int_equal(r.record.attempts, 2);
  rig_close(&r);
}

/* ---- what a policy says */

struct policy {
  struct rig r;
  struct wr_verdict say;       /* to on_upstream_error */
  struct wr_verdict say_start; /* to on_response_start, for the first upstream only */
  unsigned errors, starts;
  struct wr_hook_error last;
  uint64_t tried;
  uint64_t first_token_us;
};

static void check_request(const struct wr_hook_stream *s) {
  const struct wr_hook_request *rq = s->request;
  assert_non_null(rq);
  assert_true(wr_span_eq(rq->header(rq, WR_SPAN("host")), WR_SPAN("h")));
  assert_true(wr_span_eq(wr_view_span(&rq->body), WR_SPAN(BODY)));
  assert_true(wr_span_eq(rq->path, WR_SPAN("/v1/chat/completions")));
  assert_true(wr_span_eq(rq->model, WR_SPAN("m")));
}

static void hook_error(void *ctx, struct wr_hook_stream *s, const struct wr_hook_error *er,
                       struct wr_verdict *out) {
  struct policy *p = ctx;
  p->errors++;
  p->last = *er;
  p->tried = s->tried;
  if (!er->committed) check_request(s);
  assert_int_equal(er->attempt, s->attempt);
  *out = p->say;
}

static void hook_start(void *ctx, struct wr_hook_stream *s, const struct wr_hook_response *rs,
                       struct wr_verdict *out) {
  struct policy *p = ctx;
  p->starts++;
  struct wr_span type = rs->header(rs, WR_SPAN("content-type"));
  assert_true(wr_span_starts(type, rs->status == 200 ? WR_SPAN("text/event") : WR_SPAN("app")));
  assert_null(rs->header(rs, WR_SPAN("x-none")).ptr);
  check_request(s);
  p->first_token_us = rs->first_token_us;
  if (strcmp(s->upstream, "first") == 0) *out = p->say_start;
}

static void policy_open(struct policy *p, uint32_t group) {
  memset(p, 0, sizeof *p);
  rig_init(&p->r);
  p->r.use_hooks = true;
  p->r.hooks = (struct wr_hooks){
    .ctx = p, .upstream_error = hook_error, .response_start = hook_start
  };
  p->r.routes[0].hooks = WR_HOOK_UPSTREAM_ERROR | WR_HOOK_RESPONSE_START;
  p->r.routes[0].to = group;
  p->say = p->say_start = (struct wr_verdict){ .delay_ms = -1 };
  rig_open(&p->r);
  answer_with(&p->r, whole_answer());
}

static void policy_ask(struct policy *p) {
  p->errors = p->starts = 0;
  ask(&p->r, ASK_CLOSE);
  TURN_UNTIL(&p->r.w, p->r.client_end);
}

static void policy_on_errors(void **state) {
  (void)state;
  struct policy p;
  policy_open(&p, 0);
  p.r.answer_of[0] = wr_span_str(BUSY "retry-after: 3\r\n\r\n" BUSY_BODY);
  policy_ask(&p); /* the rules: a group of one, asked once */
  assert_memory_equal(p.r.got, "HTTP/1.1 429 ", 13);
  assert_int_equal(p.errors, 1);
  assert_int_equal(p.starts, 1); /* what passes on is an answer, too */
  assert_true(p.first_token_us == UINT64_MAX);
  assert_string_equal(p.last.kind, "status");
  assert_int_equal(p.last.status, 429);
  assert_int_equal(p.last.retry_after_ms, 3000);
  assert_int_equal(p.tried, 1);
  p.r.answer_of[0] = wr_span_str(BUSY "retry-after: 99999999999999999999\r\n\r\n" BUSY_BODY);
  policy_ask(&p);
  assert_int_equal(p.last.retry_after_ms, 86400000); /* long is not the same as not said */
  p.r.answer_of[0] = wr_span_str(BUSY "retry-after: 3\r\n\r\n" BUSY_BODY);
  p.say.kind = WR_VERDICT_FALLBACK;
  p.say.group = 1;
  policy_ask(&p);
  assert_true(rig_dechunk(p.r.got, body, sizeof body, NULL));
  assert_string_equal(body, WHOLE);
  assert_int_equal(p.starts, 1);
  assert_true(p.first_token_us < UINT64_MAX);
  assert_int_equal(p.r.record.attempts, 2);
  assert_int_equal(p.r.record.retried, WR_E_UPSTREAM_STATUS);
  p.say.group = 0; /* who has just failed isn't a way out */
  policy_ask(&p);
  assert_memory_equal(p.r.got, "HTTP/1.1 429 ", 13);
  p.say = (struct wr_verdict){ .kind = WR_VERDICT_FAIL, .status = 418, .text = WR_SPAN("tea") };
  policy_ask(&p);
  assert_memory_equal(p.r.got, "HTTP/1.1 418 ", 13);
  assert_non_null(strstr(p.r.got, "\"tea\""));
  assert_string_equal(p.r.outcome, "upstream_error");
  /* However often a policy says so: no more than ten. */
  p.say = (struct wr_verdict){ .kind = WR_VERDICT_RETRY, .delay_ms = 1 };
  policy_ask(&p);
  assert_int_equal(p.errors, 10);
  assert_int_equal(p.r.record.attempts, 10);
  assert_memory_equal(p.r.got, "HTTP/1.1 429 ", 13);
  rig_close(&p.r);
}

/* After the commit point the policy hears of it, and can't change it. */
static void policy_after_commit(void **state) {
  (void)state;
  struct policy p;
  policy_open(&p, 0);
  p.say.kind = WR_VERDICT_RETRY;
  p.r.answer_bytes -= 100;
  p.r.then = RIG_FIN;
  policy_ask(&p);
  assert_int_equal(p.errors, 1);
  assert_true(p.last.committed);
  assert_string_equal(p.last.kind, "truncated");
  assert_string_equal(p.r.outcome, "truncated");
  assert_int_equal(p.r.record.attempts, 1);
  rig_close(&p.r);
}

static void policy_at_the_start(void **state) {
  (void)state;
  struct policy p;
  policy_open(&p, 0);
  const char *const other[] = { ROLE_2, HELLO, STOP, USAGE_9, DONE };
  p.r.answer_of[0] = keep(chunked(other, 5));
  answer_with(&p.r, whole_answer());
  p.say_start.kind = WR_VERDICT_FALLBACK;
  p.say_start.group = 1;
  policy_ask(&p);
  assert_true(rig_dechunk(p.r.got, body, sizeof body, NULL));
  assert_string_equal(body, WHOLE);
  assert_int_equal(p.starts, 2);
  assert_int_equal(p.errors, 0);
  assert_int_equal(p.r.record.output_tokens, 7);
  assert_int_equal(tries(&p.r, WR_RETRY_WHY_POLICY), 1);
  p.say_start = (struct wr_verdict){ .kind = WR_VERDICT_REJECT, .status = 451,
                                     .text = WR_SPAN("not that") };
  policy_ask(&p);
  assert_memory_equal(p.r.got, "HTTP/1.1 451 ", 13);
  assert_non_null(strstr(p.r.got, "not that"));
  assert_null(strstr(p.r.got, "hello"));
  assert_string_equal(p.r.outcome, "refused");
  /* As many and as long headers as a verdict may have. */
  static char value[1024];
  memset(value, 'v', sizeof value);
  for (p.say_start.header_count = 0; p.say_start.header_count < WR_VERDICT_HEADERS;) {
    size_t i = p.say_start.header_count++;
    p.say_start.headers[i].name = WR_SPAN("x-long");
    p.say_start.headers[i].value = wr_span_make(value, sizeof value);
  }
  policy_ask(&p);
  assert_memory_equal(p.r.got, "HTTP/1.1 451 ", 13);
  assert_non_null(strstr(p.r.got, "not that"));
  rig_close(&p.r);
}

/* Where a policy wanted something else than an answer that was good, nothing has failed. */
static void policy_to_nobody(void **state) {
  (void)state;
  struct policy p;
  policy_open(&p, 0);
  p.r.upstreams[1].max_streams = 1;
  atomic_store(&p.r.shared.upstreams[1], 1);
  p.say_start.kind = WR_VERDICT_FALLBACK;
  p.say_start.group = 1;
  policy_ask(&p);
  assert_memory_equal(p.r.got, "HTTP/1.1 503 ", 13);
  assert_int_equal(p.r.record.err, WR_E_SHED);
  atomic_store(&p.r.shared.upstreams[1], 0);
  rig_close(&p.r);
}

/* With nobody left to ask the answer passes after all, unless it is a guard that didn't want it. */
static void policy_without_others(void **state) {
  (void)state;
  for (int guard = 0; guard < 2; guard++) {
    struct policy p;
    policy_open(&p, 0);
    p.say_start.kind = WR_VERDICT_FALLBACK;
    p.say_start.group = 0; /* where it was */
    p.say_start.guard = guard;
    policy_ask(&p);
    assert_memory_equal(p.r.got, guard ? "HTTP/1.1 503 " : "HTTP/1.1 200 ", 13);
    if (guard) assert_int_equal(p.r.record.err, WR_E_NO_PEER);
    assert_int_equal(p.starts, 1);
    assert_int_equal(p.r.record.attempts, 1);
    rig_close(&p.r);
  }
}

/* A pick that comes to nothing leaves the one request that finds out to another. */
static void probe_without_room(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.upstreams[0].max_streams = 1;
  rig_open(&r);
  answer_with(&r, whole_answer());
  struct wr_peer_state *st = r.set->peers[0].state;
  st->breaker.state = WR_BREAKER_OPEN;
  atomic_store(&st->shut_until_ms, 1);
  atomic_store(&r.shared.upstreams[0], 1);
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_memory_equal(r.got, "HTTP/1.1 503 ", 13);
  assert_int_equal(st->breaker.state, WR_BREAKER_OPEN);
  assert_true(wr_peer_state_free(st, wr_loop_now_ms(r.w.loop)));
  atomic_store(&r.shared.upstreams[0], 0);
  ask(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.client_end);
  assert_int_equal(st->breaker.state, WR_BREAKER_CLOSED);
  rig_close(&r);
}

/* A stream that crawls is given up while all of it is held; one that is fast enough is shown at
 * once, and one that nobody else can replace is shown late. */
static void crawling(void **state) {
  (void)state;
  struct rig r;
  rig_two(&r, 0);
  r.routes[0].min_rate_chars = 50; /* ten in the window: "hello" twice */
  r.routes[0].min_rate_window_ms = 200;
  rig_open(&r);
  answer_with(&r, whole_answer());
  static char whole[4096], slow[4096], quick[4096];
  memcpy(whole, r.answer.ptr, r.answer.len);
  r.answer_of[1] = wr_span_make(whole, r.answer.len);
  const char *const one[] = { ROLE_2, HELLO };
  struct wr_span a = chunked(one, 2);
  memcpy(slow, a.ptr, a.len - 5);
  r.answer_of[0] = wr_span_make(slow, a.len - 5); /* and then nothing more */
  expect_second(&r, WR_RETRY_SLOW);
  assert_int_equal(r.record.retried, WR_E_TOO_SLOW);
  const char *const two[] = { ROLE_2, HELLO, HELLO };
  a = chunked(two, 3);
  memcpy(quick, a.ptr, a.len - 5);
  r.answer_of[0] = wr_span_make(quick, a.len - 5);
  do {
    unsigned before = r.asked[0];
    rig_ups_drop(&r);
    assert_true(rig_dial(&r));
    rig_send(&r, ASK_CLOSE);
    TURN_UNTIL(&r.w, r.got_len > 0);
    if (r.asked[0] > before) break;
  } while (true);
  assert_non_null(strstr(r.got, "hello"));
  assert_int_equal(tries(&r, WR_RETRY_SLOW), 1);
  rig_client_drop(&r);
  r.answer_of[0] = r.answer_of[1] = wr_span_make(slow, strlen(slow));
  rig_ups_drop(&r);
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, strstr(r.got, "hello") != NULL);
  assert_int_equal(tries(&r, WR_RETRY_SLOW), 2);
  rig_close(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(crawling),        cmocka_unit_test(left_alone),
    cmocka_unit_test(refusals),        cmocka_unit_test(named),
    cmocka_unit_test(all_fail),        cmocka_unit_test(same_again),
    cmocka_unit_test(upstream_decides),
    cmocka_unit_test(last_comes_last), cmocka_unit_test(budget_and_body),
    cmocka_unit_test(long_body),       cmocka_unit_test(policy_on_errors),
    cmocka_unit_test(policy_after_commit), cmocka_unit_test(policy_at_the_start),
    cmocka_unit_test(probe_without_room), cmocka_unit_test(policy_to_nobody),
    cmocka_unit_test(policy_without_others),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a policy does to a session through the table of hooks; bodies larger than what is held for
 * it. */
#include "relay/texts.h"

static void fake_request(void *ctx, struct wr_hook_stream *s, const struct wr_hook_request *rq,
                         struct wr_verdict *out) {
  struct rig *r = ctx;
  assert_int_equal(rq->stream, 1);
  assert_string_equal(r->conf.routes[0].name, s->route->name);
  if (wr_span_eq(rq->header(rq, WR_SPAN("x-no")), WR_SPAN("1"))) {
    out->kind = WR_VERDICT_REJECT;
    out->status = 429;
    out->text = WR_SPAN("enough");
  } else if (wr_span_eq(rq->header(rq, WR_SPAN("x-no")), WR_SPAN("2"))) {
    out->kind = WR_VERDICT_ANSWER;
    out->text = WR_SPAN("from me");
  }
}
static void fake_event(void *ctx, struct wr_hook_stream *s, const struct wr_event *ev,
                       const struct wr_view *raw, struct wr_verdict *out) {
  struct rig *r = ctx;
  (void)s;
  r->events++;
  assert_int_equal(raw->len, ev->raw.len);
  if (wr_span_eq(ev->text, WR_SPAN("drop"))) out->kind = WR_VERDICT_DROP;
  if (wr_span_eq(ev->text, WR_SPAN("stop"))) {
    out->kind = WR_VERDICT_STOP;
    out->text = WR_SPAN("length");
  }
}
static void fake_end(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome) {
  struct rig *r = ctx;
  r->ends++;
  assert_true(outcome != WR_OUTCOME_NONE);
  assert_true(wr_span_eq(s->model, WR_SPAN("m")));
}

#define TEXT(t) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t "\"}}]}\n\n"

static void hooks(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.use_hooks = true;
  r.hooks = (struct wr_hooks){ .ctx = &r, .request = fake_request, .event = fake_event,
                                .end = fake_end };
  r.routes[0].hooks = WR_HOOK_REQUEST | WR_HOOK_EVENT;
  rig_open(&r);
  const char *const dropped[] = { ROLE, TEXT("drop"), TEXT("keep"), STOP, DONE };
  answer_with(&r, chunked(dropped, 5));
  ask(&r, ASK);
  TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(body, ROLE TEXT("keep") STOP DONE);
  assert_int_equal(r.events, 5);
  assert_int_equal(r.ends, 1);
  const char *const stopped[] = { ROLE, TEXT("keep"), TEXT("stop"), TEXT("never"), DONE };
  answer_with(&r, chunked(stopped, 5));
  ask(&r, ASK);
  TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  assert_non_null(strstr(body, "\"finish_reason\":\"length\""));
  assert_non_null(strstr(body, DONE));
  assert_null(strstr(body, "never"));
  assert_string_equal(r.outcome, "over_budget");
  assert_int_equal(r.ends, 2);
  ask(&r, POST "x-no: 1\r\ncontent-length: 27\r\n\r\n" BODY);
  TURN_UNTIL(&r.w, strstr(r.got, "enough") != NULL);
  assert_non_null(strstr(r.got, "HTTP/1.1 429"));
  assert_non_null(strstr(r.got, "retry-after: "));
  assert_int_equal(r.ends, 3);
  ask(&r, POST "x-no: 2\r\ncontent-length: 27\r\n\r\n" BODY);
  TURN_UNTIL(&r.w, strstr(r.got, DONE) != NULL);
  assert_non_null(strstr(r.got, "from me"));
  assert_int_equal(r.ends, 4);
  r.then = RIG_RESET; /* the end hook sees the model after a failure with a reason, too */
  r.answer_bytes = r.answer.len - 100;
  ask(&r, ASK);
  assert_int_equal(r.ends, 5);
  rig_ups_drop(&r);
  rig_back_close(&r, 0);
  ask(&r, ASK);
  assert_int_equal(r.ends, 6);
  assert_int_equal(r.record.err, WR_E_CONNECT);
  assert_true(r.record.why.len > 0);
  rig_close(&r);
}

#define CHOICE(i, rest) "data: {\"choices\":[{\"index\":" i "," rest "}]}\n\n"
#define SAYS(i, text) CHOICE(i, "\"delta\":{\"content\":\"" text "\"}")
#define ENDS(i) CHOICE(i, "\"delta\":{},\"finish_reason\":\"stop\"")
#define OPENS(i) CHOICE(i, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}")

/* Several choices: a cut gives each that has begun and not ended its finish reason, and an answer
 * that leaves one without is not whole. */
static void choices(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.use_hooks = true;
  r.hooks = (struct wr_hooks){ .ctx = &r, .event = fake_event, .end = fake_end };
  r.routes[0].hooks = WR_HOOK_EVENT;
  rig_open(&r);
  const char *const cut[] = { OPENS("0"),      OPENS("1"),        OPENS("2"),
                              SAYS("1", "ab"), ENDS("1"),         SAYS("0", "stop") };
  answer_with(&r, chunked(cut, 6));
  ask(&r, ASK);
  TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  assert_non_null(strstr(body, "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                               "\"finish_reason\":\"length\"},{\"index\":2,"));
  assert_null(strstr(body, "{\"index\":1,\"delta\":{},\"logprobs\""));
  assert_non_null(strstr(body, DONE));
  const char *const ended[] = { OPENS("0"), SAYS("0", "a"), ENDS("0"), OPENS("0"),
                                SAYS("1", "b"), ENDS("1"), CHOICE("0", "\"delta\":{}") };
  answer_with(&r, chunked(ended, 7)); /* who leaves out [DONE] has said it all the same */
  ask(&r, ASK);
  TURN_UNTIL(&r.w, rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(r.outcome, "complete");
  answer_with(&r, chunked(ended, 5)); /* but the second one goes on */
  ask(&r, ASK);
  TURN_UNTIL(&r.w, r.client_end);
  assert_string_equal(r.outcome, "truncated");
  rig_close(&r);
}

/* A body beyond what is held flows by, in bounded memory; the upstream may answer before its end.
 */
static void big_bodies(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.use_hooks = true;
  r.hooks = (struct wr_hooks){ .ctx = &r, .request = fake_request, .event = fake_event,
                                .end = fake_end };
  rig_open(&r);
  size_t n = 150000;
  char *big = malloc(n + 1);
  assert_non_null(big);
  memset(big, 'x', n);
  big[n] = 0;
  memcpy(big, "{\"model\":\"m\",\"stream\":true,\"a\":\"", 32);
  memcpy(big + n - 2, "\"}", 2);
  char head[256];
  answer_with(&r, whole_answer());
  for (unsigned hook = 0; hook < 2; hook++) {
    r.routes[0].hooks = hook ? WR_HOOK_REQUEST : 0;
    snprintf(head, sizeof head,
             POST "connection: close\r\nexpect: 100-continue\r\ncontent-length: %zu\r\n\r\n", n);
    unsigned before = r.records;
    assert_true(rig_dial(&r));
    rig_send(&r, head);
    TURN_UNTIL(&r.w, strstr(r.got, "100 Continue\r\n\r\n") != NULL);
    rig_write(r.client, big, n);
    TURN_UNTIL(&r.w, r.client_end && r.records > before);
    assert_true(rig_dechunk(strstr(r.got, "HTTP/1.1 200"), body, sizeof body, NULL));
    assert_string_equal(body, WHOLE);
    assert_int_equal(r.record.bytes_in, n);
  }
  r.routes[0].hooks = 0;
  rig_ups_drop(&r);
  r.answer.len = 0; /* by hand: no, after the first bytes */
  assert_true(rig_dial(&r));
  rig_send(&r, head);
  TURN_UNTIL(&r.w, strstr(r.got, "100 Continue\r\n\r\n") != NULL);
  rig_write(r.client, big, n - 1000);
  TURN_UNTIL(&r.w, r.up_count == 1 && r.ups[0]->len > 70000);
  rig_write(r.ups[0]->conn, "HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno", 40);
  wr_conn_close(r.ups[0]->conn);
  r.ups[0]->conn = NULL;
  TURN_UNTIL(&r.w, r.client_end);
  assert_non_null(strstr(r.got, "HTTP/1.1 413 No"));
  assert_non_null(strstr(r.got, "connection: close"));
  free(big);
  rig_close(&r);
}

/* A request that is long in coming leaves the block that others fill, and arrives all the same. */
static void held_long(void **state) {
  (void)state;
  static const char text[] = ASK_CLOSE;
  const size_t ends[] = { 30, sizeof text - 10, sizeof text - 1 };
  struct rig r;
  rig_init(&r);
  r.routes[0].output_tokens = 5;
  rig_open(&r);
  answer_with(&r, whole_answer());
  const uint64_t *moved = &wr_loop_stats(r.w.loop)->copy_bytes[WR_COPY_COMPACT];
  assert_true(rig_dial(&r));
  for (size_t i = 0, at = 0; i < 3; at = ends[i++]) {
    uint64_t before = *moved;
    rig_write(r.client, &text[at], ends[i] - at);
    if (i < 2) TURN_UNTIL(&r.w, *moved > before);
  }
  TURN_UNTIL(&r.w, r.client_end && r.records == 1);
  assert_true(rig_dechunk(r.got, body, sizeof body, NULL));
  assert_string_equal(body, WHOLE);
  assert_in_range(r.record.copied_bytes, 47, 2 * sizeof text);
  rig_close(&r);
}

/* Sets lines of the answer's head, and takes all memory of the pool on the second answer. */
struct setter {
  struct rig r;
  bool hog;
  struct wr_block *taken[8192];
  size_t count;
};

static void set_and_hog(void *ctx, struct wr_hook_stream *s, const struct wr_hook_response *rs,
                        struct wr_verdict *out) {
  struct setter *p = ctx;
  struct wr_block *b;
  (void)rs;
  (void)out;
  s->headers = WR_SPAN("x-policy: was here\r\n");
  while (p->hog && p->count < sizeof p->taken / sizeof p->taken[0] &&
         (b = wr_slabs_alloc(p->r.w.slabs, 256, WR_CHARGE_CLIENT)) != NULL)
    p->taken[p->count++] = b;
}

/* Headers of a policy for which there is no room: nothing has left yet, so the client is told. */
static void no_room_for_the_head(void **state) {
  (void)state;
  static struct setter p;
  struct rig *r = &p.r;
  rig_init(r);
  r->use_hooks = true;
  r->hooks = (struct wr_hooks){ .ctx = &p, .response_start = set_and_hog };
  r->routes[0].hooks = WR_HOOK_RESPONSE_START;
  rig_open_pool(r, 1u << 20);
  const char *const parts[] = { ROLE, TEXT("keep"), STOP, DONE };
  for (unsigned round = 0; round < 3; round++) {
    p.hog = round == 1;
    answer_with(r, chunked(parts, 4));
    ask(r, ASK_CLOSE);
    TURN_UNTIL(&r->w, r->client_end && r->records == round + 1);
    bool told = strstr(r->got, "\r\nx-policy: was here\r\n") != NULL;
    bool whole = rig_dechunk(r->got, body, sizeof body, NULL);
    assert_int_equal(told && whole, !p.hog);
    if (!p.hog) continue;
    assert_in_range(p.count, 100, 8191);
    assert_memory_equal(r->got, "HTTP/1.1 503 ", 13);
    assert_non_null(strstr(r->got, "\r\nretry-after: "));
    assert_non_null(strstr(r->got, "\"code\":\"pool_full\"}}"));
    assert_null(strstr(r->got, "keep"));
    assert_int_equal(r->record.err, WR_E_POOL_FULL);
    while (p.count > 0) wr_block_unref(p.taken[--p.count]);
    wr_slabs_tick(r->w.slabs);
  }
  rig_close(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(hooks),
    cmocka_unit_test(no_room_for_the_head),
    cmocka_unit_test(choices),
    cmocka_unit_test(big_bodies),
    cmocka_unit_test(held_long),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

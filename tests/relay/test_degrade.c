/* What requests and streams notice of pressure: the test is the sampler. */
#include "relay/rig.h"

#include "net/digest.h"
#include "relay/relay_priv.h"
#include "relay/session.h"

#define BIT(action) (1u << WR_ACTION_##action)
#define P(n) ((n) * (WR_LADDER_FULL / 100u))

static struct wr_conf_step steps[4];
static const char *const batch[] = { "batch" };

/* One step a test, and a quiet one below it. */
static void declare(struct rig *r, struct wr_conf_step step) {
  rig_init(r);
  steps[0] = (struct wr_conf_step){ .at = P(50), .off = P(40), .actions = BIT(NO_HEDGE) };
  steps[1] = step;
  steps[1].at = P(80);
  steps[1].off = P(70);
  r->conf.ladders[WR_METER_MEMORY] = (struct wr_conf_ladder){ .steps = steps, .count = 2 };
  r->routes[0].show_degraded = true;
  for (int m = 0; m < WR_METERS; m++)
    wr_ladder_set(&r->shared.degrade.ladders[m], &r->conf.ladders[m]);
  static char answer[4096];
  snprintf(answer, sizeof answer, "%s%zx\r\n%s\r\n0\r\n\r\n", SSE_HEAD, strlen(WHOLE), WHOLE);
  r->answer = wr_span_str(answer);
  r->answer_bytes = r->answer.len;
}

static void sample(struct rig *r, uint32_t percent) {
  struct wr_degrade_shared *d = &r->shared.degrade;
  if (wr_ladder_sample(&d->ladders[WR_METER_MEMORY], P(percent))) atomic_fetch_add(&d->version, 1);
  atomic_store(&d->tickets, wr_ladder_stops(&d->ladders[WR_METER_MEMORY]));
}

static void calm(struct rig *r) {
  for (unsigned i = 0; i < 3 * WR_LADDER_CALM_SAMPLES; i++) sample(r, 0);
}

static uint64_t acts(struct rig *r, enum wr_action a) { return r->shared.degrade.acts[a]; }

static const char *ask(struct rig *r, const char *text) {
  unsigned before = r->records;
  assert_true(rig_dial(r));
  rig_send(r, text);
  TURN_UNTIL(&r->w, r->records > before && r->client_end);
  return r->got;
}

static unsigned comes_back_ms(const char *got) {
  unsigned ms = 0;
  const char *at = strstr(got, "\r\nretry-after-ms: ");
  assert_non_null(at);
  assert_int_equal(sscanf(at + 2, "retry-after-ms: %u", &ms), 1);
  return ms;
}

static void sheds_all(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(SHED_ALL) });
  r.conf.server.sample_ms = 250;
  rig_open(&r);
  assert_null(strstr(ask(&r, ASK_CLOSE), "x-weir-degraded"));
  assert_string_equal(r.outcome, "complete");
  sample(&r, 60);
  assert_non_null(strstr(ask(&r, ASK_CLOSE), "\r\nx-weir-degraded: 1\r\n"));
  assert_string_equal(r.outcome, "complete");
  sample(&r, 85); /* seen at the next request, no tick is needed */
  const char *got = ask(&r, ASK_CLOSE);
  assert_ptr_equal(strstr(got, "HTTP/1.1 503 "), got);
  /* Two steps down take three samples of 250 ms each, and chance adds up to half. */
  assert_in_range(comes_back_ms(got), 1500, 2600);
  assert_non_null(strstr(got, "\r\nx-weir-degraded: 2\r\n"));
  assert_non_null(strstr(got, "\"code\":\"shed\""));
  assert_string_equal(r.outcome, "shed");
  got = ask(&r, "POST /v1/messages HTTP/1.1\r\nHost: h\r\ncontent-length: 2\r\n\r\n{}");
  assert_non_null(strstr(got, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\""));
  assert_int_equal(acts(&r, WR_ACTION_SHED_ALL), 2);
  assert_int_equal(wr_relay_stats(r.relay)->shedding, 1);
  calm(&r);
  assert_null(strstr(ask(&r, ASK_CLOSE), "x-weir-degraded"));
  assert_string_equal(r.outcome, "complete");
  rig_close(&r);
}

/* Two keys of two classes; the hashes are of "paid" and "batch". */
static void sheds_a_class(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(SHED), .shed = batch, .shed_count = 1 });
  struct wr_conf_key keys[2] = { { .name = "a", .class_name = "paid" },
                                 { .name = "b", .class_name = "batch" } };
  wr_digest_sha256(WR_SPAN("paid"), keys[0].sha256);
  wr_digest_sha256(WR_SPAN("batch"), keys[1].sha256);
  r.conf.keys = keys;
  r.conf.key_count = 2;
  r.conf.keys_declared = r.routes[0].keys_required = true;
  rig_open(&r);
#define AS(key) \
  POST "authorization: Bearer " key "\r\nconnection: close\r\ncontent-length: 27\r\n\r\n" BODY
  ask(&r, AS("batch"));
  assert_string_equal(r.outcome, "complete");
  sample(&r, 85);
  assert_non_null(strstr(ask(&r, AS("batch")), "HTTP/1.1 503 "));
  ask(&r, AS("paid"));
  assert_string_equal(r.outcome, "complete");
  assert_int_equal(acts(&r, WR_ACTION_SHED), 1);
  assert_int_equal(wr_relay_stats(r.relay)->shedding, 0);
  rig_close(&r);
}

static void caps_and_reroutes(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){
                .actions = BIT(CAP_OUTPUT) | BIT(ROUTE), .cap_tokens = 77, .route = 1 });
  rig_open(&r);
  sample(&r, 85);
  r.answer.len = 0; /* by hand, to read what came */
  assert_true(rig_dial(&r));
  rig_send(&r, ASK_CLOSE);
  TURN_UNTIL(&r.w, r.up_count == 1 && rig_request_bytes(r.ups[0]->text));
  assert_int_equal(r.ups[0]->peer, 1); /* not the route's own */
  assert_non_null(strstr(r.ups[0]->text, "\"max_tokens\":77"));
  assert_int_equal(acts(&r, WR_ACTION_CAP_OUTPUT), 1);
  assert_int_equal(acts(&r, WR_ACTION_ROUTE), 1);
  rig_client_drop(&r);
  rig_ups_drop(&r);
  /* What is no known API is let through as it came. */
  assert_true(rig_dial(&r));
  rig_send(&r, "POST /v1/embeddings HTTP/1.1\r\nHost: h\r\ncontent-type: application/json\r\n"
               "content-length: 27\r\n\r\n" BODY);
  TURN_UNTIL(&r.w, r.up_count == 1 && rig_request_bytes(r.ups[0]->text));
  assert_null(strstr(r.ups[0]->text, "tokens"));
  assert_int_equal(acts(&r, WR_ACTION_CAP_OUTPUT), 1);
  rig_close(&r);
}

/* A cheaper group that doesn't know the model isn't asked. */
static void reroutes_what_is_served(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(ROUTE), .route = 1 });
  r.models[1] = (struct wr_conf_model){ "other", "other" };
  r.upstreams[1].models = &r.models[1];
  r.upstreams[1].model_count = 1;
  rig_open(&r);
  sample(&r, 85);
  ask(&r, ASK_CLOSE);
  assert_string_equal(r.outcome, "complete");
  assert_int_equal(r.ups[0]->peer, 0);
  assert_int_equal(acts(&r, WR_ACTION_ROUTE), 0);
  rig_close(&r);
}

static void fill(struct rig *r, size_t least) {
  char event[2048], pad[1024], chunk[2200];
  memset(pad, 'x', sizeof pad);
  pad[sizeof pad - 1] = 0;
  snprintf(event, sizeof event,
           "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}\n\n", pad);
  snprintf(chunk, sizeof chunk, "%zx\r\n%s\r\n", strlen(event), event);
  for (size_t n = 0; n < least; n += strlen(chunk))
    rig_write(r->ups[r->up_count - 1]->conn, chunk, strlen(chunk));
}

/* Streams whose clients don't read: one a sample ends, others go on. */
static void stops_the_largest(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(STOP_LARGEST) });
  r.answer.len = 0;
  r.routes[0].slow_high_bytes = 8192;
  r.routes[0].slow_low_bytes = 2048;
  rig_open(&r);
  assert_true(rig_dial(&r));
  rig_send(&r, ASK);
  TURN_UNTIL(&r.w, r.up_count == 1 && rig_request_bytes(r.ups[0]->text));
  r.client_hold = true;
  rig_write(r.ups[0]->conn, SSE_HEAD, strlen(SSE_HEAD));
  uint64_t pauses = 0;
  for (unsigned i = 0; i < 400 && !pauses; i++) {
    fill(&r, 65536);
    for (unsigned n = 0; n < 20; n++) wr_loop_turn(r.w.loop, 0);
    pauses = wr_relay_stats(r.relay)->pauses;
  }
  assert_true(pauses > 0);
  sample(&r, 79);
  wr_relay_tick(r.relay, 0);
  sample(&r, 85);
  wr_relay_tick(r.relay, 0);
  assert_int_equal(acts(&r, WR_ACTION_STOP_LARGEST), 1);
  assert_int_equal(r.shared.degrade.tickets, 0);
  wr_relay_tick(r.relay, 0); /* one a sample */
  assert_int_equal(acts(&r, WR_ACTION_STOP_LARGEST), 1);
  for (unsigned n = 0; n < 20; n++) wr_loop_turn(r.w.loop, 0);
  assert_int_equal(r.records, 0); /* its client may still hear why */
  sample(&r, 85);
  wr_relay_tick(r.relay, 0); /* it doesn't read: the second time it breaks off */
  TURN_UNTIL(&r.w, r.records == 1);
  assert_string_equal(r.outcome, "shed");
  assert_int_equal(r.record.err, WR_E_PRESSURE);
  sample(&r, 75); /* below the mark: nobody is stopped, though the step holds */
  assert_int_equal(r.shared.degrade.tickets, 0);
  rig_close(&r);
}

/* A stream that is stopped while its client reads says so, and doesn't end cleanly. */
static void says_why(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(STOP_LARGEST) });
  r.answer.len = 0;
  rig_open(&r);
  assert_true(rig_dial(&r));
  rig_send(&r, ASK);
  TURN_UNTIL(&r.w, r.up_count == 1 && rig_request_bytes(r.ups[0]->text));
  rig_write(r.ups[0]->conn, SSE_HEAD, strlen(SSE_HEAD));
  fill(&r, 1000);
  /* The beginning of an event: something that it holds. */
  rig_write(r.ups[0]->conn, "1f\r\ndata: {\"choices\":[{\"index\":0,\"d\r\n", 37);
  TURN_UNTIL(&r.w, strstr(r.got, "xxx") != NULL);
  for (unsigned n = 0; n < 20; n++) wr_loop_turn(r.w.loop, 0);
  sample(&r, 85);
  wr_relay_tick(r.relay, 0);
  TURN_UNTIL(&r.w, r.client_end && r.records == 1);
  assert_string_equal(r.outcome, "shed");
  assert_non_null(strstr(r.got, "\"code\":\"pressure\""));
  assert_null(strstr(r.got, "\r\n0\r\n\r\n"));
  rig_close(&r);
}

static void empties_the_shelf(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(EMPTY_SHELF) });
  rig_open(&r);
  ask(&r, ASK_CLOSE);
  wr_relay_tick(r.relay, 0);
  assert_int_equal(acts(&r, WR_ACTION_EMPTY_SHELF), 0);
  sample(&r, 85);
  wr_relay_tick(r.relay, 0);
  assert_int_equal(acts(&r, WR_ACTION_EMPTY_SHELF), 1);
  TURN_UNTIL(&r.w, r.ups[0]->ended);
  rig_close(&r);
}

static void lowers_marks(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(SHRINK_BUFFERS) });
  rig_open(&r);
  struct wr_session s = { .relay = r.relay, .route = &r.routes[0] };
  uint32_t high, low;
  wr_degrade_marks(&s, &high, &low);
  assert_int_equal(high, 65536);
  assert_int_equal(low, 16384);
  sample(&r, 85);
  wr_degrade_marks(&s, &high, &low);
  assert_int_equal(high, 16384);
  assert_int_equal(low, 4096);
  r.routes[0].slow_high_bytes = 2048;
  r.routes[0].slow_low_bytes = 1500;
  wr_degrade_marks(&s, &high, &low);
  assert_int_equal(high, 1024);
  assert_true(low < high);
  rig_close(&r);
}

/* ---- on_pressure */

static struct {
  unsigned calls;
  struct wr_hook_pressure last;
  int verdict; /* -1: none */
} policy;

static void pressure_hook(void *ctx, const struct wr_hook_pressure *p, struct wr_verdict *out) {
  (void)ctx;
  policy.calls++;
  policy.last = *p;
  if (policy.verdict >= 0) {
    out->kind = WR_VERDICT_STEP;
    out->step = (uint32_t)policy.verdict;
  }
}

static unsigned changes;
static struct wr_relay_change change;
static void changed(void *ctx, const struct wr_relay_change *c) {
  (void)ctx;
  changes++;
  change = *c;
}

static uint32_t now_step(struct rig *r) {
  struct wr_hook_pressure p;
  for (unsigned i = 0; i < 3; i++) wr_loop_turn(r->w.loop, 0);
  wr_relay_pressure(r->relay, &p);
  return p.step;
}

static void asks_the_policy(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(SHED_ALL) });
  r.use_hooks = true;
  r.hooks.pressure = pressure_hook;
  rig_open(&r);
  r.relay->pressed = changed;
  policy.calls = changes = 0;
  policy.verdict = -1;
  wr_relay_tick(r.relay, 0);
  assert_int_equal(now_step(&r), 0);
  assert_int_equal(policy.calls, 0);
  sample(&r, 85);
  wr_relay_tick(r.relay, 0);
  assert_int_equal(now_step(&r), 2);
  assert_int_equal(policy.calls, 1);
  assert_int_equal(policy.last.step, 2);
  assert_int_equal(changes, 1);
  assert_int_equal(change.from, 0);
  assert_int_equal(change.to, 2);
  assert_int_equal(change.meter, WR_METER_MEMORY);
  assert_int_equal(change.value, P(85));
  /* The next call lowers it; what the hook is told stays what the meters say. */
  policy.verdict = 1;
  r.relay->degrade.asked_us = 1;
  wr_relay_tick(r.relay, 0);
  assert_int_equal(now_step(&r), 1);
  assert_int_equal(policy.calls, 2);
  assert_int_equal(policy.last.step, 2);
  assert_true(change.by_policy);
  assert_true(wr_degrade_allows(r.relay, WR_ACTION_SHED_ALL));
  assert_false(wr_degrade_allows(r.relay, WR_ACTION_NO_HEDGE));
  wr_relay_tick(r.relay, 0); /* not more than once a second */
  assert_int_equal(policy.calls, 2);
  /* A verdict ends with the next call. */
  policy.verdict = -1;
  r.relay->degrade.asked_us = 1;
  wr_relay_tick(r.relay, 0);
  assert_int_equal(now_step(&r), 2);
  /* Up, within what is declared; the meters end it. */
  policy.verdict = 9;
  for (unsigned i = 0; i < 3; i++) sample(&r, 60);
  wr_relay_tick(r.relay, 0);
  assert_int_equal(now_step(&r), 2);
  assert_int_equal(policy.last.step, 1);
  assert_false(wr_degrade_allows(r.relay, WR_ACTION_SHED_ALL));
  /* It is heard before a new step does anything. */
  policy.verdict = 0;
  sample(&r, 85);
  assert_true(wr_degrade_allows(r.relay, WR_ACTION_SHED_ALL));
  assert_int_equal(policy.last.step, 2);
  policy.verdict = -1;
  for (unsigned i = 0; i < 6; i++) sample(&r, 10);
  assert_true(wr_degrade_allows(r.relay, WR_ACTION_SHED_ALL));
  assert_int_equal(now_step(&r), 0);
  assert_int_equal(policy.last.step, 0);
  rig_close(&r);
}

/* What it says when all is well again is asked about again, too. */
static void asks_until_it_lets_go(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(SHED_ALL) });
  r.use_hooks = true;
  r.hooks.pressure = pressure_hook;
  rig_open(&r);
  policy.verdict = -1;
  sample(&r, 60);
  wr_relay_tick(r.relay, 0);
  assert_int_equal(now_step(&r), 1);
  policy.verdict = 2;
  for (unsigned i = 0; i < 3; i++) sample(&r, 10);
  wr_relay_tick(r.relay, 0);
  assert_int_equal(now_step(&r), 2);
  assert_int_equal(policy.last.step, 0);
  policy.verdict = -1;
  r.relay->degrade.asked_us = 1;
  wr_relay_tick(r.relay, 0);
  assert_int_equal(now_step(&r), 0);
  rig_close(&r);
}

/* A loop that lags is one worker's trouble; it adds to what the process is short of. */
static void lags(void **state) {
  (void)state;
  struct rig r;
  declare(&r, (struct wr_conf_step){ .actions = BIT(SHED_ALL) });
  steps[2] = (struct wr_conf_step){ .at = 50000, .off = 20000, .actions = BIT(COALESCE) };
  r.conf.ladders[WR_METER_LOOP_LAG] = (struct wr_conf_ladder){ .steps = &steps[2], .count = 1 };
  rig_open(&r);
  wr_relay_tick(r.relay, 49999);
  assert_int_equal(now_step(&r), 0);
  wr_relay_tick(r.relay, 50000);
  assert_int_equal(now_step(&r), 1);
  assert_true(wr_degrade_active(r.relay, WR_ACTION_COALESCE));
  assert_int_equal(r.shared.degrade.version, 0); /* nobody else hears of it */
  sample(&r, 60);
  assert_false(wr_degrade_allows(r.relay, WR_ACTION_NO_HEDGE));
  assert_true(wr_degrade_active(r.relay, WR_ACTION_COALESCE));
  for (unsigned i = 0; i < 3; i++) wr_relay_tick(r.relay, 100);
  assert_false(wr_degrade_active(r.relay, WR_ACTION_COALESCE));
  assert_int_equal(wr_relay_stats(r.relay)->lag_ups, 1);
  assert_int_equal(wr_relay_stats(r.relay)->lag_downs, 1);
  rig_close(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(sheds_all),         cmocka_unit_test(sheds_a_class),
    cmocka_unit_test(caps_and_reroutes), cmocka_unit_test(reroutes_what_is_served),
    cmocka_unit_test(stops_the_largest), cmocka_unit_test(says_why),
    cmocka_unit_test(empties_the_shelf), cmocka_unit_test(lowers_marks),
    cmocka_unit_test(asks_the_policy),
    cmocka_unit_test(asks_until_it_lets_go),   cmocka_unit_test(lags),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

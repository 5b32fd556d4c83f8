/* The load generator against the stand-in server, both on one loop: counts, faults, and a clean
 * end in the middle of everything. */
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <time.h>

#include "load/load.h"
#include "mock/mock.h"
#include "net/listen.h"

#define DEADLINE_S 60

struct rig {
  struct wr_depot *depot;
  struct wr_ledger *ledger;
  struct wr_slabs *slabs;
  struct wr_loop *loop;
  struct wr_mock *mock;
  struct wr_listen *listen;
  struct wr_load_plan plan;
  char fields[128];
};

static void rig_start(struct rig *r) {
  struct wr_mock_options o;
  char why[128];
  struct wr_addr any;
  *r = (struct rig){ 0 };
  wr_mock_options_init(&o);
  T_OK(wr_depot_new((size_t)64 * 1024 * 1024, &r->depot));
  T_OK(wr_ledger_new((size_t)64 * 1024 * 1024, NULL, &r->ledger));
  T_OK(wr_slabs_new(r->depot, r->ledger, &r->slabs));
  T_OK(wr_loop_new(r->slabs, &r->loop));
  T_OK(wr_mock_new(r->loop, &o, &r->mock, why, sizeof why));
  T_OK(wr_addr_parse(WR_SPAN("127.0.0.1:0"), &any));
  T_OK(wr_listen_open(r->loop, &any, NULL, wr_mock_accept, r->mock, &r->listen, why, sizeof why));
  r->plan.addr = *wr_listen_addr(r->listen);
  r->plan.authority = "localhost";
  r->plan.path = "/v1/chat/completions";
  r->plan.model = "m";
  r->plan.fields = r->fields;
  r->plan.streams = 4;
  r->plan.tokens = 20;
  r->plan.timeout_ms = 30000;
  r->plan.slow_bytes = 100000;
  r->plan.leave_events = 5;
  r->plan.stamps = r->plan.must_stamp = true;
}

static void rig_stop(struct rig *r) {
  wr_listen_close(r->listen);
  wr_mock_free(r->mock);
  for (int i = 0; i < 8; i++) wr_loop_turn(r->loop, 0);
  assert_int_equal(wr_loop_free(r->loop), 0);
  assert_int_equal(wr_slabs_free(r->slabs), 0);
  wr_ledger_free(r->ledger);
  wr_depot_free(r->depot);
  assert_int_equal(wr_heap_live_count(WR_HEAP_CLI), 0);
}

static struct wr_load *run(struct rig *r) {
  struct wr_load *load = NULL;
  time_t until = time(NULL) + DEADLINE_S;
  T_OK(wr_load_new(r->loop, &r->plan, &load));
  wr_load_start(load);
  while (!wr_load_is_over(load)) {
    wr_loop_turn(r->loop, 50);
    assert_true(time(NULL) < until);
  }
  return load;
}

static uint64_t all_faults(const struct wr_load_totals *t) {
  uint64_t n = 0;
  for (int i = 0; i < WR_LOAD_FAULTS; i++) n += t->faults[i];
  return n;
}

static void test_counts(void **state) {
  /* Events of an answer of 20 tokens. */
  static const unsigned events[WR_LOAD_APIS] = { 23, 28, 26, 21, 21 };
  struct rig r;
  (void)state;
  rig_start(&r);
  for (int api = 0; api < WR_LOAD_APIS; api++) {
    for (int fresh = 0; fresh < 2; fresh++) {
      r.plan.api = (enum wr_load_api)api;
      r.plan.path = wr_load_api_path(r.plan.api);
      r.plan.count = 50;
      r.plan.fresh = fresh;
      r.plan.rate = fresh ? 500 : 0;
      /* Events that arrive in pieces. */
      (void)snprintf(r.fields, sizeof r.fields, "x-mock-write: %d\r\n", api % 2 ? 0 : 100);
      struct wr_load *load = run(&r);
      const struct wr_load_totals *t = wr_load_totals(load);
      assert_int_equal(t->whole, 50);
      assert_int_equal(t->failed, 0);
      assert_int_equal(all_faults(t), 0);
      if (t->events != 50u * events[api])
        fail_msg("%s: %llu events", wr_load_api_name(r.plan.api), (unsigned long long)t->events);
      assert_int_equal(t->stamped, t->events - (api == WR_LOAD_CHAT ? 50 : 0));
      assert_int_equal(t->first.count, 50);
      assert_int_equal(t->span.count, 50);
      assert_int_equal(t->dials, fresh ? 50 : 4);
      wr_load_free(load);
    }
  }
  rig_stop(&r);
}

static void test_faults(void **state) {
  static const struct {
    const char *fault;
    enum wr_load_fault kind;
    bool whole;
  } cases[] = {
    { "drop@5", WR_LOAD_LOST, true },          { "twice@5", WR_LOAD_REPEATED, true },
    { "swap@5", WR_LOAD_LATE, true },          { "garble@5", WR_LOAD_CHANGED, true },
    { "bad-json@5", WR_LOAD_UNSTAMPED, true }, { "cut@5", WR_LOAD_TRUNCATED, false },
    { "no-done", WR_LOAD_TRUNCATED, false },   { "truncate@5", WR_LOAD_RESET, false },
    { "reset@5", WR_LOAD_RESET, false },       { "error@5", WR_LOAD_ERROR_EVENT, false },
    { "status:503", WR_LOAD_STATUS, false },   { "garbage", WR_LOAD_FRAMING, false },
    { "bad-chunk@5", WR_LOAD_FRAMING, false }, { "stall@5", WR_LOAD_TIMEOUT, false },
    { "drop@21", WR_LOAD_LOST, true },
  };
  struct rig r;
  (void)state;
  rig_start(&r);
  r.plan.count = 6;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    (void)snprintf(r.fields, sizeof r.fields, "x-mock-fault: %s\r\n", cases[i].fault);
    r.plan.timeout_ms = cases[i].kind == WR_LOAD_TIMEOUT ? 200 : 30000;
    struct wr_load *load = run(&r);
    const struct wr_load_totals *t = wr_load_totals(load);
    if (t->faults[cases[i].kind] != 6 || all_faults(t) != 6 ||
        t->whole != (cases[i].whole ? 6u : 0u) || t->failed != (cases[i].whole ? 0u : 6u))
      fail_msg("%s: %llu of its kind, %llu in all, %llu whole", cases[i].fault,
               (unsigned long long)t->faults[cases[i].kind], (unsigned long long)all_faults(t),
               (unsigned long long)t->whole);
    wr_load_free(load);
  }
  rig_stop(&r);
}

static void test_leavers_and_slow_ones(void **state) {
  struct rig r;
  (void)state;
  rig_start(&r);
  r.plan.count = 40;
  r.plan.leave_permille = 1000;
  struct wr_load *load = run(&r);
  assert_int_equal(wr_load_totals(load)->left, 40);
  assert_int_equal(all_faults(wr_load_totals(load)), 0);
  assert_true(wr_load_totals(load)->events <= 40 * 5);
  wr_load_free(load);
  r.plan.leave_permille = 0;
  r.plan.slow_permille = 1000;
  r.plan.count = 4;
  load = run(&r);
  assert_int_equal(wr_load_totals(load)->whole, 4);
  assert_int_equal(all_faults(wr_load_totals(load)), 0);
  /* 20 tokens are more than 5 KB, at 100 KB a second. */
  assert_true(wr_load_totals(load)->span.min > 30000000);
  wr_load_free(load);
  rig_stop(&r);
}

/* An open loop at a server that is silent: what waits is counted, begun or not. */
static void test_no_omission(void **state) {
  struct rig r;
  struct wr_load *load = NULL;
  time_t until = time(NULL) + DEADLINE_S;
  (void)state;
  rig_start(&r);
  r.plan.rate = 1000;
  r.plan.count = 100;
  (void)snprintf(r.fields, sizeof r.fields, "x-mock-fault: hang\r\n");
  T_OK(wr_load_new(r.loop, &r.plan, &load));
  wr_load_start(load);
  while (wr_load_backlog(load) < 96) {
    wr_loop_turn(r.loop, 5);
    assert_true(time(NULL) < until);
  }
  assert_int_equal(wr_load_open(load), 4);
  wr_loop_turn(r.loop, 5);
  wr_load_stop(load);
  assert_true(wr_load_totals(load)->first.count >= 99);
  assert_int_equal(wr_load_open(load), 0);
  wr_load_free(load);
  rig_stop(&r);
}

static void test_held(void **state) {
  struct rig r;
  struct wr_load *load = NULL;
  time_t until = time(NULL) + DEADLINE_S;
  (void)state;
  rig_start(&r);
  r.plan.hold = true;
  r.plan.streams = 200;
  T_OK(wr_load_new(r.loop, &r.plan, &load));
  wr_load_start(load);
  while (wr_load_streaming(load) < 200) {
    wr_loop_turn(r.loop, 50);
    assert_true(time(NULL) < until);
  }
  assert_int_equal(wr_load_open(load), 200);
  assert_int_equal(all_faults(wr_load_totals(load)), 0);
  wr_load_free(load);
  rig_stop(&r);
}

static void test_plan_limits(void **state) {
  struct rig r;
  struct wr_load *load = NULL;
  (void)state;
  rig_start(&r);
  r.plan.streams = 0;
  assert_int_equal(wr_load_new(r.loop, &r.plan, &load), WR_E_ARG);
  r.plan.streams = 4;
  r.plan.timeout_ms = 0;
  assert_int_equal(wr_load_new(r.loop, &r.plan, &load), WR_E_ARG);
  r.plan.timeout_ms = 1;
  char *body = calloc(1, WR_LOAD_REQUEST_BYTES);
  assert_non_null(body);
  r.plan.body = wr_span_make(body, WR_LOAD_REQUEST_BYTES);
  assert_int_equal(wr_load_new(r.loop, &r.plan, &load), WR_E_ARG);
  free(body);
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_counts),      cmocka_unit_test(test_faults),
    cmocka_unit_test(test_leavers_and_slow_ones),
    cmocka_unit_test(test_no_omission), cmocka_unit_test(test_held),
    cmocka_unit_test(test_plan_limits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

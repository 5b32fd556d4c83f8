/* What outlives a hook, as scripts see it: counters, budgets, flags, timers; and engines that are
 * worn out or retired. */
#include "policy/fake.h"

#include "policy/load.h"
#include "relay/reserve.h"
#include "relay/tally.h"

#define MS UINT64_C(1000)
#define BASE                                                                                       \
  "weir.listen '127.0.0.1:8080' {}\nweir.upstream 'u' { kind = 'mock' }\n"                         \
  "weir.route 'r' { match = { path = '/x' }, to = 'u', use = USE }\n"

static struct wr_tallies *tallies;
static struct wr_conf *conf;

/* The text declares what it likes and sets USE, the list of plugins. */
static void start(struct fake *f, const struct wr_vm_limits *limits, const char *text) {
  struct wr_diag diag;
  char source[6000];
  snprintf(source, sizeof source, "local USE\n%s\n" BASE, text);
  fake_init(f, limits);
  if (!tallies) assert_int_equal(wr_tallies_new(0, 0, &tallies), WR_OK);
  wr_vm_script(f->vm)->tallies = tallies;
  wr_diag_init(&diag);
  if (wr_conf_load(f->vm, "conf.lua", wr_span_str(source), &conf, &diag) != WR_OK)
    fail_msg("line %d: %s", diag.entries[0].line, diag.entries[0].text);
  wr_diag_fini(&diag);
  f->stream = (struct wr_hook_stream){ .id = 1, .route = &conf->routes[0], .model = WR_SPAN("m"),
                                       .upstream = "u", .attempt = 1, .prompt_tokens = 25,
                                       .status = 200, .now_us = f->now_us };
  f->stream.usage = (struct wr_usage){ -1, -1, -1, -1 };
  assert_int_equal(wr_engine_new(f->vm, conf, NULL, &f->engine), WR_OK);
}

static void end_stream(struct fake *f, enum wr_outcome outcome) {
  const struct wr_hooks *h = wr_engine_hooks(f->engine);
  if (h->end) h->end(h->ctx, &f->stream, outcome);
  assert_null(f->stream.policy);
  assert_null(f->stream.reserves);
}

static void finish(struct fake *f) {
  if (!f->stream.settled) end_stream(f, WR_OUTCOME_COMPLETE);
  wr_engine_free(f->engine);
  wr_conf_free(conf);
}

static int tear_down(void **state) {
  (void)state;
  wr_tallies_free(tallies); /* every tally was put back by its VM */
  tallies = NULL;
  assert_int_equal(wr_heap_live_count(WR_HEAP_LUA), 0);
  assert_int_equal(wr_heap_live_count(WR_HEAP_RELAY), 0);
  return 0;
}

static void event(struct fake *f) {
  fake_event(f, "{\"t\":\"hello\"}", "hello", false);
  f->stream.now_us = f->now_us;
  fake_call_event(f);
}

static void request(struct fake *f) {
  static const struct wr_hook_request rq = { .max_tokens = -1 };
  const struct wr_hooks *h = wr_engine_hooks(f->engine);
  f->stream.now_us = f->now_us;
  h->request(h->ctx, &f->stream, &rq, &f->verdict);
}

static uint64_t errors(const struct fake *f) {
  struct wr_hook_stats st;
  uint64_t n = 0;
  for (size_t i = 0; wr_engine_stats(f->engine, i, &st); i++)
    for (unsigned k = 0; k < WR_FAILS; k++) n += st.fails[k];
  return n;
}

#define PLUGIN(body) "USE = { weir.plugin { name = 'p', api = 1, guard = true, " body " } {} }\n"
/* Asserts in an on_event. */
#define ON_EVENT(body) PLUGIN("on_event = function(ev, s) " body " end")

static void test_counter(void **state) {
  (void)state;
  static const char text[] =
      "local c = weir.counter('c', { window = '1m', keys = 3 })\n"
      "local total = weir.counter 'total'\n" ON_EVENT(
          "assert(c:get('k') == 0 and c:add('k', 5) == 5 and c:add('k') == 6 and c:get 'k' == 6)\n"
          "assert(c:add(ev.text, 2) == 2 and c:get('hello') == 2 and c:add(7, 1) == 1)\n"
          "assert(c:get('7') == 1 and c:add('k', 3.0) == 9)\n"
          "assert(total:add(('x'):rep(100000), 1) >= 1 and total:add('', 0) == 0)");
  struct fake f;
  start(&f, NULL, text);
  event(&f);
  if (errors(&f)) fail_msg("%s", f.log);
  f.now_us += 60000 * MS;
  event(&f); /* the next window begins at nothing */
  if (errors(&f)) fail_msg("%s", f.log);
  finish(&f);
  /* Another VM, as after a reload: what has no window is still there. */
  start(&f, NULL, "local total = weir.counter 'total'\n"
                  ON_EVENT("assert(total:get(('x'):rep(100000)) == 2)"));
  event(&f);
  if (errors(&f)) fail_msg("%s", f.log);
  finish(&f);
}

static void expect_error(const char *body, const char *text) {
  struct fake f;
  char source[1000];
  snprintf(source, sizeof source,
           "local c, b, fl = weir.counter 'c', weir.budget('b', { per = '1h' }), weir.flag 'f'\n"
           "USE = { weir.plugin { name = 'p', api = 1, on_event = function(ev, s) %s end } {} }",
           body);
  start(&f, NULL, source);
  event(&f);
  if (!strstr(f.log, text)) fail_msg("%s: \"%s\" lacks \"%s\"", body, f.log, text);
  finish(&f);
}

static void test_mistakes(void **state) {
  (void)state;
  expect_error("c:add()", "weir.counter 'c': the key must be a string, not no value");
  expect_error("c:add({}, 1)", "weir.counter 'c': the key must be a string, not table");
  expect_error("c:add(s, 1)", "the key must be a string, not userdata");
  expect_error("c.add('k', 1)",
               "add: called without its counter (write counter:add(…), with a colon)");
  expect_error("c.add(b, 'k')", "called without its counter");
  expect_error("c:add('k', -1)", "the number to add must be a whole number of at least 0, not -1");
  expect_error("c:add('k', 0.5)", "a whole number of at least 0, not 0.5");
  expect_error("c:add('k', '5')", "a whole number of at least 0, not string");
  expect_error("c:add('k', 1e300)", "a whole number of at least 0, not 1e+300");
  expect_error("c:reserve(s, 'k', 1, 1)", "a counter has no method 'reserve'");
  expect_error("b:reserve('k', 1, 1)", "bad argument #1 to 'reserve' (stream expected");
  expect_error("b:reserve(s, 'k', 1)", "weir.budget 'b': the limit must be a whole number");
  expect_error("b:reserve(s, 'k', nil, 1)", "the number to reserve must be a whole number");
  expect_error("fl.on = true", "weir.flag 'f' is read-only");
  expect_error("setmetatable(c, {})", "table expected");
  expect_error("getmetatable(c).__gc(c)", "attempt to index a boolean");
  expect_error("weir.counter 'd'",
               "weir.counter: only while conf.lua is loading (called from on_event)");
  expect_error("weir.every('1s', print)", "weir.every: only while conf.lua is loading");
  expect_error("for i = 1, 9 do b:reserve(s, 'k' .. i, 0, 1) end error 'enough'", "8 budgets");
}

static int64_t in_budget(const char *name, const char *key) {
  struct wr_tally_options o = { .kind = WR_TALLY_BUDGET, .name = name, .window_ms = 3600000,
                                .keys = 1000 };
  struct wr_tally *t = NULL;
  assert_int_equal(wr_tally_get(tallies, &o, &t), WR_OK);
  int64_t n = wr_tally_read(t, wr_tally_tag(t, wr_span_str(key)), 0);
  wr_tally_put(t);
  return n;
}

#define RESERVE                                                                        \
  "local b = weir.budget('b', { per = '1h' })\n"                                       \
  "local fin_seen = weir.counter 'seen'\n" PLUGIN(                                     \
      "on_request = function(req, s)\n"                                                \
      "  local ok, left, reset = b:reserve(s, 'k', 100, 250)\n"                        \
      "  if not ok then return 'reject', 429, left .. ' left', { ['retry-after'] = reset } end\n" \
      "end,\n"                                                                         \
      "on_event = function() error 'no' end,\n"                                        \
      "on_end = function(fin) fin_seen:add(fin.usage.status, fin.usage.charged) end")

static int64_t seen(const char *key) {
  struct wr_tally_options o = { .kind = WR_TALLY_COUNTER, .name = "seen", .keys = 1000 };
  struct wr_tally *t = NULL;
  assert_int_equal(wr_tally_get(tallies, &o, &t), WR_OK);
  int64_t n = wr_tally_read(t, wr_tally_tag(t, wr_span_str(key)), 0);
  wr_tally_put(t);
  return n;
}

static void again(struct fake *f) {
  f->stream.settled = false;
  f->stream.output_tokens = 0;
  f->stream.usage = (struct wr_usage){ -1, -1, -1, -1 };
}

static void test_budget(void **state) {
  (void)state;
  struct fake f;
  start(&f, NULL, RESERVE);
  request(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
  assert_int_equal(in_budget("b", "k"), 100);
  f.stream.usage = (struct wr_usage){ 30, 40, -1, -1 };
  end_stream(&f, WR_OUTCOME_COMPLETE);
  assert_int_equal(in_budget("b", "k"), 70);
  assert_int_equal(seen("complete"), 70);
  /* A hook that fails keeps nothing. */
  again(&f);
  request(&f);
  assert_int_equal(in_budget("b", "k"), 170);
  event(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_STOP);
  f.stream.output_tokens = 5;
  end_stream(&f, WR_OUTCOME_STOPPED);
  assert_int_equal(in_budget("b", "k"), 100); /* 25 asked, 5 given */
  assert_int_equal(seen("estimated"), 30);
  /* What doesn't fit is refused, and takes nothing. */
  again(&f);
  request(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
  struct wr_hook_stream first = f.stream;
  f.stream.policy = NULL;
  f.stream.reserves = NULL;
  request(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_REJECT);
  assert_int_equal(f.verdict.status, 429);
  assert_true(wr_span_eq(f.verdict.text, WR_SPAN("50 left")));
  assert_true(wr_span_eq(f.verdict.headers[0].value, WR_SPAN("3599")));
  f.stream.attempt = 0;
  end_stream(&f, WR_OUTCOME_REFUSED);
  assert_int_equal(in_budget("b", "k"), 200);
  f.stream = first;
  /* The client left; the engine was retired meanwhile: the core settles all the same. */
  wr_engine_retire(f.engine);
  f.stream.output_tokens = 1;
  end_stream(&f, WR_OUTCOME_CLIENT_GONE);
  assert_int_equal(in_budget("b", "k"), 126);
  finish(&f);
}

static void test_flag(void **state) {
  (void)state;
  struct fake f;
  start(&f, NULL, "local f, g = weir.flag 'night', weir.flag('open', { on = true })\n" PLUGIN(
                      "on_event = function() if f:on() then return 'drop' end\n"
                      "assert(g:on()) end"));
  event(&f);
  if (errors(&f)) fail_msg("%s", f.log);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
  assert_true(wr_tallies_switch(tallies, WR_SPAN("night"), true));
  event(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DROP);
  finish(&f);
}

/* weir check has no process behind it. */
static void test_nothing_behind(void **state) {
  (void)state;
  struct fake f;
  start(&f, NULL, "USE = {}");
  finish(&f);
  struct wr_tallies *mine = tallies;
  wr_tallies_free(mine);
  tallies = NULL;
  fake_init(&f, NULL);
  struct wr_diag diag;
  wr_diag_init(&diag);
  static const char text[] =
      "local c, b, f = weir.counter 'c', weir.budget('b', { per = '1h' }), weir.flag 'f'\n"
      "local USE\n" ON_EVENT(
          "assert(c:add('k', 5) == 5 and c:get('k') == 0 and not f:on() and b:get('k') == 0)\n"
          "local ok, left = b:reserve(s, 'k', 3, 5) assert(ok and left == 2)\n"
          "ok, left = b:reserve(s, 'k', 6, 5) assert(not ok and left == 5)") BASE;
  assert_int_equal(wr_conf_load(f.vm, "conf.lua", wr_span_str(text), &conf, &diag), WR_OK);
  wr_diag_fini(&diag);
  f.stream = (struct wr_hook_stream){ .id = 1, .route = &conf->routes[0], .upstream = "u" };
  assert_int_equal(wr_engine_new(f.vm, conf, NULL, &f.engine), WR_OK);
  event(&f);
  if (errors(&f)) fail_msg("%s", f.log);
  finish(&f);
}

static uint64_t calls(const struct fake *f, const char *hook) {
  struct wr_hook_stats st;
  uint64_t n = 0;
  for (size_t i = 0; wr_engine_stats(f->engine, i, &st); i++)
    if (strcmp(st.hook, hook) == 0) n += st.calls;
  return n;
}

static void test_every(void **state) {
  (void)state;
  struct fake f;
  start(&f, NULL,
        "local c = weir.counter 'seen'\n"
        "weir.every('1s', function() c:add 'second' end)\n"
        "weir.every('250ms', function() c:add 'quarter' if c:get 'quarter' == 3 then error 'x' end "
        "end)\nUSE = {}");
  assert_int_equal(wr_engine_timers(f.engine, f.now_us), 250);
  assert_int_equal(wr_engine_timers(f.engine, f.now_us + 249 * MS), 1);
  assert_int_equal(seen("quarter"), 0);
  assert_int_equal(wr_engine_timers(f.engine, f.now_us + 251 * MS), 249);
  assert_int_equal(seen("quarter"), 1);
  for (unsigned ms = 251; ms <= 1000; ms++) (void)wr_engine_timers(f.engine, f.now_us + ms * MS);
  assert_int_equal(seen("quarter"), 4);
  assert_int_equal(seen("second"), 1);
  assert_int_equal(errors(&f), 1);
  assert_non_null(strstr(f.log, "conf.lua:4: x [every of 'conf.lua:4']"));
  /* A loop that was late doesn't make up for what it missed. */
  assert_int_equal(wr_engine_timers(f.engine, f.now_us + 60000 * MS), 250);
  assert_int_equal(seen("quarter"), 5);
  assert_int_equal(calls(&f, "every"), 7);
  wr_engine_retire(f.engine);
  assert_int_equal(wr_engine_timers(f.engine, f.now_us + 90000 * MS), 0);
  assert_int_equal(seen("quarter"), 5);
  finish(&f);
}

/* A timer has the limits of a hook, and is put aside like one. */
static void test_every_limits(void **state) {
  (void)state;
  struct fake f;
  start(&f, NULL,
        "local c = weir.counter 'seen'\n"
        "weir.every('100ms', function() c:add 'k' while true do end end)\n"
        "weir.every('100ms', function() c:add 'good' end)\nUSE = {}");
  for (unsigned i = 1; i <= 10; i++) {
    f.now_us += 100 * MS;
    assert_int_equal(wr_engine_timers(f.engine, f.now_us), 100);
  }
  assert_int_equal(seen("k"), 5);
  assert_int_equal(seen("good"), 10);
  assert_string_equal(wr_engine_aside(f.engine, 0), "conf.lua:3");
  assert_null(wr_engine_aside(f.engine, 1));
  f.now_us += 31000 * MS;
  (void)wr_engine_timers(f.engine, f.now_us);
  assert_int_equal(seen("k"), 6);
  assert_null(wr_engine_aside(f.engine, 0));
  struct wr_hook_stats st;
  assert_true(wr_engine_stats_take(f.engine, 0, &st));
  assert_int_equal(st.calls, 6);
  assert_int_equal(st.fails[WR_FAIL_INSTRUCTIONS], 6);
  assert_int_equal(st.fails[WR_FAIL_QUARANTINE], 5);
  assert_string_equal(st.plugin, "conf.lua:3");
  assert_string_equal(st.route, "");
  assert_true(wr_engine_stats_take(f.engine, 0, &st));
  assert_int_equal(st.calls + st.fails[WR_FAIL_INSTRUCTIONS], 0);
  finish(&f);
}

static const struct wr_vm_limits small = { .memory_bytes = 1u << 20, .instructions = 10000000 };

/* Garbage is no reason for a new VM; what stays is. */
static void test_worn(void **state) {
  (void)state;
  struct fake f;
  start(&f, &small, "local kept = {}\n" PLUGIN(
                        "on_event = function() for i = 1, 1e9 do kept = { kept } end end"));
  event(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_STOP);
  assert_false(wr_engine_worn(f.engine));
  assert_string_equal(wr_engine_aside(f.engine, 0), "p");
  (void)wr_engine_idle(f.engine);
  assert_true(wr_engine_worn(f.engine));
  assert_non_null(strstr(f.log, "KiB of the 1024 KiB that weir.lua 'memory' gives a worker"));
  unsigned lines = f.log_lines;
  (void)wr_engine_idle(f.engine);
  assert_int_equal(f.log_lines, lines);
  f.now_us += 61000 * MS;
  (void)wr_engine_idle(f.engine);
  assert_int_equal(f.log_lines, lines + 1);
  wr_engine_retire(f.engine);
  assert_false(wr_engine_worn(f.engine));
  finish(&f);
  start(&f, &small, PLUGIN("on_event = function() local t for i = 1, 1e9 do t = { t } end "
                           "end"));
  event(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_STOP);
  (void)wr_engine_idle(f.engine);
  assert_false(wr_engine_worn(f.engine));
  finish(&f);
}

/* After that no hook runs: a guard stops, all others are as if they were not there. */
static void test_retired(void **state) {
  (void)state;
  struct fake f;
  start(&f, NULL,
        "local c = weir.counter 'seen'\n"
        "USE = { weir.plugin { name = 'a', api = 1, on_event = function() c:add 'a' end,\n"
        "  on_end = function() c:add 'end' end } {} }");
  event(&f);
  assert_int_equal(seen("a"), 1);
  assert_int_equal(wr_engine_streams(f.engine), 1);
  wr_engine_retire(f.engine);
  f.now_us += UINT64_C(3600000) * MS;
  event(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
  assert_int_equal(seen("a"), 1);
  end_stream(&f, WR_OUTCOME_COMPLETE);
  assert_int_equal(seen("end"), 0);
  assert_int_equal(wr_engine_streams(f.engine), 0);
  finish(&f);
  start(&f, NULL, ON_EVENT(""));
  event(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
  wr_engine_retire(f.engine);
  event(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_STOP);
  struct wr_hook_stats st;
  assert_true(wr_engine_stats(f.engine, 0, &st));
  assert_int_equal(st.fails[WR_FAIL_RETIRED], 1);
  finish(&f);
}

int main(void) {
#define T(name) cmocka_unit_test_teardown(name, tear_down)
  const struct CMUnitTest tests[] = {
    T(test_counter), T(test_mistakes), T(test_budget),       T(test_flag),
    T(test_nothing_behind),            T(test_every),        T(test_every_limits),
    T(test_worn),    T(test_retired),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

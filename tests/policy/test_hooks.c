/* The hooks: what scripts see, what their verdicts become, and what happens when they fail. */
#include "policy/fake.h"

#define DATA                                                                                       \
  "{\"choices\":[{\"delta\":{\"content\":\"Hello, world\"}}],\"n\":3,\"ok\":true,\"no\":null}"

static void init_event(struct fake *f, const char *body, bool guard) {
  char text[6000];
  int n = snprintf(
      text, sizeof text,
      "local function hook(ev, s, conf)\n%s\nend\n"
      "return { { on_event = { { fn = hook, plugin = 'p', guard = %s, conf = { n = 5 } } } } }",
      body, guard ? "true" : "false");
  assert_true(n > 0 && (size_t)n < sizeof text);
  fake_init(f, NULL);
  fake_engine(f, text);
  fake_event(f, DATA, "Hello, world", false);
}

static uint64_t fails(const struct fake *f, enum wr_fail fail) {
  struct wr_hook_stats st;
  assert_true(wr_engine_stats(f->engine, 0, &st));
  return st.fails[fail];
}

/* The body asserts in Lua; any error is shown. */
static void expect_event(const char *body) {
  struct fake f;
  init_event(&f, body, true);
  fake_call_event(&f);
  if (fails(&f, WR_FAIL_ERROR)) fail_msg("%s", f.log);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
  fake_fini(&f);
}

static void test_event_fields(void **state) {
  (void)state;
  expect_event("assert(ev.kind == 'text' and ev.index == 2 and ev.name == 'message')\n"
               "assert(tostring(ev.text) == 'Hello, world' and #ev.text == 12)\n"
               "assert(ev.data:starts_with('{\"choices\"') and ev.raw:equals(ev.data))\n"
               "assert(conf.n == 5)\n"
               "assert(tostring(ev:json('choices.0.delta.content')) == 'Hello, world')\n"
               "assert(ev:json('n') == 3 and ev:json('ok') == true)\n"
               "local v, why = ev:json('no') assert(v == nil and why == 'null')\n"
               "v, why = ev:json('a.b') assert(v == nil and why == 'missing')\n"
               "assert(#ev:json('choices[0]') > 5)");
}

static void test_stream_fields(void **state) {
  (void)state;
  expect_event("assert(s.id == '7f3a' and s.key.name == 'team-a' and s.key.class == 'paid')\n"
               "assert(s.route == 'one' and s.model == 'fast' and s.upstream == 'openai')\n"
               "assert(s.attempt == 1 and s.age == 2.5 and s.output_tokens == 7)\n"
               "assert(s.sent == 0 and s.queued == 0)\n"
               "assert(s.ctx == s.ctx) s.ctx.n = (s.ctx.n or 0) + 1 assert(s.ctx.n == 1)\n"
               "assert(not pcall(function() s.key.name = 'x' end))\n"
               "assert(not pcall(rawset, s.key, 'name', 'x') and s.key.name == 'team-a')");
}

static void test_view_methods(void **state) {
  (void)state;
  expect_event(
      "local v = ev.text\n"
      "assert(v:byte() == 72 and v:byte(-1) == 100 and v:byte(13) == nil)\n"
      "assert(v:find('world', 1, true) == 8 and v:find('x') == nil)\n"
      "local i, j, a, b = v:find('(%a+), (%a+)') assert(i == 1 and j == 12 and a == 'Hello')\n"
      "assert(b == 'world' and v:find('o', -5) == 9)\n"
      "assert(v:str(1, 5) == 'Hello' and v:str(-5) == 'world' and v:str(5, 2) == '')\n"
      "local w = v:sub(8) assert(#w == 5 and w:equals('world') and w == v:sub(-5))\n"
      "assert(v .. '!' == 'Hello, world!' and '>' .. v == '>Hello, world')\n"
      "assert(v:tail('%a') == 8 and v:tail('%d') == nil and v:tail('%a', '%a ,') == 1)\n"
      "assert(v:starts_with('Hell') and not v:starts_with('ell'))\n"
      "assert(v ~= 'Hello, world')\n"
      "assert(getmetatable(v) == false)");
}

static void test_escaped_text(void **state) {
  (void)state;
  struct fake f;
  init_event(
      &f,
      "assert(tostring(ev.text) == 'a\"\\n\\u{e9}\\u{1F600}', tostring(ev.text))\n"
      "assert(tostring(ev:json('t')) == tostring(ev.text) and ev:json('t'):sub(1, 1):equals('a'))",
      true);
  fake_event(&f, "{\"t\":\"a\\\"\\n\\u00e9\\uD83D\\uDE00\"}", "a\\\"\\n\\u00e9\\uD83D\\uDE00",
             true);
  fake_call_event(&f);
  if (fails(&f, WR_FAIL_ERROR)) fail_msg("%s", f.log);
  fake_event(&f, "[1]", NULL, false);
  fake_call_event(&f); /* no text at all: nil, so the assertion on its text fails */
  assert_int_equal(fails(&f, WR_FAIL_ERROR), 1);
  fake_fini(&f);
}

static void expect_error(const char *body, const char *text) {
  struct fake f;
  init_event(&f, body, false);
  fake_call_event(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
  if (!strstr(f.log, text)) fail_msg("%s: \"%s\" lacks \"%s\"", body, f.log, text);
  assert_non_null(strstr(f.log, "of 'p'"));
  fake_fini(&f);
}

static void test_writes_raise(void **state) {
  (void)state;
  expect_error("ev.text = 'x'",
               "views are read-only (tried to set 'text'); return \"replace\", text instead");
  expect_error("ev.text.x = 1", "views are read-only (tried to set 'x')");
  expect_error("s.foo = 1", "keep your own state in s.ctx");
  expect_error("return ev.foo", "an event has no field 'foo'");
  expect_error("return s.foo", "a stream has no field 'foo'");
  expect_error("return ev[1]", "an event has no field 'number'");
  expect_error("ev.text:json('a..b[')", "not a valid path");
  expect_error("ev.text.find('x', 'y')", "view expected, got string");
  expect_error("ev.text:find('[a')", "malformed pattern (missing ']')");
  expect_error("getmetatable(ev).__index = nil", "attempt to index a boolean");
  expect_error("setmetatable(ev, {})", "bad argument #1 to 'setmetatable'");
}

/* A view, an event, a stream that a script kept is dead in the next call, of this and of every
 * other stream. */
static void test_expiry(void **state) {
  (void)state;
  static const char body[] =
      "local c = s.ctx\n"
      "if not KEPT.v then KEPT.v, KEPT.sub, KEPT.ev, KEPT.s = ev.text, ev.text:sub(1, 3), ev, s "
      "return end\n"
      "local function dead(f, what)\n"
      "  local ok, e = pcall(f) assert(not ok and e:find(what .. ' expired', 1, true), e) end\n"
      "dead(function() return #KEPT.v end, 'view')\n"
      "dead(function() return tostring(KEPT.sub) end, 'view')\n"
      "dead(function() return KEPT.sub .. '' end, 'view')\n"
      "dead(function() return KEPT.ev.kind end, 'event')\n"
      "dead(function() return KEPT.s.id end, 'stream')";
  char source[2000];
  snprintf(source, sizeof source,
           "local KEPT = {}\nreturn { { on_event = { { fn = function(ev, s)\n%s\nend, "
           "plugin = 'p', guard = true } } } }",
           body);
  struct fake f;
  fake_init(&f, NULL);
  fake_engine(&f, source);
  fake_event(&f, DATA, "Hello, world", false);
  fake_call_event(&f);
  const struct wr_hooks *h = wr_engine_hooks(f.engine);
  struct wr_hook_stream other = f.stream;
  other.policy = NULL;
  other.id = 1;
  h->event(h->ctx, &other, &f.event, &f.raw, &f.verdict);
  if (fails(&f, WR_FAIL_ERROR)) fail_msg("%s", f.log);
  assert_int_equal(wr_engine_streams(f.engine), 2);
  h->end(h->ctx, &other, WR_OUTCOME_CLIENT_GONE);
  assert_int_equal(wr_engine_streams(f.engine), 1);
  fake_fini(&f);
}

static void test_event_verdicts(void **state) {
  (void)state;
  static const struct {
    const char *body;   /* borrowed: a literal */
    int kind;           /* -1: a bad verdict */
    const char *reason; /* borrowed: a literal */
  } cases[] = {
    { "return nil", WR_VERDICT_DEFAULT, NULL },
    { "return", WR_VERDICT_DEFAULT, NULL },
    { "return 'pass'", WR_VERDICT_DEFAULT, NULL },
    { "return 'drop'", WR_VERDICT_DROP, NULL },
    { "return 'stop'", WR_VERDICT_STOP, "" },
    { "return 'stop', 'length'", WR_VERDICT_STOP, "length" },
    { "return 'hodl'", -1,
      "on_event of 'p' returned \"hodl\"; expected nil, \"pass\", \"drop\" or \"stop\"" },
    { "return ''", -1, "returned \"\"" },
    { "return true", -1, "returned a boolean; expected" },
    { "return false", -1, "returned a boolean" },
    { "return 1", -1, "returned a number" },
    { "return {}", -1, "returned a table" },
    { "return ev.text", -1, "returned a userdata" },
    { "return 'drop\\0'", WR_VERDICT_DROP, NULL },
    { "return 'stop', 5", -1, "\"stop\" with a reason that is no string" },
    { "return 'stop', ('x'):rep(300)", -1, "\"stop\" with a reason" },
    { "return 'route', 'openai'", -1, "returned \"route\"" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    for (int guard = 0; guard < 2; guard++) {
      struct fake f;
      init_event(&f, cases[i].body, guard != 0);
      fake_call_event(&f);
      if (cases[i].kind < 0) {
        assert_int_equal(fails(&f, WR_FAIL_VERDICT), 1);
        assert_int_equal(f.verdict.kind, guard ? WR_VERDICT_STOP : WR_VERDICT_DEFAULT);
        if (!strstr(f.log, cases[i].reason)) fail_msg("%s: %s", cases[i].body, f.log);
      } else {
        assert_int_equal(fails(&f, WR_FAIL_VERDICT), 0);
        assert_int_equal(f.verdict.kind, cases[i].kind);
        if (cases[i].reason) assert_true(wr_span_eq(f.verdict.text, wr_span_str(cases[i].reason)));
      }
      fake_fini(&f);
    }
  }
}

static struct wr_span header_of(const struct wr_hook_request *rq, struct wr_span name) {
  (void)rq;
  if (wr_span_ieq(name, WR_SPAN("x-tier"))) return WR_SPAN("gold");
  return wr_span_make(NULL, 0);
}

/* hooks: the array of on_request's entries, as Lua. */
static void request(struct fake *f, const char *hooks) {
  char text[3000];
  int n = snprintf(text, sizeof text, "return { { on_request = { %s } } }", hooks);
  assert_true(n > 0 && (size_t)n < sizeof text);
  fake_init(f, NULL);
  fake_engine(f, text);
  static const char body[] = "{\"model\":\"fast\",\"n\":2}";
  struct wr_hook_request rq = { .method = WR_SPAN("POST"),
                                .path = WR_SPAN("/v1/chat/completions"),
                                .model = WR_SPAN("fast"),
                                .stream = 1,
                                .max_tokens = -1,
                                .prompt_tokens = 5,
                                .body_bytes = sizeof body - 1,
                                .body_complete = true,
                                .header = header_of };
  rq.body = wr_view_static(wr_span_str(body));
  const struct wr_hooks *h = wr_engine_hooks(f->engine);
  h->request(h->ctx, &f->stream, &rq, &f->verdict);
}

#define HOOK(body) "{ fn = function(req, s, conf) " body " end, plugin = 'p' }"

static void test_request_fields(void **state) {
  (void)state;
  struct fake f;
  request(&f,
          HOOK("assert(req.model == 'fast' and req.path == '/v1/chat/completions' and req.method "
               "== 'POST')"
               "assert(req.stream == true and req.max_tokens == nil and req.prompt_tokens == 5)"
               "assert(req.body_bytes == 22 and #req.body == 22 and req.body:find('fast', 1, true))"
               "assert(req:header('X-Tier') == 'gold' and req:header('none') == nil)"
               "assert(req:json('n') == 2)"
               "assert(not pcall(function() req.model = 'x' end))"));
  if (f.log_lines) fail_msg("%s", f.log);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
  fake_fini(&f);
}

static void test_route(void **state) {
  (void)state;
  struct fake f;
  request(
      &f,
      HOOK("return 'route', 'local', { model = 'm1', max_tokens = 100, deadline = '2s' }") "," HOOK(
          "return nil") "," HOOK("return 'route', 'chat', { max_tokens = 300 }"));
  assert_int_equal(f.log_lines, 0);
  assert_int_equal(f.verdict.kind, WR_VERDICT_ROUTE);
  assert_int_equal(f.verdict.group, 2);
  assert_int_equal(f.verdict.max_tokens, 100);
  assert_int_equal(f.verdict.deadline_ms, 2000);
  assert_int_equal(f.verdict.model.len, 0);
  fake_fini(&f);
  request(&f, HOOK("return 'route', 'local', { model = 'm1', final = true }") "," HOOK(
                  "return 'route', 'chat', { max_tokens = 7, model = 'm2' }"));
  assert_int_equal(f.verdict.group, 1);
  assert_int_equal(f.verdict.max_tokens, 7);
  assert_true(wr_span_eq(f.verdict.model, WR_SPAN("m1")));
  fake_fini(&f);
}

static void test_reject_and_answer(void **state) {
  (void)state;
  struct fake f;
  request(&f, HOOK("return 'route', 'local'") "," HOOK("return 'reject', 429, 'slow down', { "
                                                       "['retry-after'] = 30 }") "," HOOK(
                  "error('not reached')"));
  assert_int_equal(f.log_lines, 0);
  assert_int_equal(f.verdict.kind, WR_VERDICT_REJECT);
  assert_int_equal(f.verdict.status, 429);
  assert_true(wr_span_eq(f.verdict.text, WR_SPAN("slow down")));
  assert_int_equal(f.verdict.header_count, 1);
  assert_true(wr_span_eq(f.verdict.headers[0].name, WR_SPAN("retry-after")));
  assert_true(wr_span_eq(f.verdict.headers[0].value, WR_SPAN("30")));
  fake_fini(&f);
  request(&f, HOOK("return 'answer', 'from the cache'") "," HOOK("error('not reached')"));
  assert_int_equal(f.verdict.kind, WR_VERDICT_ANSWER);
  assert_true(wr_span_eq(f.verdict.text, WR_SPAN("from the cache")));
  fake_fini(&f);
}

static void test_bad_request_verdicts(void **state) {
  (void)state;
  static const char *const cases[][2] = {
    { "return 'root'", "returned \"root\"; expected nil, \"route\", \"reject\" or \"answer\"" },
    { "return 7", "returned a number" },
    { "return 'route'", "\"route\" without a name" },
    { "return 'route', 5", "\"route\" without a name" },
    { "return 'route', 'nowhere'", "\"nowhere\": there is no upstream or group of that name" },
    { "return 'route', 'local', 5", "options that are a number; expected a table" },
    { "return 'route', 'local', { modle = 'x' }", "unknown option 'modle'" },
    { "return 'route', 'local', { 'x' }", "options that are not named" },
    { "return 'route', 'local', { max_tokens = 0 }", "a max_tokens that has no valid value" },
    { "return 'route', 'local', { max_tokens = 1.5 }", "a max_tokens" },
    { "return 'route', 'local', { deadline = '5' }", "a deadline" },
    { "return 'route', 'local', { deadline = -1 }", "a deadline" },
    { "return 'route', 'local', { final = 'yes' }", "a final" },
    { "return 'route', 'local', { model = '' }", "a model" },
    { "return 'reject'", "without a status of 400 to 599" },
    { "return 'reject', 200, 'x'", "without a status" },
    { "return 'reject', '429', 'x'", "without a status" },
    { "return 'reject', 429", "without a text" },
    { "return 'reject', 429, 'x', 5", "headers that are a number" },
    { "return 'reject', 429, 'x', { a = {} }", "headers that are not names and values" },
    { "return 'reject', 429, 'x', { ['a b'] = 'c' }", "a header that is not allowed: 'a b'" },
    { "return 'reject', 429, 'x', { a = 'b\\r\\nc: d' }", "a header that is not allowed: 'a'" },
    { "return 'reject', 429, 'x', { ['Content-Length'] = 5 }", "not allowed: 'Content-Length'" },
    { "return 'answer'", "\"answer\" without a text" },
    { "return 'answer', {}", "\"answer\" without a text" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct fake f;
    char hook[400];
    snprintf(hook, sizeof hook, "{ fn = function() %s end, plugin = 'p', guard = %s }", cases[i][0],
             i % 2 ? "true" : "false");
    request(&f, hook);
    if (fails(&f, WR_FAIL_VERDICT) != 1) fail_msg("%s was taken", cases[i][0]);
    if (!strstr(f.log, cases[i][1])) fail_msg("%s: %s", cases[i][0], f.log);
    assert_int_equal(f.verdict.kind, i % 2 ? WR_VERDICT_REJECT : WR_VERDICT_DEFAULT);
    if (i % 2) assert_int_equal(f.verdict.status, 500);
    fake_fini(&f);
  }
}

/* Error, instructions, memory and a bad verdict: the same path, the same fail mode. */
static void test_fail_modes(void **state) {
  (void)state;
  static const struct {
    const char *body; /* borrowed: a literal */
    enum wr_fail fail;
  } cases[] = {
    { "error('x')", WR_FAIL_ERROR },
    { "while true do end", WR_FAIL_INSTRUCTIONS },
    { "local t = 'x' while true do t = t .. t end", WR_FAIL_MEMORY },
    { "return 'x'", WR_FAIL_VERDICT },
  };
  for (size_t i = 0; i < 8; i++) {
    struct fake f;
    init_event(&f, cases[i / 2].body, i % 2);
    fake_call_event(&f);
    if (fails(&f, cases[i / 2].fail) != 1) fail_msg("%s: %s", cases[i / 2].body, f.log);
    assert_int_equal(f.verdict.kind, i % 2 ? WR_VERDICT_STOP : WR_VERDICT_DEFAULT);
    assert_int_equal(i % 2 == 1, i % 2 && f.verdict.failed);
    fake_fini(&f);
  }
}

static void test_quarantine(void **state) {
  (void)state;
  struct fake f;
  init_event(&f, "error('x')", true);
  for (int i = 0; i < 5; i++) {
    f.stream.now_us += 1000000;
    fake_call_event(&f);
    assert_int_equal(f.verdict.kind, WR_VERDICT_STOP);
  }
  fake_call_event(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_STOP);
  assert_int_equal(fails(&f, WR_FAIL_ERROR), 5);
  assert_int_equal(fails(&f, WR_FAIL_QUARANTINE), 1);
  f.stream.now_us += 30000000;
  fake_call_event(&f);
  assert_int_equal(fails(&f, WR_FAIL_ERROR), 6);
  fake_fini(&f);
}

/* The heart of it: a hook that sees every event and says nothing costs no allocation anywhere. */
/* While a guard is put aside, whatever hooks it has, new requests of its routes are refused; for
 * as long as it takes, and no others. */
static void test_admit(void **state) {
  (void)state;
  static const char *const hooks[] = { "on_request", "on_response_start", "on_event", "on_text",
                                       "on_slow_client", "on_upstream_error", "on_end" };
  for (size_t i = 0; i < 2 * sizeof hooks / sizeof hooks[0]; i++) {
    const char *hook = hooks[i / 2];
    bool guard = i % 2 == 0, refuses = guard && strcmp(hook, "on_end") != 0;
    struct fake f;
    char text[1000];
    /* The failures are those of another hook, so that each can be called alike. */
    snprintf(text, sizeof text,
             "local function fail() error('x') end "
             "return { { %s = { { fn = fail, plugin = 'p', guard = %s, conf = {} } } },"
             " { on_event = { { fn = fail, plugin = 'p', guard = false, conf = {} },"
             " { fn = fail, plugin = 'q', guard = true, conf = {} } } } }",
             hook, guard ? "true" : "false");
    fake_init(&f, NULL);
    fake_engine(&f, text);
    fake_event(&f, DATA, "Hello, world", false);
    const struct wr_hooks *h = wr_engine_hooks(f.engine);
    assert_non_null(h->admit);
    for (int k = 0; k < 5; k++) {
      f.stream.route = &f.routes[0];
      h->admit(h->ctx, &f.stream, &f.verdict);
      assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
      f.stream.route = &f.routes[1];
      fake_call_event(&f);
      f.stream.now_us += 1000000;
    }
    f.stream.route = &f.routes[0];
    h->admit(h->ctx, &f.stream, &f.verdict);
    assert_int_equal(f.verdict.kind, refuses ? WR_VERDICT_REJECT : WR_VERDICT_DEFAULT);
    if (refuses) {
      assert_true(f.verdict.failed);
      assert_int_equal(f.verdict.status, 503);
      assert_in_range(f.verdict.delay_ms, 28000, 30000);
      assert_int_equal(fails(&f, WR_FAIL_QUARANTINE), 1);
    }
    f.stream.now_us += 30000000;
    h->admit(h->ctx, &f.stream, &f.verdict);
    assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
    fake_fini(&f);
  }
}

static void test_no_allocation(void **state) {
  (void)state;
  static const char *const bodies[] = {
    "", "local t = ev.text if t and t:find('x', 1, true) then return 'drop' end",
    "if ev.kind == 'error' or s.output_tokens > 1000 then return 'stop' end"
  };
  for (size_t b = 0; b < 3; b++) {
    struct fake f;
    init_event(&f, bodies[b], true);
    for (int i = 0; i < 100; i++) fake_call_event(&f);
    uint64_t calls = wr_heap_calls();
    size_t bytes = wr_vm_bytes(f.vm);
    for (int i = 0; i < 10000; i++) fake_call_event(&f);
    assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
    assert_true(wr_heap_calls() == calls);
    assert_int_equal(wr_vm_bytes(f.vm), bytes);
    fake_fini(&f);
  }
}

/* Every allocation of a stream's first event fails once: the fail mode holds and nothing is lost.
 */
static void test_torture(void **state) {
  (void)state;
  for (uint64_t n = 1; n < 60; n++) {
    struct fake f;
    init_event(&f, "local t = s.ctx t[#t + 1] = ev.text:str() return 'drop'", true);
    wr_heap_fail_at(n, false);
    fake_call_event(&f);
    wr_heap_fail_at(0, false);
    assert_true(f.verdict.kind == WR_VERDICT_DROP || f.verdict.kind == WR_VERDICT_STOP);
    fake_fini(&f);
  }
}

static void test_end(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  fake_engine(&f, "return { { on_end = { { fn = function(fin, s) weir.log.info('%s %s %d %s %s', "
                  "s.id, fin.outcome, "
                  "fin.usage.output, fin.usage.cached, fin.duration) end, plugin = 'p' } } } }");
  const struct wr_hooks *h = wr_engine_hooks(f.engine);
  assert_null(h->event);
  h->end(h->ctx, &f.stream, WR_OUTCOME_COMPLETE);
  assert_non_null(strstr(f.log, "7f3a complete 20 nil 2.5"));
  f.stream.policy = NULL;
  fake_fini(&f);
}

static void test_collects(void **state) {
  (void)state;
  struct fake f;
  init_event(&f, "s.ctx.last = ev.text:str() .. weir.now()", true);
  size_t most = 0;
  for (int i = 0; i < 20000; i++) {
    f.now_us++;
    fake_call_event(&f);
    if (wr_vm_bytes(f.vm) > most) most = wr_vm_bytes(f.vm);
  }
  assert_int_equal(f.log_lines, 0);
  assert_true(most < 400000);
  fake_fini(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_event_fields),
    cmocka_unit_test(test_stream_fields),
    cmocka_unit_test(test_view_methods),
    cmocka_unit_test(test_escaped_text),
    cmocka_unit_test(test_writes_raise),
    cmocka_unit_test(test_expiry),
    cmocka_unit_test(test_event_verdicts),
    cmocka_unit_test(test_request_fields),
    cmocka_unit_test(test_route),
    cmocka_unit_test(test_reject_and_answer),
    cmocka_unit_test(test_bad_request_verdicts),
    cmocka_unit_test(test_fail_modes),
    cmocka_unit_test(test_quarantine),
    cmocka_unit_test(test_admit),
    cmocka_unit_test(test_no_allocation),
    cmocka_unit_test(test_torture),
    cmocka_unit_test(test_end),
    cmocka_unit_test(test_collects),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

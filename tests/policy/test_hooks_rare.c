/* The hooks beside the stream's events: an answer's start, slow clients, errors of upstreams,
 * pressure; the end; and what `s` and weir.live say. */
#include "policy/fake.h"
#include "policy/load.h"

static const struct wr_hooks *hooks_of(const struct fake *f) { return wr_engine_hooks(f->engine); }

static uint64_t fails(const struct fake *f, enum wr_fail fail) {
  uint64_t n = 0;
  struct wr_hook_stats st;
  for (size_t i = 0; wr_engine_stats(f->engine, i, &st); i++) n += st.fails[fail];
  return n;
}

static struct wr_span answer_header(const struct wr_hook_response *rs, struct wr_span name) {
  assert_non_null(rs->head);
  if (wr_span_ieq(name, WR_SPAN("x-model"))) return WR_SPAN("m-1");
  return wr_span_make(NULL, 0);
}

/* One hook of that name with this body; asked once. */
static void ask(struct fake *f, const char *hook, const char *args, const char *body, bool guard,
                bool committed) {
  char text[3000];
  bool global = strcmp(hook, "on_pressure") == 0;
  int n = snprintf(text, sizeof text,
                   "local function hook(%s)\n%s\nend\n"
                   "return { %s { %s = { { fn = hook, plugin = 'p', guard = %s, "
                   "conf = { n = 5 } } } } }",
                   args, body, global ? "global =" : "", hook, guard ? "true" : "false");
  assert_true(n > 0 && (size_t)n < sizeof text);
  fake_init(f, NULL);
  fake_engine(f, text);
  const struct wr_hooks *h = hooks_of(f);
  struct wr_hook_response rs = { .status = 200, .first_token_us = 1500000, .header = answer_header,
                                 .head = f };
  struct wr_hook_slow q = { .bytes = 70000, .events = 12, .age_ms = 1500, .rate = 2.5 };
  struct wr_hook_error er = { .kind = "status", .status = 429, .retry_after_ms = 500, .attempt = 2,
                              .committed = committed };
  struct wr_hook_pressure p = { .step = 2, .memory = 0.5, .pool = 0.25, .loop_lag_s = 0.125,
                                .streams = 9 };
  if (h->response_start) h->response_start(h->ctx, &f->stream, &rs, &f->verdict);
  else if (h->slow_client) h->slow_client(h->ctx, &f->stream, &q, &f->verdict);
  else if (h->upstream_error) h->upstream_error(h->ctx, &f->stream, &er, &f->verdict);
  else if (h->pressure) h->pressure(h->ctx, &p, &f->verdict);
  else fail_msg("no hook in the table");
}

static void test_arguments(void **state) {
  (void)state;
  static const char *const cases[][3] = {
    { "on_response_start", "resp, s, conf",
      "assert(resp.status == 200 and resp.first_token == 1.5 and conf.n == 5)\n"
      "assert(resp:header('X-Model') == 'm-1' and resp:header('none') == nil and s.id == '7f3a')\n"
      "local ok, e = pcall(function() return resp.body end)\n"
      "assert(e:find(\"a response has no field 'body'\", 1, true), e)" },
    { "on_slow_client", "q, s, conf",
      "assert(q.bytes == 70000 and q.events == 12 and q.age == 1.5 and q.rate == 2.5)\n"
      "assert(s.key.class == 'paid' and conf.n == 5)\n"
      "local ok, e = pcall(function() q.bytes = 0 end)\n"
      "assert(e:find(\"a slow client is read-only (tried to set 'bytes')\", 1, true), e)" },
    { "on_upstream_error", "err, s, conf",
      "assert(err.kind == 'status' and err.status == 429 and err.retry_after == 0.5)\n"
      "assert(err.attempt == 2 and err.committed == false and s.route == 'one' and conf.n == 5)" },
    { "on_pressure", "p, conf, none",
      "assert(p.step == 2 and p.memory == 0.5 and p.pool == 0.25 and p.loop_lag == 0.125)\n"
      "assert(p.streams == 9 and p.lua > 0 and p.lua < 0.5 and conf.n == 5 and none == nil)\n"
      "local l = weir.live.pressure() assert(l.step == 0 and l.lua > 0 and l.streams == 0)" },
  };
  for (size_t i = 0; i < 4; i++) {
    struct fake f;
    ask(&f, cases[i][0], cases[i][1], cases[i][2], true, false);
    if (fails(&f, WR_FAIL_ERROR)) fail_msg("%s", f.log);
    assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
    fake_fini(&f);
  }
}

struct verdict_case {
  const char *hook; /* borrowed: a literal */
  const char *body; /* borrowed: a literal */
  int kind;         /* -1: a bad verdict, of which `text` is said */
  int64_t number;
  const char *text; /* borrowed: a literal */
  bool committed;
};

static const struct verdict_case cases[] = {
  { "on_response_start", "return 'fallback', 'chat'", WR_VERDICT_FALLBACK, 2, NULL, 0 },
  { "on_response_start", "return 'reject', 502, 'no'", WR_VERDICT_REJECT, 502, "no", 0 },
  { "on_response_start", "return 'fallback'", -1, 0, "\"fallback\" without a name", 0 },
  { "on_response_start", "return 'fallback', 'x'", -1, 0, "\"x\": there is no upstream", 0 },
  { "on_response_start", "return 'route', 'chat'", -1, 0,
    "on_response_start of 'p' returned \"route\"; expected nil, \"fallback\" or \"reject\"", 0 },
  { "on_slow_client", "return 'wait'", WR_VERDICT_WAIT, 0, NULL, 0 },
  { "on_slow_client", "return 'pause_upstream'", WR_VERDICT_PAUSE, 0, NULL, 0 },
  { "on_slow_client", "return 'coalesce'", WR_VERDICT_COALESCE, 0, NULL, 0 },
  { "on_slow_client", "return 'stop', 'too slow'", WR_VERDICT_STOP, 0, "too slow", 0 },
  { "on_slow_client", "return 'stop', 1", -1, 0, "\"stop\" with a reason", 0 },
  { "on_slow_client", "return 'drop'", -1, 0,
    "on_slow_client of 'p' returned \"drop\"; expected nil, \"wait\", \"pause_upstream\", "
    "\"coalesce\" or \"stop\"", 0 },
  { "on_upstream_error", "return 'retry'", WR_VERDICT_RETRY, -1, NULL, 0 },
  { "on_upstream_error", "return 'retry', 0.25", WR_VERDICT_RETRY, 250, NULL, 0 },
  { "on_upstream_error", "return 'retry', '1s'", -1, 0, "\"retry\" with a delay", 0 },
  { "on_upstream_error", "return 'retry', 1e9", -1, 0, "\"retry\" with a delay", 0 },
  { "on_upstream_error", "return 'retry', 0/0", -1, 0, "\"retry\" with a delay", 0 },
  { "on_upstream_error", "return 'fallback', 'local'", WR_VERDICT_FALLBACK, 1, NULL, 0 },
  { "on_upstream_error", "return 'fail'", WR_VERDICT_FAIL, 0, NULL, 0 },
  { "on_upstream_error", "return 'fail', 503, 'later'", WR_VERDICT_FAIL, 503, "later", 0 },
  { "on_upstream_error", "return 'fail', 200, 'x'", -1, 0, "\"fail\" without a status", 0 },
  { "on_upstream_error", "return 'fail', 503", -1, 0, "\"fail\" without a text", 0 },
  { "on_upstream_error", "return 'fail'", WR_VERDICT_FAIL, 0, NULL, 1 },
  { "on_upstream_error", "return 'retry'", -1, 0,
    "returned \"retry\" when the answer has begun; only \"fail\" is possible then", 1 },
  { "on_upstream_error", "return 'fallback', 'local'", -1, 0, "only \"fail\"", 1 },
  { "on_upstream_error", "return 7", -1, 0,
    "returned a number; expected nil, \"retry\", \"fallback\" or \"fail\"", 0 },
  { "on_pressure", "return 'step', 3", WR_VERDICT_STEP, 3, NULL, 0 },
  { "on_pressure", "return 'step', 0", WR_VERDICT_STEP, 0, NULL, 0 },
  { "on_pressure", "return 'step'", -1, 0, "\"step\" without a number from 0 to 64", 0 },
  { "on_pressure", "return 'step', 1.5", -1, 0, "\"step\" without a number", 0 },
  { "on_pressure", "return 'step', -1", -1, 0, "\"step\" without a number", 0 },
  { "on_pressure", "return 'calm'", -1, 0, "returned \"calm\"; expected nil or \"step\"", 0 },
};

/* What a guard's failure makes of the hook's moment. */
static int guard_kind(const char *hook) {
  if (strcmp(hook, "on_response_start") == 0) return WR_VERDICT_REJECT;
  if (strcmp(hook, "on_slow_client") == 0) return WR_VERDICT_STOP;
  return strcmp(hook, "on_upstream_error") == 0 ? WR_VERDICT_FAIL : WR_VERDICT_DEFAULT;
}

static int64_t number_of(const struct fake *f) {
  switch (f->verdict.kind) {
    case WR_VERDICT_FALLBACK: return f->verdict.group;
    case WR_VERDICT_REJECT:
    case WR_VERDICT_FAIL: return f->verdict.status;
    case WR_VERDICT_RETRY: return f->verdict.delay_ms;
    case WR_VERDICT_STEP: return f->verdict.step;
    default: return 0;
  }
}

static void test_verdicts(void **state) {
  (void)state;
  for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
    const struct verdict_case *c = &cases[i / 2];
    bool guard = i % 2;
    struct fake f;
    ask(&f, c->hook, "x, s, conf", c->body, guard, c->committed);
    if (c->kind >= 0) {
      if (f.log_lines) fail_msg("%s: %s", c->body, f.log);
      assert_int_equal(f.verdict.kind, c->kind);
      assert_int_equal(number_of(&f), c->number);
      assert_int_equal(f.verdict.guard, guard && c->kind != WR_VERDICT_DEFAULT);
      if (c->text) assert_true(wr_span_eq(f.verdict.text, wr_span_str(c->text)));
    } else {
      assert_int_equal(fails(&f, WR_FAIL_VERDICT), 1);
      assert_int_equal(f.verdict.kind, guard ? guard_kind(c->hook) : WR_VERDICT_DEFAULT);
      if (!strstr(f.log, c->text)) fail_msg("%s: %s", c->body, f.log);
    }
    fake_fini(&f);
  }
}

/* Every cause of a failure, in every hook: one decision. */
static void test_fail_modes(void **state) {
  (void)state;
  static const char *const hooks[] = { "on_response_start", "on_slow_client", "on_upstream_error",
                                       "on_pressure" };
  static const char *const bodies[] = { "error('x')", "while true do end",
                                        "local t = 'x' while true do t = t .. t end",
                                        "return 'x'" };
  for (size_t i = 0; i < 32; i++) {
    struct fake f;
    bool guard = i % 2;
    ask(&f, hooks[i / 8], "x, s, conf", bodies[i / 2 % 4], guard, false);
    assert_int_equal(f.verdict.kind, guard ? guard_kind(hooks[i / 8]) : WR_VERDICT_DEFAULT);
    if (guard && f.verdict.kind != WR_VERDICT_DEFAULT && f.verdict.kind != WR_VERDICT_STOP)
      assert_int_equal(f.verdict.status, 500);
    assert_true(f.log_lines >= 1 && strstr(f.log, "'p'"));
    fake_fini(&f);
  }
}

/* Five failures put a hook without a stream aside too. */
static void test_pressure_aside(void **state) {
  (void)state;
  struct fake f;
  ask(&f, "on_pressure", "p", "error('x')", false, false);
  struct wr_hook_pressure p = { .step = 1 };
  for (int i = 0; i < 6; i++) {
    f.now_us += 1000000;
    hooks_of(&f)->pressure(hooks_of(&f)->ctx, &p, &f.verdict);
  }
  assert_int_equal(fails(&f, WR_FAIL_ERROR), 5);
  assert_int_equal(fails(&f, WR_FAIL_QUARANTINE), 2);
  fake_fini(&f);
}

/* The first that says something has said it; a chain is the loader's to order. */
static void test_chain(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  fake_engine(&f, "local log = {} return { { on_slow_client = {\n"
                  "{ plugin = 'a', fn = function(q, s) s.ctx.a = true end },\n"
                  "{ plugin = 'b', fn = function(q, s) assert(s.ctx.a) return 'coalesce' end },\n"
                  "{ plugin = 'c', fn = function() error('not reached') end } } } }");
  struct wr_hook_slow q = { .bytes = 1 };
  hooks_of(&f)->slow_client(hooks_of(&f)->ctx, &f.stream, &q, &f.verdict);
  if (f.log_lines) fail_msg("%s", f.log);
  assert_int_equal(f.verdict.kind, WR_VERDICT_COALESCE);
  assert_null(hooks_of(&f)->event);
  assert_null(hooks_of(&f)->pressure);
  assert_null(hooks_of(&f)->response_start);
  fake_fini(&f);
}

/* A response kept past its hook is dead; the others are copies. */
static void test_response_expires(void **state) {
  (void)state;
  struct fake f;
  ask(&f, "on_response_start", "r, s",
      "if s.ctx.r then return 'reject', 500, "
      "select(2, pcall(function() return s.ctx.r.status end)) end s.ctx.r = r",
      false, false);
  struct wr_hook_response rs = { .status = 200, .header = answer_header, .head = &f };
  hooks_of(&f)->response_start(hooks_of(&f)->ctx, &f.stream, &rs, &f.verdict);
  assert_int_equal(f.verdict.kind, WR_VERDICT_REJECT);
  char text[300];
  snprintf(text, sizeof text, "%.*s", (int)f.verdict.text.len, f.verdict.text.ptr);
  assert_non_null(strstr(text, "weir: response expired (it is only valid inside the hook call"));
  fake_fini(&f);
}

static void set_headers(struct fake *f, const char *body) {
  ask(f, "on_response_start", "r, s", body, false, false);
}

static void test_set_header(void **state) {
  (void)state;
  struct fake f;
  set_headers(&f, "s:set_header('x-a', 'one') s:set_header('x-b', 2) s:set_header('X-A', 'three')");
  if (f.log_lines) fail_msg("%s", f.log);
  assert_true(wr_span_eq(f.stream.headers, WR_SPAN("x-b: 2\r\nX-A: three\r\n")));
  fake_fini(&f);
  assert_int_equal(f.stream.headers.len, 0);
  static const char *const bad[][2] = {
    { "s:set_header('a b', 'x')", "s:set_header: a header that is not allowed: 'a b'" },
    { "s:set_header('a', 'x\\r\\nb: c')", "not allowed: 'a'" },
    { "s:set_header('a', 'x\\n')", "not allowed: 'a'" },
    { "s:set_header('a:', 'x')", "not allowed: 'a:'" },
    { "s:set_header('a\\r\\nb', 'x')", "not allowed: 'a" },
    { "s:set_header('a', ('x'):rep(2000))", "not allowed: 'a'" },
    { "s:set_header('Content-Length', 5)", "not allowed: 'Content-Length'" },
    { "s:set_header('transfer-encoding', 'chunked')", "not allowed" },
    { "s:set_header('a')", "string expected, got no value" },
    { "for i = 1, 100 do s:set_header('h' .. i, ('x'):rep(100)) end", "more than 2048 bytes" },
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    set_headers(&f, bad[i][0]);
    if (!strstr(f.log, bad[i][1])) fail_msg("%s: %s", bad[i][0], f.log);
    assert_null(memchr(f.stream.headers.ptr ? f.stream.headers.ptr : "x", '\0',
                       f.stream.headers.len));
    fake_fini(&f);
  }
}

static void test_set_header_late(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  fake_engine(&f, "return { { on_event = { { plugin = 'p', "
                  "fn = function(ev, s) s:set_header('a', 'b') end } } } }");
  fake_event(&f, "{}", NULL, false);
  f.stream.status = 200;
  fake_call_event(&f);
  assert_non_null(strstr(f.log, "s:set_header: the answer has begun"));
  assert_int_equal(f.stream.headers.len, 0);
  fake_fini(&f);
}

static void test_stream(void **state) {
  (void)state;
  static const char *const tags[] = { "eu", "beta" };
  struct fake f;
  fake_init(&f, NULL);
  fake_engine(&f, "return { { on_upstream_error = { { plugin = 'p', fn = function(err, s)\n"
                  "assert(s:tried('local') and not s:tried('openai'))\n"
                  "local ok, e = pcall(s.tried, s, 'chat')\n"
                  "assert(e:find(\"no upstream 'chat'\"), e)\n"
                  "assert(#s.key.tags == 2 and s.key.tags[1] == 'eu' and s.key.tags.beta)\n"
                  "assert(s.key.tags.us == nil and not pcall(rawset, s.key.tags, 'us', 1))\n"
                  "assert(s.request.model == 'fast' and s.request.max_tokens == 9)\n"
                  "s.ctx.rq = s.ctx.rq or s.request\n"
                  "if s.age > 3 then return 'fail', 500, select(2, pcall(function() "
                  "return s.ctx.rq.model end)) end\n"
                  "end } } } }");
  f.key.tags = tags;
  f.key.tag_count = 2;
  f.stream.tried = 2;
  struct wr_hook_request rq = { .model = WR_SPAN("fast"), .max_tokens = 9 };
  f.stream.request = &rq;
  struct wr_hook_error er = { .kind = "connect", .retry_after_ms = -1, .attempt = 1 };
  const struct wr_hooks *h = hooks_of(&f);
  h->upstream_error(h->ctx, &f.stream, &er, &f.verdict);
  if (f.log_lines) fail_msg("%s", f.log);
  f.stream.now_us += 2000000;
  h->upstream_error(h->ctx, &f.stream, &er, &f.verdict);
  assert_int_equal(f.verdict.kind, WR_VERDICT_FAIL);
  assert_non_null(strstr(f.verdict.text.ptr, "weir: request expired"));
  fake_fini(&f);
}

/* s.request is the request, while there is one. */
static void test_request_of_stream(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  fake_engine(&f, "return { { on_request = { { plugin = 'p', fn = function(req, s)\n"
                  "assert(s.request.model == req.model) end } }, on_end = { { plugin = 'p', "
                  "fn = function(fin, s) assert(s.request == nil) end } } } }");
  struct wr_hook_request rq = { .model = WR_SPAN("fast"), .max_tokens = -1 };
  const struct wr_hooks *h = hooks_of(&f);
  h->request(h->ctx, &f.stream, &rq, &f.verdict);
  h->end(h->ctx, &f.stream, WR_OUTCOME_COMPLETE);
  if (f.log_lines) fail_msg("%s", f.log);
  assert_null(f.stream.request);
  fake_fini(&f);
}

static void live_upstream(void *ctx, uint32_t index, struct wr_live_upstream *out) {
  struct fake *f = ctx;
  out->healthy = index == 0;
  out->room = index == 0 ? 3 : INT64_MAX;
  out->streams = 5;
  out->first_token_s = index == 0 ? 0.25 : 0;
  out->conf = &f->upstreams[index];
}
static void live_pressure(void *ctx, struct wr_hook_pressure *out) {
  (void)ctx;
  *out = (struct wr_hook_pressure){ .step = 3, .pool = 0.9 };
}

static void test_live(void **state) {
  (void)state;
  static const struct wr_conf_price prices[] = { { "fast", 0.4, 1.6 }, { "smart", 2, 8 } };
  static const struct wr_conf_model models[] = { { "fast", "a" }, { "smart", "b" }, { "x", "c" } };
  struct fake f;
  fake_init(&f, NULL);
  fake_engine(
      &f, "return { { on_slow_client = { { plugin = 'p', fn = function(q, s)\n"
          "local a, b = weir.live.upstream('openai'), weir.live.upstream('local')\n"
          "if q.bytes == 0 then assert(a.healthy and a.room == math.huge and a.streams == 0\n"
          "  and weir.live.pressure().step == 0) return end\n"
          "assert(a.healthy and a.room == 3 and a.streams == 5 and a.first_token == 0.25)\n"
          "assert(not b.healthy and b.room == math.huge and b.first_token == nil)\n"
          "assert(math.abs(a:price('fast', 1e6, 5e5) - 1.2) < 1e-9, a:price('fast', 1e6, 5e5))\n"
          "assert(a:price('x', 1, 1) == nil and a:price('none', 1, 1) == nil)\n"
          "assert(a:price(nil, 1, 1) == nil and b:price('any', 1, 1) == 0 and b:price(nil) == 0)\n"
          "local p = weir.live.pressure() assert(p.step == 3 and p.pool == 0.9)\n"
          "local ok, e = pcall(weir.live.upstream, 'opnai')\n"
          "assert(e:find(\"there is no upstream 'opnai'\", 1, true), e)\n"
          "assert(not pcall(function() weir.live.x = 1 end))\n"
          "assert(not pcall(function() a.room = 9 end))\n"
          "end } } } }");
  f.upstreams[0].models = models;
  f.upstreams[0].model_count = 3;
  f.upstreams[0].prices = prices;
  f.upstreams[0].price_count = 2;
  const struct wr_hooks *h = hooks_of(&f);
  struct wr_hook_slow q = { .bytes = 0 };
  h->slow_client(h->ctx, &f.stream, &q, &f.verdict);
  struct wr_live live = { &f, live_upstream, live_pressure };
  wr_engine_set_live(f.engine, &live);
  q.bytes = 1;
  h->slow_client(h->ctx, &f.stream, &q, &f.verdict);
  if (f.log_lines) fail_msg("%s", f.log);
  fake_fini(&f);
}

/* What on_end is told, for the ways in which a stream ends. */
static void test_end(void **state) {
  (void)state;
  static const struct {
    enum wr_outcome outcome;
    struct wr_usage usage;
    uint32_t attempt;
    uint64_t tokens;
    const char *said; /* borrowed: a literal */
  } ends[] = {
    { WR_OUTCOME_COMPLETE, { 10, 20, 4, -1 }, 1, 7, "complete 10 20 4 nil complete 30 0.00005" },
    { WR_OUTCOME_COMPLETE, { -1, -1, -1, -1 }, 1, 7,
      "complete nil nil nil nil estimated 12 0.000019" },
    { WR_OUTCOME_CLIENT_GONE, { 10, 1, -1, -1 }, 1, 7, "client_gone 10 1 nil nil partial 17" },
    { WR_OUTCOME_STALLED, { 10, 9, -1, -1 }, 1, 7, "stalled 10 9 nil nil partial 19" },
    { WR_OUTCOME_REFUSED, { -1, -1, -1, -1 }, 0, 0, "refused nil nil nil nil missing 0 0.0" },
  };
  static const struct wr_conf_price prices[] = { { "fast", 1, 2 } };
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
    struct fake f;
    fake_init(&f, NULL);
    fake_engine(&f, "return { { on_end = { { plugin = 'p', fn = function(fin, s)\n"
                    "local u = fin.usage assert(fin.duration == 2.5 and fin.first_token == 0.5)\n"
                    "weir.log.info('%s %s %s %s %s %s %d %s', fin.outcome, u.input, u.output, "
                    "u.cached, u.reasoning, u.status, u.charged, ('%.6f'):format(fin.cost)) "
                    "end } } } }");
    f.upstreams[0].prices = prices;
    f.upstreams[0].price_count = 1;
    f.stream.usage = ends[i].usage;
    f.stream.attempt = ends[i].attempt;
    f.stream.status = ends[i].attempt ? 200 : 403;
    f.stream.output_tokens = ends[i].tokens;
    f.stream.prompt_tokens = 5;
    f.stream.first_token_us = 500000;
    const struct wr_hooks *h = hooks_of(&f);
    h->end(h->ctx, &f.stream, ends[i].outcome);
    if (!strstr(f.log, ends[i].said)) fail_msg("%s: %s", ends[i].said, f.log);
    fake_fini(&f);
  }
}

/* Declarations are for conf.lua. */
static void test_wrong_phase(void **state) {
  (void)state;
  static const char *const calls[][2] = {
    { "weir.route 'x' {}", "weir.route: only while conf.lua is loading (called from on_event)" },
    { "weir.upstream 'x'", "weir.upstream: only while conf.lua is loading (called from on_event)" },
    { "weir.use {}", "weir.use: only while conf.lua is loading (called from on_event)" },
    { "weir.plugin {}", "weir.plugin: only while conf.lua is loading (called from on_event)" },
  };
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
    char conf[600];
    snprintf(conf, sizeof conf,
             "weir.listen '127.0.0.1:0' {}\nweir.upstream 'openai' { kind = 'mock' }\n"
             "weir.route 'r' { match = { path = '*' }, to = 'openai',\n"
             "  on_event = function(ev, s) %s end }\n",
             calls[i][0]);
    struct fake f;
    fake_init(&f, NULL);
    struct wr_conf *loaded = NULL;
    struct wr_diag diag;
    wr_diag_init(&diag);
    assert_int_equal(wr_conf_load(f.vm, "conf.lua", wr_span_str(conf), &loaded, &diag), WR_OK);
    assert_int_equal(wr_engine_new(f.vm, loaded, NULL, &f.engine), WR_OK);
    f.stream = (struct wr_hook_stream){ .id = 1, .route = &loaded->routes[0], .upstream = "" };
    fake_event(&f, "{}", NULL, false);
    fake_call_event(&f);
    if (!strstr(f.log, calls[i][1])) fail_msg("%s: %s", calls[i][0], f.log);
    assert_non_null(strstr(f.log, "conf.lua:4: "));
    wr_diag_fini(&diag);
    fake_fini(&f);
    wr_conf_free(loaded);
  }
}

/* And what hooks may ask is not there while it loads. */
static void test_live_while_loading(void **state) {
  (void)state;
  static const char *const bodies[] = { "weir.live.pressure()", "weir.live.upstream('u')" };
  for (size_t i = 0; i < 2; i++) {
    struct fake f;
    fake_init(&f, NULL);
    struct wr_conf *loaded = NULL;
    struct wr_diag diag;
    wr_diag_init(&diag);
    assert_int_equal(wr_conf_load(f.vm, "conf.lua", wr_span_str(bodies[i]), &loaded, &diag),
                     WR_E_CONFIG);
    assert_non_null(strstr(diag.entries[0].text, "only in a hook (called while conf.lua is load"));
    wr_diag_fini(&diag);
    fake_fini(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_arguments),       cmocka_unit_test(test_verdicts),
    cmocka_unit_test(test_fail_modes),      cmocka_unit_test(test_pressure_aside),
    cmocka_unit_test(test_chain),           cmocka_unit_test(test_response_expires),
    cmocka_unit_test(test_set_header),      cmocka_unit_test(test_set_header_late),
    cmocka_unit_test(test_stream),          cmocka_unit_test(test_request_of_stream),
    cmocka_unit_test(test_live),            cmocka_unit_test(test_end),
    cmocka_unit_test(test_wrong_phase),     cmocka_unit_test(test_live_while_loading),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

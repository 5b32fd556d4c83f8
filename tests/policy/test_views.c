/* Views as the contract has them (2.3) and what is said when one is misused (2.4); retained views:
 * whom they belong to, what they cost, and that all of it comes back. */
#include "mem/slab.h"
#include "policy/fake.h"

#define DATA                                                                                       \
  "{\"choices\":[{\"delta\":{\"content\":\"Hello, world\"}}],\"n\":3,\"f\":-1.5e2,"                \
  "\"ok\":true,\"no\":null,\"e\":\"a\\\"\\u00e9\",\"list\":[1,[2]]}"

struct pool {
  struct wr_depot *depot;   /* owned */
  struct wr_ledger *ledger; /* owned */
  struct wr_slabs *slabs;   /* owned */
};

static void pool_init(struct pool *p) {
  assert_int_equal(wr_depot_new(4u << 20, &p->depot), WR_OK);
  assert_int_equal(wr_ledger_new(4u << 20, NULL, &p->ledger), WR_OK);
  assert_int_equal(wr_slabs_new(p->depot, p->ledger, &p->slabs), WR_OK);
}

static size_t kept_bytes(const struct pool *p) {
  wr_slabs_tick(p->slabs);
  return wr_ledger_bytes(p->ledger, WR_CHARGE_KEPT_VIEW);
}

static void pool_fini(struct pool *p) {
  assert_int_equal(kept_bytes(p), 0);
  assert_int_equal(wr_ledger_used_bytes(p->ledger), 0);
  assert_int_equal(wr_slabs_free(p->slabs), 0);
  wr_ledger_free(p->ledger);
  wr_depot_free(p->depot);
}

/* hooks: on_request, on_event, … as a table's fields, in Lua; KEPT is a table of the file. */
static void open_hooks(struct fake *f, struct pool *p, const char *hooks) {
  char text[6000];
  int n = snprintf(text, sizeof text, "local KEPT = {}\n%s", hooks);
  assert_true(n > 0 && (size_t)n < sizeof text);
  fake_init(f, NULL);
  f->slabs = p ? p->slabs : NULL;
  fake_engine(f, text);
  fake_event(f, DATA, "Hello, world", false);
}

#define EVENT(body)                                                                                \
  "return { { on_event = { { plugin = 'p', fn = function(ev, s)\n" body "\nend } } } }"

static uint64_t fails(const struct fake *f) {
  uint64_t n = 0;
  struct wr_hook_stats st;
  for (size_t i = 0; wr_engine_stats(f->engine, i, &st); i++)
    for (size_t k = 0; k < WR_FAILS; k++) n += st.fails[k];
  return n;
}

static void ask(struct fake *f) {
  fake_call_event(f);
  if (fails(f)) fail_msg("%s", f->log);
}

/* The body asserts in Lua. */
static void expect(const char *body) {
  struct fake f;
  char hooks[4000];
  snprintf(hooks, sizeof hooks, EVENT("%s"), body);
  open_hooks(&f, NULL, hooks);
  ask(&f);
  fake_fini(&f);
}

static void test_methods(void **state) {
  (void)state;
  expect("local v = ev.text\n"
         "assert(#v == 12 and v:byte(1) == 72 and v:byte(-12) == 72 and v:byte(0) == nil)\n"
         "assert(v:byte(-13) == nil and v:byte(99) == nil)\n"
         "assert(v:equals('Hello, world') and v:equals(v:sub(1)) and not v:equals('Hello'))\n"
         "assert(v:starts_with('') and v:starts_with(v) and not v:starts_with(v .. '!'))\n"
         "local i, j, c = v:find('o(.)', 6) assert(i == 9 and j == 10 and c == 'r')\n"
         "assert(type(c) == 'string' and v:find('', 13) == 13 and v:find('', 14) == nil)\n"
         "assert(v:find('%f[%w]%w+$') == 8 and v:find('^Hello') == 1 and v:find('.', 1, true) == "
         "nil)\n"
         "assert(v:tail('%w') == 8 and v:tail('%d', '%w ') == 7 and v:tail('xyz') == nil)\n"
         "assert(v:tail('%w, ') == 1 and v:tail('^o') == 10, v:tail('^o'))\n"
         "assert(v:str() == 'Hello, world' and v:str(-5, -2) == 'worl' and tostring(v):len() == "
         "12)\n"
         "assert(v .. 1 == 'Hello, world1' and v .. v == ('Hello, world'):rep(2))");
  expect("local v = ev.text\n"
         "local w = v:sub(3, -3) assert(tostring(w) == 'llo, wor' and #v:sub(9, 3) == 0)\n"
         "assert(w:sub(2, 3):str() == 'lo' and w:find('wor', 1, true) == 6 and w:tail('%w') == 6)\n"
         "assert(w == v:sub(3, 10) and w ~= v and v:sub(0):equals(v) and v:sub(-3, 99):str() == "
         "'rld')");
}

static void test_json(void **state) {
  (void)state;
  expect("local v = ev.data\n"
         "local t = v:json('choices.0.delta.content') assert(t:equals('Hello, world'))\n"
         "assert(t:sub(1, 5):str() == 'Hello' and #v:json('choices.0') == 36)\n"
         "assert(v:json('n') == 3 and math.type(v:json('n')) == 'integer' and v:json('f') == "
         "-150)\n"
         "assert(v:json('ok') == true and v:json('e'):str() == 'a\"\\u{e9}')\n"
         "assert(v:json('list.1.0') == 2 and v:json('list'):json('0') == 1)\n"
         "for path, why in pairs { no = 'null', x = 'missing', ['choices.1'] = 'missing',\n"
         "  ['n.x'] = 'missing', ['list.9'] = 'missing' } do\n"
         "  local got, said = v:json(path) assert(got == nil and said == why, path .. "
         "tostring(said))\n"
         "end\n"
         "local got, why = ev.text:json('x') assert(got == nil and why == 'invalid')\n"
         "assert(not pcall(v.json, v, 'a..b[') and not pcall(v.json, v))");
}

/* A string without a backslash is where it was; what has no note in the table allocates nothing. */
static void test_no_allocation(void **state) {
  (void)state;
  struct fake f;
  open_hooks(&f, NULL,
             EVENT("local v, n = ev.text, 0\n"
                   "n = n + #v + v:byte(2) + v:find('wor', 1, true) + v:find('%a+$') + "
                   "v:tail('%w')\n"
                   "if v:equals('x') or v:starts_with('y') or ev.raw:find('zzz', 1, true) then "
                   "return 'drop' end\n"
                   "if ev:json('n') ~= 3 or not ev:json('ok') or ev:json('none') then return "
                   "'drop' "
                   "end"));
  for (int i = 0; i < 100; i++) ask(&f);
  uint64_t calls = wr_heap_calls();
  size_t bytes = wr_vm_bytes(f.vm);
  for (int i = 0; i < 1000; i++) ask(&f);
  assert_int_equal(f.verdict.kind, WR_VERDICT_DEFAULT);
  assert_true(wr_heap_calls() == calls);
  assert_int_equal(wr_vm_bytes(f.vm), bytes);
  fake_fini(&f);
}

/* Each says where, what, and in which hook of what. */
static void test_messages(void **state) {
  (void)state;
  static const char expired[] =
      "policies/p.lua:3: weir: view expired (it is only valid inside the hook call that received "
      "it; "
      "use tostring(v) or v:retain()) [on_event of 'p', stream 7f3a]";
  static const char *const uses[] = { "return #v",          "v:byte(1)",         "v:equals('x')",
                                      "v:starts_with('x')", "v:find('x')",       "v:tail('x')",
                                      "v:str()",            "tostring(v)",       "local x = v .. "
                                          "''",
                                      "v:sub(1)",           "v:retain()",        "v:json('x')",
                                      "ev.text:equals(v)",  "local x = '' .. "
                                          "v", "ev.text:find(v)" };
  for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
    char hooks[400];
    snprintf(hooks, sizeof hooks, EVENT("local v = KEPT.v or ev.text:sub(1) KEPT.v = v if "
        "s.ctx.n then %s "
                                        "end s.ctx.n = 1"), uses[i]);
    struct fake f;
    open_hooks(&f, NULL, hooks);
    ask(&f);
    fake_call_event(&f);
    if (!strstr(f.log, expired)) fail_msg("%s: %s", uses[i], f.log);
    fake_fini(&f);
  }
  static const char *const others[][2] = {
    { "ev.text = 'x'", "policies/p.lua:3: views are read-only (tried to set 'text'); return "
                       "\"replace\", text instead [on_event of 'p', stream 7f3a]" },
    { "ev.text.x = 'x'", "views are read-only (tried to set 'x'); return \"replace\", text "
      "instead" },
    { "ev.raw[1] = 65", "views are read-only (tried to set 'number')" },
    { "while true do end", "policies/p.lua:3: over the limit: 100000 instructions [on_event of" },
    { "ev.data:find(('a?'):rep(30) .. ('.-'):rep(30) .. 'q')", "over the limit: 100000 "
      "instructions" },
    { "cnt = 1", "policies/p.lua:3: global 'cnt' is not declared (use local)" },
    { "return cnt", "policies/p.lua:3: global 'cnt' is not declared (use local)" },
    { "return 'hodl'", "on_event of 'p' returned \"hodl\"; expected nil, \"pass\", \"drop\" or "
      "\"stop\"" },
    { "KEPT.a = ev.raw:retain() for i = 1, 99 do KEPT[i] = ev.raw:retain() end",
      "over the limit: retained (4" },
    { "ev.text:release()", "view:release: the view is not a retained one" },
  };
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    char hooks[400];
    snprintf(hooks, sizeof hooks, EVENT("%s"), others[i][0]);
    struct fake f;
    open_hooks(&f, NULL, hooks);
    fake_call_event(&f);
    if (!strstr(f.log, others[i][1])) fail_msg("%s: %s", others[i][0], f.log);
    fake_fini(&f);
  }
}

static void call_end(struct fake *f, struct wr_hook_stream *s) {
  const struct wr_hooks *h = wr_engine_hooks(f->engine);
  h->end(h->ctx, s, WR_OUTCOME_COMPLETE);
  if (fails(f)) fail_msg("%s", f->log);
}

/* Later hooks of its stream read it, whatever lies where its bytes lay. */
static void test_retain(void **state) {
  (void)state;
  struct pool p;
  struct fake f;
  pool_init(&p);
  open_hooks(&f, &p,
             "return { { on_event = { { plugin = 'p', fn = function(ev, s)\n"
             "local r = s.ctx.r\n"
             "if not r then s.ctx.r = ev.text:retain() s.ctx.e = ev:json('e'):retain()\n"
             "  s.ctx.empty = ev.text:sub(2, 1):retain() r = s.ctx.r end\n"
             "assert(tostring(r) == 'Hello, world' and #r == 12 and r:find('world') == 8)\n"
             "assert(r:sub(1, 5):equals('Hello') and r .. '!' == 'Hello, world!' and r == "
             "r:sub(1))\n"
             "assert(s.ctx.e:str() == 'a\"\\u{e9}' and #s.ctx.empty == 0 and r:tail('%w') == 8)\n"
             "local again <close> = r:retain() assert(again == r)\n"
             "end } }, on_end = { { plugin = 'p', fn = function(fin, s)\n"
             "assert(s.ctx.r:str() == 'Hello, world') s.ctx.r:release() s.ctx.e:release()\n"
             "s.ctx.empty:release() end } } } }");
  char data[] = DATA;
  fake_event(&f, data, "Hello, world", false);
  ask(&f);
  assert_int_equal(kept_bytes(&p), 3 * 256);
  memset(data, '?', sizeof data - 1);
  fake_event(&f, "{}", NULL, false);
  for (int i = 0; i < 50; i++) ask(&f);
  assert_int_equal(kept_bytes(&p), 3 * 256);
  call_end(&f, &f.stream);
  assert_int_equal(wr_engine_views(f.engine).retained, 54);
  assert_int_equal(wr_engine_views(f.engine).leaked, 0);
  assert_int_equal(kept_bytes(&p), 0);
  fake_fini(&f);
  pool_fini(&p);
}

/* It belongs to one stream: another one, or the next, finds nothing; released, nobody does. */
static void test_whose(void **state) {
  (void)state;
  struct pool p;
  struct fake f;
  pool_init(&p);
  open_hooks(&f, &p,
             EVENT("if not KEPT.r then KEPT.r = ev.text:retain() KEPT.sub = KEPT.r:sub(1, 3) "
                 "return end\n"
                   "local function dead(f, what)\n"
                   "  local ok, e = pcall(f) assert(not ok and e:find(what, 1, true), e) end\n"
                   "dead(function() return #KEPT.sub end, 'view expired')\n"
                   "if s.ctx.mine then assert(#KEPT.r == 12) return end\n"
                   "if s.id == '7f3a' then s.ctx.mine = true return end\n"
                   "local own = ev.text:retain()\n"
                   "local why = 'view expired (a retained view is valid in the hooks of its "
                   "stream'\n"
                   "dead(function() return #KEPT.r end, why)\n"
                   "dead(function() return KEPT.r:retain() end, why)\n"
                   "KEPT.r:release()\n"
                   "assert(#own == 12) own:release() own:release()\n"
                   "dead(function() return own .. '' end, 'view expired (it was released)')"));
  ask(&f);
  struct wr_hook_stream first = f.stream;
  f.stream.policy = NULL;
  f.stream.id = 2;
  ask(&f); /* another stream, while the first runs */
  call_end(&f, &f.stream);
  struct wr_hook_stream second = f.stream;
  f.stream = first;
  ask(&f);
  ask(&f); /* it is still there for its own */
  call_end(&f, &f.stream);
  assert_int_equal(wr_engine_views(f.engine).leaked, 1);
  f.stream = second;
  f.stream.policy = NULL;
  f.stream.settled = false;
  ask(&f); /* and gone with it */
  fake_fini(&f);
  pool_fini(&p);
}

/* What a part still points to stays until the hook returns; a sanitizer would know. */
static void test_release_in_use(void **state) {
  (void)state;
  struct pool p;
  struct fake f;
  pool_init(&p);
  open_hooks(&f, &p,
             EVENT("local part\n"
                   "do local r <close> = ev.text:retain() part = r:sub(1, 5) end\n"
                   "assert(part:str() == 'Hello')\n"
                   "local r = ev.text:retain() local v = r:sub(8) r:release()\n"
                   "assert(v:equals('world') and not pcall(function() return #r end))\n"
                   "local x <close> = ev.text\n"
                   "s.ctx.n = (s.ctx.n or 0) + 1 if s.ctx.n == 7 then error('out of here') end"));
  for (int i = 0; i < 40; i++) fake_call_event(&f);
  assert_int_equal(fails(&f), 1);
  assert_int_equal(kept_bytes(&p), 0);
  assert_int_equal(wr_engine_views(f.engine).retained, 80);
  assert_int_equal(wr_engine_views(f.engine).leaked, 0);
  fake_fini(&f);
  pool_fini(&p);
}

/* What is forgotten, by error or by design, comes back with the stream and is counted. */
static void test_forgotten(void **state) {
  (void)state;
  struct pool p;
  struct fake f;
  pool_init(&p);
  open_hooks(&f, &p, EVENT("KEPT[#KEPT + 1] = ev.text:retain() error('x')"));
  struct wr_hook_stream s[3];
  for (int i = 0; i < 3; i++) {
    f.stream.policy = NULL;
    f.stream.id = (uint64_t)i + 1;
    f.stream.now_us += 20000000;
    fake_call_event(&f);
    f.stream.now_us += 20000000;
    fake_call_event(&f);
    s[i] = f.stream;
  }
  assert_int_equal(kept_bytes(&p), 6 * 256);
  const struct wr_hooks *h = wr_engine_hooks(f.engine);
  for (int i = 0; i < 3; i++) h->end(h->ctx, &s[i], WR_OUTCOME_CLIENT_GONE);
  assert_int_equal(wr_engine_views(f.engine).leaked, 6);
  assert_int_equal(kept_bytes(&p), 0);
  f.stream.policy = NULL;
  fake_fini(&f);
  pool_fini(&p);
}

/* The limit counts what the pool gives, and what was released makes room again. */
static void test_limit(void **state) {
  (void)state;
  struct pool p;
  struct fake f;
  pool_init(&p);
  open_hooks(&f, &p,
             EVENT("local n = 0\n"
                   "while true do\n"
                   "  local ok, r = pcall(ev.text.retain, ev.text)\n"
                   "  if not ok then assert(r:find('over the limit: retained (4352 of 4096 "
                   "bytes)', 1, "
                   "true), r) break end\n"
                   "  n = n + 1 s.ctx[n] = r\n"
                   "end\n"
                   "assert(n == 16, n) for i = 1, n do s.ctx[i]:release() end"));
  for (int i = 0; i < 3; i++) ask(&f);
  assert_int_equal(kept_bytes(&p), 0);
  fake_fini(&f);
  open_hooks(&f, &p, EVENT("ev.raw:retain()"));
  char big[6000];
  memset(big, 'x', sizeof big);
  f.raw = wr_view_static(wr_span_make(big, sizeof big));
  fake_call_event(&f);
  assert_non_null(strstr(f.log, "over the limit: retained (6000 of 4096 bytes)"));
  fake_fini(&f);
  pool_fini(&p);
}

/* Most of a block stays where it is; little of one is copied out of it. */
static void test_shares_block(void **state) {
  (void)state;
  struct pool p;
  struct fake f;
  pool_init(&p);
  open_hooks(&f, &p, EVENT("s.ctx.r = s.ctx.r or (#ev.raw > 5 and ev.raw:retain() or "
      "ev.raw:retain())"));
  struct wr_block *b = wr_slabs_alloc(p.slabs, 1024, WR_CHARGE_UPSTREAM);
  assert_non_null(b);
  memset(b->data, 'a', 1024);
  f.raw = (struct wr_view){ b, b->data + 100, 700 };
  ask(&f);
  assert_int_equal(b->refs, 2);
  assert_int_equal(kept_bytes(&p), 0);
  call_end(&f, &f.stream);
  assert_int_equal(b->refs, 1);
  f.stream.settled = false;
  f.raw.len = 300;
  ask(&f);
  assert_int_equal(b->refs, 1);
  assert_int_equal(kept_bytes(&p), 512);
  call_end(&f, &f.stream);
  wr_block_unref(b);
  fake_fini(&f);
  pool_fini(&p);
}

/* A full pool, and memory that ends at any place: an error of the hook, and nothing is lost. */
static void test_no_room(void **state) {
  (void)state;
  struct pool p;
  struct fake f;
  pool_init(&p);
  open_hooks(&f, &p, EVENT("local r = ev.text:retain()"));
  struct wr_mem_debug debug = { .poison = true, .owners = true, .fail_nth = 1, .fail_every = true };
  wr_mem_debug_set(&debug);
  fake_call_event(&f);
  debug.fail_nth = 0;
  debug.fail_every = false;
  wr_mem_debug_set(&debug);
  assert_non_null(strstr(f.log, "weir: no room for a retained view of 12 bytes"));
  fake_fini(&f);
  for (uint64_t n = 1; n < 60; n++) {
    open_hooks(&f, n % 2 ? &p : NULL, EVENT("s.ctx.r = ev.text:retain() for i = 1, 9 do "
        "ev.text:retain() end"));
    wr_heap_fail_at(n, false);
    fake_call_event(&f);
    wr_heap_fail_at(0, false);
    fake_call_event(&f);
    fake_fini(&f);
  }
  pool_fini(&p);
}

/* A request's body and a window's text can be kept as well. */
static void test_from_other_hooks(void **state) {
  (void)state;
  struct pool p;
  struct fake f;
  pool_init(&p);
  open_hooks(&f, &p,
             "return { { on_request = { { plugin = 'p', fn = function(req, s)\n"
             "s.ctx.body = req.body:retain() s.ctx.model = req:json('model'):retain() end } },\n"
             "on_text = { { plugin = 'p', fn = function(win, s)\n"
             "s.ctx.text = s.ctx.text or win:retain() assert(not pcall(s.ctx.text.last, "
             "s.ctx.text))\n"
             "assert(win:last() == false and win.kind == 'text') end } },\n"
             "on_end = { { plugin = 'p', fn = function(fin, s)\n"
             "assert(s.ctx.body:json('n') == 2 and s.ctx.model:str() == 'fast')\n"
             "assert(s.ctx.text:str() == 'some text') end } } } }");
  char body[] = "{\"model\":\"fast\",\"n\":2}", text[] = "some text";
  struct wr_hook_request rq = { .max_tokens = -1, .body_complete = true };
  rq.body = wr_view_static(wr_span_str(body));
  const struct wr_hooks *h = wr_engine_hooks(f.engine);
  h->request(h->ctx, &f.stream, &rq, &f.verdict);
  memset(body, 0, sizeof body - 1);
  for (int i = 0; i < 2; i++) {
    struct wr_hook_window win = { .text = wr_span_str(text), .kind = WR_EVENT_TEXT };
    h->text(h->ctx, &f.stream, &win, &f.verdict);
    memset(text, '-', sizeof text - 1);
  }
  call_end(&f, &f.stream);
  assert_int_equal(wr_engine_views(f.engine).leaked, 3);
  fake_fini(&f);
  pool_fini(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_methods),        cmocka_unit_test(test_json),
    cmocka_unit_test(test_no_allocation),  cmocka_unit_test(test_messages),
    cmocka_unit_test(test_retain),         cmocka_unit_test(test_whose),
    cmocka_unit_test(test_release_in_use), cmocka_unit_test(test_forgotten),
    cmocka_unit_test(test_limit),          cmocka_unit_test(test_shares_block),
    cmocka_unit_test(test_no_room),        cmocka_unit_test(test_from_other_hooks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* on_text in Lua: what a window is to a script, what its verdicts become, and a redactor whose
 * output no cut and no dialect changes. */
#include "relay/stream_texts.h"

#include "policy/fake.h"
#include "policy/load.h"

struct text {
  struct fake f;
  struct rig r;
  struct wr_conf *conf; /* owned */
};

static void open_text(struct text *t, const char *route) {
  char source[4096];
  struct wr_diag diag;
  snprintf(source, sizeof source,
           "weir.api(1)\n"
           "weir.listen '127.0.0.1:8080' {}\n"
           "weir.upstream 'up' { kind = 'openai-compatible', url = 'http://127.0.0.1:1' }\n"
           "weir.route 'all' { match = { path = '/*' }, to = 'up', %s }\n",
           route);
  fake_init(&t->f, NULL);
  wr_diag_init(&diag);
  enum wr_err err =
      wr_conf_load(t->f.vm, "examples/conf.lua", wr_span_str(source), &t->conf, &diag);
  for (size_t i = 0; i < diag.count; i++) print_message("%s\n", diag.entries[i].text);
  assert_int_equal(err, WR_OK);
  wr_diag_fini(&diag);
  assert_int_equal(wr_engine_new(t->f.vm, t->conf, NULL, &t->f.engine), WR_OK);
  t->f.stream = (struct wr_hook_stream){ .id = 1, .route = &t->conf->routes[0], .upstream = "" };
  rig_init(&t->r);
  t->r.use_hooks = true;
  t->r.hooks = *wr_engine_hooks(t->f.engine);
  t->r.conf.routes = t->conf->routes;
  rig_open(&t->r);
}

static void close_text(struct text *t) {
  rig_close(&t->r);
  assert_int_equal(wr_engine_streams(t->f.engine), 0);
  fake_fini(&t->f);
  wr_conf_free(t->conf);
}

static uint64_t fails(const struct text *t) {
  struct wr_hook_stats st;
  uint64_t n = 0;
  for (size_t i = 0; wr_engine_stats(t->f.engine, i, &st); i++)
    for (unsigned k = 0; k < WR_FAILS; k++) n += st.fails[k];
  return n;
}

static const char *say(struct text *t, const char *text, size_t n) {
  const size_t ends[3] = { n > 1 ? 3 : strlen(text), n > 2 ? 6 : strlen(text), strlen(text) };
  exchange(&t->r, CHAT, stream_answer(CHAT, 0, text, ends, n));
  return text_of(CHAT, 0, body);
}

static void window(void **state) {
  (void)state;
  struct text t;
  open_text(&t, "on_text = function(win, s, conf)\n"
                "  assert(win.kind == 'text' and win.index == 0)\n"
                "  s.ctx.n = (s.ctx.n or 0) + 1\n"
                "  assert(win:byte(1) == 97 and win:equals(('abcdefghi'):sub(1, #win)))\n"
                "  assert(win:find('c') == 3 and win:str(1, 2) == 'ab' and #win:sub(2) > 1)\n"
                "  assert(win:starts_with('abc') and win:tail('%a') == 1)\n"
                "  assert(tostring(win) == win .. '')\n"
                "  local ok, e = pcall(function() win.text = 1 end)\n"
                "  assert(not ok and e:find('read%-only'))\n"
                "  assert(not pcall(function() return win.nothing end))\n"
                "  assert(not pcall(win.last, win:sub(1)))\n"
                "  if s.ctx.old then assert(rawequal(s.ctx.old, win)) end\n"
                "  s.ctx.old = win\n"
                "  if win:last() then assert(#win == 9) return 'replace', tostring(s.ctx.n) end\n"
                "  return 'hold'\n"
                "end");
  assert_string_equal(say(&t, "abcdefghi", 3), "4");
  if (fails(&t)) fail_msg("%s", t.f.log);
  close_text(&t);
}

static void verdict(const char *words, const char *text, unsigned failed, const char *log) {
  struct text t;
  char hook[512];
  snprintf(hook, sizeof hook, "on_text = function(win) return %s end", words);
  open_text(&t, hook);
  assert_string_equal(say(&t, "abcdefghi", 3), text);
  assert_int_equal(fails(&t) > 0, failed);
  if (log && !strstr(t.f.log, log)) fail_msg("\"%s\" lacks \"%s\"", t.f.log, log);
  close_text(&t);
}

static void verdicts(void **state) {
  (void)state;
  verdict("nil", "abcdefghi", 0, NULL);
  verdict("'pass'", "abcdefghi", 0, NULL);
  verdict("'drop'", "", 0, NULL);
  verdict("'replace', 'x'", "xxx", 0, NULL);
  verdict("'replace', 'x', 2", "axdxgx", 0, NULL);
  verdict("'hold', 3", "abcdefghi", 0, NULL);
  verdict("'stop', 'why'", "", 0, NULL);
  verdict("'hodl'", "abcdefghi", 1,
          "returned \"hodl\"; expected nil, \"pass\", \"drop\", \"replace\", \"hold\" or \"stop\"");
  verdict("'replace'", "abcdefghi", 1, "returned \"replace\" without a string");
  verdict("'replace', 'x', 0", "abcdefghi", 1, "a place that is no integer from 1 to 4");
  verdict("'replace', 'x', 1, 9", "abcdefghi", 1, "a place that is no integer from 0 to 3");
  verdict("'hold', 1.5", "abcdefghi", 1, "a place that is no integer from 1 to 4");
  verdict("nil + 1", "abcdefghi", 1, "arithmetic");
}

/* Well-formed, and can't be done: counted, told and answered as any other failure. */
static void not_followed(void **state) {
  (void)state;
  static const struct {
    const char *words, *log; /* borrowed: literals */
  } cases[] = {
    { "'drop'", "on_text of 'p' returned \"drop\" for the arguments of a tool" },
    { "'replace', 'x', 1, 9",
      "on_text of 'p' returned a \"replace\" that would break the arguments" },
    { "'replace', '', 1, 0", "on_text of 'p' returned \"replace\" again and again" },
  };
  static const char args[] = "{\"to\":\"bob\",\"n\":1}";
  const size_t ends[] = { sizeof args - 1 };
  for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
    struct text t;
    char use[512];
    bool guard = i % 2, text = i / 2 == 2;
    snprintf(use, sizeof use,
             "use = { weir.plugin { name = 'p', api = 1, guard = %s, needs = { 'text', 'tool' },"
             " on_text = function() return %s end } {} }",
             guard ? "true" : "false", cases[i / 2].words);
    open_text(&t, use);
    int kind = text ? 0 : 2;
    exchange(&t.r, CHAT, stream_answer(CHAT, kind, args, ends, 1));
    assert_int_equal(strncmp(t.r.got, guard ? "HTTP/1.1 500" : "HTTP/1.1 200", 12), 0);
    if (!guard) assert_string_equal(text_of(CHAT, kind, body), args);
    assert_int_equal(fails(&t), 1);
    if (!strstr(t.f.log, cases[i / 2].log)) fail_msg("\"%s\"", t.f.log);
    close_text(&t);
  }
}

static void redactor(void **state) {
  (void)state;
  static const char plain[] = "mail bob@example.com, sk-abc-1 or 4111 1111 1111 1111! \xc3\xa9";
  static const char clean[] = "mail [EMAIL], [KEY] or [CARD]! \xc3\xa9";
  static const char args[] = "{\"to\":\"bob@example.com\",\"card\":4111111111111111}";
  static const char safe[] = "{\"to\":\"[EMAIL]\",\"card\":\"[CARD]\"}";
  struct text t;
  open_text(&t, "use = { require('pii') {} }");
  assert_int_equal(t.conf->routes[0].texts[0].needs, 7);
  assert_int_equal(t.conf->routes[0].texts[0].hold_bytes, 256);
  assert_true(t.conf->routes[0].texts[0].guard);
  assert_string_equal(t.conf->routes[0].hook_names[3], "pii(Lua, window 256 B)");
  for (enum shape shape = CHAT; shape < SHAPES; shape++)
    for (int kind = 0; kind < (shape == OLLAMA ? 2 : 3); kind++) {
      const char *text = kind == 2 ? args : plain;
      size_t n = strlen(text);
      for (size_t i = 1; i < n; i++) {
        if (((unsigned char)text[i] & 0xc0u) == 0x80) continue;
        const size_t two[] = { i, n };
        exchange(&t.r, shape, stream_answer(shape, kind, text, two, 2));
        assert_string_equal(text_of(shape, kind, body), kind == 2 ? safe : clean);
        assert_int_equal(count_of(body, "bob") + count_of(body, "4111"), 0);
      }
    }
  assert_int_equal(fails(&t), 0);
  close_text(&t);
}

/* A guard that raises stops the stream; what it has not judged is never seen. */
static void guard(void **state) {
  (void)state;
  struct text t;
  open_text(&t, "use = { weir.plugin { name = 'g', api = 1, guard = true, hold = 16,\n"
                "  on_text = function(win) if win:find('d') then error('no') end end } {} }");
  assert_string_equal(say(&t, "abcdefghi", 3), "abc");
  assert_string_equal(t.r.outcome, "stopped");
  assert_int_equal(count_of(body, "\"error\""), 1);
  close_text(&t);
}

/* An event costs no allocation outside of Lua, whatever the number. */
static void allocations(void **state) {
  (void)state;
  static char text[1001];
  static size_t ends[1000];
  memset(text, 'a', 1000);
  for (size_t i = 0; i < 1000; i++) ends[i] = i + 1;
  struct text t;
  open_text(&t, "on_text = function(win) if win:find('b', 1, true) then return 'drop' end end");
  uint64_t spent[2];
  for (size_t i = 0; i < 2; i++) {
    size_t n = i ? 1000 : 10;
    (void)say(&t, "abcdefghi", 3);
    struct wr_span answer = stream_answer(CHAT, 0, text, ends, n);
    uint64_t before = wr_heap_calls();
    exchange(&t.r, CHAT, answer);
    spent[i] = wr_heap_calls() - before;
  }
  assert_int_equal(spent[0], spent[1]);
  assert_int_equal(fails(&t), 0);
  close_text(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(window), cmocka_unit_test(verdicts),
    cmocka_unit_test(not_followed),    cmocka_unit_test(redactor),
    cmocka_unit_test(guard),  cmocka_unit_test(allocations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

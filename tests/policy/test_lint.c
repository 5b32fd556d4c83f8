/* What is said of a policy that Lua would run without a word; and what isn't. */
#include "harness.h"

#include "policy/load.h"
#include "policy/vm.h"

static const char conf_before[] =
    "weir.listen '127.0.0.1:0' {} weir.upstream 'upst' { kind = 'mock' } ";
static const char conf_after[] = " weir.route 'r' { match = { path = '*' }, to = 'upst' }";

struct lint {
  const char *source;
  const char *text; /* NULL: nothing is said */
};

#define COMPARED(name) "warning: '" name "' is a view, and a view never equals a string"
#define INDEXED(name) "warning: '" name "' is a view, and a view as a key"

static const struct lint cases[] = {
  { "local h = { on_event = function(ev) return ev.text == 'x' end }", COMPARED("ev.text") },
  { "local h = { on_event = function(e, s) return e.raw ~= 'x' end }", COMPARED("e.raw") },
  { "local function on_event(ev) return 'x' == ev.data end", COMPARED("ev.data") },
  { "local h = { on_text = function(win) return win == \"x\" end }", COMPARED("win") },
  { "local h = { on_request = function(req) return req.body == 'x' end }", COMPARED("req.body") },
  { "local h = { on_event = function(ev) local t = ev.text if t == 'x' then return end end }",
    COMPARED("t") },
  { "local h = { on_event = function(ev) return t[ev.text] end }", INDEXED("ev.text") },
  { "local h = { on_text = function(w) return { [w] = 1 } end }", INDEXED("w") },
  /* What is right, what stands in comments and strings, and what isn't known to be a view. */
  { "local h = { on_event = function(ev) return ev.kind == 'text' or ev.name == 'x' end }", NULL },
  { "local h = { on_event = function(ev) return ev.text:equals('x') or ev.text:str() == 'x' end }",
    NULL },
  { "local h = { on_event = function(ev) return ev.text .. '' == 'x' or #ev.text == 1 end }",
    NULL },
  { "local h = { on_event = function(ev) return tostring(ev.text) == 'x' end }", NULL },
  { "local h = { on_event = function(ev) local t = ev.text:str() return t == 'x' end }", NULL },
  { "local h = { on_event = function(ev) local t = ev.text and 'x' return t == 'x' end }", NULL },
  { "local h = { on_event = function(ev) local t = ev.text t:str() end,"
    " on_end = function(fin) local t = fin.outcome return t == 'x' end }", NULL },
  { "local h = { on_event = function(ev, s) return s.ctx.text == 'x' or s.ev.text == 'x' end }",
    NULL },
  { "local h = { on_event = function(ev) --[[ ev.text == 'x' ]] return \"ev.text == 'x'\" end }",
    NULL },
  { "local h = { on_end = function(ev) return ev.text == 'x' end }", NULL },
  { "local ev = { text = 'x' } assert(ev.text == 'x')", NULL },
  /* Names of upstreams. */
  { "local h = { on_request = function() return 'route', 'ups' end }",
    "warning: the verdict \"route\" names 'ups', which isn't declared (did you mean 'upst'?)" },
  { "local h = { on_response_start = function() return 'fallback', 'other' end }",
    "warning: the verdict \"fallback\" names 'other', which isn't declared" },
  { "local h = { on_request = function() return 'route', 'upst',"
    " weir.live.upstream('v').room end }",
    "warning: weir.live.upstream names 'v', which isn't declared" },
  { "local h = { on_request = function() return 'reject', 'x' end }", NULL },
  { "local h = { on_request = function() return 'route', weir.live.upstream 'upst' end }", NULL },
  /* Matches and what is held. */
  { "local h = { hold = 4, on_text = function(w) return 'hold', w:find('12345', 1, true) end }",
    "warning: on_text looks for 5 bytes, but 'hold' is 4" },
  { "local h = { hold = 5, on_text = function(w) return 'hold', w:find('12345', 1, true) end }",
    NULL },
  { "local h = { hold = 4, on_text = function(w) return 'hold', w:find('[12345]') end }", NULL },
  { "local h = { guard = true, on_text = function(w) if w:find('x') then return 'stop' end end }",
    "warning: a guard's on_text that never returns \"hold\"" },
  { "local h = { on_text = function(w) if w:find('x') then return 'stop' end end }", NULL },
  { "weir.plugin { name = 'p', api = 1, hold = 9, on_event = function() end }",
    "warning: plugin 'p': 'hold' has no effect without on_text" },
  { "weir.plugin { name = 'p', api = 1, needs = { 'tool' } }",
    "warning: plugin 'p': 'needs' has no effect without on_text" },
};

static void collect(void *ctx, struct wr_span line) {
  char *text = ctx;
  size_t at = strlen(text);
  assert_true(at + line.len + 2 < 8192);
  memcpy(text + at, line.ptr, line.len);
  memcpy(text + at + line.len, "\n", 2);
}

static void check(const struct lint *c) {
  char source[2048], said[8192] = "";
  struct wr_conf *conf = NULL;
  struct wr_diag diag;
  struct wr_vm *vm = NULL;
  snprintf(source, sizeof source, "%s\n%s\n%s", conf_before, c->source, conf_after);
  T_OK(wr_vm_new(NULL, &vm));
  wr_diag_init(&diag);
  enum wr_err err = wr_conf_load(vm, "conf.lua", wr_span_str(source), &conf, &diag);
  wr_diag_print(&diag, collect, said);
  bool right = c->text ? diag.count == 1 && strstr(said, c->text) && strstr(said, "conf.lua:2: ")
                       : diag.count == 0;
  if (err != WR_OK || !right) fail_msg("%s\nwanted: %s\nsaid: %s", c->source, c->text, said);
  wr_conf_free(conf);
  wr_diag_fini(&diag);
  wr_vm_free(vm);
}

static void test_cases(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check(&cases[i]);
}

/* A file ends anywhere: nothing is read behind it. */
static void test_cut(void **state) {
  (void)state;
  static const char source[] = "local h = { on_text = function(w) local t = w return [==[ x ]==] "
                               "== w or w:find(\"\\\"x\") == 'y' end }";
  for (size_t n = 0; n < sizeof source; n++) {
    struct wr_conf *conf = NULL;
    struct wr_diag diag;
    struct wr_vm *vm = NULL;
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, source, n);
    T_OK(wr_vm_new(NULL, &vm));
    wr_diag_init(&diag);
    assert_int_equal(wr_conf_load(vm, "conf.lua", wr_span_make(copy, n), &conf, &diag),
                     WR_E_CONFIG); /* nothing listens */
    wr_diag_fini(&diag);
    wr_vm_free(vm);
    free(copy);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases), cmocka_unit_test(test_cut) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

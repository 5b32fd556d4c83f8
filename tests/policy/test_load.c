/* What conf.lua may say, and what it is told when it says something else. */
#include "harness.h"

#include <lauxlib.h>
#include <lua.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/explain.h"
#include "policy/load.h"
#include "policy/vm.h"
#include "wire/head.h"

#include "load_bad.h"

struct text {
  char bytes[65536];
  size_t len;
};

static void collect(void *ctx, struct wr_span s) {
  struct text *t = ctx;
  assert_true(t->len + s.len + 2 < sizeof t->bytes);
  memcpy(t->bytes + t->len, s.ptr, s.len);
  t->len += s.len;
  t->bytes[t->len] = '\0';
}

static void collect_line(void *ctx, struct wr_span s) {
  collect(ctx, s);
  collect(ctx, WR_SPAN("\n"));
}

static char dir[] = "/tmp/weir-load-XXXXXX";

static void put_file(const char *name, const char *bytes) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(bytes, f);
  fclose(f);
}

static const char *path_of(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

static enum wr_err load(const char *source, struct wr_conf **out, struct wr_diag *diag) {
  struct wr_vm *vm = NULL;
  T_OK(wr_vm_new(NULL, &vm));
  wr_diag_init(diag);
  enum wr_err err = wr_conf_load(vm, "conf.lua", wr_span_str(source), out, diag);
  wr_vm_free(vm);
  return err;
}

static void test_bad(void **state) {
  (void)state;
  size_t wrong = 0;
  for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
    struct wr_conf *conf = NULL;
    struct wr_diag diag;
    enum wr_err err = load(bads[i].source, &conf, &diag);
    bool found = false;
    for (size_t j = 0; j < diag.count; j++)
      found = found ||
              (diag.entries[j].grade == WR_DIAG_ERROR && diag.entries[j].line == bads[i].line &&
               strcmp(diag.entries[j].file, "conf.lua") == 0 &&
               strstr(diag.entries[j].text, bads[i].text));
    if (err != WR_E_CONFIG || !found || diag.errors != 1) {
      struct text said = { .len = 0 };
      wr_diag_print(&diag, collect_line, &said);
      print_error("--- %s--- wanted line %d: %s\n--- %s said:\n%s", bads[i].source, bads[i].line,
                  bads[i].text, wr_err_label(err), said.bytes);
      wrong++;
    }
    if (conf) wr_conf_free(conf);
    wr_diag_fini(&diag);
  }
  assert_int_equal(wrong, 0);
}

static const char all_wrong[] = "weir.server { wrkers = 2, memory = 5 }\n"
                                "weir.listen \"x\" {}\n"
                                "weir.upstream \"locla\" {\n"
                                "  kind = \"mock\",\n"
                                "  timeout = { idle = 3,\n"
                                "              totl = \"1s\" },\n"
                                "}\n"
                                "weir.route \"r\" { match = { path = \"/x\" }, to = \"local\" }\n";

static void test_all_at_once(void **state) {
  (void)state;
  struct wr_conf *conf = NULL;
  struct wr_diag diag;
  assert_int_equal(load(all_wrong, &conf, &diag), WR_E_CONFIG);
  struct text said = { .len = 0 };
  wr_diag_print(&diag, collect_line, &said);
  assert_string_equal(
      said.bytes,
      "conf.lua:1: server: 'memory' needs a unit: write \"64KiB\", \"4MiB\" (a bare number is an "
      "error)\n"
      "conf.lua:1: server: unknown option 'wrkers' (did you mean 'workers'?)\n"
      "conf.lua:2: listen 'x': not an address: \"127.0.0.1:8080\", \"[::1]:8080\", \":8080\" or "
      "\"unix:/run/weir.sock\"\n"
      "conf.lua:5: upstream 'locla': 'timeout.idle' needs a unit: write \"30s\", \"500ms\", \"2m\" "
      "(a bare "
      "number is an error)\n"
      "conf.lua:6: upstream 'locla': unknown option 'timeout.totl' (did you mean 'total'?)\n"
      "conf.lua:8: route 'r': 'to' names 'local', which is neither an upstream nor a group (did "
      "you mean "
      "'locla'?)\n");
  assert_null(conf);
  wr_diag_fini(&diag);
}

static const char good[] =
    "weir.api(1)\n"
    "weir.route \"chat\" { match = { path = \"/v1/chat/completions\", methods = { \"POST\", "
    "\"GET\" } },\n"
    "  to = \"chat\", limits = { body = \"4MiB\", streams_per_key = 20 }, heartbeat = \"0s\",\n"
    "  slow_client = { high = \"8KiB\" }, commit = \"alive\" }\n"
    "weir.route \"open\" { match = { path = \"/v1/*\", host = \"llm.example\" }, to = \"local\", "
    "open = true,\n"
    "  timeout = { idle = \"7s\" } }\n"
    "weir.group \"chat\" { \"openai\", last = \"local\",\n"
    "  retry = { attempts = 3, on = { \"429\", \"idle\" }, backoff = \"1s\", budget = 0.05 } }\n"
    "weir.upstream \"openai\" { kind = \"openai\", url = { \"https://api.openai.com\", "
    "\"http://10.0.0.5:8000/base/\" },\n"
    "  key = weir.secret.env \"WEIR_TEST_KEY\", models = { fast = \"gpt\", [\"*\"] = \"any\", a = "
    "\"b\" },\n"
    "  price = { fast = { 0.4, 1.6 } }, headers = { [\"x-a\"] = 1, authorization = \"hush-hush\" "
    "},\n"
    "  limit = { 64 }, timeout = { connect = \"3s\" } }\n"
    "weir.upstream \"local\" { kind = \"mock\", mock = { tokens = 3 }, key = weir.secret.file "
    "\"secret\" }\n"
    "weir.keys { file = \"keys.lua\" }\n"
    "weir.listen \"127.0.0.1:0\" { max_streams = 9 }\n"
    "weir.server { admin = \"off\", log = \"requests.jsonl\" }\n";

static void write_good(void) {
  put_file("secret", "sk-from-a-file\n");
  put_file("keys.lua", "return { [\"team-b\"] = { sha256 = (\"cd\"):rep(32) },\n"
                       "  [\"team-a\"] = { sha256 = (\"ab\"):rep(32), class = \"paid\" } }\n");
  put_file("conf.lua", good);
}

static struct wr_conf *load_good(void) {
  struct wr_conf *conf = NULL;
  struct wr_diag diag;
  write_good();
  wr_diag_init(&diag);
  enum wr_err err = wr_conf_load_file(path_of("conf.lua"), &conf, &diag);
  struct text said = { .len = 0 };
  wr_diag_print(&diag, collect_line, &said);
  if (err != WR_OK) fail_msg("%s", said.bytes);
  wr_diag_fini(&diag);
  return conf;
}

static void test_good(void **state) {
  (void)state;
  struct wr_conf *c = load_good();
  assert_int_equal(c->upstream_count, 2);
  assert_int_equal(c->group_count, 3);
  const struct wr_conf_upstream *u = &c->upstreams[0];
  assert_string_equal(u->name, "openai");
  assert_int_equal(u->kind, WR_KIND_OPENAI);
  assert_int_equal(u->url_count, 2);
  assert_string_equal(u->urls[0].host, "api.openai.com");
  assert_string_equal(u->urls[0].base_path, "");
  assert_int_equal(u->urls[0].port, 443);
  assert_true(u->urls[0].tls);
  assert_string_equal(u->urls[1].base_path, "/base");
  assert_string_equal(u->urls[1].authority, "10.0.0.5:8000");
  t_span_is(wr_secret_reveal(&u->key), "sk-from-the-environment");
  t_span_is(wr_secret_reveal(&c->upstreams[1].key), "sk-from-a-file");
  assert_int_equal(u->model_count, 3);
  assert_string_equal(u->models[0].client, "a");
  assert_string_equal(u->models[2].client, "*");
  assert_string_equal(u->models[2].provider, "any");
  assert_true(u->price_count == 1 && u->prices[0].output == 1.6);
  assert_int_equal(u->max_streams, 64);
  assert_int_equal(u->timeout.connect_ms, 3000);
  assert_int_equal(u->timeout.idle_ms, 120000);
  assert_true(u->tls.verify);
  assert_int_equal(u->keep_idle, 32);
  const struct wr_conf_group *g = &c->groups[2];
  assert_int_equal(g->attempts, 3);
  assert_int_equal(g->retry_on, WR_RETRY_ON_429 | 1u << WR_RETRY_IDLE);
  assert_int_equal(g->backoff_ms, 1000);
  assert_int_equal(g->retry_budget_permille, 50);
  assert_true(g->again);
  assert_int_equal(c->groups[0].retry_on, WR_RETRY_ON_DEFAULT);
  assert_int_equal(c->groups[0].retry_budget_permille, 200);
  assert_false(c->groups[0].again);
  assert_int_equal(g->member_count, 2);
  assert_int_equal(g->members[1], 1);
  assert_int_equal(wr_conf_group_find(c, WR_SPAN("chat")), 2);
  const struct wr_conf_route *r = &c->routes[0];
  assert_string_equal(r->name, "chat");
  assert_int_equal(r->line, 2);
  assert_int_equal(r->to, 2);
  assert_int_equal(r->methods, 1u << 1 | 1u << 3);
  assert_int_equal(r->body_bytes, 4u << 20);
  assert_int_equal(r->inspect_bytes, 1u << 20);
  assert_int_equal(r->heartbeat_ms, 0);
  assert_int_equal(r->slow_low_bytes, 512);
  assert_int_equal(r->commit, WR_COMMIT_ALIVE);
  assert_true(r->keys_required && !c->routes[1].keys_required);
  assert_int_equal(c->routes[1].timeout.idle_ms, 7000);
  assert_int_equal(c->routes[1].timeout.connect_ms, 0);
  assert_int_equal(c->key_count, 2);
  assert_string_equal(c->keys[0].name, "team-a");
  assert_int_equal(c->keys[0].sha256[31], 0xab);
  assert_null(c->server.admin);
  assert_string_equal(c->server.log, path_of("requests.jsonl"));
  assert_int_equal(c->server.memory_bytes, 64u << 20);
  wr_conf_free(c);
}

static void test_secrets_are_hidden(void **state) {
  (void)state;
  struct wr_conf *c = load_good();
  struct text said = { .len = 0 };
  wr_conf_explain(c, collect, &said);
  assert_null(strstr(said.bytes, "sk-from"));
  assert_null(strstr(said.bytes, "hush"));
  assert_non_null(strstr(said.bytes, "key = •••,  -- env WEIR_TEST_KEY"));
  assert_non_null(strstr(said.bytes, "key = •••,  -- file secret"));
  assert_non_null(strstr(said.bytes, "  connect = \"3s\",\n"));
  assert_non_null(strstr(said.bytes, "  idle = \"2m\",  -- default\n"));
  wr_conf_free(c);
}

static const char hooked[] =
    "local function mk(n, guard)\n"
    "  return weir.plugin { name = n, api = 1, guard = guard,\n"
    "    schema = { wait = { \"duration\", default = \"1500ms\" }, cap = { \"size\", default = "
    "\"4KiB\" },\n"
    "               names = { \"list of upstream\", default = {} }, m = { \"map of integer\", "
    "default = {} } },\n"
    "    prepare = function(c) assert(c.wait == 1.5 and c.cap == 4096 and c.m.x == (n == 'a' and 3 "
    "or nil))\n"
    "      local ok, why = pcall(function() c.wait = 2 end)\n"
    /* A script that catches what is raised for want of memory has had its say. */
    "      assert(not ok and (why:find 'read%-only' or why:find 'not enough memory'), why) end,\n"
    "    on_request = function() end, on_event = n ~= 'b' and function() end or nil }\n"
    "end\n"
    "weir.use { mk('g', true) {} }\n" BASE_L BASE_U
    "weir.route \"r\" { match = { path = \"/x\" }, to = \"u\", on_event = function() end,\n"
    "  use = { mk('a') { m = { x = 3 }, names = { \"u\" } }, mk('b') {} } }\n";

static int names_of(lua_State *L) {
  const char *const hooks[] = { "on_request", "on_event", NULL };
  luaL_Buffer b;
  lua_settop(L, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, WR_LOAD_ROUTES_KEY);
  lua_rawgeti(L, 1, 1);
  luaL_buffinit(L, &b);
  for (int h = 0; hooks[h]; h++) {
    lua_getfield(L, 2, hooks[h]);
    int list = lua_gettop(L);
    char line[256] = "";
    for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, list); i++) {
      lua_rawgeti(L, list, i);
      lua_getfield(L, -1, "fn");
      lua_getfield(L, -2, "guard");
      lua_getfield(L, -3, "plugin");
      size_t n = strlen(line);
      snprintf(line + n, sizeof line - n, "%s%s%s ", lua_tostring(L, -1),
               lua_toboolean(L, -2) ? "!" : "", lua_isfunction(L, -3) ? "" : "?");
      lua_settop(L, list);
    }
    lua_settop(L, list - 1);
    luaL_addstring(&b, line);
    luaL_addstring(&b, "| ");
  }
  luaL_pushresult(&b);
  lua_setfield(L, LUA_REGISTRYINDEX, "test.names");
  lua_getfield(L, LUA_REGISTRYINDEX, "test.names");
  return 1;
}

static void test_hook_order(void **state) {
  (void)state;
  struct wr_vm *vm = NULL;
  struct wr_conf *conf = NULL;
  struct wr_diag diag;
  T_OK(wr_vm_new(NULL, &vm));
  wr_diag_init(&diag);
  enum wr_err err = wr_conf_load(vm, "conf.lua", wr_span_str(hooked), &conf, &diag);
  if (err != WR_OK) fail_msg("%s", diag.count ? diag.entries[0].text : wr_err_label(err));
  assert_int_equal(conf->routes[0].hooks, WR_HOOK_REQUEST | WR_HOOK_EVENT);
  assert_string_equal(conf->routes[0].hook_names[0], "g(Lua) a(Lua) b(Lua)");
  assert_string_equal(conf->routes[0].hook_names[2], "a(Lua) conf.lua(Lua) g(Lua)");
  lua_State *L = wr_vm_state(vm);
  lua_pushcfunction(L, names_of);
  assert_int_equal(wr_vm_pcall(vm, NULL, 0, 1), WR_VM_OK);
  assert_string_equal(lua_tostring(L, -1), "g! a b | a conf.lua g! | ");
  wr_diag_fini(&diag);
  wr_conf_free(conf);
  wr_vm_free(vm);
}

static void test_warnings(void **state) {
  (void)state;
  struct wr_conf *conf = NULL;
  struct wr_diag diag;
  T_OK(
      load("weir.listen \":8080\" {}\n" BASE_U
           "weir.upstream \"v\" { kind = \"openai\", url = \"http://vllm.example/v1\", "
           "key = weir.secret.env \"WEIR_TEST_KEY\" }\n"
           "weir.route \"a\" { match = { path = \"/v1/*\" }, to = \"u\" }\n"
           "weir.route \"b\" { match = { path = \"/v1/x\", methods = { \"GET\" } }, to = \"u\" }\n",
           &conf, &diag));
  struct text said = { .len = 0 };
  wr_diag_print(&diag, collect_line, &said);
  assert_non_null(strstr(said.bytes, "conf.lua:1: warning: listen ':8080': whoever reaches it"));
  assert_non_null(strstr(said.bytes, "conf.lua:3: warning: upstream 'v': its key crosses"));
  assert_non_null(strstr(said.bytes, "/v1/models becomes /v1/v1/models"));
  assert_non_null(
      strstr(said.bytes, "conf.lua:5: warning: route 'b': nothing reaches it, route 'a'"));
  assert_int_equal(diag.errors, 0);
  wr_conf_free(conf);
  wr_diag_fini(&diag);
}

/* What can have no effect as it is declared, and its likes that can. */
static void test_idle_warnings(void **state) {
  (void)state;
  struct wr_conf *conf = NULL;
  struct wr_diag diag;
  T_OK(load("weir.listen \"127.0.0.1:0\" {}\n"
            "weir.upstream \"one\" { kind = \"openai\", url = \"http://10.0.0.1\" }\n"
            "weir.upstream \"two\" { kind = \"openai\", url = \"http://name.example\",\n"
            "  limit = { 4 } }\n"
            "weir.upstream \"q\" { kind = \"openai\", url = \"http://10.0.0.2\",\n"
            "  queue = { length = 5 } }\n"
            "weir.group \"lined\" { \"one\", queue = { length = 5 } }\n"
            "weir.group \"well\" { \"one\", \"two\", queue = { length = 5 } }\n"
            "weir.group \"no\" { \"one\", \"two\",\n"
            "  retry = { attempts = 3, budget = 0, on = { \"503\" } } }\n"
            "weir.group \"free\" { \"one\", retry = { attempts = 3, budget = 0 } }\n"
            "weir.route \"a\" { match = { path = \"/a\" }, to = \"one\", hedge = {} }\n"
            "weir.route \"b\" { match = { path = \"/b\" }, to = \"two\", hedge = {} }\n"
            "weir.route \"c\" { match = { path = \"/c\" }, to = \"well\", hedge = {} }\n"
            "weir.route \"d\" { match = { path = \"/d\" }, to = \"q\",\n"
            "  min_rate = { chars = 20 } }\n"
            "weir.route \"e\" { match = { path = \"/e\" }, to = \"one\", hedge = {},\n"
            "  on_request = function() return \"route\", \"two\" end }\n",
            &conf, &diag));
  struct text said = { .len = 0 };
  wr_diag_print(&diag, collect_line, &said);
  static const char *const want[] = {
    "conf.lua:5: warning: upstream 'q': nobody waits in its 'queue' without a 'limit'",
    "conf.lua:7: warning: group 'lined': nobody waits in its 'queue' without a 'limit' of an",
    "conf.lua:9: warning: group 'no': nothing is sent again with 'retry.budget' = 0",
    "conf.lua:12: warning: route 'a': 'hedge' has no effect, 'one' is one server",
    "conf.lua:15: warning: route 'd': 'min_rate' has no effect, 'q' is one server",
  };
  for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
    if (!strstr(said.bytes, want[i])) fail_msg("not said: %s\nbut: %s", want[i], said.bytes);
  assert_int_equal(diag.warnings, sizeof want / sizeof want[0]);
  assert_int_equal(diag.errors, 0);
  wr_conf_free(conf);
  wr_diag_fini(&diag);
}

static void test_require(void **state) {
  (void)state;
  struct wr_conf *conf = NULL;
  struct wr_diag diag;
  char sub[256];
  snprintf(sub, sizeof sub, "%s/policies", dir);
  (void)mkdir(sub, 0700);
  put_file("policies/one.lua",
           "return weir.plugin { name = 'one', api = 1, on_request = function() end }");
  put_file("policies/wrong.lua",
           "\n\nreturn weir.plugin { name = 'wrong', api = 1, guards = true }");
  put_file("req.lua", "local one = require 'one'\nassert(one == require 'one')\n" BASE_L BASE_U
                      "weir.route 'r' { match = { path = '*' }, to = 'u', use = { one {} } }\n");
  wr_diag_init(&diag);
  T_OK(wr_conf_load_file(path_of("req.lua"), &conf, &diag));
  assert_string_equal(conf->routes[0].hook_names[0], "one(Lua)");
  wr_conf_free(conf);
  put_file("req.lua", "local w = require 'wrong'\n" BASE_L BASE_U BASE_R);
  conf = NULL;
  assert_int_equal(wr_conf_load_file(path_of("req.lua"), &conf, &diag), WR_E_CONFIG);
  assert_int_equal(diag.count, 1);
  assert_string_equal(diag.entries[0].file, path_of("policies/wrong.lua"));
  assert_int_equal(diag.entries[0].line, 3);
  assert_string_equal(diag.entries[0].text,
                      "plugin 'wrong': unknown option 'guards' (did you mean 'guard'?)");
  wr_diag_fini(&diag);
}

/* Every allocation fails once: no crash, no leak, and never a wrong answer. */
static void torture(const char *file) {
  struct t_heap before;
  t_heap_mark(&before);
  uint64_t calls = 0;
  for (uint64_t n = 0; n <= calls; n++) {
    struct wr_conf *conf = NULL;
    struct wr_diag diag;
    wr_diag_init(&diag);
    uint64_t start = wr_heap_calls();
    wr_heap_fail_at(n, false); /* 0: none, to count them */
    enum wr_err err = wr_conf_load_file(file, &conf, &diag);
    wr_heap_fail_at(0, false);
    if (n == 0) {
      assert_int_equal(err, WR_OK);
      calls = wr_heap_calls() - start;
    }
    if (err == WR_OK) wr_conf_free(conf);
    if (err != WR_OK && err != WR_E_NOMEM)
      fail_msg("allocation %llu: %s: %s", (unsigned long long)n, wr_err_label(err),
               diag.count ? diag.entries[0].text : "");
    wr_diag_fini(&diag);
    t_heap_check(&before);
  }
  assert_true(calls > 500);
}

static void test_torture(void **state) {
  (void)state;
  char file[256];
  write_good();
  snprintf(file, sizeof file, "%s", path_of("conf.lua"));
  torture(file);
  put_file("hooked.lua", hooked);
  snprintf(file, sizeof file, "%s", path_of("hooked.lua"));
  torture(file);
}

/* The words of match.methods stand in the order of the wire's enum. */
static void test_methods(void **state) {
  (void)state;
  const struct wr_option *f = wr_schema_find(&wr_schema_match, WR_SPAN("methods"));
  assert_non_null(f);
  for (int m = 1; m < WR_METHODS; m++) t_span_is(wr_method_name((enum wr_method)m), f->words[m]);
  assert_null(f->words[WR_METHODS]);
}

/* The configuration that ships is right, with nothing set up. */
static void test_shipped(void **state) {
  (void)state;
  struct wr_conf *conf = NULL;
  struct wr_diag diag;
  if (access("conf.lua", R_OK) != 0) {
    print_message("conf.lua is not here: run from the top of the tree\n");
    skip();
  }
  wr_diag_init(&diag);
  T_OK(wr_conf_load_file("conf.lua", &conf, &diag));
  assert_int_equal(diag.count, 0);
  assert_int_equal(conf->upstreams[0].kind, WR_KIND_MOCK);
  wr_conf_free(conf);
  wr_diag_fini(&diag);
}

static int setup(void **state) {
  (void)state;
  setenv("WEIR_TEST_KEY", "sk-from-the-environment", 1);
  setenv("WEIR_TWO_LINES", "a\nb", 1);
  return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  static const char *const files[] = { "hooked.lua",         "secret",   "keys.lua",
                                       "conf.lua",           "req.lua",  "policies/one.lua",
                                       "policies/wrong.lua", "policies", "" };
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) (void)remove(path_of(files[i]));
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_bad),        cmocka_unit_test(test_all_at_once),
    cmocka_unit_test(test_good),       cmocka_unit_test(test_secrets_are_hidden),
    cmocka_unit_test(test_hook_order), cmocka_unit_test(test_warnings),
    cmocka_unit_test(test_idle_warnings),
    cmocka_unit_test(test_require),    cmocka_unit_test(test_torture),
    cmocka_unit_test(test_methods),    cmocka_unit_test(test_shipped),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}

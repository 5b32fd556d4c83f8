/* The example policies, loaded as a configuration loads them and run by the engine. */
#include "policy/fake.h"

#include "policy/load.h"

#define CONF                                                                                       \
  "weir.api(1)\n"                                                                                  \
  "local router, stop_words = require 'router', require 'stop_words'\n"                            \
  "weir.listen '127.0.0.1:8080' {}\n"                                                              \
  "weir.upstream 'openai' { kind = 'openai-compatible', url = 'http://127.0.0.1:1' }\n"            \
  "weir.upstream 'local' { kind = 'openai-compatible', url = 'http://127.0.0.1:2' }\n"             \
  "weir.route 'chat' { match = { path = '/v1/chat/completions' }, to = 'openai', use = {\n"        \
  "  router { routes = { free = 'local', gold = 'openai' }, models = { free = 'small' } },\n"      \
  "  stop_words { words = { 'project falcon' } } } }\n"

struct loaded {
  struct fake f;
  struct wr_conf *conf; /* owned */
};

static const char *tier;

static struct wr_span header_of(const struct wr_hook_request *rq, struct wr_span name) {
  (void)rq;
  if (wr_span_ieq(name, WR_SPAN("x-tier"))) return wr_span_str(tier);
  return wr_span_make(NULL, 0);
}

static void setup_with(struct loaded *l, const char *source) {
  struct wr_diag diag;
  wr_diag_init(&diag);
  fake_init(&l->f, NULL);
  enum wr_err err =
      wr_conf_load(l->f.vm, "examples/conf.lua", wr_span_str(source), &l->conf, &diag);
  if (err != WR_OK) {
    for (size_t i = 0; i < diag.count; i++) print_message("%s\n", diag.entries[i].text);
    fail_msg("the examples do not load");
  }
  wr_diag_fini(&diag);
  assert_int_equal(wr_engine_new(l->f.vm, l->conf, NULL, &l->f.engine), WR_OK);
  l->f.stream = (struct wr_hook_stream){ .id = 1, .route = &l->conf->routes[0], .upstream = "" };
}

static void setup(struct loaded *l) { setup_with(l, CONF); }

static void teardown(struct loaded *l) {
  fake_fini(&l->f);
  wr_conf_free(l->conf);
}

static void ask(struct loaded *l, const char *value) {
  tier = value;
  struct wr_hook_request rq = { .model = WR_SPAN("m"), .header = header_of };
  const struct wr_hooks *h = wr_engine_hooks(l->f.engine);
  h->request(h->ctx, &l->f.stream, &rq, &l->f.verdict);
}

static void test_router(void **state) {
  (void)state;
  struct loaded l;
  setup(&l);
  assert_true(l.conf->routes[0].hooks & WR_HOOK_REQUEST);
  assert_true(l.conf->routes[0].hooks & WR_HOOK_EVENT);
  ask(&l, "free");
  assert_int_equal(l.f.verdict.kind, WR_VERDICT_ROUTE);
  assert_int_equal(l.f.verdict.group, wr_conf_group_find(l.conf, WR_SPAN("local")));
  assert_true(wr_span_eq(l.f.verdict.model, WR_SPAN("small")));
  ask(&l, "gold");
  assert_int_equal(l.f.verdict.group, wr_conf_group_find(l.conf, WR_SPAN("openai")));
  assert_int_equal(l.f.verdict.model.len, 0);
  ask(&l, "lead");
  assert_int_equal(l.f.verdict.kind, WR_VERDICT_REJECT);
  assert_int_equal(l.f.verdict.status, 403);
  ask(&l, NULL);
  assert_int_equal(l.f.verdict.kind, WR_VERDICT_DEFAULT);
  assert_int_equal(l.f.log_lines, 0);
  teardown(&l);
}

static void say(struct loaded *l, const char *literal) {
  char data[200];
  snprintf(data, sizeof data, "{\"t\":\"%s\"}", literal);
  fake_event(&l->f, data, literal, strchr(literal, '\\') != NULL);
  fake_call_event(&l->f);
}

static void test_stop_words(void **state) {
  (void)state;
  struct loaded l;
  setup(&l);
  say(&l, "about the proj");
  assert_int_equal(l.f.verdict.kind, WR_VERDICT_DEFAULT);
  say(&l, "ect\\u0020fal");
  assert_int_equal(l.f.verdict.kind, WR_VERDICT_DEFAULT);
  say(&l, "con.");
  assert_int_equal(l.f.verdict.kind, WR_VERDICT_STOP);
  assert_true(wr_span_eq(l.f.verdict.text, WR_SPAN("stop_word")));
  assert_int_equal(l.f.log_lines, 0);
  teardown(&l);
}

/* Declarations are for conf.lua; a hook that tries one is told so. */
static void test_wrong_phase(void **state) {
  (void)state;
  struct loaded l;
  setup_with(&l, "weir.api(1)\n"
                 "weir.listen '127.0.0.1:8080' {}\n"
                 "weir.upstream 'a' { kind = 'openai-compatible', url = 'http://127.0.0.1:1' }\n"
                 "weir.route 'r' { match = { path = '/x' }, to = 'a',\n"
                 "  on_event = function() weir.route 'late' end }\n");
  say(&l, "x");
  if (!strstr(l.f.log, "weir.route: only while conf.lua is loading (called from on_event)")) {
    fail_msg("%s", l.f.log);
  }
  teardown(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_router),
    cmocka_unit_test(test_stop_words),
    cmocka_unit_test(test_wrong_phase),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

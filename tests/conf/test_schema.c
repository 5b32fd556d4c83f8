/* The tables, the setter, the suggestions, and that the reference in docs/ says what they say. */
#include "harness.h"

#include "conf/conf.h"
#include "conf/explain.h"
#include "conf/schema.h"

static const struct wr_schema *const all[] = {
  &wr_schema_server,
  &wr_schema_lua,
  &wr_schema_listen,
  &wr_schema_listen_tls,
  &wr_schema_upstream,
  &wr_schema_upstream_tls,
  &wr_schema_upstream_timeout,
  &wr_schema_group,
  &wr_schema_retry,
  &wr_schema_key,
  &wr_schema_keys,
  &wr_schema_route,
  &wr_schema_match,
  &wr_schema_limits,
  &wr_schema_slow_client,
  &wr_schema_min_rate,
  &wr_schema_route_timeout,
  &wr_schema_pressure,
};

static const struct wr_option *field(const struct wr_schema *schema, const char *name) {
  const struct wr_option *f = wr_schema_find(schema, wr_span_str(name));
  assert_non_null(f);
  return f;
}

static struct wr_value text(const char *s) {
  return (
      struct wr_value){ .type = WR_VALUE_TEXT, .text = wr_span_str(s), .type_name = "a string" };
}

static struct wr_value integer(int64_t i) {
  return (struct wr_value){
    .type = WR_VALUE_INTEGER, .integer = i, .number = (double)i, .type_name = "an integer"
  };
}

static void test_tables(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    assert_true(all[i]->field_count > 0 && all[i]->field_count <= 64);
    for (size_t j = 0; j < all[i]->field_count; j++) {
      const struct wr_option *f = &all[i]->fields[j];
      assert_non_null(f->doc);
      assert_ptr_equal(wr_schema_find(all[i], wr_span_str(f->name)), f); /* no name twice */
      if (f->type == WR_OPT_TABLE) assert_non_null(f->table);
      if (f->type == WR_OPT_ENUM || f->type == WR_OPT_FLAGS) assert_non_null(f->words);
      assert_false(f->required && f->def);
    }
  }
  const struct wr_option *kinds = field(&wr_schema_upstream, "kind");
  for (int k = 0; k < WR_KINDS; k++)
    assert_string_equal(kinds->words[k], wr_kind_name((enum wr_kind)k));
  assert_null(kinds->words[WR_KINDS]);
}

static void test_defaults(void **state) {
  (void)state;
  struct wr_conf_server server = { 0 };
  struct wr_conf_upstream up = { 0 };
  struct wr_conf_route route = { 0 };
  wr_schema_defaults(&wr_schema_server, &server);
  wr_schema_defaults(&wr_schema_upstream, &up);
  wr_schema_defaults(&wr_schema_route, &route);
  assert_int_equal(server.workers, 0);
  assert_int_equal(server.memory_bytes, 64u << 20);
  assert_string_equal(server.admin, "127.0.0.1:9901");
  assert_int_equal(server.drain_ms, 600000);
  assert_int_equal(server.client_idle_ms, 75000);
  assert_int_equal(up.timeout.connect_ms, 5000);
  assert_int_equal(up.timeout.first_token_ms, 300000);
  assert_int_equal(up.timeout.total_ms, 0);
  assert_int_equal(up.keep_idle_ms, 60000);
  assert_true(up.tls.verify);
  assert_int_equal(route.body_bytes, 32u << 20);
  assert_int_equal(route.event_bytes, 1u << 20);
  assert_int_equal(route.slow_high_bytes, 2048);
  assert_int_equal(route.slow_give_up_ms, 30000);
  assert_int_equal(route.heartbeat_ms, 15000);
  assert_int_equal(route.timeout.idle_ms, 0);
}

static struct wr_conf_server server;

static void refused(const char *name, struct wr_value v, const char *want) {
  char why[WR_CONF_WHY_BYTES];
  struct wr_conf_server before = server;
  assert_int_equal(wr_schema_set(field(&wr_schema_server, name), &server, &v, NULL, why),
                   WR_E_CONFIG);
  if (!strstr(why, want)) fail_msg("%s: \"%s\", wanted \"%s\"", name, why, want);
  assert_memory_equal(&before, &server, sizeof server);
}

static void taken(const char *name, struct wr_value v) {
  char why[WR_CONF_WHY_BYTES];
  if (wr_schema_set(field(&wr_schema_server, name), &server, &v, NULL, why) != WR_OK)
    fail_msg("%s: %s", name, why);
}

static void test_set(void **state) {
  (void)state;
  wr_schema_defaults(&wr_schema_server, &server);
  refused("workers", integer(0), "must be from 1 to 64, or \"auto\"");
  refused("workers", integer(-1), "must be from 1 to 64");
  refused("workers", integer(65), "must be from 1 to 64");
  refused("workers", text("4"), "must be a whole number, not a string");
  refused("workers",
          (struct wr_value){ .type = WR_VALUE_NUMBER, .number = 1.5, .type_name = "a number" },
          "must be a whole number");
  refused("workers",
          (struct wr_value){ .type = WR_VALUE_NUMBER, .number = 1e300, .type_name = "a number" },
          "must be a whole number");
  taken("workers", integer(4));
  assert_int_equal(server.workers, 4);
  taken("workers", text("auto"));
  assert_int_equal(server.workers, 0);
  taken("workers", (struct wr_value){ .type = WR_VALUE_NUMBER, .number = 8.0 });
  assert_int_equal(server.workers, 8);
  refused("memory", integer(67108864), "needs a unit: write \"64KiB\"");
  refused("memory", text("64"), "unit that isn't known");
  refused("memory", text("64 MiB"), "unit that isn't known");
  refused("memory", text("99999999999999999999GiB"), "must be from 64KiB to 64GiB");
  taken("memory", text("1GiB"));
  assert_int_equal(server.memory_bytes, 1u << 30);
  refused("drain", integer(30), "needs a unit: write \"30s\"");
  refused("drain", text("1500us"), "whole milliseconds");
  refused("drain", text("60d"), "must be from 0s to 49d");
  refused("drain", text("-1s"), "must be a duration such as \"30s\", not \"-1s\"");
  taken("drain", text("1500ms"));
  assert_int_equal(server.drain_ms, 1500);
  refused("log_format", text("logfnt"), "(did you mean \"logfmt\"?)");
  refused("log_format", integer(1), "must be a string");
  taken("log_format", text("logfmt"));
  assert_int_equal(server.log_format, WR_LOG_LOGFMT);
  refused("log", text(""), "must not be empty");
  refused("log", text("a\nb"), "control character");
}

static void test_suggest(void **state) {
  (void)state;
  static const struct {
    const char *wrong, *right;
  } rows[] = {
    { "tmeout", "timeout" }, { "timeuot", "timeout" },    { "urls", "url" }, { "modles", "models" },
    { "kin", "kind" },       { "header", "headers" },     { "", NULL },      { "zzzzzz", NULL },
    { "xyz", NULL },         { "keepidle", "keep_idle" },
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const char *near = wr_schema_suggest(&wr_schema_upstream, wr_span_str(rows[i].wrong));
    if (!rows[i].right) {
      assert_null(near);
    } else {
      assert_non_null(near);
      assert_string_equal(near, rows[i].right);
    }
  }
  char longer[200];
  memset(longer, 'a', sizeof longer);
  assert_null(wr_schema_suggest(&wr_schema_upstream, wr_span_make(longer, sizeof longer)));
}

static void test_arena(void **state) {
  (void)state;
  struct t_heap before;
  t_heap_mark(&before);
  struct wr_conf_arena *arena = NULL;
  T_OK(wr_conf_arena_new(&arena));
  for (size_t i = 0; i < 3000; i++) {
    char *p = wr_conf_arena_alloc(arena, i % 97 + 1);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t j = 0; j < i % 97 + 1; j++) assert_int_equal(p[j], 0);
    memset(p, 0xaa, i % 97 + 1);
  }
  assert_non_null(wr_conf_arena_alloc(arena, 1u << 20));
  assert_string_equal(wr_conf_arena_copy(arena, WR_SPAN("abc")), "abc");
  wr_heap_fail_at(1, false);
  assert_null(wr_conf_arena_alloc(arena, 1u << 20));
  wr_heap_fail_at(0, false);
  wr_conf_arena_free(arena);
  t_heap_check(&before);
}

struct out {
  char bytes[65536];
  size_t len;
};

static void collect(void *ctx, struct wr_span s) {
  struct out *o = ctx;
  assert_true(o->len + s.len < sizeof o->bytes);
  memcpy(o->bytes + o->len, s.ptr, s.len);
  o->len += s.len;
  o->bytes[o->len] = '\0';
}

/* docs/configuration.md ends with what the tables say. WEIR_WRITE_DOCS=1 writes it anew. */
static void test_reference(void **state) {
  (void)state;
  static const char mark[] = "<!-- from src/conf/schema_tables.c; a test compares -->\n";
  static struct out said;
  said.len = 0;
  wr_schema_print_markdown(collect, &said);
  FILE *f = fopen("docs/configuration.md", "r");
  if (!f) {
    print_message("docs/configuration.md is not here: run from the top of the tree\n");
    skip();
  }
  static char page[262144];
  size_t len = fread(page, 1, sizeof page - 1, f);
  fclose(f);
  page[len] = '\0';
  char *at = strstr(page, mark);
  assert_non_null(at);
  at += sizeof mark - 1;
  if (getenv("WEIR_WRITE_DOCS")) {
    f = fopen("docs/configuration.md", "w");
    assert_non_null(f);
    fwrite(page, 1, (size_t)(at - page), f);
    fwrite(said.bytes, 1, said.len, f);
    fclose(f);
    return;
  }
  if (strcmp(at, said.bytes) != 0)
    fail_msg("docs/configuration.md is not what the tables say; WEIR_WRITE_DOCS=1 writes it anew");
}

/* The words of retry.on stand where the bits are. */
static void retry_words(void **state) {
  (void)state;
  const struct wr_option *on = wr_schema_find(&wr_schema_retry, WR_SPAN("on"));
  for (unsigned i = WR_RETRY_CONNECT; i <= WR_RETRY_SLOW; i++)
    assert_string_equal(on->words[i], wr_retry_name((enum wr_retry)i));
  assert_string_equal(on->words[WR_RETRY_STATUS], "429");
  assert_string_equal(on->words[WR_RETRY_STATUS + 1], "503");
  assert_string_equal(on->words[WR_RETRY_STATUS + 2], "5xx");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_tables), cmocka_unit_test(test_defaults),
    cmocka_unit_test(test_set),    cmocka_unit_test(test_suggest),
    cmocka_unit_test(test_arena),  cmocka_unit_test(test_reference),
    cmocka_unit_test(retry_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

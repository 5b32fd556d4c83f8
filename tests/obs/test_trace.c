/* The ring of what a thread did: bounded, the newest kept, and a file that parses. */
#include "harness.h"

#include <pthread.h>
#include <string.h>

#include "obs/trace.h"

struct text {
  char bytes[1u << 16];
  size_t len;
  size_t lines;
};

static void put(void *ctx, struct wr_span s) {
  struct text *t = ctx;
  assert_true(t->len + s.len < sizeof t->bytes);
  memcpy(t->bytes + t->len, s.ptr, s.len);
  t->len += s.len;
  t->lines++;
}

static void off_records_nothing(void **state) {
  (void)state;
  static struct text t;
  assert_false(wr_tracing());
  wr_trace_print(0, UINT64_MAX, put, &t);
  assert_int_equal(t.lines, 0);
}

static void the_oldest_are_overwritten(void **state) {
  (void)state;
  static struct text t;
  T_OK(wr_trace_on(64));
  for (uint64_t i = 1; i <= 100; i++) wr_trace_put(WR_TRACE_WRITE, "write", i, 0, i);
  wr_trace_print(3, UINT64_MAX, put, &t);
  assert_int_equal(t.lines, 64);
  t.bytes[t.len] = '\0';
  assert_null(strstr(t.bytes, "\"id\":\"24\"")); /* 36 in hex: the last that went */
  assert_non_null(strstr(t.bytes, "\"id\":\"25\""));
  assert_non_null(strstr(t.bytes, "\"id\":\"64\""));
  assert_non_null(strstr(t.bytes, "\"tid\":3"));
  wr_trace_off();
  assert_false(wr_tracing());
}

static void only_the_last_while(void **state) {
  (void)state;
  static struct text t;
  T_OK(wr_trace_on(64));
  wr_trace_put(WR_TRACE_LUA, "on_event", 0, wr_trace_now_ns() - 2000000000u, 0);
  wr_trace_put(WR_TRACE_LUA, "on_text", 0, wr_trace_now_ns() - 1000, 0);
  /* The first ends now: it has to do with the last second, whenever it began. */
  wr_trace_print(0, 1000000000u, put, &t);
  assert_int_equal(t.lines, 2);
  T_OK(wr_trace_on(64));
  t.lines = 0;
  wr_trace_print(0, 1000000000u, put, &t);
  assert_int_equal(t.lines, 0); /* on again: empty */
  wr_trace_off();
}

static void each_line_is_json(void **state) {
  (void)state;
  static struct text t;
  T_OK(wr_trace_on(64));
  for (unsigned kind = 0; kind < WR_TRACE_KINDS; kind++)
    wr_trace_put((enum wr_trace_kind)kind, "a \"name\"", kind, wr_trace_now_ns(), 4096);
  wr_trace_print(0, UINT64_MAX, put, &t);
  assert_int_equal(t.lines, WR_TRACE_KINDS);
  wr_trace_off();
  assert_true(t.len > 2);
  t.bytes[t.len] = '\0';
  for (char *line = t.bytes, *end; (end = strchr(line, 10)); line = end + 1) {
    *end = 0;
    size_t len = strlen(line);
    assert_int_equal(line[0], '{');
    assert_string_equal(line + len - 2, "},");
    assert_non_null(strstr(line, "\"name\":\"a \\\"name\\\"\""));
  }
}

static void *other_main(void *arg) {
  *(bool *)arg = wr_tracing();
  return NULL;
}

static void other_threads_have_none(void **state) {
  (void)state;
  pthread_t id;
  bool other = true;
  T_OK(wr_trace_on(64));
  assert_int_equal(pthread_create(&id, NULL, other_main, &other), 0);
  pthread_join(id, NULL);
  assert_false(other);
  wr_trace_off();
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(off_records_nothing),  cmocka_unit_test(the_oldest_are_overwritten),
    cmocka_unit_test(only_the_last_while),  cmocka_unit_test(each_line_is_json),
    cmocka_unit_test(other_threads_have_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

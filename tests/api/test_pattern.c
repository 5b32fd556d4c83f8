/* Our matcher against the stock library's, on many patterns and subjects; and its budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "api/pattern.h"
#include "base/rand.h"

#define STEPS 10000000

static int new_state(void **state) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  *state = L;
  return 0;
}

static int free_state(void **state) {
  lua_close(*state);
  return 0;
}

static void push_capture(lua_State *L, struct wr_span s, const struct wr_pattern_capture *c) {
  if (c->len == WR_PATTERN_POSITION) lua_pushinteger(L, (lua_Integer)c->off + 1);
  else lua_pushlstring(L, s.ptr + c->off, (size_t)c->len);
}

/* Both say the same: the same places and captures, no match, or an error. */
static void compare(lua_State *L, struct wr_span subject, struct wr_span pattern, size_t init) {
  struct wr_pattern_match m;
  int64_t left = STEPS;
  if (wr_pattern_is_plain(pattern))
    return; /* string.find doesn't come to the matcher: ")" is no error */
  enum wr_pattern_end end = wr_pattern_find(subject, pattern, init, &left, &m);
  lua_settop(L, 0);
  lua_getglobal(L, "string");
  lua_getfield(L, 1, "find");
  lua_pushlstring(L, subject.ptr, subject.len);
  lua_pushlstring(L, pattern.ptr, pattern.len);
  lua_pushinteger(L, (lua_Integer)init + 1);
  int rc = lua_pcall(L, 3, LUA_MULTRET, 0);
  char what[256];
  snprintf(what, sizeof what, "find('%.*s', '%.*s', %zu)", (int)subject.len, subject.ptr,
           (int)pattern.len, pattern.ptr, init);
  if (rc != LUA_OK) {
    if (end < WR_PATTERN_ERRORS)
      fail_msg("%s: stock raises '%s', we don't", what, lua_tostring(L, -1));
    return;
  }
  if (end >= WR_PATTERN_STEPS)
    fail_msg("%s: we say '%s', stock does not", what, wr_pattern_text(end));
  if (lua_isnil(L, 2) != (end == WR_PATTERN_NONE))
    fail_msg("%s: one finds, the other does not", what);
  if (end == WR_PATTERN_NONE) return;
  if (lua_tointeger(L, 2) != (lua_Integer)m.start + 1 ||
      lua_tointeger(L, 3) != (lua_Integer)m.end) {
    fail_msg("%s: stock %d-%d, ours %zu-%zu", what, (int)lua_tointeger(L, 2),
             (int)lua_tointeger(L, 3), m.start + 1, m.end);
  }
  if (lua_gettop(L) != 3 + (int)m.count) fail_msg("%s: %u captures", what, m.count);
  for (unsigned i = 0; i < m.count; i++) {
    push_capture(L, subject, &m.captures[i]);
    if (!lua_compare(L, -1, 4 + (int)i, LUA_OPEQ)) fail_msg("%s: capture %u differs", what, i + 1);
    lua_pop(L, 1);
  }
}

static const char *const patterns[] = {
  "",
  "a",
  "abc",
  "a*",
  "a+",
  "a-",
  "a?",
  "^a",
  "a$",
  "^$",
  "^a*$",
  ".-b",
  ".*b",
  "(a)(b)",
  "(a*)(b*)",
  "()a()",
  "%a+",
  "%d+",
  "%s*",
  "%w+@%w+",
  "[abc]+",
  "[^abc]+",
  "[a-c]+",
  "[%a_][%w_]*",
  "[]]",
  "[^]]",
  "[a-]",
  "[%-a]",
  "[a%-z]",
  "%b()",
  "%b\"\"",
  "%bxx",
  "%f[%w]%w+",
  "%f[%z]",
  "%f[^%w]",
  "(%w)%1",
  "((a)(b))",
  "(a(b)c)",
  "%.",
  "%%",
  "a.c",
  "(.)(.)%2%1",
  ".-",
  "^(%w+)=(%w*)$",
  "x-y",
  "(x*)-(y*)",
  "[%d.]+",
  "[+-]?%d+",
  "%x%x",
  "%p",
  "%u%l*",
  "(()a)",
  "a()",
  "(a?)(a?)(a?)aaa",
  "%f[%d]%d%d%d%d[ -]?%d%d%d%d[ -]?%d%d%d%d[ -]?%d%d%d%d%f[%D]",
  "[%w._+-]+@[%w-]+%.[%w.-]+",
  "sk%-[%w-]+",
  "$",
  "a$b",
  "^^",
  "(",
  ")",
  "(a",
  "a)",
  "%",
  "[",
  "[a",
  "[%",
  "%b",
  "%bx",
  "%f",
  "%fa",
  "%1",
  "(a)%2",
  "(a%1)",
  "()%1",
  "[]",
  "[^]",
  "*",
  "+a",
  "?",
  "-",
  "[[:alpha:]]",
  "%g+",
  "%c",
  "[\1-\5]",
  "(.-)%s",
  "%S+",
  "%W",
  "%A%D",
  "[%]]",
  "[%a-z]",
  "^.-$",
  "a-$",
  "(a-)$",
};
static const char *const subjects[] = {
  "",
  "a",
  "aa",
  "aaa",
  "abc",
  "aabbcc",
  "hello world",
  "bob@example.com",
  "(a(b)c)d",
  "x=1",
  "key=value",
  "  x  ",
  "1234 5678 9012 3456",
  "sk-abc-123",
  "THE (quick) fox",
  "a.b.c",
  "\"q\" x",
  "xxyyxx",
  "abab",
  "abba",
  "]-^",
  "%d",
  "-12.5e3",
  "a\nb",
  "caf\xc3\xa9",
  "aaaaaaaaaaaaaaaaaaaa",
  "foo.bar@x-y.org, z",
  "$5",
  "^^a",
};

static void test_tables(void **state) {
  for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
    for (size_t s = 0; s < sizeof subjects / sizeof subjects[0]; s++) {
      for (size_t init = 0; init <= strlen(subjects[s]); init++) {
        compare(*state, wr_span_str(subjects[s]), wr_span_str(patterns[p]), init);
      }
    }
  }
}

/* Random pieces of patterns over a small alphabet meet the corners that nobody writes down. */
static void test_random(void **state) {
  static const char *const pieces[] = { "a", "b", ".",  "%a",  "%d",   "[ab]",  "[^a]",
                                        "(", ")", "()", "*",   "+",    "-",     "?",
                                        "^", "$", "%1", "%2",  "%b()", "%f[a]", "[a-c]",
                                        "%", "[", "]",  "\xff" };
  struct wr_rand r;
  wr_rand_init(&r, 42);
  for (int i = 0; i < 60000; i++) {
    char pattern[64], subject[16];
    size_t p = 0, s = 0;
    for (uint64_t n = wr_rand_below(&r, 8); n > 0; n--) {
      const char *piece = pieces[wr_rand_below(&r, sizeof pieces / sizeof pieces[0])];
      memcpy(pattern + p, piece, strlen(piece));
      p += strlen(piece);
    }
    for (uint64_t n = wr_rand_below(&r, 10); n > 0; n--)
      subject[s++] = "aabbc()1\xff"[wr_rand_below(&r, 9)];
    compare(*state, wr_span_make(subject, s), wr_span_make(pattern, p), 0);
  }
}

static void test_plain(void **state) {
  (void)state;
  int64_t left = 100;
  assert_int_equal(wr_pattern_plain(WR_SPAN("abcabc"), WR_SPAN("bc"), 2, &left), 4);
  assert_int_equal(wr_pattern_plain(WR_SPAN("abc"), WR_SPAN(""), 3, &left), 3);
  assert_true(wr_pattern_plain(WR_SPAN("abc"), WR_SPAN("x"), 0, &left) == SIZE_MAX);
  assert_true(wr_pattern_plain(WR_SPAN("abc"), WR_SPAN("c"), 4, &left) == SIZE_MAX);
  assert_true(left < 100 && left > 80);
  assert_true(wr_pattern_is_plain(WR_SPAN("hello, world")));
  assert_false(wr_pattern_is_plain(WR_SPAN("a.b")));
}

/* What would take longer than the universe ends when its steps are used. */
static void test_bombs(void **state) {
  (void)state;
  char subject[5000];
  memset(subject, 'a', sizeof subject);
  static const char *const bombs[] = { ".-.-.-.-.-.-b", "(.*)(.*)(.*)(.*)b", "a*a*a*a*a*a*a*b",
                                       ".*.*.*.*c$",    "a-a-a-a-a-b",       "%b()",
                                       "(a?a?a?a?a?)*b" };
  for (size_t i = 0; i < sizeof bombs / sizeof bombs[0]; i++) {
    struct wr_pattern_match m;
    int64_t left = 100000;
    enum wr_pattern_end end =
        wr_pattern_find(wr_span_make(subject, sizeof subject), wr_span_str(bombs[i]), 0, &left, &m);
    assert_true(end == WR_PATTERN_STEPS || end == WR_PATTERN_NONE);
    /* One greedy run is the most that can happen behind the last look at the steps. */
    assert_true(left > -2 * (int64_t)sizeof subject);
  }
}

static void test_too_complex(void **state) {
  (void)state;
  char pattern[3000], subject[2000];
  for (size_t i = 0; i < 1500; i++) memcpy(pattern + 2 * i, "a?", 2);
  memset(subject, 'a', sizeof subject);
  struct wr_pattern_match m;
  int64_t left = 1000000;
  assert_int_equal(wr_pattern_find(wr_span_make(subject, 2000), wr_span_make(pattern, 3000), 0,
                                   &left, &m),
                   WR_PATTERN_COMPLEX);
}

static void test_set(void **state) {
  (void)state;
  struct wr_pattern_set set;
  wr_pattern_set_of(WR_SPAN("%w._+@-"), &set);
  for (const char *p = "azAZ09._+@-"; *p; p++) assert_true(wr_pattern_set_has(&set, *p));
  for (const char *p = " ,/\xff"; *p; p++) assert_false(wr_pattern_set_has(&set, *p));
  wr_pattern_set_of(WR_SPAN("^%d"), &set);
  assert_false(wr_pattern_set_has(&set, '5'));
  assert_true(wr_pattern_set_has(&set, 'x'));
  static const char *const bodies[] = { "%w._+@-", "^%d", "%d +()./-", "a-f%u", "", "]", "%S\xc3" };
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    wr_pattern_set_of(wr_span_str(bodies[i]), &set);
    for (int c = 0; c < 256; c++)
      assert_int_equal(wr_pattern_in_set(wr_span_str(bodies[i]), (char)c),
                       wr_pattern_set_has(&set, (char)c));
  }
}

/* Sets are made from tables, and say what stock Lua's `[...]` says of each byte. */
static void test_sets_of_lua(void **state) {
  static const char *const bodies[] = { "%a", "%c", "%d", "%g", "%l", "%p", "%s", "%u", "%w", "%x",
                                        "%A", "%C", "%D", "%G", "%L", "%P", "%S", "%U", "%W", "%X",
                                        "^%w_", "^%S-", "a-fx%%", "z-a", "^\x80-\xff", "%d -",
                                        "a-" };
  lua_State *L = *state;
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    struct wr_pattern_set set;
    wr_pattern_set_of(wr_span_str(bodies[i]), &set);
    for (unsigned c = 0; c < 256; c++) {
      char byte = (char)c;
      lua_getglobal(L, "string");
      lua_getfield(L, -1, "find");
      lua_pushlstring(L, &byte, 1);
      lua_pushfstring(L, "[%s]", bodies[i]);
      lua_call(L, 2, 1);
      assert_int_equal(lua_isnil(L, -1), !wr_pattern_set_has(&set, byte));
      lua_settop(L, 0);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_tables, new_state, free_state),
    cmocka_unit_test_setup_teardown(test_random, new_state, free_state),
    cmocka_unit_test(test_plain),
    cmocka_unit_test(test_bombs),
    cmocka_unit_test(test_too_complex),
    cmocka_unit_test(test_set),
    cmocka_unit_test_setup_teardown(test_sets_of_lua, new_state, free_state),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

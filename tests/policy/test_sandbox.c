/* The sandbox: what is there, what isn't, and attacks, each in a process of its own with an alarm.
 */
#include "policy/fake.h"

#include <sys/wait.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* The chunk is true, or says why not. */
static void expect_true(const char *source) {
  struct fake f;
  fake_init(&f, NULL);
  if (fake_eval(f.vm, source) != WR_VM_OK) fail_msg("%s: %s", source, fake_error(f.vm));
  if (!lua_toboolean(wr_vm_state(f.vm), -1)) fail_msg("%s: false", source);
  fake_fini(&f);
}

static void expect_error(const char *source, const char *text) {
  struct fake f;
  fake_init(&f, NULL);
  assert_int_not_equal(fake_eval(f.vm, source), WR_VM_OK);
  if (!strstr(fake_error(f.vm), text))
    fail_msg("%s: \"%s\" lacks \"%s\"", source, fake_error(f.vm), text);
  fake_fini(&f);
}

static void test_allow_list(void **state) {
  (void)state;
  static const char *const gone[] = { "coroutine",      "debug", "io",     "os",       "package",
                                      "collectgarbage", "load",  "dofile", "loadfile", "loadstring",
                                      "require",        "_G",    "warn" };
  char source[100];
  for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) {
    snprintf(source, sizeof source, "return %s", gone[i]);
    expect_error(source, "is not declared (use local)");
  }
  expect_true("return string.dump == nil and math.randomseed == nil");
  expect_true("return type(string.format) == 'function' and math.floor(1.5) == 1 and "
              "utf8.len('\\u{e9}') == 1");
}

static void test_closed(void **state) {
  (void)state;
  expect_error("rawset(_ENV, 'x', 1)", "rawset: the table is read-only");
  expect_error("rawset(string, 'find', 1)", "rawset: the table is read-only");
  expect_error("setmetatable(_ENV, nil)", "cannot change a protected metatable");
  expect_error("setmetatable(string, nil)", "cannot change a protected metatable");
  expect_error("weir.x = 1", "weir is read-only (tried to set 'x')");
  expect_error("table.insert(table, 1)", "table is read-only");
  expect_error("table.sort = nil", "table is read-only (tried to set 'sort')");
  expect_error("setmetatable({}, { __gc = function() end })", "'__gc' is not allowed here");
  expect_error("setmetatable({}, { __mode = 'k' })", "'__mode' is not allowed here");
  expect_true("return getmetatable('') == false and getmetatable(_ENV) == false");
  expect_true(
      "local n = 0 for k in pairs(string) do n = n + 1 end return n == 16 and next(string) == nil");
  expect_true("local t = setmetatable({}, { __index = { x = 1 } }) return t.x == 1 and "
              "getmetatable(t) ~= nil");
  expect_true(
      "local t = {} rawset(t, 'a', 1) return t.a == 1 and rawget(t, 'a') == 1 and rawlen(t) == 0");
}

/* Our versions do what the manual says. */
static void test_library(void **state) {
  (void)state;
  expect_true(
      "return ('a,b,c'):gsub(',', ';') == 'a;b;c' and select(2, ('aaa'):gsub('a', 'b', 2)) == 2");
  expect_true("return ('hello'):gsub('(l)(.)', '%2%1%0%%') == 'hellll%o'");
  expect_true("return ('abc'):gsub('', '-') == '-a-b-c-' and ('abc'):gsub('b*', 'x') == 'xaxcx'");
  expect_true("return ('x y'):gsub('%w', { x = 'Z' }) == 'Z y'");
  expect_true("return ('x y'):gsub('%w', function(c) if c == 'y' then return 7 end end) == 'x 7'");
  expect_true("return ('^a^a'):gsub('^%^a', 'b') == 'b^a' and ('ab'):gsub('()', '%1') == '1a2b3'");
  expect_true("local t = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do t[k] = v end "
              "return t.a == '1' and t.b == '2'");
  expect_true("local n = 0 for _ in ('abc'):gmatch('') do n = n + 1 end return n == 4");
  expect_true("return ('key=v'):match('^(%w+)=(%w*)$') == 'key' and ('abc'):match('b', 3) == nil");
  expect_true("return ('abc'):match('()b()') == 2 and ('abc'):find('b', -2) == 2 and "
              "('abc'):find('', 4) == 4");
  expect_true("return ('abc'):find('', 5) == nil and ('a.b'):find('.', 1, true) == 2");
  expect_true(
      "return ('ab'):rep(3, ',') == 'ab,ab,ab' and ('x'):rep(0) == '' and ('x'):rep(-1) == ''");
  expect_true("return table.concat({ 1, 2, 'x' }, '-') == '1-2-x' and table.concat({}) == ''");
  expect_true(
      "local t = { 1, 2, 3 } table.insert(t, 2, 9) table.insert(t, 4) return table.concat(t, ',') "
      "== '1,9,2,3,4' and table.remove(t, 1) == 1 and table.remove(t) == 4 and #t == 3");
  expect_true(
      "return table.remove({}) == nil and select('#', table.unpack({ 1, nil, 3 }, 1, 3)) == 3");
  expect_true("local t = table.pack(1, nil, 3) return t.n == 3 and t[3] == 3");
  expect_true(
      "local t = table.move({ 1, 2, 3 }, 1, 3, 2) return table.concat(t, ',') == '1,1,2,3'");
  expect_true("local t = table.move({ 1, 2, 3 }, 2, 3, 1) return table.concat(t, ',') == '2,3,3'");
  expect_true("local ok, e = xpcall(function() error('x', 0) end, function(m) return m .. '!' end) "
              "return not ok and e == 'x!'");
  expect_true("local ok, a, b = xpcall(function(...) return ... end, print, 1, 2) return ok and a "
              "== 1 and b == 2");
  expect_true("local t = { 3, 1, 2 } table.sort(t, function(a, b) return a > b end) return t[1] == "
              "3 and t[3] == 1");
  expect_error("table.insert({}, 5, 1)", "position out of bounds");
  expect_error("table.concat({ {} })", "invalid value (at index 1)");
  expect_error("table.sort({ 1, 'x' })", "attempt to compare");
  expect_error("return ('x'):gsub('x', '%2')", "invalid capture index %2");
}

static void test_sort(void **state) {
  (void)state;
  expect_true(
      "for n = 0, 60 do local t = {} for i = 1, n do t[i] = (i * 7919) % 31 end table.sort(t) "
      "for i = 2, n do if t[i - 1] > t[i] then return false end end end return true");
}

struct attack {
  const char *name;   /* borrowed: a literal */
  const char *source; /* borrowed: a literal */
};

/* Each must be stopped: the call fails, and soon. */
static const struct attack attacks[] = {
  { "loop", "while true do end" },
  { "pcall", "while true do pcall(function() while true do end end) end" },
  { "nested pcall", "local function f() pcall(f) while true do end end f()" },
  { "xpcall handler",
    "while true do xpcall(function() error('x') end, function() while true do end end) end" },
  { "xpcall error handler",
    "local function h() return error(h) end while true do xpcall(error, h) end" },
  { "coroutine", "coroutine.wrap(function() while true do end end)()" },
  { "__gc", "setmetatable({}, { __gc = function() while true do end end })" },
  { "__close", "while true do local x <close> = setmetatable({}, { __close = function() while true "
               "do end end }) "
               "end" },
  { "__index loop",
    "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) return t[1]" },
  { "__index cycle",
    "local a, b = {}, {} setmetatable(a, { __index = b }) setmetatable(b, { __index = a }) "
    "return a.x" },
  { "sort comparator", "local t = {} for i = 1, 100 do t[i] = i end "
                       "table.sort(t, function() while true do end end)" },
  { "sort liar", "local t = setmetatable({}, { __len = function() return 1 << 30 end, __index = "
                 "function() return 1 "
                 "end }) table.sort(t)" },
  { "gsub callback", "('x'):rep(100):gsub('x', function() while true do end end)" },
  { "recursion", "local function f(n) return 1 + f(n + 1) end f(1)" },
  { "deep pcall", "local function f() return pcall(f) end while true do f() end" },
  { "find bomb", "return ('a'):rep(5000):find('.-.-.-.-.-.-b')" },
  { "match bomb", "return ('a'):rep(5000):match('(.*)(.*)(.*)(.*)b')" },
  { "gmatch bomb", "for _ in ('a'):rep(5000):gmatch('.-.-.-.-b') do end while true do end" },
  { "gsub bomb", "return ('a'):rep(5000):gsub('a-a-a-a-a-b', '')" },
  { "caught bomb", "while true do pcall(string.find, ('a'):rep(5000), '.-.-.-.-.-.-b') end" },
  { "rep", "return ('x'):rep(1 << 40)" },
  { "rep loop", "while true do pcall(string.rep, 'x', 1500000) end" },
  { "doubling", "local s = 'x' while true do s = s .. s end" },
  { "caught doubling", "local s = 'x' while true do pcall(function() s = s .. s end) end" },
  { "big compares", "local a, b = 'x', 'x' for i = 1, 20 do a = a .. a b = b .. b end while true "
                    "do local _ = a == b "
                    "end" },
  { "big upper",
    "local s = 'x' for i = 1, 20 do s = s .. s end while true do local _ = s:upper() end" },
  { "big concat",
    "local s = 'x' for i = 1, 19 do s = s .. s end while true do local _ = s .. 'y' end" },
  { "growing table", "local t, i = {}, 0 while true do i = i + 1 t[i] = { i } end" },
  { "table.concat", "return table.concat({}, 'x', 1, 1 << 50)" },
  { "concat of big",
    "local s, t = ('x'):rep(500000), {} for i = 1, 1000 do t[i] = s end return table.concat(t)" },
  { "table.move", "return table.move({}, 1, 1 << 50, 2)" },
  { "table.unpack", "return table.unpack({}, 1, 1 << 30)" },
  { "unpack loop", "while true do pcall(table.unpack, {}, 1, 90000) end" },
  { "table.insert liar",
    "table.insert(setmetatable({}, { __len = function() return 1 << 40 end }), 1, 1)" },
  { "small strings", "local t, i = {}, 0 while true do i = i + 1 t[i] = 'k' .. i end" },
  { "closures", "local t, i = {}, 0 while true do i = i + 1 t[i] = function() return i end end" },
  { "colliding keys", "local t = {} for i = 1, 1e9 do t[i * 2.0 ^ 40 + 0.5] = i end" },
  { "error objects", "error(setmetatable({}, { __tostring = function() while true do end end }))" },
  { "error in error", "error(setmetatable({}, { __index = function() error('x') end }))" },
  { "bytecode", "return load(string.dump(function() end))" },
  { "globals", "return _G.x" },
  { "registry", "return getmetatable(_ENV).__index.x" },
  { "string metatable", "getmetatable('').__index.find = 1" },
  { "concat metamethod",
    "local t = setmetatable({}, { __concat = function(a, b) return a .. b end }) return t .. t" },
  { "tostring loop",
    "local t t = setmetatable({}, { __tostring = function() return tostring(t) end }) "
    "return tostring(t)" },
  { "format bomb", "while true do local _ = ('%99.99f'):rep(50):format(1, 1) end" },
  { "log flood", "while true do weir.log.info('%s', ('x'):rep(1000)) end" },
  { "utf8", "local s = ('x'):rep(1000000) while true do local _ = utf8.len(s) end" },
  { "next over much",
    "local t = {} for i = 1, 20000 do t[i] = i end for i = 1, 20000 do t[i] = nil end "
    "while true do next(t) end" },
};

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* In the child: 0 when the attack was stopped and the VM still works. The time goes to the parent.
 */
static int attack_child(const struct attack *a, int out) {
  alarm(10);
  struct wr_vm *vm;
  if (wr_vm_new(NULL, &vm) != WR_OK) return 2;
  double begin = now_ms();
  enum wr_vm_end end = fake_eval(vm, a->source);
  double ms = now_ms() - begin;
  wr_vm_relieve(vm);
  if (write(out, &ms, sizeof ms) != sizeof ms) return 3;
  if (end == WR_VM_OK) return 4;
  if (fake_eval(vm, "return 1") != WR_VM_OK) return 5;
  return 0;
}

static void test_attacks(void **state) {
  (void)state;
  double longest = 0;
  const char *which = "";
  for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
    int pipes[2], status = 0;
    double ms = 0;
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(attack_child(&attacks[i], pipes[1]));
    close(pipes[1]);
    if (read(pipes[0], &ms, sizeof ms) != sizeof ms) fail_msg("%s: no answer", attacks[i].name);
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      fail_msg("%s: status %x", attacks[i].name, (unsigned)status);
    if (getenv("WR_SHOW")) print_message("%s %.2f\n", attacks[i].name, ms);
    if (ms > longest) {
      longest = ms;
      which = attacks[i].name;
    }
    /* Sanitizers and a busy machine are slower than the promise; a hang is not. */
    if (ms > 2000) fail_msg("%s: %.1f ms", attacks[i].name, ms);
  }
  print_message("%zu attacks stopped, the longest (%s) in %.1f ms\n",
                sizeof attacks / sizeof attacks[0], which, longest);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_allow_list), cmocka_unit_test(test_closed),
    cmocka_unit_test(test_library),    cmocka_unit_test(test_sort),
    cmocka_unit_test(test_attacks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

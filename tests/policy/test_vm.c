/* The VM: limits, error texts, the allocator, the ledger, what it says of itself. */
#include "policy/fake.h"

#include "mem/ledger.h"

static void test_result(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  assert_int_equal(fake_eval(f.vm, "return 1 + 2"), WR_VM_OK);
  assert_int_equal(lua_tointeger(wr_vm_state(f.vm), -1), 3);
  fake_fini(&f);
}

static void test_error_texts(void **state) {
  (void)state;
  static const struct {
    const char *source, *text; /* borrowed: literals */
    enum wr_vm_end end;
  } cases[] = {
    { "error('boom')", "test.lua:1: boom [on_event of 'p', stream 7f3a]", WR_VM_ERROR },
    { "\nlocal x = nil + 1", "test.lua:2: attempt to perform arithmetic on a nil value",
      WR_VM_ERROR },
    { "error({})", "the error is a table value", WR_VM_ERROR },
    { "error(setmetatable({}, {__tostring = function() error('x') end}))", "the error is a table",
      WR_VM_ERROR },
    { "error(42)", "42", WR_VM_ERROR },
    { "error()", "the error is a nil value", WR_VM_ERROR },
    { "x = ", "test.lua:1: unexpected symbol near <eof>", WR_VM_ERROR },
    { "\033Lua", "attempt to load a binary chunk", WR_VM_ERROR },
    { "\n\nwhile true do end", "test.lua:3: over the limit: 100000 instructions [on_event of 'p'",
      WR_VM_INSTRUCTIONS },
    { "cnt = 1", "test.lua:1: global 'cnt' is not declared (use local)", WR_VM_ERROR },
    { "return cnt", "test.lua:1: global 'cnt' is not declared (use local)", WR_VM_ERROR },
    { "string = 1", "test.lua:1: global 'string' is read-only", WR_VM_ERROR },
    { "string.find = 1", "test.lua:1: string is read-only (tried to set 'find')", WR_VM_ERROR },
    { "weir.lgo.info 'x'", "test.lua:1: weir has no 'lgo' (did you mean 'log'?)", WR_VM_ERROR },
    { "weir.log.inof 'x'", "test.lua:1: weir.log has no 'inof' (did you mean 'info'?)",
      WR_VM_ERROR },
    { "weir.live.memory()", "test.lua:1: weir.live has no 'memory'", WR_VM_ERROR },
    { "weir[1]()", "test.lua:1: weir: a name is a string, not a number", WR_VM_ERROR },
    { "weir.log.info = 1", "test.lua:1: weir.log is read-only", WR_VM_ERROR },
    { "local s = ('x'):rep(1000) error(s:rep(100))", "test.lua:1: xxxx", WR_VM_ERROR },
  };
  struct fake f;
  fake_init(&f, NULL);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    assert_int_equal(fake_eval(f.vm, cases[i].source), cases[i].end);
    if (!strstr(fake_error(f.vm), cases[i].text)) {
      fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].source, fake_error(f.vm), cases[i].text);
    }
    assert_int_equal(lua_gettop(wr_vm_state(f.vm)), 0);
  }
  fake_fini(&f);
}

static int pusher(lua_State *L) {
  lua_pushliteral(L, "from the inner call");
  return 1;
}

struct nested {
  struct wr_vm *vm; /* borrowed: the test */
  enum wr_vm_end inner;
};

static int outer(lua_State *L) {
  struct nested *n = lua_touserdata(L, 1);
  lua_pushcfunction(L, pusher);
  n->inner = wr_vm_pcall(n->vm, NULL, 0, 1);
  return 1;
}

static void test_nested(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  struct nested n = { f.vm, WR_VM_ENDS };
  lua_pushcfunction(wr_vm_state(f.vm), outer);
  lua_pushlightuserdata(wr_vm_state(f.vm), &n);
  assert_int_equal(wr_vm_pcall(f.vm, NULL, 1, 1), WR_VM_OK);
  assert_int_equal(n.inner, WR_VM_OK);
  assert_string_equal(lua_tostring(wr_vm_state(f.vm), -1), "from the inner call");
  assert_false(wr_vm_script(f.vm)->armed);
  fake_fini(&f);
}

/* The limit is the call's, not the VM's life: each call has all of it. */
static void test_rearmed(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  for (int i = 0; i < 50; i++) {
    assert_int_equal(fake_eval(f.vm, "for i = 1, 40000 do end"), WR_VM_OK);
    assert_int_equal(fake_eval(f.vm, "while true do end"), WR_VM_INSTRUCTIONS);
  }
  fake_fini(&f);
}

static void test_memory(void **state) {
  (void)state;
  struct wr_vm_limits limits = { .memory_bytes = 1 << 20 };
  struct fake f;
  fake_init(&f, &limits);
  assert_int_equal(fake_eval(f.vm, "local t = {} for i = 1, 1e9 do t[i] = {i} end"), WR_VM_MEMORY);
  assert_non_null(strstr(fake_error(f.vm), "over the limit: 1MiB of memory"));
  assert_true(wr_vm_bytes(f.vm) <= 1 << 20);
  wr_vm_collect(f.vm);
  assert_true(wr_vm_bytes(f.vm) < 200000);
  assert_int_equal(fake_eval(f.vm, "return ('x'):rep(100)"), WR_VM_OK);
  fake_fini(&f);
}

static void test_ledger(void **state) {
  (void)state;
  struct wr_ledger *ledger;
  assert_int_equal(wr_ledger_new(64 << 20, NULL, &ledger), WR_OK);
  struct wr_vm_limits limits = { .ledger = ledger };
  struct fake f;
  fake_init(&f, &limits);
  assert_true(wr_ledger_bytes(ledger, WR_CHARGE_LUA) > 10000);
  fake_fini(&f);
  assert_int_equal(wr_ledger_bytes(ledger, WR_CHARGE_LUA), 0);
  wr_ledger_free(ledger);
}

/* Garbage is collected in small pieces and the heap stays where it was. */
static void test_garbage(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  size_t most = 0;
  for (int i = 0; i < 3000; i++) {
    assert_int_equal(fake_eval(f.vm, "local t = {} for i = 1, 20 do t[i] = 'v' .. i end"),
                     WR_VM_OK);
    wr_vm_relieve(f.vm);
    if (wr_vm_bytes(f.vm) > most) most = wr_vm_bytes(f.vm);
  }
  assert_true(most < 1 << 20);
  while (wr_vm_idle(f.vm)) {}
  fake_fini(&f);
}

/* Every allocation fails once: no crash, no leak, and a VM that failed says so. */
static void test_torture(void **state) {
  (void)state;
  struct wr_vm_limits patient = { .wall_ms = 5000 };
  for (uint64_t n = 1; n < 2000; n++) {
    struct wr_vm *vm = NULL;
    wr_heap_fail_at(n, false);
    enum wr_err err = wr_vm_new(&patient, &vm);
    if (err == WR_OK) {
      enum wr_vm_end end =
          fake_eval(vm, "local t = {} for i = 1, 50 do t[i] = ('x'):rep(i) end return t");
      assert_true(end == WR_VM_OK || end == WR_VM_MEMORY);
      wr_heap_fail_at(0, false);
      assert_int_equal(fake_eval(vm, "return #('x'):rep(10)"), WR_VM_OK);
      wr_vm_free(vm);
    }
    wr_heap_fail_at(0, false);
    assert_int_equal(wr_heap_live_count(WR_HEAP_LUA), 0);
  }
}

static void test_log(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  assert_int_equal(fake_eval(f.vm, "weir.log.warn('%s has %d\\n', 'key', 3)"), WR_VM_OK);
  assert_string_equal(f.log, "warn|test.lua:1|key has 3 ");
  assert_int_equal(fake_eval(f.vm, "print('a', nil, 1.5)"), WR_VM_OK);
  assert_string_equal(f.log, "info|test.lua:1|a nil 1.5");
  f.log_lines = 0;
  assert_int_equal(fake_eval(f.vm, "\nfor i = 1, 50 do weir.log.error('%d', i) end"), WR_VM_OK);
  assert_int_equal(f.log_lines, 10);
  f.now_us += 1000000;
  assert_int_equal(fake_eval(f.vm, "\nweir.log.error('again')"), WR_VM_OK);
  assert_string_equal(f.log, "error|test.lua:2|again (40 lines dropped before)");
  fake_fini(&f);
}

static void test_time_and_chance(void **state) {
  (void)state;
  struct fake f;
  fake_init(&f, NULL);
  f.now_us = UINT64_C(1700000000500000);
  assert_int_equal(fake_eval(f.vm, "return weir.now() == 1700000000.5 and weir.date() == "
                                   "'2023-11-14T22:13:20Z' and weir.date('%H') == '22' and "
                                   "weir.date('%Y', 0) == '1970'"),
                   WR_VM_OK);
  assert_true(lua_toboolean(wr_vm_state(f.vm), -1));
  assert_int_equal(fake_eval(f.vm, "return weir.random() == 0.5 and math.random() == 0.5 and "
                                   "math.random(7, 7) == 7 and math.random(4) == 1"),
                   WR_VM_OK);
  assert_true(lua_toboolean(wr_vm_state(f.vm), -1));
  assert_int_equal(fake_eval(f.vm, "return math.random(2, 1)"), WR_VM_ERROR);
  fake_fini(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_result),  cmocka_unit_test(test_error_texts),
    cmocka_unit_test(test_nested),  cmocka_unit_test(test_rearmed),
    cmocka_unit_test(test_memory),  cmocka_unit_test(test_ledger),
    cmocka_unit_test(test_garbage), cmocka_unit_test(test_torture),
    cmocka_unit_test(test_log),     cmocka_unit_test(test_time_and_chance),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "policy/vm.h"

#include <lauxlib.h>
#include <lua.h>
#include <time.h>

#include "api/budget.h"
#include "api/json.h"
#include "base/check.h"
#include "base/heap.h"
#include "base/rand.h"
#include "mem/ledger.h"
#include "policy/vm_int.h"

#define DEFAULT_MEMORY (16u << 20)
#define DEFAULT_INSTRUCTIONS 100000u
/* With the look at the clock that finds it out, the loop then waits less than 20 ms. */
#define DEFAULT_WALL_MS 15u
#define MIN_MEMORY (256u << 10)
#define BIG_VALUE (64u << 10)
#define LEDGER_STEP (16u << 10)
#define DEBT_MIN (128u << 10)
/* A full collection of a full heap takes milliseconds: a call that needs a third one is over. */
#define MAX_EMERGENCIES 2

/* Lua collects everything and asks a second time before it raises. Only the second refusal is the
 * end. */
static void *refuse(struct wr_vm *vm, size_t nsize, bool hopeless) {
  struct wr_script *s = &vm->script;
  if (!s->armed) return NULL;
  vm->emergencies++;
  if (hopeless || vm->failed_bytes == nsize || vm->emergencies > MAX_EMERGENCIES) {
    s->limit = s->limit == WR_LIMIT_NONE ? WR_LIMIT_MEMORY : s->limit;
  }
  vm->failed_bytes = nsize;
  wr_budget_hurry(vm->L);
  return NULL;
}

static void *vm_alloc(void *ud, void *ptr, size_t osize, size_t nsize) {
  struct wr_vm *vm = ud;
  if (!ptr) osize = 0; /* then it is the kind of object, not a size */
  WR_DCHECK(vm->bytes >= osize);
  if (nsize > osize) {
    if (nsize > vm->value_bytes) return refuse(vm, nsize, true);
    if (vm->bytes - osize + nsize > vm->cap_bytes) return refuse(vm, nsize, false);
  }
  void *p = NULL;
  if (nsize == 0) {
    wr_heap_free(WR_HEAP_LUA, ptr);
  } else {
    p = wr_heap_realloc(WR_HEAP_LUA, ptr, nsize);
    if (!p && nsize > osize) return refuse(vm, nsize, false);
    WR_CHECK(p != NULL);
    if (nsize > osize) vm->failed_bytes = 0;
  }
  vm->bytes += nsize - osize;
  if (nsize > BIG_VALUE || osize > BIG_VALUE) {
    vm->script.big_values += (uint64_t)(nsize > BIG_VALUE) - (uint64_t)(osize > BIG_VALUE);
    if (nsize > BIG_VALUE && vm->script.armed) wr_budget_hurry(vm->L);
  }
  return p;
}

static uint64_t clock_us(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}
static uint64_t system_mono_us(void *ctx) {
  (void)ctx;
  return clock_us(CLOCK_MONOTONIC);
}
static uint64_t system_wall_us(void *ctx) {
  (void)ctx;
  return clock_us(CLOCK_REALTIME);
}
static uint64_t system_random(void *ctx) {
  (void)ctx;
  uint64_t x = 0;
  if (wr_rand_system_bytes(&x, sizeof x) != WR_OK) x = clock_us(CLOCK_MONOTONIC);
  return x;
}
static void no_log(void *ctx, enum wr_script_level level, struct wr_span where,
                   struct wr_span text) {
  (void)ctx, (void)level, (void)where, (void)text;
}

static int open_state(lua_State *L) {
  wr_sandbox_open(L);
  return 0;
}

/* Only a bug of ours comes here: every entry is protected. */
static int vm_panic(lua_State *L) {
  (void)L;
  bool protected_call = false;
  WR_CHECK(protected_call);
  return 0;
}

static size_t or_default(size_t value, size_t otherwise) { return value ? value : otherwise; }

enum wr_err wr_vm_new(const struct wr_vm_limits *limits, struct wr_vm **out) {
  static const struct wr_vm_limits none;
  if (!limits) limits = &none;
  struct wr_vm *vm = wr_heap_zalloc(WR_HEAP_LUA, sizeof *vm);
  if (!vm) return WR_E_NOMEM;
  vm->magic = WR_VM_MAGIC;
  vm->script.magic = WR_SCRIPT_MAGIC;
  vm->script.core =
      (struct wr_script_core){ NULL, system_mono_us, system_wall_us, system_random, no_log };
  vm->ledger = limits->ledger;
  vm->cap_bytes = or_default(limits->memory_bytes, DEFAULT_MEMORY);
  if (vm->cap_bytes < MIN_MEMORY) vm->cap_bytes = MIN_MEMORY;
  vm->value_bytes = vm->cap_bytes / 8;
  vm->script.memory_bytes = vm->cap_bytes;
  vm->instructions = (uint32_t)or_default(limits->instructions, DEFAULT_INSTRUCTIONS);
  vm->wall_ms = (uint32_t)or_default(limits->wall_ms, DEFAULT_WALL_MS);
  vm->L = lua_newstate(vm_alloc, vm);
  if (!vm->L) {
    wr_heap_free(WR_HEAP_LUA, vm);
    return WR_E_NOMEM;
  }
  *(struct wr_script **)lua_getextraspace(vm->L) = &vm->script;
  lua_atpanic(vm->L, vm_panic);
  lua_gc(vm->L, LUA_GCSTOP);
  lua_pushcfunction(vm->L, open_state);
  struct wr_vm_call call = { .instructions = 1000000, .wall_ms = 1000 };
  if (wr_vm_pcall(vm, &call, 0, 0) != WR_VM_OK) {
    wr_vm_free(vm);
    return WR_E_NOMEM;
  }
  wr_vm_collect(vm);
  *out = vm;
  return WR_OK;
}

static void settle(struct wr_vm *vm, size_t slack) {
  size_t now = vm->bytes, told = vm->charged_bytes;
  if (!vm->ledger || now == told) return;
  if (now > told && now - told >= slack) wr_ledger_add(vm->ledger, WR_CHARGE_LUA, now - told);
  else if (now < told && told - now >= slack) wr_ledger_sub(vm->ledger, WR_CHARGE_LUA, told - now);
  else return;
  vm->charged_bytes = now;
}

void wr_vm_free(struct wr_vm *vm) {
  if (!vm) return;
  WR_MAGIC_CHECK(vm, WR_VM_MAGIC);
  vm->script.armed = false;
  lua_close(vm->L);
  WR_CHECK(vm->bytes == 0);
  settle(vm, 0);
  wr_json_cache_free(vm->script.json);
  wr_heap_free(WR_HEAP_LUA, vm->script.scratch);
  vm->magic = 0;
  wr_heap_free(WR_HEAP_LUA, vm);
}

lua_State *wr_vm_state(struct wr_vm *vm) { return vm->L; }
struct wr_script *wr_vm_script(struct wr_vm *vm) {
  return &vm->script;
}

void wr_vm_set_core(struct wr_vm *vm, const struct wr_script_core *core) {
  struct wr_script_core *mine = &vm->script.core;
  mine->ctx = core->ctx;
  mine->mono_us = core->mono_us ? core->mono_us : system_mono_us;
  mine->wall_us = core->wall_us ? core->wall_us : system_wall_us;
  mine->random_u64 = core->random_u64 ? core->random_u64 : system_random;
  mine->log = core->log ? core->log : no_log;
}

size_t wr_vm_bytes(const struct wr_vm *vm) { return vm->bytes; }
size_t wr_vm_floor_bytes(const struct wr_vm *vm) { return vm->floor_bytes; }
size_t wr_vm_cap_bytes(const struct wr_vm *vm) { return vm->cap_bytes; }

/* Garbage that may lie before a cycle begins: half of what lives. */
static size_t debt_bytes(const struct wr_vm *vm) {
  size_t half = vm->floor_bytes / 2;
  return half < DEBT_MIN ? DEBT_MIN : half;
}

static void collect_step(struct wr_vm *vm) {
  vm->cycle = true;
  if (!lua_gc(vm->L, LUA_GCSTEP, 0)) return;
  vm->cycle = false;
  vm->floor_bytes = vm->bytes;
  settle(vm, LEDGER_STEP);
}

bool wr_vm_idle(struct wr_vm *vm) {
  if (!vm->cycle && vm->bytes < vm->floor_bytes + debt_bytes(vm) / 4) return false;
  collect_step(vm);
  return vm->cycle;
}

void wr_vm_relieve(struct wr_vm *vm) {
  if (vm->bytes < vm->floor_bytes + debt_bytes(vm) && !vm->cycle) return;
  if (vm->bytes > vm->cap_bytes / 4 * 3 && vm->floor_bytes <= vm->cap_bytes / 2) wr_vm_collect(vm);
  else collect_step(vm);
}

void wr_vm_collect(struct wr_vm *vm) {
  lua_gc(vm->L, LUA_GCCOLLECT);
  vm->cycle = false;
  vm->floor_bytes = vm->bytes;
  settle(vm, LEDGER_STEP);
}

const char *wr_vm_lua_version(void) {
  return LUA_VERSION_MAJOR "." LUA_VERSION_MINOR "." LUA_VERSION_RELEASE;
}

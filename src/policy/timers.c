/* timers.c: weir.every: functions that run by the clock, once a worker, and end with their
 * generation; under the same limits as hooks, and put aside in the same way. */
#include <lauxlib.h>

#include "base/check.h"
#include "base/heap.h"
#include "policy/engine_int.h"
#include "policy/load.h"

/* The entry on top of the stack. */
static void load_timer(lua_State *L, struct wr_engine *e, uint64_t now_us) {
  struct wr_engine_timer *t = &e->timers[e->timer_count];
  *t = (struct wr_engine_timer){ .hook = { .id = WR_HOOK_ID_EVERY } };
  lua_getfield(L, -1, "plugin");
  t->hook.plugin = wr_engine_plugin(e, lua_tostring(L, -1), UINT32_MAX);
  if (t->hook.plugin == UINT32_MAX) luaL_error(L, "no memory for a timer");
  lua_getfield(L, -2, "ms");
  t->every_us = (uint64_t)lua_tointeger(L, -1) * 1000;
  WR_CHECK(t->every_us >= WR_LOAD_EVERY_MIN_MS * 1000);
  t->due_us = now_us + t->every_us;
  lua_pop(L, 2);
  lua_getfield(L, -1, "fn");
  t->hook.fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  e->timer_count++;
}

void wr_engine_load_timers(lua_State *L, struct wr_engine *e) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, WR_LOAD_TIMERS_KEY) != LUA_TTABLE) {
    lua_pop(L, 1);
    return;
  }
  const struct wr_script_core *core = &e->script->core;
  uint64_t now_us = core->mono_us(core->ctx);
  size_t count = (size_t)lua_rawlen(L, -1);
  e->timers = wr_heap_zalloc(WR_HEAP_LUA, count * sizeof *e->timers + 1);
  if (!e->timers) luaL_error(L, "no memory for timers");
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    load_timer(L, e, now_us);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static int call_timer(lua_State *L) {
  const struct wr_engine_timer *t = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, t->hook.fn_ref);
  lua_call(L, 0, 0);
  return 0;
}

static void run(struct wr_engine *e, struct wr_engine_timer *t, uint64_t now_us) {
  const struct wr_hook_stream nobody = { .now_us = now_us };
  struct wr_plugin *p = &e->plugins[t->hook.plugin];
  struct wr_verdict none = wr_verdict_none();
  if (p->until_us && wr_hook_aside(e, &t->hook, &nobody, &none)) return;
  struct wr_vm_call call = { wr_hook_name(&t->hook), p->name, 0, true, 0, 0 };
  t->hook.calls++;
  e->script->epoch++;
  lua_pushcfunction(e->L, call_timer);
  lua_pushlightuserdata(e->L, t);
  enum wr_vm_end end = wr_vm_pcall(e->vm, &call, 1, 0);
  e->script->epoch++;
  if (end != WR_VM_OK)
    wr_hook_failed(e, &t->hook, &nobody, wr_fail_of(end), wr_vm_error(e->vm), &none);
  else if (e->script->left < e->script->instructions / 2)
    wr_hook_near_limit(e, &t->hook, &nobody);
  wr_vm_relieve(e->vm);
}

/* Each at most once a turn: one that was late isn't made up for. */
uint64_t wr_engine_timers(struct wr_engine *e, uint64_t now_us) {
  uint64_t next_us = UINT64_MAX;
  WR_MAGIC_CHECK(e, WR_ENGINE_MAGIC);
  for (size_t i = 0; i < e->timer_count && !e->retired; i++) {
    struct wr_engine_timer *t = &e->timers[i];
    if (t->due_us <= now_us) {
      t->due_us += t->every_us;
      if (t->due_us <= now_us) t->due_us = now_us + t->every_us;
      run(e, t, now_us);
    }
    if (t->due_us < next_us) next_us = t->due_us;
  }
  return next_us == UINT64_MAX ? 0 : (next_us - now_us + 999) / 1000;
}

#include "api/l_tally.h"

#include <lauxlib.h>
#include <string.h>

#include "api/handle.h"
#include "api/lib.h"

#define TALLY_TYPE 0x7e112001u

/* One registry key a kind; the address is what counts. */
static const char keys[WR_TALLY_KINDS] = { 0 };

static void *key_of(uint32_t kind) { return (void *)(uintptr_t)&keys[kind]; }

/* C's own finalizer: a script can't have one. It does a few stores, and no Lua. */
static int tally_gc(lua_State *L) {
  struct wr_ltally *t = lua_touserdata(L, 1);
  wr_tally_put(t->tally);
  t->tally = NULL;
  return 0;
}

static int tally_newindex(lua_State *L) {
  const struct wr_ltally *t = lua_touserdata(L, 1);
  return luaL_error(L, "weir.%s '%s' is read-only",
                    wr_tally_kind_name((enum wr_tally_kind)t->kind), t->name);
}

/* Upvalue: the methods. */
static int tally_index(lua_State *L) {
  const struct wr_ltally *t = lua_touserdata(L, 1);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
  return luaL_error(L, "a %s has no method '%s'",
                    wr_tally_kind_name((enum wr_tally_kind)t->kind), name);
}

static void push_metatable(lua_State *L, enum wr_tally_kind kind) {
  static void (*const open[WR_TALLY_KINDS])(lua_State *) = {
    [WR_TALLY_COUNTER] = wr_lcounter_open,
    [WR_TALLY_BUDGET] = wr_lbudget_open,
    [WR_TALLY_FLAG] = wr_lflag_open,
  };
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key_of(kind)) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 5);
  open[kind](L);
  lua_pushcclosure(L, tally_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, tally_newindex);
  lua_setfield(L, -2, "__newindex");
  lua_pushcfunction(L, tally_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushfstring(L, "weir.%s", wr_tally_kind_name(kind));
  lua_setfield(L, -2, "__name");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key_of(kind));
}

enum wr_err wr_ltally_push(lua_State *L, const struct wr_tally_options *o) {
  struct wr_tallies *all = wr_script_of(L)->tallies;
  push_metatable(L, o->kind);
  struct wr_ltally *t = lua_newuserdatauv(L, sizeof *t, 0);
  memset(t, 0, sizeof *t);
  t->type = TALLY_TYPE;
  t->kind = o->kind;
  strncpy(t->name, o->name, sizeof t->name - 1);
  lua_insert(L, -2);
  lua_setmetatable(L, -2);
  return all ? wr_tally_get(all, o, &t->tally) : WR_OK;
}

struct wr_ltally *wr_ltally_check(lua_State *L, enum wr_tally_kind kind, const char *method) {
  struct wr_ltally *t = lua_touserdata(L, 1);
  const char *word = wr_tally_kind_name(kind);
  bool is = lua_type(L, 1) == LUA_TUSERDATA && lua_rawlen(L, 1) == sizeof *t &&
            t->type == TALLY_TYPE && t->kind == (uint32_t)kind;
  if (!is) {
    luaL_error(L, "%s: called without its %s (write %s:%s(…), with a colon)", method, word, word,
               method);
    return NULL;
  }
  if (wr_script_of(L)->phase == WR_PHASE_LOAD)
    luaL_error(L, "weir.%s '%s': %s works in hooks only, not while conf.lua is loading", word,
               t->name, method);
  return t;
}

uint64_t wr_ltally_tag(lua_State *L, const struct wr_ltally *t, int arg) {
  int type = lua_type(L, arg);
  if (type != LUA_TSTRING && type != LUA_TNUMBER && !wr_handle_peek(L, arg, WR_HANDLE_VIEW))
    luaL_error(L, "weir.%s '%s': the key must be a string, not %s",
               wr_tally_kind_name((enum wr_tally_kind)t->kind), t->name, luaL_typename(L, arg));
  struct wr_span key = wr_lib_bytes(L, arg);
  wr_budget_charge_bytes(L, key.len);
  return t->tally ? wr_tally_tag(t->tally, key) : 0;
}

int64_t wr_ltally_count(lua_State *L, const struct wr_ltally *t, int arg, const char *what) {
  int whole = 0;
  lua_Integer n = lua_type(L, arg) == LUA_TNUMBER ? lua_tointegerx(L, arg, &whole) : 0;
  if (!whole || n < 0)
    luaL_error(L, "weir.%s '%s': %s must be a whole number of at least 0, not %s",
               wr_tally_kind_name((enum wr_tally_kind)t->kind), t->name, what,
               lua_type(L, arg) == LUA_TNUMBER ? lua_tostring(L, arg) : luaL_typename(L, arg));
  return (int64_t)n;
}

uint64_t wr_ltally_now_us(lua_State *L) {
  const struct wr_script_core *core = &wr_script_of(L)->core;
  return core->mono_us(core->ctx);
}

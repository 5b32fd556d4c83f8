/* sandbox.c: the globals of a script, as an allow-list.
 *
 * Left out because no limit reaches them: coroutine, debug, io, os, package, collectgarbage, load,
 * dofile, loadfile, finalizers and weak tables, message handlers, string.dump. What is in: the
 * table below, and the libraries as api/lib.h has them. Libraries, `weir` and _ENV are closed, so
 * that one plugin can't change another's. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "api/lib.h"
#include "api/handle.h"
#include "policy/vm_int.h"

static const char globals_key = 0, weir_key = 0;

static void *key_of(const char *key) { return (void *)(uintptr_t)key; }

/* The same words for reading and writing: a misspelt name and a forgotten `local` are the same
 * mistake. */
static int undeclared(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "a global's name is a string");
  return luaL_error(L, "global '%s' is not declared (use local)", lua_tostring(L, 2));
}

/* `known` names stay as they are: a write to one of them is no declaration either. Upvalue: the
 * globals. */
static int global_write(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "a global's name is a string");
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL) return undeclared(L);
  return luaL_error(L, "global '%s' is read-only", lua_tostring(L, 2));
}

static void call_opener(lua_State *L, lua_CFunction open) {
  lua_pushcfunction(L, open);
  lua_call(L, 0, 1);
}

/* From the stock base library at `from` into the table on top. */
static void take_base(lua_State *L, int from) {
  static const char *const names[] = { "assert", "error",    "getmetatable", "ipairs", "next",
                                       "pairs",  "pcall",    "rawequal",     "rawget", "rawlen",
                                       "select", "tonumber", "tostring",     "type",   "_VERSION" };
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    lua_getfield(L, from, names[i]);
    lua_setfield(L, -2, names[i]);
  }
}

/* Strings read their methods from the library behind the closed table. */
static void set_string_metatable(lua_State *L) {
  lua_pushliteral(L, "");
  lua_createtable(L, 0, 2);
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

/* The table on top becomes the closed global `name` of the globals at index `globals`. */
static void add_library(lua_State *L, int globals, const char *name) {
  wr_lib_freeze(L, name);
  lua_setfield(L, globals, name);
}

static void open_libraries(lua_State *L, int globals) {
  call_opener(L, luaopen_string);
  wr_lib_string(L);
  set_string_metatable(L);
  add_library(L, globals, "string");
  call_opener(L, luaopen_utf8);
  wr_lib_utf8(L);
  add_library(L, globals, "utf8");
  wr_lib_table(L);
  add_library(L, globals, "table");
  call_opener(L, luaopen_math);
  wr_lib_random(L);
  lua_pushnil(L);
  lua_setfield(L, -2, "randomseed");
  add_library(L, globals, "math");
}

/* Scripts run in an empty table that reads from `globals` and takes nothing. */
static void close_globals(lua_State *L, int globals) {
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, undeclared);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, globals);
  lua_newtable(L);
  lua_createtable(L, 0, 3);
  lua_pushvalue(L, globals);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, globals);
  lua_pushcclosure(L, global_write, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
}

void wr_sandbox_open(lua_State *L) {
  luaL_checkstack(L, 20, NULL);
  lua_settop(L, 0);
  call_opener(L, luaopen_base);
  lua_getfield(L, 1, "pcall");
  lua_newtable(L);
  int globals = lua_gettop(L);
  wr_lib_base(L);
  take_base(L, 1);
  wr_lib_print(L);
  open_libraries(L, globals);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key_of(&weir_key));
  wr_lib_weir(L);
  wr_lib_strict(L, "weir");
  add_library(L, globals, "weir");
  lua_pushvalue(L, globals);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key_of(&globals_key));
  close_globals(L, globals);
  wr_handle_open(L);
}

void wr_vm_push_globals(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, key_of(&globals_key)); }
void wr_vm_push_weir(lua_State *L) { lua_rawgetp(L, LUA_REGISTRYINDEX, key_of(&weir_key)); }
void wr_vm_freeze(lua_State *L, const char *what) { wr_lib_freeze(L, what); }

/* l_base.c: the basic functions that can't be the stock ones, and closed tables. */
#include "api/lib.h"

#include <stdarg.h>

#include "conf/schema.h"

static void push_where(lua_State *L) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    if (!lua_getinfo(L, "Sl", &ar) || ar.currentline <= 0) continue;
    lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
    return;
  }
  lua_pushliteral(L, "");
}

int wr_lib_error(lua_State *L, const char *format, ...) {
  va_list args;
  va_start(args, format);
  push_where(L);
  lua_pushvfstring(L, format, args);
  va_end(args);
  lua_concat(L, 2);
  return lua_error(L);
}

/* A metatable with this field says that its table is not to be changed from outside. */
static bool is_closed(lua_State *L, int arg) {
  if (luaL_getmetafield(L, arg, "__metatable") == LUA_TNIL) return false;
  lua_pop(L, 1);
  return true;
}

/* No finalizers: they run where no limit can stop them. No weak tables: clearing them can't be done
 * in small steps. */
static int base_setmetatable(lua_State *L) {
  int type = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
  if (is_closed(L, 1)) return luaL_error(L, "cannot change a protected metatable");
  static const char *const refused[] = { "__gc", "__mode" };
  for (size_t i = 0; type == LUA_TTABLE && i < 2; i++) {
    lua_pushstring(L, refused[i]);
    if (lua_rawget(L, 2) != LUA_TNIL)
      return luaL_error(L, "setmetatable: '%s' is not allowed here", refused[i]);
    lua_pop(L, 1);
  }
  lua_settop(L, 2);
  lua_setmetatable(L, 1);
  return 1;
}

static int base_rawset(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  if (is_closed(L, 1)) return luaL_error(L, "rawset: the table is read-only");
  lua_rawset(L, 1);
  return 1;
}

/* xpcall(f, handler, ...): the handler runs after the stack has unwound, as a plain call under the
 * limits; a real message handler can loop where they don't reach. Upvalue: the stock pcall. */
static int base_xpcall(lua_State *L) {
  luaL_checktype(L, 2, LUA_TFUNCTION);
  int n = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, 1);
  for (int i = 3; i <= n; i++) lua_pushvalue(L, i);
  lua_call(L, n - 1, LUA_MULTRET);
  if (lua_toboolean(L, n + 1)) return lua_gettop(L) - n;
  lua_settop(L, n + 2);
  lua_pushvalue(L, 2);
  lua_insert(L, n + 2);
  lua_call(L, 1, 1);
  return 2;
}

void wr_lib_base(lua_State *L) {
  static const luaL_Reg own[] = { { "setmetatable", base_setmetatable },
                                  { "rawset", base_rawset },
                                  { NULL, NULL } };
  luaL_setfuncs(L, own, 0);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, base_xpcall, 1);
  lua_setfield(L, -2, "xpcall");
}

/* Upvalue: what the table is called. */
static int frozen_newindex(lua_State *L) {
  const char *what = lua_tostring(L, lua_upvalueindex(1));
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
  return luaL_error(L, "%s is read-only (tried to set '%s')", what, key);
}

/* Upvalue: the table behind. */
static int frozen_len(lua_State *L) {
  lua_pushinteger(L, luaL_len(L, lua_upvalueindex(1)));
  return 1;
}

static int frozen_next(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 2);
  if (lua_next(L, 2)) return 2;
  lua_pushnil(L);
  return 1;
}

static int frozen_pairs(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, frozen_next, 1);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

void wr_lib_freeze(lua_State *L, const char *what) {
  int real = lua_gettop(L);
  lua_newtable(L);
  lua_createtable(L, 0, 6);
  lua_pushvalue(L, real);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, what);
  lua_pushcclosure(L, frozen_newindex, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushvalue(L, real);
  lua_pushcclosure(L, frozen_len, 1);
  lua_setfield(L, -2, "__len");
  lua_pushvalue(L, real);
  lua_pushcclosure(L, frozen_pairs, 1);
  lua_setfield(L, -2, "__pairs");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_remove(L, real);
}

#define NAMES_MAX 64

static const char *name_at(const void *ctx, size_t i) { return ((const char *const *)ctx)[i]; }

/* Upvalue: what the table is called. */
static int strict_index(lua_State *L) {
  const char *names[NAMES_MAX + 1];
  size_t count = 0;
  const char *what = lua_tostring(L, lua_upvalueindex(1));
  if (lua_type(L, 2) != LUA_TSTRING)
    return luaL_error(L, "%s: a name is a string, not a %s", what, luaL_typename(L, 2));
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING && count < NAMES_MAX) names[count++] = lua_tostring(L, -2);
  names[count] = NULL;
  const char *wrong = lua_tostring(L, 2);
  const char *near = wr_suggest(wr_span_str(wrong), name_at, names);
  return luaL_error(L, near ? "%s has no '%s' (did you mean '%s'?)" : "%s has no '%s'", what, wrong,
                    near);
}

void wr_lib_strict(lua_State *L, const char *what) {
  lua_createtable(L, 0, 1);
  lua_pushstring(L, what);
  lua_pushcclosure(L, strict_index, 1);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

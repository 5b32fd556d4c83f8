/* l_table.c: the table library. Every function reads the length once and charges for the range
 * before it moves. */
#include "api/lib.h"

static lua_Integer length(lua_State *L, int arg) {
  luaL_checktype(L, arg, LUA_TTABLE);
  return luaL_len(L, arg);
}

/* Elements from i to j, charged; raises when the range has more than a call may touch. */
static void charge_range(lua_State *L, lua_Integer i, lua_Integer j) {
  if (j >= i)
    wr_budget_charge(L, (uint64_t)j - (uint64_t)i < INT32_MAX ? (size_t)(j - i) + 1 : INT32_MAX);
}

static int tab_insert(lua_State *L) {
  lua_Integer end = (lua_Integer)((lua_Unsigned)length(L, 1) + 1), at = end;
  switch (lua_gettop(L)) {
    case 2: break;
    case 3:
      at = luaL_checkinteger(L, 2);
      luaL_argcheck(L, (lua_Unsigned)at - 1u < (lua_Unsigned)end, 2, "position out of bounds");
      charge_range(L, at, end);
      for (lua_Integer i = end; i > at; i--) {
        lua_geti(L, 1, i - 1);
        lua_seti(L, 1, i);
      }
      break;
    default: return luaL_error(L, "wrong number of arguments to 'insert'");
  }
  lua_seti(L, 1, at);
  return 0;
}

static int tab_remove(lua_State *L) {
  lua_Integer size = length(L, 1), at = luaL_optinteger(L, 2, size);
  if (at != size)
    luaL_argcheck(L, (lua_Unsigned)at - 1u <= (lua_Unsigned)size, 2, "position out of bounds");
  lua_geti(L, 1, at);
  charge_range(L, at, size);
  for (; at < size; at++) {
    lua_geti(L, 1, at + 1);
    lua_seti(L, 1, at);
  }
  lua_pushnil(L);
  lua_seti(L, 1, at);
  return 1;
}

static int tab_concat(lua_State *L) {
  lua_Integer size = length(L, 1);
  size_t sep_len;
  const char *sep = luaL_optlstring(L, 2, "", &sep_len);
  lua_Integer i = luaL_optinteger(L, 3, 1), last = luaL_optinteger(L, 4, size);
  charge_range(L, i, last);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  while (i <= last) {
    lua_geti(L, 1, i);
    if (!lua_isstring(L, -1)) {
      return luaL_error(L, "invalid value (at index %I) in table for 'concat'", (LUAI_UACINT)i);
    }
    if (lua_type(L, -1) == LUA_TSTRING) wr_budget_charge_bytes(L, lua_rawlen(L, -1));
    luaL_addvalue(&b);
    if (i == last) break; /* last may be the largest integer */
    wr_budget_charge_bytes(L, sep_len);
    luaL_addlstring(&b, sep, sep_len);
    i++;
  }
  luaL_pushresult(&b);
  return 1;
}

static int tab_pack(lua_State *L) {
  int n = lua_gettop(L);
  lua_createtable(L, n, 1);
  lua_insert(L, 1);
  for (int i = n; i >= 1; i--) lua_seti(L, 1, i);
  lua_pushinteger(L, n);
  lua_setfield(L, 1, "n");
  return 1;
}

static int tab_unpack(lua_State *L) {
  lua_Integer i = luaL_optinteger(L, 2, 1);
  lua_Integer last = lua_isnoneornil(L, 3) ? luaL_len(L, 1) : luaL_checkinteger(L, 3);
  if (i > last) return 0;
  uint64_t n = (uint64_t)last - (uint64_t)i;
  charge_range(L, i, last);
  if (n >= 100000 || !lua_checkstack(L, (int)n + 1))
    return luaL_error(L, "too many results to unpack");
  for (uint64_t k = 0; k <= n; k++) lua_geti(L, 1, (lua_Integer)((uint64_t)i + k));
  return (int)n + 1;
}

static int tab_move(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer from = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3),
              to = luaL_checkinteger(L, 4);
  int target = lua_isnoneornil(L, 5) ? 1 : 5;
  luaL_checktype(L, target, LUA_TTABLE);
  if (last >= from) {
    charge_range(L, from, last);
    luaL_argcheck(L, from > 0 || last < LUA_MAXINTEGER + from, 3, "too many elements to move");
    lua_Integer n = last - from + 1;
    luaL_argcheck(L, to <= LUA_MAXINTEGER - n + 1, 4, "destination wrap around");
    bool up = to > last || to <= from || (target != 1 && !lua_compare(L, 1, target, LUA_OPEQ));
    for (lua_Integer k = 0; k < n; k++) {
      lua_Integer at = up ? k : n - 1 - k;
      lua_geti(L, 1, from + at);
      lua_seti(L, target, to + at);
    }
  }
  lua_pushvalue(L, target);
  return 1;
}

/* Is value a less than value b (stack indices)? */
static bool less(lua_State *L, int a, int b) {
  wr_budget_charge(L, 1);
  if (lua_isnil(L, 2)) {
    if (lua_type(L, a) == LUA_TSTRING) wr_budget_charge_bytes(L, lua_rawlen(L, a));
    return lua_compare(L, a, b, LUA_OPLT) != 0;
  }
  int ia = lua_absindex(L, a), ib = lua_absindex(L, b);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, ia);
  lua_pushvalue(L, ib);
  lua_call(L, 2, 1);
  bool result = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return result;
}

/* Lets the value on top sink from `root` into the heap of elements 1..n, and pops it. */
static void sink(lua_State *L, lua_Integer root, lua_Integer n) {
  int value = lua_gettop(L);
  for (;;) {
    lua_Integer child = 2 * root;
    if (child > n) break;
    lua_geti(L, 1, child);
    if (child < n) {
      lua_geti(L, 1, child + 1);
      if (less(L, -2, -1)) {
        child++;
        lua_remove(L, -2);
      } else {
        lua_pop(L, 1);
      }
    }
    if (!less(L, value, -1)) {
      lua_pop(L, 1);
      break;
    }
    lua_seti(L, 1, root);
    root = child;
  }
  lua_seti(L, 1, root);
}

/* A heap sort: no order function, however wrong, makes it run longer. */
static int tab_sort(lua_State *L) {
  lua_Integer n = length(L, 1);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  charge_range(L, 1, n);
  for (lua_Integer root = n / 2; root >= 1; root--) {
    lua_geti(L, 1, root);
    sink(L, root, n);
  }
  for (lua_Integer last = n; last > 1; last--) {
    lua_geti(L, 1, last);
    lua_geti(L, 1, 1);
    lua_seti(L, 1, last);
    sink(L, 1, last - 1);
  }
  return 0;
}

void wr_lib_table(lua_State *L) {
  static const luaL_Reg own[] = { { "insert", tab_insert }, { "remove", tab_remove },
                                  { "concat", tab_concat }, { "pack", tab_pack },
                                  { "unpack", tab_unpack }, { "move", tab_move },
                                  { "sort", tab_sort },     { NULL, NULL } };
  lua_newtable(L);
  luaL_setfuncs(L, own, 0);
}

/* l_counter.c: weir.counter: sums by key, over all workers. */
#include <lauxlib.h>

#include "api/l_tally.h"

/* c:add(key [, n]) → the sum of this window */
static int counter_add(lua_State *L) {
  const struct wr_ltally *t = wr_ltally_check(L, WR_TALLY_COUNTER, "add");
  uint64_t tag = wr_ltally_tag(L, t, 2);
  int64_t n = lua_isnoneornil(L, 3) ? 1 : wr_ltally_count(L, t, 3, "the number to add");
  if (t->tally) n = wr_tally_add(t->tally, tag, n, wr_ltally_now_us(L));
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

/* c:get(key) → the sum of this window */
static int counter_get(lua_State *L) {
  const struct wr_ltally *t = wr_ltally_check(L, WR_TALLY_COUNTER, "get");
  uint64_t tag = wr_ltally_tag(L, t, 2);
  int64_t n = t->tally ? wr_tally_read(t->tally, tag, wr_ltally_now_us(L)) : 0;
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

void wr_lcounter_open(lua_State *L) {
  static const luaL_Reg methods[] = { { "add", counter_add },
                                      { "get", counter_get },
                                      { NULL, NULL } };
  luaL_newlib(L, methods);
}

/* l_budget.c: weir.budget: tokens that a stream takes before it begins; the core settles them with
 * what was really used when it ends. */
#include <lauxlib.h>

#include "api/handle.h"
#include "api/l_tally.h"
#include "relay/reserve.h"

/* b:reserve(s, key, n, limit) → ok, left, seconds until the window ends */
static int budget_reserve(lua_State *L) {
  const struct wr_ltally *t = wr_ltally_check(L, WR_TALLY_BUDGET, "reserve");
  struct wr_lsession *h = wr_handle_check(L, 2, WR_HANDLE_SESSION);
  uint64_t tag = wr_ltally_tag(L, t, 3);
  int64_t n = wr_ltally_count(L, t, 4, "the number to reserve");
  int64_t limit = wr_ltally_count(L, t, 5, "the limit");
  struct wr_tally_grant grant = { .ok = n <= limit, .left = n <= limit ? limit - n : limit };
  if (h->s->settled)
    return luaL_error(L, "weir.budget '%s': the stream has ended", t->name);
  if (t->tally) {
    enum wr_err err = wr_reserve(h->s, t->tally, tag, n, limit, wr_ltally_now_us(L), &grant);
    if (err == WR_E_ARG)
      return luaL_error(L, "weir.budget '%s': a stream reserves from %d budgets and keys at most",
                        t->name, (int)WR_RESERVES_MAX);
    if (err != WR_OK) return luaL_error(L, "not enough memory");
  }
  lua_pushboolean(L, grant.ok);
  lua_pushinteger(L, (lua_Integer)grant.left);
  lua_pushinteger(L, (lua_Integer)((grant.reset_ms + 999) / 1000));
  return 3;
}

/* b:get(key) → what is reserved and charged in this window */
static int budget_get(lua_State *L) {
  const struct wr_ltally *t = wr_ltally_check(L, WR_TALLY_BUDGET, "get");
  uint64_t tag = wr_ltally_tag(L, t, 2);
  int64_t n = t->tally ? wr_tally_read(t->tally, tag, wr_ltally_now_us(L)) : 0;
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

void wr_lbudget_open(lua_State *L) {
  static const luaL_Reg methods[] = { { "reserve", budget_reserve },
                                      { "get", budget_get },
                                      { NULL, NULL } };
  luaL_newlib(L, methods);
}

/* l_flag.c: weir.flag: a switch on the admin listener. */
#include <lauxlib.h>

#include "api/l_tally.h"

/* f:on() */
static int flag_on(lua_State *L) {
  const struct wr_ltally *t = wr_ltally_check(L, WR_TALLY_FLAG, "on");
  lua_pushboolean(L, t->tally && wr_tally_is_on(t->tally));
  return 1;
}

void wr_lflag_open(lua_State *L) {
  static const luaL_Reg methods[] = { { "on", flag_on }, { NULL, NULL } };
  luaL_newlib(L, methods);
}

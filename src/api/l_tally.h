/* l_tally.h: what weir.counter, weir.budget and weir.flag have in common: a userdata that holds one
 * tally of the process (relay/tally.h) for as long as the VM knows it.
 *
 * Made while a configuration loads, used in hooks. In a VM without a process behind it (weir check)
 * they hold nothing, and count nothing. All functions run inside a protected call, but for the
 * release when the VM ends. */
#ifndef WR_API_L_TALLY_H
#define WR_API_L_TALLY_H

#include <lua.h>

#include "relay/tally.h"

struct wr_ltally {
  uint32_t type;
  uint32_t kind; /* enum wr_tally_kind */
  uint64_t epoch; /* as in struct wr_handle; it doesn't expire */
  struct wr_tally *tally; /* ref; NULL: none */
  char name[WR_TALLY_NAME_MAX_BYTES + 1];
};

/* Pushes a new one. The options are valid. WR_OK also without a process; the error is that of
 * wr_tally_get, and then it counts nothing. */
WR_MUST_USE enum wr_err wr_ltally_push(lua_State *L, const struct wr_tally_options *options);
/* Argument 1, of that kind, in a hook; raises otherwise. method: "add". */
struct wr_ltally *wr_ltally_check(lua_State *L, enum wr_tally_kind kind, const char *method);
/* The tag of the key at arg, a string, a number or a view; 0 without a process. Raises. */
uint64_t wr_ltally_tag(lua_State *L, const struct wr_ltally *t, int arg);
/* The whole number at arg, not below 0; raises. what: how a message calls it. */
int64_t wr_ltally_count(lua_State *L, const struct wr_ltally *t, int arg, const char *what);
uint64_t wr_ltally_now_us(lua_State *L);

/* Each pushes a table of methods. */
void wr_lcounter_open(lua_State *L);
void wr_lbudget_open(lua_State *L);
void wr_lflag_open(lua_State *L);

#endif

/* load_option.h: the options of plugins: a schema written in Lua, and values checked against it.
 * Part of the loader (load_int.h); called inside a protected call only. */
#ifndef WR_POLICY_LOAD_OPTION_H
#define WR_POLICY_LOAD_OPTION_H

#include "policy/load_int.h"

/* Checks the schema at idx (nil is fine): { name = { "type", default =, min =, max =, one_of =,
 * required =, doc = } }. */
void load_option_schema(lua_State *L, struct load *l, const struct place *at, int idx);
/* Checks the table `values` against the schema at idx and pushes the frozen result, defaults filled
 * in: durations as seconds, sizes as bytes. Names of upstreams and keys are noted, to be looked up
 * at the end. */
void load_option_values(lua_State *L, struct load *l, const struct place *at, int idx, int values);
/* The noted names, once everything is declared. */
void load_option_names(struct load *l);

#endif

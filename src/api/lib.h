/* lib.h: the standard library as scripts get it: bounded, and without what can't be interrupted.
 *
 * Each function runs inside a protected call, and leaves one table on the stack. wr_lib_string and
 * wr_lib_utf8 take the stock library from the top of the stack and leave theirs in its place. */
#ifndef WR_API_LIB_H
#define WR_API_LIB_H

#include <lauxlib.h>
#include <lua.h>

#include "api/budget.h"

/* Stock functions that do work in proportion to their string arguments, charged for it before they
 * run. */
void wr_lib_string(lua_State *L);
void wr_lib_utf8(lua_State *L);
void wr_lib_table(lua_State *L);
/* setmetatable, rawset, xpcall: into the table on top, which keeps its place. The stock pcall is
 * the value right below it. */
void wr_lib_base(lua_State *L);
/* random: into the table on top. */
void wr_lib_random(lua_State *L);
/* print, which logs: into the table on top. */
void wr_lib_print(lua_State *L);
/* log, now, date, random: into the table on top (behind the global weir). */
void wr_lib_weir(lua_State *L);
/* live: into the table on top. */
void wr_lib_live(lua_State *L);
/* Replaces the table on top by a closed one that reads from it; see wr_vm_freeze. */
void wr_lib_freeze(lua_State *L, const char *what);

/* Reading what isn't in the table on top raises from now on, and names what is like it. */
void wr_lib_strict(lua_State *L, const char *what);

/* As luaL_error, but the place is the innermost line of a script, also behind functions in C such
 * as tostring or pcall. Doesn't return. */
int wr_lib_error(lua_State *L, const char *format, ...);

/* An argument that is a string, a number or a live view, as bytes; raises otherwise. */
struct wr_span wr_lib_bytes(lua_State *L, int arg);
/* As string.sub reads i and j: 1-based, negative from the end; gives an offset and a length within
 * `len`. */
void wr_lib_range(lua_State *L, int arg_i, int arg_j, size_t len, size_t *off, size_t *n);
/* Pushes i, j and the captures of a search, or nil; raises for a bad pattern or a spent budget.
 * arg_init and the one behind it are as in string.find. */
int wr_lib_find(lua_State *L, struct wr_span subject, struct wr_span pattern, int arg_init);

#endif

/* budget.h: how much a protected call may use, in instructions, time and memory.
 *
 * A count hook takes instructions off `left` and looks at the clock; C functions that do more than
 * a little work charge for it. Once a limit is met the script can't go on: the error is raised as
 * Lua's memory error, which runs no handler, and raised again at the next instruction if something
 * caught it. Everything here belongs to the VM's thread. */
#ifndef WR_API_BUDGET_H
#define WR_API_BUDGET_H

#include <lua.h>

#include "api/script.h"
#include "base/check.h"

static inline struct wr_script *wr_script_of(lua_State *L) {
  struct wr_script *s = *(struct wr_script **)lua_getextraspace(L);
  WR_DCHECK(s->magic == WR_SCRIPT_MAGIC);
  return s;
}

/* Begins and ends the outermost protected call. */
void wr_budget_arm(lua_State *L, uint32_t instructions, uint32_t wall_ms);
void wr_budget_disarm(lua_State *L);

/* Notes file and line of the innermost Lua function and raises; doesn't return. */
WR_NORETURN void wr_budget_trip(lua_State *L, enum wr_limit limit);
/* From the allocator: the limit is met, or the clock must be looked at soon; the next instruction
 * does. */
void wr_budget_hurry(lua_State *L);

/* Takes steps (a byte compared, an element moved: one) off the call's instructions. Raises when
 * none are left. */
static inline void wr_budget_charge(lua_State *L, size_t steps) {
  struct wr_script *s = wr_script_of(L);
  if (!s->armed) return;
  if (steps > (size_t)INT32_MAX) steps = (size_t)INT32_MAX;
  s->left -= (int64_t)steps;
  if (s->left < 0) wr_budget_trip(L, WR_LIMIT_INSTRUCTIONS);
}
/* The same for bytes that are copied or scanned: 16 a step. */
static inline void wr_budget_charge_bytes(lua_State *L, size_t bytes) {
  wr_budget_charge(L, bytes / 16 + 1);
}

#endif

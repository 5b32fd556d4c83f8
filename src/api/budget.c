#include "api/budget.h"

#include <stdio.h>
#include <time.h>

/* Instructions between two looks at the clock. The first look is early, because it starts the time;
 * then they get rarer while they find little time gone, and more frequent when single instructions
 * are slow. */
#define QUANTUM_FIRST 100
#define QUANTUM_MAX 1000
#define QUANTUM_MIN 8
/* While a value is large, one instruction (a comparison, a concatenation) may take as long as 1000.
 */
#define QUANTUM_BIG 16
#define SLOW_US 1000

static uint64_t real_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void note_where(lua_State *L, struct wr_script *s) {
  if (s->where[0]) return;
  lua_Debug ar;
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    if (!lua_getinfo(L, "Sl", &ar) || ar.currentline <= 0) continue;
    snprintf(s->where, sizeof s->where, "%s:%d: ", ar.short_src, ar.currentline);
    return;
  }
}

/* The text is Lua's own preallocated one: lua_error knows it by identity and makes it a memory
 * error. */
static WR_NORETURN void raise_limit(lua_State *L) {
  lua_pushliteral(L, "not enough memory");
  lua_error(L);
  WR_CHECK(false);
  __builtin_unreachable();
}

static uint32_t next_quantum(const struct wr_script *s, uint64_t elapsed_us) {
  uint32_t q = s->quantum < QUANTUM_FIRST ? QUANTUM_FIRST : s->quantum * 2;
  if (elapsed_us > SLOW_US) q = s->quantum / 8;
  if (q > QUANTUM_MAX) q = QUANTUM_MAX;
  if (q > QUANTUM_BIG && s->big_values) q = QUANTUM_BIG;
  if (q < QUANTUM_MIN) q = QUANTUM_MIN;
  return q > s->left ? (uint32_t)s->left : q;
}

static void count_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  struct wr_script *s = wr_script_of(L);
  if (s->limit != WR_LIMIT_NONE) wr_budget_trip(L, s->limit);
  s->left -= s->quantum;
  if (s->left <= 0) wr_budget_trip(L, WR_LIMIT_INSTRUCTIONS);
  uint64_t now = real_us();
  if (s->deadline_us == 0) {
    s->deadline_us = now + (uint64_t)s->wall_ms * 1000;
    s->looked_us = now;
  }
  if (now > s->deadline_us) wr_budget_trip(L, WR_LIMIT_TIME);
  uint32_t quantum = next_quantum(s, now - s->looked_us);
  s->looked_us = now;
  if (quantum == s->quantum) return;
  s->quantum = quantum;
  lua_sethook(L, count_hook, LUA_MASKCOUNT, (int)quantum);
}

void wr_budget_arm(lua_State *L, uint32_t instructions, uint32_t wall_ms) {
  struct wr_script *s = wr_script_of(L);
  WR_DCHECK(!s->armed && instructions > 0);
  s->armed = true;
  s->limit = WR_LIMIT_NONE;
  s->instructions = instructions;
  s->left = instructions;
  s->wall_ms = wall_ms;
  s->deadline_us = 0;
  s->where[0] = '\0';
  s->quantum = s->big_values ? QUANTUM_BIG : QUANTUM_FIRST;
  if (s->quantum > instructions) s->quantum = instructions;
  lua_sethook(L, count_hook, LUA_MASKCOUNT, (int)s->quantum);
}

void wr_budget_disarm(lua_State *L) {
  wr_script_of(L)->armed = false;
  /* The hook stays: nothing runs outside a protected call, and the next one sets it anew. */
}

void wr_budget_trip(lua_State *L, enum wr_limit limit) {
  struct wr_script *s = wr_script_of(L);
  if (s->limit == WR_LIMIT_NONE) s->limit = (uint8_t)limit;
  note_where(L, s);
  wr_budget_hurry(L);
  raise_limit(L);
}

void wr_budget_hurry(lua_State *L) {
  struct wr_script *s = wr_script_of(L);
  s->quantum = 1;
  lua_sethook(L, count_hook, LUA_MASKCOUNT, 1);
}

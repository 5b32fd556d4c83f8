#include "conf/ladder.h"

#include "base/check.h"

#define BIT(action) (1u << WR_ACTION_##action)
#define PERCENT(n) ((n) * (WR_LADDER_FULL / 100u))
#define GENTLE (BIT(SHRINK_BUFFERS) | BIT(EMPTY_SHELF) | BIT(NO_HEDGE))

const char *wr_meter_name(enum wr_meter meter) {
  static const char *const names[WR_METERS] = { "memory", "process", "stall", "loop_lag" };
  return (unsigned)meter < WR_METERS ? names[meter] : "?";
}

bool wr_meter_is_time(enum wr_meter meter) { return meter == WR_METER_LOOP_LAG; }

const char *wr_action_name(enum wr_action action) {
  static const char *const names[WR_ACTIONS] = {
    "coalesce",   "shrink_buffers", "no_hedge", "no_retry", "empty_shelf",
    "cap_output", "route",          "shed",     "shed",     "stop_largest",
  };
  return (unsigned)action < WR_ACTIONS ? names[action] : "?";
}

/* Gentle: nothing here changes what an answer says, and no stream ends. The pool refuses new
 * requests at 90 % anyway; the step says so to all of them, and until there is room again. */
static const struct wr_conf_step memory[] = {
  { .at = PERCENT(70), .off = PERCENT(60), .actions = GENTLE },
  { .at = PERCENT(90), .off = PERCENT(80), .actions = BIT(SHED_ALL) },
};
/* Above its limit a process is killed with every stream that it has. */
static const struct wr_conf_step process[] = {
  { .at = PERCENT(85), .off = PERCENT(75), .actions = GENTLE },
  { .at = PERCENT(95), .off = PERCENT(90), .actions = BIT(SHED_ALL) },
};

void wr_conf_ladder_default(enum wr_meter meter, struct wr_conf_ladder *out) {
  WR_CHECK((unsigned)meter < WR_METERS);
  *out = (struct wr_conf_ladder){ .count = 0 };
  if (meter == WR_METER_MEMORY)
    *out = (struct wr_conf_ladder){ .steps = memory, .count = sizeof memory / sizeof memory[0] };
  if (meter == WR_METER_PROCESS)
    *out = (struct wr_conf_ladder){ .steps = process, .count = sizeof process / sizeof process[0] };
}

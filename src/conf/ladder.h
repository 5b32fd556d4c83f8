/* ladder.h: what is done when something gets short: for each meter a ladder of steps.
 *
 * Part of conf.h's plain data. A step is on from its `at` mark and off below its `off` mark; steps
 * add up. Marks are in the unit of the meter: millionths of a share, or microseconds. Static tables
 * and pure functions, any thread. To add an action: a row in ladder.c, a case where it is done
 * (relay/degrade.h says where), a line in docs/resilience.md. */
#ifndef WR_CONF_LADDER_H
#define WR_CONF_LADDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wr_meter {
  WR_METER_MEMORY,   /* share of the pool in use */
  WR_METER_PROCESS,  /* share of the memory that process or cgroup may have */
  WR_METER_STALL,    /* share of the last ten seconds in which somebody waited for memory (PSI) */
  WR_METER_LOOP_LAG, /* of one worker: how late its loop is */
  WR_METERS
};
const char *wr_meter_name(enum wr_meter meter); /* "loop_lag" … */
/* Are the meter's marks microseconds? */
bool wr_meter_is_time(enum wr_meter meter);

#define WR_LADDER_FULL 1000000u /* a share of one */
#define WR_LADDER_STEPS 8u

enum wr_action {
  WR_ACTION_COALESCE,       /* slow clients get joined text, whatever their route says */
  WR_ACTION_SHRINK_BUFFERS, /* smaller receive blocks, lower marks for slow clients */
  WR_ACTION_NO_HEDGE,
  WR_ACTION_NO_RETRY,
  WR_ACTION_EMPTY_SHELF,    /* idle upstream connections are closed */
  WR_ACTION_CAP_OUTPUT,     /* cap_output = n: on the max_tokens of new requests */
  WR_ACTION_ROUTE,          /* "route:NAME": new requests go to a cheaper group */
  WR_ACTION_SHED,           /* "shed:CLASS": new requests of that class of keys get 503 */
  WR_ACTION_SHED_ALL,       /* "shed:all" */
  WR_ACTION_STOP_LARGEST,   /* a stream a sample is ended, until the meter is below `at` */
  WR_ACTIONS
};
/* As conf.lua says it: "shed" for both, without what follows the colon. */
const char *wr_action_name(enum wr_action action);

struct wr_conf_step {
  uint32_t at, off;
  uint32_t actions;        /* bit 1 << enum wr_action */
  uint32_t cap_tokens;     /* with CAP_OUTPUT */
  uint32_t route;          /* index of a group; with ROUTE */
  const char *const *shed; /* borrowed: conf arena; names of classes; with SHED */
  uint32_t shed_count;
};

struct wr_conf_ladder {
  const struct wr_conf_step *steps; /* borrowed: conf arena or static */
  uint32_t count;                   /* at most WR_LADDER_STEPS; 0: the meter does nothing */
  int line;                         /* 0: not declared, this is the default */
};

/* What holds for meters that nobody declared. */
void wr_conf_ladder_default(enum wr_meter meter, struct wr_conf_ladder *out);

#endif

/* The table of schema.h for weir.pressure: one step of a ladder. */
#include "conf/conf.h"
#include "conf/schema.h"

#define AT(type, member) (uint16_t) offsetof(struct type, member)

static const struct wr_option step_fields[] = {
  { .name = "at",
    .type = WR_OPT_MARK,
    .offset = AT(wr_conf_step, at),
    .required = true,
    .doc = "the step is on from here; above that of the step before" },
  { .name = "off",
    .type = WR_OPT_MARK,
    .offset = AT(wr_conf_step, off),
    .doc = "and off when three samples in a row were below here; default: a tenth of the whole "
           "below `at`, of `loop_lag` half of it" },
  { .name = "[1] …",
    .type = WR_OPT_NAMES,
    .doc = "actions, as below" },
  { .name = "cap_output",
    .type = WR_OPT_INTEGER,
    .offset = AT(wr_conf_step, cap_tokens),
    .min = 1,
    .doc = "cap on `max_tokens` of new requests" },
};

const struct wr_schema wr_schema_pressure = {
  .name = "pressure",
  .form = "weir.pressure \"METER\" { { … }, … }",
  .doc = "What is done when something gets short: a ladder of at most eight steps, which add up. "
         "Meters: `memory` (share of `server.memory` in use), `process` (share of what the process "
         "or its cgroup may have), `stall` (share of the last ten seconds in which somebody waited "
         "for memory, as the kernel's PSI counts), `loop_lag` (how late a worker's loop is: a "
         "duration). Actions: `coalesce`, `shrink_buffers`, `no_hedge`, `no_retry`, `empty_shelf`, "
         "`route:GROUP`, `shed:CLASS`, `shed:all`, `stop_largest`; "
         "[resilience.md](resilience.md#when-memory-or-time-is-short) explains them, and what "
         "holds where nothing is declared. `{}` turns a meter off.",
  .example = "weir.pressure \"memory\" {\n"
             "  { at = 0.70, off = 0.60, \"coalesce\", \"shrink_buffers\" },\n"
             "  { at = 0.80, off = 0.70, \"shed:batch\", cap_output = 1024 },\n"
             "  { at = 0.90, off = 0.80, \"shed:all\" },\n"
             "  { at = 0.96, off = 0.90, \"stop_largest\" },\n"
             "}\n"
             "weir.pressure \"loop_lag\" { { at = \"50ms\", off = \"20ms\", \"no_hedge\" } }",
  .fields = step_fields,
  .field_count = sizeof step_fields / sizeof step_fields[0],
};

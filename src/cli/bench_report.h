/* bench_report.h: what `weir bench` prints: a line while it runs, a table or JSON at the end. */
#ifndef WR_CLI_BENCH_REPORT_H
#define WR_CLI_BENCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/bench_probe.h"
#include "load/load.h"

/* Plain data; pointers are borrowed for the call. */
struct wr_bench_result {
  const char *url;  /* borrowed: argv */
  const char *mode; /* borrowed: static */
  const struct wr_load_plan *plan;     /* borrowed */
  const struct wr_load_totals *totals; /* borrowed: the load's */
  const char *figure;   /* borrowed: static; what the interval is of */
  double width;         /* of its interval, a share; negative: unknown */
  double seconds;       /* measured */
  double own_cpu;       /* of the load generator, in cores */
  uint32_t open;        /* streams at the end */
  uint64_t backlog;     /* streams that were due and never began */
  bool probed;
  struct wr_bench_usage before, after;
};

/* A figure a second for the line: overwrites the one before. */
void wr_bench_progress(double at_s, const struct wr_load *load, double events_s, double width);
void wr_bench_progress_end(void);
void wr_bench_print_table(const struct wr_bench_result *r);
void wr_bench_print_json(const struct wr_bench_result *r);

#endif

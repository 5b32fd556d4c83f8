/* bench_probe.h: what processes have used, from /proc, and what a weir says of itself.
 *
 * Reads small files; to be asked a few times a second at most. One thread. */
#ifndef WR_CLI_BENCH_PROBE_H
#define WR_CLI_BENCH_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "net/addr.h"

#define WR_BENCH_MAX_PIDS 16

struct wr_bench_probe {
  int pids[WR_BENCH_MAX_PIDS];
  size_t count;
  struct wr_addr admin;
  bool has_admin;
};

struct wr_bench_usage {
  uint64_t cpu_ns;      /* of all threads that live */
  uint64_t rss_kb;
  uint64_t own_kb;      /* pages that would go with the processes: anonymous and shared ones */
  uint64_t switches;    /* of context, wanted or not */
  uint64_t allocations; /* of a weir's heap, if has_allocations */
  bool has_allocations;
};

/* "123" or "123,124". False: malformed, or too many. */
bool wr_bench_probe_pids(struct wr_bench_probe *p, struct wr_span text);
/* Only the CPU time, which is cheap. */
uint64_t wr_bench_probe_cpu_ns(const struct wr_bench_probe *p);
/* False: a process is gone, or can't be read. */
bool wr_bench_probe_read(const struct wr_bench_probe *p, struct wr_bench_usage *out);

#endif

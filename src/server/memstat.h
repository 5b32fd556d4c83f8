/* memstat.h: how much memory the process has of what it may have, as the system tells.
 *
 * The tightest limit counts: of the process's control group and those above it (version 2, or the
 * memory controller of version 1), or the one that the configuration names; without any, the
 * machine's memory. Of a group counts what can't be reclaimed: pages of files don't. PSI is the
 * group's where there is one, else the machine's. Files are read at each sample, on the main
 * thread. Caller's storage. */
#ifndef WR_SERVER_MEMSTAT_H
#define WR_SERVER_MEMSTAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define WR_MEMSTAT_PATH_BYTES 512u

struct wr_memstat {
  char root[128];                    /* in front of every name; "" but in tests */
  char group[WR_MEMSTAT_PATH_BYTES]; /* folder of the group with the tightest limit; "": none */
  char psi[WR_MEMSTAT_PATH_BYTES + 32]; /* "": the kernel has none */
  bool v1;
  uint64_t limit_bytes; /* of the group, the configuration or the machine */
};

/* limit_bytes: of the configuration, or 0. root: "", or a test's. */
void wr_memstat_init(struct wr_memstat *m, const char *root, uint64_t limit_bytes);
/* Millionths; 0 when nothing is known. */
uint32_t wr_memstat_share(const struct wr_memstat *m);
uint32_t wr_memstat_stall(const struct wr_memstat *m);

#endif

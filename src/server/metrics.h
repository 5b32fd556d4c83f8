/* metrics.h: gathers what all parts count into one page of metrics. */
#ifndef WR_SERVER_METRICS_H
#define WR_SERVER_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/ledger.h"
#include "net/loop.h"
#include "obs/log.h"
#include "obs/prom.h"
#include "relay/relay.h"
#include "relay/tally.h"
#include "server/reload.h"

/* One worker's counters; any may be NULL. All are read while their owners write. */
struct wr_server_shard {
  struct wr_metrics *metrics;         /* borrowed: the worker's, as are all here */
  const struct wr_relay_stats *relay; /* borrowed: as above */
  const struct wr_loop_stats *loop;   /* borrowed: as above */
  const struct wr_logger *logger;     /* borrowed: as above */
  uint32_t worker;                    /* its number, for the label */
};

/* What is one for the process. */
struct wr_server_gauges {
  const struct wr_ledger *ledger; /* borrowed: the process's; may be NULL */
  struct wr_peer_book *book;       /* borrowed: the process's; may be NULL */
  uint64_t now_ms;                 /* of the loops' clock */
  const struct wr_relay_shared *shared; /* borrowed: the process's; may be NULL */
  struct wr_tallies *tallies;     /* borrowed: the process's; may be NULL */
  uint64_t started_unix_s;
  uint64_t generation; /* number of the newest */
  uint32_t generations_live;
  uint64_t reloads[WR_RELOAD_RESULTS]; /* by enum wr_reload_result */
  bool draining;
};

/* Any thread. The caller flushes out. */
void wr_server_metrics_print(const struct wr_server_shard *shards, size_t n,
                             const struct wr_server_gauges *gauges, struct wr_prom *out);

#endif

/* status.h: what the admin pages /status and /flags say. */
#ifndef WR_SERVER_STATUS_H
#define WR_SERVER_STATUS_H

#include "base/buf.h"
#include "obs/prom.h"
#include "relay/tally.h"
#include "server/worker.h"

/* Bytes that one worker's row takes at most. */
#define WR_STATUS_ROW_BYTES 2048u

/* One row of JSON. On the worker's thread. */
void wr_status_worker(struct wr_worker *worker, struct wr_buf *out);
/* [{"name":"night","on":true}]. Main thread. */
void wr_status_flags(struct wr_tallies *tallies, wr_prom_sink_fn sink, void *sink_ctx);

#endif

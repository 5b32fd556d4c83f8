/* tracing.h: a trace of all workers: switched on and off, and gathered into one file.
 *
 * On the main loop. Each worker's ring (obs/trace.h) belongs to its thread, so a letter goes from
 * one to the next. */
#ifndef WR_SERVER_TRACING_H
#define WR_SERVER_TRACING_H

#include "server/worker.h"

enum wr_tracing_what { WR_TRACING_ON, WR_TRACING_OFF, WR_TRACING_TAKE };

struct wr_tracing {
  struct wr_worker **workers; /* borrowed: outlive every question */
  uint32_t worker_count;
  struct wr_mailbox *mailbox; /* borrowed: the main loop's */
  uint32_t asks;              /* under way */
  /* The answer to wr_tracing_ask, on the main loop; json is borrowed for the call. */
  void (*done)(void *ctx, uint64_t token, unsigned status, struct wr_span json);
  void *ctx;                  /* borrowed: whoever asks */
};

/* last_ms: for TAKE. WR_E_NOMEM: nothing was asked. */
WR_MUST_USE enum wr_err wr_tracing_ask(struct wr_tracing *t, enum wr_tracing_what what,
                                       uint64_t last_ms, uint64_t token);

#endif

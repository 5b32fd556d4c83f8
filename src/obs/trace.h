/* trace.h: what a thread did last: a ring of fixed records, off until somebody asks.
 *
 * A thread that traces has a ring of its own; nobody else touches it. While it is off, a place
 * that would record costs one test. While it is on, a record costs a clock call and 40 bytes of
 * the ring; the oldest are overwritten. The file is in the Trace Event Format that Perfetto and
 * chrome://tracing open: steps of a session as spans of its id, calls and writes as slices of the
 * thread, blocks as instants. */
#ifndef WR_OBS_TRACE_H
#define WR_OBS_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct wr_trace;

enum wr_trace_kind {
  WR_TRACE_STEP_BEGIN, /* of a session; id: the session's */
  WR_TRACE_STEP_END,
  WR_TRACE_LUA,   /* a call into a script; a slice */
  WR_TRACE_WRITE, /* a write to a socket; a slice; bytes: that it took */
  WR_TRACE_BLOCK_GET, /* bytes: of the block */
  WR_TRACE_BLOCK_PUT,
  WR_TRACE_KINDS
};

/* The calling thread's ring; NULL: off. */
extern _Thread_local struct wr_trace *wr_trace_here;
static inline bool wr_tracing(void) { return __builtin_expect(wr_trace_here != NULL, 0); }

/* records: 64 .. 2^20, a power of two. The thread's own; on again: starts empty. WR_E_NOMEM. */
WR_MUST_USE enum wr_err wr_trace_on(size_t records);
void wr_trace_off(void);

/* CLOCK_MONOTONIC. */
uint64_t wr_trace_now_ns(void);
/* While wr_tracing() only. name: static. began_ns: of a slice; otherwise 0: now. */
void wr_trace_put(enum wr_trace_kind kind, const char *name, uint64_t id, uint64_t began_ns,
                  size_t bytes);

/* The calling thread's records of the last so many nanoseconds, oldest first, as JSON objects with
 * a comma behind each. thread: shown as the thread's number. Nothing while it is off. */
void wr_trace_print(uint32_t thread, uint64_t last_ns,
                    void (*put)(void *ctx, struct wr_span text), void *ctx);

#endif

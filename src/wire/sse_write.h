/* sse_write.h: writes server-sent events into a buffer (base/buf.h), and the constants of the
 * dialects.
 *
 * Lines end in LF. No id: and no retry: is written unless asked for. A value can't inject a line:
 * line ends in data make further data lines, a name with one is refused. Pure functions; any
 * thread. */
#ifndef WR_WIRE_SSE_WRITE_H
#define WR_WIRE_SSE_WRITE_H

#include "base/err.h"
#include "base/span.h"

struct wr_buf;

/* Whole events; static. */
#define WR_SSE_HEARTBEAT WR_SPAN(":\n\n")
/* Where ids are on: a comment line that doesn't dispatch. */
#define WR_SSE_HEARTBEAT_IDS WR_SPAN(":\n")
#define WR_SSE_ANTHROPIC_PING WR_SPAN("event: ping\ndata: {\"type\": \"ping\"}\n\n")
#define WR_SSE_DONE WR_SPAN("data: [DONE]\n\n")

/* Pieces, for a frame that is gathered around bytes that stay where they are (data without CR or
 * LF). */
#define WR_SSE_EVENT_PREFIX WR_SPAN("event: ")
#define WR_SSE_DATA_PREFIX WR_SPAN("data: ")
#define WR_SSE_LINE_END WR_SPAN("\n")
#define WR_SSE_EVENT_END WR_SPAN("\n\n")

/* One whole event: `event: name` unless name is empty, data lines, blank line. Data is split at
 * LF, CR and CRLF; empty data gives one empty data line. WR_E_ARG: CR, LF or NUL in the name
 * (nothing is written). WR_E_AGAIN: `out` is full. */
WR_MUST_USE enum wr_err wr_sse_write_event(struct wr_buf *out, struct wr_span name,
                                           struct wr_span data);
/* The parts of one, in any number: each writes whole lines, wr_sse_write_end the blank one. */
WR_MUST_USE enum wr_err wr_sse_write_name(struct wr_buf *out, struct wr_span name);
WR_MUST_USE enum wr_err wr_sse_write_id(struct wr_buf *out, struct wr_span id);
WR_MUST_USE enum wr_err wr_sse_write_data(struct wr_buf *out, struct wr_span data);
WR_MUST_USE enum wr_err wr_sse_write_comment(struct wr_buf *out, struct wr_span text);
WR_MUST_USE enum wr_err wr_sse_write_end(struct wr_buf *out);
/* True when data holds neither CR nor LF: one data line carries it as it is. */
bool wr_sse_is_one_line(struct wr_span data);

#endif

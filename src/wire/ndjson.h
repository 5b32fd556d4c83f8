/* ndjson.h: cuts a byte stream into lines (newline-delimited JSON, as Ollama streams it), without
 * copying.
 *
 * As sse_parse.h: fed in pieces split anywhere, keeps no bytes, offsets count from the line's
 * first byte, and the sum of `consumed` is the stream. A line ends in LF or CRLF. A pure codec:
 * caller's storage, any one thread. */
#ifndef WR_WIRE_NDJSON_H
#define WR_WIRE_NDJSON_H

#include "base/err.h"
#include "base/span.h"

#define WR_NDJSON_MAX_LINE_BYTES (1u << 20)

struct wr_ndjson {
  uint32_t max_bytes;
  uint32_t pos;    /* bytes of the current line that earlier calls consumed */
  bool last_cr;    /* the last of them is a CR */
  bool failed;
};

struct wr_ndjson_line {
  uint32_t bytes;         /* with its line end */
  struct wr_extent text; /* without it; an empty line is reported, the caller skips it (len 0) */
};

/* max_line_bytes counts the line end: 1 .. 2^30; 0 stands for WR_NDJSON_MAX_LINE_BYTES. */
void wr_ndjson_init(struct wr_ndjson *p, uint32_t max_line_bytes);
/* WR_OK, WR_E_AGAIN and WR_E_EVENT_TOO_LARGE as wr_sse_next. */
WR_MUST_USE enum wr_err wr_ndjson_next(struct wr_ndjson *p, struct wr_span in, size_t *consumed,
                                       struct wr_ndjson_line *line);
static inline uint32_t wr_ndjson_pending(const struct wr_ndjson *p) { return p->pos; }
/* At the stream's end. WR_OK: a last line without line end was pending and is *line (whether it is
 * whole, its JSON tells). WR_E_END: nothing was. */
WR_MUST_USE enum wr_err wr_ndjson_finish(struct wr_ndjson *p, struct wr_ndjson_line *line);

#endif

/* sse_parse.h: cuts a byte stream into server-sent events (WHATWG EventSource), without copying.
 *
 * The parser is fed the stream in pieces split anywhere and keeps no bytes: the caller holds those
 * of the event that is not complete yet (wr_sse_pending says how many). Offsets count from the
 * first byte of the event. Every byte belongs to exactly one event: the sum of `consumed`, and of
 * the events' `bytes`, is the stream, so raw pass-through is exact.
 *
 * What belongs where: a byte order mark is part of the first event. A blank line that ends in CR
 * ends its event at once; an LF behind it belongs to the same event when it stands in the same
 * input, else it becomes the first byte of the next event (whose extents account for it). A pure
 * codec: caller's storage, any one thread, nothing to free. */
#ifndef WR_WIRE_SSE_PARSE_H
#define WR_WIRE_SSE_PARSE_H

#include "base/err.h"
#include "base/span.h"

#define WR_SSE_MAX_EVENT_BYTES (1u << 20)

enum wr_sse_kind {
  WR_SSE_EVENT, /* has at least one data line (its data may be empty) */
  WR_SSE_COMMENT_ONLY, /* nothing but comments: a heartbeat */
  WR_SSE_EMPTY /* what a browser doesn't dispatch: blank, or only event:, id:, retry:, others */
};

struct wr_sse_event {
  uint32_t bytes;         /* the whole block with its blank line */
  struct wr_extent name;  /* the last event: value; len 0 when there is none */
  struct wr_extent data; /* the data line's value; of several, first start to last end */
  uint8_t kind;           /* enum wr_sse_kind */
  bool multi_data;        /* several data lines: wr_sse_join_data makes the value */
  bool has_id;
  bool has_retry;
};

/* Fields are private but for reading through the functions below. */
struct wr_sse_parser {
  uint32_t max_bytes;
  uint32_t pos;        /* bytes of the current event that were consumed by earlier calls */
  uint32_t line;       /* offset of the current line's first byte */
  uint32_t name_off;
  uint32_t name_len;
  uint32_t data_off;
  uint32_t data_end;
  uint8_t head[8];     /* first bytes of a line that began in an earlier call */
  uint8_t data_lines;  /* 0, 1, or 2 for more */
  uint8_t flags;
  uint8_t start; /* bytes of a byte order mark seen at the stream's start, or a state past it */
  uint8_t after_cr;    /* the last byte was a CR: an LF here belongs to it */
  bool failed;
};

/* max_event_bytes: 1 .. 2^30; 0 stands for WR_SSE_MAX_EVENT_BYTES. Also starts a parser anew. */
void wr_sse_init(struct wr_sse_parser *p, uint32_t max_event_bytes);

/* Feeds the bytes that follow those consumed so far. WR_OK: *ev is complete and *consumed bytes of
 * `in` belong to it (call again with the rest). WR_E_AGAIN: all of `in` was consumed and the event
 * goes on. WR_E_EVENT_TOO_LARGE: the event is longer than the cap; the parser stays in this error,
 * *consumed is 0. */
WR_MUST_USE enum wr_err wr_sse_next(struct wr_sse_parser *p, struct wr_span in, size_t *consumed,
                                    struct wr_sse_event *ev);

/* Bytes of the incomplete event that earlier calls consumed. */
static inline uint32_t wr_sse_pending(const struct wr_sse_parser *p) { return p->pos; }

/* At the stream's end. WR_OK: nothing but a byte order mark or the LF of a CRLF is pending.
 * WR_E_TRUNCATED: a block without its blank line is, and must not be taken as an event. */
WR_MUST_USE enum wr_err wr_sse_finish(const struct wr_sse_parser *p);

struct wr_buf;
/* Appends the event's data, lines joined with LF; `raw` are the bytes of the event, from its first.
 * Never longer than ev->data. WR_E_AGAIN: `out` is full. WR_E_ARG: raw is too short. */
WR_MUST_USE enum wr_err wr_sse_join_data(struct wr_span raw, const struct wr_sse_event *ev,
                                         struct wr_buf *out);

#endif

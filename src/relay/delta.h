/* delta.h: events that are nothing but a piece of text, and how two of them become one.
 *
 * An event is a pure delta when it carries exactly one text (or reasoning, or the arguments of a
 * tool call) and nothing else that could be lost: no finish reason, usage, name, log
 * probabilities, second choice, event id. Two of them may be joined when they agree byte for byte
 * outside of that text; only the number of a Responses event, and what means nothing (padding, an
 * Ollama line's time), may differ too. So joining never decides about a field that it doesn't
 * know: what differs keeps the two apart.
 *
 * Pure functions of the bytes. The programs are compiled once a worker, on first use. */
#ifndef WR_RELAY_DELTA_H
#define WR_RELAY_DELTA_H

#include "relay/dialect.h"
#include "wire/json_scan.h"

/* About 30 KiB; caller's storage, nothing to free. */
struct wr_deltas {
  struct wr_json_prog progs[WR_DIALECTS]; /* of NONE: unused */
};

struct wr_delta {
  struct wr_span bytes;     /* borrowed: the event as it was read */
  struct wr_extent text;    /* of the literal's content, without quotes; never empty */
  struct wr_extent number;  /* of the event's number; len 0: it has none */
  struct wr_extent noise;   /* of a string's content that may differ; off 0: it has none */
  uint32_t index;           /* of the choice or content block */
  uint8_t kind;             /* WR_EVENT_TEXT, _REASONING or _TOOL */
};

WR_MUST_USE enum wr_err wr_deltas_init(struct wr_deltas *deltas);

/* Is this one whole event (lines: one line of NDJSON) that is a pure delta? The spans of *out
 * borrow from bytes. */
bool wr_delta_read(const struct wr_deltas *deltas, enum wr_dialect dialect, bool lines,
                   struct wr_span bytes, struct wr_delta *out);
/* Do these bytes equal the delta but for what may differ? Then *text is the content of their
 * literal and *number their number (empty without one), borrowed from bytes. */
bool wr_delta_same(const struct wr_delta *delta, struct wr_span bytes, struct wr_span *text,
                   struct wr_span *number);

struct wr_buf;
/* The delta with another text and number (empty: its own). WR_E_AGAIN: `out` is full. */
WR_MUST_USE enum wr_err wr_delta_write(const struct wr_delta *delta, struct wr_span text,
                                       struct wr_span number, struct wr_buf *out);

#endif

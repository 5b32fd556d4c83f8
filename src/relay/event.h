/* event.h: what one event of a provider's stream means, whatever the dialect. */
#ifndef WR_RELAY_EVENT_H
#define WR_RELAY_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum wr_event_kind {
  WR_EVENT_UNKNOWN,
  WR_EVENT_START,     /* role chunk, message_start, response.created: lifecycle before content */
  WR_EVENT_TEXT,
  WR_EVENT_REASONING,
  WR_EVENT_TOOL,
  WR_EVENT_USAGE,
  WR_EVENT_STOP,      /* finish reason or terminator */
  WR_EVENT_PING,
  WR_EVENT_ERROR,
  WR_EVENT_KINDS
};
const char *wr_event_kind_name(enum wr_event_kind kind); /* "text" … as Lua sees it */

struct wr_usage {
  int64_t input, output, cached, reasoning; /* tokens; -1: not reported */
};

/* All spans are borrowed: valid until the next event is parsed. */
struct wr_event {
  struct wr_span raw;  /* the event as it came, blank line included */
  struct wr_span name; /* event: field, or empty */
  struct wr_span data; /* the payload (data lines joined where there were several) */
  struct wr_span
      text; /* inside data: the text's JSON literal without its quotes; empty when there is none */
  bool text_escaped;   /* text has escapes: decode before use */
  uint8_t kind;        /* enum wr_event_kind */
  uint8_t terminator;  /* this is the dialect's end of stream */
  uint8_t finish;      /* a finish reason was given */
  uint8_t content;     /* real content: passes the commit point */
  uint32_t index;      /* of the choice or content block */
};

#endif

#include "relay/event.h"

#include "base/check.h"

const char *wr_event_kind_name(enum wr_event_kind kind) {
  static const char *const names[WR_EVENT_KINDS] = { "unknown",   "start", "text",
                                                     "reasoning", "tool",  "usage",
                                                     "stop",      "ping",  "error" };
  WR_DCHECK((unsigned)kind < WR_EVENT_KINDS);
  return (unsigned)kind < WR_EVENT_KINDS ? names[kind] : names[0];
}

/* header.h: which fields a script may put into an answer's head: nothing that injects a line, and
 * nothing that frames the message. Pure functions. */
#ifndef WR_API_HEADER_H
#define WR_API_HEADER_H

#include <stdbool.h>

#include "base/span.h"

/* The name is a token of 1 to 128 bytes and not one of those that weir says itself; the value has
 * at most 1024 bytes and no control character but the tab. */
bool wr_header_allowed(struct wr_span name, struct wr_span value);

#endif

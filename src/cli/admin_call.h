/* admin_call.h: one request to a running weir's admin listener, from a command that waits for it.
 * Blocking; at most 15 s without a byte. */
#ifndef WR_CLI_ADMIN_CALL_H
#define WR_CLI_ADMIN_CALL_H

#include <stdbool.h>

#include "base/buf.h"
#include "net/addr.h"

/* request: "GET /metrics". Appends the whole answer, head included. False: errno says why. */
WR_MUST_USE bool wr_admin_call(const struct wr_addr *addr, const char *request,
                               struct wr_buf *out);
/* What stands behind the head; empty when there is no head. */
struct wr_span wr_admin_body(struct wr_span answer);

#endif

/* admin_call.h: one request to a running weir's admin listener, from a command that waits for it.
 * Blocking; at most 15 s without a byte. */
#ifndef WR_CLI_ADMIN_CALL_H
#define WR_CLI_ADMIN_CALL_H

#include <stdbool.h>

#include "base/buf.h"
#include "net/addr.h"

/* Where the admin listener is: at `admin` as the user wrote it, or else where the configuration
 * `file` says. 0, or the command's exit code, after an error that names the command. */
WR_MUST_USE int wr_admin_find(const char *command, const char *file, const char *admin,
                              struct wr_addr *out);

/* request: "GET /metrics". Appends the whole answer, head included. False: errno says why. */
WR_MUST_USE bool wr_admin_call(const struct wr_addr *addr, const char *request,
                               struct wr_buf *out);
/* What stands behind the head; empty when there is no head. */
struct wr_span wr_admin_body(struct wr_span answer);

#endif

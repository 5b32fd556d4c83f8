/* dial.h: a connection to a peer: from the shelf, or resolved, connected and shaken hands with.
 *
 * Embedded in the attempt. The owner's task is marked on each change and polls. Addresses of a
 * name are tried one after the other until one answers: each connection begins with the next of
 * them, and those that failed in the last half minute come last. Loop thread only. */
#ifndef WR_UPSTREAM_DIAL_H
#define WR_UPSTREAM_DIAL_H

#include <stdbool.h>

#include "net/conn.h"
#include "net/resolve.h"
#include "upstream/group.h"

struct wr_dial {
  struct wr_upstreams *set;   /* borrowed: outlives the dial */
  struct wr_peer *peer;       /* borrowed: held by the attempt */
  struct wr_task *owner;      /* borrowed: the session's */
  struct wr_resolve *lookup;  /* owned while under way */
  struct wr_conn *conn;       /* owned until wr_dial_poll hands it over */
  struct wr_addr *addrs;      /* owned: what a name resolved to, from the second address on */
  uint8_t addr_count, addr_next;
  uint64_t since_ms;          /* when the present address was begun with */
  uint8_t err;                /* enum wr_err: the last failure */
  bool reused;                /* from the shelf */
  char why[96];
};

/* fresh: don't look at the shelf (the last connection from there was dead). */
void wr_dial_start(struct wr_dial *dial, struct wr_upstreams *set, struct wr_peer *peer,
                   struct wr_task *owner, bool fresh);
/* WR_E_AGAIN: under way. WR_OK: *out is the caller's. RESOLVE, CONNECT, TLS, TLS_VERIFY, NOMEM:
 * failed, see `why`. */
WR_MUST_USE enum wr_err wr_dial_poll(struct wr_dial *dial, struct wr_conn **out);
/* In the TLS handshake (another deadline counts there). */
bool wr_dial_in_handshake(const struct wr_dial *dial);
/* Ends whatever is under way; harmless afterwards. */
void wr_dial_cancel(struct wr_dial *dial);

#endif

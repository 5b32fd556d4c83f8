/* peer.h: one address line of an upstream, as one worker knows it.
 *
 * Lives in the worker's set (upstream/group.h) as long as its generation. Loop thread only. */
#ifndef WR_UPSTREAM_PEER_H
#define WR_UPSTREAM_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "net/addr.h"
#include "net/tls_ctx.h"
#include "upstream/shelf.h"

struct wr_peer {
  const struct wr_conf_upstream *up; /* borrowed: the generation's configuration */
  const struct wr_conf_url *url; /* borrowed: as above; NULL for a mock, which has addr instead */
  struct wr_tls_ctx *tls;            /* borrowed: the set's; NULL: plain */
  struct wr_shelf shelf;             /* idle kept-alive connections */
  struct wr_addr addr; /* of a mock, or where wr_upstreams_redirect says; else empty */
  uint32_t index;                    /* in the set, for bit masks of tried peers (below 64) */
  uint32_t streams;                  /* attempts that hold this peer now */
  uint64_t attempts, failures;       /* since start */
};

/* What a Host field says. */
const char *wr_peer_authority(const struct wr_peer *peer);

#endif

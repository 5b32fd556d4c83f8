/* peer.h: one address of an upstream, as one worker knows it: a URL with a literal, or one of the
 * addresses that the name of a URL has now (upstream/names.h).
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

struct wr_upstreams;
struct wr_peer_state;

/* Addresses of a name that failed lately are tried last. */
#define WR_PEER_BAD_ADDRS 8u
struct wr_bad_addr {
  uint64_t hash;
  uint64_t until_ms;
};

/* The main thread opens peers too, and the clock is the worker's. */
#define WR_PEER_JUST UINT64_MAX

struct wr_peer {
  struct wr_upstreams *set;          /* borrowed: holds us */
  struct wr_peer_state *state;       /* ref: how it stands, shared by all workers; NULL: free */
  uint64_t id;                       /* a hash of upstream, URL and address */
  const struct wr_conf_upstream *up; /* borrowed: the generation's configuration */
  const struct wr_conf_url *url; /* borrowed: as above; NULL for a mock, which has addr instead */
  struct wr_tls_ctx *tls;            /* borrowed: the set's; NULL: plain */
  struct wr_shelf shelf;             /* idle kept-alive connections */
  struct wr_addr addr; /* of a mock, of a name, or where wr_upstreams_redirect says; empty: the
                          URL is looked up for each connection */
  uint32_t index;                    /* in the set, for bit masks of tried peers (below 64) */
  bool probing;                      /* who picked it last finds out how it is */
  bool live;                         /* gets new requests; else only those that run use it */
  uint64_t since_ms; /* when it came to be live; WR_PEER_JUST until somebody asks; 0: always was */
  uint32_t streams;                  /* attempts that hold this peer now */
  uint64_t attempts, failures;       /* since start */
  uint32_t weight;
  uint32_t addr_turn;                /* which address of the name is tried first */
  struct wr_bad_addr bad[WR_PEER_BAD_ADDRS];
};

/* What a Host field says. */
const char *wr_peer_authority(const struct wr_peer *peer);

#endif

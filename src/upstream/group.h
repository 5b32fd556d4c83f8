/* group.h: one worker's view of every upstream and group of a generation.
 *
 * Made when a worker starts or a configuration is swapped in, freed when the last session of
 * that generation has ended. Loop thread only. */
#ifndef WR_UPSTREAM_GROUP_H
#define WR_UPSTREAM_GROUP_H

#include "conf/conf.h"
#include "net/resolve.h"
#include "upstream/peer.h"

struct wr_upstreams;

#define WR_UPSTREAM_MAX_PEERS 64

/* mocks: for each upstream of kind mock, in the order of conf->upstreams, its address; borrowed
 * for the call. why: one sentence that names the upstream and what is wrong (a certificate that
 * can't be read, too many peers). */
WR_MUST_USE enum wr_err wr_upstreams_new(struct wr_loop *loop, struct wr_resolver *resolver,
                                         const struct wr_conf *conf, const struct wr_addr *mocks,
                                         struct wr_upstreams **out, char *why, size_t why_bytes);
/* Every peer must have been given back. */
void wr_upstreams_free(struct wr_upstreams *set);

/* The next peer of a group whose bit isn't in `tried`: round robin over the members and over
 * the addresses of each; NULL when none is left. The caller holds it until wr_peer_put. */
struct wr_peer *wr_group_pick(struct wr_upstreams *set, uint32_t group, uint64_t tried);
void wr_peer_put(struct wr_peer *peer);

/* For trials: every peer of an upstream (index of conf->upstreams) is at this address. */
void wr_upstreams_redirect(struct wr_upstreams *set, size_t upstream, const struct wr_addr *addr);

struct wr_loop *wr_upstreams_loop(struct wr_upstreams *set);
struct wr_resolver *wr_upstreams_resolver(struct wr_upstreams *set);
/* For metrics. */
size_t wr_upstreams_peer_count(const struct wr_upstreams *set);
/* TLS handshakes with upstreams so far, and how many resumed a session. */
void wr_upstreams_tls_counts(const struct wr_upstreams *set, unsigned long *handshakes,
                             unsigned long *resumed);
/* Closes the idle connections of all peers, and none is kept any more: only requests that run still
 * use the set. */
void wr_upstreams_retire(struct wr_upstreams *set);

#endif

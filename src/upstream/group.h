/* group.h: one worker's view of every upstream and group of a generation.
 *
 * Made when a worker starts or a configuration is swapped in, freed when the last session of
 * that generation has ended. Loop thread only. */
#ifndef WR_UPSTREAM_GROUP_H
#define WR_UPSTREAM_GROUP_H

#include "conf/conf.h"
#include "net/resolve.h"
#include "upstream/peer.h"

struct wr_hedging;
struct wr_retry_budget;
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

struct wr_peer_book;
struct wr_logger;
/* Right after it was made: its peers stand in the process's book from now on, and what changes is
 * logged. Both outlive the set; logger may be NULL. */
WR_MUST_USE enum wr_err wr_upstreams_join(struct wr_upstreams *set, struct wr_peer_book *book,
                                          struct wr_logger *logger);

struct wr_choice {
  uint64_t tried;  /* bit a peer: not these */
  uint64_t hash;   /* of what balance "hash" keeps together; 0: nothing */
  bool beside;     /* a second attempt beside one that runs: it is nobody's turn */
  bool any;        /* nobody was asked yet: rather a peer that is left alone than none */
};
/* The next peer of a group, by the balance of the group and then of the upstream; peers that are
 * left alone are passed over, down to the floor; the member called `last` only when no other can be
 * had. NULL when none is left. The caller holds it until wr_peer_put. */
struct wr_peer *wr_group_choose(struct wr_upstreams *set, uint32_t group,
                                const struct wr_choice *choice);
/* Those that it would choose from, as bits; nothing is held. */
uint64_t wr_group_open(const struct wr_upstreams *set, uint32_t group,
                       const struct wr_choice *choice);
/* Another address of the name that this peer is at, ready and not tried; held. NULL: there is
 * none. */
struct wr_peer *wr_peer_sibling(const struct wr_peer *peer, uint64_t tried);
/* Another hold of a peer that is held. */
void wr_peer_hold(struct wr_peer *peer);
void wr_peer_put(struct wr_peer *peer);
/* Right after wr_group_choose, instead of wr_peer_put: nothing is asked of it after all. If this
 * was the one request that finds out whether it is well again, another may; if that runs
 * elsewhere, it goes on. */
void wr_peer_unpick(struct wr_peer *peer);
/* What a group or the upstreams in it want to be hashed, or NULL: then no hash is needed. */
const struct wr_conf_hash *wr_group_hash(const struct wr_upstreams *set, uint32_t group);

/* How many streams the upstream of a peer may have at a time, over all workers; 0: no limit. */
uint32_t wr_peer_limit(const struct wr_peer *peer);

/* Four times a second or so, from the worker's timer, for the generation that new requests get:
 * active checks, and whether peers that could not be reached can be reached again. */
void wr_upstreams_tick(struct wr_upstreams *set);

/* What is known of an upstream now, over all workers. */
struct wr_upstream_view {
  const struct wr_conf_upstream *conf; /* borrowed: the generation's */
  bool healthy;                        /* at least one peer may be asked */
  bool ready;                          /* and not only by the one request that finds out */
  uint32_t streams;
  uint32_t limit;                      /* streams at a time; 0: no limit */
  uint32_t first_token_us;             /* of the fastest peer that may be asked; 0: not known */
};
/* index: of conf->upstreams. */
void wr_upstreams_view(const struct wr_upstreams *set, uint32_t index,
                       struct wr_upstream_view *out);
/* The peers of an upstream, by its index in conf->upstreams, as bits. */
uint64_t wr_upstreams_mask(const struct wr_upstreams *set, uint32_t upstream);
/* That of a group. */
struct wr_retry_budget *wr_upstreams_retry_budget(struct wr_upstreams *set, uint32_t group);

/* That of a route that hedges. */
struct wr_hedging *wr_upstreams_hedging(struct wr_upstreams *set, size_t route);

/* For trials: every peer of an upstream (index of conf->upstreams) is at this address. */
void wr_upstreams_redirect(struct wr_upstreams *set, size_t upstream, const struct wr_addr *addr);

struct wr_loop *wr_upstreams_loop(struct wr_upstreams *set);
struct wr_resolver *wr_upstreams_resolver(struct wr_upstreams *set);
/* TLS handshakes with upstreams so far, and how many resumed a session. */
void wr_upstreams_tls_counts(const struct wr_upstreams *set, unsigned long *handshakes,
                             unsigned long *resumed);
/* Closes the idle connections of all peers, and none is kept any more: only requests that run still
 * use the set. */
void wr_upstreams_retire(struct wr_upstreams *set);
/* Closes them once; others may be kept from now on. Returns how many there were. */
size_t wr_upstreams_empty(struct wr_upstreams *set);

#endif

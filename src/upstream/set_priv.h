/* set_priv.h: what the files that work on a set share. Internal to upstream/. */
#ifndef WR_UPSTREAM_SET_PRIV_H
#define WR_UPSTREAM_SET_PRIV_H

#include "base/rand.h"
#include "upstream/group.h"
#include "upstream/pick.h"
#include "upstream/state.h"

#define WR_SET_MAGIC 0x5e7u

struct wr_name;
struct wr_probe;

/* The slots of one upstream's peers. */
struct wr_peer_range {
  size_t first, count;
  uint64_t live; /* bits of the set's: those that are peers now; never none */
  uint64_t id;   /* of the upstream */
  struct wr_peer_state *limit; /* ref: the adaptive limit's; NULL: it has none */
  struct wr_pick_memory memory;
};

struct wr_upstreams {
  uint32_t magic;
  bool retired;                 /* only requests that run still use it */
  struct wr_loop *loop;         /* borrowed: the worker's */
  struct wr_resolver *resolver; /* borrowed: the worker's */
  const struct wr_conf *conf;   /* borrowed: the generation's */
  struct wr_peer_book *book;    /* borrowed: the process's; NULL: nobody shares */
  struct wr_logger *logger;     /* borrowed: the worker's; NULL: silent */
  struct wr_peer *peers;        /* owned: slots; those without a state are free */
  size_t peer_count;
  struct wr_name *names; /* owned: one a name that has several slots; NULL before the set joins */
  size_t name_count;
  size_t names_all, slots_left; /* of the configuration: what the names share */
  struct wr_peer_range *ranges;  /* owned: one an upstream */
  struct wr_pick_memory *groups; /* owned: one a group */
  int32_t *credits;              /* owned: of all memories that need them */
  struct wr_retry_budget *budgets; /* owned: one a group */
  struct wr_hedging *hedgings;   /* owned: one a route; NULL where none hedges */
  struct wr_tls_ctx **tls;       /* owned: one an upstream, or NULL */
  struct wr_probe **probes;      /* owned: one a peer, NULL where no check is under way */
  struct wr_rand rand;
};

/* A line in the log if something changed. */
void wr_set_log(struct wr_upstreams *set, const struct wr_peer *peer,
                const struct wr_standing_change *change, const char *why);

/* A slot becomes a peer, or is one again: at addr, or (NULL or empty) wherever its URL leads.
 * *news: it is an address, and the first of all workers. */
WR_MUST_USE enum wr_err wr_slot_open(struct wr_peer *peer, const struct wr_addr *addr, bool *news);
/* No new requests and checks, no idle connections. True: an address, and the last of all
 * workers. */
bool wr_slot_shut(struct wr_peer *peer);
/* It is shut and nobody holds it. */
void wr_slot_free(struct wr_peer *peer);

/* probe.c: one check of a peer. */
/* Frees itself when it has ended; wr_probe_cancel before that. */
void wr_probe_start(struct wr_upstreams *set, struct wr_peer *peer);
void wr_probe_cancel(struct wr_probe *probe);

#endif

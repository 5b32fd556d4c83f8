/* gen.h: one generation on one worker: its own VM and hooks, its upstreams with their TLS settings,
 * and what its listeners need.
 *
 * Prepared on the main thread, where nothing of the worker is touched, then handed to the worker by
 * mail; the worker gives it back by mail when the last request that began with it has ended. */
#ifndef WR_SERVER_GEN_H
#define WR_SERVER_GEN_H

#include "api/script.h"
#include "base/list.h"
#include "mem/ledger.h"
#include "mem/slab.h"
#include "net/listen.h"
#include "net/resolve.h"
#include "policy/engine.h"
#include "relay/relay.h"
#include "server/mailbox.h"
#include "net/timer.h"
#include "server/plan.h"

struct wr_worker;

/* A listener on one worker; lives until a generation comes that doesn't have it. */
struct wr_port {
  struct wr_list link;
  struct wr_worker *worker; /* borrowed: holds this */
  struct wr_listen *listen; /* owned */
  struct wr_tls_ctx *tls;   /* owned; NULL: plain */
  uint32_t number;
  uint64_t seen_handshakes, seen_resumed; /* counted already */
};

/* What a generation brings for a listener. */
struct wr_door {
  struct wr_tls_ctx *tls; /* owned until it is the port's */
  struct wr_port *port;   /* owned: a new one; NULL: the worker has it */
  int fd;                 /* owned: of a new one, bound; -1: none */
  bool owns_path;         /* and removes a Unix socket's file */
};

struct wr_gen {
  struct wr_relay_gen relay;      /* counted */
  struct wr_list link;            /* among its worker's */
  struct wr_worker *worker;       /* borrowed: outlives it */
  struct wr_plan *plan;           /* ref */
  struct wr_conf *conf;           /* owned: this VM's own copy; NULL without a VM */
  struct wr_engine *engine;       /* owned; NULL: no route has a hook */
  struct wr_upstreams *upstreams; /* owned */
  struct wr_door *doors;          /* owned: one per listen of the plan */
  struct wr_letter commit, committed, retired;
  struct wr_live live;              /* what its hooks are told */
  struct wr_relay_shared *shared;   /* borrowed: the process's */
  struct wr_ledger *ledger;         /* borrowed: the process's */
  uint64_t seen_handshakes, seen_resumed; /* counted already */
  struct wr_view_counts seen_views;
  struct wr_timer every;  /* weir.every */
  struct wr_timer retire; /* since it isn't the newest: then its streams lose their hooks */
};

struct wr_gen_options {
  struct wr_worker *worker;            /* borrowed: outlives it, as all below */
  struct wr_loop *loop;                /* borrowed: the worker's */
  struct wr_resolver *resolver;        /* borrowed: the worker's */
  struct wr_slabs *slabs;              /* borrowed: the worker's */
  struct wr_ledger *ledger;            /* borrowed: the process's */
  struct wr_relay_shared *shared;      /* borrowed: the process's */
  struct wr_tallies *tallies;          /* borrowed: the process's */
  const struct wr_script_core *core;   /* borrowed: for the call; for hooks, not while it loads */
  const char *file;                    /* borrowed: name of the configuration */
  struct wr_peer_book *book;           /* borrowed: the process's */
  struct wr_logger *logger;            /* borrowed: the worker's */
  struct wr_plan *plan;                /* borrowed: becomes a reference */
  const struct wr_plan *before;        /* borrowed: the current one; NULL: there is none */
};

/* Loads, makes and binds everything that can fail. why: one sentence. Main thread. */
WR_MUST_USE enum wr_err wr_gen_new(const struct wr_gen_options *options, struct wr_gen **out,
                                   char *why, size_t why_bytes);
/* Ends what belongs to the worker; the worker's thread, or the main thread when the worker never
 * had it or has ended. */
void wr_gen_close(struct wr_gen *gen);
/* Main thread, after it was closed. */
void wr_gen_free(struct wr_gen *gen);

#endif

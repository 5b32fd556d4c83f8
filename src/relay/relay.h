/* relay.h: one worker's relay: it takes accepted connections and makes sessions of them.
 *
 * Owned by the worker, on its loop's thread. A generation (configuration, hooks, upstreams) is
 * counted: a request keeps the one that it began with. What crosses workers stands in
 * wr_relay_shared (C11 atomics). */
#ifndef WR_RELAY_RELAY_H
#define WR_RELAY_RELAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "net/conn.h"
#include "obs/record.h"
#include "relay/degrade.h"
#include "relay/continue.h"
#include "relay/hedge.h"
#include "relay/hooks.h"
#include "relay/queue.h"
#include "relay/quota.h"
#include "relay/retry.h"
#include "upstream/group.h"

struct wr_queues;
struct wr_relay;
struct wr_session;

/* As many as four generations can have. */
#define WR_RELAY_UPSTREAMS (4u * WR_UPSTREAM_MAX_PEERS)
#define WR_RELAY_KEYS 4096u

/* What was done about slow clients (relay/slow.h). */
enum wr_slow_did {
  WR_SLOW_DID_PAUSE,
  WR_SLOW_DID_COALESCE,
  WR_SLOW_DID_WAIT,
  WR_SLOW_DID_STOP,
  WR_SLOW_DID_GIVE_UP,
  WR_SLOW_DIDS
};

/* One a process; outlives every relay. */
struct wr_relay_shared {
  _Atomic uint64_t next_id;   /* of requests */
  _Atomic uint32_t requests;  /* that run now, over all workers */
  _Atomic bool draining;
  _Atomic uint32_t
      upstreams[WR_RELAY_UPSTREAMS]; /* attempts that run, by the number of an upstream */
  _Atomic uint32_t waiting[WR_RELAY_UPSTREAMS]; /* requests that wait for room there */
  _Atomic(struct wr_queues *) queues; /* owned; NULL until somebody waits */
  _Atomic(struct wr_quotas *) quotas; /* owned; NULL until a limit is met */
  _Atomic uint64_t slow_bytes; /* that wait for slow clients beyond their marks */
  _Atomic uint32_t keys[WR_RELAY_KEYS]; /* requests that run, by the number of a key */
  struct wr_degrade_shared degrade;
};

/* Counters of one worker: written by its thread with plain relaxed stores, read by any. */
struct wr_relay_stats {
  _Atomic uint64_t connections; /* accepted */
  _Atomic uint64_t open;        /* gauge: client connections */
  _Atomic uint64_t active;      /* gauge: requests that run */
  _Atomic uint64_t requests;
  _Atomic uint64_t events;
  _Atomic uint64_t event_bytes; /* of events that were passed on */
  _Atomic uint64_t dropped_events;
  _Atomic uint64_t heartbeats;
  _Atomic uint64_t pauses;      /* upstream reads stopped for a slow client */
  _Atomic uint64_t retries[WR_RETRY_WHYS]; /* by enum wr_retry_why */
  _Atomic uint64_t fallbacks;              /* of them, those that asked another upstream */
  _Atomic uint64_t retry_budget_exhausted;
  _Atomic uint64_t retry_body_gone;
  _Atomic uint64_t hedge_ends[WR_HEDGE_ENDS]; /* second attempts beside a first, by how it ended */
  _Atomic uint64_t hedge_nots[WR_HEDGE_NOTS]; /* those that were not made when it was time */
  _Atomic uint64_t hedge_bytes;  /* that losers brought */
  _Atomic uint64_t hedge_tokens; /* of input, by estimate, that losers were asked to read */
  _Atomic uint64_t continued[WR_CONTINUE_ENDS]; /* streams that broke off, by what followed */
  _Atomic uint64_t queue_ends[WR_QUEUE_ENDS]; /* requests that waited for room, by how it ended */
  _Atomic uint64_t queue_us;      /* that they waited */
  _Atomic uint64_t queue_waiting; /* gauge: that wait */
  _Atomic uint64_t refused;     /* 503 for want of memory or room */
  _Atomic uint64_t limited[WR_QUOTAS];  /* requests refused by a limit */
  _Atomic uint64_t slow_did[WR_SLOW_DIDS];
  _Atomic uint64_t coalesced_events;    /* that became part of another */
  _Atomic uint64_t slow_dropped_events; /* that were left out for a slow client */
  _Atomic uint64_t outcomes[WR_OUTCOMES];
  _Atomic uint64_t pressure_step; /* gauge: that holds on this worker */
  _Atomic uint64_t shedding;      /* gauge: 1 while every new request is refused */
  _Atomic uint64_t pressure_us[WR_LADDER_STEPS + 1]; /* spent on each step */
  _Atomic uint64_t loop_lag_us;   /* gauge: how late the loop was at its last tick */
  _Atomic uint64_t lag_ups, lag_downs; /* steps of this worker's own ladder */
};

/* The step of a worker has changed. */
struct wr_relay_change {
  uint32_t from, to;
  enum wr_meter meter; /* that brought it there; on the way down, that it came from */
  bool by_policy;
  uint32_t value;      /* of the meter, in its unit */
  uint64_t lasted_us;  /* on the step before */
  uint32_t actions;    /* bit 1 << enum wr_action: what holds now */
};

/* One configuration with what belongs to it on this worker. */
struct wr_relay_gen {
  const struct wr_conf *conf;      /* borrowed: outlives the generation */
  const struct wr_hooks *hooks;    /* borrowed: as above; NULL: no policy */
  struct wr_upstreams *upstreams;  /* borrowed: as above */
  /* Numbers that stay a name's while generations change, one per conf->upstreams, conf->keys and
   * conf->listens; NULL: the index is the number. */
  const uint32_t
      *upstream_numbers; /* borrowed: outlives the generation; below WR_RELAY_UPSTREAMS */
  const uint32_t *key_numbers;      /* borrowed: as above; below WR_RELAY_KEYS */
  const uint32_t *listen_numbers;   /* borrowed: as above */
  uint32_t refs;                   /* requests that hold it, and the relay while it is current */
  void (*gone)(void *ctx, struct wr_relay_gen *gen); /* called when refs reach 0; may be NULL */
  void *gone_ctx;                  /* borrowed: the worker */
};

struct wr_relay_options {
  struct wr_loop *loop;            /* borrowed: the worker's */
  struct wr_relay_shared *shared;  /* borrowed: the process's */
  struct wr_relay_gen *gen;        /* borrowed: the worker's; counted */
  void (*record)(void *ctx,
                 const struct wr_record *record); /* each finished exchange; may be NULL */
  void *record_ctx;                /* borrowed: the worker */
  uint32_t worker;                 /* its number */
  void (*pressed)(void *ctx, const struct wr_relay_change *change); /* may be NULL */
  void (*drained)(void *ctx); /* once, when draining and the last connection is gone; may be NULL */
};

/* Frees what the relays have made for all of them; after the last one. */
void wr_relay_shared_fini(struct wr_relay_shared *shared);
WR_MUST_USE enum wr_err wr_relay_new(const struct wr_relay_options *options, struct wr_relay **out);
/* Sessions that are left are aborted. */
void wr_relay_free(struct wr_relay *relay);

/* A new connection of a listener, which says its number. */
void wr_relay_accept(struct wr_relay *relay, uint32_t listen_number, struct wr_conn *take_conn);
/* New requests use this generation from now on, on kept connections too. */
void wr_relay_set_gen(struct wr_relay *relay, struct wr_relay_gen *gen);

/* Every now and then (server.sample): looks at the ladders. lag_us: how late the call comes. */
void wr_relay_tick(struct wr_relay *relay, uint64_t lag_us);
/* The loop was woken by another thread, perhaps for one of our requests. */
void wr_relay_woken(struct wr_relay *relay);
/* How things stand on this worker: for hooks and weir.live. `lua` is left 0, for the engine. */
void wr_relay_pressure(struct wr_relay *relay, struct wr_hook_pressure *out);

/* In-flight requests go on; each connection closes after its next answer; those that stay idle
 * close after two seconds. */
void wr_relay_drain(struct wr_relay *relay);
/* Ends everything now: streams that run get the dialect's error event. */
void wr_relay_stop(struct wr_relay *relay);
uint32_t wr_relay_connections(const struct wr_relay *relay);
const struct wr_relay_stats *wr_relay_stats(const struct wr_relay *relay);

/* What runs now, for /streams; spans are borrowed for the call. */
struct wr_relay_row {
  uint64_t id, age_ms, idle_ms, events, sent_bytes, queued_bytes;
  const char *step, *route, *upstream; /* borrowed: static or the generation's */
  struct wr_span model;
  uint16_t status;
  bool paused, committed;
};
void wr_relay_each(struct wr_relay *relay, void (*fn)(void *ctx, const struct wr_relay_row *row),
                   void *ctx);

#endif

/* degrade.h: what a worker does less of while something is short.
 *
 * Ladders (relay/ladder.h) stand in what all workers share, but for loop_lag's, of which each
 * worker has its own. The process's sampler (server/strain.h) and the allocations that cross a mark
 * move them; a worker sees it at its next request, its next look at a slow client, or its tick, and
 * then knows its step and its actions again. `allows` and `active` are a load and a branch.
 *
 * Where actions are done: coalesce: whoever handles slow clients asks for it; shrink_buffers:
 * degrade.c and wr_degrade_marks; no_hedge, no_retry: whoever begins an attempt asks; empty_shelf:
 * degrade.c; cap_output, route, shed: wr_degrade_request; stop_largest: degrade_stop.c.
 *
 * A policy may move the step of its worker (on_pressure): the verdict holds until the meters move a
 * step or the hook is asked again. Loop thread of the worker, but for what is atomic. */
#ifndef WR_RELAY_DEGRADE_H
#define WR_RELAY_DEGRADE_H

#include "base/buf.h"
#include "net/loop.h"
#include "relay/ladder.h"

struct wr_relay;
struct wr_session;

#define WR_DEGRADE_WORKERS 64u

/* In wr_relay_shared. */
struct wr_degrade_shared {
  _Atomic uint32_t version; /* goes up when a ladder below has moved */
  struct wr_ladder ladders[WR_METERS]; /* the process's sampler owns them; loop_lag's isn't used */
  _Atomic uint32_t tickets; /* streams that workers may still stop until the next sample */
  _Atomic uint32_t samples; /* how many there were */
  _Atomic uint64_t largest[WR_DEGRADE_WORKERS]; /* bytes that a worker's largest stream holds */
  _Atomic uint64_t worst[WR_DEGRADE_WORKERS];   /* its choice (degrade_stop.c) */
  _Atomic uint64_t acts[WR_ACTIONS];            /* how often each was done */
};

#define WR_DEGRADE_FREE UINT32_MAX

/* In wr_relay. */
struct wr_degrade {
  struct wr_degrade_shared *shared; /* borrowed: the process's */
  const struct wr_conf *conf;       /* borrowed: of the relay's current generation */
  uint32_t worker;
  uint32_t version;   /* of shared, that the fields below know */
  struct wr_ladder lag;
  uint32_t step;      /* as the meters say */
  uint32_t forced;    /* as the policy says, or WR_DEGRADE_FREE */
  uint32_t now;       /* that holds */
  uint32_t actions;   /* bit 1 << enum wr_action */
  uint32_t cap_tokens; /* 0: none */
  uint32_t route;     /* a group of conf */
  uint32_t told;      /* the meters' step that the policy last heard of */
  uint32_t told_now;  /* the step that the log last heard of */
  enum wr_meter cause; /* of the last way up */
  uint64_t ticked_us, since_us, asked_us;
  struct wr_task task; /* tells of a change */
};

void wr_degrade_init(struct wr_relay *relay, uint32_t worker);
void wr_degrade_fini(struct wr_relay *relay);
/* The ladders or the relay's generation have changed. */
void wr_degrade_refresh(struct wr_relay *relay);
/* Not while a hook runs: it may ask the policy. */
bool wr_degrade_active(struct wr_relay *relay, enum wr_action action);
/* May what this action forbids be done? wr_degrade_allows(relay, WR_ACTION_NO_RETRY). */
static inline bool wr_degrade_allows(struct wr_relay *relay, enum wr_action action) {
  return !wr_degrade_active(relay, action);
}
void wr_degrade_count(struct wr_relay *relay, enum wr_action action, uint64_t n);
/* Is the request refused? Else its group and its cap are what the steps make of them. Its key and
 * its model are known. */
bool wr_degrade_refuses(struct wr_session *s);
void wr_degrade_request(struct wr_session *s);
/* The marks of a slow client, lower while buffers are to be small. */
void wr_degrade_marks(const struct wr_session *s, uint32_t *high_bytes, uint32_t *low_bytes);
/* The field that says how degraded an answer is, where its route wants that. */
WR_MUST_USE enum wr_err wr_degrade_field(struct wr_session *s, struct wr_buf *out);
/* degrade_stop.c: at a tick: ends the stream that holds most and drains slowest, if there is a
 * ticket for it and no other worker has a better one. */
void wr_degrade_stop(struct wr_relay *relay);

#endif

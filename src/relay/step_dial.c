/* PICK, DIAL and RETRY: a peer, a connection to it, and what follows when it fails before the
 * commit point. */
#include <string.h>

#include "base/check.h"
#include "base/heap.h"
#include "relay/feedback.h"
#include "relay/hedge.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "upstream/note.h"
#include "upstream/retry.h"

static struct wr_span none(void) { return wr_span_make(NULL, 0); }

/* The upstream's own name for the client's model: 1, or 0 when any model passes unchanged; -1:
 * not served. */
static int model_for(const struct wr_conf_upstream *up, struct wr_span model, const char **out) {
  WR_DCHECK(up->model_count == 0 || up->models != NULL);
  *out = NULL;
  if (up->model_count == 0 || model.len == 0) return 0;
  for (size_t i = 0; i < up->model_count; i++) {
    const struct wr_conf_model *m = &up->models[i];
    if (wr_span_eq(wr_span_str(m->client), model) || wr_span_eq(wr_span_str(m->provider), model) ||
        strcmp(m->client, "*") == 0) {
      *out = wr_span_eq(wr_span_str(m->provider), model) ? NULL : m->provider;
      return 1;
    }
  }
  return -1;
}

bool wr_session_serves(const struct wr_session *s, const struct wr_conf_upstream *up,
                       const char **name) {
  if (!wr_dialect_served_by((enum wr_dialect)s->dialect, up->kind)) return false;
  return model_for(up, wr_session_model(s), name) >= 0;
}

/* May what is held of the body stay when it has been sent? Prompts are long: where memory is short
 * already, another attempt must not cost more of it. */
static bool may_keep(const struct wr_session *s) {
  WR_DCHECK(s->rq != NULL);
  if (!s->rq->body_done) return false;
  if (s->rq->body.bytes <= WR_REQUEST_RESEND_BYTES) return true;
  return wr_retry_may_follow(s) && s->rq->body.bytes <= s->route->inspect_bytes &&
         wr_ledger_level(wr_slabs_ledger(wr_session_slabs(s))) == 0;
}

/* What the policy's `s` says of the attempt. */
static void tell_policy(struct wr_session *s, const struct wr_conf_upstream *up) {
  size_t index = (size_t)(up - s->gen->conf->upstreams);
  if (index < 64) s->asked |= UINT64_C(1) << index;
  if (!s->hook) return;
  s->hook->upstream = up->name;
  s->hook->attempt = s->attempts;
  s->hook->tried = s->asked;
}

/* The peer is held, and there is room for it at its upstream. */
static enum wr_step attempt_begin(struct wr_session *s, struct wr_peer *peer, const char *model,
                                  bool fresh) {
  WR_DCHECK(s->at == NULL && peer->streams > 0);
  struct wr_attempt *at = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *at);
  struct wr_dial *dial = at ? wr_heap_alloc(WR_HEAP_RELAY, sizeof *dial) : NULL;
  if (!dial) {
    wr_heap_free(WR_HEAP_RELAY, at);
    wr_room_leave(s, peer);
    wr_peer_unpick(peer);
    return wr_session_fail(s, WR_E_NOMEM, none());
  }
  at->magic = WR_ATTEMPT_MAGIC;
  at->peer = peer;
  at->model = model;
  at->dialect = peer->up->kind == WR_KIND_SSE ? WR_DIALECT_NONE : s->dialect;
  wr_viewq_init(&at->part);
  at->dial = dial;
  s->at = at;
  wr_session_note_begin(s);
  s->attempts++;
  wr_hedge_plan(s);
  tell_policy(s, peer->up);
  s->rq->kept = may_keep(s);
  /* A body that can't be sent twice gets a connection that is surely alive. */
  wr_dial_start(dial, s->gen->upstreams, peer, &s->task, fresh || !s->rq->kept);
  wr_session_due_step(s, wr_session_timeouts(s).connect_ms, WR_E_CONNECT_TIMEOUT);
  uint32_t total = wr_session_timeouts(s).total_ms;
  if (total && !s->due[WR_DUE_TOTAL]) wr_session_due(s, WR_DUE_TOTAL, total);
  return WR_STEP_DIAL;
}

/* There is somebody to ask, but no room: the request waits where that is declared. */
static enum wr_step stand_in_line(struct wr_session *s, uint64_t peers) {
  WR_DCHECK(peers != 0 && s->at == NULL);
  s->tried &= ~peers;
  uint32_t wait_ms = s->gen->conf->groups[s->group].queue.wait_ms;
  enum wr_err err = wr_queue_join(s, peers);
  if (err != WR_OK) return wr_session_fail(s, err, none());
  wr_session_due_step(s, wait_ms, WR_E_QUEUE_TIMEOUT);
  wr_session_due_tidy(s);
  return WR_STEP_QUEUE;
}

/* Why there is nobody to ask. */
static enum wr_step nobody(struct wr_session *s, bool unserved, uint64_t full, uint64_t shut) {
  if (full && wr_queue_is_declared(s)) return stand_in_line(s, full | shut);
  /* None has failed where a policy wanted something else than an answer that was good. */
  if (s->retry_err) return wr_session_fail(s, (enum wr_err)s->retry_err, none());
  if (full) return wr_session_fail(s, WR_E_SHED, none());
  return wr_session_fail(s, unserved ? WR_E_NO_MODEL : WR_E_NO_PEER, none());
}

/* A peer with room for one more; *full: those that had none; *shut: those that are left alone. */
static struct wr_peer *find(struct wr_session *s, bool *unserved, uint64_t *full,
                            uint64_t *shut) {
  uint64_t granted = wr_queue_granted(s) & ~s->tried;
  if (s->rq->wait) {
    struct wr_peer *peer = granted ? wr_session_choose(s, ~granted, true) : NULL;
    if (peer) {
      wr_queue_use(s);
      return peer;
    }
    wr_queue_leave(s); /* nobody there may be asked any more */
    s->tried |= granted;
  }
  for (;;) {
    uint64_t peers = wr_retry_peers(s, unserved);
    if (!peers) return NULL;
    /* Rather wait for one that has no room than ask one that fails. */
    struct wr_peer *peer = wr_session_choose(s, ~peers, !*full);
    if (!peer) { /* none of them is ready: who comes later in the list */
      s->tried |= peers;
      *shut |= peers;
      continue;
    }
    if (wr_room_enter(s, peer)) return peer;
    *full |= UINT64_C(1) << peer->index;
    s->tried |= UINT64_C(1) << peer->index;
    wr_peer_unpick(peer);
  }
}

enum wr_step wr_step_pick(struct wr_session *s) {
  WR_CHECK(s->at == NULL && s->rq != NULL);
  bool unserved = false;
  uint64_t full = 0, shut = 0;
  if (s->attempts == 0 && !s->rq->wait) {
    s->rq->retry.home = s->group;
    wr_retry_budget_request(wr_upstreams_retry_budget(s->gen->upstreams, s->group),
                            wr_session_now_ms(s));
  }
  struct wr_peer *peer = find(s, &unserved, &full, &shut);
  if (!peer) return nobody(s, unserved, full, shut);
  enum wr_err err = wr_request_judge(s->rq, peer->up);
  if (err != WR_OK) {
    wr_room_leave(s, peer);
    wr_peer_unpick(peer);
    s->keep_alive = s->keep_alive && s->rq->body_done;
    return wr_session_fail(s, err, none());
  }
  const char *name = NULL;
  (void)model_for(peer->up, wr_session_model(s), &name);
  peer->attempts++;
  if (s->attempts && s->peer && s->peer->up != peer->up) WR_RELAY_COUNT(s->relay, fallbacks, 1);
  return attempt_begin(s, peer, name, s->committed); /* a stream that waits takes no chances */
}

/* An attempt that follows at once on one at the same upstream has its place before that leaves. */
static void place_more(struct wr_session *s, const struct wr_peer *peer) {
  uint32_t number = wr_relay_upstream_number(s->gen, peer->up);
  atomic_fetch_add(&s->relay->shared->upstreams[number], 1);
}

/* One address of a name that can't be reached doesn't make an attempt fail: the next of them is
 * asked, within the same attempt and its time. One that answered an earlier attempt may be asked
 * once more: what it says tells the client more than that another one isn't there. NULL: there is
 * none. */
static struct wr_peer *next_address(struct wr_session *s, enum wr_err err) {
  if (err != WR_E_CONNECT && err != WR_E_TLS && err != WR_E_TLS_VERIFY) return NULL;
  if (s->hedge) return NULL; /* the attempt beside this one goes on already */
  struct wr_retry_state *r = &s->rq->retry;
  uint64_t bit = UINT64_C(1) << s->at->peer->index;
  s->tried |= bit;
  r->unreached |= bit;
  return wr_peer_sibling(s->at->peer, r->unreached | r->refused | r->busy);
}

static enum wr_step dial_other(struct wr_session *s, struct wr_peer *peer, enum wr_err err) {
  const char *model = s->at->model;
  uint32_t due = s->due[WR_DUE_STEP];
  WR_DCHECK(peer != s->at->peer && peer->up == s->at->peer->up);
  wr_session_note_failed(s, err);
  place_more(s, peer);
  s->attempts--;
  wr_session_attempt_end(s, false);
  peer->attempts++;
  enum wr_step step = attempt_begin(s, peer, model, false);
  if (s->at && due) s->due[WR_DUE_STEP] = due;
  return step;
}

enum wr_step wr_step_dial(struct wr_session *s) {
  WR_CHECK(s->at != NULL && s->at->dial != NULL && s->at->conn == NULL);
  enum wr_err err;
  while ((err = wr_dial_poll(s->at->dial, &s->at->conn)) != WR_OK) {
    if (err == WR_E_AGAIN) {
      if (wr_dial_in_handshake(s->at->dial) && s->due_err != WR_E_TLS_TIMEOUT)
        wr_session_due_step(s, wr_session_timeouts(s).tls_ms, WR_E_TLS_TIMEOUT);
      return WR_STEP_WAIT;
    }
    struct wr_peer *other = next_address(s, err);
    if (!other) return wr_session_attempt_failed(s, err, wr_span_str(s->at->dial->why));
    enum wr_step step = dial_other(s, other, err);
    if (step != WR_STEP_DIAL) return step;
  }
  struct wr_attempt *at = s->at;
  at->reused = at->dial->reused;
  at->in_from = wr_conn_bytes_in(at->conn);
  wr_heap_free(WR_HEAP_RELAY, at->dial);
  at->dial = NULL;
  return WR_STEP_SEND;
}

/* What the attempt that failed has left behind: the next one begins as the first did. */
static void forget_answer(struct wr_session *s) {
  WR_DCHECK(!s->committed && s->at == NULL);
  wr_stream_clear(&s->stream);
  s->source_done = s->clean = s->terminator = s->finish = s->content = s->no_body = false;
  s->outcome = WR_OUTCOME_NONE;
  s->err = 0;
  s->mode = WR_MODE_RAW;
  s->events = s->contents = 0;
  s->open = 0;
  s->upstream_status = 0;
  s->first_byte_us = s->first_token_us = UINT32_MAX;
  for (unsigned i = 0; i < 4; i++) s->usage[i] = -1;
  wr_heap_free(WR_HEAP_RELAY, s->answer_id);
  s->answer_id = NULL;
  s->answer_created = 0;
  wr_continue_reset(s);
  s->rq->head_sent = false;
  s->rq->retry.chars = 0;
  s->rq->retry.rate_over = false;
  if (!s->hook) return;
  s->hook->events = s->hook->output_tokens = 0;
  s->hook->first_token_us = UINT64_MAX;
  s->hook->usage = (struct wr_usage){ -1, -1, -1, -1 };
}

/* A kept connection that was dead asked nobody: the same peer on a new one. */
static enum wr_step dial_anew(struct wr_session *s) {
  struct wr_peer *peer = s->at->peer;
  const char *model = s->at->model;
  wr_peer_hold(peer); /* the new attempt's own hold, and its own place */
  place_more(s, peer);
  s->attempts--;
  s->rq->retry.stale = false;
  wr_session_attempt_end(s, false);
  forget_answer(s);
  WR_RELAY_COUNT(s->relay, retries[WR_RETRY_WHY_STALE], 1);
  return attempt_begin(s, peer, model, true);
}

/* Entered when wr_session_attempt_failed found that there is another try; again when the wait
 * before it is over. */
enum wr_step wr_step_retry(struct wr_session *s) {
  WR_CHECK(s->rq != NULL && (!s->committed || wr_continue_is_on(s)));
  struct wr_retry_state *r = &s->rq->retry;
  if (!s->at) return s->due[WR_DUE_STEP] ? WR_STEP_WAIT : WR_STEP_PICK;
  if (s->hedge) {
    r->again = WR_AGAIN_NO;
    r->stale = false;
    wr_session_attempt_end(s, false);
    forget_answer(s);
    return (enum wr_step)wr_hedge_take_over(s);
  }
  if (r->stale) return dial_anew(s);
  if (s->committed) {
    wr_continue_begin(s);
  } else {
    wr_session_attempt_end(s, false);
    forget_answer(s);
  }
  WR_RELAY_COUNT(s->relay, retries[r->why], 1);
  r->again = WR_AGAIN_NO;
  if (!r->delay_ms) return WR_STEP_PICK;
  wr_session_due_step(s, r->delay_ms, WR_E_INTERNAL);
  return WR_STEP_WAIT;
}

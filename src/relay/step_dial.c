/* PICK, DIAL and RETRY: a peer, a connection to it, and what follows when it fails before the
 * commit point. */
#include <string.h>

#include "base/check.h"
#include "base/heap.h"
#include "relay/feedback.h"
#include "relay/relay_priv.h"
#include "relay/session.h"

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

/* Where the attempts of a peer's upstream are counted, over all workers. */
static _Atomic uint32_t *running(const struct wr_session *s, const struct wr_peer *peer) {
  return &s->relay->shared->upstreams[wr_relay_upstream_number(s->gen, peer->up)];
}

static bool is_full(const struct wr_session *s, const struct wr_peer *peer) {
  return peer->up->max_streams &&
         atomic_load_explicit(running(s, peer), memory_order_relaxed) >= peer->up->max_streams;
}

static enum wr_step attempt_begin(struct wr_session *s, struct wr_peer *peer, const char *model,
                                  bool fresh) {
  WR_DCHECK(s->at == NULL && peer->streams > 0);
  struct wr_attempt *at = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *at);
  struct wr_dial *dial = at ? wr_heap_alloc(WR_HEAP_RELAY, sizeof *dial) : NULL;
  if (!dial) {
    wr_heap_free(WR_HEAP_RELAY, at);
    wr_peer_put(peer);
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
  atomic_fetch_add_explicit(running(s, peer), 1, memory_order_relaxed);
  if (s->hook) {
    s->hook->upstream = peer->up->name;
    s->hook->attempt = s->attempts;
  }
  /* A body that can't be sent twice gets a connection that is surely alive. */
  bool once = !s->rq->body_done || s->rq->body.bytes > WR_REQUEST_RESEND_BYTES;
  wr_dial_start(dial, s->gen->upstreams, peer, &s->task, fresh || once);
  wr_session_due_step(s, wr_session_timeouts(s).connect_ms, WR_E_CONNECT_TIMEOUT);
  uint32_t total = wr_session_timeouts(s).total_ms;
  if (total && !s->due[WR_DUE_TOTAL]) wr_session_due(s, WR_DUE_TOTAL, total);
  return WR_STEP_DIAL;
}

enum wr_step wr_step_pick(struct wr_session *s) {
  WR_CHECK(s->at == NULL);
  bool unserved = false, full = false;
  for (;;) {
    struct wr_peer *peer = wr_session_choose(s);
    if (!peer && s->attempts)
      return wr_session_fail(s, (enum wr_err)s->retry_err, none()); /* why the last one failed */
    if (!peer && full) return wr_session_fail(s, WR_E_SHED, none());
    if (!peer) return wr_session_fail(s, unserved ? WR_E_NO_MODEL : WR_E_NO_PEER, none());
    const char *name = NULL;
    int served = model_for(peer->up, wr_session_model(s), &name);
    if (served < 0 || is_full(s, peer)) {
      if (served < 0) unserved = true;
      else full = true;
      s->tried |= UINT64_C(1) << peer->index;
      wr_peer_put(peer);
      continue;
    }
    enum wr_err err = wr_request_judge(s->rq, peer->up);
    if (err != WR_OK) {
      wr_peer_put(peer);
      s->keep_alive = s->keep_alive && s->rq->body_done;
      return wr_session_fail(s, err, none());
    }
    peer->attempts++;
    return attempt_begin(s, peer, name, false);
  }
}

enum wr_step wr_step_dial(struct wr_session *s) {
  WR_CHECK(s->at != NULL && s->at->dial != NULL && s->at->conn == NULL);
  struct wr_attempt *at = s->at;
  enum wr_err err = wr_dial_poll(at->dial, &at->conn);
  if (err == WR_E_AGAIN) {
    if (wr_dial_in_handshake(at->dial) && s->due_err != WR_E_TLS_TIMEOUT)
      wr_session_due_step(s, wr_session_timeouts(s).tls_ms, WR_E_TLS_TIMEOUT);
    return WR_STEP_WAIT;
  }
  if (err != WR_OK) return wr_session_attempt_failed(s, err, wr_span_str(at->dial->why));
  at->reused = at->dial->reused;
  wr_heap_free(WR_HEAP_RELAY, at->dial);
  at->dial = NULL;
  return WR_STEP_SEND;
}

/* Only entered when wr_session_attempt_failed found that another try is legal. */
enum wr_step wr_step_retry(struct wr_session *s) {
  struct wr_attempt *at = s->at;
  WR_CHECK(at != NULL && !s->committed);
  struct wr_peer *peer = at->peer;
  const char *model = at->model;
  bool stale = at->reused;
  if (stale) {
    wr_peer_hold(peer); /* the new attempt's own hold */
    s->attempts--;   /* a kept connection that had died asked nobody */
  } else {
    s->tried |= UINT64_C(1) << peer->index;
  }
  wr_session_attempt_end(s, false);
  wr_stream_clear(&s->stream);
  s->source_done = s->clean = s->terminator = s->finish = s->content = false;
  s->events = 0;
  s->rq->head_sent = false;
  WR_RELAY_COUNT(s->relay, retries, 1);
  s->upstream_status = 0;
  s->first_byte_us = UINT32_MAX;
  if (stale) return attempt_begin(s, peer, model, true);
  return WR_STEP_PICK;
}

/* STREAM: events come in, frames go out, until one side has had enough. */
#include "base/check.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "relay/slow.h"
#include "relay/window.h"
#include "wire/http1_write.h"

/* What an upstream may bring in one read. Nobody knows which read will be the one that the client's
 * kernel takes no more of: what it brings waits. So a stream of events is read in pieces of dozens
 * of them, and for a client that has fallen behind in small ones. */
#define EVENTS_CREDIT_BYTES 8192u
#define SLOW_CREDIT_BYTES 4096u
#define PAUSE_CREDIT_BYTES 1024u /* where the next thing is to pause */

static struct wr_span none(void) { return wr_span_make(NULL, 0); }

/* Content has come, and no hook holds all of it. */
static bool has_content(const struct wr_session *s) {
  return s->content && !wr_windows_withhold(s->at->win);
}

/* May the client see the answer's head now? */
static bool may_commit(const struct wr_session *s) {
  WR_DCHECK(s->route != NULL);
  return s->mode == WR_MODE_RAW || s->route->commit == WR_COMMIT_ALIVE ||
         (has_content(s) && wr_retry_is_fast(s)) ||
         s->terminator || s->finish || s->outcome != WR_OUTCOME_NONE ||
         s->stream.bytes >= s->route->held_bytes;
}

/* At the mark the upstream is paused, whatever comes. */
static bool only_pauses(const struct wr_session *s) {
  const struct wr_conf_route *r = s->route;
  return r->slow_action == WR_SLOW_PAUSE && !r->slow_drop && !(r->hooks & WR_HOOK_SLOW_CLIENT);
}

/* A client whose kernel takes no more is read for in small pieces, so that little comes in on top
 * of what waits. */
static void tighten(struct wr_session *s, bool tight) {
  if (tight == s->tight) return;
  s->tight = tight;
  size_t most = s->mode == WR_MODE_RAW ? WR_CONN_CREDIT_BYTES : EVENTS_CREDIT_BYTES;
  if (tight) most = only_pauses(s) ? PAUSE_CREDIT_BYTES : SLOW_CREDIT_BYTES;
  wr_conn_set_credit(s->at->conn, most);
}

/* The answer begins, unless a policy has something else in mind: WAIT when it has begun. */
static enum wr_step begin(struct wr_session *s) {
  if (s->committed) return WR_STEP_WAIT;
  enum wr_step other = wr_session_hook_response(s);
  if (other != WR_STEP_WAIT) return other;
  if (s->mode != WR_MODE_RAW && s->at->conn)
    wr_conn_set_credit(s->at->conn, EVENTS_CREDIT_BYTES);
  enum wr_err err = wr_session_commit(s);
  if (err == WR_OK) return WR_STEP_WAIT;
  /* No room for what a policy made of the head: nothing has left yet, so the client hears why. */
  if (err == WR_E_POOL_FULL || err == WR_E_HEAD_TOO_LARGE) return wr_session_fail(s, err, none());
  return wr_session_client_gone(s);
}

/* The source has ended well: the answer's end follows its last frame. */
static enum wr_step source_ended(struct wr_session *s) {
  WR_CHECK(s->at != NULL && !s->source_done);
  enum wr_step other = begin(s);
  if (other != WR_STEP_WAIT) return other;
  s->source_done = s->clean = true;
  wr_session_attempt_end(s, s->at->keep_alive && s->at->body_ended);
  wr_continue_end(s);
  s->due[WR_DUE_TOTAL] = 0; /* the rest is between the client and the kernel */
  return WR_STEP_FLUSH;
}

/* The stream was ended before its time; its last words stand in the log. */
static enum wr_step stopped(struct wr_session *s) {
  WR_DCHECK(s->source_done);
  wr_session_attempt_end(s, false);
  wr_continue_end(s);
  s->due[WR_DUE_TOTAL] = 0;
  return WR_STEP_FLUSH;
}

/* What a client still sends of a body that nobody wants any more; only its end is of interest. */
static void discard_input(struct wr_session *s) {
  struct wr_view v;
  while (s->rq && !s->rq->body_done && wr_conn_take(s->client, &v)) wr_view_drop(&v);
}

/* Who waits for memory, or for its client, must hold as little as it can: the first piece of an
 * event pins the whole block that it came in, and streams that each pin one could wait for each
 * other for ever. */
static void shrink(struct wr_session *s) {
  size_t copied = 0;
  (void)!wr_viewq_compact(&s->at->part, wr_session_slabs(s), WR_CHARGE_CLIENT, &copied);
  wr_loop_stats(s->relay->loop)->copy_bytes[WR_COPY_COMPACT] += copied;
  s->copied += copied;
  wr_conn_compact(s->at->conn);
}

/* After a turn that went well: what wakes the next one. */
static void await(struct wr_session *s, bool blocked) {
  if (blocked || wr_conn_is_starved(s->at->conn)) shrink(s);
  if (blocked) {
    wr_session_due_pool(s);
    s->due[WR_DUE_IDLE] = 0; /* it is weir that is slow */
    return;
  }
  s->due[WR_DUE_POOL] = 0;
  if (s->paused) {
    shrink(s);
    return;
  }
  /* What was left for the client's sake while it looked slow. */
  if (wr_conn_input_bytes(s->at->conn) > 0) wr_session_mark(s);
  if (!s->due[WR_DUE_IDLE]) wr_session_due(s, WR_DUE_IDLE, wr_session_idle_ms(s));
}

/* WAIT when the answer has begun, or is held on. */
static enum wr_step before_commit(struct wr_session *s, enum wr_err err, bool blocked) {
  WR_DCHECK(!s->committed && s->rq != NULL);
  if (s->rq->retry.again != WR_AGAIN_NO && !wr_continue_is_on(s))
    return wr_session_attempt_failed(s, err, none());
  /* What is held takes memory: when that is short it must flow. */
  if (s->policy_failed && !has_content(s) && s->route->commit != WR_COMMIT_ALIVE)
    return WR_STEP_WAIT; /* nothing was shown: a status says it better than an error event */
  bool commit = may_commit(s) || err == WR_E_END || s->stopping || (blocked && s->stream.count > 0);
  return commit ? begin(s) : WR_STEP_WAIT;
}

enum wr_step wr_step_stream(struct wr_session *s) {
  WR_CHECK(s->at != NULL && s->at->conn != NULL);
  if (s->no_body) {
    s->at->body_ended = true;
    return source_ended(s);
  }
  discard_input(s);
  enum wr_err err = wr_pump_run(s);
  bool blocked = err == WR_E_POOL_FULL;
  if (blocked) err = WR_OK;
  if (!s->committed) {
    enum wr_step other = before_commit(s, err, blocked);
    if (other != WR_STEP_WAIT) return other;
  }
  if (s->stopping) return stopped(s);
  if (err == WR_E_END) return source_ended(s);
  if (err != WR_OK) return wr_session_attempt_failed(s, err, none());
  if (s->committed)
    err = wr_session_drain_log(s);
  else
    wr_stream_compact(&s->stream, WR_CHARGE_CLIENT, &s->copied);
  if (err != WR_OK && err != WR_E_POOL_FULL) return wr_session_client_gone(s);
  blocked |= err == WR_E_POOL_FULL;
  if (s->committed) { /* what is held is not the client's fault */
    size_t unsent = wr_conn_unsent_bytes(s->client);
    tighten(s, unsent > 0);
    if (s->slow || unsent + s->stream.bytes > 0) {
      err = wr_slow_turn(s);
      if (s->stopping) return stopped(s);
      if (err != WR_OK) return wr_session_attempt_failed(s, err, none());
    }
  }
  await(s, blocked);
  return WR_STEP_WAIT;
}

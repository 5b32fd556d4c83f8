/* STREAM: events come in, frames go out, until one side has had enough. */
#include "base/check.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "wire/http1_write.h"

/* What the upstream of a client that fell behind once may bring in one read: bounds what waits
 * for it. */
#define SLOW_CREDIT_BYTES 4096u

static struct wr_span none(void) { return wr_span_make(NULL, 0); }

/* May the client see the answer's head now? */
static bool may_commit(const struct wr_session *s) {
  WR_DCHECK(s->route != NULL);
  return s->mode == WR_MODE_RAW || s->route->commit == WR_COMMIT_ALIVE || s->content ||
         s->terminator || s->finish || s->outcome != WR_OUTCOME_NONE ||
         s->stream.bytes >= s->route->held_bytes;
}

/* Stops or resumes the upstream's read by what the client has left. */
static void backpressure(struct wr_session *s) {
  WR_DCHECK(s->at != NULL && s->committed == (s->status != 0));
  if (!s->committed) return; /* what is held is not the client's fault */
  size_t queued = wr_session_queued(s);
  if (!s->paused && queued >= s->route->slow_high_bytes) {
    s->paused = true;
    wr_conn_pause(s->at->conn);
    WR_RELAY_COUNT(s->relay, pauses, 1);
    s->progress = (uint32_t)wr_conn_bytes_out(s->client);
    wr_session_due(s, WR_DUE_SLOW, s->route->slow_give_up_ms);
    s->due[WR_DUE_IDLE] = 0; /* it is not the upstream that is silent */
  } else if (s->paused && queued <= s->route->slow_low_bytes) {
    s->paused = false;
    s->due[WR_DUE_SLOW] = 0;
    wr_conn_resume(s->at->conn);
    wr_session_mark(s);
  }
}

/* The source has ended well: the answer's end follows its last frame. */
static enum wr_step source_ended(struct wr_session *s) {
  WR_CHECK(s->at != NULL && !s->source_done);
  s->source_done = s->clean = true;
  if (!s->committed && wr_session_commit(s) != WR_OK) return wr_session_client_gone(s);
  wr_session_attempt_end(s, s->at->keep_alive && s->at->body_ended);
  s->due[WR_DUE_TOTAL] = 0; /* the rest is between the client and the kernel */
  return WR_STEP_FLUSH;
}

/* What a client still sends of a body that nobody wants any more; only its end is of interest. */
static void discard_input(struct wr_session *s) {
  struct wr_view v;
  while (s->rq && !s->rq->body_done && wr_conn_take(s->client, &v)) wr_view_drop(&v);
}

/* Who waits for memory must hold as little as it can: the first piece of an event pins the whole
 * block that it came in, and streams that each pin one could wait for each other for ever. */
static void shrink(struct wr_session *s) {
  size_t copied = 0;
  (void)!wr_viewq_compact(&s->at->part, wr_session_slabs(s), WR_CHARGE_CLIENT, &copied);
  wr_loop_stats(s->relay->loop)->copy_bytes[WR_COPY_COMPACT] += copied;
  s->copied += copied;
  wr_conn_compact(s->at->conn);
}

/* After a turn that went well: what wakes the next one. */
static void await(struct wr_session *s, bool blocked) {
  backpressure(s);
  if (blocked || wr_conn_is_starved(s->at->conn)) shrink(s);
  if (blocked) {
    wr_session_due_pool(s);
    s->due[WR_DUE_IDLE] = 0; /* it is weir that is slow */
    return;
  }
  s->due[WR_DUE_POOL] = 0;
  if (s->paused) return;
  /* What was left for the client's sake while it looked slow. */
  if (wr_conn_input_bytes(s->at->conn) > 0) wr_session_mark(s);
  if (!s->due[WR_DUE_IDLE]) wr_session_due(s, WR_DUE_IDLE, wr_session_idle_ms(s));
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
  /* What is held takes memory: when that is short it must flow. */
  bool commit = may_commit(s) || err == WR_E_END || s->stopping || (blocked && s->stream.count > 0);
  if (!s->committed && commit && wr_session_commit(s) != WR_OK) return wr_session_client_gone(s);
  if (s->stopping) {
    wr_session_attempt_end(s, false);
    s->due[WR_DUE_TOTAL] = 0;
    return WR_STEP_FLUSH;
  }
  if (err == WR_E_END) return source_ended(s);
  if (err != WR_OK) return wr_session_attempt_failed(s, err, none());
  if (s->committed)
    err = wr_session_drain_log(s);
  else
    wr_stream_compact(&s->stream, WR_CHARGE_CLIENT, &s->copied);
  if (err != WR_OK && err != WR_E_POOL_FULL) return wr_session_client_gone(s);
  await(s, blocked || err == WR_E_POOL_FULL);
  return WR_STEP_WAIT;
}

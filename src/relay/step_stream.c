/* STREAM: events come in, frames go out, until one side has had enough. */
#include "base/check.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "wire/http1_write.h"

static struct wr_span none(void) { return wr_span_make(NULL, 0); }

/* May the client see the answer's head now? */
static bool may_commit(const struct wr_session *s) {
  return s->mode == WR_MODE_RAW || s->route->commit == WR_COMMIT_ALIVE || s->content || s->terminator ||
         s->finish || s->outcome != WR_OUTCOME_NONE || s->stream.bytes >= s->route->held_bytes;
}

/* Stops or resumes the upstream's read by what the client has left. */
static void backpressure(struct wr_session *s) {
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
  s->source_done = s->clean = true;
  if (!s->committed && wr_session_commit(s) != WR_OK) return wr_session_client_gone(s);
  wr_session_attempt_end(s, s->at->keep_alive && s->at->body_ended);
  return WR_STEP_FLUSH;
}

enum wr_step wr_step_stream(struct wr_session *s) {
  if (s->no_body) return source_ended(s);
  enum wr_err err = wr_pump_run(s);
  if (!s->committed && (may_commit(s) || err == WR_E_END) && !s->stopping) {
    if (wr_session_commit(s) != WR_OK) return wr_session_client_gone(s);
  }
  if (s->stopping) {
    if (!s->committed && wr_session_commit(s) != WR_OK) return wr_session_client_gone(s);
    wr_session_attempt_end(s, false);
    return WR_STEP_FLUSH;
  }
  if (err == WR_E_END) return source_ended(s);
  if (err != WR_OK) return wr_session_attempt_failed(s, err, none());
  if (wr_session_drain_log(s) != WR_OK) return wr_session_client_gone(s);
  backpressure(s);
  /* What was left for the client's sake while it looked slow. */
  if (!s->paused && wr_conn_input_bytes(s->at->conn) > 0) wr_session_mark(s);
  if (!s->due[WR_DUE_IDLE] && !s->paused) wr_session_due(s, WR_DUE_IDLE, wr_session_timeouts(s).idle_ms);
  return WR_STEP_WAIT;
}

#include "base/check.h"
#include "base/probe.h"
#include "obs/trace.h"
#include "relay/hedge.h"
#include "relay/relay_priv.h"
#include "relay/reply.h"
#include "relay/session.h"
#include "relay/slow.h"

#define BIT(step) (1u << WR_STEP_##step)

struct row {
  const char *name;
  enum wr_step (*run)(struct wr_session *s);
  uint32_t next; /* steps that may follow */
};

static const struct row rows[WR_STEPS] = {
  [WR_STEP_READ_HEAD] = { "read_head", wr_step_read_head,
                          BIT(READ_BODY) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_READ_BODY] = { "read_body", wr_step_read_body, BIT(ROUTE) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_ROUTE] = { "route", wr_step_route, BIT(PICK) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_PICK] = { "pick", wr_step_pick, BIT(QUEUE) | BIT(DIAL) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_QUEUE] = { "queue", wr_step_queue, BIT(PICK) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_DIAL] = { "dial", wr_step_dial, BIT(SEND) | BIT(RETRY) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_SEND] = { "send", wr_step_send,
                     BIT(WAIT_FIRST_BYTE) | BIT(RETRY) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_WAIT_FIRST_BYTE] = { "wait_first_byte", wr_step_wait_first_byte,
                                BIT(STREAM) | BIT(RETRY) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_STREAM] = { "stream", wr_step_stream, BIT(RETRY) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_RETRY] = { "retry", wr_step_retry,
                      BIT(PICK) | BIT(DIAL) | BIT(WAIT_FIRST_BYTE) | BIT(FLUSH) | BIT(FINISH) },
  [WR_STEP_FLUSH] = { "flush", wr_step_flush, BIT(FINISH) },
  [WR_STEP_FINISH] = { "finish", wr_step_finish, BIT(READ_HEAD) },
};

const char *wr_step_name(enum wr_step step) {
  return (unsigned)step < WR_STEPS ? rows[step].name : "?";
}

static void move(struct wr_session *s, enum wr_step next) {
  WR_CHECK((unsigned)next < WR_STEPS);
  WR_CHECK(rows[s->step].next >> next & 1u);
  WR_PROBE3(step, s->id, s->step, next);
  if (wr_tracing()) {
    wr_trace_put(WR_TRACE_STEP_END, rows[s->step].name, s->id, 0, 0);
    wr_trace_put(WR_TRACE_STEP_BEGIN, rows[next].name, s->id, 0, 0);
  }
  s->trail[s->trail_at++ % sizeof s->trail] = (uint8_t)next;
  s->step = (uint8_t)next;
}

/* The timer stands at the earliest deadline; moving a deadline away leaves it, so that an event
 * costs no timer work. */
static void timer_arm(struct wr_session *s) {
  if (wr_timer_is_set(&s->timer) && !s->rearm) return;
  s->rearm = false;
  uint64_t now = wr_session_now_ms(s);
  bool any = false;
  int32_t least_ms = INT32_MAX;
  for (unsigned i = 0; i < WR_DUES; i++) {
    if (!s->due[i]) continue;
    int32_t left_ms = wr_session_due_in(s, i, now);
    if (left_ms < least_ms) least_ms = left_ms;
    any = true;
  }
  /* A wait needs a waker; who turns every deadline off has the upstream's connection, and behind
   * its end the client's. */
  if (!any) {
    (void)!WR_EXPECT(s->at != NULL || (s->step == WR_STEP_READ_HEAD && !s->rq) ||
                     (s->step == WR_STEP_FLUSH && s->committed));
    return;
  }
  uint64_t delay_ms = least_ms > 0 ? (uint64_t)least_ms : 1;
  if (wr_timer_is_set(&s->timer) && s->timer.due_ms <= now + delay_ms) return;
  wr_timer_set(s->relay->loop, &s->timer, delay_ms);
}

static bool client_is_gone(const struct wr_session *s) {
  return wr_conn_state(s->client) == WR_CONN_FAILED || wr_conn_got_eof(s->client);
}

static enum wr_step heartbeat(struct wr_session *s) {
  WR_DCHECK(s->route != NULL);
  /* A stream that has been silent for so long must not pin the blocks that others fill. */
  size_t copied = 0;
  if (s->at &&
      wr_viewq_compact(&s->at->part, wr_session_slabs(s), WR_CHARGE_CLIENT, &copied) == WR_OK)
    s->copied += copied;
  struct wr_span beat = wr_reply_heartbeat((enum wr_dialect)s->dialect);
  struct wr_view v = wr_view_static(beat);
  if (s->committed && s->mode == WR_MODE_EVENTS && beat.len && wr_session_queued(s) == 0 &&
      !s->source_done && !s->terminator && s->chunk_left == 0) {
    if (wr_stream_append(&s->stream, &v, WR_EVENT_PING) == WR_OK)
      WR_RELAY_COUNT(s->relay, heartbeats, 1);
  }
  wr_session_due(s, WR_DUE_HEARTBEAT, s->route->heartbeat_ms);
  return WR_STEP_WAIT;
}

/* A client that reads slowly, or not at all. */
static enum wr_step slow_client(struct wr_session *s) {
  enum wr_err err = wr_slow_due(s);
  if (err == WR_OK) return WR_STEP_WAIT;
  if (err != WR_E_CLIENT_SLOW) return wr_session_attempt_failed(s, err, wr_span_make(NULL, 0));
  s->err = WR_E_CLIENT_SLOW;
  return wr_session_client_gone(s);
}

/* The first deadline that has passed decides; WAIT when none did. */
static enum wr_step deadlines(struct wr_session *s) {
  struct wr_span none = wr_span_make(NULL, 0);
  uint64_t now = wr_session_now_ms(s);
  /* The timer stands before every deadline, so most turns need not look at each. */
  if (wr_timer_is_set(&s->timer) && s->timer.due_ms > now) return WR_STEP_WAIT;
  for (unsigned i = 0; i < WR_DUES; i++) {
    if (!s->due[i] || wr_session_due_in(s, i, now) > 0) continue;
    s->due[i] = 0;
    switch ((enum wr_due)i) {
      case WR_DUE_STEP:
        if (s->step == WR_STEP_READ_HEAD && !s->rq) return WR_STEP_FINISH;
        if (s->step == WR_STEP_RETRY) break; /* the wait before the next attempt is over */
        if (s->step == WR_STEP_FLUSH) {
          if (!s->err) s->err = WR_E_CLIENT_SLOW;
          if (s->committed) WR_RELAY_COUNT(s->relay, slow_did[WR_SLOW_DID_GIVE_UP], 1);
          return wr_session_client_gone(s);
        }
        if (s->due_err == WR_E_BODY_TIMEOUT) return wr_session_fail(s, WR_E_BODY_TIMEOUT, none);
        if (s->at) return wr_session_attempt_failed(s, (enum wr_err)s->due_err, none);
        return wr_session_fail(s, (enum wr_err)s->due_err, none);
      case WR_DUE_BODY:
        if (s->rq && !s->rq->body_done) return wr_session_fail(s, WR_E_BODY_TIMEOUT, none);
        break;
      case WR_DUE_TOTAL: return wr_session_fail(s, WR_E_TOTAL_TIMEOUT, none);
      case WR_DUE_TOKEN: return wr_session_attempt_failed(s, WR_E_FIRST_TOKEN_TIMEOUT, none);
      case WR_DUE_IDLE: return wr_session_attempt_failed(s, WR_E_IDLE_TIMEOUT, none);
      case WR_DUE_RATE: {
        enum wr_step next = wr_session_crawls(s);
        if (next != WR_STEP_WAIT) return next;
        break;
      }
      case WR_DUE_HEARTBEAT: (void)heartbeat(s); break;
      case WR_DUE_HEDGE: wr_hedge_begin(s); break;
      case WR_DUE_SLOW: {
        enum wr_step next = slow_client(s);
        if (next != WR_STEP_WAIT) return next;
        break;
      }
      case WR_DUE_POOL: /* the step looks again */
        if (s->rq && s->step < WR_STEP_STREAM) {
          wr_request_tidy(s);
          wr_session_hook_held(s);
          wr_session_due_tidy(s);
        }
        break;
      case WR_DUES: break;
    }
  }
  return WR_STEP_WAIT;
}

/* What happened since the last turn and concerns every step alike. */
static enum wr_step before_steps(struct wr_session *s) {
  if (s->step != WR_STEP_FINISH && client_is_gone(s)) {
    if (s->step == WR_STEP_READ_HEAD && !s->rq) return WR_STEP_FINISH;
    return wr_session_client_gone(s);
  }
  if (s->shed) return wr_session_shed(s);
  return deadlines(s);
}

void wr_session_run(struct wr_task *task) {
  struct wr_session *s = WR_CONTAINER(task, struct wr_session, task);
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  WR_CHECK(!s->running);
  s->running = true;
  enum wr_step next = before_steps(s);
  if (s->hedge && next == WR_STEP_WAIT && wr_hedge_turn(s)) next = WR_STEP_RETRY;
  if (next < WR_STEPS && next != (enum wr_step)s->step) move(s, next);
  for (unsigned n = 0;; n++) {
    next = rows[s->step].run(s);
    if (next == WR_STEP_WAIT && s->cont) next = (enum wr_step)wr_continue_gap(s);
    if (next >= WR_STEP_WAIT) break;
    move(s, next);
    if (n >= 64 &&
        next == WR_STEP_READ_HEAD) { /* many small pipelined requests: others get their turn */
      wr_session_mark(s);
      break;
    }
  }
  s->running = false;
  if (next == WR_STEP_GONE)
    wr_session_free(s);
  else
    timer_arm(s);
}

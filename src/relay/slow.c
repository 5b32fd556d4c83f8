#include "relay/slow.h"

#include <stdatomic.h>

#include "base/check.h"
#include "relay/coalesce.h"
#include "relay/relay_priv.h"
#include "relay/session.h"

/* Beside the actions of conf.h: a script's "wait". */
#define DO_WAIT ((uint8_t)(WR_SLOW_STOP + 1))
#define HOOK_MS 1000u
/* Frames that wait are joined, and at last paused for, before the log can hold no more. */
#define FRAMES_MANY (WR_STREAM_FRAMES / 2)
#define FRAMES_MOST (WR_STREAM_FRAMES * 3 / 4)
#define JOIN_STEP_BYTES 1024u

static bool reads_on(const struct wr_session *s) {
  return s->slow_do != WR_SLOW_PAUSE || s->route->slow_drop != 0;
}

size_t wr_slow_bound(const struct wr_session *s) {
  if (!s->committed) return s->route->held_bytes;
  uint32_t high, low, most = s->route->slow_max_bytes;
  wr_degrade_marks(s, &high, &low);
  if (high < s->route->slow_high_bytes) most /= 4; /* memory is short: all of it is less */
  return s->slow && reads_on(s) && most > high ? most : high;
}

static bool is_stream(const struct wr_session *s) {
  return s->step == WR_STEP_STREAM && s->at && s->committed && s->mode != WR_MODE_RAW &&
         s->dialect != WR_DIALECT_NONE && !s->stopping && !s->source_done && !s->terminator;
}

/* --- joining --- */

static struct wr_coalescer *coalescer(struct wr_relay *relay) {
  if (!relay->coalescer) relay->coalescer = wr_coalescer_new();
  return relay->coalescer;
}

static void join(struct wr_session *s, uint32_t drop) {
  struct wr_coalescer *c = coalescer(s->relay);
  /* The frames of a chunk whose head has left are promised as they are. */
  if (!c || s->chunk_left || s->mode == WR_MODE_RAW || !s->at) return;
  struct wr_coalesced did = { 0, 0, 0 };
  bool joins = s->slow_do == WR_SLOW_COALESCE || s->relay->coalesce_all || !s->slow;
  if (joins || drop)
    wr_coalesce(c, &s->stream, (enum wr_dialect)s->at->dialect, s->mode == WR_MODE_LINES, joins,
                drop, &did);
  WR_RELAY_COUNT(s->relay, coalesced_events, did.joined);
  WR_RELAY_COUNT(s->relay, slow_dropped_events, did.dropped);
  wr_loop_stats(s->relay->loop)->copy_bytes[WR_COPY_COALESCE] += did.copied_bytes;
  s->copied += did.copied_bytes;
  s->coalesced += (uint32_t)(did.joined + did.dropped);
  size_t step = s->route->slow_high_bytes / 2;
  size_t at = s->stream.bytes + (step > JOIN_STEP_BYTES ? step : JOIN_STEP_BYTES);
  s->join_at = at < UINT32_MAX ? (uint32_t)at : UINT32_MAX;
}

size_t wr_session_coalesce(struct wr_session *s) {
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  if (!is_stream(s)) return 0;
  size_t before = s->stream.bytes;
  join(s, 0);
  WR_CHECK(s->stream.bytes <= before);
  return before - s->stream.bytes;
}

void wr_relay_coalesce(struct wr_relay *relay, bool on) {
  if (relay->coalesce_all == on) return;
  relay->coalesce_all = on;
  if (!on) return;
  for (struct wr_list *l = relay->sessions.next; l != &relay->sessions; l = l->next)
    (void)wr_session_coalesce(WR_CONTAINER(l, struct wr_session, link));
}

/* --- what is held --- */

static uint32_t ms_since(const struct wr_session *s, uint32_t then_ms) {
  return (uint32_t)wr_session_now_ms(s) - then_ms;
}

static uint64_t rate_of(const struct wr_session *s) {
  uint32_t ms = ms_since(s, s->slow_since_ms);
  uint32_t took = (uint32_t)wr_conn_bytes_out(s->client) - s->slow_from;
  return (uint64_t)took * 1000u / (ms ? ms : 1);
}

size_t wr_session_held_bytes(const struct wr_session *s) {
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  size_t held = wr_session_queued(s);
  if (s->at && s->at->conn)
    held += wr_conn_input_bytes(s->at->conn) + s->at->in.len + s->at->data.len + s->at->part.bytes;
  return held;
}

bool wr_session_end_legally(struct wr_session *s, struct wr_span reason, enum wr_outcome outcome,
                            enum wr_err err) {
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  WR_DCHECK(outcome > WR_OUTCOME_NONE && outcome < WR_OUTCOMES);
  if (!is_stream(s)) return false;
  wr_session_stop(s, reason);
  s->outcome = (uint8_t)outcome;
  s->err = (uint16_t)err;
  wr_session_mark(s);
  return true;
}

/* What waits beyond the mark counts for the process, as far as it is read on. */
static void charge(struct wr_session *s, size_t bytes) {
  uint32_t now = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
  if (now == s->slow_charged) return;
  atomic_fetch_add_explicit(&s->relay->shared->slow_bytes,
                            (uint64_t)now - (uint64_t)s->slow_charged, memory_order_relaxed);
  s->slow_charged = now;
}

static bool process_has_room(const struct wr_session *s) {
  uint64_t most = s->gen->conf->server.slow_bytes;
  if (!most) most = s->gen->conf->server.memory_bytes / 4;
  return !most ||
         atomic_load_explicit(&s->relay->shared->slow_bytes, memory_order_relaxed) <= most;
}

/* --- the actions --- */

static void pause(struct wr_session *s, bool on) {
  if (s->paused == on) return;
  s->paused = on;
  if (on) {
    wr_conn_pause(s->at->conn);
    wr_conn_pack(s->client);
    WR_RELAY_COUNT(s->relay, pauses, 1);
    s->due[WR_DUE_IDLE] = 0; /* it is not the upstream that is silent */
  } else {
    wr_conn_resume(s->at->conn);
    wr_session_mark(s);
  }
}

static void act(struct wr_session *s, uint8_t what, struct wr_span reason) {
  static const uint8_t did[] = { [WR_SLOW_PAUSE] = WR_SLOW_DID_PAUSE,
                                 [WR_SLOW_COALESCE] = WR_SLOW_DID_COALESCE,
                                 [WR_SLOW_STOP] = WR_SLOW_DID_STOP,
                                 [DO_WAIT] = WR_SLOW_DID_WAIT };
  WR_CHECK(what < sizeof did);
  if (what == WR_SLOW_STOP && !is_stream(s)) what = WR_SLOW_PAUSE; /* it has no legal end */
  if (what != s->slow_do || !s->slow) WR_RELAY_COUNT(s->relay, slow_did[did[what]], 1);
  s->slow_do = what;
  if (what != WR_SLOW_STOP) return;
  enum wr_outcome outcome = WR_OUTCOME_STOPPED;
  (void)!WR_EXPECT(wr_session_end_legally(s, reason, outcome, WR_E_CLIENT_SLOW));
}

/* What the route does, or a script says. WR_E_POLICY_ERROR: a guard could not say. */
static enum wr_err decide(struct wr_session *s) {
  uint8_t what = s->slow ? s->slow_do : (uint8_t)s->route->slow_action;
  struct wr_span reason = WR_SPAN("length");
  if (s->hook && s->route->hooks & WR_HOOK_SLOW_CLIENT && s->gen->hooks->slow_client) {
    struct wr_verdict v = { .kind = WR_VERDICT_DEFAULT, .max_tokens = -1, .deadline_ms = -1 };
    struct wr_hook_slow q = {
      .bytes = wr_session_queued(s),
      .events = wr_reader_left(&s->reader),
      .age_ms = ms_since(s, s->slow_since_ms),
      .rate = s->slow ? (double)rate_of(s) : 0,
    };
    s->hooked = true;
    s->hook->now_us = wr_loop_now_us(s->relay->loop);
    s->hook->sent_bytes = s->out_bytes;
    s->hook->queued_bytes = q.bytes;
    s->gen->hooks->slow_client(s->gen->hooks->ctx, s->hook, &q, &v);
    what = (uint8_t)s->route->slow_action;
    if (v.kind == WR_VERDICT_WAIT) what = DO_WAIT;
    if (v.kind == WR_VERDICT_PAUSE) what = WR_SLOW_PAUSE;
    if (v.kind == WR_VERDICT_COALESCE) what = WR_SLOW_COALESCE;
    if (v.kind == WR_VERDICT_STOP) {
      if (v.failed) return WR_E_POLICY_ERROR;
      what = WR_SLOW_STOP;
      if (v.text.len) reason = v.text;
    }
  }
  act(s, what, reason);
  return WR_OK;
}

/* When the next look at a slow client is due: whether it moves, and what a script says now. */
static void due_set(struct wr_session *s) {
  bool hook = s->hook && s->route->hooks & WR_HOOK_SLOW_CLIENT;
  uint32_t give_up = s->route->slow_give_up_ms;
  uint32_t stuck = ms_since(s, s->slow_moved_ms);
  uint64_t left = give_up > stuck ? give_up - stuck : 1;
  if (!give_up) left = hook ? HOOK_MS : 0;
  wr_session_due(s, WR_DUE_SLOW, hook && left > HOOK_MS ? HOOK_MS : left);
}

static enum wr_err enter(struct wr_session *s) {
  s->slow_since_ms = s->slow_moved_ms = (uint32_t)wr_session_now_ms(s);
  s->slow_from = s->progress = (uint32_t)wr_conn_bytes_out(s->client);
  s->join_at = 0;
  enum wr_err err = decide(s);
  s->slow = true;
  if (err == WR_OK && !s->stopping) due_set(s);
  return err;
}

void wr_slow_end(struct wr_session *s) {
  charge(s, 0);
  s->slow = false;
  s->due[WR_DUE_SLOW] = 0;
}

/* Joins when enough has come since the last time, then reads on or doesn't. */
static void steer(struct wr_session *s) {
  uint32_t high, low;
  wr_degrade_marks(s, &high, &low);
  size_t queued = wr_session_queued(s);
  bool many = s->stream.count >= FRAMES_MANY;
  if ((reads_on(s) || s->relay->coalesce_all) && s->stream.count > 1 &&
      (s->stream.bytes >= s->join_at || many)) {
    join(s, s->route->slow_drop);
    queued = wr_session_queued(s);
  }
  if (!reads_on(s)) {
    pause(s, true);
    return;
  }
  charge(s, queued > high ? queued - high : 0);
  size_t bound = wr_slow_bound(s);
  if (queued >= bound || s->stream.count >= FRAMES_MOST ||
      (queued >= high && !process_has_room(s)))
    pause(s, true);
  else if (s->paused && queued <= bound / 2)
    pause(s, false);
}

enum wr_err wr_slow_turn(struct wr_session *s) {
  WR_DCHECK(s->at != NULL && s->committed);
  size_t queued = wr_session_queued(s);
  uint32_t high, low;
  wr_degrade_marks(s, &high, &low);
  if (!s->slow) {
    if (queued < high) return WR_OK;
    enum wr_err err = enter(s);
    if (err != WR_OK || s->stopping) return err;
  } else if (queued <= low) {
    wr_slow_end(s);
    pause(s, false);
    return WR_OK;
  }
  steer(s);
  return WR_OK;
}

enum wr_err wr_slow_due(struct wr_session *s) {
  if (!s->slow || !s->at) return WR_OK;
  uint32_t sent = (uint32_t)wr_conn_bytes_out(s->client);
  uint32_t now = (uint32_t)wr_session_now_ms(s);
  if (sent != s->progress) {
    s->progress = sent;
    s->slow_moved_ms = now;
  }
  uint32_t give_up = s->route->slow_give_up_ms;
  if (give_up && now - s->slow_moved_ms >= give_up) {
    WR_RELAY_COUNT(s->relay, slow_did[WR_SLOW_DID_GIVE_UP], 1);
    return WR_E_CLIENT_SLOW;
  }
  if (s->hook && s->route->hooks & WR_HOOK_SLOW_CLIENT) {
    enum wr_err err = decide(s);
    if (err != WR_OK || s->stopping) return err;
    steer(s);
  }
  due_set(s);
  return WR_OK;
}

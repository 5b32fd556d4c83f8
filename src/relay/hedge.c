#include "relay/hedge.h"

#include <string.h>

#include "base/check.h"
#include "base/heap.h"
#include "relay/feedback.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "upstream/hedge.h"
#include "wire/http1_parse.h"

#define HEAD_BYTES 16384u
/* In so many pieces an answer is watched. What hides its content behind more of them, or behind
 * more than the connection's credit, doesn't win, and is left to take over if the first attempt
 * fails. */
#define WATCH_PIECES 256u

struct wr_hedge {
  struct wr_attempt *at;    /* owned */
  struct wr_headbuf answer; /* its head */
  bool sent;
  bool won;
  size_t seen;              /* bytes of input that were looked at and had no content */
};

const char *wr_hedge_end_name(unsigned how) {
  static const char *const names[WR_HEDGE_ENDS] = { "won", "rescued", "lost", "failed", "dropped" };
  WR_DCHECK(how < WR_HEDGE_ENDS);
  return names[how];
}

static struct wr_hedging *hedging(const struct wr_session *s) {
  return wr_upstreams_hedging(s->gen->upstreams, (size_t)(s->route - s->gen->conf->routes));
}

static bool is_held(const struct wr_session *s) {
  return s->rq && s->rq->body_done && !s->rq->streaming && !s->rq->forgotten;
}

bool wr_hedge_may_follow(const struct wr_session *s) {
  return s->route->hedge.on && s->attempts == 1 && (s->due[WR_DUE_HEDGE] || s->hedge);
}

void wr_hedge_plan(struct wr_session *s) {
  WR_DCHECK(s->at != NULL && s->hedge == NULL);
  if (!s->route->hedge.on || s->attempts != 1) return;
  struct wr_hedging *h = hedging(s);
  wr_hedging_request(h, s->route->hedge.max_permille);
  s->hedge_from_us = (uint32_t)s->at->started_us;
  uint64_t late_ms = s->route->hedge.after_ms;
  if (!late_ms) late_ms = wr_hedging_late_ms(h);
  wr_session_due(s, WR_DUE_HEDGE, late_ms);
}

static void not_now(struct wr_session *s, enum wr_hedge_not why) {
  WR_RELAY_COUNT(s->relay, hedge_nots[why], 1);
}

/* Somebody else, held and with room; NULL: nobody. */
static struct wr_peer *other(struct wr_session *s, const char **model) {
  uint64_t peers = wr_retry_others(s);
  while (peers) {
    struct wr_peer *peer = wr_session_choose(s, ~peers, false);
    if (!peer) return NULL;
    bool fits = wr_request_judge(s->rq, peer->up) == WR_OK &&
                wr_session_serves(s, peer->up, model) && wr_room_enter(s, peer);
    if (fits) return peer;
    peers &= ~(UINT64_C(1) << peer->index);
    wr_peer_unpick(peer);
  }
  return NULL;
}

/* What works on `at` works on the rival. */
static struct wr_attempt *swap(struct wr_session *s, struct wr_attempt *at) {
  struct wr_attempt *was = s->at;
  s->at = at;
  return was;
}

static void start(struct wr_session *s, struct wr_hedge *h, struct wr_peer *peer,
                  const char *model) {
  struct wr_attempt *at = h->at;
  at->magic = WR_ATTEMPT_MAGIC;
  at->peer = peer;
  at->model = model;
  at->dialect = peer->up->kind == WR_KIND_SSE ? WR_DIALECT_NONE : s->dialect;
  wr_viewq_init(&at->part);
  wr_headbuf_init(&h->answer);
  struct wr_attempt *first = swap(s, at);
  wr_session_note_begin(s);
  (void)swap(s, first);
  size_t index = (size_t)(peer->up - s->gen->conf->upstreams);
  if (index < 64) s->asked |= UINT64_C(1) << index;
  peer->attempts++;
  s->hedge = h;
  wr_dial_start(at->dial, s->gen->upstreams, peer, &s->task, false);
}

void wr_hedge_begin(struct wr_session *s) {
  WR_CHECK(s->hedge == NULL && s->route->hedge.on);
  if (s->committed || s->content || !s->at || s->attempts != 1) return;
  if (!is_held(s) || (s->step != WR_STEP_WAIT_FIRST_BYTE && s->step != WR_STEP_STREAM &&
                      s->step != WR_STEP_DIAL)) {
    not_now(s, WR_HEDGE_NOT_BODY);
    return;
  }
  if (!wr_degrade_allows(s->relay, WR_ACTION_NO_HEDGE)) {
    wr_degrade_count(s->relay, WR_ACTION_NO_HEDGE, 1);
    not_now(s, WR_HEDGE_NOT_PRESSURE);
    return;
  }
  const char *model = NULL;
  struct wr_peer *peer = other(s, &model);
  if (!peer || !wr_hedging_take(hedging(s))) {
    not_now(s, peer ? WR_HEDGE_NOT_BUDGET : WR_HEDGE_NOT_PEER);
  } else {
    struct wr_hedge *h = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *h);
    struct wr_attempt *at = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *at);
    struct wr_dial *dial = wr_heap_alloc(WR_HEAP_RELAY, sizeof *dial);
    if (h && at && dial) {
      at->dial = dial;
      h->at = at;
      start(s, h, peer, model);
      return;
    }
    wr_heap_free(WR_HEAP_RELAY, h);
    wr_heap_free(WR_HEAP_RELAY, at);
    wr_heap_free(WR_HEAP_RELAY, dial);
  }
  if (!peer) return;
  wr_room_leave(s, peer);
  wr_peer_unpick(peer);
}

/* What an attempt brought that nobody wants any more, and what it was asked. */
static void count_cost(struct wr_session *s, const struct wr_attempt *at, bool asked) {
  if (at->conn)
    WR_RELAY_COUNT(s->relay, hedge_bytes, wr_conn_bytes_in(at->conn) - at->in_from);
  if (asked) WR_RELAY_COUNT(s->relay, hedge_tokens, s->in_bytes / 4);
}

void wr_hedge_drop(struct wr_session *s, enum wr_hedge_end how) {
  struct wr_hedge *h = s->hedge;
  if (!h) return;
  s->hedge = NULL;
  s->hedged = (uint8_t)(1u + how);
  WR_RELAY_COUNT(s->relay, hedge_ends[how], 1);
  count_cost(s, h->at, h->sent);
  wr_headbuf_fini(&h->answer);
  struct wr_attempt *first = swap(s, h->at);
  if (!h->at->noted) wr_session_note_failed(s, WR_E_CLIENT_GONE); /* says nothing of its peer */
  (void)swap(s, first);
  wr_session_attempt_free(s, h->at, false);
  wr_heap_free(WR_HEAP_RELAY, h);
}

void wr_hedge_content(struct wr_session *s) {
  WR_DCHECK(s->at != NULL);
  wr_hedge_drop(s, WR_HEDGE_LOST);
  s->due[WR_DUE_HEDGE] = 0;
  if (s->attempts > 1) return; /* a time of two attempts is no time of a first one */
  uint32_t us = (uint32_t)wr_loop_now_us(s->relay->loop) - s->hedge_from_us;
  wr_hedging_sample(hedging(s), us / 1000, wr_session_now_ms(s));
}

unsigned wr_hedge_take_over(struct wr_session *s) {
  struct wr_hedge *h = s->hedge;
  WR_CHECK(h != NULL && s->at == NULL && s->rq != NULL);
  enum wr_hedge_end how = h->won ? WR_HEDGE_WON : WR_HEDGE_RESCUED;
  s->hedge = NULL;
  s->hedged = (uint8_t)(1u + how);
  WR_RELAY_COUNT(s->relay, hedge_ends[how], 1);
  s->at = h->at;
  s->rq->answer = h->answer;
  s->rq->head_sent = h->sent;
  if (s->hook) s->hook->upstream = s->at->peer->up->name;
  wr_heap_free(WR_HEAP_RELAY, h);
  struct wr_conf_timeouts t = wr_session_timeouts(s);
  if (s->at->dial) {
    wr_session_due_step(s, t.connect_ms, WR_E_CONNECT_TIMEOUT);
    return WR_STEP_DIAL;
  }
  wr_session_due_step(s, t.first_byte_ms, WR_E_FIRST_BYTE_TIMEOUT);
  return WR_STEP_WAIT_FIRST_BYTE;
}

/* WR_OK: the request is on its way. */
static enum wr_err dial_and_send(struct wr_session *s, struct wr_hedge *h) {
  struct wr_attempt *at = h->at;
  enum wr_err err = wr_dial_poll(at->dial, &at->conn);
  if (err != WR_OK) return err;
  at->reused = at->dial->reused;
  at->in_from = wr_conn_bytes_in(at->conn);
  wr_heap_free(WR_HEAP_RELAY, at->dial);
  at->dial = NULL;
  if (!is_held(s)) return WR_E_INTERNAL;
  struct wr_attempt *first = swap(s, at);
  err = wr_request_send(s);
  (void)swap(s, first);
  h->sent = err == WR_OK;
  if (err == WR_OK) err = wr_conn_flush(at->conn);
  return err == WR_E_POOL_FULL ? WR_E_NOMEM : err; /* a part may have left: not twice */
}

/* Is there content, or an end, among these decoded bytes? AGAIN: not yet. UPSTREAM_ERROR: an error
 * event. */
static enum wr_err look(struct wr_session *s, const struct wr_attempt *at, bool lines,
                        struct wr_span in) {
  struct wr_sse_parser sse;
  struct wr_ndjson cut;
  wr_sse_init(&sse, s->route->event_bytes);
  wr_ndjson_init(&cut, s->route->event_bytes);
  while (in.len) {
    size_t used = 0;
    struct wr_sse_event e = { .kind = WR_SSE_EVENT };
    struct wr_ndjson_line line;
    enum wr_err err = lines ? wr_ndjson_next(&cut, in, &used, &line)
                            : wr_sse_next(&sse, in, &used, &e);
    if (err != WR_OK) return err;
    if (lines) e.data = line.text;
    struct wr_event ev = { .raw = wr_span_sub(in, 0, used), .name = wr_span_at(in.ptr, e.name),
                           .data = wr_span_at(in.ptr, e.data) };
    struct wr_usage usage;
    if (e.kind == WR_SSE_EVENT && e.data.len) {
      err = wr_dialect_read(&s->relay->dialects, (enum wr_dialect)at->dialect, &ev, &usage);
      if (err != WR_OK) return err;
      if (ev.kind == WR_EVENT_ERROR) return WR_E_UPSTREAM_ERROR;
      if (ev.content || ev.finish || ev.terminator) return WR_OK;
    }
    in = wr_span_sub(in, used, in.len - used);
  }
  return WR_E_AGAIN;
}

/* Decodes a copy of what lies in the connection, which stays there. */
static enum wr_err watch(struct wr_session *s, struct wr_hedge *h, const struct wr_head *head,
                         bool lines) {
  struct wr_conn *conn = h->at->conn;
  size_t bytes = wr_conn_input_bytes(conn), len = 0;
  if (bytes == h->seen) return WR_E_AGAIN;
  h->seen = bytes;
  char *room = wr_relay_scratch(s->relay, bytes);
  if (!room) return WR_E_NOMEM;
  struct wr_http1_body body;
  wr_http1_body_init(&body, (enum wr_framing)head->framing, head->content_length);
  struct wr_view taken[WATCH_PIECES];
  size_t n = 0;
  enum wr_err err = WR_E_AGAIN;
  for (; n < WATCH_PIECES && wr_conn_take(conn, &taken[n]); n++) {
    struct wr_span in = wr_view_span(&taken[n]);
    while (in.len && err == WR_E_AGAIN) {
      size_t used = 0;
      struct wr_span data;
      enum wr_err got = wr_http1_body_next(&body, in, &used, &data);
      if (got != WR_OK && got != WR_E_AGAIN && got != WR_E_END) err = WR_E_UPSTREAM_FRAMING;
      if (data.len) memcpy(room + len, data.ptr, data.len);
      len += data.len;
      if (got == WR_E_END || !used) break;
      in = wr_span_sub(in, used, in.len - used);
    }
  }
  while (n--) {
    if (wr_conn_unread(conn, &taken[n]) != WR_OK) err = WR_E_NOMEM; /* bytes are lost */
  }
  return err == WR_E_AGAIN ? look(s, h->at, lines, wr_span_make(room, len)) : err;
}

static bool is_type(struct wr_span value, struct wr_span type) {
  return value.len >= type.len && wr_span_ieq(wr_span_sub(value, 0, type.len), type);
}

/* WR_OK: there is what a client wants to see. */
static enum wr_err judge(struct wr_session *s, struct wr_hedge *h) {
  struct wr_attempt *at = h->at;
  struct wr_head *head = &s->relay->head;
  if (wr_conn_input_bytes(at->conn) > 0) at->answered = true;
  if (!at->head_whole) {
    enum wr_err err = wr_headbuf_read(&h->answer, at->conn, HEAD_BYTES, false);
    if (err != WR_OK) return wr_http1_as_upstream(err);
    at->head_whole = true;
  }
  const char *base = h->answer.head.ptr;
  s->relay->head_of = NULL; /* an answer's now */
  enum wr_err err = wr_http1_parse_response(wr_view_span(&h->answer.head),
                                            (enum wr_method)s->rq->method, NULL, head);
  if (err != WR_OK) return wr_http1_as_upstream(err);
  if (head->status < 200) return WR_E_UPSTREAM_SYNTAX; /* rare, and no rival's business */
  if (head->status > 299) {
    struct wr_attempt *first = swap(s, at);
    if (head->status == 429 || head->status >= 500) wr_session_note_answer(s, head, base);
    (void)swap(s, first);
    return WR_E_UPSTREAM_STATUS;
  }
  struct wr_span type = wr_head_value(head, base, WR_FIELD_CONTENT_TYPE);
  bool lines = is_type(type, WR_SPAN("application/x-ndjson"));
  if (!lines && !is_type(type, WR_SPAN("text/event-stream"))) return WR_OK;
  return watch(s, h, head, lines);
}

bool wr_hedge_turn(struct wr_session *s) {
  struct wr_hedge *h = s->hedge;
  struct wr_attempt *at = h->at;
  WR_MAGIC_CHECK(at, WR_ATTEMPT_MAGIC);
  WR_DCHECK(!s->committed && s->rq != NULL);
  if (!s->at || s->step < WR_STEP_DIAL || s->step > WR_STEP_STREAM || s->step == WR_STEP_SEND)
    return false;
  enum wr_err err = at->dial ? dial_and_send(s, h) : WR_OK;
  if (err == WR_OK) err = judge(s, h);
  if (err == WR_E_AGAIN && at->conn) {
    if (wr_conn_state(at->conn) == WR_CONN_FAILED) err = wr_conn_err(at->conn);
    else if (wr_conn_got_eof(at->conn)) err = WR_E_RESET;
  }
  if (err == WR_E_AGAIN || err == WR_E_POOL_FULL) return false;
  if (err == WR_OK) {
    h->won = true;
    count_cost(s, s->at, s->rq->head_sent);
    return true;
  }
  struct wr_attempt *first = swap(s, at);
  if (!at->noted) wr_session_note_failed(s, err);
  (void)swap(s, first);
  wr_hedge_drop(s, WR_HEDGE_FAILED);
  return false;
}

/* SEND and WAIT_FIRST_BYTE: the request goes out, the answer's head comes in. */
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/coding.h"
#include "relay/feedback.h"
#include "relay/relay_priv.h"
#include "relay/reply.h"
#include "relay/session.h"
#include "wire/http1_parse.h"
#include "wire/http1_write.h"

#define HEAD_BYTES 16384u
/* Body bytes on their way to the upstream before the client's connection has to wait. */
#define SEND_WINDOW_BYTES 131072u

/* One read of an event stream: many events where they come fast, and all that can pile up where
 * a client stops reading. */
#define STREAM_CREDIT_BYTES 16384u

static struct wr_span none(void) { return wr_span_make(NULL, 0); }

static enum wr_err put_chunk(struct wr_session *s, struct wr_view *take_v) {
  WR_DCHECK(take_v->len > 0);
  char head[WR_HTTP1_CHUNK_HEAD_BYTES];
  struct wr_view end = wr_view_static(WR_HTTP1_CRLF);
  struct wr_conn *up = s->at->conn;
  enum wr_err err =
      wr_conn_write_copy(up, wr_span_make(head, wr_http1_chunk_head(head, take_v->len)));
  if (err != WR_OK) {
    wr_view_drop(take_v);
    return err;
  }
  err = wr_conn_write(up, take_v);
  return err == WR_OK ? wr_conn_write(up, &end) : err;
}

/* Moves body bytes from the client to the upstream as far as the window allows. WR_OK: more will
 * come. */
static enum wr_err send_more(struct wr_session *s) {
  WR_DCHECK(s->rq->streaming && s->rq->head_sent);
  struct wr_request *rq = s->rq;
  bool chunked = !rq->length_known;
  for (;;) {
    struct wr_view v;
    while (wr_viewq_shift(&rq->body, &v)) {
      enum wr_err err = chunked ? put_chunk(s, &v) : wr_conn_write(s->at->conn, &v);
      if (err != WR_OK) return err;
    }
    if (rq->body_done) break;
    if (wr_conn_unsent_bytes(s->at->conn) >= SEND_WINDOW_BYTES) return WR_OK;
    enum wr_err err = wr_request_read_body(s, SEND_WINDOW_BYTES / 2);
    if (err != WR_OK && err != WR_E_END) return err;
    err = wr_request_judge_more(rq, s->at->peer->up);
    if (err != WR_OK) return err;
    if (rq->body.bytes == 0 && !rq->body_done) return WR_OK;
  }
  struct wr_view last = wr_view_static(WR_HTTP1_LAST_CHUNK);
  if (chunked) {
    enum wr_err err = wr_conn_write(s->at->conn, &last);
    if (err != WR_OK) return err;
  }
  return WR_E_END;
}

static enum wr_step sent(struct wr_session *s) {
  wr_session_due_step(s, wr_session_timeouts(s).first_byte_ms, WR_E_FIRST_BYTE_TIMEOUT);
  if (!s->rq->kept) s->rq->streaming = true; /* sent once */
  if (s->rq->streaming || !(s->at->reused || wr_retry_may_follow(s))) {
    wr_request_forget(s->rq);
    if (s->hook) s->hook->request = NULL;
  } else {
    wr_session_due_tidy(s);
  }
  return WR_STEP_WAIT_FIRST_BYTE;
}

/* The request's head and what is held of its body. */
static enum wr_err send_first(struct wr_session *s) {
  struct wr_request *rq = s->rq;
  enum wr_err err = wr_request_send(s);
  if (err != WR_OK) return err;
  rq->head_sent = true;
  if (!rq->body_done) {
    rq->streaming = true;
    rq->held_bytes = rq->body.bytes;
    wr_viewq_fini(&rq->body);
    wr_viewq_init(&rq->body);
    wr_session_due_step(s, s->route->body_timeout_ms, WR_E_BODY_TIMEOUT);
  }
  return WR_OK;
}

/* An upstream that answers before it has read all says no; what is left of the body is of no use
 * to it. Its answer counts even when our sending broke on its going away. */
static enum wr_step early_answer(struct wr_session *s) {
  s->keep_alive = false;
  return sent(s);
}

static enum wr_step send_failed(struct wr_session *s, enum wr_err err) {
  struct wr_conn *up = s->at->conn;
  if (s->rq->head_sent && wr_conn_input_bytes(up) > 0) return early_answer(s);
  return wr_session_attempt_failed(s, err, wr_span_str(wr_conn_why(up)));
}

enum wr_step wr_step_send(struct wr_session *s) {
  WR_CHECK(s->rq != NULL && s->at != NULL && s->at->conn != NULL);
  struct wr_request *rq = s->rq;
  struct wr_conn *up = s->at->conn;
  enum wr_err err = rq->head_sent ? WR_OK : send_first(s);
  if (err != WR_OK) return send_failed(s, err);
  if (wr_conn_state(up) == WR_CONN_FAILED) return send_failed(s, wr_conn_err(up));
  if (rq->streaming && !rq->body_done) {
    uint64_t before = s->in_bytes;
    err = send_more(s);
    if (wr_conn_state(up) == WR_CONN_FAILED) return send_failed(s, wr_conn_err(up));
    if (err != WR_OK && err != WR_E_END) {
      s->keep_alive = false;
      return wr_session_fail(s, err, none());
    }
    if (s->in_bytes != before) wr_session_due_step(s, s->route->body_timeout_ms, WR_E_BODY_TIMEOUT);
  }
  err = wr_conn_flush(up);
  if (err != WR_OK) return send_failed(s, err);
  if (rq->body_done) return sent(s);
  if (wr_conn_input_bytes(up) > 0 || wr_conn_got_eof(up)) return early_answer(s);
  /* A window that has left at once is told by nobody: what the client has sent meanwhile gets
   * the next turn. */
  if (wr_conn_unsent_bytes(up) == 0 && wr_conn_input_bytes(s->client) > 0) wr_session_mark(s);
  /* Who is waited for? */
  s->due_err =
      wr_conn_unsent_bytes(up) >= SEND_WINDOW_BYTES ? WR_E_FIRST_BYTE_TIMEOUT : WR_E_BODY_TIMEOUT;
  return WR_STEP_WAIT;
}

static bool is_type(struct wr_span value, struct wr_span type) {
  return value.len >= type.len && wr_span_ieq(wr_span_sub(value, 0, type.len), type);
}

static enum wr_mode mode_of(const struct wr_session *s, const struct wr_head *h, const char *base) {
  struct wr_span type = wr_head_value(h, base, WR_FIELD_CONTENT_TYPE);
  if (h->status < 200 || h->status > 299 || s->no_body) return WR_MODE_RAW;
  if (is_type(type, WR_SPAN("text/event-stream"))) return WR_MODE_EVENTS;
  if (is_type(type, WR_SPAN("application/x-ndjson"))) return WR_MODE_LINES;
  return WR_MODE_RAW;
}

/* Fields of the upstream that don't pass. */
static bool is_dropped(const struct wr_head *h, const char *base, const struct wr_field *f) {
  return wr_head_is_hop_by_hop(h, base, f) || wr_head_is_rewritten(f) || f->id == WR_FIELD_ALT_SVC;
}

static enum wr_err put_framing(struct wr_session *s, const struct wr_head *h, struct wr_buf *out) {
  s->chunked = false;
  if (s->no_body && h->status != 304 && !s->head_request) return WR_OK;
  if (s->mode == WR_MODE_RAW && h->framing == WR_FRAMING_LENGTH)
    return wr_http1_put_field_u64(out, WR_SPAN("content-length"), h->content_length);
  if (s->no_body)
    return h->content_length
               ? wr_http1_put_field_u64(out, WR_SPAN("content-length"), h->content_length)
               : WR_OK;
  if (s->http10) {
    s->keep_alive = false;
    return WR_OK;
  }
  s->chunked = true;
  return wr_http1_put_field(out, WR_SPAN("transfer-encoding"), WR_SPAN("chunked"));
}

/* The head for the client, written into a block that waits for the commit point. */
static enum wr_err write_answer_head(struct wr_session *s, const struct wr_head *h,
                                     const char *base) {
  WR_DCHECK(!s->committed && s->status == 0);
  char *room = wr_relay_scratch(s->relay, HEAD_BYTES * 2);
  if (!room) return WR_E_NOMEM;
  struct wr_buf out;
  wr_buf_init(&out, room, HEAD_BYTES * 2);
  enum wr_err err = wr_http1_put_status(&out, h->status, wr_span_at(base, h->reason));
  for (size_t i = 0; err == WR_OK && i < h->field_count; i++) {
    const struct wr_field *f = &h->fields[i];
    if (!is_dropped(h, base, f))
      err = wr_http1_put_field(&out, wr_span_at(base, f->name), wr_span_at(base, f->value));
  }
  if (err == WR_OK) err = wr_degrade_field(s, &out);
  if (err == WR_OK) err = put_framing(s, h, &out);
  if (s->relay->draining) s->keep_alive = false;
  if (err == WR_OK && !s->keep_alive)
    err = wr_http1_put_field(&out, WR_SPAN("connection"), WR_SPAN("close"));
  if (err == WR_OK && s->keep_alive && s->http10)
    err = wr_http1_put_field(&out, WR_SPAN("connection"), WR_SPAN("keep-alive"));
  if (err == WR_OK) err = wr_http1_put_end(&out);
  if (err != WR_OK) return err == WR_E_ARG ? WR_E_UPSTREAM_SYNTAX : err;
  if (out.len > wr_slabs_max_block(wr_session_slabs(s))) return WR_E_UPSTREAM_SYNTAX;
  struct wr_block *b = wr_slabs_alloc(wr_session_slabs(s), out.len, WR_CHARGE_CLIENT);
  if (!b) return WR_E_POOL_FULL;
  memcpy(b->data, out.ptr, out.len);
  s->rq->answer_head = wr_view_take(b, 0, out.len);
  return WR_OK;
}

/* weir asks for identity. A stream that is compressed can't be read; a whole answer passes to who
 * can read it. An error passes as it is: its status says more than its words. */
static enum wr_err encoding_check(const struct wr_session *s, const struct wr_head *h,
                                  const char *base) {
  if (s->mode == WR_MODE_RAW && (s->no_body || h->status >= 400)) return WR_OK;
  uint8_t accepted = s->mode == WR_MODE_RAW ? s->rq->codings : 0;
  for (size_t i = 0; i < h->field_count; i++) /* there may be several */
    if (h->fields[i].id == WR_FIELD_CONTENT_ENCODING &&
        !wr_coding_suits(accepted, wr_span_at(base, h->fields[i].value)))
      return WR_E_ENCODING;
  return WR_OK;
}

/* Guards of events and texts look at streams only: what comes whole would pass them unseen. */
static enum wr_err guard_check(const struct wr_session *s) {
  const uint32_t of_streams = WR_HOOK_EVENT | WR_HOOK_TEXT;
  if (!(s->route->guards & of_streams) || s->mode != WR_MODE_RAW || !s->hook) return WR_OK;
  bool success = s->upstream_status >= 200 && s->upstream_status <= 299;
  bool seen = !success || s->no_body || s->dialect == WR_DIALECT_NONE;
  return seen ? WR_OK : WR_E_POLICY_ERROR;
}

/* The body begins. */
static void open_body(struct wr_session *s, const struct wr_head *h) {
  struct wr_attempt *at = s->at;
  at->keep_alive = h->keep_alive && s->rq->body_done;
  wr_http1_body_init(&at->body, (enum wr_framing)h->framing, h->content_length);
  if (!(s->route->hooks & WR_HOOK_RESPONSE_START) || s->committed)
    wr_headbuf_fini(&s->rq->answer);
  wr_session_due_step(s, 0, WR_OK);
  wr_session_due(s, WR_DUE_POOL, 0);
  struct wr_conf_timeouts t = wr_session_timeouts(s);
  wr_session_due(s, WR_DUE_IDLE, t.idle_ms);
  if (s->mode == WR_MODE_RAW) return;
  wr_session_due(s, WR_DUE_TOKEN, t.first_token_ms);
  if (s->mode == WR_MODE_EVENTS) {
    wr_sse_init(&at->cut.sse, s->route->event_bytes);
    wr_session_due(s, WR_DUE_HEARTBEAT, s->route->heartbeat_ms);
  } else {
    wr_ndjson_init(&at->cut.lines, s->route->event_bytes);
  }
}

/* The client has a head already: this answer must be the same kind of stream. */
static enum wr_err answered_again(struct wr_session *s, const struct wr_head *h,
                                  const char *base) {
  WR_DCHECK(wr_continue_is_on(s) && s->rq != NULL);
  s->rq->retry.status = h->status;
  if (h->status < 200 || h->status > 299) return WR_E_UPSTREAM_STATUS;
  if (h->framing == WR_FRAMING_NONE || mode_of(s, h, base) != (enum wr_mode)s->mode)
    return WR_E_UPSTREAM_SYNTAX;
  enum wr_err err = encoding_check(s, h, base);
  if (err != WR_OK) return err;
  wr_continue_start(s);
  open_body(s, h);
  return WR_OK;
}

/* The answer's head is here; on POOL_FULL nothing has happened. */
static enum wr_err answered(struct wr_session *s, const struct wr_head *h, const char *base) {
  if (s->committed) return answered_again(s, h, base);
  s->upstream_status = h->status;
  s->no_body = h->framing == WR_FRAMING_NONE;
  s->mode = (uint8_t)mode_of(s, h, base);
  enum wr_err err = encoding_check(s, h, base);
  if (err == WR_OK) err = guard_check(s);
  if (err == WR_OK) err = write_answer_head(s, h, base);
  if (err != WR_OK) return err;
  if (!s->at->judged) wr_session_note_answer(s, h, base);
  s->first_byte_us = (uint32_t)(wr_loop_now_us(s->relay->loop) - s->started_us);
  open_body(s, h);
  if (s->route->continues && s->mode != WR_MODE_RAW) wr_continue_watch(s);
  return WR_OK;
}

/* WR_OK: *h is the head of the answer. */
static enum wr_err read_answer(struct wr_session *s, struct wr_head *h) {
  struct wr_attempt *at = s->at;
  for (;;) {
    enum wr_err err = WR_OK;
    if (wr_conn_input_bytes(at->conn) > 0) at->answered = true;
    if (!at->head_whole) err = wr_headbuf_read(&s->rq->answer, at->conn, HEAD_BYTES, false);
    if (err != WR_OK) return wr_http1_as_upstream(err);
    at->head_whole = true;
    err = wr_http1_parse_response(wr_view_span(&s->rq->answer.head),
                                  (enum wr_method)s->rq->method, NULL, h);
    if (err == WR_OK && h->status == 101) err = WR_E_UPSTREAM_SYNTAX;
    if (err != WR_OK) return wr_http1_as_upstream(err);
    if (h->status >= 200) return WR_OK;
    wr_headbuf_fini(&s->rq->answer); /* 1xx says nothing that we need */
    at->head_whole = false;
  }
}

/* A status that is the upstream's own failure: UPSTREAM_STATUS when the client isn't to see it. */
static enum wr_err judge(struct wr_session *s, struct wr_head *h) {
  if (!wr_retry_is_failure(s, h, s->rq->answer.head.ptr)) return WR_OK;
  if (!s->at->judged) wr_session_note_answer(s, h, s->rq->answer.head.ptr);
  if (wr_retry_judge_head(s, h, s->rq->answer.head.ptr) != WR_AGAIN_NO) return WR_E_UPSTREAM_STATUS;
  s->relay->head_of = NULL; /* a policy may have read the request's head meanwhile */
  return read_answer(s, h);
}

enum wr_step wr_step_wait_first_byte(struct wr_session *s) {
  WR_CHECK(s->rq != NULL && (!s->committed || wr_continue_is_on(s)));
  struct wr_attempt *at = s->at;
  struct wr_head *h = &s->relay->head;
  s->relay->head_of = NULL; /* an answer's now */
  enum wr_err err = read_answer(s, h);
  if (err == WR_OK) err = judge(s, h);
  if (err == WR_OK) err = answered(s, h, s->rq->answer.head.ptr);
  if (err == WR_OK) return WR_STEP_STREAM;
  if (err == WR_E_POOL_FULL) { /* the upstream has answered: that is worth waiting for */
    wr_session_due_pool(s);
    return WR_STEP_WAIT;
  }
  if (err != WR_E_AGAIN) return wr_session_attempt_failed(s, err, none());
  if (wr_conn_state(at->conn) == WR_CONN_FAILED)
    return wr_session_attempt_failed(s, wr_conn_err(at->conn), wr_span_str(wr_conn_why(at->conn)));
  if (wr_conn_got_eof(at->conn)) return wr_session_attempt_failed(s, WR_E_RESET, none());
  return WR_STEP_WAIT;
}

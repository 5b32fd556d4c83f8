/* What ends a request other than well, before and after the commit point. */
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/feedback.h"
#include "relay/hedge.h"
#include "relay/relay_priv.h"
#include "relay/reply.h"
#include "relay/session.h"
#include "relay/slow.h"
#include "relay/window.h"
#include "wire/http1_write.h"

#define REPLY_ROOM 32768u
/* All that a verdict and hooks may set, and what weir says itself. */
#define HEAD_ROOM 12288u
/* An answer's text that a policy gives, at most. */
#define ANSWER_BYTES (256u << 10)

static struct wr_span none(void) { return wr_span_make(NULL, 0); }

void wr_session_attempt_free(struct wr_session *s, struct wr_attempt *at, bool reusable) {
  WR_MAGIC_CHECK(at, WR_ATTEMPT_MAGIC);
  if (at->dial) wr_dial_cancel(at->dial);
  wr_heap_free(WR_HEAP_RELAY, at->dial);
  wr_view_drop(&at->in);
  wr_view_drop(&at->data);
  wr_viewq_fini(&at->part);
  wr_windows_free(at->win);
  if (at->conn && reusable)
    wr_shelf_put(&at->peer->shelf, at->conn);
  else if (at->conn)
    wr_conn_abort(at->conn);
  wr_room_leave(s, at->peer);
  wr_peer_put(at->peer);
  at->magic = 0;
  wr_heap_free(WR_HEAP_RELAY, at);
}

void wr_session_attempt_end(struct wr_session *s, bool reusable) {
  struct wr_attempt *at = s->at;
  if (!at) return;
  wr_session_note_end(s);
  if (s->rq) {
    wr_headbuf_fini(&s->rq->answer);
    wr_view_drop(&s->rq->answer_head);
  }
  s->peer = at->peer;
  s->reused = at->reused;
  wr_session_attempt_free(s, at, reusable);
  s->at = NULL;
  s->paused = false;
  wr_slow_end(s);
  s->tight = false;
  for (unsigned i = 0; i < WR_DUES; i++) /* the request's own caps span its attempts */
    if (i != WR_DUE_TOTAL && i != WR_DUE_BODY) s->due[i] = 0;
}

/* What an error makes of the exchange. */
static enum wr_outcome outcome_of(enum wr_err err) {
  switch (err) {
    case WR_E_POOL_FULL:
    case WR_E_NOMEM:
    case WR_E_SHED:
    case WR_E_PRESSURE:
    case WR_E_DRAINING: return WR_OUTCOME_SHED;
    case WR_E_IDLE_TIMEOUT:
    case WR_E_FIRST_BYTE_TIMEOUT:
    case WR_E_FIRST_TOKEN_TIMEOUT:
    case WR_E_TOTAL_TIMEOUT: return WR_OUTCOME_STALLED;
    case WR_E_TRUNCATED: return WR_OUTCOME_TRUNCATED;
    case WR_E_POLICY_ERROR: return WR_OUTCOME_STOPPED;
    default: break;
  }
  return wr_err_retry(err) == WR_RETRY_NONE && err != WR_E_NO_PEER ? WR_OUTCOME_REFUSED
                                                                   : WR_OUTCOME_UPSTREAM_ERROR;
}

static void remember(struct wr_session *s, enum wr_err err, struct wr_span why) {
  WR_DCHECK(err != WR_OK && err < WR_E_COUNT);
  if (!s->err) s->err = (uint16_t)err;
  if (s->outcome == WR_OUTCOME_NONE) s->outcome = (uint8_t)outcome_of(err);
  if (why.len) wr_session_name(s, none(), none(), why);
}

#define LAST_RESORT_HEAD \
  "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n" \
  "retry-after-ms: 1000\r\nconnection: close\r\n"
#define LAST_RESORT_TEXT "weir's memory pool is exhausted; try again shortly"

#define LAST_RESORT_OPENAI                                                                     \
  "{\"error\":{\"message\":\"" LAST_RESORT_TEXT                                                 \
  "\",\"type\":\"server_error\",\"param\":null,\"code\":\"pool_full\"}}"
#define LAST_RESORT_ANTHROPIC                                                                  \
  "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"" LAST_RESORT_TEXT \
  "\"}}"
_Static_assert(sizeof LAST_RESORT_OPENAI - 1 == 128, "as the head says");
_Static_assert(sizeof LAST_RESORT_ANTHROPIC - 1 == 115, "as the head says");

/* When nothing else can be had: a constant answer, without a byte of memory. */
static enum wr_step last_resort(struct wr_session *s) {
  static const char openai[] =
      LAST_RESORT_HEAD "content-length: 128\r\n\r\n" LAST_RESORT_OPENAI;
  static const char anthropic[] =
      LAST_RESORT_HEAD "content-length: 115\r\n\r\n" LAST_RESORT_ANTHROPIC;
  bool is_anthropic = s->dialect == WR_DIALECT_ANTHROPIC;
  struct wr_span text = is_anthropic ? wr_span_make(anthropic, sizeof anthropic - 1)
                                     : wr_span_make(openai, sizeof openai - 1);
  if (s->head_request) text.len -= is_anthropic ? 115 : 128;
  struct wr_view v = wr_view_static(text);
  s->keep_alive = false;
  s->status = 503;
  if (wr_conn_write(s->client, &v) != WR_OK) return wr_session_client_gone(s);
  return WR_STEP_FLUSH;
}

/* Appends bytes that were written here to the log or straight to the connection, in blocks of
 * the pool. */
static enum wr_err put_copy(struct wr_session *s, struct wr_span bytes, bool to_log) {
  struct wr_slabs *slabs = wr_session_slabs(s);
  while (bytes.len) {
    size_t n = bytes.len < wr_slabs_max_block(slabs) ? bytes.len : wr_slabs_max_block(slabs);
    struct wr_block *b = wr_slabs_alloc(slabs, n, WR_CHARGE_CLIENT);
    if (!b) return WR_E_POOL_FULL;
    memcpy(b->data, bytes.ptr, n);
    struct wr_view v = wr_view_take(b, 0, n);
    enum wr_err err =
        to_log ? wr_stream_append(&s->stream, &v, WR_EVENT_UNKNOWN) : wr_conn_write(s->client, &v);
    if (err != WR_OK) return err;
    bytes = wr_span_sub(bytes, n, bytes.len - n);
  }
  return WR_OK;
}

/* Does one of these lines, each with its end, begin with the name? */
static bool has_field(struct wr_span lines, struct wr_span name) {
  while (lines.len > name.len) {
    if (lines.ptr[name.len] == ':' && wr_span_ieq(wr_span_sub(lines, 0, name.len), name))
      return true;
    const char *end = memchr(lines.ptr, '\n', lines.len);
    size_t n = end ? (size_t)(end - lines.ptr) + 1 : lines.len;
    lines = wr_span_sub(lines, n, lines.len - n);
  }
  return false;
}

/* Where neither the verdict nor the stream's own headers say it. */
static enum wr_err put_retry_after(const struct wr_session *s, struct wr_buf *out, unsigned status,
                                   const struct wr_verdict *v) {
  uint32_t ms = s->retry_after_ms;
  for (size_t i = 0; v && i < v->header_count; i++)
    if (wr_span_ieq(v->headers[i].name, WR_SPAN("retry-after"))) return WR_OK;
  if (s->hook && has_field(s->hook->headers, WR_SPAN("retry-after"))) return WR_OK;
  if (status != 503 && status != 429) return WR_OK;
  if (!ms) ms = status == 503 ? wr_relay_wait_ms(s->relay, 0) : 1000;
  enum wr_err err = wr_http1_put_field_u64(out, WR_SPAN("retry-after"), (ms + 999u) / 1000u);
  return err == WR_OK ? wr_http1_put_field_u64(out, WR_SPAN("retry-after-ms"), ms) : err;
}

/* Head and body of an answer made here. The body stands at the end of the same room. */
static enum wr_step reply(struct wr_session *s, unsigned status, struct wr_span type,
                          struct wr_span body, const struct wr_verdict *v) {
  WR_CHECK(!s->committed && status >= 200 && status <= 599);
  char head[HEAD_ROOM];
  size_t body_bytes = s->head_request ? 0 : body.len;
  struct wr_buf out;
  wr_buf_init(&out, head, sizeof head);
  if (s->rq && !s->rq->body_done)
    s->keep_alive = false; /* what is left of the request isn't read */
  if (s->relay->draining || status == 503) s->keep_alive = false;
  enum wr_err err = wr_http1_put_status(&out, status, none());
  if (err == WR_OK) err = wr_http1_put_field(&out, WR_SPAN("content-type"), type);
  for (size_t i = 0; err == WR_OK && v && i < v->header_count; i++)
    err = wr_http1_put_field(&out, v->headers[i].name, v->headers[i].value);
  if (err == WR_OK) err = wr_degrade_field(s, &out);
  if (err == WR_OK) err = put_retry_after(s, &out, status, v);
  if (err == WR_OK && s->hook) wr_buf_put(&out, s->hook->headers); /* checked lines */
  if (err == WR_OK && status == 401)
    err = wr_http1_put_field(&out, WR_SPAN("www-authenticate"), WR_SPAN("Bearer"));
  if (err == WR_OK && !s->keep_alive)
    err = wr_http1_put_field(&out, WR_SPAN("connection"), WR_SPAN("close"));
  if (err == WR_OK) err = wr_http1_put_field_u64(&out, WR_SPAN("content-length"), body.len);
  if (err == WR_OK) err = wr_http1_put_end(&out);
  if (s->head_request) body.len = 0;
  /* A short answer leaves in one block: all of it is had, or nothing. */
  if (err == WR_OK && body.len <= sizeof head - out.len) {
    wr_buf_put(&out, body);
    body.len = 0;
  }
  if (err == WR_OK) err = put_copy(s, wr_buf_span(&out), false);
  if (err == WR_OK) err = put_copy(s, body, false);
  if (err == WR_E_POOL_FULL && wr_conn_unsent_bytes(s->client) == 0) return last_resort(s);
  if (err != WR_OK) return wr_session_client_gone(s);
  s->status = (uint16_t)status;
  s->out_bytes = body_bytes;
  return WR_STEP_FLUSH;
}

/* Nothing more comes from upstream; what is in the log still goes out if the answer has begun. */
static void source_end(struct wr_session *s, bool clean) {
  wr_queue_leave(s);
  wr_hedge_drop(s, WR_HEDGE_DROPPED);
  wr_session_attempt_end(s, false);
  wr_continue_end(s);
  if (!s->committed) wr_stream_clear(&s->stream);
  memset(s->due, 0, sizeof s->due);
  s->source_done = true;
  s->clean = clean;
  s->chunked = s->committed && s->chunked;
}

static struct wr_span message_of(enum wr_err err) { return wr_span_str(wr_err_text(err)); }

/* The stream has begun: the dialect's error event, and no clean end. */
static enum wr_step break_off(struct wr_session *s, enum wr_err err) {
  WR_CHECK(s->committed && s->outcome != WR_OUTCOME_NONE);
  source_end(s, false);
  s->keep_alive = false;
  s->abortive = !s->chunked; /* an end of the connection would look like an end of the answer */
  char text[1024];
  struct wr_buf out;
  wr_buf_init(&out, text, sizeof text);
  int status = wr_err_status(err);
  if (s->mode != WR_MODE_RAW)
    wr_reply_error_event(&out, (enum wr_dialect)s->dialect, status ? (unsigned)status : 502,
                         wr_span_str(wr_err_label(err)), message_of(err), s->events);
  /* Where there is no word for it, or no room, the framing alone says that the answer is not
   * whole. */
  if (!out.overflow && out.len) (void)!put_copy(s, wr_buf_span(&out), true);
  return WR_STEP_FLUSH;
}

enum wr_step wr_session_fail(struct wr_session *s, enum wr_err err, struct wr_span why) {
  err = wr_continue_end_err(s, err);
  remember(s, err, why);
  if (s->step == WR_STEP_FLUSH) return wr_session_client_gone(s);
  if (s->committed) return break_off(s, err);
  source_end(s, false);
  int status = wr_err_status(err);
  if (status == 0) status = 500;
  /* Where nobody else could be asked, what the last one said stands. */
  if (err == WR_E_UPSTREAM_STATUS && s->rq && s->rq->retry.status) {
    const struct wr_retry_state *r = &s->rq->retry;
    status = r->status;
    if (r->retry_after_ms > 0) s->retry_after_ms = (uint32_t)r->retry_after_ms; /* a day at most */
  }
  char body[1024];
  struct wr_buf out;
  wr_buf_init(&out, body, sizeof body);
  wr_reply_error_body(&out, (enum wr_dialect)s->dialect, (unsigned)status,
                      wr_span_str(wr_err_label(err)), message_of(err));
  return reply(s, (unsigned)status, WR_SPAN("application/json"), wr_buf_span(&out), NULL);
}

/* What waits for the client is dropped, or the end would free nothing; the log can be cut between
 * chunks only. A client that takes nothing would not take an error event either. */
enum wr_step wr_session_shed(struct wr_session *s) {
  WR_CHECK(s->shed && s->active);
  s->shed = false;
  if (s->step == WR_STEP_FINISH) return WR_STEP_WAIT;
  if (s->step == WR_STEP_FLUSH || (s->committed && s->deaf)) {
    remember(s, WR_E_PRESSURE, none());
    return wr_session_client_gone(s);
  }
  if (s->committed && s->chunk_left == 0) wr_stream_clear(&s->stream);
  return wr_session_fail(s, WR_E_PRESSURE, none());
}

enum wr_step wr_session_refuse(struct wr_session *s, unsigned status, struct wr_span text,
                               const struct wr_verdict *v) {
  WR_DCHECK(s->at == NULL && !s->committed);
  bool failed = v && v->failed;
  enum wr_err err = failed ? WR_E_POLICY_ERROR : WR_E_REFUSED;
  struct wr_span type = failed ? wr_span_str(wr_err_label(err)) : WR_SPAN("policy");
  if (s->attempts == 0 && s->outcome == WR_OUTCOME_NONE) s->outcome = WR_OUTCOME_REFUSED;
  remember(s, err, none());
  if (v && v->delay_ms > 0) s->retry_after_ms = (uint32_t)v->delay_ms;
  source_end(s, false);
  char *room = wr_relay_scratch(s->relay, REPLY_ROOM);
  if (!room) return wr_session_fail(s, WR_E_NOMEM, none());
  struct wr_buf out;
  wr_buf_init(&out, room, REPLY_ROOM);
  if (status < 400 || status > 599) status = 403;
  wr_reply_error_body(&out, (enum wr_dialect)s->dialect, status, type, text);
  if (out.overflow) { /* a text without measure: the status still stands */
    wr_buf_init(&out, room, REPLY_ROOM);
    wr_reply_error_body(&out, (enum wr_dialect)s->dialect, status, type, message_of(err));
  }
  return reply(s, status, WR_SPAN("application/json"), wr_buf_span(&out), v);
}

enum wr_step wr_session_answer(struct wr_session *s, struct wr_span text, bool stream) {
  WR_DCHECK(s->at == NULL && !s->committed);
  if (text.len > ANSWER_BYTES) return wr_session_fail(s, WR_E_POLICY_ERROR, none());
  size_t room_bytes = text.len * 40 + REPLY_ROOM; /* five repeats, each byte six at most */
  char *room = wr_relay_scratch(s->relay, room_bytes);
  if (!room) return wr_session_fail(s, WR_E_NOMEM, none());
  struct wr_buf out;
  wr_buf_init(&out, room, room_bytes);
  wr_reply_answer(&out, (enum wr_dialect)s->dialect, stream, wr_session_model(s), text, s->id,
                  (uint64_t)time(NULL));
  if (out.overflow) return wr_session_fail(s, WR_E_POLICY_ERROR, none());
  source_end(s, false);
  s->outcome = WR_OUTCOME_COMPLETE;
  struct wr_span type =
      stream ? wr_reply_stream_type((enum wr_dialect)s->dialect) : WR_SPAN("application/json");
  return reply(s, 200, type, wr_buf_span(&out), NULL);
}

/* A kept connection that the upstream has closed meanwhile: it has not read the request. */
static bool is_stale(const struct wr_session *s, enum wr_err err) {
  if (s->committed || !s->rq || s->rq->streaming || s->rq->forgotten) return false;
  return err == WR_E_RESET && s->at->reused && !s->at->answered && s->at->conn;
}

/* What a policy has said of an attempt that failed. */
static enum wr_step fail_as_told(struct wr_session *s, enum wr_err err) {
  WR_CHECK(s->rq != NULL && !s->committed);
  struct wr_span text = s->rq->retry.fail_text;
  unsigned status = s->rq->retry.fail_status;
  if (status == 0) status = (unsigned)wr_err_status(err);
  remember(s, err, none());
  wr_session_attempt_end(s, false);
  return wr_session_refuse(s, status, text, NULL);
}

static bool is_unreached(unsigned err) {
  return err == WR_E_CONNECT || err == WR_E_CONNECT_TIMEOUT || err == WR_E_RESOLVE;
}

enum wr_step wr_session_attempt_failed(struct wr_session *s, enum wr_err err, struct wr_span why) {
  WR_CHECK(s->at != NULL);
  if (err == WR_E_IO || err == WR_E_CLIENT_GONE) err = WR_E_RESET;
  wr_session_note_failed(s, err);
  if (why.len) wr_session_name(s, none(), none(), why); /* should this try be the last */
  if (is_stale(s, err)) {
    s->rq->retry.stale = true;
    return WR_STEP_RETRY;
  }
  switch (wr_retry_judge(s, err)) {
    case WR_AGAIN_YES: s->retry_err = (uint8_t)wr_continue_err(s, err); return WR_STEP_RETRY;
    case WR_AGAIN_FAIL: return fail_as_told(s, err);
    case WR_AGAIN_NO: break;
  }
  err = wr_continue_err(s, err);
  if (err == WR_E_RESET && s->events > 0 && s->committed) err = WR_E_TRUNCATED;
  /* What somebody said before tells more than that the last one wasn't there. */
  if (!s->committed && s->retry_err && is_unreached(err) && !is_unreached(s->retry_err))
    return wr_session_fail(s, (enum wr_err)s->retry_err, none());
  return wr_session_fail(s, err, why);
}

enum wr_step wr_session_crawls(struct wr_session *s) {
  WR_CHECK(s->at != NULL && s->rq != NULL && !s->committed);
  if (wr_retry_judge(s, WR_E_TOO_SLOW) != WR_AGAIN_NO)
    return wr_session_attempt_failed(s, WR_E_TOO_SLOW, none());
  s->at->judged = false; /* it has not failed: it is only slow */
  s->rq->retry.rate_over = true;
  return WR_STEP_WAIT;
}

enum wr_step wr_session_client_gone(struct wr_session *s) {
  WR_CHECK(s->client != NULL);
  /* Who leaves right after the last word has heard it all. */
  bool heard = s->committed && wr_reader_left(&s->reader) == 0 &&
               wr_conn_unsent_bytes(s->client) == 0 &&
               (s->terminator || (s->source_done && s->outcome == WR_OUTCOME_NONE));
  if (heard && s->outcome == WR_OUTCOME_NONE) s->outcome = WR_OUTCOME_COMPLETE;
  if (s->status && !s->committed)
    heard = wr_conn_unsent_bytes(s->client) == 0; /* of an answer made here */
  if (!heard && s->outcome == WR_OUTCOME_NONE) {
    s->outcome = WR_OUTCOME_CLIENT_GONE;
    if (!s->err) s->err = WR_E_CLIENT_GONE;
  }
  source_end(s, false);
  wr_stream_clear(&s->stream);
  s->keep_alive = false;
  s->abortive = !heard; /* what is still queued must not end like a whole answer */
  return WR_STEP_FINISH;
}

bool wr_session_finished(const struct wr_session *s) {
  return s->finish && (s->dialect != WR_DIALECT_CHAT || s->open == 0);
}

void wr_session_stop(struct wr_session *s, struct wr_span reason) {
  WR_DCHECK(!s->stopping && !s->source_done);
  s->stopping = true;
  s->source_done = s->clean = true;
  s->outcome = wr_span_eq(reason, WR_SPAN("length")) ? WR_OUTCOME_OVER_BUDGET : WR_OUTCOME_STOPPED;
  s->err = WR_E_POLICY_STOP;
  char text[4096], id[40]; /* 32 choices, and names of a few hundred bytes */
  struct wr_buf out, idbuf;
  wr_buf_init(&idbuf, id, sizeof id);
  wr_buf_put(&idbuf, WR_SPAN("weir-"));
  wr_buf_hex(&idbuf, s->id, 8);
  struct wr_reply_ending ending = {
    .id = s->answer_id ? wr_span_str(s->answer_id) : wr_buf_span(&idbuf),
    .created = s->answer_created,
    .model = wr_session_model(s),
    .reason = reason,
    .sequence = s->events,
    .open_block = s->open ? (int64_t)s->open - 1 : -1,
    .open_choices = s->open,
    .unix_s = (uint64_t)time(NULL),
    .input_tokens = s->usage[0] >= 0 ? s->usage[0] : (int64_t)(s->in_bytes / 4),
    .output_tokens = s->usage[1] > (int64_t)s->contents ? s->usage[1] : (int64_t)s->contents,
    .finished = wr_session_finished(s),
  };
  wr_buf_init(&out, text, sizeof text);
  wr_reply_ending(&out, (enum wr_dialect)s->dialect, &ending);
  if (out.overflow || put_copy(s, wr_buf_span(&out), true) != WR_OK)
    s->clean = s->keep_alive = false;
}

/* From the upstream to the log: body bytes become events, events pass the policy, what passes becomes frames. */
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "relay/relay_priv.h"
#include "relay/session.h"

/* One event (or line) in whatever pieces it came; `parts` is empty when `whole` is all of it. */
struct cut {
  struct wr_view whole;      /* owned until given to the log */
  struct wr_span raw;        /* all its bytes in one piece */
  struct wr_sse_event sse;
};

static enum wr_err append(struct wr_session *s, struct wr_view *take_view, uint8_t kind) {
  return wr_stream_append(&s->stream, take_view, kind);
}

/* Joins the pieces of an event that came in several: into a block where one is large enough, else only for reading. */
static enum wr_err join(struct wr_session *s, struct cut *c) {
  struct wr_viewq *q = &s->at->part;
  struct wr_slabs *slabs = wr_session_slabs(s);
  if (q->count == 1) {
    wr_viewq_shift(q, &c->whole);
    c->raw = wr_view_span(&c->whole);
    return WR_OK;
  }
  bool fits = q->bytes <= wr_slabs_max_block(slabs);
  struct wr_block *b = fits ? wr_slabs_alloc(slabs, q->bytes, WR_CHARGE_CLIENT) : NULL;
  char *to = b ? b->data : wr_relay_scratch(s->relay, q->bytes * 2); /* the second half: joined data lines */
  if (!to) return WR_E_NOMEM;
  size_t len = q->bytes, at = 0;
  for (size_t i = 0; i < q->count; i++) {
    const struct wr_view *v = wr_viewq_peek(q, i);
    memcpy(to + at, v->ptr, v->len);
    at += v->len;
  }
  WR_CHECK(at == len);
  wr_loop_stats(s->relay->loop)->copy_bytes[b ? WR_COPY_STRADDLE : WR_COPY_FLATTEN] += len;
  s->copied += len;
  c->raw = wr_span_make(to, len);
  if (b) {
    wr_viewq_consume(q, len);
    c->whole = wr_view_take(b, 0, len);
  }
  return WR_OK;
}

static enum wr_err append_event(struct wr_session *s, struct cut *c, uint8_t kind) {
  WR_RELAY_COUNT(s->relay, event_bytes, c->raw.len);
  if (c->whole.len) return append(s, &c->whole, kind);
  enum wr_err err = WR_OK;
  struct wr_view v;
  while (err == WR_OK && wr_viewq_shift(&s->at->part, &v)) err = append(s, &v, kind);
  return err;
}

static void drop_event(struct wr_session *s, struct cut *c) {
  wr_view_drop(&c->whole);
  if (s->at->part.bytes) wr_viewq_consume(&s->at->part, s->at->part.bytes);
}

/* The payload; several data lines are joined in the scratch. */
static enum wr_err data_of(struct wr_session *s, const struct cut *c, struct wr_span *out) {
  *out = wr_span_at(c->raw.ptr, c->sse.data);
  if (!c->sse.multi_data) return WR_OK;
  struct wr_buf buf;
  bool scratch = c->raw.ptr == s->relay->scratch;
  char *room = scratch ? s->relay->scratch + c->raw.len : wr_relay_scratch(s->relay, c->raw.len);
  if (!room) return WR_E_NOMEM;
  wr_buf_init(&buf, room, c->raw.len);
  enum wr_err err = wr_sse_join_data(c->raw, &c->sse, &buf);
  *out = wr_buf_span(&buf);
  return err;
}

static void usage_take(struct wr_session *s, const struct wr_usage *u) {
  if (u->input >= 0) s->usage[0] = u->input;
  if (u->output >= 0) s->usage[1] = u->output;
  if (u->cached >= 0) s->usage[2] = u->cached;
  if (u->reasoning >= 0) s->usage[3] = u->reasoning;
}

/* What the session remembers of an event. */
static void note(struct wr_session *s, const struct wr_event *ev) {
  s->events++;
  if (ev->terminator) s->terminator = true;
  if (ev->finish) s->finish = true;
  if (ev->kind == WR_EVENT_ERROR && s->outcome == WR_OUTCOME_NONE) {
    s->outcome = WR_OUTCOME_UPSTREAM_ERROR;
    s->err = WR_E_UPSTREAM_ERROR;
  }
  if (ev->content && !s->content) {
    s->content = true;
    s->first_token_us = (uint32_t)(wr_loop_now_us(s->relay->loop) - s->started_us);
    s->due[WR_DUE_TOKEN] = 0;
  }
  if (ev->terminator || ev->finish || ev->kind == WR_EVENT_ERROR) s->due[WR_DUE_TOKEN] = 0;
  s->due[WR_DUE_IDLE] = 0; /* set anew once a turn, by the step */
  if (s->dialect == WR_DIALECT_ANTHROPIC) {
    if (ev->kind == WR_EVENT_START && wr_span_eq(ev->name, WR_SPAN("content_block_start"))) s->open_block = ev->index + 1;
    if (wr_span_eq(ev->name, WR_SPAN("content_block_stop"))) s->open_block = 0;
  }
  if (!s->hook) return;
  s->hook->events = s->events;
  s->hook->output_tokens += ev->content;
  if (s->usage[1] > 0 && (uint64_t)s->usage[1] > s->hook->output_tokens)
    s->hook->output_tokens = (uint64_t)s->usage[1];
  s->hook->usage = (struct wr_usage){ s->usage[0], s->usage[1], s->usage[2], s->usage[3] };
}

/* True when the event passes. */
static bool ask_policy(struct wr_session *s, const struct wr_event *ev, const struct cut *c) {
  struct wr_verdict v = { .kind = WR_VERDICT_DEFAULT, .max_tokens = -1, .deadline_ms = -1 };
  struct wr_view raw = c->whole;
  if (!raw.len) raw = wr_view_static(c->raw);
  s->hooked = true;
  s->hook->now_us = wr_loop_now_us(s->relay->loop);
  s->hook->sent_bytes = s->out_bytes;
  s->hook->queued_bytes = wr_session_queued(s);
  s->gen->hooks->event(s->gen->hooks->ctx, s->hook, ev, &raw, &v);
  if (v.kind == WR_VERDICT_STOP) {
    wr_session_stop(s, v.text);
    return false;
  }
  return v.kind != WR_VERDICT_DROP;
}

/* One whole event: read, judged, and put into the log. */
static enum wr_err take_event(struct wr_session *s, struct cut *c) {
  if (s->at->part.count) {
    enum wr_err err = join(s, c);
    if (err != WR_OK) return err;
  }
  if (c->sse.kind != WR_SSE_EVENT) return append_event(s, c, WR_EVENT_PING); /* comments don't reset the idle deadline */
  struct wr_event ev = { .raw = c->raw, .name = wr_span_at(c->raw.ptr, c->sse.name) };
  struct wr_usage usage = { -1, -1, -1, -1 };
  enum wr_err err = data_of(s, c, &ev.data);
  if (err == WR_OK) err = wr_dialect_read(&s->relay->dialects, (enum wr_dialect)s->dialect, &ev, &usage);
  if (err != WR_OK) {
    drop_event(s, c);
    return err;
  }
  usage_take(s, &usage);
  if (s->hook && s->route->hooks & WR_HOOK_EVENT && !ask_policy(s, &ev, c)) {
    WR_RELAY_COUNT(s->relay, dropped_events, 1);
    drop_event(s, c);
    if (!s->stopping) note(s, &ev);
    return WR_OK;
  }
  note(s, &ev);
  WR_RELAY_COUNT(s->relay, events, 1);
  return append_event(s, c, ev.kind);
}

/* A line of NDJSON in the clothes of an event. */
static enum wr_err next_line(struct wr_session *s, struct wr_span in, size_t *used, struct wr_sse_event *ev) {
  struct wr_ndjson_line line;
  enum wr_err err = wr_ndjson_next(&s->at->cut.lines, in, used, &line);
  *ev = (struct wr_sse_event){ .kind = WR_SSE_EVENT };
  if (err != WR_OK) return err;
  ev->bytes = line.bytes;
  ev->data = line.text;
  if (line.text.len == 0) ev->kind = WR_SSE_EMPTY;
  return WR_OK;
}

/* Cuts body bytes into events; what is left over waits in at->part. The view is consumed. */
static enum wr_err take_data(struct wr_session *s, struct wr_view *v) {
  struct wr_attempt *at = s->at;
  if (s->mode == WR_MODE_RAW) {
    s->due[WR_DUE_IDLE] = 0;
    return append(s, v, WR_EVENT_UNKNOWN);
  }
  enum wr_err err = WR_OK;
  while (err == WR_OK && v->len && !s->stopping) {
    size_t used = 0;
    struct cut c = { .whole = WR_VIEW_NONE };
    if (s->mode == WR_MODE_EVENTS)
      err = wr_sse_next(&at->cut.sse, wr_view_span(v), &used, &c.sse);
    else
      err = next_line(s, wr_view_span(v), &used, &c.sse);
    if (err != WR_OK && err != WR_E_AGAIN) break;
    struct wr_view piece = wr_view_sub(v, 0, used);
    wr_view_advance(v, used);
    if (err == WR_E_AGAIN || at->part.count) {
      enum wr_err pushed = wr_viewq_push(&at->part, wr_session_slabs(s), &piece);
      if (pushed != WR_OK) err = pushed;
    } else {
      c.whole = piece;
      c.raw = wr_view_span(&piece);
    }
    if (err == WR_OK) err = take_event(s, &c);
  }
  wr_view_drop(v);
  return err == WR_E_AGAIN ? WR_OK : err;
}

/* One piece of input through the body decoder. */
static enum wr_err take_input(struct wr_session *s, struct wr_view *in) {
  struct wr_attempt *at = s->at;
  enum wr_err err = WR_OK;
  while (err == WR_OK && in->len && !s->stopping) {
    size_t used = 0;
    struct wr_span data;
    enum wr_err body = wr_http1_body_next(&at->body, wr_view_span(in), &used, &data);
    if (data.len) {
      struct wr_view v = wr_view_sub(in, (size_t)(data.ptr - in->ptr), data.len);
      err = take_data(s, &v);
    }
    wr_view_advance(in, used);
    if (body == WR_E_END) at->body_ended = true;
    if (err == WR_OK && body != WR_OK && body != WR_E_AGAIN)
      err = body == WR_E_END ? WR_E_END : WR_E_UPSTREAM_FRAMING;
    if (body == WR_E_AGAIN) break;
  }
  if (in->len) at->keep_alive = false; /* more than was asked for */
  wr_view_drop(in);
  return err;
}

/* The body ended by its framing: did the stream? */
static enum wr_err ended(struct wr_session *s) {
  struct wr_attempt *at = s->at;
  s->due[WR_DUE_IDLE] = 0;
  if (s->mode == WR_MODE_RAW) return WR_E_END;
  if (s->mode == WR_MODE_EVENTS && wr_sse_finish(&at->cut.sse) != WR_OK) return WR_E_TRUNCATED;
  struct wr_ndjson_line line;
  if (s->mode == WR_MODE_LINES && wr_ndjson_finish(&at->cut.lines, &line) == WR_OK) {
    struct cut c = { .sse = { .kind = WR_SSE_EVENT, .bytes = line.bytes, .data = line.text } };
    enum wr_err err = take_event(s, &c);
    if (err != WR_OK) return err == WR_E_EVENT_SYNTAX ? WR_E_TRUNCATED : err;
  } else if (at->part.bytes) { /* the LF of a last CRLF, or a byte order mark */
    struct wr_view v;
    while (wr_viewq_shift(&at->part, &v))
      if (append(s, &v, WR_EVENT_PING) != WR_OK) return WR_E_POOL_FULL;
  }
  if (wr_dialect_has_terminator((enum wr_dialect)s->dialect) && !s->terminator && !s->finish &&
      s->outcome != WR_OUTCOME_UPSTREAM_ERROR)
    return WR_E_TRUNCATED;
  return WR_E_END;
}

enum wr_err wr_pump_run(struct wr_session *s) {
  struct wr_attempt *at = s->at;
  WR_MAGIC_CHECK(at, WR_ATTEMPT_MAGIC);
  if (at->body_ended || wr_http1_body_ended(&at->body)) {
    at->body_ended = true;
    return ended(s);
  }
  uint32_t high = s->committed ? s->route->slow_high_bytes : s->route->held_bytes;
  struct wr_view in;
  while (!s->stopping && wr_session_queued(s) < high && wr_conn_take(at->conn, &in)) {
    enum wr_err err = take_input(s, &in);
    if (err == WR_E_END) return ended(s);
    if (err != WR_OK) return err;
  }
  if (s->stopping || wr_conn_input_bytes(at->conn) > 0) return WR_OK;
  if (wr_conn_state(at->conn) == WR_CONN_FAILED) return wr_conn_err(at->conn);
  if (!wr_conn_at_eof(at->conn)) return WR_OK;
  at->keep_alive = false;
  if (wr_http1_body_eof(&at->body) != WR_OK) return WR_E_TRUNCATED;
  at->body_ended = true;
  return ended(s);
}

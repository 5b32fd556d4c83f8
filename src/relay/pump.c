/* From the upstream to the log: body bytes become events, events pass the policy, what passes
 * becomes frames. */
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/feedback.h"
#include "relay/hedge.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "relay/slow.h"
#include "relay/window.h"
#include "wire/http1_write.h"

/* One event (or line) in whatever pieces it came; `parts` is empty when `whole` is all of it. */
struct cut {
  struct wr_view whole;      /* owned until given to the log */
  struct wr_span raw;        /* all its bytes in one piece */
  struct wr_sse_event sse;
  uint8_t lead; /* bytes of the chunk's head before whole, if it is one whole chunk; 0: it isn't */
  bool made;    /* in the place of one that came, which has been looked at */
};

/* Pieces of an unfinished event: beyond so many, small ones are copied together. */
#define PART_MANY 256u
/* Events of one stream in one turn: the others of this loop get theirs before the rest follows. */
#define TURN_EVENTS 256u
/* A client whose kernel took all so far gets as much in one write, however small its mark is. */
#define KEEPS_UP_BYTES 8192u

static enum wr_err append(struct wr_session *s, struct wr_view *take_view, uint8_t kind) {
  return wr_stream_append(&s->stream, take_view, kind);
}

/* Joins the pieces of an event that came in several: into a block where one is large enough,
 * else only for reading. */
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
  char *to = b ? b->data
               : wr_relay_scratch(s->relay, q->bytes * 2); /* the second half: joined data lines */
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

static inline enum wr_err append_event(struct wr_session *s, struct cut *c, uint8_t kind) {
  WR_RELAY_COUNT(s->relay, event_bytes, c->raw.len);
  if (c->whole.len && c->lead) { /* with its framing: one piece for the client's socket */
    c->whole.ptr -= c->lead;
    c->whole.len += c->lead + 2u;
    return wr_stream_append_framed(&s->stream, &c->whole, kind, (uint8_t)(c->lead + 2u));
  }
  if (c->whole.len) return append(s, &c->whole, kind);
  enum wr_err err = WR_OK;
  struct wr_view v;
  while (err == WR_OK && wr_viewq_shift(&s->at->part, &v)) err = append(s, &v, WR_EVENT_UNKNOWN);
  return err;
}

static void drop_event(struct wr_session *s, struct cut *c) {
  WR_DCHECK(c->raw.len > 0);
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
  WR_DCHECK(u->input >= -1 && u->output >= -1);
  if (u->input >= 0) s->usage[0] = u->input;
  const int64_t spent = wr_continue_spent(s), room = INT64_MAX - spent;
  if (u->output >= 0) s->usage[1] = (u->output < room ? u->output : room) + spent;
  if (u->cached >= 0) s->usage[2] = u->cached;
  if (u->reasoning >= 0) s->usage[3] = u->reasoning;
}

/* Some say the role once more behind the finish, with the usage: that opens nothing. */
static inline void note_choice(struct wr_session *s, const struct wr_event *ev) {
  if (ev->index > 31) return;
  uint32_t bit = UINT32_C(1) << ev->index;
  if (ev->finish) s->open &= ~bit;
  else if (ev->content || (ev->kind == WR_EVENT_START && !s->finish)) s->open |= bit;
}

/* What the session remembers of an event. */
static inline void note(struct wr_session *s, const struct wr_event *ev) {
  WR_DCHECK(ev->kind < WR_EVENT_KINDS);
  s->events++;
  s->contents += ev->content;
  if (ev->terminator) s->terminator = true;
  if (ev->finish) s->finish = true;
  if (ev->kind == WR_EVENT_ERROR && s->outcome == WR_OUTCOME_NONE) {
    s->outcome = WR_OUTCOME_UPSTREAM_ERROR;
    s->err = WR_E_UPSTREAM_ERROR;
  }
  if (ev->content && !s->committed && s->route->min_rate_chars)
    wr_retry_count_chars(s, ev->text.len ? ev->text : ev->data);
  if (ev->content && !s->content) {
    s->content = true;
    s->first_token_us = (uint32_t)(wr_loop_now_us(s->relay->loop) - s->started_us);
    if (s->hook) s->hook->first_token_us = s->first_token_us;
    s->due[WR_DUE_TOKEN] = 0;
    wr_session_note_content(s);
    if (s->route->hedge.on) wr_hedge_content(s);
  }
  if (ev->terminator || ev->finish || ev->kind == WR_EVENT_ERROR) s->due[WR_DUE_TOKEN] = 0;
  s->due[WR_DUE_IDLE] = 0; /* set anew once a turn, by the step */
  if (s->dialect == WR_DIALECT_CHAT) {
    note_choice(s, ev);
  } else if (s->dialect == WR_DIALECT_ANTHROPIC) {
    if (ev->kind == WR_EVENT_START && wr_span_eq(ev->name, WR_SPAN("content_block_start")))
      s->open = ev->index + 1;
    if (wr_span_eq(ev->name, WR_SPAN("content_block_stop"))) s->open = 0;
  }
  if (!s->hook) return;
  s->hook->events = s->events;
  s->hook->output_tokens += ev->content;
  if (s->usage[1] > 0 && (uint64_t)s->usage[1] > s->hook->output_tokens)
    s->hook->output_tokens = (uint64_t)s->usage[1];
  s->hook->usage = (struct wr_usage){ s->usage[0], s->usage[1], s->usage[2], s->usage[3] };
}

/* A stream that a policy may end must end under its own name: that stands in the first event. */
static void learn_identity(struct wr_session *s, const struct wr_event *ev) {
  struct wr_json_value v[3];
  if (s->answer_id || s->events > 0 || wr_json_scan(&s->relay->identity_prog, ev->data, v) != WR_OK)
    return;
  const struct wr_json_value *id = v[0].type == WR_JSON_STRING ? &v[0] : &v[1];
  if (id->type == WR_JSON_STRING && !id->escaped && id->raw.len <= 256) {
    struct wr_span text = wr_json_unquote(wr_json_raw(ev->data, id));
    s->answer_id = wr_heap_strndup(WR_HEAP_RELAY, text.ptr, text.len);
  }
  uint64_t created = 0;
  if (v[2].type == WR_JSON_NUMBER &&
      wr_json_u64(wr_json_raw(ev->data, &v[2]), &created) == WR_OK && created <= UINT32_MAX)
    s->answer_created = (uint32_t)created;
}

/* For its client's sake, or with somebody else's events; what hooks may stop is looked at with
 * them. */
static bool may_be_stopped(const struct wr_session *s) {
  return s->cont || s->route->slow_action == WR_SLOW_STOP ||
         (s->hook && s->route->hooks & WR_HOOK_SLOW_CLIENT);
}

/* What a hook may read of the stream, up to date. */
static void hook_refresh(struct wr_session *s, const struct wr_event *ev) {
  s->hooked = true;
  wr_session_hook_now(s);
  learn_identity(s, ev);
}

/* True when the event passes. */
static bool ask_policy(struct wr_session *s, const struct wr_event *ev, const struct cut *c) {
  WR_DCHECK(s->hook != NULL && s->gen->hooks != NULL && s->gen->hooks->event != NULL);
  struct wr_verdict v = { .kind = WR_VERDICT_DEFAULT, .max_tokens = -1, .deadline_ms = -1 };
  struct wr_view raw = c->whole;
  if (!raw.len) raw = wr_view_static(c->raw);
  s->gen->hooks->event(s->gen->hooks->ctx, s->hook, ev, &raw, &v);
  if (v.kind == WR_VERDICT_STOP && v.failed) {
    s->policy_failed = true; /* a guard that could not judge: an error, not an end */
    return false;
  }
  if (v.kind == WR_VERDICT_STOP) {
    wr_session_stop(s, v.text);
    return false;
  }
  return v.kind != WR_VERDICT_DROP;
}

/* An upstream of kind sse says itself where its text is. */
static void read_text(struct wr_session *s, struct wr_event *ev) {
  const struct wr_conf_upstream *up = s->at->peer->up;
  struct wr_json_value v;
  if (!up->text_path || s->dialect != WR_DIALECT_NONE) return;
  if (s->relay->text_prog_of != up &&
      wr_json_compile(&s->relay->text_prog, &up->text_path, 1) != WR_OK)
    return;
  s->relay->text_prog_of = up;
  if (wr_json_scan(&s->relay->text_prog, ev->data, &v) != WR_OK || v.type != WR_JSON_STRING) return;
  ev->text = wr_json_unquote(wr_json_raw(ev->data, &v));
  ev->text_escaped = v.escaped;
  ev->kind = WR_EVENT_TEXT;
}

/* What the event says it means. */
static inline enum wr_err read_event(struct wr_session *s, const struct cut *c, struct wr_event *ev,
                                     struct wr_usage *usage) {
  *ev = (struct wr_event){ .raw = c->raw, .name = wr_span_at(c->raw.ptr, c->sse.name) };
  enum wr_err err = data_of(s, c, &ev->data);
  if (err == WR_OK)
    err = wr_dialect_read(&s->relay->dialects, (enum wr_dialect)s->at->dialect, ev, usage);
  if (err == WR_OK) read_text(s, ev);
  return err;
}

/* Through the hooks into the log. */
static inline enum wr_err pass_event(struct wr_session *s, struct cut *c,
                                     const struct wr_event *ev) {
  if (s->cont) wr_continue_note(s, ev);
  if (s->hook && s->route->hooks & (WR_HOOK_EVENT | WR_HOOK_TEXT)) hook_refresh(s, ev);
  if (s->events == 0 && may_be_stopped(s)) learn_identity(s, ev);
  if (s->hook && s->route->hooks & WR_HOOK_EVENT && !ask_policy(s, ev, c)) {
    WR_RELAY_COUNT(s->relay, dropped_events, 1);
    drop_event(s, c);
    if (s->policy_failed) return WR_E_POLICY_ERROR;
    if (!s->stopping) note(s, ev);
    return WR_OK;
  }
  note(s, ev);
  WR_RELAY_COUNT(s->relay, events, 1);
  if (s->hook && s->route->hooks & WR_HOOK_TEXT) {
    WR_RELAY_COUNT(s->relay, event_bytes, c->raw.len);
    const struct wr_window_event event = { ev, &c->whole, c->raw, c->lead, c->sse.multi_data };
    return wr_window_take(s, &event);
  }
  return append_event(s, c, ev->kind);
}

/* One whole event: read, judged, and put into the log. */
static enum wr_err take_event(struct wr_session *s, struct cut *c) {
  WR_DCHECK(s->mode != WR_MODE_RAW && c->sse.kind <= WR_SSE_EMPTY);
  if (s->at->part.count) {
    enum wr_err err = join(s, c);
    if (err != WR_OK) return err;
  }
  if (c->sse.kind != WR_SSE_EVENT)
    return append_event(s, c, WR_EVENT_PING); /* comments don't reset the idle deadline */
  struct wr_event ev;
  struct wr_usage usage = { -1, -1, -1, -1 };
  enum wr_err err = read_event(s, c, &ev, &usage);
  if (err != WR_OK) {
    drop_event(s, c);
    return err;
  }
  if (s->cont && ev.kind == WR_EVENT_ERROR) wr_continue_error(s, &ev);
  if (ev.kind == WR_EVENT_ERROR && (wr_retry_judge(s, WR_E_UPSTREAM_ERROR) != WR_AGAIN_NO ||
                                    wr_continue_is_pending(s))) {
    drop_event(s, c);
    return WR_E_UPSTREAM_ERROR;
  }
  if (!c->made) usage_take(s, &usage);
  if (s->cont && !c->made) {
    bool made = false;
    err = wr_continue_event(s, &ev, &made);
    if (err != WR_OK || made) { /* others follow in its place */
      drop_event(s, c);
      return err;
    }
  }
  return pass_event(s, c, &ev);
}

/* Events that take the place of the last one. */
static enum wr_err take_made(struct wr_session *s) {
  struct cut c = { .whole = WR_VIEW_NONE, .made = true };
  enum wr_err err = WR_OK;
  while (err == WR_OK && wr_continue_made(s, &c.whole)) {
    struct wr_sse_parser sse;
    size_t used = 0;
    c.raw = wr_view_span(&c.whole);
    wr_sse_init(&sse, UINT32_C(1) << 30);
    if (s->stopping) {
      wr_view_drop(&c.whole);
      continue;
    }
    if (s->mode == WR_MODE_LINES) {
      const struct wr_extent line = { 0, (uint32_t)c.raw.len - 1 };
      c.sse = (struct wr_sse_event){ .kind = WR_SSE_EVENT, .bytes = line.len + 1, .data = line };
    } else {
      err = wr_sse_next(&sse, c.raw, &used, &c.sse);
    }
    if (err == WR_OK) err = take_event(s, &c);
    else wr_view_drop(&c.whole);
  }
  return err;
}

/* A line of NDJSON in the clothes of an event. */
static enum wr_err next_line(struct wr_session *s, struct wr_span in, size_t *used,
                             struct wr_sse_event *ev) {
  struct wr_ndjson_line line;
  enum wr_err err = wr_ndjson_next(&s->at->cut.lines, in, used, &line);
  *ev = (struct wr_sse_event){ .kind = WR_SSE_EVENT };
  if (err != WR_OK) return err;
  ev->bytes = line.bytes;
  ev->data = line.text;
  if (line.text.len == 0) ev->kind = WR_SSE_EMPTY;
  return WR_OK;
}

/* One more piece of the unfinished event will find a place in the queue. */
static enum wr_err part_reserve(struct wr_session *s) {
  struct wr_viewq *q = &s->at->part;
  struct wr_slabs *slabs = wr_session_slabs(s);
  if (q->count < q->cap) return WR_OK;
  size_t copied = 0;
  if (q->count >= PART_MANY && wr_viewq_compact(q, slabs, WR_CHARGE_CLIENT, &copied) != WR_OK)
    return WR_E_POOL_FULL;
  wr_loop_stats(s->relay->loop)->copy_bytes[WR_COPY_COMPACT] += copied;
  s->copied += copied;
  if (q->count < q->cap) return WR_OK;
  /* The queue grows with what is put into it; this piece is taken out again. */
  struct wr_view mark = wr_view_static(WR_SPAN("?"));
  enum wr_err err = wr_viewq_unshift(q, slabs, &mark);
  if (err == WR_OK) (void)wr_viewq_shift(q, &mark);
  return err;
}

/* Whatever the next bytes turn out to be finds room in log and queue: nothing that was parsed is
 * ever parsed again. */
static inline enum wr_err reserve(struct wr_session *s) {
  struct wr_viewq *q = &s->at->part;
  if (q->count == q->cap) {
    enum wr_err err = part_reserve(s);
    if (err != WR_OK) return err;
  }
  size_t frames = q->count + 1u;
  if (s->cont) frames += wr_continue_frames(s);
  if (s->stream.count + frames <= s->stream.cap) return WR_OK;
  if (frames > wr_stream_max(&s->stream)) return WR_E_EVENT_TOO_LARGE;
  return wr_stream_reserve(&s->stream, frames);
}

/* The first n decoded bytes. */
static struct wr_view data_take(struct wr_attempt *at, size_t n) {
  if (n == at->data.len) return wr_view_move(&at->data);
  struct wr_view piece = wr_view_sub(&at->data, 0, n);
  wr_view_advance(&at->data, n);
  return piece;
}

/* The next event, or what there is of it. AGAIN: it goes on. */
static enum wr_err cut_next(struct wr_session *s, struct cut *c) {
  struct wr_attempt *at = s->at;
  size_t used = 0;
  struct wr_span in = wr_view_span(&at->data);
  enum wr_err err = s->mode == WR_MODE_EVENTS ? wr_sse_next(&at->cut.sse, in, &used, &c->sse)
                                              : next_line(s, in, &used, &c->sse);
  if (err != WR_OK && err != WR_E_AGAIN) return err;
  uint8_t lead = used == at->data.len ? at->lead : 0;
  at->lead = 0;
  struct wr_view piece = data_take(at, used);
  if (err == WR_E_AGAIN || at->part.count) {
    enum wr_err pushed = wr_viewq_push(&at->part, wr_session_slabs(s), &piece);
    return pushed == WR_OK ? err : WR_E_INTERNAL; /* there was room */
  }
  c->whole = piece;
  c->raw = wr_view_span(&piece);
  c->lead = lead;
  return WR_OK;
}

/* Cuts the decoded bytes into events; what is left over waits in at->part. */
static enum wr_err take_data(struct wr_session *s, unsigned *left) {
  struct wr_attempt *at = s->at;
  enum wr_err err = WR_OK;
  while (err == WR_OK && at->data.len && !s->stopping && *left) {
    (*left)--;
    err = reserve(s);
    if (err != WR_OK) return err;
    if (s->mode == WR_MODE_RAW) {
      s->due[WR_DUE_IDLE] = 0;
      return append(s, &at->data, WR_EVENT_UNKNOWN);
    }
    struct cut c = { .whole = WR_VIEW_NONE };
    err = cut_next(s, &c);
    if (err == WR_OK) err = take_event(s, &c);
    if (err == WR_OK && s->cont) err = take_made(s);
  }
  return err == WR_E_AGAIN ? WR_OK : err;
}

/* Is this all of a chunk, framed as weir itself would frame it towards this client? Then the
 * length of its head. */
static uint8_t lead_of(const struct wr_session *s, size_t off, size_t len, size_t used) {
  const char *head = s->at->in.ptr;
  if (!s->chunked || s->mode != WR_MODE_EVENTS || used != off + len + 2) return 0;
  if (off < 3 || off > WR_HTTP1_CHUNK_HEAD_BYTES || head[0] == '0') return 0;
  size_t size = 0;
  for (size_t i = 0; i < off - 2; i++) { /* as wr_http1_chunk_head writes it */
    unsigned digit = (unsigned char)head[i] - (unsigned)'0';
    if (digit > 9) digit = (unsigned char)head[i] - (unsigned)'a' + 10u;
    if (digit > 15) return 0;
    size = size << 4 | digit;
  }
  return size == len && head[off - 2] == '\r' ? (uint8_t)off : 0;
}

/* Decodes as much of the input as is one piece of the body. */
static enum wr_err decode(struct wr_session *s) {
  WR_DCHECK(s->at->in.len > 0);
  struct wr_attempt *at = s->at;
  size_t used = 0;
  struct wr_span data;
  enum wr_err err = wr_http1_body_next(&at->body, wr_view_span(&at->in), &used, &data);
  if (err != WR_OK && err != WR_E_AGAIN && err != WR_E_END) return WR_E_UPSTREAM_FRAMING;
  WR_DCHECK(at->data.len == 0 && (used > 0 || err == WR_E_END));
  if (data.len) {
    size_t off = (size_t)(data.ptr - at->in.ptr);
    at->lead = lead_of(s, off, data.len, used);
    if (used == at->in.len) { /* the reference goes along */
      at->data = wr_view_move(&at->in);
      wr_view_advance(&at->data, off);
      at->data.len = (uint32_t)data.len;
      used = 0;
    } else {
      at->data = wr_view_sub(&at->in, off, data.len);
    }
  }
  if (used) wr_view_advance(&at->in, used);
  if (err == WR_E_END) {
    at->body_ended = true;
    if (at->in.len) at->keep_alive = false; /* more than was asked for */
    at->in.len = 0;
  }
  if (at->in.len == 0) wr_view_drop(&at->in);
  return WR_OK;
}

/* The bytes behind the last event: a last line without its end, the LF of a last CRLF, or a byte
 * order mark. */
static enum wr_err take_rest(struct wr_session *s) {
  struct wr_attempt *at = s->at;
  struct wr_ndjson_line line;
  struct cut c = { .whole = WR_VIEW_NONE };
  if (s->mode == WR_MODE_LINES && wr_ndjson_finish(&at->cut.lines, &line) == WR_OK) {
    c.sse = (struct wr_sse_event){ .kind = WR_SSE_EVENT, .bytes = line.bytes, .data = line.text };
    enum wr_err err = take_event(s, &c);
    if (err == WR_OK && s->cont) err = take_made(s);
    return err == WR_E_EVENT_SYNTAX ? WR_E_TRUNCATED : err;
  }
  enum wr_err err = WR_OK;
  struct wr_view v;
  while (err == WR_OK && wr_viewq_shift(&at->part, &v)) err = append(s, &v, WR_EVENT_PING);
  return err;
}

/* The body ended by its framing: did the stream? */
static enum wr_err ended(struct wr_session *s) {
  struct wr_attempt *at = s->at;
  s->due[WR_DUE_IDLE] = 0;
  if (s->mode == WR_MODE_RAW) return WR_E_END;
  if (s->mode == WR_MODE_EVENTS && wr_sse_finish(&at->cut.sse) != WR_OK) {
    if (!s->terminator) return WR_E_TRUNCATED;
    wr_viewq_consume(&at->part, at->part.bytes); /* what follows the terminator says nothing */
  }
  enum wr_err err = WR_OK;
  if (at->part.bytes && s->mode == WR_MODE_LINES) {
    err = reserve(s);
    if (err == WR_OK) err = take_rest(s);
    if (err != WR_OK || s->stopping) return err;
  }
  if (wr_dialect_has_terminator((enum wr_dialect)at->dialect) && !s->terminator &&
      !wr_session_finished(s) && s->outcome != WR_OUTCOME_UPSTREAM_ERROR)
    return WR_E_TRUNCATED;
  err = wr_window_end(s);
  if (err == WR_OK && at->part.bytes) {
    err = reserve(s);
    if (err == WR_OK) err = take_rest(s);
  }
  return err == WR_OK ? WR_E_END : err;
}

/* Nothing is there to be taken: what is the matter with the connection? */
static enum wr_err dry(struct wr_session *s) {
  struct wr_attempt *at = s->at;
  if (wr_conn_state(at->conn) == WR_CONN_FAILED) return wr_conn_err(at->conn);
  if (!wr_conn_at_eof(at->conn)) return WR_OK;
  at->keep_alive = false;
  if (wr_http1_body_eof(&at->body) != WR_OK) return WR_E_TRUNCATED;
  at->body_ended = true;
  return ended(s);
}

/* Nothing that waits is never too much. */
static bool is_full(const struct wr_session *s) {
  size_t queued = wr_session_queued(s);
  if (queued == 0 || (s->committed && !s->tight && queued < KEEPS_UP_BYTES)) return false;
  return queued >= wr_slow_bound(s);
}

enum wr_err wr_pump_run(struct wr_session *s) {
  struct wr_attempt *at = s->at;
  WR_MAGIC_CHECK(at, WR_ATTEMPT_MAGIC);
  if (wr_http1_body_ended(&at->body)) at->body_ended = true;
  enum wr_err err = at->win && !s->stopping ? wr_window_flush(s) : WR_OK;
  unsigned left = TURN_EVENTS;
  while (err == WR_OK && !s->stopping && left) {
    if (at->data.len) {
      err = take_data(s, &left);
    } else if (at->in.len) {
      err = decode(s);
    } else if (at->body_ended) {
      return ended(s);
    } else if (wr_conn_is_dry(at->conn) || is_full(s)) {
      break;
    } else if (!wr_conn_take(at->conn, &at->in)) {
      return dry(s);
    }
  }
  if (!left) wr_session_mark(s);
  return err;
}

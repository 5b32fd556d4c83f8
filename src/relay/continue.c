#include "relay/continue.h"

#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/continue_priv.h"
#include "relay/window.h"

#define MESSAGE_BLOCK_BYTES 8192u

static struct wr_continue *of(const struct wr_session *s) {
  if (s->cont) WR_MAGIC_CHECK(s->cont, WR_CONTINUE_MAGIC);
  return s->cont;
}

/* Where the text goes in the request: the end of its messages, or of its prompt. */
static const struct wr_json_stream_value *place_of(const struct wr_session *s, bool *prompt) {
  const struct wr_json_stream *scan = s->rq->scan;
  if (!scan) return NULL;
  const struct wr_json_stream_value *v = wr_json_stream_value(scan, WR_RQ_MESSAGES);
  *prompt = false;
  if (v->type == WR_JSON_ARRAY && v->len > 2) return v;
  if (s->dialect != WR_DIALECT_CHAT) return NULL;
  v = wr_json_stream_value(scan, WR_RQ_PROMPT);
  *prompt = true;
  return v->type == WR_JSON_STRING && v->len >= 2 ? v : NULL;
}

bool wr_continue_is_able(const struct wr_conf_upstream *up) {
  return up->prefill != WR_PREFILL_NONE && up->kind != WR_KIND_SSE;
}

void wr_continue_watch(struct wr_session *s) {
  WR_DCHECK(s->route->continues && s->at != NULL && s->rq != NULL && !s->committed);
  bool known = s->dialect == WR_DIALECT_CHAT || s->dialect == WR_DIALECT_ANTHROPIC ||
               s->dialect == WR_DIALECT_OLLAMA;
  bool prompt;
  if (s->cont || !known || s->at->dialect != s->dialect || s->rq->streaming || s->rq->forgotten)
    return;
  if (!s->rq->body_done || !place_of(s, &prompt) || !wr_retry_can_go_on(s)) return;
  struct wr_continue *c = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *c);
  if (!c) return; /* the stream itself goes on */
  c->magic = WR_CONTINUE_MAGIC;
  wr_viewq_init(&c->message);
  wr_viewq_init(&c->made);
  s->cont = c;
}

static void frame_drop(struct wr_continue *c) {
  if (c->frame.block) wr_block_unref(c->frame.block);
  c->frame = (struct wr_continue_frame){ .block = NULL };
}

static void clear(struct wr_continue *c) {
  wr_kept_clear(&c->kept);
  frame_drop(c);
  wr_windows_free(c->win);
  c->win = NULL;
  wr_viewq_fini(&c->message);
  wr_viewq_init(&c->message);
  wr_viewq_fini(&c->made);
  wr_viewq_init(&c->made);
}

void wr_continue_reset(struct wr_session *s) {
  struct wr_continue *c = of(s);
  if (!c) return;
  WR_DCHECK(!s->committed && !c->joining);
  clear(c);
  c->off = c->next = false;
  c->blocks = 0;
}

void wr_continue_free(struct wr_session *s) {
  struct wr_continue *c = of(s);
  if (!c) return;
  clear(c);
  c->magic = 0;
  wr_heap_free(WR_HEAP_RELAY, c);
  s->cont = NULL;
}

static void request_release(struct wr_session *s) {
  if (!s->committed || !s->rq || !s->rq->body_done) return;
  if (s->hook) s->hook->request = NULL;
  wr_request_free(s->rq);
  s->rq = NULL;
}

void wr_continue_end(struct wr_session *s) {
  if (!s->cont) return;
  wr_continue_free(s);
  request_release(s);
}

void wr_continue_off(struct wr_session *s) {
  struct wr_continue *c = of(s);
  WR_CHECK(c != NULL);
  c->off = true;
  c->join.phase = WR_JOIN_OPEN;
  wr_kept_clear(&c->kept);
  frame_drop(c);
  request_release(s);
}

bool wr_continue_keeps(const struct wr_session *s) { return s->cont && !s->cont->off; }
bool wr_continue_is_on(const struct wr_session *s) { return s->cont && s->cont->next; }
bool wr_continue_is_pending(const struct wr_session *s) {
  return s->cont && s->cont->next && s->cont->joining && !s->cont->begun;
}
int64_t wr_continue_spent(const struct wr_session *s) { return s->cont ? s->cont->spent : 0; }

/* Does the request ask for several answers at once? */
static bool wants_one(const struct wr_session *s) {
  static const char *const path = "n";
  struct wr_json_prog prog;
  struct wr_json_stream scan;
  uint64_t n = 1;
  if (s->dialect != WR_DIALECT_CHAT) return true;
  if (!WR_EXPECT(wr_json_compile(&prog, &path, 1) == WR_OK)) return false;
  wr_json_stream_init(&scan, &prog);
  for (size_t i = 0; i < s->rq->body.count; i++)
    if (wr_json_stream_feed(&scan, wr_view_span(wr_viewq_peek(&s->rq->body, i))) != WR_OK)
      return false;
  if (wr_json_stream_value(&scan, 0)->type != WR_JSON_NUMBER) return true;
  return wr_json_u64(wr_json_stream_raw(&scan, 0), &n) == WR_OK && n <= 1;
}

bool wr_continue_wanted(struct wr_session *s, enum wr_err err) {
  struct wr_continue *c = of(s);
  WR_DCHECK(s->at != NULL && err != WR_OK);
  if (!c) return false;
  if (wr_continue_is_pending(s)) WR_RELAY_COUNT(s->relay, continued[WR_CONTINUE_FAILED], 1);
  else c->err = (uint16_t)err;
  if (c->off || !s->rq || !s->content || s->finish || s->terminator || s->stopping ||
      s->outcome != WR_OUTCOME_NONE || err == WR_E_EVENT_TOO_LARGE)
    return false;
  if (wr_kept_body(&c->kept) == 0 || !wants_one(s)) return false;
  c->next = true;
  return true;
}

void wr_continue_decided(struct wr_session *s, bool follows) {
  struct wr_continue *c = of(s);
  if (follows) return;
  bool ended = !s->content || s->finish || s->terminator || s->stopping ||
               s->outcome != WR_OUTCOME_NONE;
  if (!wr_continue_is_pending(s) && !ended)
    WR_RELAY_COUNT(s->relay, continued[WR_CONTINUE_REFUSED], 1);
  if (c && !c->joining) c->next = false;
}

enum wr_err wr_continue_err(const struct wr_session *s, enum wr_err err) {
  return wr_continue_is_pending(s) && s->cont->err ? (enum wr_err)s->cont->err : err;
}

enum wr_err wr_continue_end_err(struct wr_session *s, enum wr_err err) {
  if (!wr_continue_is_pending(s) || s->at) return err;
  bool sought = err == s->retry_err || err == WR_E_NO_PEER || err == WR_E_NO_MODEL ||
                err == WR_E_SHED || err == WR_E_QUEUE_FULL || err == WR_E_QUEUE_TIMEOUT;
  if (!sought) return err; /* a limit of the request, or its client's end */
  WR_RELAY_COUNT(s->relay, continued[WR_CONTINUE_REFUSED], 1);
  err = wr_continue_err(s, err);
  return err == WR_E_RESET ? WR_E_TRUNCATED : err;
}

void wr_continue_begin(struct wr_session *s) {
  struct wr_continue *c = of(s);
  WR_CHECK(c != NULL && c->next && s->committed && s->at != NULL && s->rq != NULL);
  if (s->at->win) {
    c->win = s->at->win;
    s->at->win = NULL;
  }
  wr_session_attempt_end(s, false);
  frame_drop(c);
  wr_viewq_fini(&c->made);
  wr_viewq_init(&c->made);
  c->joining = true;
  c->begun = c->passing_over = false;
  c->spent = s->usage[1] > (int64_t)s->contents ? s->usage[1] : (int64_t)s->contents;
  if (c->spent > UINT32_MAX) c->spent = UINT32_MAX; /* servers say anything; sums must hold */
  c->block_open = s->dialect == WR_DIALECT_ANTHROPIC && s->open > 0;
  c->block = c->block_open ? s->open - 1 : 0;
  c->shift = 0;
  s->rq->head_sent = false;
  if (s->mode == WR_MODE_EVENTS) wr_session_due(s, WR_DUE_HEARTBEAT, s->route->heartbeat_ms);
}

void wr_continue_start(struct wr_session *s) {
  struct wr_continue *c = of(s);
  WR_CHECK(c != NULL && c->joining && s->at != NULL && s->at->win == NULL);
  s->at->win = c->win;
  c->win = NULL;
  wr_join_init(&c->join, &c->kept, s->at->peer->up->prefill_echo);
}

struct wr_span wr_continue_members(const struct wr_session *s) {
  bool prompt = false;
  bool asks = s->at->peer->up->prefill == WR_PREFILL_VLLM && place_of(s, &prompt) && !prompt;
  return asks ? WR_SPAN("\"continue_final_message\":true,\"add_generation_prompt\":false,")
              : WR_SPAN("");
}

/* Room of at least `bytes` in the message's last block: what was written moves to the queue. */
static enum wr_err message_room(struct wr_session *s, struct wr_block **b, struct wr_buf *buf,
                                size_t bytes) {
  struct wr_slabs *slabs = wr_session_slabs(s);
  if (*b && wr_buf_room(buf) >= bytes) return WR_OK;
  if (*b) {
    struct wr_view v = wr_view_take(*b, 0, buf->len);
    *b = NULL;
    enum wr_err err = wr_viewq_push(&s->cont->message, slabs, &v);
    if (err != WR_OK) return err;
  }
  size_t most = wr_slabs_max_block(slabs);
  *b = wr_slabs_alloc(slabs, most < MESSAGE_BLOCK_BYTES ? most : MESSAGE_BLOCK_BYTES,
                      WR_CHARGE_UPSTREAM);
  if (!*b) return WR_E_POOL_FULL;
  wr_buf_init(buf, (*b)->data, (*b)->cap);
  return WR_OK;
}

enum wr_err wr_continue_message(struct wr_session *s, struct wr_viewq **out, uint64_t *off) {
  struct wr_continue *c = of(s);
  WR_CHECK(c != NULL && c->next && s->rq != NULL && s->at != NULL);
  bool prompt;
  const struct wr_json_stream_value *place = place_of(s, &prompt);
  if (!WR_EXPECT(place != NULL)) return WR_E_INTERNAL;
  *off = place->off + place->len - 1;
  wr_viewq_fini(&c->message);
  wr_viewq_init(&c->message);
  struct wr_block *b = NULL;
  struct wr_buf buf;
  bool prefix = s->at->peer->up->prefill == WR_PREFILL_PREFIX;
  size_t at = 0, body = wr_kept_body(&c->kept);
  enum wr_err err = message_room(s, &b, &buf, 64);
  if (err == WR_OK && !prompt)
    wr_buf_put(&buf, WR_SPAN(",{\"role\":\"assistant\",\"content\":\""));
  while (err == WR_OK && at < body) {
    err = message_room(s, &b, &buf, 64);
    if (err == WR_OK) at += wr_kept_json(&c->kept, at, body, body, &buf);
  }
  if (err == WR_OK) err = message_room(s, &b, &buf, 64);
  if (err == WR_OK && !prompt)
    wr_buf_put(&buf, prefix ? WR_SPAN("\",\"prefix\":true}") : WR_SPAN("\"}"));
  if (b) {
    struct wr_view v = wr_view_take(b, 0, buf.len);
    enum wr_err pushed = wr_viewq_push(&c->message, wr_session_slabs(s), &v);
    if (err == WR_OK) err = pushed;
  }
  *out = &c->message;
  wr_loop_stats(s->relay->loop)->copy_bytes[WR_COPY_EDIT] += c->message.bytes;
  return err;
}

unsigned wr_continue_gap(struct wr_session *s) {
  if (!s->committed || s->source_done || s->step == WR_STEP_STREAM) return WR_STEP_WAIT;
  enum wr_err err = wr_session_drain_log(s);
  if (err == WR_E_POOL_FULL) wr_session_due_pool(s);
  else if (err != WR_OK) return wr_session_client_gone(s);
  return WR_STEP_WAIT;
}

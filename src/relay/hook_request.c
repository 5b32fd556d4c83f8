/* What a policy may read of the request while it is held, and what it says of an answer that is
 * about to begin. */
#include "base/check.h"
#include "base/heap.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "wire/http1_parse.h"

static struct wr_span none(void) { return wr_span_make(NULL, 0); }

static struct wr_span value_of(const struct wr_head *h, const char *base, struct wr_span name) {
  const struct wr_field *f = wr_head_find_name(h, base, name, NULL);
  return f ? wr_span_at(base, f->value) : none();
}

static struct wr_span request_header(const struct wr_hook_request *rq, struct wr_span name) {
  /* The scratch may have served another request or an answer since. */
  struct wr_session *s = (struct wr_session *)(uintptr_t)rq->head;
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  if (!s->rq || s->rq->forgotten || wr_request_parse(s) != WR_OK) return none();
  return value_of(&s->relay->head, s->rq->head.head.ptr, name);
}

static enum wr_err request_make(struct wr_session *s) {
  struct wr_request *rq = s->rq;
  const struct wr_head *h = &s->relay->head;
  const char *base = rq->head.head.ptr;
  struct wr_hook_request *in = wr_arena_alloc(&rq->arena, sizeof *in);
  if (!in) return WR_E_POOL_FULL;
  *in = (struct wr_hook_request){ .stream = rq->stream,
                                  .max_tokens = rq->max_tokens,
                                  .header = request_header,
                                  .head = s };
  /* The head may move while the request waits: what is read of it is copied. */
  enum wr_err err = wr_arena_copy(&rq->arena, wr_span_at(base, h->method_text), &in->method);
  if (err == WR_OK) err = wr_arena_copy(&rq->arena, wr_span_at(base, h->path), &in->path);
  if (err == WR_OK) err = wr_arena_copy(&rq->arena, wr_span_at(base, h->query), &in->query);
  rq->hook = in;
  return err;
}

enum wr_err wr_session_hook_make(struct wr_session *s, const struct wr_conf_key *key) {
  WR_DCHECK(s->hook == NULL && s->relay->head_of == s->rq);
  s->hook = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *s->hook);
  if (!s->hook) return WR_E_NOMEM;
  s->hook->id = s->id;
  s->hook->route = s->route;
  s->hook->key = key;
  s->hook->model = wr_session_model(s);
  s->hook->upstream = "";
  s->hook->started_us = s->started_us;
  s->hook->now_us = wr_loop_now_us(s->relay->loop);
  s->hook->usage = (struct wr_usage){ -1, -1, -1, -1 };
  s->hook->prompt_tokens = (int64_t)(s->rq->length_known ? s->rq->content_length : s->in_bytes) / 4;
  s->hook->first_token_us = UINT64_MAX;
  return request_make(s);
}

void wr_session_hook_held(struct wr_session *s) {
  if (!s->hook) return;
  struct wr_hook_request *in = s->rq ? s->rq->hook : NULL;
  s->hook->request = in;
  if (!in) return;
  struct wr_request *rq = s->rq;
  in->model = wr_session_model(s);
  in->body_bytes = (int64_t)(rq->length_known ? rq->content_length : s->in_bytes);
  in->prompt_tokens = in->body_bytes / 4;
  in->body = rq->body.count > 0 ? *wr_viewq_peek(&rq->body, 0) : WR_VIEW_NONE; /* a GET has none */
  in->body_complete = rq->body_done && rq->body.count <= 1;
}

void wr_session_hook_now(struct wr_session *s) {
  WR_DCHECK(s->hook != NULL && s->gen->hooks != NULL);
  s->hook->now_us = wr_loop_now_us(s->relay->loop);
  s->hook->sent_bytes = s->out_bytes;
  s->hook->queued_bytes = wr_session_queued(s);
  wr_session_hook_held(s);
}

static struct wr_span answer_header(const struct wr_hook_response *rs, struct wr_span name) {
  const struct wr_session *s = rs->head;
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  const char *base = s->rq->answer.head.ptr;
  struct wr_head *h = &s->relay->head;
  s->relay->head_of = NULL;
  if (wr_http1_parse_response(wr_view_span(&s->rq->answer.head), (enum wr_method)s->method, NULL,
                              h) != WR_OK)
    return none();
  return value_of(h, base, name);
}

enum wr_step wr_session_hook_response(struct wr_session *s) {
  WR_DCHECK(!s->committed && s->at != NULL);
  if (!s->hook || !(s->route->hooks & WR_HOOK_RESPONSE_START) || s->at->settled || s->stopping)
    return WR_STEP_WAIT;
  s->at->settled = true;
  s->hooked = true;
  wr_session_hook_now(s);
  const struct wr_hook_response rs = {
    .status = s->upstream_status,
    .first_token_us = s->first_token_us == UINT32_MAX ? UINT64_MAX : s->first_token_us,
    .header = answer_header,
    .head = s,
  };
  struct wr_verdict v = { .kind = WR_VERDICT_DEFAULT, .max_tokens = -1, .deadline_ms = -1 };
  s->gen->hooks->response_start(s->gen->hooks->ctx, s->hook, &rs, &v);
  if (v.kind == WR_VERDICT_FALLBACK && wr_retry_fall_back(s, v.group)) return WR_STEP_RETRY;
  if (v.kind == WR_VERDICT_FALLBACK && v.guard) { /* what it doesn't want seen isn't seen */
    wr_session_attempt_end(s, false);
    return wr_session_fail(s, WR_E_NO_PEER, none());
  }
  if (v.kind != WR_VERDICT_REJECT) return WR_STEP_WAIT;
  wr_session_attempt_end(s, false);
  return wr_session_refuse(s, v.status, v.text, &v);
}

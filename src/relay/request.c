#include "relay/request.h"

#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "wire/http1_parse.h"

const char *const wr_request_paths[WR_RQ_PATHS] = {
  [WR_RQ_MODEL] = "model",
  [WR_RQ_STREAM] = "stream",
  [WR_RQ_MAX_TOKENS] = "max_tokens",
  [WR_RQ_MAX_COMPLETION_TOKENS] = "max_completion_tokens",
  [WR_RQ_MAX_OUTPUT_TOKENS] = "max_output_tokens",
  [WR_RQ_NUM_PREDICT] = "options.num_predict",
  [WR_RQ_OPTIONS] = "options",
  [WR_RQ_MESSAGES] = "messages",
  [WR_RQ_INPUT] = "input",
  [WR_RQ_PROMPT] = "prompt",
};

enum wr_err wr_request_new(struct wr_slabs *slabs, struct wr_request **out) {
  struct wr_request *rq = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *rq);
  if (!rq) return WR_E_NOMEM;
  wr_arena_init(&rq->arena, slabs, WR_CHARGE_HEAD);
  wr_headbuf_init(&rq->head);
  wr_headbuf_init(&rq->answer);
  wr_viewq_init(&rq->body);
  rq->stream = -1;
  rq->max_tokens = rq->cap_tokens = -1;
  *out = rq;
  return WR_OK;
}

void wr_request_free(struct wr_request *rq) {
  if (!rq) return;
  wr_request_forget(rq);
  wr_headbuf_fini(&rq->answer);
  wr_view_drop(&rq->answer_head);
  wr_heap_free(WR_HEAP_RELAY, rq);
}

void wr_request_forget(struct wr_request *rq) {
  wr_headbuf_fini(&rq->head);
  wr_viewq_fini(&rq->body);
  wr_viewq_init(&rq->body);
  rq->scan = NULL;
  rq->model = NULL;
  rq->hook = NULL;
  rq->forgotten = true;
  wr_arena_fini(&rq->arena);
}

struct wr_span wr_request_value(const struct wr_request *rq, enum wr_request_path which) {
  WR_DCHECK(which < WR_RQ_PATHS);
  return rq->scan ? wr_json_stream_raw(rq->scan, which) : wr_span_make(NULL, 0);
}

/* A malformed body is not ours to judge, the upstream will say so: the scan just stops. */
static void scan(struct wr_request *rq, struct wr_span data) {
  if (!rq->scan || wr_json_stream_feed(rq->scan, data) == WR_OK) return;
  rq->scan = NULL;
  rq->malformed = true;
}

static bool has_rules(const struct wr_request *rq, const struct wr_conf_upstream *up) {
  return up->model_count > 0 || rq->model || rq->cap_tokens >= 0;
}

enum wr_err wr_request_judge(const struct wr_request *rq, const struct wr_conf_upstream *up) {
  WR_DCHECK(!rq->streaming);
  if (!has_rules(rq, up)) return WR_OK;
  if (rq->malformed) return WR_E_BODY_JSON; /* others may read in it what was not seen here */
  if (rq->body_done || !rq->scan) return WR_OK;
  bool named = wr_json_stream_value(rq->scan, WR_RQ_MODEL)->type != WR_JSON_MISSING;
  return named ? WR_OK : WR_E_UNREAD;
}

/* A value that comes late replaces one that came before, for whoever reads the whole. */
enum wr_err wr_request_judge_more(const struct wr_request *rq, const struct wr_conf_upstream *up) {
  WR_DCHECK(rq->streaming);
  if (!has_rules(rq, up)) return WR_OK;
  if (rq->malformed) return WR_E_BODY_JSON;
  if (!rq->scan) return WR_OK;
  for (int i = 0; i < WR_RQ_MESSAGES; i++) {
    const struct wr_json_stream_value *v = wr_json_stream_value(rq->scan, (size_t)i);
    uint64_t n = 0;
    if (i == WR_RQ_STREAM || v->type == WR_JSON_MISSING || v->off < rq->held_bytes) continue;
    if (i == WR_RQ_MODEL && (up->model_count > 0 || rq->model)) return WR_E_UNREAD;
    if (i == WR_RQ_MODEL || rq->cap_tokens < 0) continue;
    if (wr_json_u64(wr_request_value(rq, (enum wr_request_path)i), &n) != WR_OK ||
        n > (uint64_t)rq->cap_tokens)
      return WR_E_UNREAD;
  }
  return WR_OK;
}

/* Decodes one piece of input into the body queue; what isn't part of the body is put back. */
static enum wr_err take_piece(struct wr_session *s, struct wr_view *in, size_t hold) {
  WR_DCHECK(s->rq != NULL && in->len > 0 && !s->rq->body_done);
  struct wr_request *rq = s->rq;
  enum wr_err err = WR_OK;
  while (err == WR_OK && in->len > 0 && rq->body.bytes < hold) {
    size_t used = 0;
    struct wr_span data;
    struct wr_span bytes = wr_view_span(in);
    if (bytes.len > hold - rq->body.bytes)
      bytes.len = hold - rq->body.bytes; /* no more than may be held */
    err = wr_http1_body_next(&rq->decode, bytes, &used, &data);
    if (err != WR_OK && err != WR_E_AGAIN && err != WR_E_END) break;
    s->in_bytes += data.len;
    if (s->in_bytes > s->route->body_bytes) {
      err = WR_E_BODY_TOO_LARGE;
      break;
    }
    if (data.len) {
      scan(rq, data);
      struct wr_view part = wr_view_sub(in, (size_t)(data.ptr - in->ptr), data.len);
      enum wr_err pushed = wr_viewq_push(&rq->body, wr_session_slabs(s), &part);
      if (pushed != WR_OK) err = pushed;
    }
    wr_view_advance(in, used);
    if (err == WR_E_AGAIN) err = WR_OK;
  }
  if (in->len) {
    enum wr_err back = wr_conn_unread(s->client, in);
    if (back != WR_OK) return back;
  } else {
    wr_view_drop(in);
  }
  return err;
}

enum wr_err wr_request_read_body(struct wr_session *s, size_t hold) {
  WR_CHECK(s->rq != NULL && s->route != NULL);
  struct wr_request *rq = s->rq;
  if (rq->body_done) return WR_E_END;
  struct wr_view in;
  while (rq->body.bytes < hold && wr_conn_take(s->client, &in)) {
    enum wr_err err = take_piece(s, &in, hold);
    if (err == WR_E_END) rq->body_done = true;
    if (err != WR_OK) return err;
  }
  return WR_OK;
}

enum wr_err wr_request_flatten(struct wr_session *s) {
  WR_DCHECK(!s->rq->streaming && !s->rq->head_sent);
  struct wr_viewq *q = &s->rq->body;
  struct wr_slabs *slabs = wr_session_slabs(s);
  if (q->count <= 1) return WR_OK;
  size_t len = q->bytes < wr_slabs_max_block(slabs) ? q->bytes : wr_slabs_max_block(slabs);
  struct wr_block *b = wr_slabs_alloc(slabs, len, WR_CHARGE_HEAD);
  if (!b) return WR_E_POOL_FULL;
  size_t at = 0;
  while (at < len) {
    const struct wr_view *v = wr_viewq_peek(q, 0);
    size_t n = v->len < len - at ? v->len : len - at;
    memcpy(b->data + at, v->ptr, n);
    at += n;
    wr_viewq_consume(q, n);
  }
  s->copied += at;
  wr_loop_stats(s->relay->loop)->copy_bytes[WR_COPY_STRADDLE] += at;
  struct wr_view whole = wr_view_take(b, 0, at);
  return wr_viewq_unshift(q, slabs, &whole);
}

/* A block that may be pinned by whatever little stands in it. */
#define SMALL_BYTES 2048u

/* The head in a block of its own, when it is a small part of a large one. */
static size_t head_tidy(struct wr_headbuf *hb, struct wr_slabs *slabs) {
  struct wr_view *h = &hb->head;
  if (!h->block || h->block->cap <= SMALL_BYTES || h->len >= h->block->cap / 4) return 0;
  WR_DCHECK(h->len > 0);
  struct wr_block *b = wr_slabs_alloc(slabs, h->len, WR_CHARGE_HEAD);
  if (!b) return 0;
  memcpy(b->data, h->ptr, h->len);
  struct wr_view moved = wr_view_take(b, 0, h->len);
  wr_view_drop(h);
  *h = moved;
  return moved.len;
}

enum wr_err wr_request_parse(struct wr_session *s) {
  struct wr_relay *relay = s->relay;
  if (relay->head_of == s->rq) return WR_OK;
  relay->head_of = NULL;
  enum wr_err err = wr_http1_parse_request(wr_view_span(&s->rq->head.head), NULL, &relay->head);
  if (err == WR_OK) relay->head_of = s->rq;
  return err;
}

void wr_request_tidy(struct wr_session *s) {
  struct wr_slabs *slabs = wr_session_slabs(s);
  size_t copied = head_tidy(&s->rq->head, slabs);
  (void)!wr_viewq_compact(&s->rq->body, slabs, WR_CHARGE_HEAD, &copied); /* or stays as it is */
  s->copied += copied;
  wr_loop_stats(s->relay->loop)->copy_bytes[WR_COPY_COMPACT] += copied;
}

/* The request as the upstream gets it: a head written anew, and the client's body with what must
 * change in it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "relay/coding.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "wire/http1_parse.h"
#include "wire/http1_write.h"
#include "wire/url.h"

#define HEAD_ROOM 32768u
#define MAX_EDITS 6

/* Bytes of the body that are replaced; len 0 inserts. */
struct edit {
  uint64_t off, len;
  char text[320];
  size_t text_len;
  const struct wr_viewq *more; /* borrowed: the stream's; goes in behind the text; NULL: nothing */
};

struct edits {
  struct edit e[MAX_EDITS];
  size_t n;
};

static void edit_add(struct edits *edits, uint64_t off, uint64_t len, struct wr_span text) {
  WR_CHECK(edits->n < MAX_EDITS && text.len <= sizeof edits->e[0].text);
  size_t i = edits->n++;
  while (i > 0 && edits->e[i - 1].off > off) { /* in order of offset */
    edits->e[i] = edits->e[i - 1];
    i--;
  }
  edits->e[i].more = NULL;
  edits->e[i].off = off;
  edits->e[i].len = len;
  memcpy(edits->e[i].text, text.ptr, text.len);
  edits->e[i].text_len = text.len;
}

static bool is_held(const struct wr_request *rq, const struct wr_json_stream_value *v) {
  return v->type != WR_JSON_MISSING && v->len > 0 && v->off + v->len <= rq->body.bytes;
}

static void edit_model(const struct wr_session *s, struct edits *edits) {
  const struct wr_request *rq = s->rq;
  const struct wr_json_stream_value *v = wr_json_stream_value(rq->scan, WR_RQ_MODEL);
  const char *model = s->at->model ? s->at->model : rq->model;
  if (!model || !is_held(rq, v)) return;
  char text[300];
  struct wr_buf buf;
  wr_buf_init(&buf, text, sizeof text);
  wr_buf_json_string(&buf, wr_span_str(model));
  if (!buf.overflow) edit_add(edits, v->off, v->len, wr_buf_span(&buf));
}

/* The field that bounds the answer, by dialect and upstream. */
static const char *cap_field(const struct wr_session *s) {
  if (s->dialect == WR_DIALECT_RESPONSES) return "max_output_tokens";
  if (s->dialect == WR_DIALECT_CHAT && s->at->peer->up->kind == WR_KIND_OPENAI)
    return "max_completion_tokens";
  return "max_tokens";
}

/* What is left of a bound when other attempts have brought some of the answer. */
static int64_t left_of(int64_t tokens, int64_t spent) {
  return tokens > spent ? tokens - spent : 1;
}

/* A member with the cap before all others. */
static void edit_front(const struct wr_request *rq, struct edits *edits, const char *name,
                       int64_t tokens, const char *end) {
  const struct wr_view *first = wr_viewq_peek(&rq->body, 0);
  const char *brace = memchr(first->ptr, '{', first->len);
  if (!brace) return;
  char text[64];
  int len = snprintf(text, sizeof text, "\"%s\":%" PRId64 "%s", name, tokens, end);
  edit_add(edits, (uint64_t)(brace - first->ptr) + 1, 0, wr_span_make(text, (size_t)len));
}

/* The first byte of the body from an offset on that isn't white space; 0: it isn't held. */
static char held_byte(const struct wr_request *rq, uint64_t off) {
  for (size_t i = 0; i < rq->body.count; i++) {
    const struct wr_view *v = wr_viewq_peek(&rq->body, i);
    for (; off < v->len; off++)
      if (!memchr(" \t\r\n", v->ptr[off], 4)) return v->ptr[off];
    off -= v->len;
  }
  return 0;
}

/* Ollama has its bound in an object, which may not be there. */
static void edit_options(const struct wr_request *rq, int64_t tokens, struct edits *edits) {
  const struct wr_json_stream_value *v = wr_json_stream_value(rq->scan, WR_RQ_OPTIONS);
  char text[64];
  int len;
  if (v->type == WR_JSON_OBJECT && v->off < rq->body.bytes) {
    bool empty = held_byte(rq, v->off + 1) == '}';
    len = snprintf(text, sizeof text, "\"num_predict\":%" PRId64 "%s", tokens,
                   empty ? "" : ",");
    edit_add(edits, v->off + 1, 0, wr_span_make(text, (size_t)len));
  } else if (is_held(rq, v)) { /* null, or what the upstream would refuse */
    len = snprintf(text, sizeof text, "{\"num_predict\":%" PRId64 "}", tokens);
    edit_add(edits, v->off, v->len, wr_span_make(text, (size_t)len));
  } else {
    edit_front(rq, edits, "options\":{\"num_predict", tokens, "},");
  }
}

static void edit_cap(struct wr_session *s, struct edits *edits) {
  struct wr_request *rq = s->rq;
  const int64_t cap = rq->cap_tokens, spent = wr_continue_spent(s);
  if (s->dialect == WR_DIALECT_NONE || (cap < 0 && spent == 0)) return;
  bool ollama = s->dialect == WR_DIALECT_OLLAMA;
  char text[64];
  bool found = false;
  /* Every field that bounds the answer is held to the cap: the upstream may go by any of them. */
  int last = ollama ? WR_RQ_NUM_PREDICT : WR_RQ_MAX_OUTPUT_TOKENS;
  for (int i = ollama ? WR_RQ_NUM_PREDICT : WR_RQ_MAX_TOKENS; i <= last; i++) {
    const struct wr_json_stream_value *v = wr_json_stream_value(rq->scan, (size_t)i);
    uint64_t n = 0;
    if (!is_held(rq, v)) continue;
    found = true;
    bool known = wr_json_u64(wr_json_stream_raw(rq->scan, (size_t)i), &n) == WR_OK &&
                 n <= (cap < 0 ? INT64_MAX : (uint64_t)cap);
    if (known ? spent == 0 : cap < 0) continue;
    int len = snprintf(text, sizeof text, "%" PRId64, left_of(known ? (int64_t)n : cap, spent));
    edit_add(edits, v->off, v->len, wr_span_make(text, (size_t)len));
  }
  if (found || cap < 0 || rq->body.count == 0) return;
  if (wr_json_stream_value(rq->scan, WR_RQ_MODEL)->type == WR_JSON_MISSING) return;
  if (ollama) edit_options(rq, left_of(cap, spent), edits);
  else edit_front(rq, edits, cap_field(s), left_of(cap, spent), ",");
}

/* What is to be gone on with. */
static enum wr_err edit_continue(struct wr_session *s, struct edits *edits) {
  struct wr_viewq *message = NULL;
  uint64_t off = 0;
  enum wr_err err = wr_continue_message(s, &message, &off);
  if (err != WR_OK) return err;
  edit_add(edits, off, 0, WR_SPAN(""));
  for (size_t i = 0; i < edits->n; i++)
    if (edits->e[i].off == off) edits->e[i].more = message;
  struct wr_span members = wr_continue_members(s);
  const struct wr_view *first = wr_viewq_peek(&s->rq->body, 0);
  const char *brace = memchr(first->ptr, '{', first->len);
  if (members.len && brace) edit_add(edits, (uint64_t)(brace - first->ptr) + 1, 0, members);
  return WR_OK;
}

static enum wr_err edits_make(struct wr_session *s, struct edits *edits) {
  edits->n = 0;
  if (!s->rq->scan) return WR_OK;
  edit_model(s, edits);
  edit_cap(s, edits);
  return s->committed ? edit_continue(s, edits) : WR_OK;
}

/* Of the body, with its edits. */
static uint64_t edited_bytes(const struct edits *edits, uint64_t length) {
  for (size_t i = 0; i < edits->n; i++) {
    const struct edit *e = &edits->e[i];
    length = length + e->text_len + (e->more ? e->more->bytes : 0) - e->len;
  }
  return length;
}

/* Fields of the client that don't pass. */
static bool is_dropped(const struct wr_session *s, const struct wr_head *h, const char *base,
                       const struct wr_field *f) {
  if (wr_head_is_hop_by_hop(h, base, f) || wr_head_is_rewritten(f) ||
      f->id == WR_FIELD_ACCEPT_ENCODING)
    return true;
  const struct wr_conf_upstream *up = s->at->peer->up;
  bool credential =
      f->id == WR_FIELD_AUTHORIZATION || f->id == WR_FIELD_X_API_KEY || f->id == WR_FIELD_API_KEY;
  if (credential && (wr_secret_is_set(&up->key) || s->gen->conf->keys_declared)) return true;
  for (size_t i = 0; i < up->header_count; i++)
    if (wr_span_ieq(wr_span_at(base, f->name), wr_span_str(up->headers[i].name))) return true;
  return false;
}

/* The one place where a credential is read. */
static enum wr_err put_credential(struct wr_buf *out, const struct wr_conf_upstream *up) {
  if (!wr_secret_is_set(&up->key)) return WR_OK;
  struct wr_span key = wr_secret_reveal(&up->key);
  if (up->kind == WR_KIND_ANTHROPIC) return wr_http1_put_field(out, WR_SPAN("x-api-key"), key);
  char bearer[4096];
  struct wr_buf buf;
  wr_buf_init(&buf, bearer, sizeof bearer);
  wr_buf_put(&buf, WR_SPAN("Bearer "));
  wr_buf_put(&buf, key);
  if (buf.overflow) return WR_E_ARG;
  return wr_http1_put_field(out, WR_SPAN("authorization"), wr_buf_span(&buf));
}

static enum wr_err put_target(struct wr_buf *out, const struct wr_session *s,
                              const struct wr_head *h, const char *base) {
  char joined[HEAD_ROOM / 2];
  struct wr_buf buf;
  wr_buf_init(&buf, joined, sizeof joined);
  struct wr_span path = wr_span_at(base, h->path);
  struct wr_span prefix = wr_span_str(s->at->peer->url ? s->at->peer->url->base_path : "");
  enum wr_err err = path.len && path.ptr[0] == '/' ? wr_path_join(&buf, prefix, path) : WR_OK;
  if (path.len && path.ptr[0] != '/') wr_buf_put(&buf, path);
  if (h->has_query) {
    wr_buf_char(&buf, '?');
    wr_buf_put(&buf, wr_span_at(base, h->query));
  }
  if (err != WR_OK || buf.overflow) return WR_E_HEAD_TOO_LARGE;
  return wr_http1_put_request(out, wr_span_at(base, h->method_text), wr_buf_span(&buf));
}

static enum wr_err put_framing(struct wr_buf *out, const struct wr_session *s,
                               const struct edits *edits, bool *chunked) {
  const struct wr_request *rq = s->rq;
  *chunked = !rq->length_known && !rq->body_done;
  if (*chunked) return wr_http1_put_field(out, WR_SPAN("transfer-encoding"), WR_SPAN("chunked"));
  uint64_t length = rq->length_known ? rq->content_length : rq->body.bytes;
  if (length == 0 && (rq->method == WR_METHOD_GET || rq->method == WR_METHOD_HEAD)) return WR_OK;
  length = edited_bytes(edits, length);
  return wr_http1_put_field_u64(out, WR_SPAN("content-length"), length);
}

static enum wr_err put_head(struct wr_session *s, struct wr_buf *out, const struct edits *edits,
                            bool *chunked) {
  struct wr_head *h = &s->relay->head;
  const char *base = s->rq->head.head.ptr;
  const struct wr_conf_upstream *up = s->at->peer->up;
  enum wr_err err = wr_request_parse(s);
  if (!WR_EXPECT(err == WR_OK)) return WR_E_INTERNAL;
  err = put_target(out, s, h, base);
  if (err == WR_OK)
    err = wr_http1_put_field(out, WR_SPAN("host"), wr_span_str(wr_peer_authority(s->at->peer)));
  for (size_t i = 0; err == WR_OK && i < h->field_count; i++) {
    const struct wr_field *f = &h->fields[i];
    if (!is_dropped(s, h, base, f))
      err = wr_http1_put_field(out, wr_span_at(base, f->name), wr_span_at(base, f->value));
    else if (f->id == WR_FIELD_ACCEPT_ENCODING)
      s->rq->codings |= wr_coding_accepted(wr_span_at(base, f->value));
  }
  for (size_t i = 0; err == WR_OK && i < up->header_count; i++)
    err = wr_http1_put_field(out, wr_span_str(up->headers[i].name),
                             wr_span_str(up->headers[i].value));
  if (err == WR_OK) err = wr_http1_put_field(out, WR_SPAN("accept-encoding"), WR_SPAN("identity"));
  if (err == WR_OK) err = put_credential(out, up);
  if (err == WR_OK) err = put_framing(out, s, edits, chunked);
  if (err == WR_OK) err = wr_http1_put_end(out);
  return err;
}

static enum wr_err write_copy(struct wr_session *s, struct wr_span bytes) {
  struct wr_slabs *slabs = wr_session_slabs(s);
  while (bytes.len) {
    size_t n = bytes.len < wr_slabs_max_block(slabs) ? bytes.len : wr_slabs_max_block(slabs);
    struct wr_block *b = wr_slabs_alloc(slabs, n, WR_CHARGE_UPSTREAM);
    if (!b) return WR_E_POOL_FULL;
    memcpy(b->data, bytes.ptr, n);
    struct wr_view v = wr_view_take(b, 0, n);
    enum wr_err err = wr_conn_write(s->at->conn, &v);
    if (err != WR_OK) return err;
    bytes = wr_span_sub(bytes, n, bytes.len - n);
  }
  return WR_OK;
}

/* The held bytes from body offset `from` up to `to`, as references. */
static enum wr_err write_held(struct wr_session *s, uint64_t from, uint64_t to) {
  uint64_t at = 0;
  for (size_t i = 0; i < s->rq->body.count && from < to; i++) {
    const struct wr_view *v = wr_viewq_peek(&s->rq->body, i);
    if (from < at + v->len) {
      size_t off = (size_t)(from - at);
      size_t len = v->len - off;
      if (len > to - from) len = (size_t)(to - from);
      struct wr_view part = wr_view_sub(v, off, len);
      enum wr_err err = wr_conn_write(s->at->conn, &part);
      if (err != WR_OK) return err;
      from += len;
    }
    at += v->len;
  }
  return WR_OK;
}

static enum wr_err write_body(struct wr_session *s, const struct edits *edits) {
  uint64_t at = 0;
  enum wr_err err = WR_OK;
  for (size_t i = 0; err == WR_OK && i < edits->n; i++) {
    const struct edit *e = &edits->e[i];
    WR_DCHECK(e->off >= at);
    err = write_held(s, at, e->off);
    if (err == WR_OK) err = write_copy(s, wr_span_make(e->text, e->text_len));
    for (size_t k = 0; err == WR_OK && e->more && k < e->more->count; k++) {
      struct wr_view v = wr_view_keep(wr_viewq_peek(e->more, k));
      err = wr_conn_write(s->at->conn, &v);
    }
    at = e->off + e->len;
    wr_loop_stats(s->relay->loop)->copy_bytes[WR_COPY_EDIT] += e->text_len;
  }
  return err == WR_OK ? write_held(s, at, s->rq->body.bytes) : err;
}

enum wr_err wr_request_send(struct wr_session *s) {
  struct edits edits;
  enum wr_err err = edits_make(s, &edits);
  if (err != WR_OK) return err;
  char *room = wr_relay_scratch(s->relay, HEAD_ROOM);
  if (!room) return WR_E_NOMEM;
  struct wr_buf out;
  wr_buf_init(&out, room, HEAD_ROOM);
  bool chunked = false;
  err = put_head(s, &out, &edits, &chunked);
  if (err != WR_OK) return err == WR_E_ARG ? WR_E_INTERNAL : err;
  err = write_copy(s, wr_buf_span(&out));
  if (err != WR_OK || s->rq->body.bytes == 0) return err;
  if (!chunked) return write_body(s, &edits);
  uint64_t length = edited_bytes(&edits, s->rq->body.bytes);
  char head[WR_HTTP1_CHUNK_HEAD_BYTES];
  err = write_copy(s, wr_span_make(head, wr_http1_chunk_head(head, (size_t)length)));
  if (err == WR_OK) err = write_body(s, &edits);
  struct wr_view end = wr_view_static(WR_HTTP1_CRLF);
  return err == WR_OK ? wr_conn_write(s->at->conn, &end) : err;
}

/* From the log to the client: frames become chunks, one writev a turn. */
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "relay/hedge.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "wire/http1_write.h"

/* What the connection holds beyond what the kernel took; the rest waits in the log. */
#define WINDOW_BYTES 65536u
#define FRAMES_A_CHUNK 64u

size_t wr_session_queued(const struct wr_session *s) {
  return s->stream.bytes + (s->client ? wr_conn_unsent_bytes(s->client) : 0);
}

static bool is_set(struct wr_span lines, struct wr_span name) {
  while (lines.len > name.len) {
    const char *end = memchr(lines.ptr, '\n', lines.len);
    WR_CHECK(end != NULL);
    if (lines.ptr[name.len] == ':' && wr_span_ieq(wr_span_make(lines.ptr, name.len), name))
      return true;
    size_t line = (size_t)(end + 1 - lines.ptr);
    lines = wr_span_sub(lines, line, lines.len - line);
  }
  return false;
}

/* The head again, with the fields that a policy has set in place of the upstream's. On an error the
 * old one is still there. */
static enum wr_err edit_head(struct wr_session *s) {
  struct wr_span set = s->hook->headers, head = wr_view_span(&s->rq->answer_head);
  size_t most = head.len + set.len;
  if (most > wr_slabs_max_block(wr_session_slabs(s))) return WR_E_HEAD_TOO_LARGE;
  struct wr_block *b = wr_slabs_alloc(wr_session_slabs(s), most, WR_CHARGE_CLIENT);
  if (!b) return WR_E_POOL_FULL;
  struct wr_buf out;
  wr_buf_init(&out, b->data, most);
  while (head.len > 2) { /* to the empty line */
    const char *end = memchr(head.ptr, '\n', head.len);
    WR_CHECK(end != NULL);
    struct wr_span line = wr_span_make(head.ptr, (size_t)(end + 1 - head.ptr));
    const char *colon = memchr(line.ptr, ':', line.len);
    bool field = out.len > 0 && colon != NULL; /* behind the status */
    if (!field || !is_set(set, wr_span_make(line.ptr, (size_t)(colon - line.ptr))))
      wr_buf_put(&out, line);
    head = wr_span_sub(head, line.len, head.len - line.len);
  }
  wr_buf_put(&out, set);
  wr_buf_put(&out, WR_SPAN("\r\n"));
  WR_CHECK(!out.overflow);
  wr_view_drop(&s->rq->answer_head);
  s->rq->answer_head = wr_view_take(b, 0, out.len);
  return WR_OK;
}

/* What waits in the log can still be joined, what the connection has can't. */
static size_t window_of(const struct wr_session *s) {
  const struct wr_conf_route *r = s->route;
  if (!r || r->slow_high_bytes >= WINDOW_BYTES) return WINDOW_BYTES;
  bool small = r->slow_action == WR_SLOW_COALESCE || r->slow_drop || s->relay->coalesce_all ||
               (s->slow && s->slow_do != WR_SLOW_PAUSE);
  return small ? r->slow_high_bytes : WINDOW_BYTES;
}

enum wr_err wr_session_commit(struct wr_session *s) {
  WR_CHECK(!s->committed && s->at != NULL && s->rq != NULL && s->rq->answer_head.len > 0);
  enum wr_err err = s->hook && s->hook->headers.len ? edit_head(s) : WR_OK;
  if (err == WR_OK) err = wr_conn_write(s->client, &s->rq->answer_head);
  if (err != WR_OK) return err;
  s->committed = true;
  wr_hedge_drop(s, WR_HEDGE_LOST);
  s->status = s->upstream_status;
  s->due[WR_DUE_RATE] = 0;
  if (s->hook) s->hook->status = s->status;
  s->rq->answer_head = WR_VIEW_NONE;
  if (s->rq->body_done && wr_continue_keeps(s)) {
    wr_headbuf_fini(&s->rq->answer);
    wr_request_tidy(s);
    if (s->hook) wr_session_hook_held(s);
  } else if (s->rq->body_done) {
    if (s->hook) s->hook->request = NULL;
    wr_request_free(s->rq);
    s->rq = NULL;
  }
  return WR_OK;
}

/* The head of a chunk of up to FRAMES_A_CHUNK frames; they may follow in several turns. */
static enum wr_err chunk_open(struct wr_session *s, size_t window) {
  size_t n = 0, bytes = 0;
  const struct wr_frame *f;
  while (n < FRAMES_A_CHUNK && bytes < window &&
         (f = wr_reader_peek(&s->reader, n)) != NULL && !f->framing) {
    bytes += f->view.len;
    n++;
  }
  WR_DCHECK(n > 0 && bytes > 0);
  char head[WR_HTTP1_CHUNK_HEAD_BYTES];
  enum wr_err err = WR_OK;
  if (s->chunked)
    err = wr_conn_write_copy(s->client, wr_span_make(head, wr_http1_chunk_head(head, bytes)));
  if (err == WR_OK) s->chunk_left = (uint32_t)bytes + (s->chunked ? 2u : 0u);
  return err;
}

/* Frames that have their own framing leave as they are; those that touch in memory become one
 * piece. */
static enum wr_err put_framed(struct wr_session *s, size_t window) {
  size_t done = 0, bytes = 0;
  enum wr_err err = WR_OK;
  const struct wr_frame *f;
  while (done < FRAMES_A_CHUNK && bytes < window &&
         (f = wr_reader_peek(&s->reader, done)) != NULL && f->framing) {
    WR_DCHECK(s->chunked && f->view.len > f->framing);
    struct wr_view v = wr_view_keep(&f->view);
    uint32_t len = v.len - f->framing;
    err = wr_conn_write(s->client, &v);
    if (err != WR_OK) break;
    s->out_bytes += len;
    bytes += len;
    done++;
  }
  if (done) wr_reader_next(&s->reader, done);
  return err;
}

/* The frames of one chunk. When memory ends in the middle of it, the next call goes on there. */
static enum wr_err put_frames(struct wr_session *s, size_t window) {
  const struct wr_frame *first = wr_reader_peek(&s->reader, 0);
  if (!s->chunk_left && first && first->framing) return put_framed(s, window);
  uint32_t crlf = s->chunked ? 2 : 0;
  size_t done = 0;
  enum wr_err err = s->chunk_left ? WR_OK : chunk_open(s, window);
  while (err == WR_OK && s->chunk_left > crlf) {
    const struct wr_frame *f = wr_reader_peek(&s->reader, done);
    WR_CHECK(f != NULL && f->view.len <= s->chunk_left - crlf);
    struct wr_view v = wr_view_keep(&f->view);
    uint32_t len = v.len;
    err = wr_conn_write(s->client, &v);
    if (err != WR_OK) break;
    s->chunk_left -= len;
    s->out_bytes += len;
    done++;
  }
  if (done) wr_reader_next(&s->reader, done);
  struct wr_view end = wr_view_static(WR_HTTP1_CRLF);
  if (err == WR_OK && crlf) err = wr_conn_write(s->client, &end);
  if (err == WR_OK) s->chunk_left = 0;
  return err;
}

static bool has_frames(const struct wr_session *s) {
  return s->committed && (wr_reader_left(&s->reader) > 0 || s->chunk_left > 0);
}

/* The answer's end leaves with its last frame, in one write. */
static enum wr_err put_end(struct wr_session *s) {
  if (!s->source_done || !s->clean) return WR_OK;
  if (wr_reader_left(&s->reader) > 0 || s->chunk_left > 0) return WR_OK;
  struct wr_view end = wr_view_static(WR_HTTP1_LAST_CHUNK);
  enum wr_err err = s->chunked ? wr_conn_write(s->client, &end) : WR_OK;
  if (err == WR_OK) s->clean = false; /* it is written once */
  return err;
}

enum wr_err wr_session_drain_log(struct wr_session *s) {
  enum wr_err err = WR_OK, sent = WR_OK;
  bool wrote = false;
  size_t unsent = 0, window = window_of(s);
  /* When the kernel has taken a whole window nobody would tell of room: the next one follows at
   * once. */
  do {
    while (err == WR_OK && has_frames(s) && wr_conn_unsent_bytes(s->client) < window) {
      err = put_frames(s, window);
      wrote = true;
    }
    if (err == WR_OK) err = put_end(s);
    sent = wr_conn_flush(s->client); /* also when memory is short: what leaves gives some back */
    unsent = wr_conn_unsent_bytes(s->client);
  } while (err == WR_OK && sent == WR_OK && has_frames(s) && unsent == 0);
  if (wrote && s->due[WR_DUE_HEARTBEAT])
    wr_session_due(s, WR_DUE_HEARTBEAT, s->route->heartbeat_ms);
  if (sent != WR_OK) return sent;
  if (unsent > 0) {
    wr_conn_compact(s->client);
    wr_stream_compact(&s->stream, WR_CHARGE_CLIENT, &s->copied);
  }
  return err;
}

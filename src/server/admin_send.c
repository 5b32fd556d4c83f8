#include <string.h>

#include "base/check.h"
#include "base/heap.h"
#include "server/admin_priv.h"
#include "wire/http1_write.h"

#define TEXT_FIRST_BYTES 8192u
#define TEXT_MAX_BYTES (64u << 20)
#define PIECE_BYTES 2048u
#define HIGH_BYTES 32768u
#define RETRY_MS 20

static bool text_grow(struct wr_admin_text *text, size_t more) {
  size_t need = text->len + more, cap = text->cap ? text->cap : TEXT_FIRST_BYTES;
  if (need > TEXT_MAX_BYTES) return false;
  while (cap < need) cap *= 2;
  if (cap == text->cap) return true;
  char *grown = wr_heap_realloc(WR_HEAP_SERVER, text->ptr, cap);
  if (!grown) return false;
  text->ptr = grown;
  text->cap = cap;
  return true;
}

void wr_admin_text_put(struct wr_admin_text *text, struct wr_span bytes) {
  if (text->failed || bytes.len == 0) return;
  if (!text_grow(text, bytes.len)) {
    text->failed = true;
    return;
  }
  memcpy(text->ptr + text->len, bytes.ptr, bytes.len);
  text->len += bytes.len;
}

void wr_admin_reply(struct wr_admin_conn *c, unsigned status, const char *type) {
  WR_DCHECK(c->state != WR_ADMIN_SEND);
  if (c->body.failed) {
    c->body.failed = false;
    c->body.len = 0;
    status = 503; /* an empty body needs no memory */
  }
  c->status = status;
  c->type = type;
  c->state = WR_ADMIN_SEND;
  c->head_sent = false;
  c->body_off = 0;
  c->token = 0;
  wr_timer_set(c->admin->loop, &c->deadline, WR_ADMIN_DEADLINE_MS);
}

void wr_admin_reply_error(struct wr_admin_conn *c, unsigned status, const char *code,
                          struct wr_span message) {
  char bytes[1024];
  struct wr_buf buf;
  wr_buf_init(&buf, bytes, sizeof bytes);
  wr_buf_put(&buf, WR_SPAN("{\"error\":{\"code\":"));
  wr_buf_json_string(&buf, wr_span_str(code));
  wr_buf_put(&buf, WR_SPAN(",\"message\":"));
  wr_buf_json_string(&buf, message);
  wr_buf_put(&buf, WR_SPAN("}}\n"));
  c->body.len = 0;
  wr_admin_text_put(&c->body,
                    buf.overflow ? WR_SPAN("{\"error\":{\"code\":\"internal\"}}\n")
                                 : wr_buf_span(&buf));
  wr_admin_reply(c, status, "application/json");
}

static enum wr_err put_fields(struct wr_buf *head, const struct wr_admin_conn *c) {
  enum wr_err err = wr_http1_put_status(head, c->status, WR_SPAN(""));
  if (!err) err = wr_http1_put_field(head, WR_SPAN("Content-Type"), wr_span_str(c->type));
  if (!err) err = wr_http1_put_field_u64(head, WR_SPAN("Content-Length"), c->body.len);
  if (!err) err = wr_http1_put_field(head, WR_SPAN("Cache-Control"), WR_SPAN("no-store"));
  if (!err && c->allow) err = wr_http1_put_field(head, WR_SPAN("Allow"), wr_span_str(c->allow));
  if (!err && !c->keep_alive)
    err = wr_http1_put_field(head, WR_SPAN("Connection"), WR_SPAN("close"));
  return err ? err : wr_http1_put_end(head);
}

static enum wr_err send_head(struct wr_admin_conn *c) {
  char bytes[512];
  struct wr_buf head;
  wr_buf_init(&head, bytes, sizeof bytes);
  enum wr_err err = put_fields(&head, c);
  if (err) return WR_E_INTERNAL;
  err = wr_conn_write_copy(c->conn, wr_buf_span(&head));
  c->head_sent = !err;
  return err;
}

/* Pieces, as the client takes them: a page of metrics may be larger than what the pool has left. */
static enum wr_err send_body(struct wr_admin_conn *c) {
  while (c->body_off < c->body.len && wr_conn_unsent_bytes(c->conn) < HIGH_BYTES) {
    size_t n = c->body.len - c->body_off;
    if (n > PIECE_BYTES) n = PIECE_BYTES;
    enum wr_err err = wr_conn_write_copy(c->conn, wr_span_make(c->body.ptr + c->body_off, n));
    if (err) return err;
    c->body_off += n;
  }
  return WR_OK;
}

enum wr_err wr_admin_send(struct wr_admin_conn *c) {
  size_t before;
  do {
    before = c->body_off;
    enum wr_err err = c->head_sent ? WR_OK : send_head(c);
    if (!err && !c->head_only) err = send_body(c);
    enum wr_err flushed = wr_conn_flush(c->conn);
    if (flushed) return flushed;
    if (err == WR_E_POOL_FULL || err == WR_E_NOMEM) {
      wr_timer_set(c->admin->loop, &c->retry, RETRY_MS);
      return WR_E_AGAIN;
    }
    if (err) return err;
  } while (c->body_off > before && wr_conn_unsent_bytes(c->conn) == 0);
  bool all = c->head_only || c->body_off == c->body.len;
  return all && wr_conn_unsent_bytes(c->conn) == 0 ? WR_OK : WR_E_AGAIN;
}

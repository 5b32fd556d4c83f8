#include "cli/demo_client.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "wire/http1_parse.h"

#define ROOM 65536u

/* Joins what is held and what is new into room; the client is no hot path. */
static struct wr_span joined(const struct wr_viewq *q, char *room) {
  size_t at = 0;
  for (size_t i = 0; i < q->count; i++) {
    const struct wr_view *v = wr_viewq_peek(q, i);
    if (at + v->len > ROOM) break;
    memcpy(room + at, v->ptr, v->len);
    at += v->len;
  }
  return wr_span_make(room, at);
}

static void take_event(struct wr_demo_client *c, struct wr_span raw,
                       const struct wr_sse_event *ev) {
  struct wr_span data = wr_span_at(raw.ptr, ev->data);
  if (ev->kind != WR_SSE_EVENT) return;
  c->events++;
  if (wr_span_eq(data, WR_SPAN("[DONE]"))) {
    c->terminated = true;
    return;
  }
  struct wr_json_value v;
  char text[1024];
  struct wr_buf buf;
  wr_buf_init(&buf, text, sizeof text);
  if (wr_json_scan(&c->prog, data, &v) != WR_OK || v.type != WR_JSON_STRING) return;
  if (wr_json_string_decode(wr_json_raw(data, &v), &buf) == WR_OK && buf.len)
    c->token(c->ctx, wr_buf_span(&buf));
}

/* Body bytes: events are cut out of what is held. */
static enum wr_err take_data(struct wr_demo_client *c, struct wr_view *take_v) {
  static char room[ROOM];
  struct wr_slabs *slabs = wr_loop_slabs(c->loop);
  enum wr_err err = wr_viewq_push(&c->held, slabs, take_v);
  while (err == WR_OK && c->held.bytes) {
    struct wr_span all = joined(&c->held, room);
    struct wr_sse_event ev;
    size_t used = 0;
    wr_sse_init(&c->sse, 0);
    if (wr_sse_next(&c->sse, all, &used, &ev) != WR_OK) break;
    take_event(c, wr_span_sub(all, 0, ev.bytes), &ev);
    wr_viewq_consume(&c->held, used);
  }
  return err;
}

static enum wr_err take_head(struct wr_demo_client *c, struct wr_view *take_v,
                             struct wr_view *rest) {
  static char room[ROOM];
  static struct wr_head head;
  enum wr_err err = wr_viewq_push(&c->held, wr_loop_slabs(c->loop), take_v);
  if (err != WR_OK) return err;
  struct wr_span all = joined(&c->held, room);
  size_t off = 0, len = 0;
  err = wr_http1_head_end(all, &c->resume, 16384, &off, &len);
  if (err != WR_OK) return err;
  err = wr_http1_parse_response(wr_span_sub(all, off, len), WR_METHOD_POST, NULL, &head);
  if (err != WR_OK) return err;
  c->status = head.status;
  c->head_done = true;
  wr_http1_body_init(&c->body, (enum wr_framing)head.framing, head.content_length);
  wr_viewq_consume(&c->held, off + len);
  if (!wr_viewq_shift(&c->held, rest)) *rest = WR_VIEW_NONE;
  WR_CHECK(wr_viewq_empty(&c->held));
  return WR_OK;
}

static enum wr_err take_body(struct wr_demo_client *c, struct wr_view *v) {
  enum wr_err err = WR_OK;
  while (err == WR_OK && v->len) {
    size_t used = 0;
    struct wr_span data;
    enum wr_err body = wr_http1_body_next(&c->body, wr_view_span(v), &used, &data);
    if (data.len) {
      struct wr_view part = wr_view_sub(v, (size_t)(data.ptr - v->ptr), data.len);
      err = take_data(c, &part);
    }
    wr_view_advance(v, used);
    if (body == WR_E_END) c->done = true;
    if (body != WR_OK) {
      if (body != WR_E_AGAIN && body != WR_E_END) err = body;
      break;
    }
  }
  wr_view_drop(v);
  return err;
}

static void run(struct wr_task *task) {
  struct wr_demo_client *c = WR_CONTAINER(task, struct wr_demo_client, task);
  struct wr_view v;
  enum wr_err err = WR_OK;
  while (err == WR_OK && !c->done && wr_conn_take(c->conn, &v)) {
    struct wr_view rest = WR_VIEW_NONE;
    if (!c->head_done) {
      err = take_head(c, &v, &rest);
      if (err == WR_E_AGAIN) err = WR_OK;
    } else {
      rest = wr_view_move(&v);
    }
    if (err == WR_OK && rest.len) err = take_body(c, &rest);
  }
  if (err != WR_OK ||
      (!c->done && (wr_conn_state(c->conn) == WR_CONN_FAILED || wr_conn_at_eof(c->conn)))) {
    c->failed = c->done = true;
  }
  if (wr_conn_state(c->conn) == WR_CONN_OPEN && wr_conn_flush(c->conn) != WR_OK)
    c->failed = c->done = true;
}

enum wr_err wr_demo_client_start(struct wr_demo_client *c, struct wr_loop *loop,
                                 const struct wr_addr *addr, struct wr_span model) {
  static const char *const path = "choices[0].delta.content";
  char body[512], head[512];
  struct wr_buf b;
  wr_buf_init(&b, body, sizeof body);
  wr_buf_put(&b, WR_SPAN("{\"model\":"));
  wr_buf_json_string(&b, model);
  wr_buf_put(&b, WR_SPAN(",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"What is "
                         "a weir?\"}]}"));
  int n = snprintf(head, sizeof head,
                   "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: "
                   "application/json\r\n"
                   "content-length: %zu\r\n\r\n",
                   b.len);
  wr_task_init(&c->task, run);
  c->loop = loop;
  wr_viewq_init(&c->held);
  enum wr_err err = wr_json_compile(&c->prog, &path, 1);
  if (err == WR_OK) err = wr_conn_dial(loop, addr, NULL, "localhost", &c->task, &c->conn);
  if (err == WR_OK) err = wr_conn_write_copy(c->conn, wr_span_make(head, (size_t)n));
  if (err == WR_OK) err = wr_conn_write_copy(c->conn, wr_buf_span(&b));
  return err;
}

void wr_demo_client_end(struct wr_demo_client *c) {
  wr_viewq_fini(&c->held);
  wr_loop_unmark(&c->task);
  if (c->conn) wr_conn_close(c->conn);
  c->conn = NULL;
}

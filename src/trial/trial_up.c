/* The upstreams of a trial: a socket each, which answers every request as the exchange says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "base/text.h"
#include "trial/trial_int.h"

#define PIECE_BYTES 4096u

/* A connection that an upstream has accepted; it carries one request. */
struct wr_trial_conn {
  struct wr_list link;
  struct wr_task task;
  struct wr_timer timer;
  struct wr_trial_up *up; /* borrowed: the trial's */
  struct wr_conn *conn;   /* owned; NULL: it is over */
  struct wr_trial_bytes text;
  const struct wr_trial_answer *answer; /* borrowed: the exchange's; NULL: not asked yet */
  size_t part;
};

static void conn_over(struct wr_trial_conn *c, bool reset) {
  if (c->conn && reset) wr_conn_abort(c->conn);
  else if (c->conn) wr_conn_close(c->conn);
  c->conn = NULL;
  wr_loop_unmark(&c->task);
  wr_timer_clear(&c->timer);
}

static void conn_free(struct wr_trial_conn *c) {
  conn_over(c, true);
  wr_list_remove(&c->link);
  wr_heap_free(WR_HEAP_CLI, c->text.ptr);
  wr_heap_free(WR_HEAP_CLI, c);
}

static void put(struct wr_trial_conn *c, struct wr_span bytes) {
  while (bytes.len > 0) {
    size_t n = bytes.len < PIECE_BYTES ? bytes.len : PIECE_BYTES;
    if (wr_conn_write_copy(c->conn, wr_span_sub(bytes, 0, n)) != WR_OK) {
      if (wr_conn_state(c->conn) == WR_CONN_OPEN) c->up->t->nomem = true;
      return;
    }
    bytes = wr_span_sub(bytes, n, bytes.len - n);
  }
}

/* Everything was written: how it ends. */
static void finish(struct wr_trial_conn *c) {
  uint8_t then = c->answer->then;
  if (then == WR_TRIAL_END && !c->answer->raw.ptr) put(c, WR_SPAN("0\r\n\r\n"));
  (void)!wr_conn_flush(c->conn);
  if (then != WR_TRIAL_HANG) conn_over(c, then == WR_TRIAL_RESET);
}

static void put_part(struct wr_trial_conn *c, struct wr_span part) {
  char text[24];
  struct wr_buf b;
  if (part.len == 0) return; /* that would be the last chunk */
  wr_buf_init(&b, text, sizeof text);
  wr_buf_hex(&b, part.len, 1);
  wr_buf_put(&b, WR_SPAN("\r\n"));
  put(c, wr_buf_span(&b));
  put(c, part);
  put(c, WR_SPAN("\r\n"));
}

static void put_parts(struct wr_trial_conn *c) {
  const struct wr_trial_answer *a = c->answer;
  while (c->conn && c->part < a->part_count) {
    put_part(c, a->parts[c->part++]);
    if (a->pace_ms == 0 || c->part == a->part_count) continue;
    (void)!wr_conn_flush(c->conn);
    wr_timer_set(c->up->t->loop, &c->timer, a->pace_ms);
    return;
  }
  if (c->conn) finish(c);
}

static void pace_fire(struct wr_timer *timer) {
  put_parts(WR_CONTAINER(timer, struct wr_trial_conn, timer));
}

static void begin_answer(struct wr_trial_conn *c) {
  const struct wr_trial_answer *a = c->answer;
  char text[256];
  struct wr_buf b;
  if (a->raw.ptr) {
    put(c, a->raw);
    finish(c);
    return;
  }
  wr_buf_init(&b, text, sizeof text);
  wr_buf_printf(&b, "HTTP/1.1 %u %s\r\nconnection: close\r\ntransfer-encoding: chunked\r\n",
                a->status ? a->status : 200, a->status > 299 ? "No" : "OK");
  put(c, wr_buf_span(&b));
  put(c, a->headers);
  put(c, WR_SPAN("content-type: "));
  put(c, a->type.len ? a->type : WR_SPAN("text/event-stream"));
  put(c, WR_SPAN("\r\n\r\n"));
  put_parts(c);
}

/* Who asks first may be the one that fails. */
static const struct wr_trial_answer *choose(struct wr_trial *t, size_t upstream) {
  static const struct wr_span fine = { .ptr = "{}", .len = 2 };
  static const struct wr_trial_answer probe = { .parts = &fine, .part_count = 1 };
  const struct wr_trial_ask *ask = t->ask;
  if (!ask || !ask->answer) return &probe;
  if (!ask->fault) return ask->answer;
  if (t->fault_at == SIZE_MAX) t->fault_at = upstream;
  if (t->fault_at != upstream || (ask->faults && t->faults >= ask->faults)) return ask->answer;
  t->faults++;
  return ask->fault;
}

static void note_sent(struct wr_trial_conn *c, size_t head) {
  struct wr_trial *t = c->up->t;
  size_t n = t->result.sent_count;
  if (n == WR_TRIAL_SENT || !t->ask) return;
  size_t at = t->requests.len;
  wr_trial_put(&t->requests, wr_span_make(c->text.ptr, c->text.len));
  if (t->requests.nomem) return;
  t->sent_at[n] = (struct wr_extent){ (uint32_t)at, (uint32_t)c->text.len };
  t->sent[n].upstream = t->conf.upstreams[c->up->index].name;
  t->sent[n].head.len = head;
  t->result.sent_count++;
}

/* The head's length once the request is whole, as weir writes it: a length or chunks. 0: not yet.
 */
static size_t whole_request(const struct wr_trial_bytes *b) {
  if (b->len == 0) return 0;
  const char *end = memmem(b->ptr, b->len, "\r\n\r\n", 4);
  if (!end) return 0;
  size_t head = (size_t)(end - b->ptr) + 4;
  const char *length = memmem(b->ptr, head, "\r\ncontent-length: ", 18);
  if (length) {
    uint64_t n = 0;
    struct wr_span digits = wr_span_make(length + 18, 0);
    while (digits.ptr[digits.len] >= '0' && digits.ptr[digits.len] <= '9') digits.len++;
    if (wr_text_u64(digits, UINT32_MAX, &n) != WR_OK) return 0;
    return b->len - head >= n ? head : 0;
  }
  if (!memmem(b->ptr, head, "\r\ntransfer-encoding: ", 21)) return head;
  bool last = b->len >= head + 5 && memcmp(b->ptr + b->len - 5, "0\r\n\r\n", 5) == 0;
  return last ? head : 0;
}

static void conn_run(struct wr_task *task) {
  struct wr_trial_conn *c = WR_CONTAINER(task, struct wr_trial_conn, task);
  struct wr_view v;
  while (c->conn && wr_conn_take(c->conn, &v)) {
    wr_trial_put(&c->text, wr_view_span(&v));
    wr_view_drop(&v);
  }
  size_t head = c->conn && !c->answer ? whole_request(&c->text) : 0;
  if (head) {
    note_sent(c, head);
    c->answer = choose(c->up->t, c->up->index);
    begin_answer(c);
  }
  if (c->conn && (wr_conn_state(c->conn) == WR_CONN_FAILED || wr_conn_at_eof(c->conn)))
    conn_over(c, true);
}

static void accepted(void *ctx, struct wr_conn *take_conn) {
  struct wr_trial_up *up = ctx;
  struct wr_trial_conn *c = wr_heap_zalloc(WR_HEAP_CLI, sizeof *c);
  if (!c) {
    up->t->nomem = true;
    wr_conn_abort(take_conn);
    return;
  }
  wr_task_init(&c->task, conn_run);
  wr_timer_init(&c->timer, pace_fire);
  c->up = up;
  c->conn = take_conn;
  wr_list_init(&c->link);
  wr_list_push_back(&up->t->conns, &c->link);
  wr_conn_set_owner(take_conn, &c->task);
  wr_loop_mark(up->t->loop, &c->task);
}

static enum wr_err up_listen(struct wr_trial_up *up) {
  char why[256];
  if (up->listen) return WR_OK;
  return wr_listen_open(up->t->loop, &up->addr, NULL, accepted, up, &up->listen, why, sizeof why);
}

enum wr_err wr_trial_ups_open(struct wr_trial *t) {
  size_t n = t->conf.upstream_count;
  snprintf(t->dir, sizeof t->dir, "/tmp/weir-trial-XXXXXX");
  if (!mkdtemp(t->dir)) {
    t->dir[0] = '\0';
    return WR_E_IO;
  }
  t->ups = wr_heap_zalloc(WR_HEAP_CLI, (n + 1) * sizeof *t->ups);
  if (!t->ups) return WR_E_NOMEM;
  for (size_t i = 0; i < n; i++) {
    struct wr_trial_up *up = &t->ups[i];
    up->t = t;
    up->index = i;
    snprintf(up->path, sizeof up->path, "unix:%s/%zu", t->dir, i);
    enum wr_err err = wr_addr_parse(wr_span_str(up->path), &up->addr);
    if (err == WR_OK) err = up_listen(up);
    if (err != WR_OK) return err;
  }
  return WR_OK;
}

void wr_trial_ups_close(struct wr_trial *t) {
  wr_trial_ups_end(t);
  for (size_t i = 0; t->ups && i < t->conf.upstream_count; i++)
    if (t->ups[i].listen) wr_listen_close(t->ups[i].listen);
  wr_heap_free(WR_HEAP_CLI, t->ups);
  t->ups = NULL;
}

enum wr_err wr_trial_ups_begin(struct wr_trial *t, size_t refuse) {
  for (size_t i = 0; i < t->conf.upstream_count; i++) {
    struct wr_trial_up *up = &t->ups[i];
    if (i == refuse && up->listen) {
      wr_listen_close(up->listen);
      up->listen = NULL;
    } else if (i != refuse) {
      enum wr_err err = up_listen(up);
      if (err != WR_OK) return err;
    }
  }
  return WR_OK;
}

void wr_trial_ups_end(struct wr_trial *t) {
  while (!wr_list_empty(&t->conns))
    conn_free(WR_CONTAINER(t->conns.next, struct wr_trial_conn, link));
}

#include "server/admin.h"

#include "base/check.h"
#include "base/heap.h"
#include "server/admin_priv.h"

#define BUSY                                                                             \
  WR_SPAN("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n" \
          "\r\n")

/* Takes it out of the admin and frees it; its wr_conn is gone or given up before. */
static void forget(struct wr_admin_conn *c) {
  struct wr_admin *admin = c->admin;
  wr_timer_clear(&c->deadline);
  wr_timer_clear(&c->retry);
  wr_loop_unmark(&c->task);
  wr_list_remove(&c->link);
  admin->count--;
  wr_heap_free(WR_HEAP_SERVER, c->body.ptr);
  c->magic = 0;
  wr_heap_free(WR_HEAP_SERVER, c);
}

static void lose(struct wr_admin_conn *c) {
  wr_conn_abort(c->conn);
  forget(c);
}

static void finish(struct wr_admin_conn *c) {
  wr_conn_close(c->conn);
  forget(c);
}

/* False: the connection is gone. */
static bool answer(struct wr_admin_conn *c) {
  enum wr_err err = wr_admin_send(c);
  if (err == WR_E_AGAIN) return true;
  if (err) {
    lose(c);
    return false;
  }
  if (!c->keep_alive) {
    finish(c);
    return false;
  }
  wr_heap_free(WR_HEAP_SERVER, c->body.ptr);
  c->body = (struct wr_admin_text){ 0 };
  c->state = WR_ADMIN_READ;
  wr_timer_set(c->admin->loop, &c->deadline, WR_ADMIN_DEADLINE_MS);
  return true;
}

/* One request at most; what else has arrived waits for the next turn, so that nobody can keep the
 * loop by sending many at once. */
static void conn_run(struct wr_task *task) {
  struct wr_admin_conn *c = WR_CONTAINER(task, struct wr_admin_conn, task);
  WR_MAGIC_CHECK(c, WR_ADMIN_CONN_MAGIC);
  if (wr_conn_state(c->conn) == WR_CONN_FAILED) {
    lose(c);
    return;
  }
  if (c->state == WR_ADMIN_READ) {
    wr_admin_read(c);
    if (c->state == WR_ADMIN_READ) {
      if (wr_conn_at_eof(c->conn)) finish(c);
      return;
    }
  }
  if (c->state != WR_ADMIN_SEND || !answer(c)) return;
  bool more = c->in_len > 0 || wr_conn_input_bytes(c->conn) > 0 || wr_conn_at_eof(c->conn);
  if (c->state == WR_ADMIN_READ && more) wr_loop_mark(c->admin->loop, &c->task);
}

static void deadline_fired(struct wr_timer *timer) {
  struct wr_admin_conn *c = WR_CONTAINER(timer, struct wr_admin_conn, deadline);
  if (c->state == WR_ADMIN_WAIT) {
    wr_admin_reply_error(c, 504, "timeout", WR_SPAN("the workers did not answer in time"));
    wr_loop_mark(c->admin->loop, &c->task);
  } else if (c->state == WR_ADMIN_READ) {
    finish(c);
  } else {
    lose(c);
  }
}

static void retry_fired(struct wr_timer *timer) {
  struct wr_admin_conn *c = WR_CONTAINER(timer, struct wr_admin_conn, retry);
  wr_loop_mark(c->admin->loop, &c->task);
}

enum wr_err wr_admin_new(struct wr_loop *loop, const struct wr_admin_ops *ops,
                         struct wr_admin **out) {
  struct wr_admin *admin = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *admin);
  if (!admin) return WR_E_NOMEM;
  admin->magic = WR_ADMIN_MAGIC;
  admin->loop = loop;
  admin->ops = *ops;
  wr_list_init(&admin->conns);
  *out = admin;
  return WR_OK;
}

void wr_admin_accept(void *ctx, struct wr_conn *take_conn) {
  struct wr_admin *admin = ctx;
  WR_MAGIC_CHECK(admin, WR_ADMIN_MAGIC);
  struct wr_admin_conn *c = NULL;
  if (admin->count < WR_ADMIN_MAX_CONNS) c = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *c);
  if (!c) {
    if (wr_conn_write_copy(take_conn, BUSY) == WR_OK)
      wr_conn_close(take_conn);
    else
      wr_conn_abort(take_conn);
    return;
  }
  c->magic = WR_ADMIN_CONN_MAGIC;
  c->admin = admin;
  c->conn = take_conn;
  wr_task_init(&c->task, conn_run);
  wr_timer_init(&c->deadline, deadline_fired);
  wr_timer_init(&c->retry, retry_fired);
  wr_list_push_back(&admin->conns, &c->link);
  admin->count++;
  wr_conn_set_owner(take_conn, &c->task);
  wr_timer_set(admin->loop, &c->deadline, WR_ADMIN_DEADLINE_MS);
  wr_loop_mark(admin->loop, &c->task);
}

void wr_admin_done(struct wr_admin *admin, uint64_t token, unsigned status, struct wr_span json) {
  WR_MAGIC_CHECK(admin, WR_ADMIN_MAGIC);
  for (struct wr_list *l = admin->conns.next; l != &admin->conns; l = l->next) {
    struct wr_admin_conn *c = WR_CONTAINER(l, struct wr_admin_conn, link);
    if (c->state != WR_ADMIN_WAIT || c->token != token) continue;
    wr_admin_text_put(&c->body, json);
    wr_admin_reply(c, status, "application/json");
    wr_loop_mark(admin->loop, &c->task);
    return;
  }
}

void wr_admin_free(struct wr_admin *admin) {
  if (!admin) return;
  WR_MAGIC_CHECK(admin, WR_ADMIN_MAGIC);
  while (!wr_list_empty(&admin->conns))
    lose(WR_CONTAINER(admin->conns.next, struct wr_admin_conn, link));
  WR_CHECK(admin->count == 0);
  admin->magic = 0;
  wr_heap_free(WR_HEAP_SERVER, admin);
}

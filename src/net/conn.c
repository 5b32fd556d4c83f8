/* conn.c: a connection's state, its queues and the order of its end; tcp.c and tls.c move the
 * bytes. */
#include "net/conn.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heap.h"
#include "net/conn_priv.h"

/* ---- life */

static enum wr_err make(struct wr_loop *loop, struct wr_tls_ctx *tls, const char *server_name,
                        struct wr_conn **out) {
  WR_MAGIC_CHECK(loop, WR_LOOP_MAGIC);
  *out = NULL;
  struct wr_conn *conn = wr_heap_zalloc(WR_HEAP_NET, sizeof *conn);
  if (!conn) return WR_E_NOMEM;
  conn->magic = WR_CONN_MAGIC;
  conn->loop = loop;
  conn->state = WR_CONN_CONNECTING;
  conn->credit_units = WR_CONN_CREDIT_BYTES / 1024u;
  wr_viewq_init(&conn->in);
  wr_viewq_init(&conn->out);
  wr_list_init(&conn->starved);
  enum wr_err err = tls ? wr_tls_new(tls, conn, server_name, &conn->tls) : WR_OK;
  if (err) {
    wr_heap_free(WR_HEAP_NET, conn);
    return err;
  }
  uv_tcp_init(&loop->uv, &conn->tcp);
  conn->tcp.data = conn;
  *out = conn;
  return WR_OK;
}

static void set_peer(struct wr_conn *conn, const void *addr, size_t len) {
  size_t room = sizeof conn->u.peer;
  memcpy(&conn->u.peer, addr, len < room ? len : room);
}

static void let_go(struct wr_conn *conn, bool reset) {
  if (conn->closed) return;
  wr_list_remove(&conn->starved);
  if (conn->dying) wr_list_remove(&conn->u.end.link);
  wr_viewq_fini(&conn->in);
  wr_viewq_fini(&conn->out);
  wr_view_drop(&conn->late);
  if (conn->tls) wr_tls_stop(conn->tls);
  conn->owner = NULL;
  conn->loop->stats.closed++;
  if (!conn->dialed) {
    WR_CHECK(conn->loop->accepted_open > 0);
    conn->loop->accepted_open--;
  }
  wr_tcp_close(conn, reset);
}

void wr_conn_end(struct wr_conn *conn) { let_go(conn, false); }

enum wr_err wr_conn_dial(struct wr_loop *loop, const struct wr_addr *addr, struct wr_tls_ctx *tls,
                         const char *server_name, struct wr_task *owner, struct wr_conn **out) {
  struct wr_conn *conn;
  enum wr_err err = make(loop, tls, server_name, &conn);
  *out = NULL;
  if (err) return err;
  conn->dialed = true;
  conn->owner = owner;
  loop->stats.dialed++;
  set_peer(conn, addr->raw, addr->len);
  err = wr_tcp_dial(conn, addr);
  if (err) {
    wr_conn_end(conn);
    return err;
  }
  if (wr_addr_is_unix(addr) && conn->state == WR_CONN_CONNECTING) wr_conn_connected(conn);
  *out = conn;
  return WR_OK;
}

enum wr_err wr_conn_accept(struct wr_loop *loop, int fd, const struct sockaddr *peer,
                           size_t peer_bytes, struct wr_tls_ctx *tls, struct wr_conn **out) {
  struct wr_conn *conn;
  enum wr_err err = make(loop, tls, NULL, &conn);
  *out = NULL;
  if (err) {
    close(fd);
    return err;
  }
  loop->stats.accepted++;
  loop->accepted_open++;
  set_peer(conn, peer, peer_bytes);
  err = wr_tcp_open(conn, fd);
  if (err) {
    wr_conn_end(conn);
    return err;
  }
  wr_conn_connected(conn);
  *out = conn;
  return WR_OK;
}

enum wr_err wr_conn_adopt(struct wr_loop *loop, int fd, struct wr_tls_ctx *tls,
                          struct wr_conn **out) {
  union {
    struct sockaddr any;
    struct sockaddr_storage room;
  } peer;
  socklen_t len = sizeof peer;
  memset(&peer, 0, sizeof peer);
  if (getpeername(fd, &peer.any, &len) != 0) len = sizeof peer.any;
  int on = 1;
  if (peer.any.sa_family == AF_INET || peer.any.sa_family == AF_INET6)
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return wr_conn_accept(loop, fd, &peer.any, len, tls, out);
}

void wr_conn_set_owner(struct wr_conn *conn, struct wr_task *owner) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  WR_DCHECK(!conn->dying && !conn->closed);
  conn->owner = owner;
}

void wr_conn_tell(struct wr_conn *conn) {
  if (conn->owner) wr_loop_mark(conn->loop, conn->owner);
}

/* ---- changes that come from below */

void wr_conn_opened(struct wr_conn *conn) {
  WR_DCHECK(conn->state == WR_CONN_CONNECTING || conn->state == WR_CONN_HANDSHAKE);
  conn->state = WR_CONN_OPEN;
  wr_conn_tell(conn);
  /* A failure is told like any other. */
  if (!wr_viewq_empty(&conn->out) || conn->fin_wanted) (void)!wr_conn_flush(conn);
  wr_conn_steer(conn);
}

void wr_conn_connected(struct wr_conn *conn) {
  WR_DCHECK(conn->state == WR_CONN_CONNECTING);
  if (!conn->tls) {
    wr_conn_opened(conn);
    return;
  }
  conn->state = WR_CONN_HANDSHAKE;
  if (conn->dialed) wr_tls_wake(conn->tls);
  wr_conn_tell(conn);
  wr_conn_steer(conn);
}

void wr_conn_fail(struct wr_conn *conn, enum wr_err err, const char *why) {
  if (conn->state == WR_CONN_FAILED || conn->closed) return;
  WR_DCHECK(err != WR_OK);
  if (conn->dying) {
    wr_conn_end(conn);
    return;
  }
  /* Nothing of a request has left before the handshake is done. */
  if (conn->state == WR_CONN_HANDSHAKE && err != WR_E_TLS_VERIFY) err = WR_E_TLS;
  conn->state = WR_CONN_FAILED;
  conn->err = (uint8_t)err;
  conn->why = why;
  wr_list_remove(&conn->starved);
  wr_tcp_read(conn, false);
  wr_viewq_fini(&conn->out);
  if (conn->tls) wr_tls_stop(conn->tls);
  wr_conn_tell(conn);
}

void wr_conn_ended(struct wr_conn *conn, enum wr_err err) {
  if (conn->eof || conn->state == WR_CONN_FAILED) return;
  conn->eof = true;
  if (err) {
    conn->err = (uint8_t)err;
    conn->why = "the TLS stream was cut without close_notify";
  }
  wr_conn_steer(conn);
  wr_conn_tell(conn);
}

/* ---- input */

static size_t input_bytes(const struct wr_conn *conn) { return conn->in.bytes + conn->late.len; }

/* Where the pool is small, or memory is short, one connection's input must not fill it. */
static size_t credit_of(const struct wr_conn *conn) {
  size_t own = conn->credit_units * 1024u, most = conn->loop->credit_bytes;
  return own < most ? own : most;
}

bool wr_conn_has_credit(const struct wr_conn *conn) {
  return !conn->late.len && conn->in.bytes < credit_of(conn);
}

size_t wr_conn_credit_left(const struct wr_conn *conn) {
  size_t credit = credit_of(conn);
  return conn->in.bytes < credit ? credit - conn->in.bytes : 0;
}

void wr_conn_set_credit(struct wr_conn *conn, size_t bytes) {
  WR_DCHECK(bytes >= 1024 && bytes <= WR_CONN_CREDIT_BYTES);
  conn->credit_units = (uint16_t)(bytes / 1024u);
  if (conn->reading) wr_conn_steer(conn); /* what waits may be above it */
}

static bool wants_read(const struct wr_conn *conn) {
  if (conn->closed || conn->fin || conn->state == WR_CONN_CONNECTING) return false;
  if (conn->dying) return true;
  if (conn->state == WR_CONN_FAILED || wr_list_linked(&conn->starved)) return false;
  if (conn->tls && wr_tls_waiting_bytes(conn->tls) >= WR_CONN_CREDIT_BYTES) return false;
  if (conn->state == WR_CONN_HANDSHAKE)
    return !conn->paused; /* how the mock makes a handshake slow */
  return !conn->paused && wr_conn_has_credit(conn);
}

void wr_conn_steer(struct wr_conn *conn) {
  if (conn->tls && !conn->dying && conn->state == WR_CONN_OPEN && !conn->paused &&
      wr_conn_has_credit(conn) && wr_tls_waiting_bytes(conn->tls) > 0)
    wr_tls_wake(conn->tls);
  bool want = wants_read(conn);
  if (want != conn->reading) wr_tcp_read(conn, want);
}

/* The view has a place in the queue, or waits in `late`: no byte is lost because the pool is full.
 */
static void place(struct wr_conn *conn, struct wr_view *take_view) {
  WR_DCHECK(!conn->late.len && !conn->closed);
  struct wr_view v = wr_view_move(take_view);
  if (conn->in.count < conn->in.cap) {
    enum wr_err err = wr_viewq_push(&conn->in, conn->loop->slabs, &v);
    WR_CHECK(err == WR_OK);
    return;
  }
  struct wr_view keep = wr_view_keep(&v);
  if (wr_viewq_push(&conn->in, conn->loop->slabs, &v) == WR_OK) {
    wr_view_drop(&keep);
    return;
  }
  conn->late = wr_view_move(&keep);
  wr_conn_starve(conn);
}

static void place_late(struct wr_conn *conn) {
  if (!conn->late.len) return;
  struct wr_view v = wr_view_move(&conn->late);
  place(conn, &v);
}

void wr_conn_got(struct wr_conn *conn, struct wr_view *take_view) {
  WR_DCHECK(!conn->late.len && !conn->dying);
  conn->bytes_in += take_view->len;
  place(conn, take_view);
  if (!wr_conn_has_credit(conn)) wr_conn_steer(conn);
  wr_conn_tell(conn);
}

bool wr_conn_take(struct wr_conn *conn, struct wr_view *out) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  if (!wr_viewq_shift(&conn->in, out)) {
    if (!conn->late.len) return false;
    *out = wr_view_move(&conn->late);
  } else {
    place_late(conn);
  }
  if (!conn->reading || conn->tls) wr_conn_steer(conn);
  return true;
}

enum wr_err wr_conn_unread(struct wr_conn *conn, struct wr_view *take_view) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  enum wr_err err = wr_viewq_unshift(&conn->in, conn->loop->slabs, take_view);
  if (conn->reading) wr_conn_steer(conn);
  return err;
}

void wr_conn_pause(struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  conn->paused = true;
  wr_conn_steer(conn);
}

void wr_conn_resume(struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  conn->paused = false;
  wr_conn_steer(conn);
}

/* ---- memory was short */

void wr_loop_start_starved(struct wr_loop *loop) {
  if (!wr_timer_is_set(&loop->starved_timer))
    wr_timer_set(loop, &loop->starved_timer, WR_CONN_STARVED_MS);
}

void wr_conn_starve(struct wr_conn *conn) {
  if (conn->closed || conn->state == WR_CONN_FAILED) return;
  if (!wr_list_linked(&conn->starved)) wr_list_push_back(&conn->loop->starved, &conn->starved);
  wr_tcp_read(conn, false);
  wr_loop_start_starved(conn->loop);
}

bool wr_conn_is_starved(const struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  return wr_list_linked(&conn->starved);
}

void wr_loop_starved_due(struct wr_timer *timer) {
  struct wr_loop *loop = WR_CONTAINER(timer, struct wr_loop, starved_timer);
  struct wr_list again;
  wr_list_init(&again);
  wr_list_splice(&again, &loop->starved);
  struct wr_list *n;
  while ((n = wr_list_pop_front(&again)) != NULL) {
    struct wr_conn *conn = WR_CONTAINER(n, struct wr_conn, starved);
    WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
    place_late(conn);
    if (conn->tls) wr_tls_wake(conn->tls);
    if (wr_conn_unsent_bytes(conn) && conn->state != WR_CONN_FAILED) wr_conn_room(conn);
    if (!conn->closed) wr_conn_steer(conn);
  }
}

/* ---- output */

enum wr_err wr_conn_write(struct wr_conn *conn, struct wr_view *take_view) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  if (conn->state == WR_CONN_FAILED || !WR_EXPECT(!conn->fin_wanted)) {
    wr_view_drop(take_view);
    return conn->state == WR_CONN_FAILED ? (enum wr_err)conn->err : WR_E_INTERNAL;
  }
  return wr_viewq_push(&conn->out, conn->loop->slabs, take_view);
}

enum wr_err wr_conn_write_copy(struct wr_conn *conn, struct wr_span bytes) {
  while (bytes.len > 0) {
    size_t n = bytes.len < conn->loop->tx.block_bytes ? bytes.len : conn->loop->tx.block_bytes;
    struct wr_view v;
    enum wr_err err = wr_rxbuf_append(&conn->loop->tx, wr_span_sub(bytes, 0, n), &v);
    if (!err) err = wr_conn_write(conn, &v);
    if (err) return err;
    bytes = wr_span_sub(bytes, n, bytes.len - n);
  }
  return WR_OK;
}

/* What follows once the queue is empty. */
static void send_fin(struct wr_conn *conn) {
  if (!conn->fin_wanted || conn->fin_sent) return;
  if (conn->tls && !wr_tls_notify(conn->tls)) return;
  conn->fin_sent = true;
  /* An upstream that is closed needs no half close in between. */
  if (!conn->dying || !conn->dialed) wr_tcp_shutdown(conn);
}

enum wr_err wr_conn_flush(struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  if (conn->state == WR_CONN_FAILED) return (enum wr_err)conn->err;
  if (conn->state != WR_CONN_OPEN || conn->req) return WR_OK;
  enum wr_err err = conn->tls ? wr_tls_send(conn->tls) : wr_tcp_send(conn, &conn->out);
  if (err) return err;
  if (conn->fin_wanted && wr_conn_unsent_bytes(conn) == 0) send_fin(conn);
  return conn->state == WR_CONN_FAILED ? (enum wr_err)conn->err : WR_OK;
}

void wr_conn_room(struct wr_conn *conn) {
  if (conn->state == WR_CONN_HANDSHAKE) {
    wr_tls_wake(conn->tls);
    return;
  }
  if (wr_conn_flush(conn) != WR_OK || conn->closed) return;
  if (wr_conn_unsent_bytes(conn) == 0) {
    wr_conn_tell(conn);
    if (conn->dying) wr_conn_settle(conn);
  }
}

size_t wr_conn_unsent_bytes(const struct wr_conn *conn) {
  size_t n = conn->out.bytes;
  if (conn->req && conn->state != WR_CONN_CONNECTING) n += conn->req->len;
  if (conn->tls) n += wr_tls_unsent_bytes(conn->tls);
  return n;
}

void wr_conn_shutdown(struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  conn->fin_wanted = true;
  (void)!wr_conn_flush(conn); /* a failure is told like any other */
}

void wr_conn_compact(struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  size_t copied = 0;
  /* Without memory for the copies the queues simply stay as they are. */
  (void)!wr_viewq_compact(&conn->out, conn->loop->slabs, WR_CHARGE_CLIENT, &copied);
  (void)!wr_viewq_compact(&conn->in, conn->loop->slabs, WR_CHARGE_UPSTREAM, &copied);
  conn->loop->stats.copy_bytes[WR_COPY_COMPACT] += copied;
}

void wr_conn_pack(struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  size_t copied = 0;
  (void)!wr_viewq_pack(&conn->out, conn->loop->slabs, WR_CHARGE_CLIENT, &copied);
  conn->loop->stats.copy_bytes[WR_COPY_COMPACT] += copied;
}

/* ---- the end */

void wr_conn_settle(struct wr_conn *conn) {
  WR_DCHECK(conn->dying);
  if (conn->closed || !conn->fin_sent || wr_conn_unsent_bytes(conn) > 0) return;
  /* A client may still be sending: unread bytes would turn our end into a reset that takes the
   * answer with it. So we read on until its end. For a peer that we called nothing is lost. */
  if (conn->fin || conn->dialed) wr_conn_end(conn);
}

static void arm_dying(struct wr_loop *loop) {
  if (wr_list_empty(&loop->dying) || wr_timer_is_set(&loop->dying_timer)) return;
  struct wr_conn *first = WR_CONTAINER(loop->dying.next, struct wr_conn, u.end.link);
  uint64_t now_ms = wr_loop_now_ms(loop);
  wr_timer_set(loop, &loop->dying_timer,
               first->u.end.due_ms > now_ms ? first->u.end.due_ms - now_ms : 0);
}

void wr_loop_dying_due(struct wr_timer *timer) {
  struct wr_loop *loop = WR_CONTAINER(timer, struct wr_loop, dying_timer);
  while (!wr_list_empty(&loop->dying)) {
    struct wr_conn *first = WR_CONTAINER(loop->dying.next, struct wr_conn, u.end.link);
    if (first->u.end.due_ms > wr_loop_now_ms(loop)) break;
    wr_conn_end(first);
  }
  arm_dying(loop);
}

void wr_loop_end_dying(struct wr_loop *loop) {
  while (!wr_list_empty(&loop->dying))
    wr_conn_end(WR_CONTAINER(loop->dying.next, struct wr_conn, u.end.link));
}

void wr_conn_close(struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  WR_CHECK(!conn->dying && !conn->closed);
  conn->owner = NULL;
  conn->dying = true;
  wr_list_init(&conn->u.end.link);
  if (conn->state != WR_CONN_OPEN) {
    wr_conn_end(conn);
    return;
  }
  wr_viewq_fini(&conn->in);
  wr_view_drop(&conn->late);
  if (conn->tls) wr_tls_stop(conn->tls);
  if (conn->fin && !conn->tls && wr_conn_unsent_bytes(conn) == 0) {
    wr_conn_end(conn); /* both ends are done: closing says so, without a shutdown before it */
    return;
  }
  conn->u.end.due_ms = wr_loop_now_ms(conn->loop) + WR_CONN_LINGER_MS;
  wr_list_push_back(&conn->loop->dying, &conn->u.end.link);
  conn->fin_wanted = true;
  if (wr_conn_flush(conn) != WR_OK || conn->closed) return;
  wr_conn_settle(conn);
  if (conn->closed) return;
  arm_dying(conn->loop);
  wr_conn_steer(conn);
}

void wr_conn_abort(struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  WR_CHECK(!conn->dying && !conn->closed);
  let_go(conn, true);
}

/* ---- what is known of it */

enum wr_conn_state wr_conn_state(const struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  return (enum wr_conn_state)conn->state;
}

enum wr_err wr_conn_err(const struct wr_conn *conn) { return (enum wr_err)conn->err; }
const char *wr_conn_why(const struct wr_conn *conn) { return conn->why ? conn->why : ""; }
bool wr_conn_at_eof(const struct wr_conn *conn) { return conn->eof && input_bytes(conn) == 0; }
bool wr_conn_is_dry(const struct wr_conn *conn) {
  return conn->in.count == 0 && !conn->eof && conn->state == WR_CONN_OPEN && !conn->late.len;
}
bool wr_conn_got_eof(const struct wr_conn *conn) { return conn->eof; }
size_t wr_conn_input_bytes(const struct wr_conn *conn) { return input_bytes(conn); }
bool wr_conn_is_tls(const struct wr_conn *conn) { return conn->tls != NULL; }
uint64_t wr_conn_bytes_in(const struct wr_conn *conn) { return conn->bytes_in; }
uint64_t wr_conn_bytes_out(const struct wr_conn *conn) { return conn->bytes_out; }
struct wr_loop *wr_conn_loop(struct wr_conn *conn) { return conn->loop; }

const struct wr_addr *wr_conn_peer(const struct wr_conn *conn) {
  struct wr_addr *out = &conn->loop->peer;
  memset(out, 0, sizeof *out);
  size_t len = sizeof conn->u.peer.any.sa_family;
  if (conn->u.peer.any.sa_family == AF_INET) len = sizeof conn->u.peer.in;
  if (conn->u.peer.any.sa_family == AF_INET6) len = sizeof conn->u.peer.in6;
  memcpy(out->raw, &conn->u.peer, len);
  out->len = (uint16_t)len;
  return out;
}

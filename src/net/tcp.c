/* tcp.c: the part of a connection that knows libuv and sockets. */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/probe.h"
#include "base/heap.h"
#include "net/conn_priv.h"
#include "obs/trace.h"

#define WRITE_PIECES 32
#define FREE_REQS_MAX 64u
#define READ_MIN_BYTES 4096u
/* A credit that shrank meanwhile, for all connections, is noticed after one more read. */
#define CREDIT_OVER_BYTES 1024u

static uv_stream_t *stream_of(struct wr_conn *conn) {
  return (uv_stream_t *)(void *)&conn->tcp;
}

/* ---- request structs, used over and over */

static struct wr_conn_req *take_req(struct wr_conn *conn) {
  struct wr_loop *loop = conn->loop;
  struct wr_conn_req *req = loop->free_reqs;
  if (req) {
    loop->free_reqs = req->next;
    loop->free_req_count--;
  } else {
    req = wr_heap_alloc(WR_HEAP_NET, sizeof *req);
    if (!req) return NULL;
  }
  req->next = NULL;
  req->len = 0;
  return req;
}

static void give_req(struct wr_loop *loop, struct wr_conn_req *take) {
  if (loop->free_req_count >= FREE_REQS_MAX) {
    wr_heap_free(WR_HEAP_NET, take);
    return;
  }
  take->next = loop->free_reqs;
  loop->free_reqs = take;
  loop->free_req_count++;
}

void wr_loop_free_reqs(struct wr_loop *loop) {
  while (loop->free_reqs) {
    struct wr_conn_req *req = loop->free_reqs;
    loop->free_reqs = req->next;
    wr_heap_free(WR_HEAP_NET, req);
  }
  loop->free_req_count = 0;
}

/* ---- input */

static struct wr_rxbuf *rxbuf_of(struct wr_conn *conn) {
  return conn->tls ? &conn->loop->cipher : &conn->loop->rx;
}

static bool offer(struct wr_conn *conn, struct wr_room *room) {
  struct wr_rxbuf *rx = rxbuf_of(conn);
  if (conn->dying) { /* nobody will look at it */
    *room = (struct wr_room){ conn->loop->scratch, sizeof conn->loop->scratch };
    return true;
  }
  size_t min_bytes = rx->block_bytes < READ_MIN_BYTES ? rx->block_bytes : READ_MIN_BYTES;
  if (wr_rxbuf_room(rx, min_bytes, room) != WR_OK) return false;
  size_t most = wr_conn_credit_left(conn);
  if (most == 0) most = CREDIT_OVER_BYTES;
  if (!conn->tls && room->len > most) room->len = most;
  return true;
}

static void deliver(struct wr_conn *conn, size_t n) {
  if (conn->dying) return;
  conn->loop->stats.reads++;
  conn->loop->stats.read_bytes += n;
  struct wr_view v = wr_rxbuf_take(rxbuf_of(conn), n);
  if (conn->tls) wr_tls_feed(conn->tls, &v);
  else wr_conn_got(conn, &v);
}

static void read_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  struct wr_room room = { NULL, 0 };
  if (!offer(handle->data, &room)) room.len = 0; /* libuv then reports ENOBUFS */
  *buf = uv_buf_init(room.len ? room.ptr : NULL, (unsigned)room.len);
}

static void read_fin(struct wr_conn *conn) {
  conn->fin = true;
  wr_tcp_read(conn, false);
  if (conn->dying) wr_conn_settle(conn);
  else if (conn->tls) wr_tls_fin(conn->tls);
  else wr_conn_ended(conn, WR_OK);
}

static void read_failed(struct wr_conn *conn, int rc) {
  wr_conn_fail(conn, rc == UV_ECONNRESET ? WR_E_RESET : WR_E_IO, uv_strerror(rc));
}

/* The owner hears of it: whoever has asked for nothing yet can be told to come back later. */
static void read_starved(struct wr_conn *conn) {
  wr_conn_starve(conn);
  wr_conn_tell(conn);
}

/* After a short read libuv takes a hang-up for an end without asking the socket, and a reset would
 * pass for a clean end. It has no buffer to show for it then; so the socket is asked. */
static void read_hung_up(struct wr_conn *conn) {
  uv_os_fd_t fd;
  struct wr_room room;
  conn->reading = false;
  if (uv_fileno((uv_handle_t *)(void *)&conn->tcp, &fd) != 0) return;
  if (!offer(conn, &room)) {
    read_starved(conn);
    return;
  }
  ssize_t n = recv(fd, room.ptr, room.len, MSG_DONTWAIT);
  if (n < 0) {
    read_failed(conn, -errno);
  } else if (n == 0) {
    read_fin(conn);
  } else {
    deliver(conn, (size_t)n);
    if (!conn->closed) wr_conn_steer(conn);
  }
}

static void read_done(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct wr_conn *conn = stream->data;
  WR_DCHECK(conn->magic == WR_CONN_MAGIC);
  if (n > 0) deliver(conn, (size_t)n);
  else if (n == UV_EOF && buf->base == NULL) read_hung_up(conn);
  else if (n == UV_EOF) read_fin(conn);
  else if (n == UV_ENOBUFS) read_starved(conn);
  else if (n < 0) read_failed(conn, (int)n);
}

void wr_tcp_read(struct wr_conn *conn, bool on) {
  if (conn->reading == on || conn->closed) return;
  conn->reading = on;
  if (!on) {
    uv_read_stop(stream_of(conn));
    return;
  }
  int rc = uv_read_start(stream_of(conn), read_room, read_done);
  if (rc != 0) {
    conn->reading = false;
    wr_conn_fail(conn, WR_E_IO, uv_strerror(rc));
  }
}

/* A peer that answers early and goes away breaks our sending first: what it said before stands in
 * the socket still and is read here, because libuv is done with a broken stream. */
static void salvage(struct wr_conn *conn) {
  uv_os_fd_t fd;
  if (conn->tls || conn->dying || conn->fin || conn->state != WR_CONN_OPEN) return;
  if (uv_fileno((uv_handle_t *)(void *)&conn->tcp, &fd) != 0) return;
  struct wr_room room;
  while (wr_conn_has_credit(conn) && offer(conn, &room)) {
    ssize_t n = recv(fd, room.ptr, room.len, MSG_DONTWAIT);
    if (n <= 0) return;
    deliver(conn, (size_t)n);
  }
}

/* ---- output */

static enum wr_err lost(struct wr_conn *conn, int rc) {
  salvage(conn);
  bool reset = rc == UV_ECONNRESET || rc == UV_EPIPE;
  wr_conn_fail(conn, reset ? WR_E_RESET : WR_E_IO, uv_strerror(rc));
  return (enum wr_err)conn->err;
}

static void write_done(uv_write_t *write, int rc) {
  struct wr_conn *conn = write->data;
  struct wr_conn_req *req = conn->req;
  WR_CHECK(req && &req->u.write == write);
  uint32_t len = req->len;
  conn->req = NULL;
  give_req(conn->loop, req);
  if (conn->closed) return;
  if (rc != 0) {
    (void)lost(conn, rc);
    return;
  }
  conn->loop->stats.writes++;
  conn->loop->stats.write_bytes += len;
  if (!conn->tls) conn->bytes_out += len;
  wr_conn_room(conn);
}

/* Leaves `len` bytes of req with libuv until there is room. */
static enum wr_err leave(struct wr_conn *conn, struct wr_conn_req *take) {
  WR_CHECK(!conn->req && take->len > 0 && take->len <= sizeof take->bytes);
  uv_buf_t buf = uv_buf_init(take->bytes, take->len);
  conn->req = take;
  take->u.write.data = conn;
  int rc = uv_write(&take->u.write, stream_of(conn), &buf, 1, write_done);
  if (rc == 0) return WR_OK;
  conn->req = NULL;
  give_req(conn->loop, take);
  return lost(conn, rc);
}

static enum wr_err wait_for_room(struct wr_conn *conn, struct wr_viewq *queue) {
  conn->loop->stats.again++;
  struct wr_conn_req *req = take_req(conn);
  if (!req) {
    wr_conn_starve(conn);
    return WR_OK;
  }
  struct wr_span piece;
  while (req->len < sizeof req->bytes && wr_viewq_gather(queue, &piece, 1) == 1) {
    size_t room = sizeof req->bytes - req->len;
    size_t n = piece.len < room ? piece.len : room;
    memcpy(req->bytes + req->len, piece.ptr, n);
    req->len += (uint32_t)n;
    wr_viewq_consume(queue, n);
  }
  conn->loop->stats.copy_bytes[WR_COPY_COMPACT] += req->len;
  return leave(conn, req);
}

/* What uv_try_write does where nothing waits before it, in a third of the instructions: how many
 * bytes were taken, or libuv's code, which is a negative errno. */
static ssize_t try_write(const struct wr_conn *conn, const struct iovec *pieces, size_t count) {
  WR_DCHECK(!conn->req && count > 0 && count <= WRITE_PIECES);
  ssize_t n;
  do {
    n = count == 1 ? write(conn->fd, pieces->iov_base, pieces->iov_len)
                   : writev(conn->fd, pieces, (int)count);
  } while (n < 0 && errno == EINTR);
  if (n >= 0) return n;
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ? UV_EAGAIN : -errno;
}

enum wr_err wr_tcp_send(struct wr_conn *conn, struct wr_viewq *queue) {
  WR_DCHECK(conn->magic == WR_CONN_MAGIC && !conn->closed);
  while (!conn->req && !wr_viewq_empty(queue)) {
    struct iovec pieces[WRITE_PIECES];
    size_t total = 0, count = queue->count < WRITE_PIECES ? queue->count : WRITE_PIECES;
    for (size_t i = 0; i < count; i++) {
      const struct wr_view *v = wr_viewq_peek(queue, i);
      pieces[i].iov_base = (char *)(uintptr_t)v->ptr; /* writev has no const, but only reads */
      pieces[i].iov_len = v->len;
      total += v->len;
    }
    uint64_t began_ns = wr_tracing() ? wr_trace_now_ns() : 0;
    ssize_t n = try_write(conn, pieces, count);
    WR_PROBE3(write, conn, total, n);
    if (wr_tracing()) wr_trace_put(WR_TRACE_WRITE, "write", 0, began_ns, n > 0 ? (size_t)n : 0);
    if (n > 0) {
      conn->loop->stats.writes++;
      conn->loop->stats.write_bytes += (uint64_t)n;
      if (!conn->tls) conn->bytes_out += (uint64_t)n;
      wr_viewq_consume(queue, (size_t)n);
      if ((size_t)n == total) continue;
    } else if (n != UV_EAGAIN) {
      return lost(conn, (int)n);
    }
    return wait_for_room(conn, queue);
  }
  return WR_OK;
}

int wr_tcp_send_bytes(struct wr_conn *conn, const void *bytes, size_t len) {
  WR_DCHECK(conn->magic == WR_CONN_MAGIC && len > 0);
  if (conn->req || conn->closed) return 0;
  const struct iovec piece = { (char *)(uintptr_t)bytes, len };
  int n = (int)try_write(conn, &piece, 1);
  if (n < 0 && n != UV_EAGAIN) return (void)lost(conn, n), -1;
  size_t taken = n > 0 ? (size_t)n : 0;
  if (taken) {
    conn->loop->stats.writes++;
    conn->loop->stats.write_bytes += taken;
  }
  if (taken == len) return n;
  conn->loop->stats.again++;
  struct wr_conn_req *req = take_req(conn);
  if (!req) {
    wr_conn_starve(conn);
    return (int)taken;
  }
  size_t rest = len - taken < sizeof req->bytes ? len - taken : sizeof req->bytes;
  memcpy(req->bytes, (const char *)bytes + taken, rest);
  req->len = (uint32_t)rest;
  if (leave(conn, req) != WR_OK) return -1;
  return (int)(taken + rest);
}

void wr_tcp_shutdown(struct wr_conn *conn) {
  uv_os_fd_t fd;
  if (uv_fileno((uv_handle_t *)(void *)&conn->tcp, &fd) == 0) (void)shutdown(fd, SHUT_WR);
}

/* ---- beginning and end */

static void connect_done(uv_connect_t *connect, int rc) {
  struct wr_conn *conn = connect->data;
  struct wr_conn_req *req = conn->req;
  WR_CHECK(req && &req->u.connect == connect);
  conn->req = NULL;
  give_req(conn->loop, req);
  if (conn->closed) return;
  if (rc != 0) wr_conn_fail(conn, WR_E_CONNECT, uv_strerror(rc));
  else wr_conn_connected(conn);
}

/* A Unix socket connects at once or not at all. */
static enum wr_err dial_unix(struct wr_conn *conn, const struct wr_addr *addr) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int rc = fd < 0 ? -errno : 0;
  if (fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)addr->raw, addr->len) != 0)
    rc = -errno;
  if (rc == 0) return wr_tcp_open(conn, fd);
  if (fd >= 0) close(fd);
  wr_conn_fail(conn, WR_E_CONNECT, uv_strerror(rc));
  return WR_OK;
}

enum wr_err wr_tcp_dial(struct wr_conn *conn, const struct wr_addr *addr) {
  if (wr_addr_is_unix(addr)) return dial_unix(conn, addr);
  const struct sockaddr *to = (const struct sockaddr *)(const void *)addr->raw;
  int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    wr_conn_fail(conn, WR_E_CONNECT, strerror(errno));
    return WR_OK;
  }
  enum wr_err err = wr_tcp_open(conn, fd);
  if (err != WR_OK) return err;
  struct wr_conn_req *req = take_req(conn);
  if (!req) return WR_E_NOMEM;
  conn->req = req;
  req->u.connect.data = conn;
  uv_tcp_nodelay(&conn->tcp, 1);
  int rc = uv_tcp_connect(&req->u.connect, &conn->tcp, to, connect_done);
  if (rc == 0) return WR_OK;
  conn->req = NULL;
  give_req(conn->loop, req);
  wr_conn_fail(conn, WR_E_CONNECT, uv_strerror(rc));
  return WR_OK;
}

enum wr_err wr_tcp_open(struct wr_conn *conn, int take_fd) {
  enum wr_err err = wr_loop_expect_fd(conn->loop, take_fd);
  if (err == WR_OK && uv_tcp_open(&conn->tcp, take_fd) != 0) err = WR_E_IO;
  if (err != WR_OK) close(take_fd);
  else conn->fd = take_fd;
  return err;
}

size_t wr_conn_unacked_bytes(const struct wr_conn *conn) {
  WR_MAGIC_CHECK(conn, WR_CONN_MAGIC);
  uv_os_fd_t fd;
  int bytes = 0;
  if (conn->closed || uv_fileno((const uv_handle_t *)(const void *)&conn->tcp, &fd) != 0 ||
      ioctl(fd, SIOCOUTQ, &bytes) != 0 || bytes < 0)
    return 0;
  return (size_t)bytes;
}

static void close_done(uv_handle_t *handle) {
  struct wr_conn *conn = handle->data;
  WR_CHECK(conn->magic == WR_CONN_MAGIC && conn->closed && !conn->req);
  conn->magic = 0;
  wr_tls_free(conn->tls);
  wr_heap_free(WR_HEAP_NET, conn);
}

void wr_tcp_close(struct wr_conn *conn, bool reset) {
  WR_CHECK(!conn->closed);
  uv_os_fd_t fd;
  if (reset && uv_fileno((uv_handle_t *)(void *)&conn->tcp, &fd) == 0) {
    struct linger now = { 1, 0 };
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  conn->closed = true;
  conn->reading = false;
  uv_close((uv_handle_t *)(void *)&conn->tcp, close_done);
}

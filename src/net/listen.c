#include "net/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heap.h"
#include "net/conn_priv.h"
#include "net/timer.h"

#define LISTEN_MAGIC 0x115e4e11u
#define BACKLOG 1024
#define PAUSE_MS 100u
/* At most this many are accepted in a turn, so that open streams aren't kept waiting by new ones.
 */
#define ACCEPTS_A_TURN 32u

struct wr_listen {
  uint32_t magic;
  int fd;
  bool own_path; /* we made the Unix socket's file */
  struct wr_loop *loop;   /* borrowed: outlives us */
  struct wr_tls_ctx *tls; /* borrowed: outlives us; NULL: plain */
  wr_listen_fn fn;
  void *ctx; /* borrowed: the caller's, until close */
  uint64_t last_turn;
  struct wr_timer pause;
  struct wr_addr addr;
  uv_poll_t poll;
};

static enum wr_err fail(char *why, size_t why_bytes, const char *what, const struct wr_addr *addr,
                        int error) {
  char text[128];
  if (why && why_bytes)
    snprintf(why, why_bytes, "%s %s: %s", what, wr_addr_format(addr, text, sizeof text),
             uv_strerror(-error));
  return WR_E_IO;
}

/* ---- binding */

/* The file of a Unix socket outlives its process; one that nobody listens on may go. */
static void remove_stale(const struct wr_addr *addr) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  const struct sockaddr *to = (const struct sockaddr *)(const void *)addr->raw;
  if (connect(fd, to, addr->len) != 0 && errno == ECONNREFUSED)
    (void)unlink(addr->raw + offsetof(struct sockaddr_un, sun_path));
  close(fd);
}

static void set_options(int fd, const struct wr_addr *addr) {
  int on = 1, off = 0;
  if (wr_addr_is_unix(addr)) return;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  /* What is accepted inherits it: one system call less a connection. */
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static enum wr_err read_bound(int fd, struct wr_addr *bound) {
  socklen_t len = sizeof bound->raw;
  memset(bound, 0, sizeof *bound);
  if (getsockname(fd, (struct sockaddr *)(void *)bound->raw, &len) != 0) return WR_E_IO;
  bound->len = (uint16_t)len;
  return WR_OK;
}

enum wr_err wr_listen_bind(const struct wr_addr *addr, int *fd_out, struct wr_addr *bound,
                           char *why, size_t why_bytes) {
  const struct sockaddr *to = (const struct sockaddr *)(const void *)addr->raw;
  *fd_out = -1;
  int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return fail(why, why_bytes, "no socket for", addr, errno);
  if (wr_addr_is_unix(addr)) remove_stale(addr);
  set_options(fd, addr);
  if (bind(fd, to, addr->len) != 0 || read_bound(fd, bound) != WR_OK) {
    int error = errno;
    close(fd);
    return fail(why, why_bytes, "cannot bind", addr, error);
  }
  *fd_out = fd;
  return WR_OK;
}

bool wr_listen_is_taken(const struct wr_addr *addr) {
  const struct sockaddr *to = (const struct sockaddr *)(const void *)addr->raw;
  if (wr_addr_is_unix(addr)) return false; /* opening one tells */
  int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) return false;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  bool taken = bind(fd, to, addr->len) != 0 && errno == EADDRINUSE;
  close(fd);
  return taken;
}

/* ---- accepting */

static void readable(uv_poll_t *poll, int status, int events);

static void pause_due(struct wr_timer *timer) {
  struct wr_listen *listen = WR_CONTAINER(timer, struct wr_listen, pause);
  uv_poll_start(&listen->poll, UV_READABLE, readable);
}

static void pause_accepting(struct wr_listen *listen) {
  uv_poll_stop(&listen->poll);
  wr_timer_set(listen->loop, &listen->pause, PAUSE_MS);
}

/* True when another may wait. */
static bool accept_one(struct wr_listen *listen) {
  const struct wr_loop *loop = listen->loop;
  if (loop->accepted_most && loop->accepted_open >= loop->accepted_most) {
    pause_accepting(listen);
    return false;
  }
  union {
    struct sockaddr any;
    struct sockaddr_storage room;
  } peer;
  socklen_t len = sizeof peer;
  peer.any.sa_family = AF_UNSPEC;
  int fd = accept4(listen->fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) return false;
    if (error == EINTR || error == ECONNABORTED) return true;
    /* EMFILE, ENFILE, ENOMEM: connections wait in the kernel's queue until there is room again. */
    listen->loop->stats.accept_errors++;
    pause_accepting(listen);
    return false;
  }
  struct wr_conn *conn;
  if (wr_conn_accept(listen->loop, fd, &peer.any, len, listen->tls, &conn) != WR_OK) {
    listen->loop->stats.accept_errors++;
    pause_accepting(listen);
    return false;
  }
  listen->fn(listen->ctx, conn);
  return true;
}

static void readable(uv_poll_t *poll, int status, int events) {
  struct wr_listen *listen = poll->data;
  WR_MAGIC_CHECK(listen, LISTEN_MAGIC);
  (void)events;
  if (status < 0) {
    listen->loop->stats.accept_errors++;
    pause_accepting(listen);
    return;
  }
  /* One connection that comes alone costs one call; the next is looked for only where they come in
   * every turn. */
  uint64_t turn = listen->loop->stats.turns;
  unsigned most = turn <= listen->last_turn + 1 ? ACCEPTS_A_TURN : 1;
  listen->last_turn = turn;
  for (unsigned i = 0; i < most && accept_one(listen) && listen->fd >= 0; i++) {}
}

/* ---- life */

/* take_fd is ours, also on an error. */
static enum wr_err begin(struct wr_loop *loop, int take_fd, struct wr_tls_ctx *tls, wr_listen_fn fn,
                         void *ctx, struct wr_listen **out) {
  struct wr_listen *listen = wr_heap_zalloc(WR_HEAP_NET, sizeof *listen);
  if (!listen) {
    close(take_fd);
    return WR_E_NOMEM;
  }
  listen->magic = LISTEN_MAGIC;
  listen->fd = take_fd;
  listen->loop = loop;
  listen->tls = tls;
  listen->fn = fn;
  listen->ctx = ctx;
  wr_timer_init(&listen->pause, pause_due);
  if (read_bound(take_fd, &listen->addr) != WR_OK || wr_loop_expect_fd(loop, take_fd) != WR_OK ||
      uv_poll_init(&loop->uv, &listen->poll, take_fd) != 0) {
    close(take_fd);
    wr_heap_free(WR_HEAP_NET, listen);
    return WR_E_IO;
  }
  listen->poll.data = listen;
  uv_poll_start(&listen->poll, UV_READABLE, readable);
  *out = listen;
  return WR_OK;
}

enum wr_err wr_listen_open(struct wr_loop *loop, const struct wr_addr *addr, struct wr_tls_ctx *tls,
                           wr_listen_fn fn, void *ctx, struct wr_listen **out, char *why,
                           size_t why_bytes) {
  int fd;
  struct wr_addr bound;
  *out = NULL;
  enum wr_err err = wr_listen_bind(addr, &fd, &bound, why, why_bytes);
  if (err) return err;
  if (listen(fd, BACKLOG) != 0) {
    int error = errno;
    close(fd);
    return fail(why, why_bytes, "cannot listen on", addr, error);
  }
  err = begin(loop, fd, tls, fn, ctx, out);
  if (err) return fail(why, why_bytes, "cannot watch", addr, ENOMEM), err;
  (*out)->own_path = wr_addr_is_unix(addr);
  return WR_OK;
}

enum wr_err wr_listen_inherit(struct wr_loop *loop, int fd, struct wr_tls_ctx *tls, wr_listen_fn fn,
                              void *ctx, struct wr_listen **out, char *why, size_t why_bytes) {
  struct wr_addr addr = { 0 };
  *out = NULL;
  if (read_bound(fd, &addr) != WR_OK) return fail(why, why_bytes, "cannot inherit", &addr, errno);
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (own < 0) return fail(why, why_bytes, "cannot duplicate", &addr, errno);
  int on = 1;
  if (!wr_addr_is_unix(&addr)) (void)setsockopt(own, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  /* Harmless on a socket that listens; needed by one that was only bound. */
  if (listen(own, BACKLOG) != 0) {
    int error = errno;
    close(own);
    return fail(why, why_bytes, "cannot listen on", &addr, error);
  }
  enum wr_err err = begin(loop, own, tls, fn, ctx, out);
  if (err) (void)fail(why, why_bytes, "cannot watch", &addr, ENOMEM);
  return err;
}

enum wr_err wr_listen_take(struct wr_loop *loop, int take_fd, bool owns_path,
                           struct wr_tls_ctx *tls, wr_listen_fn fn, void *ctx,
                           struct wr_listen **out, char *why, size_t why_bytes) {
  WR_CHECK(take_fd >= 0);
  struct wr_addr addr = { 0 };
  *out = NULL;
  enum wr_err err = read_bound(take_fd, &addr);
  if (err != WR_OK || listen(take_fd, BACKLOG) != 0) {
    int error = errno;
    close(take_fd);
    return fail(why, why_bytes, "cannot listen on", &addr, error);
  }
  int on = 1;
  if (!wr_addr_is_unix(&addr))
    (void)setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  err = begin(loop, take_fd, tls, fn, ctx, out);
  if (err) return fail(why, why_bytes, "cannot watch", &addr, ENOMEM), err;
  (*out)->own_path = owns_path && wr_addr_is_unix(&addr);
  return WR_OK;
}

void wr_listen_set_tls(struct wr_listen *listen, struct wr_tls_ctx *tls) {
  WR_MAGIC_CHECK(listen, LISTEN_MAGIC);
  listen->tls = tls;
}

const struct wr_addr *wr_listen_addr(const struct wr_listen *listen) {
  WR_MAGIC_CHECK(listen, LISTEN_MAGIC);
  return &listen->addr;
}

static void close_done(uv_handle_t *handle) {
  struct wr_listen *listen = handle->data;
  listen->magic = 0;
  wr_heap_free(WR_HEAP_NET, listen);
}

void wr_listen_close(struct wr_listen *listen) {
  WR_MAGIC_CHECK(listen, LISTEN_MAGIC);
  WR_CHECK(listen->fd >= 0);
  wr_timer_clear(&listen->pause);
  if (listen->own_path) (void)unlink(listen->addr.raw + offsetof(struct sockaddr_un, sun_path));
  uv_close((uv_handle_t *)(void *)&listen->poll, close_done);
  close(listen->fd);
  listen->fd = -1;
}

#include "cli/admin_call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "conf/conf.h"
#include "policy/load.h"

/* The listener answers within ten seconds, whatever happens. */
#define WAIT_S 15

static int dial(const struct wr_addr *addr) {
  const struct sockaddr *to = (const struct sockaddr *)(const void *)addr->raw;
  struct timeval wait = { .tv_sec = WAIT_S };
  int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  if (connect(fd, to, addr->len) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static bool send_all(int fd, const char *bytes, size_t len) {
  for (size_t at = 0; at < len;) {
    ssize_t n = send(fd, bytes + at, len - at, MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) at += (size_t)n;
  }
  return true;
}

/* The whole answer: the listener closes behind it. */
static bool read_all(int fd, struct wr_buf *out) {
  for (;;) {
    char bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n == 0) return true;
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) wr_buf_put(out, wr_span_make(bytes, (size_t)n));
  }
}

bool wr_admin_call(const struct wr_addr *addr, const char *request, struct wr_buf *out) {
  char text[256];
  int len = snprintf(text, sizeof text,
                     "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
                     "Connection: close\r\n\r\n",
                     request);
  int fd = dial(addr);
  if (fd < 0) return false;
  bool ok = send_all(fd, text, (size_t)len) && read_all(fd, out);
  int error = errno;
  close(fd);
  errno = error;
  return ok;
}

struct wr_span wr_admin_body(struct wr_span answer) {
  const char *end = answer.len > 0 ? memmem(answer.ptr, answer.len, "\r\n\r\n", 4) : NULL;
  if (end == NULL) return wr_span_make(NULL, 0);
  size_t head = (size_t)(end - answer.ptr) + 4;
  return wr_span_sub(answer, head, answer.len - head);
}

static void print_line(void *ctx, struct wr_span line) {
  fprintf(ctx, "%.*s\n", (int)line.len, line.ptr);
}

/* A file with errors is told of here: the relay would say the same. */
static int find_in_file(const char *command, const char *file, struct wr_addr *out) {
  struct wr_diag diag;
  struct wr_conf *conf = NULL;
  wr_diag_init(&diag);
  enum wr_err err = wr_conf_load_file(file, &conf, &diag);
  if (err != WR_OK) {
    wr_diag_print(&diag, print_line, stderr);
    fprintf(stderr, "weir %s: nothing was asked: %s\n", command, wr_err_text(err));
  } else if (!conf->server.admin) {
    fprintf(stderr, "weir %s: %s names no admin listener\n", command, file);
    err = WR_E_CONFIG;
  } else {
    err = wr_addr_parse(wr_span_str(conf->server.admin), out);
  }
  if (conf) wr_conf_free(conf);
  wr_diag_fini(&diag);
  return err == WR_OK ? 0 : 1;
}

int wr_admin_find(const char *command, const char *file, const char *admin,
                  struct wr_addr *out) {
  if (!admin) return find_in_file(command, file, out);
  if (wr_addr_parse(wr_span_str(admin), out) == WR_OK) return 0;
  fprintf(stderr, "weir %s: '%s' is not an address\n", command, admin);
  return 2;
}

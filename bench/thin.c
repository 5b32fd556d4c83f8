/* thin.c: the thinnest relay, as the floor that others are measured against.
 *
 * epoll_wait, read, write; one thread, no parsing, no timers, no memory for a stream but what
 * the kernel holds. Usage: thin LISTEN_PORT UPSTREAM_PORT, both on 127.0.0.1. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 65536, EVENTS = 256, MAX_FDS = 65536 };

/* What a socket could not take; the other side is not read meanwhile. */
struct backlog {
  char *bytes; /* owned */
  size_t len;
};

static int epoll_fd;
static int other[MAX_FDS]; /* the socket that bytes of this one go to, -1 without */
static struct backlog waiting[MAX_FDS];
static struct sockaddr_in upstream;
static char buffer[BUFFER_BYTES];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void watch(int fd, int op, uint32_t events) {
  struct epoll_event ev = { .events = events, .data.fd = fd };
  if (epoll_ctl(epoll_fd, op, fd, &ev) != 0) die("epoll_ctl");
}

static void set_nodelay(int fd) {
  int one = 1;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void close_pair(int fd) {
  int peer = other[fd];
  int both[2] = { fd, peer };
  for (int i = 0; i < 2; i++) {
    if (both[i] < 0) continue;
    free(waiting[both[i]].bytes);
    waiting[both[i]] = (struct backlog){ NULL, 0 };
    other[both[i]] = -1;
    close(both[i]);
  }
}

static void accept_one(int listener) {
  int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  if (client < 0) return;
  int up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (up < 0 || up >= MAX_FDS || client >= MAX_FDS) die("socket");
  set_nodelay(client);
  set_nodelay(up);
  if (connect(up, (struct sockaddr *)&upstream, sizeof(upstream)) != 0 && errno != EINPROGRESS) {
    close(client);
    close(up);
    return;
  }
  other[client] = up;
  other[up] = client;
  watch(client, EPOLL_CTL_ADD, EPOLLIN);
  watch(up, EPOLL_CTL_ADD, EPOLLIN);
}

/* Keeps what `to` did not take, stops reading `from`, and waits for room. */
static void hold_back(int from, int to, const char *bytes, size_t len) {
  waiting[to].bytes = malloc(len);
  if (!waiting[to].bytes) die("malloc");
  memcpy(waiting[to].bytes, bytes, len);
  waiting[to].len = len;
  watch(from, EPOLL_CTL_MOD, 0);
  watch(to, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void copy(int from) {
  int to = other[from];
  if (to < 0) return;
  ssize_t n = read(from, buffer, sizeof(buffer));
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    close_pair(from);
    return;
  }
  ssize_t w = write(to, buffer, (size_t)n);
  if (w < 0 && errno != EAGAIN) {
    close_pair(from);
    return;
  }
  if (w < 0) w = 0;
  if (w < n) hold_back(from, to, buffer + w, (size_t)(n - w));
}

static void drain(int to) {
  struct backlog *b = &waiting[to];
  ssize_t w = write(to, b->bytes, b->len);
  if (w < 0 && errno == EAGAIN) return;
  if (w < 0) {
    close_pair(to);
    return;
  }
  b->len -= (size_t)w;
  memmove(b->bytes, b->bytes + w, b->len);
  if (b->len) return;
  free(b->bytes);
  b->bytes = NULL;
  watch(to, EPOLL_CTL_MOD, EPOLLIN);
  watch(other[to], EPOLL_CTL_MOD, EPOLLIN);
}

static int listen_on(uint16_t port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int one = 1;
  struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0) die("socket");
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 1024) != 0) die("listen");
  return fd;
}

int main(int argc, char **argv) {
  if (argc != 3) return fprintf(stderr, "usage: thin LISTEN_PORT UPSTREAM_PORT\n"), 2;
  (void)signal(SIGPIPE, SIG_IGN);
  struct rlimit fds = { MAX_FDS, MAX_FDS };
  (void)setrlimit(RLIMIT_NOFILE, &fds);
  memset(other, 0xff, sizeof(other));
  upstream.sin_family = AF_INET;
  upstream.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  upstream.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
  epoll_fd = epoll_create1(0);
  int listener = listen_on((uint16_t)strtoul(argv[1], NULL, 10));
  watch(listener, EPOLL_CTL_ADD, EPOLLIN);
  static struct epoll_event events[EVENTS];
  for (;;) {
    int n = epoll_wait(epoll_fd, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        accept_one(fd);
      } else {
        if ((events[i].events & EPOLLOUT) && waiting[fd].bytes) drain(fd);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) copy(fd);
      }
    }
  }
}

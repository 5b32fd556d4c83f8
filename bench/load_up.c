/* load_up.c: the upstream of the benchmark; see load.h. */
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

char event_text[EVENT_BYTES + 1];
size_t event_digits;

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    "transfer-encoding: chunked\r\n\r\n";
static const char TAIL[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

void event_init(void) {
  int n = snprintf(event_text, sizeof(event_text),
                   "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\","
                   "\"created\":1700000000,\"model\":\"bench\",\"choices\":[{\"index\":0,"
                   "\"delta\":{\"content\":\"t00000000\"},"
                   "\"finish_reason\":null}],\"system_fingerprint\":\"");
  for (; n < EVENT_BYTES - 4; n++) event_text[n] = 'f';
  memcpy(event_text + n, "\"}\n\n", 4);
  event_digits = (size_t)(strstr(event_text, "t00000000") - event_text) + 1;
}

void event_number(char *event, uint64_t number) {
  for (int i = 7; i >= 0; i--) {
    event[event_digits + (size_t)i] = (char)('0' + number % 10);
    number /= 10;
  }
}

void up_listen(uint16_t port) {
  static struct end listener = { END_LISTENER, -1 };
  struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
  int one = 1;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  (void)setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(listener.fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
      listen(listener.fd, 4096) != 0) {
    perror("listen");
    exit(2);
  }
  watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
}

void up_accept(struct end *listener) {
  for (;;) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct up *u = calloc(1, sizeof(*u));
    if (!u) exit(2);
    u->end = (struct end){ END_UP, fd };
    watch(&u->end, EPOLL_CTL_ADD, EPOLLIN);
  }
}

static void up_close(struct up *u) {
  if (u->stream) {
    if (!u->stream->ended) fail("the relay closed an upstream connection early", u->stream);
    u->stream->up = NULL;
  }
  close(u->end.fd);
  free(u);
}

static bool flush_out(struct up *u) {
  ssize_t w = write(u->end.fd, u->out + u->out_off, u->out_len - u->out_off);
  if (w < 0 && errno != EAGAIN) {
    fail("write to the relay", u->stream);
    w = (ssize_t)(u->out_len - u->out_off);
  }
  if (w > 0) u->out_off += (size_t)w;
  if (u->out_off < u->out_len) {
    watch(&u->end, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    return false;
  }
  u->out_off = u->out_len = 0;
  return true;
}

static void append(struct up *u, const char *bytes, size_t len) {
  memcpy(u->out + u->out_len, bytes, len);
  u->out_len += len;
}

static void append_events(struct up *u, struct stream *s, int n) {
  for (int i = 0; i < n; i++) {
    append(u, "f0\r\n", 4);
    append(u, event_text, EVENT_BYTES);
    event_number(u->out + u->out_len - EVENT_BYTES, s->sent++);
    append(u, "\r\n", 2);
  }
}

bool up_send(struct stream *s, int n) {
  struct up *u = s->up;
  if (!u || u->out_len || s->ended) return false;
  append_events(u, s, n);
  s->sent_at_ns = now_ns();
  return flush_out(u);
}

void up_finish(struct stream *s) {
  if (!s->up || s->ended) return;
  append(s->up, TAIL, sizeof(TAIL) - 1);
  s->ended = true;
  struct up *u = s->up;
  /* The connection may carry the next stream now. */
  u->stream = NULL;
  s->up = NULL;
  (void)flush_out(u);
}

/* The length of the request in `in`, head and body; 0 while it is not whole. */
static size_t request_len(const struct up *u) {
  const char *end = memmem(u->in, u->in_len, "\r\n\r\n", 4);
  if (!end) return 0;
  size_t head = (size_t)(end - u->in) + 4;
  size_t body = 0;
  const char *p = u->in;
  while (p < end) {
    if (strncasecmp(p, "content-length:", 15) == 0) body = strtoul(p + 15, NULL, 10);
    p = (const char *)memchr(p, '\n', (size_t)(end - p) + 2) + 1;
  }
  return u->in_len >= head + body ? head + body : 0;
}

static void up_request(struct up *u, size_t len) {
  const char *user = memmem(u->in, len, "\"user\":\"s", 9);
  if (!user) {
    fail("a request without its number", NULL);
    return;
  }
  struct stream *s = &streams[strtoul(user + 9, NULL, 10) % MAX_STREAMS];
  u->stream = s;
  s->up = u;
  u->in_len -= len;
  memmove(u->in, u->in + len, u->in_len);
  append(u, HEAD, sizeof(HEAD) - 1);
  if (opt.per_stream) {
    append_events(u, s, opt.per_stream);
    up_finish(s);
    return;
  }
  append_events(u, s, 1);
  (void)flush_out(u);
  stream_opened(s);
}

void up_ready(struct up *u, uint32_t events) {
  if ((events & EPOLLOUT) && u->out_len && flush_out(u)) {
    watch(&u->end, EPOLL_CTL_MOD, EPOLLIN);
  }
  if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
  ssize_t n = read(u->end.fd, u->in + u->in_len, sizeof(u->in) - 1 - u->in_len);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    up_close(u);
    return;
  }
  u->in_len += (size_t)n;
  u->in[u->in_len] = '\0';
  size_t len = request_len(u);
  if (len) up_request(u, len);
}

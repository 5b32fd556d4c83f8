/* load_client.c: the clients of the benchmark: they decode, check each byte, and count; see
 * load.h. */
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

static const char DONE[] = "data: [DONE]\n\n";

void client_start(struct stream *s) {
  struct client *c = &s->client;
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(opt.relay_port) };
  char request[512];
  char body[256];
  int one = 1;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  s->sent = s->got = 0;
  s->ended = s->complete = false;
  memset(c, 0, sizeof(*c));
  c->end = (struct end){ END_CLIENT, socket(AF_INET, SOCK_STREAM, 0) };
  (void)setsockopt(c->end.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (connect(c->end.fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
    perror("connect to the relay");
    exit(2);
  }
  int b = snprintf(body, sizeof(body),
                   "{\"model\":\"bench\",\"stream\":true,\"user\":\"s%d\",\"messages\":["
                   "{\"role\":\"user\",\"content\":\"Tell me of weirs.\"}]}", s->id);
  int n = snprintf(request, sizeof(request),
                   "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nuser-agent: load\r\n"
                   "accept: */*\r\n"
                   "content-type: application/json\r\ncontent-length: %d\r\n\r\n%s", b, body);
  if (write(c->end.fd, request, (size_t)n) != n) {
    perror("write of a request");
    exit(2);
  }
  watch(&c->end, EPOLL_CTL_ADD, opt.slow ? 0 : EPOLLIN);
}

void client_stop(struct stream *s) {
  if (s->client.end.fd >= 0) close(s->client.end.fd);
  s->client.end.fd = -1;
}

static void event_done(struct stream *s) {
  s->got++;
  events_got++;
  s->client.event_off = 0;
}

/* One byte of the body where the fast way does not apply: a split event, a heartbeat, the
 * terminator. */
static void check_byte(struct stream *s, char b) {
  struct client *c = &s->client;
  if (c->in_comment) {
    if (b == '\n' && c->event_off++ == 1) {
      c->in_comment = false;
      c->event_off = 0;
    }
    return;
  }
  if (c->event_off == 0 && b == ':') {
    c->in_comment = true;
    return;
  }
  if (c->event_off == 6 && b == '[') c->in_done = true;
  char number[EVENT_BYTES];
  char want = event_text[c->event_off];
  if (c->in_done) {
    want = DONE[c->event_off];
  } else if (c->event_off >= event_digits && c->event_off < event_digits + 8) {
    event_number(number, s->got);
    want = number[c->event_off];
  }
  if (b != want) fail("a byte of an event", s);
  c->event_off++;
  if (c->in_done && c->event_off == sizeof(DONE) - 1) {
    c->saw_done = true;
  } else if (c->event_off == EVENT_BYTES) {
    event_done(s);
  }
}

static void check_body(struct stream *s, const char *p, size_t len) {
  static char want[EVENT_BYTES + 1];
  if (!want[0]) memcpy(want, event_text, sizeof(want));
  while (len) {
    if (s->client.event_off == 0 && len >= EVENT_BYTES && p[6] == '{') {
      event_number(want, s->got);
      if (memcmp(p, want, EVENT_BYTES) != 0) fail("an event", s);
      event_done(s);
      p += EVENT_BYTES;
      len -= EVENT_BYTES;
    } else {
      check_byte(s, *p++);
      len--;
    }
  }
}

static void head_done(struct stream *s) {
  struct client *c = &s->client;
  c->line[c->line_len] = '\0';
  if (strncmp(c->line, "HTTP/1.1 200", 12) != 0) fail(c->line, s);
  c->state = strcasestr(c->line, "\r\ntransfer-encoding: chunked") ? DEC_SIZE : DEC_RAW;
  c->line_len = 0;
}

static void size_done(struct stream *s) {
  struct client *c = &s->client;
  c->line[c->line_len] = '\0';
  c->line_len = 0;
  c->chunk_left = strtoul(c->line, NULL, 16);
  c->state = c->chunk_left ? DEC_DATA : DEC_LAST;
}

/* One byte of framing. */
static void frame_byte(struct stream *s, char b) {
  struct client *c = &s->client;
  if (c->line_len >= sizeof(c->line) - 1) {
    fail("a line is too long", s);
    c->line_len = 0;
  }
  switch (c->state) {
  case DEC_HEAD:
    c->line[c->line_len++] = b;
    if (c->line_len >= 4 && memcmp(c->line + c->line_len - 4, "\r\n\r\n", 4) == 0) head_done(s);
    break;
  case DEC_SIZE:
    c->line[c->line_len++] = b;
    if (b == '\n') size_done(s);
    break;
  case DEC_DATA_END:
    if (b == '\n') c->state = DEC_SIZE;
    break;
  case DEC_LAST:
    if (b == '\n') c->state = DEC_DONE;
    break;
  case DEC_DATA:
  case DEC_DONE:
  case DEC_RAW:
    fail("bytes after the end", s);
    break;
  }
}

static void decode(struct stream *s, const char *p, size_t len) {
  struct client *c = &s->client;
  while (len) {
    if (c->state == DEC_RAW) {
      check_body(s, p, len);
      return;
    }
    if (c->state == DEC_DATA) {
      size_t n = len < c->chunk_left ? len : c->chunk_left;
      check_body(s, p, n);
      p += n;
      len -= n;
      c->chunk_left -= n;
      if (!c->chunk_left) c->state = DEC_DATA_END;
    } else {
      frame_byte(s, *p++);
      len--;
    }
  }
}

void client_ready(struct client *c, uint32_t events) {
  static char buffer[262144];
  struct stream *s = (struct stream *)((char *)c - offsetof(struct stream, client));
  (void)events;
  ssize_t n = recv(c->end.fd, buffer, sizeof(buffer), MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n > 0) decode(s, buffer, (size_t)n);
  bool end = c->state == DEC_DONE || (n <= 0 && c->state == DEC_RAW);
  if (end && c->saw_done && s->ended && s->got == s->sent) {
    s->complete = true;
    streams_done++;
    client_stop(s);
  } else if (end || n <= 0) {
    fail("the stream ended early", s);
    client_stop(s);
  }
  stream_progress(s);
}

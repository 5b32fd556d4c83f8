/* Both ends of one stream after another, in step: the next batch of events leaves when the client
 * has all of the last one. So a relay in between does the same work in every run, and its
 * instructions can be counted.
 *   lockstep RELAY_PORT UPSTREAM_PORT STREAMS EVENTS BATCH [keep]
 * EVENTS a stream; BATCH events a write, each in a chunk of its own; keep: one client connection
 * for all streams. Exits with 1 where the client doesn't get what was sent. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM 65536

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static struct sockaddr_in at(const char *port) {
  return (struct sockaddr_in){ .sin_family = AF_INET,
                               .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int no_delay(int fd) {
  int one = 1;
  if (fd < 0) fail("connection");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static int listen_on(const char *port) {
  struct sockaddr_in a = at(port);
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 16)) fail("listen");
  return fd;
}

static int dial(const char *port) {
  struct sockaddr_in a = at(port);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&a, sizeof a)) fail("connect");
  return no_delay(fd);
}

static void put(int fd, const char *bytes, size_t len) {
  while (len) {
    ssize_t n = write(fd, bytes, len);
    if (n <= 0) fail("write");
    bytes += n;
    len -= (size_t)n;
  }
}

/* Reads until `end` stands at the end of what came; how much that is. */
static size_t read_until(int fd, char *into, const char *end) {
  size_t len = 0, n = strlen(end);
  while (len < n || memcmp(into + len - n, end, n) != 0) {
    ssize_t got = read(fd, into + len, ROOM - len);
    if (got <= 0) fail("read");
    len += (size_t)got;
  }
  return len;
}

static const char body[] =
    "{\"model\":\"gpt-4.1-mini\",\"stream\":true,"
    "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}";
static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                           "transfer-encoding: chunked\r\n\r\n";

static size_t chunk(char *out, size_t room, const char *content, const char *finish,
                    unsigned number) {
  char event[512];
  int n = snprintf(event, sizeof event,
                   "data: {\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":"
                   "\"chat.completion.chunk\",\"created\":1741569952,\"model\":\"gpt-4.1-mini\","
                   "\"service_tier\":\"default\",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
                   "\"%u%s\"},\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
                   number % 1000, content, finish);
  return (size_t)snprintf(out, room, "%x\r\n%s\r\n", (unsigned)n, event);
}

/* The answer's head comes with the first content: how much of the body came with it. */
static size_t read_head(int fd, char *into) {
  size_t len = 0;
  char *end = NULL;
  while (!end) {
    ssize_t n = read(fd, into + len, ROOM - len);
    if (n <= 0) fail("read");
    len += (size_t)n;
    end = memmem(into, len, "\r\n\r\n", 4);
  }
  size_t more = len - (size_t)(end + 4 - into);
  memmove(into, end + 4, more);
  return more;
}

static void pass(int upstream, int client, const char *sent, size_t len, int first) {
  static char got[ROOM];
  put(upstream, sent, len);
  size_t have = first ? read_head(client, got) : 0;
  while (have < len) {
    ssize_t n = read(client, got + have, len - have);
    if (n <= 0) fail("read");
    have += (size_t)n;
  }
  if (have != len || memcmp(sent, got, len) != 0) fail("what came is not what was sent");
}

static void stream(int upstream, int client, unsigned long events, unsigned long batch) {
  static char sent[ROOM];
  put(upstream, head, sizeof head - 1);
  for (unsigned long e = 0; e < events; e += batch) {
    size_t len = 0;
    for (unsigned long i = 0; i < batch; i++)
      len += chunk(sent + len, ROOM - len, " token,", "null", (unsigned)(e + i));
    pass(upstream, client, sent, len, e == 0);
  }
  size_t len = chunk(sent, ROOM, " end.", "\"stop\"", 0);
  len += (size_t)snprintf(sent + len, ROOM - len, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
  pass(upstream, client, sent, len, 0);
}

int main(int argc, char **argv) {
  static char got[ROOM], request[1024];
  if (argc < 6) {
    fprintf(stderr, "usage: lockstep RELAY_PORT UPSTREAM_PORT STREAMS EVENTS BATCH [keep]\n");
    return 2;
  }
  unsigned long streams = strtoul(argv[3], NULL, 10), events = strtoul(argv[4], NULL, 10);
  unsigned long batch = strtoul(argv[5], NULL, 10);
  if (batch < 1 || batch > 64) batch = 1;
  int listener = listen_on(argv[2]), client = -1, upstream = -1;
  int n = snprintf(request, sizeof request,
                   "POST /v1/chat/completions HTTP/1.1\r\nhost: weir.test\r\n"
                   "content-type: application/json\r\nauthorization: Bearer sk-test\r\n"
                   "content-length: %zu\r\n\r\n%s",
                   sizeof body - 1, body);
  for (unsigned long s = 0; s < streams; s++) {
    if (client < 0) client = dial(argv[1]);
    put(client, request, (size_t)n);
    if (upstream < 0) upstream = no_delay(accept(listener, NULL, NULL));
    (void)read_until(upstream, got, "}]}");
    stream(upstream, client, events, batch);
    if (argc > 6) continue;
    close(client);
    client = -1;
  }
  return 0;
}

/* The admin listener as its clients see it, over TCP and a Unix socket. */
#include "net/world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#include "server/admin.h"
#include "server/admin_priv.h"

#define REST "Host: localhost\r\n\r\n"

struct bench {
  struct world w;
  struct wr_admin *admin;
  struct wr_listen *listen;
  bool draining;
  uint64_t token; /* of the last /streams */
  unsigned asked;
  size_t metric_lines;
  unsigned orders;
};

static bool is_ready(void *ctx, struct wr_buf *why) {
  struct bench *b = ctx;
  if (b->draining) wr_buf_put(why, WR_SPAN("draining"));
  return !b->draining;
}

static void put_metrics(void *ctx, struct wr_prom *out) {
  struct bench *b = ctx;
  wr_prom_family(out, WR_METRIC_ERRORS);
  for (size_t i = 0; i < b->metric_lines; i++) wr_prom_one(out, "error", "x", i);
}

static void ask_streams(void *ctx, struct wr_admin *admin, uint64_t token) {
  struct bench *b = ctx;
  (void)admin;
  b->token = token;
  b->asked++;
}

static void streams_at_once(void *ctx, struct wr_admin *admin, uint64_t token) {
  (void)ctx;
  wr_admin_done(admin, token, 200, WR_SPAN("[1]\n"));
}

static enum wr_err drain(void *ctx, struct wr_buf *why) {
  struct bench *b = ctx;
  if (b->orders++ == 0) return WR_OK;
  wr_buf_put(why, WR_SPAN("already draining"));
  return WR_E_DRAINING;
}

static void bench_open_with(struct bench *b, const char *where, struct wr_admin_ops ops,
                            size_t pool_bytes) {
  struct wr_addr addr;
  char why[256];
  memset(b, 0, sizeof *b);
  world_open(&b->w, pool_bytes);
  b->metric_lines = 3;
  ops.ctx = b;
  ops.version = "1.2.3";
  assert_int_equal(wr_admin_new(b->w.loop, &ops, &b->admin), WR_OK);
  assert_int_equal(wr_addr_parse(wr_span_str(where), &addr), WR_OK);
  assert_int_equal(wr_listen_open(b->w.loop, &addr, NULL, wr_admin_accept, b->admin, &b->listen,
                                  why, sizeof why), WR_OK);
}

static void bench_open(struct bench *b, const char *where) {
  struct wr_admin_ops ops = { .ready = is_ready, .metrics = put_metrics, .streams = ask_streams,
                              .drain = drain };
  bench_open_with(b, where, ops, 4 << 20);
}

static void bench_close(struct bench *b) {
  wr_listen_close(b->listen);
  wr_admin_free(b->admin);
  for (int i = 0; i < 20; i++) wr_loop_turn(b->w.loop, 0);
  world_close(&b->w);
  assert_int_equal(wr_heap_live_count(WR_HEAP_SERVER), 0);
}

static int dial(struct bench *b) {
  const struct wr_addr *addr = wr_listen_addr(b->listen);
  struct sockaddr_storage raw = { 0 };
  memcpy(&raw, addr->raw, addr->len);
  int fd = socket(raw.ss_family, SOCK_STREAM, 0);
  assert_int_equal(connect(fd, (const struct sockaddr *)&raw, addr->len), 0);
  assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  return fd;
}

static void say(int fd, const char *text) {
  assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static char got[8 << 20];
static size_t got_len;
static bool closed;

static void poll_socket(int fd) {
  ssize_t n = recv(fd, got + got_len, sizeof got - 1 - got_len, 0);
  if (n > 0) got_len += (size_t)n;
  if (n == 0 || (n < 0 && errno != EAGAIN)) closed = true;
  got[got_len] = '\0';
}

/* Bytes of the first answer in got, once it is whole. */
static size_t answer_len(bool head_only) {
  char *end = strstr(got, "\r\n\r\n"), *length = strstr(got, "Content-Length: ");
  if (!end || !length) return 0;
  size_t n = (size_t)(end + 4 - got) + (head_only ? 0 : strtoul(length + 16, NULL, 10));
  return got_len >= n ? n : 0;
}

static void listen_to(struct bench *b, int fd, bool head_only) {
  got_len = 0;
  closed = false;
  got[0] = '\0';
  TURN_UNTIL(&b->w, (poll_socket(fd), closed || answer_len(head_only) > 0));
}

static void ask(struct bench *b, int fd, const char *request) {
  say(fd, request);
  listen_to(b, fd, strncmp(request, "HEAD", 4) == 0);
}

static void expect(unsigned status, const char *part) {
  char line[32];
  snprintf(line, sizeof line, "HTTP/1.1 %u ", status);
  if (strncmp(got, line, strlen(line)) != 0 || !strstr(got, part))
    fail_msg("expected %u and %s, got: %.600s", status, part, got);
}

static void ask_once(struct bench *b, const char *request, unsigned status, const char *part) {
  int fd = dial(b);
  ask(b, fd, request);
  expect(status, part);
  close(fd);
}

static void pages_on(const char *where) {
  struct bench b;
  bench_open(&b, where);
  int fd = dial(&b);
  ask(&b, fd, "GET /healthz HTTP/1.1\r\n" REST);
  expect(200, "\r\n\r\nok\n");
  ask(&b, fd, "GET /readyz?x=1 HTTP/1.1\r\n" REST);
  expect(200, "\r\n\r\nready\n");
  b.draining = true;
  ask(&b, fd, "GET /readyz HTTP/1.1\r\n" REST);
  expect(503, "\r\n\r\ndraining\n");
  ask(&b, fd, "GET /metrics HTTP/1.1\r\n" REST);
  expect(200, "weir_errors_total{error=\"x\"} 2\n");
  assert_non_null(strstr(got, "Content-Type: text/plain; version=0.0.4"));
  ask(&b, fd, "GET /version HTTP/1.1\r\n" REST);
  expect(200, "\"version\":\"1.2.3\"");
  ask(&b, fd, "HEAD /healthz HTTP/1.1\r\n" REST);
  expect(200, "Content-Length: 3\r\n");
  assert_int_equal(got_len, answer_len(true));
  ask(&b, fd, "POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n" REST);
  expect(405, "Allow: GET, HEAD\r\n");
  ask(&b, fd, "GET /drain HTTP/1.1\r\n" REST);
  expect(405, "Allow: POST\r\n");
  ask(&b, fd, "POST /drain HTTP/1.1\r\n" REST);
  expect(202, "accepted");
  assert_null(strstr(got, "Allow"));
  ask(&b, fd, "POST /drain HTTP/1.1\r\n" REST);
  expect(409, "already draining");
  ask(&b, fd, "POST /reload HTTP/1.1\r\n" REST);
  expect(404, "not_found");
  ask(&b, fd, "GET /nothing HTTP/1.1\r\n" REST);
  expect(404, "{\"error\":{\"code\":\"not_found\"");
  ask(&b, fd, "GET /healthz HTTP/1.1\r\nConnection: close\r\n" REST);
  expect(200, "Connection: close\r\n");
  TURN_UNTIL(&b.w, (poll_socket(fd), closed));
  close(fd);
  bench_close(&b);
}

static void pages(void **state) {
  (void)state;
  pages_on("127.0.0.1:0");
}

static void pages_unix(void **state) {
  (void)state;
  char where[64];
  snprintf(where, sizeof where, "unix:/tmp/weir-admin-%d.sock", (int)getpid());
  pages_on(where);
}

static void web_pages_are_refused(void **state) {
  (void)state;
  struct bench b;
  bench_open(&b, "127.0.0.1:0");
  ask_once(&b, "GET /streams HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "\"host\"");
  ask_once(&b, "GET /streams HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80\r\n\r\n", 403, "\"host\"");
  ask_once(&b, "GET /streams HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 403, "\"host\"");
  ask_once(&b, "POST /drain HTTP/1.1\r\nOrigin: http://x\r\n" REST, 403, "\"origin\"");
  assert_int_equal(b.asked + b.orders, 0);
  ask_once(&b, "GET /healthz HTTP/1.1\r\nHost: LocalHost:99\r\n\r\n", 200, "ok");
  ask_once(&b, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:99\r\n\r\n", 200, "ok");
  ask_once(&b, "GET /healthz HTTP/1.1\r\nHost: [::1]\r\n\r\n", 200, "ok");
  ask_once(&b, "GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200, "ok");
  bench_close(&b);
  char where[64];
  snprintf(where, sizeof where, "unix:/tmp/weir-admin-%d.sock", (int)getpid());
  bench_open(&b, where);
  ask_once(&b, "GET /healthz HTTP/1.1\r\nHost: anything.example\r\n\r\n", 200, "ok");
  ask_once(&b, "GET /healthz HTTP/1.1\r\nOrigin: http://x\r\n" REST, 403, "\"origin\"");
  bench_close(&b);
}

static void streams(void **state) {
  (void)state;
  struct bench b;
  bench_open(&b, "127.0.0.1:0");
  int fd = dial(&b), other = dial(&b);
  say(other, "GET /streams HTTP/1.1\r\n" REST);
  TURN_UNTIL(&b.w, b.asked == 1);
  uint64_t first = b.token;
  say(fd, "GET /streams HTTP/1.1\r\n" REST);
  TURN_UNTIL(&b.w, b.asked == 2);
  close(other); /* its token is answered all the same */
  wr_admin_done(b.admin, first, 200, WR_SPAN("[\"first\"]\n"));
  wr_admin_done(b.admin, 12345, 200, WR_SPAN("[]\n"));
  wr_admin_done(b.admin, b.token, 200, WR_SPAN("[{\"id\":1}]\n"));
  wr_admin_done(b.admin, b.token, 200, WR_SPAN("[]\n"));
  listen_to(&b, fd, false);
  expect(200, "\r\n\r\n[{\"id\":1}]\n");
  ask(&b, fd, "GET /healthz HTTP/1.1\r\n" REST);
  expect(200, "ok");
  say(fd, "GET /streams HTTP/1.1\r\n" REST);
  TURN_UNTIL(&b.w, b.asked == 3);
  close(fd);
  bench_close(&b); /* while one waits */
  struct wr_admin_ops ops = { .streams = streams_at_once };
  bench_open_with(&b, "127.0.0.1:0", ops, 4 << 20);
  ask_once(&b, "GET /streams HTTP/1.1\r\n" REST, 200, "[1]");
  ask_once(&b, "GET /metrics HTTP/1.1\r\n" REST, 404, "not_found");
  ask_once(&b, "GET /readyz HTTP/1.1\r\n" REST, 200, "ready");
  bench_close(&b);
}

/* Larger than the pool and than what a socket takes at once. */
static void large_page(void **state) {
  (void)state;
  struct bench b;
  bench_open(&b, "127.0.0.1:0");
  b.metric_lines = 120000;
  int fd = dial(&b);
  say(fd, "GET /metrics HTTP/1.1\r\n" REST "GET /healthz HTTP/1.1\r\n" REST);
  for (int i = 0; i < 50; i++) wr_loop_turn(b.w.loop, 1); /* nobody reads yet */
  assert_true(wr_slabs_live_bytes(b.w.slabs) < 512 * 1024);
  listen_to(&b, fd, false);
  expect(200, "weir_errors_total{error=\"x\"} 119999\n");
  assert_true(answer_len(false) > 4 << 20);
  size_t first = answer_len(false);
  TURN_UNTIL(&b.w, (poll_socket(fd), strstr(got + first, "\r\n\r\nok\n") != NULL));
  close(fd);
  bench_close(&b);
}

static void pool_is_full(void **state) {
  (void)state;
  struct bench b;
  bench_open(&b, "127.0.0.1:0");
  b.metric_lines = 2000;
  int fd = dial(&b);
  ask(&b, fd, "GET /healthz HTTP/1.1\r\n" REST);
  say(fd, "GET /metrics HTTP/1.1\r\n" REST);
  static struct wr_block *held[20000];
  size_t n = 0;
  while (n < 20000 && (held[n] = wr_slabs_alloc(b.w.slabs, 256, WR_CHARGE_CLIENT)) != NULL) n++;
  for (int i = 0; i < 5; i++) wr_loop_turn(b.w.loop, 1);
  while (n > 0) wr_block_unref(held[--n]);
  listen_to(&b, fd, false);
  expect(200, "weir_errors_total{error=\"x\"} 1999\n");
  close(fd);
  bench_close(&b);
}

static void bad_requests(void **state) {
  (void)state;
  static char large[20000];
  struct bench b;
  bench_open(&b, "127.0.0.1:0");
  ask_once(&b, "GET /healthz HTTP/1.1\r\n\r\n", 400, "http_host");
  ask_once(&b, "BAD\r\n\r\n", 400, "Connection: close");
  ask_once(&b, "POST /drain HTTP/1.1\r\nContent-Length: 5\r\n" REST, 413, "Connection: close");
  ask_once(&b, "POST /drain HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" REST, 413, "body");
  memset(large, 'a', sizeof large - 1);
  memcpy(large, "GET /healthz HTTP/1.1\r\nX: ", 26);
  ask_once(&b, large, 431, "head_too_large");
  assert_int_equal(b.orders, 0);
  bench_close(&b);
}

static void every_split(void **state) {
  (void)state;
  static const char request[] = "\r\nGET /healthz HTTP/1.1\r\n" REST
                                "HEAD /healthz HTTP/1.1\r\n" REST;
  struct bench b;
  bench_open(&b, "127.0.0.1:0");
  for (size_t at = 1; at + 1 < sizeof request; at++) {
    int fd = dial(&b);
    assert_int_equal(send(fd, request, at, MSG_NOSIGNAL), (ssize_t)at);
    for (int i = 0; i < 4; i++) wr_loop_turn(b.w.loop, 0);
    say(fd, request + at);
    listen_to(&b, fd, false);
    expect(200, "\r\n\r\nok\n");
    size_t first = answer_len(false);
    TURN_UNTIL(&b.w, (poll_socket(fd), strstr(got + first, "\r\n\r\n") != NULL));
    close(fd);
  }
  bench_close(&b);
}

static void too_many(void **state) {
  (void)state;
  struct bench b;
  int fds[WR_ADMIN_MAX_CONNS];
  bench_open(&b, "127.0.0.1:0");
  for (int i = 0; i < WR_ADMIN_MAX_CONNS; i++) fds[i] = dial(&b);
  TURN_UNTIL(&b.w, b.admin->count == WR_ADMIN_MAX_CONNS);
  int fd = dial(&b);
  listen_to(&b, fd, false);
  expect(503, "Connection: close");
  close(fd);
  ask(&b, fds[7], "GET /healthz HTTP/1.1\r\n" REST);
  expect(200, "ok");
  for (int i = 0; i < WR_ADMIN_MAX_CONNS; i++) close(fds[i]);
  TURN_UNTIL(&b.w, b.admin->count == 0);
  ask_once(&b, "GET /healthz HTTP/1.1\r\n" REST, 200, "ok");
  bench_close(&b);
}

/* The deadline is moved near instead of waited for. */
static void hurry(struct bench *b) {
  struct wr_admin_conn *c = WR_CONTAINER(b->admin->conns.next, struct wr_admin_conn, link);
  wr_timer_set(b->w.loop, &c->deadline, 1);
}

static void deadlines(void **state) {
  (void)state;
  struct bench b;
  bench_open(&b, "127.0.0.1:0");
  int fd = dial(&b);
  say(fd, "GET /heal");
  TURN_UNTIL(&b.w, b.admin->count == 1);
  hurry(&b);
  listen_to(&b, fd, false);
  assert_true(closed);
  close(fd);
  TURN_UNTIL(&b.w, b.admin->count == 0);
  fd = dial(&b);
  say(fd, "GET /streams HTTP/1.1\r\n" REST);
  TURN_UNTIL(&b.w, b.asked == 1);
  hurry(&b);
  listen_to(&b, fd, false);
  expect(504, "timeout");
  wr_admin_done(b.admin, b.token, 200, WR_SPAN("[]"));
  b.metric_lines = 400000;
  say(fd, "GET /metrics HTTP/1.1\r\n" REST);
  for (int i = 0; i < 20; i++) wr_loop_turn(b.w.loop, 1);
  hurry(&b);
  TURN_UNTIL(&b.w, b.admin->count == 0);
  close(fd);
  bench_close(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(pages),       cmocka_unit_test(pages_unix),   cmocka_unit_test(streams),
    cmocka_unit_test(web_pages_are_refused), cmocka_unit_test(large_page),
    cmocka_unit_test(pool_is_full), cmocka_unit_test(bad_requests), cmocka_unit_test(every_split),
    cmocka_unit_test(too_many),    cmocka_unit_test(deadlines),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

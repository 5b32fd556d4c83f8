#include "net/world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

struct crowd {
  struct wr_conn *conns[64];
  unsigned n;
};

static void crowd_accepted(void *ctx, struct wr_conn *take_conn) {
  struct crowd *c = ctx;
  assert_true(c->n < 64);
  c->conns[c->n++] = take_conn;
}

static void crowd_leave(struct crowd *c) {
  while (c->n > 0) wr_conn_abort(c->conns[--c->n]);
}

static int plain_connect(const struct wr_addr *addr) {
  const struct sockaddr *to = (const struct sockaddr *)(const void *)addr->raw;
  int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(fd >= 0);
  assert_int_equal(connect(fd, to, addr->len), 0);
  return fd;
}

static void both_families(void **state) {
  (void)state;
  struct world w;
  struct crowd c = { .n = 0 };
  struct wr_addr any, to;
  struct wr_listen *listen;
  char why[256];
  world_open(&w, 1 << 20);
  assert_int_equal(wr_addr_parse(WR_SPAN(":0"), &any), WR_OK);
  assert_int_equal(wr_listen_open(w.loop, &any, NULL, crowd_accepted, &c, &listen, why, sizeof why),
                   WR_OK);
  uint16_t port = wr_addr_port(wr_listen_addr(listen));
  assert_int_not_equal(port, 0);
  assert_int_equal(wr_addr_literal(WR_SPAN("127.0.0.1"), port, &to), WR_OK);
  int a = plain_connect(&to);
  TURN_UNTIL(&w, c.n == 1);
  assert_true(wr_addr_is_loopback(wr_conn_peer(c.conns[0])));
  int b = -1;
  assert_int_equal(wr_addr_literal(WR_SPAN("::1"), port, &to), WR_OK);
  if (access("/proc/net/if_inet6", R_OK) == 0) {
    b = plain_connect(&to);
    TURN_UNTIL(&w, c.n == 2);
  }
  crowd_leave(&c);
  close(a);
  if (b >= 0) close(b);
  wr_listen_close(listen);
  world_close(&w);
}

static void many_at_once(void **state) {
  (void)state;
  struct world w;
  struct crowd c = { .n = 0 };
  struct wr_addr any;
  struct wr_listen *listen;
  int fds[50];
  world_open(&w, 4 << 20);
  assert_int_equal(wr_addr_parse(WR_SPAN("127.0.0.1:0"), &any), WR_OK);
  assert_int_equal(wr_listen_open(w.loop, &any, NULL, crowd_accepted, &c, &listen, NULL, 0), WR_OK);
  for (int i = 0; i < 50; i++) fds[i] = plain_connect(wr_listen_addr(listen));
  TURN_UNTIL(&w, c.n == 50);
  assert_int_equal(wr_loop_stats(w.loop)->accepted, 50);
  crowd_leave(&c);
  for (int i = 0; i < 50; i++) close(fds[i]);
  wr_listen_close(listen);
  world_close(&w);
}

/* One address, several listeners; the port was chosen once. An inherited socket is duplicated. */
static void shared_address(void **state) {
  (void)state;
  struct world w;
  struct crowd c = { .n = 0 };
  struct wr_addr any, bound;
  struct wr_listen *one, *two, *three;
  int fd;
  char why[256];
  world_open(&w, 1 << 20);
  assert_int_equal(wr_addr_parse(WR_SPAN("127.0.0.1:0"), &any), WR_OK);
  assert_int_equal(wr_listen_bind(&any, &fd, &bound, why, sizeof why), WR_OK);
  assert_int_equal(wr_listen_open(w.loop, &bound, NULL, crowd_accepted, &c, &one, why, sizeof why),
                   WR_OK);
  assert_int_equal(wr_listen_open(w.loop, &bound, NULL, crowd_accepted, &c, &two, why, sizeof why),
                   WR_OK);
  close(fd);
  assert_int_equal(wr_addr_port(wr_listen_addr(one)), wr_addr_port(wr_listen_addr(two)));
  int fds[20];
  for (int i = 0; i < 20; i++) fds[i] = plain_connect(&bound);
  TURN_UNTIL(&w, c.n == 20);
  wr_listen_close(one);
  wr_listen_close(two);
  assert_int_equal(wr_listen_bind(&any, &fd, &bound, why, sizeof why), WR_OK);
  assert_int_equal(wr_listen_inherit(w.loop, fd, NULL, crowd_accepted, &c, &three, why, sizeof why),
                   WR_OK);
  assert_int_equal(close(fd), 0);
  int last = plain_connect(&bound);
  TURN_UNTIL(&w, c.n == 21);
  assert_int_equal(wr_listen_inherit(w.loop, -1, NULL, crowd_accepted, &c, &one, why, sizeof why),
                   WR_E_IO);
  assert_true(strlen(why) > 0);
  crowd_leave(&c);
  close(last);
  for (int i = 0; i < 20; i++) close(fds[i]);
  wr_listen_close(three);
  world_close(&w);
}

static void taken_address(void **state) {
  (void)state;
  struct wr_addr any, to;
  char why[256];
  int fd, mine = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
  socklen_t len = sizeof in;
  assert_int_equal(bind(mine, (struct sockaddr *)&in, sizeof in), 0);
  assert_int_equal(listen(mine, 1), 0);
  assert_int_equal(getsockname(mine, (struct sockaddr *)&in, &len), 0);
  assert_int_equal(wr_addr_literal(WR_SPAN("127.0.0.1"), ntohs(in.sin_port), &to), WR_OK);
  assert_int_equal(wr_listen_bind(&to, &fd, &any, why, sizeof why), WR_E_IO);
  assert_non_null(strstr(why, "cannot bind 127.0.0.1:"));
  assert_non_null(strstr(why, "address already in use"));
  assert_int_equal(fd, -1);
  close(mine);
}

/* A file that a dead process left is no obstacle; one that is in use is. */
static void stale_unix(void **state) {
  (void)state;
  struct world w;
  struct crowd c = { .n = 0 };
  struct wr_addr addr, bound;
  struct wr_listen *one, *two;
  char text[64], why[256];
  int fd;
  world_open(&w, 1 << 20);
  snprintf(text, sizeof text, "unix:/tmp/weir-stale-%d.sock", (int)getpid());
  assert_int_equal(wr_addr_parse(wr_span_str(text), &addr), WR_OK);
  assert_int_equal(wr_listen_bind(&addr, &fd, &bound, why, sizeof why), WR_OK);
  close(fd);
  assert_int_equal(access(text + 5, F_OK), 0);
  assert_int_equal(wr_listen_open(w.loop, &addr, NULL, crowd_accepted, &c, &one, why, sizeof why),
                   WR_OK);
  assert_int_equal(wr_listen_open(w.loop, &addr, NULL, crowd_accepted, &c, &two, why, sizeof why),
                   WR_E_IO);
  int client = plain_connect(&addr);
  TURN_UNTIL(&w, c.n >= 1);
  crowd_leave(&c);
  close(client);
  wr_listen_close(one);
  world_close(&w);
}

/* Without descriptors the listener pauses; who waits in the kernel's queue is served afterwards. */
static void no_descriptors(void **state) {
  (void)state;
  struct world w;
  struct crowd c = { .n = 0 };
  struct wr_addr any;
  struct wr_listen *listen;
  struct rlimit old, low;
  world_open(&w, 1 << 20);
  assert_int_equal(wr_addr_parse(WR_SPAN("127.0.0.1:0"), &any), WR_OK);
  assert_int_equal(wr_listen_open(w.loop, &any, NULL, crowd_accepted, &c, &listen, NULL, 0), WR_OK);
  int a = plain_connect(wr_listen_addr(listen)), b = plain_connect(wr_listen_addr(listen));
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
  low = old;
  low.rlim_cur = 3;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
  uint64_t from_ms = clock_ms();
  TURN_UNTIL(&w, wr_loop_stats(w.loop)->accept_errors > 0);
  assert_int_equal(c.n, 0);
  uint64_t turns = wr_loop_stats(w.loop)->turns;
  wr_loop_turn(w.loop, 50); /* it pauses: the loop doesn't spin */
  assert_true(wr_loop_stats(w.loop)->turns - turns <= 2);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
  TURN_UNTIL(&w, c.n == 2);
  assert_true(clock_ms() - from_ms >= 100);
  crowd_leave(&c);
  close(a);
  close(b);
  wr_listen_close(listen);
  world_close(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(both_families),  cmocka_unit_test(many_at_once),
    cmocka_unit_test(shared_address), cmocka_unit_test(taken_address),
    cmocka_unit_test(stale_unix),     cmocka_unit_test(no_descriptors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

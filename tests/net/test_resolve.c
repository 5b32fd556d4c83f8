#include "net/world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

#include "net/resolve.h"

/* A name server for the names of these tests: "v4", "both", "none", and "silent", which gets no
 * answer. */
struct dns {
  int fd;
  uint16_t port;
  unsigned asked;
  uint32_t ttl_s;
};

static void dns_open(struct dns *d) {
  struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
  socklen_t len = sizeof in;
  d->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(d->fd, (struct sockaddr *)&in, sizeof in), 0);
  assert_int_equal(getsockname(d->fd, (struct sockaddr *)&in, &len), 0);
  d->port = ntohs(in.sin_port);
  d->asked = 0;
  d->ttl_s = 60;
}

static size_t put_answer(uint8_t *at, uint16_t type, uint32_t ttl_s, uint8_t last) {
  size_t len = type == 1 ? 4 : 16;
  uint8_t head[12] = { 0xc0, 12,          0, (uint8_t)type,         0,
                       1,    0,           0, (uint8_t)(ttl_s >> 8), (uint8_t)ttl_s,
                       0,    (uint8_t)len };
  memcpy(at, head, 12);
  memset(at + 12, 0, len);
  if (type == 1) at[12] = 192, at[14] = 2;
  else at[12] = 0x20, at[13] = 0x01, at[14] = 0x0d, at[15] = 0xb8;
  at[12 + len - 1] = last;
  return 12 + len;
}

static void dns_serve(struct dns *d) {
  uint8_t m[512];
  struct sockaddr_in from;
  socklen_t from_len = sizeof from;
  ssize_t n;
  while ((n = recvfrom(d->fd, m, sizeof m - 128, 0, (struct sockaddr *)&from, &from_len)) > 16) {
    size_t name = 12, end = 12;
    while (m[end]) end += m[end] + 1u;
    uint16_t type = m[end + 2];
    size_t len = end + 5;
    bool v4 = memcmp(m + name, "\2v4", 3) == 0, both = memcmp(m + name, "\4both", 5) == 0;
    d->asked++;
    if (memcmp(m + name, "\6silent", 7) == 0) continue;
    m[2] = 0x81;
    m[3] = v4 || both ? 0x80 : 0x83;
    m[7] = m[9] = m[11] = 0;
    if (type == 1 && (v4 || both))
      for (uint8_t i = 1; i <= 3; i++) len += put_answer(m + len, 1, d->ttl_s, i), m[7]++;
    if (type == 28 && both)
      for (uint8_t i = 1; i <= 2; i++) len += put_answer(m + len, 28, d->ttl_s, i), m[7]++;
    assert_int_equal(sendto(d->fd, m, len, 0, (struct sockaddr *)&from, from_len), (ssize_t)len);
  }
}

struct asker {
  unsigned calls;
  enum wr_err err;
  struct wr_addr addrs[WR_RESOLVE_MAX];
  size_t n;
  char why[128];
};

static void asker_answer(void *ctx, enum wr_err err, const struct wr_addr *addrs, size_t n,
                         const char *why) {
  struct asker *a = ctx;
  a->calls++;
  a->err = err;
  a->n = n;
  memcpy(a->addrs, addrs, n * sizeof addrs[0]);
  snprintf(a->why, sizeof a->why, "%s", why);
}

struct scene {
  struct world w;
  struct dns dns;
  struct wr_resolver *resolver;
};

static void scene_open(struct scene *s) {
  char servers[64];
  world_open(&s->w, 1 << 20);
  dns_open(&s->dns);
  assert_int_equal(wr_resolver_new(s->w.loop, &s->resolver), WR_OK);
  snprintf(servers, sizeof servers, "127.0.0.1:%u", s->dns.port);
  assert_int_equal(wr_resolver_set_servers(s->resolver, servers), WR_OK);
}

static void scene_close(struct scene *s) {
  wr_resolver_free(s->resolver);
  close(s->dns.fd);
  world_close(&s->w);
}

#define SERVE_UNTIL(s, cond) TURN_UNTIL(&(s)->w, (dns_serve(&(s)->dns), (cond)))

static void ask(struct scene *s, const char *name, struct asker *a, struct wr_resolve **look_up) {
  memset(a, 0, sizeof *a);
  enum wr_err err =
      wr_resolve_start(s->resolver, name, 443, asker_answer, a, a->addrs, &a->n, look_up);
  if (err) a->err = err;
}

static void literals(void **state) {
  (void)state;
  struct scene s;
  struct asker a;
  struct wr_resolve *look_up;
  scene_open(&s);
  ask(&s, "192.0.2.7", &a, &look_up);
  assert_int_equal(a.n, 1);
  assert_null(look_up);
  assert_int_equal(wr_addr_port(&a.addrs[0]), 443);
  ask(&s, "::1", &a, &look_up);
  assert_int_equal(a.n, 1);
  assert_true(wr_addr_is_loopback(&a.addrs[0]));
  char name[300];
  memset(name, 'a', 299);
  name[299] = '\0';
  ask(&s, name, &a, &look_up);
  assert_int_equal(a.err, WR_E_RESOLVE);
  ask(&s, "", &a, &look_up);
  assert_int_equal(a.err, WR_E_RESOLVE);
  scene_close(&s);
}

static void hosts_file(void **state) {
  (void)state;
  struct scene s;
  struct asker a;
  struct wr_resolve *look_up;
  scene_open(&s);
  ask(&s, "localhost", &a, &look_up);
  SERVE_UNTIL(&s, a.n > 0 || a.calls > 0);
  assert_int_equal(a.err, WR_OK);
  assert_true(a.n > 0);
  for (size_t i = 0; i < a.n; i++) assert_true(wr_addr_is_loopback(&a.addrs[i]));
  assert_int_equal(s.dns.asked, 0);
  scene_close(&s);
}

static void answers_and_cache(void **state) {
  (void)state;
  struct scene s;
  struct asker a, b;
  struct wr_resolve *look_up;
  char text[128];
  scene_open(&s);
  ask(&s, "both.test", &a, &look_up);
  assert_non_null(look_up);
  assert_int_equal(a.n, 0);
  ask(&s, "both.test", &b, &look_up); /* joins the question that is under way */
  SERVE_UNTIL(&s, a.calls && b.calls);
  assert_int_equal(a.err, WR_OK);
  assert_int_equal(a.n, 5);
  assert_int_equal(b.n, 5);
  assert_int_equal(s.dns.asked, 2);
  unsigned v6 = 0;
  for (size_t i = 0; i < 4; i++) { /* they take turns while both have some */
    bool six = wr_addr_format(&a.addrs[i], text, sizeof text)[0] == '[';
    v6 += six;
    assert_int_equal(wr_addr_port(&a.addrs[i]), 443);
    if (i) assert_true(six != (wr_addr_format(&a.addrs[i - 1], text, sizeof text)[0] == '['));
  }
  assert_int_equal(v6, 2);
  ask(&s, "BOTH.test", &a, &look_up);
  assert_int_equal(a.n, 5);
  assert_null(look_up);
  assert_int_equal(s.dns.asked, 2);
  scene_close(&s);
}

static void short_ttl(void **state) {
  (void)state;
  struct scene s;
  struct asker a;
  struct wr_resolve *look_up;
  scene_open(&s);
  s.dns.ttl_s = 0; /* counts as one second */
  ask(&s, "v4.test", &a, &look_up);
  SERVE_UNTIL(&s, a.calls);
  assert_int_equal(a.n, 3);
  uint64_t from_ms = clock_ms();
  ask(&s, "v4.test", &a, &look_up);
  assert_int_equal(a.n, 3);
  uint64_t asked = s.dns.asked;
  TURN_UNTIL(&s.w, clock_ms() >= from_ms + 1020);
  wr_loop_turn(s.w.loop, 0);
  ask(&s, "v4.test", &a, &look_up);
  assert_int_equal(a.n, 0);
  SERVE_UNTIL(&s, a.calls);
  assert_int_equal(a.n, 3);
  assert_true(s.dns.asked > asked);
  scene_close(&s);
}

static void no_such_name(void **state) {
  (void)state;
  struct scene s;
  struct asker a;
  struct wr_resolve *look_up;
  scene_open(&s);
  ask(&s, "none.test", &a, &look_up);
  SERVE_UNTIL(&s, a.calls);
  assert_int_equal(a.err, WR_E_RESOLVE);
  assert_int_equal(a.n, 0);
  assert_string_equal(a.why, "the name does not exist");
  unsigned asked = s.dns.asked;
  ask(&s, "none.test", &a, &look_up); /* known not to exist, for a second */
  assert_int_equal(a.err, WR_E_RESOLVE);
  assert_null(look_up);
  assert_int_equal(s.dns.asked, asked);
  scene_close(&s);
}

static void cancel(void **state) {
  (void)state;
  struct scene s;
  struct asker a, b, c;
  struct wr_resolve *one, *two, *three;
  scene_open(&s);
  ask(&s, "v4.test", &a, &one);
  ask(&s, "v4.test", &b, &two);
  wr_resolve_cancel(one);
  SERVE_UNTIL(&s, b.calls);
  assert_int_equal(a.calls, 0);
  assert_int_equal(b.n, 3);
  ask(&s, "silent.test", &c, &three);
  SERVE_UNTIL(&s, s.dns.asked > 2);
  assert_int_equal(c.calls, 0);
  scene_close(&s); /* with a question under way */
  assert_int_equal(c.calls, 0);
}

static void bounded(void **state) {
  (void)state;
  struct scene s;
  struct asker a;
  struct wr_resolve *look_up;
  char name[32];
  scene_open(&s);
  size_t most = 0;
  for (unsigned i = 0; i < 400; i++) {
    snprintf(name, sizeof name, "v4.n%u.test", i);
    ask(&s, name, &a, &look_up);
    SERVE_UNTIL(&s, a.calls);
    assert_int_equal(a.n, 3);
    if (i == 270) most = wr_heap_live_bytes(WR_HEAP_NET);
  }
  assert_true(wr_heap_live_bytes(WR_HEAP_NET) < most + 4096);
  ask(&s, "v4.n399.test", &a, &look_up);
  assert_int_equal(a.n, 3);
  ask(&s, "v4.n0.test", &a, &look_up);
  assert_int_equal(a.n, 0);
  scene_close(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(literals),          cmocka_unit_test(hosts_file),
    cmocka_unit_test(answers_and_cache), cmocka_unit_test(short_ttl),
    cmocka_unit_test(no_such_name),      cmocka_unit_test(cancel),
    cmocka_unit_test(bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

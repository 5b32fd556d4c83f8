/* Groups and peers, the shelf of idle connections, and dialing through a name with several
 * addresses. */
#include "net/world.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "upstream/dial.h"
#include "upstream/pick.h"

/* ---- round robin */

#define NO_URL(n)                                                                                  \
  { .text = "http://" n, .host = "127.0.0.1", .authority = n, .base_path = "", .port = 1 }
static const struct wr_conf_url urls_a[] = { NO_URL("a0"), NO_URL("a1"), NO_URL("a2") };
static const struct wr_conf_url urls_b[] = { NO_URL("b0") };
static const struct wr_conf_upstream upstreams[] = {
  { .name = "a",
    .kind = WR_KIND_OPENAI,
    .urls = urls_a,
    .url_count = 3,
    .keep_idle = 2,
    .keep_idle_ms = 50 },
  { .name = "b",
    .kind = WR_KIND_OPENAI,
    .urls = urls_b,
    .url_count = 1,
    .keep_idle = 2,
    .keep_idle_ms = 50 },
};
static const uint32_t only_a[] = { 0 }, only_b[] = { 1 }, both[] = { 0, 1 };
static const struct wr_conf_group groups[] = {
  { .name = "a", .members = only_a, .member_count = 1, .attempts = 1 },
  { .name = "b", .members = only_b, .member_count = 1, .attempts = 1 },
  { .name = "both", .members = both, .member_count = 2, .attempts = 2 },
};
static const struct wr_conf conf = {
  .upstreams = upstreams, .upstream_count = 2, .groups = groups, .group_count = 3
};

static struct wr_upstreams *set_open(struct world *w, struct wr_resolver **resolver) {
  struct wr_upstreams *set;
  char why[128] = "";
  assert_int_equal(wr_resolver_new(w->loop, resolver), WR_OK);
  assert_int_equal(wr_upstreams_new(w->loop, *resolver, &conf, NULL, &set, why, sizeof why), WR_OK);
  return set;
}

static void set_close(struct world *w, struct wr_upstreams *set, struct wr_resolver *resolver) {
  wr_upstreams_free(set);
  wr_resolver_free(resolver);
  world_close(w);
  assert_int_equal(wr_heap_live_count(WR_HEAP_UPSTREAM), 0);
}

static struct wr_peer *pick_first(struct wr_upstreams *set, uint32_t group, uint64_t tried) {
  const struct wr_choice choice = { .tried = tried, .any = true };
  return wr_group_choose(set, group, &choice);
}

static void picks(struct wr_upstreams *set, uint32_t group, uint64_t tried, const char *want) {
  struct wr_peer *peer = pick_first(set, group, tried);
  if (!want) {
    assert_null(peer);
    return;
  }
  assert_non_null(peer);
  assert_string_equal(wr_peer_authority(peer), want);
  wr_peer_put(peer);
}

static void round_robin(void **state) {
  (void)state;
  struct world w;
  struct wr_resolver *resolver;
  world_open(&w, 4u << 20);
  struct wr_upstreams *set = set_open(&w, &resolver);
  static const char *const turns[] = { "a0", "a1", "a2", "a0" };
  for (unsigned i = 0; i < 4; i++) picks(set, 0, 0, turns[i]);
  picks(set, 1, 0, "b0");
  picks(set, 1, 0, "b0");
  picks(set, 1, 1u << 3, NULL);
  static const char *const shared[] = { "a1", "b0", "a2", "b0", "a0" };
  for (unsigned i = 0; i < 5; i++) picks(set, 2, 0, shared[i]);
  picks(set, 2, 1u << 3, "a1");
  picks(set, 2, 1u << 0 | 1u << 1 | 1u << 2, "b0");
  picks(set, 2, 15, NULL);
  struct wr_peer *held = pick_first(set, 0, 0);
  assert_int_equal(held->streams, 1);
  wr_peer_put(held);
  assert_int_equal(held->streams, 0);
  set_close(&w, set, resolver);
}

/* ---- the shelf */

struct many {
  struct side side[4];
  unsigned n;
};
static void many_accepted(void *ctx, struct wr_conn *take_conn) {
  struct many *m = ctx;
  assert_in_range(m->n, 0, 3);
  side_init(&m->side[m->n]);
  side_accepted(&m->side[m->n++], take_conn);
}

static struct wr_conn *dialed(struct world *w, struct many *m, struct wr_listen *l) {
  struct side dialer;
  unsigned n = m->n;
  side_init(&dialer);
  assert_int_equal(wr_conn_dial(w->loop, wr_listen_addr(l), NULL, NULL, &dialer.task, &dialer.conn),
                   WR_OK);
  TURN_UNTIL(w, settled(&dialer) && m->n > n);
  wr_loop_unmark(&dialer.task);
  return dialer.conn;
}

static void shelf(void **state) {
  (void)state;
  struct world w;
  struct many m = { .n = 0 };
  struct wr_listen *l;
  struct wr_addr any;
  char why[128];
  world_open(&w, 4u << 20);
  assert_int_equal(wr_addr_parse(WR_SPAN("127.0.0.1:0"), &any), WR_OK);
  assert_int_equal(wr_listen_open(w.loop, &any, NULL, many_accepted, &m, &l, why, sizeof why),
                   WR_OK);
  struct wr_shelf s;
  wr_shelf_init(&s, w.loop, 2, 60000);
  assert_null(wr_shelf_take(&s));
  struct wr_conn *a = dialed(&w, &m, l), *b = dialed(&w, &m, l), *c = dialed(&w, &m, l);
  wr_shelf_put(&s, a);
  wr_shelf_put(&s, b);
  wr_shelf_put(&s, c); /* no room: closed */
  assert_int_equal(s.count, 2);
  assert_ptr_equal(wr_shelf_take(&s), b); /* the youngest first */
  wr_shelf_put(&s, b);
  side_abort(&m.side[1]); /* b's other side goes: it leaves the shelf of itself */
  TURN_UNTIL(&w, s.count == 1);
  assert_int_equal(s.dropped, 1);
  assert_int_equal(wr_conn_write_copy(m.side[0].conn, WR_SPAN("what?")),
                   WR_OK); /* so does one that speaks unasked */
  assert_int_equal(wr_conn_flush(m.side[0].conn), WR_OK);
  TURN_UNTIL(&w, s.count == 0);
  assert_null(wr_shelf_take(&s));
  wr_shelf_fini(&s);
  wr_shelf_init(&s, w.loop, 2, 20);
  wr_shelf_put(&s, dialed(&w, &m, l));
  TURN_UNTIL(&w, s.count == 0);
  assert_int_equal(s.expired, 1);
  wr_shelf_fini(&s);
  for (unsigned i = 0; i < m.n; i++) side_abort(&m.side[i]);
  wr_listen_close(l);
  world_close(&w);
  assert_int_equal(wr_heap_live_count(WR_HEAP_UPSTREAM), 0);
}

/* ---- dialing */

/* A name server on loopback that answers any A question with 127.0.0.2 and 127.0.0.1, and nothing
 * else. */
struct names {
  struct wr_task task;
  int fd;
  uint16_t port;
};

static void names_open(struct names *n) {
  struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  socklen_t len = sizeof at;
  n->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  assert_true(n->fd >= 0);
  assert_int_equal(bind(n->fd, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(getsockname(n->fd, (struct sockaddr *)&at, &len), 0);
  n->port = ntohs(at.sin_port);
}

static bool names_serve(struct names *n) {
  uint8_t q[512];
  struct sockaddr_in from;
  socklen_t len = sizeof from;
  ssize_t got = recvfrom(n->fd, q, sizeof q - 64, 0, (struct sockaddr *)&from, &len);
  if (got < 17) return false;
  size_t end = 12;
  while (end < (size_t)got && q[end]) end += q[end] + 1u;
  bool a = q[end + 2] == 1;
  size_t at = end + 5;
  q[2] = 0x81;
  q[3] = 0x80;
  q[6] = q[8] = q[9] = q[10] = q[11] = 0;
  q[7] = a ? 2 : 0;
  for (unsigned i = 0; a && i < 2; i++) {
    const uint8_t rr[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, (uint8_t)(2 - i) };
    memcpy(q + at, rr, sizeof rr);
    at += sizeof rr;
  }
  (void)!sendto(n->fd, q, at, 0, (struct sockaddr *)&from, len);
  return true;
}

static void dial_name(void **state) {
  (void)state;
  struct world w;
  struct many m = { .n = 0 };
  struct wr_listen *l;
  struct wr_addr any;
  struct wr_resolver *resolver;
  struct names names;
  char text[128];
  world_open(&w, 4u << 20);
  names_open(&names);
  assert_int_equal(wr_addr_parse(WR_SPAN("127.0.0.1:0"), &any), WR_OK);
  assert_int_equal(wr_listen_open(w.loop, &any, NULL, many_accepted, &m, &l, text, sizeof text),
                   WR_OK);
  struct wr_conf_url url = NO_URL("x");
  url.host = "two.example";
  url.port = wr_addr_port(wr_listen_addr(l));
  struct wr_conf_upstream up = upstreams[0];
  up.urls = &url;
  up.url_count = 1;
  struct wr_conf one = conf;
  one.upstreams = &up;
  one.upstream_count = 1;
  one.group_count = 1;
  struct wr_upstreams *set;
  assert_int_equal(wr_resolver_new(w.loop, &resolver), WR_OK);
  snprintf(text, sizeof text, "127.0.0.1:%u", names.port);
  assert_int_equal(wr_resolver_set_servers(resolver, text), WR_OK);
  assert_int_equal(wr_upstreams_new(w.loop, resolver, &one, NULL, &set, text, sizeof text), WR_OK);
  struct wr_peer *peer = pick_first(set, 0, 0);
  struct side owner;
  side_init(&owner);
  owner.hold = true;
  for (unsigned round = 0; round < 2; round++) { /* the second time from the cache */
    struct wr_dial dial;
    struct wr_conn *conn = NULL;
    enum wr_err err = WR_E_AGAIN;
    wr_dial_start(&dial, set, peer, &owner.task, true);
    TURN_UNTIL(&w, (names_serve(&names), (err = wr_dial_poll(&dial, &conn)) != WR_E_AGAIN));
    assert_int_equal(err, WR_OK);
    assert_int_equal(dial.addr_next, round == 0 ? 2 : 1); /* the first refused: it comes last now */
    assert_false(dial.reused);
    wr_conn_close(conn);
    wr_dial_cancel(&dial);
  }
  wr_listen_close(l); /* now both refuse */
  struct wr_dial dial;
  struct wr_conn *conn = NULL;
  enum wr_err err = WR_E_AGAIN;
  wr_dial_start(&dial, set, peer, &owner.task, true);
  TURN_UNTIL(&w, (err = wr_dial_poll(&dial, &conn)) != WR_E_AGAIN);
  assert_int_equal(err, WR_E_CONNECT);
  assert_null(conn);
  assert_true(strlen(dial.why) > 0);
  wr_dial_cancel(&dial);
  url.host = "other.example"; /* a look-up that is given up */
  wr_dial_start(&dial, set, peer, &owner.task, true);
  assert_int_equal(wr_dial_poll(&dial, &conn), WR_E_AGAIN);
  wr_dial_cancel(&dial);
  wr_dial_cancel(&dial);
  wr_peer_put(peer);
  wr_loop_unmark(&owner.task);
  for (unsigned i = 0; i < m.n; i++) side_abort(&m.side[i]);
  close(names.fd);
  set_close(&w, set, resolver);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(round_robin),
    cmocka_unit_test(shelf),
    cmocka_unit_test(dial_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

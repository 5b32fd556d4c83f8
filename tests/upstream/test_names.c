/* The addresses of a name as peers: they come and go while streams run, over two workers, over a
 * reload, and while the name servers fail. Two sets on one loop, each with its own resolver, stand
 * for two workers; a name server on loopback answers; the clock is held. */
#include "net/world.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "upstream/note.h"
#include "upstream/set_priv.h"

static const struct wr_conf_url urls[] = {
  { .text = "http://many", .host = "many.example", .authority = "many", .base_path = "",
    .port = 9 },
  { .text = "http://one", .host = "127.0.0.9", .authority = "one", .base_path = "", .port = 9 },
};
static const uint32_t only[] = { 0 };
static const struct wr_conf_group group = { .name = "a", .members = only, .member_count = 1 };

/* Answers A questions with 127.0.0.x for each x, in another order each time; with none it says that
 * there is no such name. */
struct names {
  int fd;
  uint16_t port;
  const char *last; /* borrowed: static */
  unsigned asked;
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

static void names_serve(struct names *n) {
  uint8_t q[1024];
  struct sockaddr_in from;
  socklen_t len = sizeof from;
  ssize_t got;
  while ((got = recvfrom(n->fd, q, 512, 0, (struct sockaddr *)&from, &len)) > 16) {
    size_t end = 12, count = strlen(n->last);
    while (end < (size_t)got && q[end]) end += q[end] + 1u;
    bool a = q[end + 2] == 1;
    size_t at = end + 5;
    q[2] = 0x81;
    q[3] = count ? 0x80 : 0x83;
    q[6] = q[8] = q[9] = q[10] = q[11] = 0;
    q[7] = a ? (uint8_t)count : 0;
    for (size_t i = 0; a && i < count; i++) {
      uint8_t last = (uint8_t)(n->last[(i + n->asked) % count] - '0');
      const uint8_t rr[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, last };
      memcpy(q + at, rr, sizeof rr);
      at += sizeof rr;
    }
    n->asked++;
    (void)!sendto(n->fd, q, at, 0, (struct sockaddr *)&from, len);
  }
}

struct scene {
  struct world w;
  struct names names;
  struct wr_conf_upstream up;
  struct wr_conf conf;
  struct wr_resolver *resolver[2];
  struct wr_peer_book *book;
  struct wr_upstreams *set[2];
};

static struct wr_upstreams *set_open(struct scene *s, unsigned worker) {
  struct wr_upstreams *set;
  char why[128] = "";
  assert_int_equal(wr_upstreams_new(s->w.loop, s->resolver[worker], &s->conf, NULL, &set, why,
                                    sizeof why), WR_OK);
  assert_int_equal(wr_upstreams_join(set, s->book, NULL), WR_OK);
  wr_rand_init(&set->rand, worker + 1);
  return set;
}

/* The last bytes of the addresses that a worker uses, in order; "-" for the name itself. */
static const char *used(const struct scene *s, unsigned worker) {
  static char text[32];
  size_t n = 0;
  for (char c = '-'; c <= '9'; c++)
    for (size_t i = 0; i < s->set[worker]->peer_count; i++) {
      const struct wr_peer *p = &s->set[worker]->peers[i];
      if (!p->live) continue;
      const char *at = p->state->address;
      char last = at[0] ? at[strcspn(at, ":") - 1] : p->url == &urls[0] ? '-' : '9';
      if (last == c) text[n++] = c;
    }
  text[n] = '\0';
  return text;
}

static bool both_use(struct scene *s, const char *want) {
  names_serve(&s->names);
  for (unsigned i = 0; i < 2; i++) wr_upstreams_tick(s->set[i]);
  return strcmp(used(s, 0), want) == 0 && strcmp(used(s, 1), want) == 0;
}
#define UNTIL_USED(s, want) TURN_UNTIL(&(s)->w, both_use((s), (want)))

static void scene_open(struct scene *s, enum wr_balance balance, size_t url_count) {
  char text[64];
  *s = (struct scene){ .names.last = "12" };
  world_open(&s->w, 4u << 20);
  names_open(&s->names);
  s->up = (struct wr_conf_upstream){
    .name = "a", .urls = urls, .url_count = url_count, .balance = balance, .keep_idle = 2,
    .breaker = { .failures = 3, .window_ms = 10000, .open_ms = 5000, .open_max_ms = 20000 }
  };
  s->conf = (struct wr_conf){
    .upstreams = &s->up, .upstream_count = 1, .groups = &group, .group_count = 1
  };
  snprintf(text, sizeof text, "127.0.0.1:%u", s->names.port);
  assert_int_equal(wr_peer_book_new(&s->book), WR_OK);
  wr_loop_hold_clock(s->w.loop);
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(wr_resolver_new(s->w.loop, &s->resolver[i]), WR_OK);
    assert_int_equal(wr_resolver_set_servers(s->resolver[i], text), WR_OK);
    s->set[i] = set_open(s, i);
    assert_string_equal(used(s, i), url_count == 2 ? "-9" : "-");
  }
}

static void scene_close(struct scene *s) {
  for (unsigned i = 0; i < 2; i++) wr_upstreams_free(s->set[i]);
  for (unsigned i = 0; i < 4; i++) wr_loop_turn(s->w.loop, 0);
  wr_peer_book_free(s->book);
  for (unsigned i = 0; i < 2; i++) wr_resolver_free(s->resolver[i]);
  close(s->names.fd);
  world_close(&s->w);
  assert_int_equal(wr_heap_live_count(WR_HEAP_UPSTREAM), 0);
}

static struct wr_peer *at(const struct scene *s, unsigned worker, char last) {
  char want[32];
  snprintf(want, sizeof want, "127.0.0.%c:9", last);
  for (size_t i = 0; i < s->set[worker]->peer_count; i++) {
    struct wr_peer *p = &s->set[worker]->peers[i];
    if (p->state && strcmp(p->state->address, want) == 0) return p;
  }
  return NULL;
}

static struct wr_peer *chosen(struct scene *s, unsigned worker, uint64_t hash) {
  struct wr_choice choice = { .hash = hash, .any = true };
  struct wr_peer *peer = wr_group_choose(s->set[worker], 0, &choice);
  assert_non_null(peer);
  return peer;
}

static void minute(struct scene *s) { wr_loop_advance(s->w.loop, 61000000); }

static void come_and_go(void **state) {
  (void)state;
  struct scene s;
  scene_open(&s, WR_BALANCE_ROUND_ROBIN, 2);
  struct wr_peer *early = chosen(&s, 0, 0); /* before the name is known */
  assert_int_equal(early->addr.len, 0);
  UNTIL_USED(&s, "129");
  assert_true(early->state && !early->live);
  wr_peer_put(early);
  assert_true(both_use(&s, "129"));
  assert_null(early->state);
  struct wr_peer *two = at(&s, 0, '2');
  assert_ptr_equal(two->state, at(&s, 1, '2')->state);
  assert_ptr_not_equal(two->state, at(&s, 1, '1')->state);
  wr_peer_hold(two);
  unsigned asked = s.names.asked;
  assert_true(both_use(&s, "129"));
  assert_int_equal(s.names.asked, asked); /* not before its time */
  s.names.last = "13";
  minute(&s);
  UNTIL_USED(&s, "139");
  for (unsigned i = 0; i < 30; i++) {
    struct wr_peer *p = chosen(&s, i % 2, 0);
    assert_ptr_not_equal(p, two);
    wr_peer_put(p);
  }
  assert_ptr_equal(at(&s, 0, '2'), two); /* its stream goes on */
  assert_null(at(&s, 1, '2'));
  assert_int_equal(atomic_load(&two->state->streams), 1);
  assert_int_equal(two->shelf.max, 0);
  s.names.last = "132";
  minute(&s);
  UNTIL_USED(&s, "1239");
  assert_ptr_equal(at(&s, 0, '2'), two); /* and is a peer again, the same */
  assert_int_equal(two->shelf.max, 2);
  s.names.last = "3";
  minute(&s);
  UNTIL_USED(&s, "39");
  wr_peer_put(two);
  assert_true(both_use(&s, "39"));
  assert_null(two->state);
  scene_close(&s);
}

static void failures_are_shared(void **state) {
  (void)state;
  struct scene s;
  scene_open(&s, WR_BALANCE_ROUND_ROBIN, 1);
  UNTIL_USED(&s, "12");
  uint64_t now = wr_loop_now_ms(s.w.loop);
  struct wr_peer *one = at(&s, 0, '1');
  for (unsigned i = 0; i < 3; i++)
    wr_peer_note(one, wr_peer_epoch(one), WR_NOTE_CONNECT, 0, 0, now);
  for (unsigned i = 0; i < 10; i++) {
    struct wr_peer *p = chosen(&s, i % 2, 0);
    assert_ptr_equal(p, at(&s, i % 2, '2'));
    wr_peer_put(p);
  }
  /* The other address of a name, unless it was tried or is left alone. */
  struct wr_peer *two = at(&s, 1, '2');
  struct wr_peer *other = wr_peer_sibling(at(&s, 1, '1'), 0);
  assert_ptr_equal(other, two);
  wr_peer_put(other);
  assert_null(wr_peer_sibling(at(&s, 1, '1'), UINT64_C(1) << two->index));
  assert_null(wr_peer_sibling(two, 0));
  /* A reload when the answer's time is over: the addresses of before, and how they stand. */
  minute(&s);
  struct wr_upstreams *next = set_open(&s, 0);
  struct wr_peer_state *was = at(&s, 0, '1')->state;
  wr_upstreams_retire(s.set[0]);
  wr_upstreams_free(s.set[0]);
  s.set[0] = next;
  assert_string_equal(used(&s, 0), "12");
  assert_ptr_equal(at(&s, 0, '1')->state, was);
  UNTIL_USED(&s, "12");
  scene_close(&s);
}

static void names_fail(void **state) {
  (void)state;
  struct scene s;
  scene_open(&s, WR_BALANCE_RANDOM, 1);
  UNTIL_USED(&s, "12");
  struct wr_peer_state *name;
  assert_int_equal(wr_peer_state_take(s.book, "a", "http://many", "", &name), WR_OK);
  assert_int_equal(atomic_load(&name->name_changes), 2);
  s.names.last = "";
  for (unsigned i = 0; i < 9; i++) {
    minute(&s);
    uint64_t before = atomic_load(&name->name_failures);
    TURN_UNTIL(&s.w, (assert_true(both_use(&s, "12")), atomic_load(&name->name_failures) > before));
  }
  minute(&s);
  minute(&s);
  for (unsigned i = 0; strcmp(used(&s, 0), "-") || strcmp(used(&s, 1), "-"); i++) {
    assert_in_range(i, 0, 20);
    wr_loop_advance(s.w.loop, 9000000);
    uint64_t before = atomic_load(&name->name_failures);
    TURN_UNTIL(&s.w, (both_use(&s, "-"), atomic_load(&name->name_failures) >= before + 2));
  }
  s.names.last = "4";
  minute(&s);
  UNTIL_USED(&s, "4");
  wr_peer_state_give(s.book, name);
  scene_close(&s);
}

static void hash_stays(void **state) {
  (void)state;
  struct scene s;
  char was[300];
  unsigned moved = 0, gone = 0;
  scene_open(&s, WR_BALANCE_HASH, 1);
  s.names.last = "1234";
  UNTIL_USED(&s, "1234");
  for (unsigned round = 0; round < 2; round++) {
    for (unsigned i = 0; i < sizeof was; i++) {
      struct wr_peer *p = chosen(&s, i % 2, (i + 1) * UINT64_C(0x9e3779b97f4a7c15));
      char now = p->state->address[8];
      wr_peer_put(p);
      if (round == 0) was[i] = now;
      else if (was[i] == '2') gone++;
      else moved += was[i] != now;
    }
    s.names.last = "143";
    minute(&s);
    UNTIL_USED(&s, "134");
  }
  assert_in_range(gone, 30, 130);
  assert_int_equal(moved, 0);
  scene_close(&s);
}

static void fair_start(void **state) {
  (void)state;
  struct scene s;
  struct wr_peer *held[100];
  scene_open(&s, WR_BALANCE_LEAST_STREAMS, 1);
  UNTIL_USED(&s, "12");
  minute(&s);
  for (unsigned i = 0; i < 40; i++) held[i] = chosen(&s, i % 2, 0);
  s.names.last = "123";
  UNTIL_USED(&s, "123");
  for (unsigned i = 40; i < 52; i++) held[i] = chosen(&s, i % 2, 0);
  assert_in_range(atomic_load(&at(&s, 0, '3')->state->streams), 3, 6); /* not all of them */
  wr_loop_advance(s.w.loop, 11000000);
  for (unsigned i = 52; i < 60; i++) held[i] = chosen(&s, i % 2, 0);
  assert_in_range(atomic_load(&at(&s, 0, '3')->state->streams), 11, 14);
  for (unsigned i = 0; i < 60; i++) wr_peer_put(held[i]);
  scene_close(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(come_and_go), cmocka_unit_test(failures_are_shared),
    cmocka_unit_test(names_fail),  cmocka_unit_test(hash_stays),
    cmocka_unit_test(fair_start),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

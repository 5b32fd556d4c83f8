/* Peers as the workers of a process see them together: what one sees fail the other leaves alone,
 * the floor, the last of a group, retry-after, and checks. Two sets on one loop stand for two
 * workers; the clock is held. */
#include "net/world.h"

#include <stdio.h>

#include "base/rand.h"
#include "upstream/note.h"
#include "upstream/set_priv.h"

#define NO_URL(n)                                                                                  \
  { .text = "http://" n, .host = "127.0.0.1", .authority = n, .base_path = "", .port = 1 }
#define BREAKER                                                                                    \
  { .failures = 3, .rate_permille = 500, .least = 20, .window_ms = 10000, .open_ms = 5000,         \
    .open_max_ms = 20000, .busy_max_ms = 60000, .floor_permille = 500 }
static const struct wr_conf_url urls[] = { NO_URL("a0"), NO_URL("a1"), NO_URL("a2"), NO_URL("a3") };
static const struct wr_conf_url other[] = { NO_URL("b0") };
static const struct wr_conf_upstream upstreams[] = {
  { .name = "a", .urls = urls, .url_count = 4, .breaker = BREAKER },
  { .name = "b", .urls = other, .url_count = 1, .breaker = BREAKER },
};
static const uint32_t only_a[] = { 0 }, only_b[] = { 1 }, both[] = { 0, 1 };
static const struct wr_conf_group groups[] = {
  { .name = "a", .members = only_a, .member_count = 1 },
  { .name = "b", .members = only_b, .member_count = 1 },
  { .name = "last", .members = both, .member_count = 2, .last = "b" },
  { .name = "both", .members = both, .member_count = 2, .balance = WR_BALANCE_LEAST_STREAMS },
};
static const struct wr_conf conf = {
  .upstreams = upstreams, .upstream_count = 2, .groups = groups, .group_count = 4
};

struct two {
  struct world w;
  struct wr_resolver *resolver;
  struct wr_peer_book *book;
  struct wr_upstreams *set[2];
};

static void two_open(struct two *p, const struct wr_conf *c) {
  char why[128] = "";
  world_open(&p->w, 4u << 20);
  assert_int_equal(wr_resolver_new(p->w.loop, &p->resolver), WR_OK);
  assert_int_equal(wr_peer_book_new(&p->book), WR_OK);
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(
        wr_upstreams_new(p->w.loop, p->resolver, c, NULL, &p->set[i], why, sizeof why), WR_OK);
    assert_int_equal(wr_upstreams_join(p->set[i], p->book, NULL), WR_OK);
    wr_rand_init(&p->set[i]->rand, i + 1);
  }
}

static void two_close(struct two *p) {
  for (unsigned i = 0; i < 2; i++) wr_upstreams_free(p->set[i]);
  for (unsigned i = 0; i < 4; i++) wr_loop_turn(p->w.loop, 0);
  wr_peer_book_free(p->book);
  wr_resolver_free(p->resolver);
  world_close(&p->w);
  assert_int_equal(wr_heap_live_count(WR_HEAP_UPSTREAM), 0);
}

static uint64_t now_ms(const struct two *p) { return wr_loop_now_ms(p->w.loop); }

static void note(struct two *p, struct wr_peer *peer, enum wr_note what) {
  wr_peer_note(peer, wr_peer_epoch(peer), what, what == WR_NOTE_FIRST ? 1000 : 0, 30000,
               now_ms(p));
}

/* One request of a group; which peer it asked, or -1. */
static int ask(struct two *p, unsigned worker, uint32_t group, enum wr_note what, bool any) {
  struct wr_choice choice = { .any = any };
  struct wr_peer *peer = wr_group_choose(p->set[worker], group, &choice);
  if (!peer) return -1;
  note(p, peer, what);
  wr_peer_put(peer);
  return (int)peer->index;
}

static void fail_until_open(struct two *p, unsigned index) {
  struct wr_peer *peer = &p->set[0]->peers[index];
  for (unsigned i = 0; i < 3; i++) note(p, peer, WR_NOTE_FAILED);
}

static enum wr_standing standing(const struct two *p, unsigned worker, unsigned index) {
  return wr_peer_state_standing(p->set[worker]->peers[index].state, now_ms(p));
}

static void workers_agree(void **state) {
  (void)state;
  struct two p;
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  fail_until_open(&p, 1);
  for (unsigned w = 0; w < 2; w++) {
    assert_int_equal(standing(&p, w, 1), WR_STANDING_OPEN);
    for (unsigned i = 0; i < 12; i++) assert_int_not_equal(ask(&p, w, 0, WR_NOTE_GOOD, true), 1);
  }
  wr_loop_advance(p.w.loop, 7000000);
  /* One request of all workers finds out; while it does, nobody else goes there. */
  struct wr_choice choice = { .any = true };
  struct wr_peer *held[16], *probe = NULL;
  for (unsigned i = 0; i < 16; i++) {
    held[i] = wr_group_choose(p.set[i % 2], 0, &choice);
    if (held[i]->index != 1) continue;
    assert_null(probe);
    probe = held[i];
  }
  assert_non_null(probe);
  assert_int_equal(standing(&p, 0, 1), WR_STANDING_HALF_OPEN);
  note(&p, probe, WR_NOTE_FIRST);
  for (unsigned i = 0; i < 16; i++) wr_peer_put(held[i]);
  assert_int_equal(standing(&p, 1, 1), WR_STANDING_READY);
  struct wr_upstream_view view;
  wr_upstreams_view(p.set[1], 0, &view);
  assert_true(view.healthy);
  assert_int_equal(view.first_token_us, 1000);
  assert_int_equal(view.streams, 0);
  two_close(&p);
}

static void floor_holds(void **state) {
  (void)state;
  struct two p;
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  for (unsigned i = 0; i < 4; i++) fail_until_open(&p, i);
  unsigned got[5] = { 0 };
  for (unsigned i = 0; i < 40; i++) {
    int at = ask(&p, i % 2, 0, WR_NOTE_GOOD, true);
    assert_in_range(at, 0, 3);
    got[at]++;
  }
  unsigned used = 0;
  for (unsigned i = 0; i < 4; i++) used += got[i] > 0;
  assert_int_equal(used, 2); /* half of them, though all are open */
  fail_until_open(&p, 4);
  for (unsigned i = 0; i < 10; i++) assert_int_equal(ask(&p, 0, 1, WR_NOTE_FAILED, true), 4);
  two_close(&p);
}

static void last_is_last(void **state) {
  (void)state;
  struct two p;
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  for (unsigned i = 0; i < 20; i++)
    assert_in_range(ask(&p, 0, 2, WR_NOTE_GOOD, true), 0, 3); /* not in its turn */
  for (unsigned i = 0; i < 4; i++) fail_until_open(&p, i);
  for (unsigned i = 0; i < 20; i++) assert_int_equal(ask(&p, 0, 2, WR_NOTE_GOOD, true), 4);
  fail_until_open(&p, 4);
  assert_in_range(ask(&p, 0, 2, WR_NOTE_GOOD, true), 0, 4);
  struct wr_choice none = { .tried = 31, .any = true };
  assert_null(wr_group_choose(p.set[0], 2, &none));
  two_close(&p);
}

static void busy_for_a_while(void **state) {
  (void)state;
  struct two p;
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  note(&p, &p.set[0]->peers[2], WR_NOTE_BUSY);
  assert_int_equal(standing(&p, 1, 2), WR_STANDING_BUSY);
  for (unsigned i = 0; i < 12; i++) assert_int_not_equal(ask(&p, 1, 0, WR_NOTE_GOOD, true), 2);
  wr_loop_advance(p.w.loop, 30000000);
  assert_int_equal(standing(&p, 1, 2), WR_STANDING_READY);
  unsigned seen = 0;
  for (unsigned i = 0; i < 12; i++) seen += ask(&p, 1, 0, WR_NOTE_GOOD, true) == 2;
  assert_int_equal(seen, 3);
  /* A retry-after of a week is heeded for a minute. */
  wr_peer_note(&p.set[0]->peers[2], 0, WR_NOTE_BUSY, 0, UINT64_C(604800000), now_ms(&p));
  wr_loop_advance(p.w.loop, 61000000);
  assert_int_equal(standing(&p, 1, 2), WR_STANDING_READY);
  two_close(&p);
}

/* Two days of traffic over two workers; one peer is dead for six hours, one fails every
 * tenth request. */
static void two_days(void **state) {
  (void)state;
  struct two p;
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  uint64_t begin = now_ms(&p), dead_asked = 0, outage = 0, flaky_asked = 0, flaky_fail = 0;
  for (unsigned i = 0; i < 2 * 24 * 3600 * 2; i++) {
    uint64_t hour = (now_ms(&p) - begin) / 3600000;
    bool dead = hour >= 10 && hour < 16;
    struct wr_choice choice = { .any = true };
    struct wr_peer *peer = wr_group_choose(p.set[i % 2], 0, &choice);
    assert_non_null(peer); /* nobody is ever turned away */
    bool bad = (peer->index == 0 && dead) || (peer->index == 3 && flaky_asked % 10 == 9);
    dead_asked += peer->index == 0 && dead;
    outage += dead;
    flaky_asked += peer->index == 3;
    flaky_fail += peer->index == 3 && bad;
    note(&p, peer, bad ? WR_NOTE_FAILED : WR_NOTE_GOOD);
    wr_peer_put(peer);
    wr_loop_advance(p.w.loop, 500000);
  }
  /* The dead one is asked three times, then once in about twenty seconds. */
  assert_in_range(dead_asked, 500, 6 * 3600 / 20 * 14 / 10);
  assert_in_range(outage, 43000, 43400);
  /* A tenth of failures is no reason to leave a peer alone. */
  assert_in_range(flaky_asked, 80000, 125000);
  assert_true(flaky_fail > 8000);
  struct wr_peer_state *s = p.set[0]->peers[3].state;
  assert_int_equal(atomic_load(&s->opens), 0);
  /* And who is well again is used again, without another opening. */
  for (unsigned i = 0; i < 5; i++) assert_int_equal(standing(&p, 0, i), WR_STANDING_READY);
  two_close(&p);
}

/* The limit is the upstream's, whichever of its peers was slow, and both workers go by it. */
static void limit_is_shared(void **state) {
  (void)state;
  struct two p;
  struct wr_conf_upstream ups[2];
  struct wr_conf c = conf;
  memcpy(ups, upstreams, sizeof ups);
  ups[0].limit_min = 4;
  ups[0].max_streams = 40;
  c.upstreams = ups;
  two_open(&p, &c);
  wr_loop_hold_clock(p.w.loop);
  struct wr_peer *of[2] = { &p.set[0]->peers[2], &p.set[1]->peers[3] };
  assert_int_equal(wr_peer_limit(of[0]), 4);
  for (unsigned i = 0; i < 40; i++) wr_peer_hold(of[i % 2]);
  for (unsigned i = 0; i < 400 || wr_peer_limit(of[0]) < 40; i++) {
    wr_peer_note(of[i % 2], 0, WR_NOTE_FIRST, 1000, 0, now_ms(&p));
    wr_loop_advance(p.w.loop, 100000);
  }
  assert_int_equal(wr_peer_limit(of[0]), 40);
  assert_int_equal(wr_peer_limit(of[1]), 40);
  wr_peer_note(of[1], 0, WR_NOTE_BUSY, 0, 10, now_ms(&p));
  assert_int_equal(wr_peer_limit(of[0]), 32);
  assert_int_equal(wr_peer_limit(&p.set[0]->peers[4]), 0); /* who has none */
  for (unsigned i = 0; i < 40; i++) wr_peer_put(of[i % 2]);
  two_close(&p);
}

static void names_are_shared(void **state) {
  (void)state;
  struct two p;
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  fail_until_open(&p, 1);
  /* A reload: the new set knows what the old one saw. */
  struct wr_upstreams *next;
  char why[128] = "";
  assert_int_equal(wr_upstreams_new(p.w.loop, p.resolver, &conf, NULL, &next, why, sizeof why),
                   WR_OK);
  assert_int_equal(wr_upstreams_join(next, p.book, NULL), WR_OK);
  assert_ptr_equal(next->peers[1].state, p.set[0]->peers[1].state);
  assert_ptr_not_equal(next->peers[1].state, next->peers[2].state);
  assert_int_equal(next->peers[1].id, p.set[1]->peers[1].id);
  wr_upstreams_free(p.set[0]);
  p.set[0] = next;
  assert_int_equal(standing(&p, 0, 1), WR_STANDING_OPEN);
  two_close(&p);
}

/* ---- checks, against sockets */

struct server {
  struct wr_listen *listen;
  struct side side;
  struct wr_conn *conn;
  const char *answer;
  unsigned accepted;
};

static void serve(struct wr_task *task) {
  struct server *s = (struct server *)(void *)((char *)task - offsetof(struct server, side.task));
  struct wr_view v;
  size_t got = 0;
  if (!s->conn) return;
  while (wr_conn_take(s->conn, &v)) {
    got += v.len;
    wr_view_drop(&v);
  }
  if (got && s->answer) {
    assert_int_equal(wr_conn_write_copy(s->conn, wr_span_str(s->answer)), WR_OK);
    assert_int_equal(wr_conn_flush(s->conn), WR_OK);
  }
  if (wr_conn_got_eof(s->conn) || wr_conn_state(s->conn) == WR_CONN_FAILED) {
    wr_conn_abort(s->conn);
    s->conn = NULL;
  }
}

static void accepted(void *ctx, struct wr_conn *conn) {
  struct server *s = ctx;
  s->accepted++;
  if (s->conn) wr_conn_abort(s->conn);
  s->conn = conn;
  wr_conn_set_owner(conn, &s->side.task);
  wr_loop_mark(wr_conn_loop(conn), &s->side.task);
}

static void checks(void **state) {
  (void)state;
  struct two p;
  struct server s = { .answer = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n" };
  struct wr_conf_url url = NO_URL("x");
  struct wr_conf_upstream ups[2];
  struct wr_conf c = conf;
  char why[128];
  struct wr_addr any;
  memcpy(ups, upstreams, sizeof ups);
  ups[1].urls = &url;
  ups[1].health = (struct wr_conf_health){
    .path = "/up", .every_ms = 100, .timeout_ms = 5000, .rise = 2, .fall = 2
  };
  c.upstreams = ups;
  two_open(&p, &c);
  wr_task_init(&s.side.task, serve);
  assert_int_equal(wr_addr_parse(WR_SPAN("127.0.0.1:0"), &any), WR_OK);
  assert_int_equal(wr_listen_open(p.w.loop, &any, NULL, accepted, &s, &s.listen, why, sizeof why),
                   WR_OK);
  url.port = wr_addr_port(wr_listen_addr(s.listen));
#define TICK (wr_upstreams_tick(p.set[0]), wr_upstreams_tick(p.set[1]))
  TURN_UNTIL(&p.w, (TICK, standing(&p, 0, 4) == WR_STANDING_DOWN));
  struct wr_peer_state *st = p.set[0]->peers[4].state;
  assert_int_equal(atomic_load(&st->probes), 2); /* one of the two workers made each */
  assert_int_equal(atomic_load(&st->probe_failures), 2);
  s.answer = "HTTP/1.1 204 Yes\r\n\r\n";
  TURN_UNTIL(&p.w, (TICK, standing(&p, 1, 4) == WR_STANDING_READY));
  s.answer = NULL; /* accepted, never answered: given up when the set goes */
  unsigned before = s.accepted;
  TURN_UNTIL(&p.w, (TICK, s.accepted > before));
  wr_upstreams_retire(p.set[0]);
  wr_upstreams_retire(p.set[1]);
  uint64_t probes = atomic_load(&st->probes);
  TICK;
  assert_int_equal(atomic_load(&st->probes), probes);
  wr_listen_close(s.listen);
  if (s.conn) wr_conn_abort(s.conn);
  wr_loop_unmark(&s.side.task);
  two_close(&p);
}

/* Who had not answered when it was given up isn't quicker than that. */
static void unheard(void **state) {
  (void)state;
  struct two p;
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  struct wr_peer *peer = &p.set[0]->peers[1];
  struct wr_upstream_view view;
  wr_peer_note(peer, 0, WR_NOTE_FIRST, 100000, 0, now_ms(&p));
  wr_peer_note(peer, 0, WR_NOTE_NOTHING, 90000, 0, now_ms(&p));
  wr_upstreams_view(p.set[1], 0, &view);
  assert_int_equal(view.first_token_us, 100000); /* it might have come at the next moment */
  wr_peer_note(peer, 0, WR_NOTE_NOTHING, 900000, 0, now_ms(&p));
  wr_upstreams_view(p.set[1], 0, &view);
  assert_int_equal(view.first_token_us, 300000);
  wr_peer_note(peer, 0, WR_NOTE_FAILED, 900000, 0, now_ms(&p));
  wr_upstreams_view(p.set[1], 0, &view);
  assert_int_equal(view.first_token_us, 450000);
  assert_int_equal(standing(&p, 0, 1), WR_STANDING_READY);
  two_close(&p);
}

/* A pick of which nothing came disturbs no probe of somebody else, and gives its own back. */
static void unpicked(void **state) {
  (void)state;
  struct two p;
  struct wr_choice choice = { .any = true };
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  fail_until_open(&p, 4);
  struct wr_peer_state *st = p.set[0]->peers[4].state;
  wr_loop_advance(p.w.loop, 7000000);
  struct wr_peer *own = wr_group_choose(p.set[0], 1, &choice);
  assert_int_equal(standing(&p, 0, 4), WR_STANDING_HALF_OPEN);
  wr_peer_unpick(own);
  assert_int_equal(standing(&p, 0, 4), WR_STANDING_OPEN);
  struct wr_peer *probe = wr_group_choose(p.set[0], 1, &choice);
  uint32_t epoch = wr_peer_epoch(probe);
  for (unsigned i = 0; i < 4; i++) wr_peer_unpick(wr_group_choose(p.set[i % 2], 1, &choice));
  assert_int_equal(standing(&p, 0, 4), WR_STANDING_HALF_OPEN);
  wr_peer_note(probe, epoch, WR_NOTE_FIRST, 1000, 0, now_ms(&p));
  assert_int_equal(standing(&p, 1, 4), WR_STANDING_READY);
  assert_int_equal(atomic_load(&st->opens), 1);
  wr_peer_put(probe);
  two_close(&p);
}

/* A second attempt isn't sent to one that should be left alone while another is well. */
static void second_attempts(void **state) {
  (void)state;
  struct two p;
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  for (unsigned i = 0; i < 3; i++) fail_until_open(&p, i);
  struct wr_choice first = { .any = true }, second = { .tried = 1 };
  assert_int_not_equal(wr_group_open(p.set[0], 0, &first), 8); /* the floor: half of them */
  assert_int_equal(wr_group_open(p.set[0], 0, &second), 8);
  two_close(&p);
}

/* A peer that is opened for broken streams, found out of reach, and in reach again: it is asked at
 * once. One that was in reach all the time isn't. */
static void reachable_again(void **state) {
  (void)state;
  struct two p;
  struct wr_standing_change change;
  two_open(&p, &conf);
  wr_loop_hold_clock(p.w.loop);
  fail_until_open(&p, 1);
  struct wr_peer_state *st = p.set[0]->peers[1].state;
  wr_peer_state_probed(st, NULL, true, now_ms(&p), &change);
  assert_false(wr_peer_state_enter(st, now_ms(&p), &change));
  wr_peer_state_probed(st, NULL, false, now_ms(&p), &change);
  assert_false(wr_peer_state_enter(st, now_ms(&p), &change));
  wr_peer_state_probed(st, NULL, true, now_ms(&p), &change);
  assert_true(wr_peer_state_enter(st, now_ms(&p), &change));
  assert_int_equal(standing(&p, 1, 1), WR_STANDING_HALF_OPEN);
  two_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(workers_agree),    cmocka_unit_test(floor_holds),
    cmocka_unit_test(last_is_last),     cmocka_unit_test(busy_for_a_while),
    cmocka_unit_test(two_days),         cmocka_unit_test(names_are_shared),
    cmocka_unit_test(checks),           cmocka_unit_test(unheard),
    cmocka_unit_test(unpicked),         cmocka_unit_test(second_attempts),
    cmocka_unit_test(limit_is_shared),  cmocka_unit_test(reachable_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

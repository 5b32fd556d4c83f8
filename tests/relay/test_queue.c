/* Requests that wait for room: who is next, who is refused, and that a place goes from hand to hand
 * without being lost. */
#include "relay/texts.h"

#include "upstream/note.h"
#include "upstream/state.h"

#define CLIENTS 6

/* Several clients at a time; those from `CLIENTS / 2` on are another relay's, as if on another
 * worker. */
struct crowd {
  struct rig r;
  struct wr_relay *relay;  /* owned; the other one */
  struct wr_listen *front; /* owned; its own */
  struct one {
    struct wr_task task;
    struct wr_conn *conn;
    char got[4096];
    size_t len;
    bool end;
  } of[CLIENTS];
};

static void one_run(struct wr_task *task) {
  struct one *o = WR_CONTAINER(task, struct one, task);
  struct wr_view v;
  while (o->conn && wr_conn_take(o->conn, &v)) {
    size_t room = sizeof o->got - 1 - o->len, n = v.len < room ? v.len : room;
    memcpy(o->got + o->len, v.ptr, n);
    o->len += n;
    wr_view_drop(&v);
  }
  if (o->conn && (wr_conn_state(o->conn) == WR_CONN_FAILED || wr_conn_at_eof(o->conn)))
    o->end = true;
}

static void other_front(void *ctx, struct wr_conn *take_conn) {
  struct crowd *c = ctx;
  wr_relay_accept(c->relay, 0, take_conn);
}

static void woken(void *ctx) {
  struct crowd *c = ctx;
  wr_relay_woken(c->r.relay);
  wr_relay_woken(c->relay);
}

static void nobody_is_told(void *ctx) { (void)ctx; }

static void crowd_init(struct crowd *c, uint32_t length) {
  static const char *const classes[] = { "paid", "", "batch" };
  memset(c, 0, sizeof *c);
  rig_init(&c->r);
  c->r.upstreams[0].max_streams = 1;
  c->r.upstreams[1].max_streams = 1;
  for (unsigned g = 0; g < 3; g++)
    c->r.groups[g].queue = (struct wr_conf_queue){ length, 60000, classes, 3 };
}

static void crowd_open(struct crowd *c) {
  char why[256];
  struct wr_addr any;
  rig_open(&c->r);
  struct wr_relay_options o = {
    .loop = c->r.w.loop, .shared = &c->r.shared, .gen = &c->r.gen, .record = rig_record,
    .record_ctx = &c->r, .worker = 1
  };
  assert_int_equal(wr_relay_new(&o, &c->relay), WR_OK);
  assert_int_equal(wr_addr_parse(wr_span_str("127.0.0.1:0"), &any), WR_OK);
  assert_int_equal(wr_listen_open(c->r.w.loop, &any, NULL, other_front, c, &c->front, why,
                                  sizeof why),
                   WR_OK);
  wr_loop_on_wake(c->r.w.loop, woken, c);
  for (unsigned i = 0; i < CLIENTS; i++) wr_task_init(&c->of[i].task, one_run);
}

static void one_drop(struct crowd *c, unsigned i) {
  if (c->of[i].conn) wr_conn_abort(c->of[i].conn);
  c->of[i].conn = NULL;
  wr_loop_unmark(&c->of[i].task);
}

static void crowd_close(struct crowd *c) {
  for (unsigned i = 0; i < CLIENTS; i++) one_drop(c, i);
  wr_relay_free(c->relay);
  wr_listen_close(c->front);
  for (unsigned n = 0; n < WR_RELAY_UPSTREAMS; n++) {
    assert_int_equal(c->r.shared.waiting[n], 0);
    if (c->r.set && n >= 2) assert_int_equal(c->r.shared.upstreams[n], 0);
  }
  rig_close(&c->r);
}

static uint64_t waiting(struct crowd *c) {
  return wr_relay_stats(c->r.relay)->queue_waiting + wr_relay_stats(c->relay)->queue_waiting;
}
static uint64_t ended(struct crowd *c, enum wr_queue_end how) {
  return wr_relay_stats(c->r.relay)->queue_ends[how] + wr_relay_stats(c->relay)->queue_ends[how];
}

static void one_asks(struct crowd *c, unsigned i, const char *key) {
  char text[512];
  one_drop(c, i);
  c->of[i].len = 0;
  c->of[i].end = false;
  struct wr_listen *front = i < CLIENTS / 2 ? c->r.front : c->front;
  assert_true(wr_conn_dial(c->r.w.loop, wr_listen_addr(front), NULL, NULL, &c->of[i].task,
                           &c->of[i].conn) == WR_OK);
  snprintf(text, sizeof text,
           POST "x-api-key: %s\r\nconnection: close\r\ncontent-length: 27\r\n\r\n" BODY, key);
  rig_write(c->of[i].conn, text, strlen(text));
}

/* Asks, and has to wait. */
static void one_waits(struct crowd *c, unsigned i, const char *key) {
  uint64_t before = waiting(c);
  one_asks(c, i, key);
  TURN_UNTIL(&c->r.w, waiting(c) == before + 1);
}

/* The upstream has got the n-th request of all. */
static void expect_asked(struct crowd *c, size_t n) {
  TURN_UNTIL(&c->r.w, c->r.up_count >= n && c->r.ups[n - 1]->len > 0);
  assert_int_equal(c->r.up_count, n);
}

/* Its n-th request gets its whole answer; the connection is used no more. */
static void answer(struct crowd *c, size_t n) {
  struct rig_up *up = c->r.ups[n - 1];
  struct wr_span a = whole_answer();
  rig_write(up->conn, a.ptr, a.len);
  wr_conn_close(up->conn);
  up->conn = NULL;
}

static void expect_whole(struct crowd *c, unsigned i) {
  TURN_UNTIL(&c->r.w, c->of[i].end);
  assert_true(rig_dechunk(c->of[i].got, body, sizeof body, NULL));
  assert_string_equal(body, WHOLE);
}

/* In the order in which they came, on whichever worker. */
static void in_turn(void **state) {
  (void)state;
  struct crowd c;
  crowd_init(&c, 8);
  crowd_open(&c);
  one_asks(&c, 0, "x");
  expect_asked(&c, 1);
  one_waits(&c, 3, "x");
  one_waits(&c, 1, "x");
  one_waits(&c, 4, "x");
  assert_int_equal(c.r.shared.waiting[0], 3);
  answer(&c, 1);
  expect_whole(&c, 0);
  static const unsigned order[] = { 3, 1, 4 };
  for (unsigned k = 0; k < 3; k++) {
    expect_asked(&c, k + 2);
    assert_int_equal(c.r.shared.upstreams[0], 1);
    assert_int_equal(waiting(&c), 2 - k);
    answer(&c, k + 2);
    expect_whole(&c, order[k]);
  }
  assert_int_equal(ended(&c, WR_QUEUE_SERVED), 3);
  crowd_close(&c);
}

/* What a refusal says; in seconds it is rounded up. */
static unsigned comes_back_ms(struct crowd *c, unsigned i) {
  char want[64];
  unsigned ms = 0;
  const char *at = strstr(c->of[i].got, "\r\nretry-after-ms: ");
  assert_non_null(at);
  assert_int_equal(sscanf(at + 2, "retry-after-ms: %u", &ms), 1);
  snprintf(want, sizeof want, "\r\nretry-after: %u\r\n", (ms + 999) / 1000);
  assert_non_null(strstr(c->of[i].got, want));
  return ms;
}

/* Full: refused in the dialect, and told when to come back. One who leaves makes room at once. */
static void full(void **state) {
  (void)state;
  struct crowd c;
  crowd_init(&c, 1);
  crowd_open(&c);
  one_asks(&c, 0, "x");
  expect_asked(&c, 1);
  one_waits(&c, 1, "x");
  one_asks(&c, 4, "x");
  TURN_UNTIL(&c.r.w, c.of[4].end);
  assert_non_null(strstr(c.of[4].got, "HTTP/1.1 503 "));
  /* Nobody has been served yet, so it may take what one may wait at the most. */
  assert_in_range(comes_back_ms(&c, 4), 20000, 30000);
  assert_non_null(strstr(c.of[4].got, "\"queue_full\""));
  assert_int_equal(ended(&c, WR_QUEUE_FULL), 1);
  one_drop(&c, 1);
  TURN_UNTIL(&c.r.w, ended(&c, WR_QUEUE_LEFT) == 1);
  assert_string_equal(c.r.outcome, "client_gone");
  assert_int_equal(c.r.shared.waiting[0], 0);
  one_waits(&c, 4, "x");
  answer(&c, 1);
  expect_asked(&c, 2);
  /* Now one has, in no time. */
  one_waits(&c, 1, "x");
  one_asks(&c, 5, "x");
  TURN_UNTIL(&c.r.w, c.of[5].end);
  assert_in_range(comes_back_ms(&c, 5), 1000, 19999);
  one_drop(&c, 1);
  TURN_UNTIL(&c.r.w, ended(&c, WR_QUEUE_LEFT) == 2);
  answer(&c, 2);
  expect_whole(&c, 4);
  crowd_close(&c);
}

static void deadline(void **state) {
  (void)state;
  struct crowd c;
  crowd_init(&c, 4);
  c.r.groups[0].queue.wait_ms = 20;
  crowd_open(&c);
  one_asks(&c, 0, "x");
  expect_asked(&c, 1);
  one_asks(&c, 3, "x");
  TURN_UNTIL(&c.r.w, c.of[3].end);
  assert_non_null(strstr(c.of[3].got, "HTTP/1.1 503 "));
  assert_non_null(strstr(c.of[3].got, "\"queue_timeout\""));
  assert_non_null(strstr(c.of[3].got, "retry-after: "));
  assert_true(c.r.record.queued_us >= 20000);
  assert_int_equal(ended(&c, WR_QUEUE_TIMEOUT), 1);
  assert_int_equal(waiting(&c), 0);
  crowd_close(&c);
}

/* A place that was given to one who has gone meanwhile is the next one's. */
static void given_back(void **state) {
  (void)state;
  struct crowd c;
  crowd_init(&c, 4);
  crowd_open(&c);
  one_asks(&c, 0, "x");
  expect_asked(&c, 1);
  one_waits(&c, 3, "x");
  one_waits(&c, 1, "x");
  wr_loop_on_wake(c.r.w.loop, nobody_is_told, NULL);
  answer(&c, 1);
  expect_whole(&c, 0);
  assert_int_equal(c.r.shared.waiting[0], 1); /* the other worker's has it, and doesn't know */
  assert_int_equal(c.r.shared.upstreams[0], 1);
  one_drop(&c, 3);
  expect_asked(&c, 2);
  answer(&c, 2);
  expect_whole(&c, 1);
  crowd_close(&c);
}

/* A group waits for whichever of its members has room first. */
static void members(void **state) {
  (void)state;
  struct crowd c;
  crowd_init(&c, 4);
  c.r.routes[0].to = 2;
  crowd_open(&c);
  one_asks(&c, 0, "x");
  expect_asked(&c, 1);
  one_asks(&c, 1, "x");
  expect_asked(&c, 2);
  assert_int_equal(c.r.shared.upstreams[0], 1);
  assert_int_equal(c.r.shared.upstreams[1], 1);
  one_waits(&c, 3, "x");
  one_waits(&c, 4, "x");
  unsigned second = c.r.ups[1]->peer;
  answer(&c, 2);
  expect_asked(&c, 3);
  assert_int_equal(c.r.ups[2]->peer, second);
  answer(&c, 3);
  expect_whole(&c, 3);
  expect_asked(&c, 4);
  assert_int_equal(c.r.ups[3]->peer, second);
  answer(&c, 1);
  answer(&c, 4);
  expect_whole(&c, 4);
  crowd_close(&c);
}

static struct wr_peer *peer_of(struct crowd *c, uint32_t group) {
  const struct wr_choice choice = { .any = true };
  return wr_group_choose(c->r.set, group, &choice);
}

/* Who waits hears that an upstream that was left alone may be asked again, and that it is well: one
 * request finds out, the others follow at its first word. */
static void well_again(void **state) {
  (void)state;
  struct crowd c;
  struct wr_standing_change change;
  crowd_init(&c, 4);
  c.r.routes[0].to = 2;
  c.r.upstreams[1].max_streams = 2;
  c.r.upstreams[1].breaker = (struct wr_conf_breaker){
    .failures = 1, .window_ms = 10000, .open_ms = 600000, .open_max_ms = 600000
  };
  crowd_open(&c);
  struct wr_peer *bad = peer_of(&c, 1);
  wr_peer_note(bad, wr_peer_epoch(bad), WR_NOTE_CONNECT, 0, 0, wr_loop_now_ms(c.r.w.loop));
  wr_peer_put(bad);
  one_asks(&c, 0, "x");
  expect_asked(&c, 1);
  unsigned first = c.r.ups[0]->peer;
  one_waits(&c, 1, "x"); /* rather than to ask the one that fails */
  one_waits(&c, 3, "x");
  wr_relay_tick(c.r.relay, 0);
  assert_int_equal(waiting(&c), 2);
  wr_peer_state_probed(bad->state, NULL, true, wr_loop_now_ms(c.r.w.loop), &change);
  wr_relay_tick(c.r.relay, 0);
  expect_asked(&c, 2);
  assert_int_equal(waiting(&c), 1);
  assert_int_not_equal(c.r.ups[1]->peer, first);
  struct wr_span a = whole_answer();
  rig_write(c.r.ups[1]->conn, a.ptr, a.len - 30);
  expect_asked(&c, 3);
  assert_int_equal(c.r.ups[2]->peer, c.r.ups[1]->peer);
  rig_write(c.r.ups[1]->conn, a.ptr + a.len - 30, 30);
  expect_whole(&c, 1);
  answer(&c, 3);
  expect_whole(&c, 3);
  answer(&c, 1);
  expect_whole(&c, 0);
  crowd_close(&c);
}

/* The limit grows by itself: seen at the next tick. And the process may end while one waits. */
static void tick_and_end(void **state) {
  (void)state;
  struct crowd c;
  crowd_init(&c, 4);
  crowd_open(&c);
  one_asks(&c, 0, "x");
  expect_asked(&c, 1);
  one_waits(&c, 1, "x");
  one_waits(&c, 3, "x");
  one_waits(&c, 4, "x");
  c.r.upstreams[0].max_streams = 2;
  wr_relay_tick(c.r.relay, 0);
  expect_asked(&c, 2);
  c.r.upstreams[0].max_streams = 3;
  wr_relay_tick(c.r.relay, 0);
  expect_asked(&c, 3);
  assert_int_equal(waiting(&c), 1);
  crowd_close(&c);
}

/* Classes: the better one first, and out of a full line at the cost of the last of the worst. */
static void ranks(void **state) {
  (void)state;
  struct crowd c;
  /* sha256 of "a", "b" and "c" */
  static const struct wr_conf_key keys[] = {
    { .name = "a", .class_name = "batch", .sha256 = {
        0xca, 0x97, 0x81, 0x12, 0xca, 0x1b, 0xbd, 0xca, 0xfa, 0xc2, 0x31, 0xb3,
        0x9a, 0x23, 0xdc, 0x4d, 0xa7, 0x86, 0xef, 0xf8, 0x14, 0x7c, 0x4e, 0x72,
        0xb9, 0x80, 0x77, 0x85, 0xaf, 0xee, 0x48, 0xbb, } },
    { .name = "b", .class_name = "", .sha256 = {
        0x3e, 0x23, 0xe8, 0x16, 0x00, 0x39, 0x59, 0x4a, 0x33, 0x89, 0x4f, 0x65,
        0x64, 0xe1, 0xb1, 0x34, 0x8b, 0xbd, 0x7a, 0x00, 0x88, 0xd4, 0x2c, 0x4a,
        0xcb, 0x73, 0xee, 0xae, 0xd5, 0x9c, 0x00, 0x9d, } },
    { .name = "c", .class_name = "paid", .sha256 = {
        0x2e, 0x7d, 0x2c, 0x03, 0xa9, 0x50, 0x7a, 0xe2, 0x65, 0xec, 0xf5, 0xb5,
        0x35, 0x68, 0x85, 0xa5, 0x33, 0x93, 0xa2, 0x02, 0x9d, 0x24, 0x13, 0x94,
        0x99, 0x72, 0x65, 0xa1, 0xa2, 0x5a, 0xef, 0xc6, } },
  };
  crowd_init(&c, 3);
  c.r.conf.keys = keys;
  c.r.conf.key_count = 3;
  c.r.conf.keys_declared = true;
  crowd_open(&c);
  one_asks(&c, 0, "a");
  expect_asked(&c, 1);
  one_waits(&c, 1, "a");
  one_waits(&c, 3, "a");
  one_waits(&c, 4, "b");
  one_asks(&c, 5, "c"); /* pushes the later "a" out */
  TURN_UNTIL(&c.r.w, c.of[3].end);
  assert_non_null(strstr(c.of[3].got, "\"queue_full\""));
  assert_int_equal(ended(&c, WR_QUEUE_PUSHED), 1);
  one_asks(&c, 2, "a"); /* nobody is worse */
  TURN_UNTIL(&c.r.w, c.of[2].end);
  assert_int_equal(ended(&c, WR_QUEUE_FULL), 1);
  answer(&c, 1);
  static const unsigned order[] = { 5, 4, 1 };
  for (unsigned k = 0; k < 3; k++) {
    expect_asked(&c, k + 2);
    answer(&c, k + 2);
    expect_whole(&c, order[k]);
  }
  crowd_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(in_turn),    cmocka_unit_test(full),    cmocka_unit_test(deadline),
    cmocka_unit_test(given_back), cmocka_unit_test(members), cmocka_unit_test(tick_and_end),
    cmocka_unit_test(ranks),      cmocka_unit_test(well_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a stream costs and what it survives: no copy and no allocation an event, slow clients, an
 * exhausted pool, allocations that fail. */
#include "relay/reply.h"
#include "relay/rig.h"

static char body[RIG_GOT];

static void chunk(struct wr_conn *conn, const char *text) {
  char out[4096];
  int n = snprintf(out, sizeof out, "%zx\r\n%s\r\n", strlen(text), text);
  assert_in_range(n, 1, sizeof out - 1);
  rig_write(conn, out, (size_t)n);
}

static void begin(struct rig *r) {
  assert_true(rig_dial(r));
  rig_send(r, ASK_CLOSE);
  TURN_UNTIL(&r->w, r->up_count == 1 && rig_request_bytes(r->ups[0]->text) > 0);
  rig_write(r->ups[0]->conn, SSE_HEAD, strlen(SSE_HEAD));
}

static uint64_t copies(struct rig *r) {
  uint64_t n = 0;
  for (unsigned i = 0; i < WR_COPIES; i++) n += wr_loop_stats(r->w.loop)->copy_bytes[i];
  return n;
}

/* A thousand events, each alone: nothing is allocated and nothing copied. */
static void costs_nothing(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  begin(&r);
  uint64_t calls = 0, copied = 0;
  for (unsigned i = 0; i < 1010; i++) {
    if (i == 10) {
      calls = wr_heap_calls();
      copied = copies(&r);
    }
    size_t got = r.got_len;
    chunk(r.ups[0]->conn, HELLO);
    TURN_UNTIL(&r.w, r.got_len >= got + strlen(HELLO));
  }
  assert_int_equal(wr_heap_calls(), calls);
  assert_int_equal(copies(&r), copied);
  chunk(r.ups[0]->conn, DONE);
  rig_write(r.ups[0]->conn, "0\r\n\r\n", 5);
  TURN_UNTIL(&r.w, r.client_end && r.records == 1);
  assert_int_equal(r.record.events, 1011);
  assert_int_equal(r.record.copied_bytes, 0);
  rig_close(&r);
}

struct most {
  uint64_t queued;
  bool paused;
};
static void look(void *ctx, const struct wr_relay_row *row) {
  struct most *m = ctx;
  if (row->queued_bytes > m->queued) m->queued = row->queued_bytes;
  m->paused |= row->paused;
}

/* A client that doesn't read stops the upstream; when it reads again it gets every byte. */
static void backpressure(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.routes[0].slow_high_bytes = 8192;
  r.routes[0].slow_low_bytes = 2048;
  r.routes[0].heartbeat_ms = 20;
  rig_open(&r);
  begin(&r);
  r.client_hold = true;
  struct most m = { 0, false };
  char pad[1024];
  memset(pad, 'x', sizeof pad);
  pad[sizeof pad - 1] = 0;
  char event[2048];
  snprintf(event, sizeof event,
           "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}\n\n", pad);
  size_t sent = 0;
  uint64_t until_ms = clock_ms() + 10000;
  while (!m.paused && clock_ms() < until_ms) {
    if (wr_conn_unsent_bytes(r.ups[0]->conn) < 262144) {
      chunk(r.ups[0]->conn, event);
      sent += strlen(event);
    }
    wr_loop_turn(r.w.loop, 0);
    wr_relay_each(r.relay, look, &m);
  }
  assert_true(m.paused);
  for (unsigned i = 0; i < 50; i++) {
    wr_loop_turn(r.w.loop, 1);
    wr_relay_each(r.relay, look, &m);
  }
  assert_in_range(m.queued, 8192, 8192 + 2 * 65536);
  chunk(r.ups[0]->conn, DONE);
  rig_write(r.ups[0]->conn, "0\r\n\r\n", 5);
  r.client_hold = false;
  size_t total = 0;
  TURN_UNTIL(&r.w, (wr_loop_mark(r.w.loop, &r.task), total += r.got_len,
                    r.got_len = r.client_end ? r.got_len : 0, r.client_end && r.records == 1));
  assert_string_equal(r.outcome, "complete");
  /* On a slow machine the client hears heartbeats between two reads. */
  size_t beats = wr_relay_stats(r.relay)->heartbeats * wr_reply_heartbeat(WR_DIALECT_CHAT).len;
  assert_int_equal(r.record.bytes_out, sent + strlen(DONE) + beats);
  assert_int_equal(wr_relay_stats(r.relay)->pauses >= 1, 1);
  rig_close(&r);
}

/* Who never reads is given up, and the upstream is let go. */
static void slow_give_up(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  r.routes[0].slow_high_bytes = 8192;
  r.routes[0].slow_low_bytes = 2048;
  r.routes[0].slow_give_up_ms = 40;
  rig_open(&r);
  begin(&r);
  r.client_hold = true;
  char event[4000];
  memset(event, 'x', sizeof event);
  memcpy(event, "data: \"", 7);
  memcpy(event + sizeof event - 4, "\"\n\n", 4);
  TURN_UNTIL(&r.w, (r.ups[0]->conn && wr_conn_unsent_bytes(r.ups[0]->conn) < 262144
                        ? chunk(r.ups[0]->conn, event)
                        : (void)0,
                    r.records == 1));
  assert_string_equal(r.outcome, "client_gone");
  assert_int_equal(r.record.err, WR_E_CLIENT_SLOW);
  TURN_UNTIL(&r.w, r.ups[0]->ended);
  rig_close(&r);
}

/* One event larger than the largest block, and one that comes a byte a chunk. */
static void odd_events(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  begin(&r);
  size_t n = 200000;
  char *event = malloc(n + 1);
  assert_non_null(event);
  memset(event, 'y', n);
  const char *const start = "data: {\"choices\":[{\"delta\":{\"content\":\"";
  memcpy(event, start, strlen(start));
  memcpy(event + n - 8, "\"}}]}\n\n", 8);
  n--;
  for (size_t i = 0; i < n; i += 1000) {
    char piece[1001];
    size_t len = n - i < 1000 ? n - i : 1000;
    memcpy(piece, event + i, len);
    piece[len] = 0;
    chunk(r.ups[0]->conn, piece);
    wr_loop_turn(r.w.loop, 0);
  }
  for (const char *p = HELLO; *p; p++) {
    char one[2] = { *p, 0 };
    chunk(r.ups[0]->conn, one);
  }
  chunk(r.ups[0]->conn, DONE);
  rig_write(r.ups[0]->conn, "0\r\n\r\n", 5);
  TURN_UNTIL(&r.w, r.client_end && r.records == 1);
  assert_true(rig_dechunk(r.got, body, sizeof body, NULL));
  assert_int_equal(strlen(body), n + strlen(HELLO DONE));
  assert_memory_equal(body, event, n);
  assert_string_equal(body + n, HELLO DONE);
  assert_int_equal(r.record.events, 3);
  free(event);
  rig_close(&r);
}

/* An exhausted pool refuses what is new and keeps what runs. */
static void pool_exhausted(void **state) {
  (void)state;
  static struct wr_block *taken[70000];
  size_t n = 0;
  struct rig r;
  rig_init(&r);
  rig_open_pool(&r, 1u << 20);
  begin(&r);
  chunk(r.ups[0]->conn, HELLO);
  TURN_UNTIL(&r.w, strstr(r.got, "hello") != NULL);
  struct wr_block *b;
  while (n < 70000 && (b = wr_slabs_alloc(r.w.slabs, 256, WR_CHARGE_CLIENT)) != NULL)
    taken[n++] = b;
  assert_in_range(n, 100, 69999);
  struct wr_conn *running = r.client; /* the stream's client is put aside */
  r.client = NULL;
  wr_conn_set_owner(running, NULL);
  assert_true(rig_dial(&r));
  wr_loop_turn(r.w.loop, 5);
  struct wr_view v = wr_view_static(wr_span_str(ASK_CLOSE));
  assert_int_equal(wr_conn_write(r.client, &v), WR_OK);
  assert_int_equal(wr_conn_flush(r.client), WR_OK);
  /* The upstream writes on meanwhile, from bytes that take no memory of the pool. */
  static char constant[256];
  snprintf(constant, sizeof constant, "%zx\r\n" STOP "\r\n", strlen(STOP));
  v = wr_view_static(wr_span_str(constant));
  assert_int_equal(wr_conn_write(r.ups[0]->conn, &v), WR_OK);
  assert_int_equal(wr_conn_flush(r.ups[0]->conn), WR_OK);
  for (unsigned i = 0; i < 20; i++) wr_loop_turn(r.w.loop, 2);
  assert_int_equal(wr_relay_connections(r.relay) >= 1, 1);
  /* A little memory is back: enough to read a request, not enough to let it in. */
  for (size_t i = 0; i < 40 && n > 0; i++) wr_block_unref(taken[--n]);
  wr_slabs_tick(r.w.slabs);
  TURN_UNTIL(&r.w, r.client_end || n == 0 ||
                       (wr_block_unref(taken[--n]), wr_slabs_tick(r.w.slabs),
                        strstr(r.got, "\r\n\r\n") != NULL));
  assert_non_null(strstr(r.got, "HTTP/1.1 503"));
  assert_non_null(strstr(r.got, "retry-after: "));
  while (n > 0) wr_block_unref(taken[--n]);
  rig_client_drop(&r);
  r.client = running;
  r.client_end = false;
  r.got_len = 0;
  wr_conn_set_owner(running, &r.task);
  wr_loop_mark(r.w.loop, &r.task);
  chunk(r.ups[0]->conn, DONE);
  rig_write(r.ups[0]->conn, "0\r\n\r\n", 5);
  TURN_UNTIL(&r.w, r.client_end);
  assert_non_null(strstr(r.got, STOP));
  assert_non_null(strstr(r.got, DONE));
  assert_string_equal(r.outcome, "complete");
  rig_close(&r);
}

/* ---- torture */

static char answer_room[32 << 10];

static void answer_make(struct rig *r) {
  size_t at = (size_t)snprintf(answer_room, sizeof answer_room, "%s", SSE_HEAD);
  static const char *const parts[] = {
    ROLE, HELLO, "data: {\"choices\":[{\"index\":0,", "\"delta\":{\"content\":\"x\"}}]}\n\n", HELLO,
    STOP, DONE
  };
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    at += (size_t)snprintf(answer_room + at, sizeof answer_room - at, "%zx\r\n%s\r\n",
                           strlen(parts[i]), parts[i]);
  at += (size_t)snprintf(answer_room + at, sizeof answer_room - at, "0\r\n\r\n");
  r->answer = wr_span_make(answer_room, at);
  r->answer_bytes = at;
}

static const char *const want = ROLE HELLO
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n" HELLO STOP DONE;

/* One exchange under failing allocations ends somehow, and never looks whole when it isn't. */
static void exchange(struct rig *r) {
  uint64_t until_ms = clock_ms() + 10000;
  if (!rig_dial(r)) return;
  rig_send(r, ASK_CLOSE);
  /* The scripted peers may be hit as well: who has nothing to wait for any more goes on. */
  unsigned quiet = 0;
  while (!r->client_end && quiet < 60 && clock_ms() < until_ms) {
    size_t before = r->got_len;
    wr_loop_turn(r->w.loop, 1);
    quiet = r->got_len == before ? quiet + 1 : 0;
  }
  if (strncmp(r->got, "HTTP/1.1 200", 12) == 0 && rig_dechunk(r->got, body, sizeof body, NULL))
    assert_string_equal(body, want);
  else if (r->got_len > 12 && r->client_end)
    assert_true(strncmp(r->got, "HTTP/1.1 5", 10) == 0 || strncmp(r->got, "HTTP/1.1 200", 12) == 0);
  rig_client_drop(r);
  rig_ups_drop(r);
  TURN_UNTIL(&r->w, wr_relay_connections(r->relay) == 0);
}

static void blocks_fail(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  answer_make(&r);
  for (unsigned every = 0; every < 2; every++) {
    for (uint64_t n = 1 + every; n < 30; n++) {
      struct wr_mem_debug d = {
        .poison = true, .owners = true, .fail_nth = n, .fail_every = every
      };
      wr_mem_debug_set(&d);
      exchange(&r);
      d.fail_nth = 0;
      wr_mem_debug_set(&d);
    }
  }
  exchange(&r);
  assert_string_equal(r.outcome, "complete");
  rig_close(&r);
}

static void heap_fails(void **state) {
  (void)state;
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  answer_make(&r);
  exchange(&r); /* libuv has its tables by then */
  for (uint64_t n = 1; n < 40; n++) {
    wr_heap_fail_at(n, false);
    exchange(&r);
    wr_heap_fail_at(0, false);
  }
  exchange(&r);
  assert_string_equal(r.outcome, "complete");
  rig_close(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(costs_nothing),  cmocka_unit_test(backpressure),
    cmocka_unit_test(slow_give_up),   cmocka_unit_test(odd_events),
    cmocka_unit_test(pool_exhausted), cmocka_unit_test(blocks_fail),
    cmocka_unit_test(heap_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

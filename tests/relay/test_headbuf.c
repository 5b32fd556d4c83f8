/* Heads from a connection: found wherever they are split, and what follows stays. */
#include "net/world.h"

#include "relay/headbuf.h"

#define HEAD "GET /a HTTP/1.1\r\nHost: h\r\nX-Long: 0123456789\r\n\r\n"

static void got_bytes(struct world *w, struct wr_conn *conn, size_t n) {
  TURN_UNTIL(w, wr_conn_input_bytes(conn) >= n);
}

static void send_text(struct wr_conn *conn, const char *text, size_t n) {
  assert_int_equal(wr_conn_write_copy(conn, wr_span_make(text, n)), WR_OK);
  assert_int_equal(wr_conn_flush(conn), WR_OK);
}

/* Every split of the head and the bytes behind it into three pieces (the middle one of one byte).
 */
static void splits(void **state) {
  (void)state;
  static const char text[] = "\r\n" HEAD "body";
  size_t len = sizeof text - 1;
  struct world w;
  struct pair p;
  world_open(&w, 4u << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.server.hold = true;
  for (size_t i = 0; i < len; i++) {
    struct wr_headbuf hb;
    enum wr_err err = WR_E_AGAIN;
    wr_headbuf_init(&hb);
    const size_t ends[] = { i, i + 1, len };
    for (size_t k = 0, at = 0; k < 3; at = ends[k++]) {
      if (ends[k] == at) continue;
      size_t before = wr_conn_input_bytes(p.server.conn);
      send_text(p.client.conn, &text[at], ends[k] - at);
      got_bytes(&w, p.server.conn, before + ends[k] - at);
      if (err == WR_E_AGAIN) err = wr_headbuf_read(&hb, p.server.conn, 16384, true);
      if (ends[k] < len - 4) assert_int_equal(err, WR_E_AGAIN);
    }
    assert_int_equal(err, WR_OK);
    assert_int_equal(hb.head.len, strlen(HEAD));
    assert_memory_equal(hb.head.ptr, HEAD, strlen(HEAD));
    assert_int_equal(wr_conn_input_bytes(p.server.conn), 4);
    struct wr_view v;
    for (size_t left = 4; left > 0;
         left -= v.len, wr_view_drop(&(struct wr_view){ v.block, v.ptr, v.len })) {
      assert_true(wr_conn_take(p.server.conn, &v));
      assert_memory_equal(v.ptr, &"body"[4 - left], v.len);
    }
    wr_headbuf_fini(&hb);
  }
  pair_close(&p);
  world_close(&w);
}

static void limits(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 4u << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.server.hold = true;
  struct wr_headbuf hb;
  wr_headbuf_init(&hb);
  send_text(p.client.conn, "GET / HTTP/1.1\r\nA: ", 19);
  size_t sent = 19;
  enum wr_err err;
  for (;;) {
    got_bytes(&w, p.server.conn, 1);
    err = wr_headbuf_read(&hb, p.server.conn, 1000, true);
    if (err != WR_E_AGAIN) break;
    assert_true(sent <= 1100);
    send_text(p.client.conn, "0123456789", 10);
    sent += 10;
  }
  assert_int_equal(err, WR_E_HEAD_TOO_LARGE);
  wr_headbuf_fini(&hb);
  pair_close(&p);
  world_close(&w);
}

/* Without memory for the second piece nothing is lost. */
static void pool_full(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 4u << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.server.hold = true;
  struct wr_headbuf hb;
  wr_headbuf_init(&hb);
  send_text(p.client.conn, HEAD, 20);
  got_bytes(&w, p.server.conn, 20);
  assert_int_equal(wr_headbuf_read(&hb, p.server.conn, 16384, true), WR_E_AGAIN);
  send_text(p.client.conn, &HEAD[20], strlen(HEAD) - 20);
  got_bytes(&w, p.server.conn, strlen(HEAD) - 20);
  struct wr_mem_debug d = { .poison = true, .owners = true, .fail_nth = 1, .fail_every = true };
  wr_mem_debug_set(&d);
  for (unsigned i = 0; i < 3; i++)
    assert_int_equal(wr_headbuf_read(&hb, p.server.conn, 16384, true), WR_E_POOL_FULL);
  d.fail_nth = 0;
  wr_mem_debug_set(&d);
  assert_int_equal(wr_headbuf_read(&hb, p.server.conn, 16384, true), WR_OK);
  assert_int_equal(hb.head.len, strlen(HEAD));
  assert_memory_equal(hb.head.ptr, HEAD, strlen(HEAD));
  wr_headbuf_fini(&hb);
  pair_close(&p);
  world_close(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(splits),
    cmocka_unit_test(limits),
    cmocka_unit_test(pool_full),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

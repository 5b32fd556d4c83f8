#include "net/world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "net/conn_priv.h"

static void say(struct wr_conn *conn, const char *text) {
  assert_int_equal(wr_conn_write_copy(conn, wr_span_str(text)), WR_OK);
  assert_int_equal(wr_conn_flush(conn), WR_OK);
}

static void echo_on(const char *where) {
  struct world w;
  struct pair p;
  world_open(&w, 4 << 20);
  pair_open(&w, &p, where);
  p.server.echo = true;
  say(p.client.conn, "hello ");
  say(p.client.conn, "weir");
  TURN_UNTIL(&w, p.client.got == 10);
  assert_memory_equal(p.client.text, "hello weir", 10);
  assert_int_equal(wr_conn_bytes_out(p.client.conn), 10);
  assert_int_equal(wr_conn_bytes_in(p.client.conn), 10);
  assert_int_equal(wr_conn_unsent_bytes(p.client.conn), 0);
  char text[128];
  if (where[0] == '1') {
    wr_addr_format(wr_conn_peer(p.client.conn), text, sizeof text);
    assert_int_equal(wr_addr_port(wr_conn_peer(p.client.conn)),
                     wr_addr_port(wr_listen_addr(p.listen)));
    assert_true(wr_addr_is_loopback(wr_conn_peer(p.server.conn)));
  } else {
    assert_true(wr_addr_is_unix(wr_conn_peer(p.client.conn)));
  }
  pair_close(&p);
  world_close(&w);
}

static void echo(void **state) {
  (void)state;
  echo_on("127.0.0.1:0");
}

static void echo_unix(void **state) {
  (void)state;
  char where[64];
  snprintf(where, sizeof where, "unix:/tmp/weir-test-%d.sock", (int)getpid());
  echo_on(where);
  assert_int_not_equal(access(where + 5, F_OK), 0);
}

static void no_allocation_per_event(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 4 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.server.echo = true;
  char line[241];
  memset(line, 'x', 240);
  line[240] = '\0';
  uint64_t calls = 0, writes = 0, reads = 0;
  for (size_t i = 1; i <= 60; i++) {
    say(p.client.conn, line);
    TURN_UNTIL(&w, p.client.got == i * 240);
    if (i == 10) {
      calls = wr_heap_calls();
      writes = wr_loop_stats(w.loop)->writes;
      reads = wr_loop_stats(w.loop)->reads;
    }
  }
  assert_int_equal(wr_heap_calls(), calls);
  assert_int_equal(wr_loop_stats(w.loop)->writes - writes, 100);
  assert_int_equal(wr_loop_stats(w.loop)->reads - reads, 100);
  assert_int_equal(wr_loop_stats(w.loop)->again, 0);
  pair_close(&p);
  world_close(&w);
}

/* The reader doesn't take: its credit ends the reading, the sender's queue stands; then everything
 * arrives. */
static void slow_reader(void **state) {
  (void)state;
  enum { TOTAL = 12 << 20 };
  struct world w;
  struct pair p;
  world_open(&w, 32 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.server.hold = true;
  size_t sent = 0;
  send_pattern(&w, p.client.conn, &sent, TOTAL / 2);
  for (int i = 0; i < 50; i++) wr_loop_turn(w.loop, 2);
  size_t held = wr_conn_input_bytes(p.server.conn);
  assert_true(held >= WR_CONN_CREDIT_BYTES && held < 3 * WR_CONN_CREDIT_BYTES);
  assert_true(wr_conn_unsent_bytes(p.client.conn) > 0);
  assert_true(wr_loop_stats(w.loop)->again > 0);
  wr_conn_compact(p.client.conn);
  wr_conn_pause(p.server.conn);
  p.server.hold = false;
  wr_loop_mark(w.loop, &p.server.task);
  for (int i = 0; i < 20; i++) wr_loop_turn(w.loop, 2);
  assert_int_equal(p.server.got, held);
  wr_conn_resume(p.server.conn);
  unsigned runs = p.client.runs;
  TURN_UNTIL(&w, wr_conn_unsent_bytes(p.client.conn) == 0);
  TURN_UNTIL(&w, p.client.runs > runs); /* told that the queue has drained */
  send_pattern(&w, p.client.conn, &sent, TOTAL / 2);
  TURN_UNTIL(&w, p.server.got == TOTAL);
  assert_int_equal(p.server.sum, pattern_sum(TOTAL));
  pair_close(&p);
  world_close(&w);
}

/* A credit that becomes smaller than what waits ends the reading at once: what is above it is no
 * leave to read anything. */
static void credit_shrinks(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 32 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.server.hold = true;
  wr_conn_set_credit(p.server.conn, 8192);
  size_t sent = 0;
  send_pattern(&w, p.client.conn, &sent, 3000);
  TURN_UNTIL(&w, wr_conn_input_bytes(p.server.conn) == 3000);
  wr_conn_set_credit(p.server.conn, 1024);
  send_pattern(&w, p.client.conn, &sent, 1 << 20);
  for (int i = 0; i < 50; i++) wr_loop_turn(w.loop, 2);
  assert_int_equal(wr_conn_input_bytes(p.server.conn), 3000);
  p.server.hold = false;
  wr_loop_mark(w.loop, &p.server.task);
  TURN_UNTIL(&w, p.server.got == sent);
  assert_int_equal(p.server.sum, pattern_sum(sent));
  pair_close(&p);
  world_close(&w);
}

static void half_close(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 4 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.server.hold = true;
  say(p.client.conn, "the last words");
  wr_conn_shutdown(p.client.conn);
  TURN_UNTIL(&w, wr_conn_got_eof(p.server.conn));
  assert_false(wr_conn_at_eof(p.server.conn));
  assert_int_equal(wr_conn_err(p.server.conn), WR_OK);
  struct wr_view v;
  assert_true(wr_conn_take(p.server.conn, &v));
  assert_int_equal(v.len, 14);
  struct wr_view rest = wr_view_sub(&v, 4, 10);
  wr_view_drop(&v);
  assert_int_equal(wr_conn_unread(p.server.conn, &rest), WR_OK);
  assert_int_equal(wr_conn_input_bytes(p.server.conn), 10);
  p.server.hold = false;
  wr_loop_mark(w.loop, &p.server.task);
  TURN_UNTIL(&w, wr_conn_at_eof(p.server.conn));
  assert_memory_equal(p.server.text, "last words", 10);
  say(p.server.conn, "and the answer");
  TURN_UNTIL(&w, p.client.got == 14);
  pair_close(&p);
  world_close(&w);
}

static void reset_is_noticed(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 4 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  side_abort(&p.server);
  unsigned runs = p.client.runs;
  TURN_UNTIL(&w, wr_conn_state(p.client.conn) == WR_CONN_FAILED);
  TURN_UNTIL(&w, p.client.runs > runs);
  assert_int_equal(wr_conn_err(p.client.conn), WR_E_RESET);
  assert_true(strlen(wr_conn_why(p.client.conn)) > 0);
  assert_int_equal(wr_conn_write_copy(p.client.conn, WR_SPAN("x")), WR_E_RESET);
  assert_int_equal(wr_conn_flush(p.client.conn), WR_E_RESET);
  pair_close(&p);
  world_close(&w);
}

/* The peer answers, then resets; we find out by writing. What it said must still be there. */
static void answer_before_reset(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 4 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  wr_conn_pause(p.client.conn);
  wr_loop_turn(w.loop, 0);
  say(p.server.conn, "413");
  side_abort(&p.server);
  uint64_t give_up_ms = clock_ms() + 5000;
  while (wr_conn_state(p.client.conn) == WR_CONN_OPEN && clock_ms() < give_up_ms) {
    if (wr_conn_write_copy(p.client.conn, WR_SPAN("more of the body")) == WR_OK)
      (void)!wr_conn_flush(p.client.conn);
    wr_loop_turn(w.loop, 1);
  }
  assert_int_equal(wr_conn_state(p.client.conn), WR_CONN_FAILED);
  assert_int_equal(wr_conn_err(p.client.conn), WR_E_RESET);
  wr_loop_turn(w.loop, 0);
  assert_int_equal(p.client.got, 3);
  pair_close(&p);
  world_close(&w);
}

/* Everything that was queued arrives, though the owner let go at once and unread input was waiting.
 */
static void close_flushes(void **state) {
  (void)state;
  enum { TOTAL = 6 << 20 };
  struct world w;
  struct pair p;
  world_open(&w, 16 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.server.hold = true;
  say(p.client.conn, "a request body that nobody reads");
  size_t sent = 0;
  send_pattern(&w, p.server.conn, &sent, TOTAL);
  wr_conn_close(p.server.conn);
  p.server.conn = NULL;
  unsigned runs = p.server.runs;
  say(p.client.conn, "and more of it");
  TURN_UNTIL(&w, wr_conn_at_eof(p.client.conn));
  assert_int_equal(p.client.got, TOTAL);
  assert_int_equal(p.client.sum, pattern_sum(TOTAL));
  assert_int_equal(wr_conn_err(p.client.conn), WR_OK);
  assert_int_equal(p.server.runs, runs);
  say(p.client.conn, "still no reset");
  wr_conn_close(p.client.conn);
  p.client.conn = NULL;
  TURN_UNTIL(&w, wr_loop_stats(w.loop)->closed == 2);
  pair_close(&p);
  world_close(&w);
}

/* An answer before the request was read whole: what is unread must not turn our end into a reset.
 */
static void close_lingers(void **state) {
  (void)state;
  static char body[256 << 10];
  struct world w;
  struct pair p;
  world_open(&w, 4 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  wr_conn_pause(p.server.conn);
  struct wr_view v = wr_view_static(wr_span_make(body, sizeof body));
  assert_int_equal(wr_conn_write(p.client.conn, &v), WR_OK);
  assert_int_equal(wr_conn_flush(p.client.conn), WR_OK);
  wr_loop_turn(w.loop, 0);
  say(p.server.conn, "413");
  wr_conn_close(p.server.conn);
  p.server.conn = NULL;
  TURN_UNTIL(&w, wr_conn_state(p.client.conn) == WR_CONN_FAILED || wr_conn_at_eof(p.client.conn));
  assert_int_equal(wr_conn_err(p.client.conn), WR_OK);
  assert_memory_equal(p.client.text, "413", 3);
  TURN_UNTIL(&w, wr_conn_unsent_bytes(p.client.conn) == 0);
  say(p.client.conn, "the rest of the body"); /* a reset would make this fail */
  pair_close(&p);
  world_close(&w);
}

/* A peer that never reads: the close gives up after its time. Here the loop's end comes first. */
static void loop_ends_what_lingers(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 16 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.client.hold = true;
  size_t sent = 0;
  send_pattern(&w, p.server.conn, &sent, 8 << 20);
  wr_conn_close(p.server.conn);
  p.server.conn = NULL;
  wr_loop_turn(w.loop, 5);
  assert_int_equal(wr_loop_stats(w.loop)->closed, 0);
  pair_close(&p);
  world_close(&w);
}

static void abort_resets(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 16 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  p.client.hold = true;
  size_t sent = 0;
  send_pattern(&w, p.server.conn, &sent, 8 << 20);
  for (int i = 0; i < 10; i++) wr_loop_turn(w.loop, 2);
  side_abort(&p.server);
  p.client.hold = false;
  wr_loop_mark(w.loop, &p.client.task);
  TURN_UNTIL(&w, wr_conn_state(p.client.conn) == WR_CONN_FAILED);
  assert_int_equal(wr_conn_err(p.client.conn), WR_E_RESET);
  pair_close(&p);
  world_close(&w);
}

static void refused(void **state) {
  (void)state;
  struct world w;
  struct side s;
  world_open(&w, 4 << 20);
  side_init(&s);
  struct wr_addr addr, bound;
  int fd;
  assert_int_equal(wr_addr_parse(WR_SPAN("127.0.0.1:0"), &addr), WR_OK);
  assert_int_equal(wr_listen_bind(&addr, &fd, &bound, NULL, 0), WR_OK);
  assert_int_equal(wr_conn_dial(w.loop, &bound, NULL, NULL, &s.task, &s.conn), WR_OK);
  assert_int_equal(wr_conn_state(s.conn), WR_CONN_CONNECTING);
  say(s.conn, "queued for nobody");
  TURN_UNTIL(&w, s.runs > 0);
  assert_int_equal(wr_conn_state(s.conn), WR_CONN_FAILED);
  assert_int_equal(wr_conn_err(s.conn), WR_E_CONNECT);
  assert_string_equal(wr_conn_why(s.conn), "connection refused");
  wr_conn_close(s.conn);
  assert_int_equal(wr_addr_parse(WR_SPAN("unix:/nonexistent/weir.sock"), &addr), WR_OK);
  assert_int_equal(wr_conn_dial(w.loop, &addr, NULL, NULL, &s.task, &s.conn), WR_OK);
  assert_int_equal(wr_conn_state(s.conn), WR_CONN_FAILED);
  wr_conn_abort(s.conn);
  wr_loop_unmark(&s.task);
  close(fd);
  world_close(&w);
}

static void write_before_connected(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 4 << 20);
  pair_begin(&w, &p, "127.0.0.1:0", NULL, NULL, NULL);
  say(p.client.conn, "early");
  wr_conn_shutdown(p.client.conn);
  TURN_UNTIL(&w, p.server.conn && wr_conn_at_eof(p.server.conn));
  assert_memory_equal(p.server.text, "early", 5);
  pair_close(&p);
  world_close(&w);
}

/* Blocks of the pool are taken until it is dry; the connection waits, and loses nothing when memory
 * comes back. */
static void pool_exhausted(void **state) {
  (void)state;
  struct world w;
  struct pair p;
  world_open(&w, 1 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  static char text[300 << 10];
  for (size_t i = 0; i < sizeof text; i++) text[i] = pattern(i);
  struct wr_view v = wr_view_static(wr_span_make(text, sizeof text));
  struct wr_block *blocks[4096], *b;
  size_t n = 0;
  for (size_t bytes = wr_slabs_max_block(w.slabs); bytes >= 256; bytes /= 2)
    while (n < 4096 && (b = wr_slabs_alloc(w.slabs, bytes, WR_CHARGE_CLIENT)) != NULL)
      blocks[n++] = b;
  assert_true(n > 0 && n < 4096);
  assert_int_equal(wr_conn_write(p.client.conn, &v), WR_OK);
  assert_int_equal(wr_conn_flush(p.client.conn), WR_OK);
  for (int i = 0; i < 30; i++) wr_loop_turn(w.loop, 2);
  assert_int_equal(wr_conn_state(p.server.conn), WR_CONN_OPEN);
  assert_true(p.server.got < sizeof text);
  while (n > 0) wr_block_unref(blocks[--n]);
  TURN_UNTIL(&w, p.server.got == sizeof text);
  assert_int_equal(p.server.sum, pattern_sum(sizeof text));
  pair_close(&p);
  world_close(&w);
}

/* Many small pieces of two connections, which touch nothing: the queue must grow while there is no
 * memory. */
static void queue_cannot_grow(void **state) {
  (void)state;
  struct world w;
  struct pair p, q;
  world_open(&w, 1 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  pair_open(&w, &q, "127.0.0.1:0");
  p.server.hold = q.server.hold = true;
  struct wr_block *blocks[4096], *b;
  size_t n = 0;
  for (int i = 0; i < 6; i++) {
    char c[2] = { (char)('a' + i), 0 };
    say(p.client.conn, c);
    say(q.client.conn, c);
    if (i == 1)
      for (size_t bytes = wr_slabs_max_block(w.slabs); bytes >= 256; bytes /= 2)
        while (n < 4096 && (b = wr_slabs_alloc(w.slabs, bytes, WR_CHARGE_CLIENT)) != NULL)
          blocks[n++] = b;
    for (int t = 0; t < 8; t++) wr_loop_turn(w.loop, 2);
  }
  assert_true(wr_conn_input_bytes(p.server.conn) < 6);
  while (n > 0) wr_block_unref(blocks[--n]);
  TURN_UNTIL(&w,
             wr_conn_input_bytes(p.server.conn) == 6 && wr_conn_input_bytes(q.server.conn) == 6);
  p.server.hold = q.server.hold = false;
  wr_loop_mark(w.loop, &p.server.task);
  wr_loop_mark(w.loop, &q.server.task);
  TURN_UNTIL(&w, p.server.got == 6 && q.server.got == 6);
  assert_memory_equal(p.server.text, "abcdef", 6);
  assert_memory_equal(q.server.text, "abcdef", 6);
  pair_close(&p);
  pair_close(&q);
  world_close(&w);
}

/* Every allocation on the way of a blocked write fails in its turn. */
static void request_struct_fails(void **state) {
  (void)state;
  enum { TOTAL = 8 << 20 };
  struct world w;
  struct pair p;
  world_open(&w, 16 << 20);
  pair_open(&w, &p, "127.0.0.1:0");
  /* A request struct was used to connect; it is used up here. */
  size_t sent = 0;
  struct wr_conn_req *spare = w.loop->free_reqs;
  w.loop->free_reqs = NULL;
  p.server.hold = true;
  wr_heap_fail_at(1, true);
  send_pattern(&w, p.client.conn, &sent, TOTAL);
  for (int i = 0; i < 10; i++) wr_loop_turn(w.loop, 2);
  wr_heap_fail_at(0, false);
  assert_true(wr_conn_unsent_bytes(p.client.conn) > 0);
  w.loop->free_reqs = spare;
  p.server.hold = false;
  wr_loop_mark(w.loop, &p.server.task);
  TURN_UNTIL(&w, p.server.got == TOTAL);
  assert_int_equal(p.server.sum, pattern_sum(TOTAL));
  pair_close(&p);
  world_close(&w);
}

/* Where the heap ends while a connection with a high descriptor begins: it begins or is refused. */
static void descriptor_table_without_memory(void **state) {
  (void)state;
  for (uint64_t n = 1; n <= 12; n++) {
    struct world w;
    int ends[2];
    world_open(&w, 4 << 20);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    int high = fcntl(ends[0], F_DUPFD_CLOEXEC, 900);
    assert_true(high >= 900);
    close(ends[0]);
    struct wr_conn *conn = NULL;
    wr_heap_fail_at(n, true);
    enum wr_err err = wr_conn_adopt(w.loop, high, NULL, &conn);
    if (err == WR_OK) wr_loop_turn(w.loop, 0);
    wr_heap_fail_at(0, false);
    assert_true(err == WR_OK || err == WR_E_NOMEM);
    if (err == WR_OK) wr_conn_abort(conn);
    close(ends[1]);
    world_close(&w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(echo),
    cmocka_unit_test(descriptor_table_without_memory),
    cmocka_unit_test(echo_unix),
    cmocka_unit_test(no_allocation_per_event),
    cmocka_unit_test(credit_shrinks),
    cmocka_unit_test(slow_reader),
    cmocka_unit_test(half_close),
    cmocka_unit_test(reset_is_noticed),
    cmocka_unit_test(answer_before_reset),
    cmocka_unit_test(close_flushes),
    cmocka_unit_test(close_lingers),
    cmocka_unit_test(loop_ends_what_lingers),
    cmocka_unit_test(abort_resets),
    cmocka_unit_test(refused),
    cmocka_unit_test(write_before_connected),
    cmocka_unit_test(pool_exhausted),
    cmocka_unit_test(queue_cannot_grow),
    cmocka_unit_test(request_struct_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

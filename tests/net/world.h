/* world.h: a pool, a loop and a pair of connections for the tests of net/; ends only when nothing
 * is left. */
#ifndef TESTS_NET_WORLD_H
#define TESTS_NET_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/heap.h"
#include "net/conn.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/timer.h"

struct world {
  struct wr_depot *depot;
  struct wr_ledger *ledger;
  struct wr_slabs *slabs;
  struct wr_loop *loop;
};

static inline uint64_t clock_ms(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline void world_open(struct world *w, size_t pool_bytes) {
  signal(SIGPIPE, SIG_IGN);
  assert_int_equal(wr_depot_new(pool_bytes, &w->depot), WR_OK);
  assert_int_equal(wr_ledger_new(pool_bytes, NULL, &w->ledger), WR_OK);
  assert_int_equal(wr_slabs_new(w->depot, w->ledger, &w->slabs), WR_OK);
  assert_int_equal(wr_loop_new(w->slabs, &w->loop), WR_OK);
}

/* Turns until the condition holds; fails after 10 s. */
#define TURN_UNTIL(w, cond)                                        \
  do {                                                             \
    uint64_t give_up_ms = clock_ms() + 10000;                      \
    while (!(cond)) {                                              \
      if (clock_ms() > give_up_ms) fail_msg("never true: %s", #cond); \
      wr_loop_turn((w)->loop, 20);                                 \
    }                                                              \
  } while (0)

static inline void world_close(struct world *w) {
  assert_int_equal(wr_loop_free(w->loop), 0);
  assert_int_equal(wr_ledger_bytes(w->ledger, WR_CHARGE_TLS), 0);
  assert_int_equal(wr_slabs_free(w->slabs), 0);
  wr_ledger_free(w->ledger);
  wr_depot_free(w->depot);
  assert_int_equal(wr_heap_live_count(WR_HEAP_NET), 0);
  assert_int_equal(wr_heap_live_count(WR_HEAP_TLS), 0);
}

/* One side of a connection, with a task that counts and keeps what it reads. */
struct side {
  struct wr_task task;
  struct wr_conn *conn;
  unsigned runs;
  bool echo; /* sends back what comes */
  bool hold; /* leaves the input where it is */
  size_t got;
  uint32_t sum;
  char text[4096]; /* the first bytes that came */
};

/* Byte i of the content that the tests send. */
static inline char pattern(size_t i) { return (char)(i * 31 + (i >> 8) * 7 + (i >> 16)); }

static inline void side_run(struct wr_task *task) {
  struct side *s = WR_CONTAINER(task, struct side, task);
  s->runs++;
  if (!s->conn || s->hold) return;
  struct wr_view v;
  while (wr_conn_take(s->conn, &v)) {
    for (uint32_t i = 0; i < v.len; i++)
      if (s->got + i < sizeof s->text) s->text[s->got + i] = v.ptr[i];
    for (uint32_t i = 0; i < v.len; i++) s->sum = s->sum * 31 + (uint8_t)v.ptr[i];
    s->got += v.len;
    if (!s->echo) wr_view_drop(&v);
    else if (wr_conn_write(s->conn, &v) != WR_OK) return;
  }
  if (s->echo) (void)!wr_conn_flush(s->conn);
}

static inline void side_init(struct side *s) {
  memset(s, 0, sizeof *s);
  wr_task_init(&s->task, side_run);
}

static inline uint32_t pattern_sum(size_t n) {
  uint32_t sum = 0;
  for (size_t i = 0; i < n; i++) sum = sum * 31 + (uint8_t)pattern(i);
  return sum;
}

static inline void side_accepted(void *ctx, struct wr_conn *take_conn) {
  struct side *s = ctx;
  assert_null(s->conn);
  s->conn = take_conn;
  wr_conn_set_owner(take_conn, &s->task);
}

struct pair {
  struct side client;
  struct side server;
  struct wr_listen *listen;
};

static inline void pair_begin(struct world *w, struct pair *p, const char *where,
                              struct wr_tls_ctx *client_tls, struct wr_tls_ctx *server_tls,
                              const char *name) {
  struct wr_addr addr;
  char why[256];
  side_init(&p->client);
  side_init(&p->server);
  assert_int_equal(wr_addr_parse(wr_span_str(where), &addr), WR_OK);
  assert_int_equal(wr_listen_open(w->loop, &addr, server_tls, side_accepted, &p->server, &p->listen,
                                  why, sizeof why), WR_OK);
  assert_int_equal(wr_conn_dial(w->loop, wr_listen_addr(p->listen), client_tls, name,
                                &p->client.task, &p->client.conn), WR_OK);
}

static inline bool settled(const struct side *s) {
  return s->conn && wr_conn_state(s->conn) >= WR_CONN_OPEN;
}

static inline void pair_open(struct world *w, struct pair *p, const char *where) {
  pair_begin(w, p, where, NULL, NULL, NULL);
  TURN_UNTIL(w, settled(&p->client) && settled(&p->server));
  assert_int_equal(wr_conn_state(p->client.conn), WR_CONN_OPEN);
  assert_int_equal(wr_conn_state(p->server.conn), WR_CONN_OPEN);
}

static inline void side_abort(struct side *s) {
  if (s->conn) wr_conn_abort(s->conn);
  s->conn = NULL;
  wr_loop_unmark(&s->task);
}

static inline void pair_close(struct pair *p) {
  side_abort(&p->client);
  side_abort(&p->server);
  wr_listen_close(p->listen);
}

/* Queues `n` bytes of the pattern in pieces and sends what leaves. */
static inline void send_pattern(struct world *w, struct wr_conn *conn, size_t *sent, size_t n) {
  while (n > 0) {
    size_t piece = n < 8192 ? n : 8192;
    struct wr_block *b = wr_slabs_alloc(w->slabs, piece, WR_CHARGE_CLIENT);
    assert_non_null(b);
    for (size_t i = 0; i < piece; i++) b->data[i] = pattern(*sent + i);
    struct wr_view v = wr_view_take(b, 0, piece);
    assert_int_equal(wr_conn_write(conn, &v), WR_OK);
    *sent += piece;
    n -= piece;
  }
  assert_int_equal(wr_conn_flush(conn), WR_OK);
}

#endif

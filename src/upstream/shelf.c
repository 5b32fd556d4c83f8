#include "upstream/shelf.h"

#include "base/check.h"
#include "base/heap.h"

struct item {
  struct wr_list link;
  struct wr_task task;     /* runs when the connection says something */
  struct wr_shelf *shelf;  /* borrowed: outlives its items */
  struct wr_conn *conn;    /* owned */
  uint64_t since_ms;
};

static void item_free(struct item *it) {
  wr_list_remove(&it->link);
  wr_loop_unmark(&it->task);
  struct wr_shelf *shelf = it->shelf;
  WR_CHECK(shelf->count > 0);
  shelf->count--;
  if (shelf->spare) wr_heap_free(WR_HEAP_UPSTREAM, shelf->spare);
  shelf->spare = it;
}

/* The place that was left last: a connection which goes and comes back allocates nothing. */
static struct item *item_new(struct wr_shelf *shelf) {
  struct item *it = shelf->spare;
  shelf->spare = NULL;
  if (!it) it = wr_heap_alloc(WR_HEAP_UPSTREAM, sizeof *it);
  if (it) *it = (struct item){ .shelf = shelf, .since_ms = wr_loop_now_ms(shelf->loop) };
  return it;
}

static void item_close(struct item *it) {
  wr_conn_close(it->conn);
  item_free(it);
}

/* A quiet connection is marked for nothing but its end: whatever it is, it is of no use any
 * more. */
static void item_run(struct wr_task *task) {
  struct item *it = WR_CONTAINER(task, struct item, task);
  WR_DCHECK(it->conn != NULL);
  if (wr_conn_state(it->conn) == WR_CONN_OPEN && !wr_conn_got_eof(it->conn) &&
      wr_conn_input_bytes(it->conn) == 0)
    return;
  it->shelf->dropped++;
  item_close(it);
}

static void timer_arm(struct wr_shelf *shelf) {
  if (wr_list_empty(&shelf->items) || shelf->idle_ms == 0) {
    wr_timer_clear(&shelf->timer);
    return;
  }
  struct item *oldest = WR_CONTAINER(shelf->items.prev, struct item, link);
  uint64_t age = wr_loop_now_ms(shelf->loop) - oldest->since_ms;
  wr_timer_set(shelf->loop, &shelf->timer, age < shelf->idle_ms ? shelf->idle_ms - age : 1);
}

static void timer_fire(struct wr_timer *timer) {
  struct wr_shelf *shelf = WR_CONTAINER(timer, struct wr_shelf, timer);
  uint64_t now = wr_loop_now_ms(shelf->loop);
  while (!wr_list_empty(&shelf->items)) {
    struct item *oldest = WR_CONTAINER(shelf->items.prev, struct item, link);
    if (now - oldest->since_ms < shelf->idle_ms) break;
    shelf->expired++;
    item_close(oldest);
  }
  timer_arm(shelf);
}

void wr_shelf_init(struct wr_shelf *shelf, struct wr_loop *loop, uint32_t max, uint32_t idle_ms) {
  *shelf = (struct wr_shelf){ .loop = loop, .max = max, .idle_ms = idle_ms };
  wr_list_init(&shelf->items);
  wr_timer_init(&shelf->timer, timer_fire);
}

void wr_shelf_clear(struct wr_shelf *shelf) {
  while (!wr_list_empty(&shelf->items))
    item_close(WR_CONTAINER(shelf->items.next, struct item, link));
  wr_heap_free(WR_HEAP_UPSTREAM, shelf->spare);
  shelf->spare = NULL;
  WR_CHECK(shelf->count == 0);
  wr_timer_clear(&shelf->timer);
}

void wr_shelf_fini(struct wr_shelf *shelf) { wr_shelf_clear(shelf); }

void wr_shelf_put(struct wr_shelf *shelf, struct wr_conn *take_conn) {
  WR_DCHECK(take_conn != NULL);
  struct item *it = NULL;
  bool quiet = wr_conn_state(take_conn) == WR_CONN_OPEN && !wr_conn_got_eof(take_conn) &&
               wr_conn_input_bytes(take_conn) == 0 && wr_conn_unsent_bytes(take_conn) == 0;
  if (quiet && shelf->count < shelf->max) it = item_new(shelf);
  if (!it) {
    wr_conn_close(take_conn);
    return;
  }
  wr_task_init(&it->task, item_run);
  it->conn = take_conn;
  wr_list_init(&it->link);
  wr_list_push_front(&shelf->items, &it->link);
  shelf->count++;
  wr_conn_set_owner(take_conn, &it->task);
  wr_conn_set_credit(take_conn, WR_CONN_CREDIT_BYTES);
  wr_conn_resume(take_conn);
  if (!wr_timer_is_set(&shelf->timer)) timer_arm(shelf);
}

struct wr_conn *wr_shelf_take(struct wr_shelf *shelf) {
  while (!wr_list_empty(&shelf->items)) {
    struct item *it = WR_CONTAINER(shelf->items.next, struct item, link);
    struct wr_conn *conn = it->conn;
    bool quiet = wr_conn_state(conn) == WR_CONN_OPEN && !wr_conn_got_eof(conn) &&
                 wr_conn_input_bytes(conn) == 0;
    item_free(it);
    if (quiet) {
      wr_conn_set_owner(conn, NULL);
      shelf->hits++;
      return conn;
    }
    shelf->dropped++;
    wr_conn_close(conn);
  }
  shelf->misses++;
  return NULL;
}

/* The states of a client, and what moves it from one to the next. */
#include "mock/client.h"

#include <stdio.h>

#include "base/check.h"
#include "base/heap.h"

/* Steps and writes that one client may do in a turn of the loop, so that others have theirs. */
#define TURN_BUDGET 64u
/* A client that reads nothing acknowledges nothing either. */
#define ARRIVAL_MAX_MS 100u

static const char *outcome(const struct wr_mock_client *c, bool whole) {
  const struct wr_mock_exchange *x = c->exchange;
  if (x->fired) return wr_mock_fault_name((enum wr_mock_fault_kind)x->knobs.fault.kind);
  return whole ? "complete" : "client_gone";
}

/* The end of an exchange, whole or not. */
static void exchange_done(struct wr_mock_client *c, bool whole) {
  struct wr_mock_exchange *x = c->exchange;
  struct wr_mock *m = c->mock;
  if (x == NULL) return;
  if (x->fired) m->counters.faults++;
  if (!whole && !x->fired) m->counters.cancelled++;
  if (x->streams) m->counters.open_streams--;
  if (x->streams && whole && !x->fired) m->counters.completed++;
  if (m->options.log)
    (void)fprintf(stderr, "mock path=%s status=%u outcome=%s events=%u ms=%llu\n", x->path,
                  x->status, outcome(c, whole), x->events,
                  (unsigned long long)(wr_loop_now_us(m->loop) - x->started_us) / 1000);
  wr_mock_exchange_free(x);
  c->exchange = NULL;
}

void wr_mock_client_end(struct wr_mock_client *c, bool abort) {
  WR_MAGIC_CHECK(c, WR_MOCK_CLIENT_MAGIC);
  exchange_done(c, false);
  c->magic = 0;
  c->mock->counters.open_connections--;
  wr_timer_clear(&c->timer);
  wr_conn_set_owner(c->conn, NULL);
  wr_loop_unmark(&c->task);
  wr_list_remove(&c->link);
  if (abort)
    wr_conn_abort(c->conn);
  else
    wr_conn_close(c->conn);
  wr_heap_free(WR_HEAP_MOCK, c->pending);
  wr_heap_free(WR_HEAP_MOCK, c->head);
  wr_heap_free(WR_HEAP_MOCK, c);
}

static enum wr_mock_turn gone(struct wr_mock_client *c, bool abort) {
  wr_mock_client_end(c, abort);
  return WR_MOCK_TURN_GONE;
}

/* All was produced: when all has been sent too, what comes after it. */
static enum wr_mock_turn step_flush(struct wr_mock_client *c) {
  bool ok;
  if (!wr_mock_client_drain(c, &ok)) return ok ? WR_MOCK_TURN_WAIT : gone(c, true);
  switch ((enum wr_mock_after)c->after) {
    case WR_MOCK_AFTER_KEEP:
    case WR_MOCK_AFTER_CLOSE: {
      bool keep = c->after == WR_MOCK_AFTER_KEEP && c->exchange->keep;
      exchange_done(c, true);
      if (!keep) return gone(c, false);
      c->state = WR_MOCK_HEAD;
      return WR_MOCK_TURN_MORE;
    }
    case WR_MOCK_AFTER_ABORT:
      /* What was promised before the reset has to have left, and not only as far as the kernel. */
      if (wr_conn_unsent_bytes(c->conn) > 0) return WR_MOCK_TURN_WAIT;
      if (wr_conn_unacked_bytes(c->conn) > 0 && c->waits < ARRIVAL_MAX_MS) {
        c->waits++;
        wr_timer_set(c->mock->loop, &c->timer, 1);
        return WR_MOCK_TURN_WAIT;
      }
      exchange_done(c, true);
      return gone(c, true);
    case WR_MOCK_AFTER_HOLD: c->state = WR_MOCK_HOLD; return WR_MOCK_TURN_MORE;
  }
  return WR_MOCK_TURN_WAIT;
}

static enum wr_mock_turn step(struct wr_mock_client *c) {
  switch ((enum wr_mock_state)c->state) {
    case WR_MOCK_ACCEPTED: return WR_MOCK_TURN_WAIT;
    case WR_MOCK_HEAD: return wr_mock_client_read_head(c);
    case WR_MOCK_BODY: return wr_mock_client_read_body(c);
    case WR_MOCK_DELAY:
      return wr_timer_is_set(&c->timer) ? WR_MOCK_TURN_WAIT : wr_mock_client_reply(c);
    case WR_MOCK_STREAM: return wr_mock_client_stream(c);
    case WR_MOCK_FLUSH: return step_flush(c);
    case WR_MOCK_HOLD: return WR_MOCK_TURN_WAIT;
  }
  return WR_MOCK_TURN_WAIT;
}

/* A client that closed while only the clock was waited for: nothing more would tell. */
static bool has_left(const struct wr_mock_client *c) {
  if (!wr_conn_got_eof(c->conn)) return false;
  return c->state == WR_MOCK_DELAY || c->state == WR_MOCK_HOLD ||
         (c->state == WR_MOCK_STREAM && c->on_timer);
}

static void client_run(struct wr_task *task) {
  struct wr_mock_client *c = WR_CONTAINER(task, struct wr_mock_client, task);
  WR_MAGIC_CHECK(c, WR_MOCK_CLIENT_MAGIC);
  if (wr_conn_state(c->conn) == WR_CONN_FAILED) {
    wr_mock_client_end(c, true);
    return;
  }
  if (wr_conn_state(c->conn) != WR_CONN_OPEN) return;
  enum wr_mock_turn turn = WR_MOCK_TURN_MORE;
  for (c->budget = TURN_BUDGET; turn == WR_MOCK_TURN_MORE && c->budget > 0;
       c->budget -= c->budget > 0) {
    turn = step(c);
    if (turn == WR_MOCK_TURN_GONE) return;
  }
  if (turn == WR_MOCK_TURN_WAIT && has_left(c)) {
    wr_mock_client_end(c, true);
    return;
  }
  /* A turn's share that is used up, also in the middle of bytes that the socket would take: nobody
   * else would tell. */
  if (turn == WR_MOCK_TURN_MORE || (c->pending != NULL && wr_conn_unsent_bytes(c->conn) == 0))
    wr_loop_mark(c->mock->loop, &c->task);
}

static void client_timer(struct wr_timer *timer) {
  struct wr_mock_client *c = WR_CONTAINER(timer, struct wr_mock_client, timer);
  WR_MAGIC_CHECK(c, WR_MOCK_CLIENT_MAGIC);
  if (c->state == WR_MOCK_ACCEPTED) {
    c->state = WR_MOCK_HEAD;
    wr_conn_resume(c->conn);
  }
  wr_loop_mark(c->mock->loop, &c->task);
}

void wr_mock_client_accept(struct wr_mock *mock, struct wr_conn *take_conn) {
  struct wr_mock_client *c = wr_heap_zalloc(WR_HEAP_MOCK, sizeof *c);
  if (c == NULL) {
    wr_conn_abort(take_conn);
    return;
  }
  c->magic = WR_MOCK_CLIENT_MAGIC;
  c->mock = mock;
  c->conn = take_conn;
  wr_task_init(&c->task, client_run);
  wr_timer_init(&c->timer, client_timer);
  wr_list_init(&c->link);
  wr_list_push_back(&mock->clients, &c->link);
  mock->counters.connections++;
  mock->counters.open_connections++;
  wr_conn_set_owner(take_conn, &c->task);
  c->state = WR_MOCK_HEAD;
  if (mock->options.accept_delay_ms > 0) {
    c->state = WR_MOCK_ACCEPTED;
    wr_conn_pause(take_conn);
    wr_timer_set(mock->loop, &c->timer, mock->options.accept_delay_ms);
    return;
  }
  wr_loop_mark(mock->loop, &c->task);
}

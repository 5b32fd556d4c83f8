/* The life of one slot: connect or reuse, ask, read, judge the end. */
#include "load/stream.h"

#include <string.h>

#include "base/check.h"
#include "base/heap.h"
#include "wire/http1_parse.h"

/* A server that refuses isn't asked again at once. */
#define REST_MS 20
#define HEAD_MAX_BYTES 16384
/* What a slow reader takes at a time. */
#define SLOW_CREDIT_BYTES 1024

static void drop_conn(struct wr_load_stream *s, bool abort) {
  struct wr_conn *conn = s->conn;
  s->conn = NULL;
  wr_loop_unmark(&s->task);
  if (conn == NULL) return;
  if (abort)
    wr_conn_abort(conn);
  else
    wr_conn_close(conn);
}

/* No stream any more; the connection is the caller's business. */
static void clear(struct wr_load_stream *s) {
  struct wr_load *load = s->load;
  WR_DCHECK(s->state == WR_LOAD_HEAD || s->state == WR_LOAD_BODY);
  wr_timer_clear(&s->timer);
  load->open--;
  if (s->has_content) load->streaming--;
  if (++load->ended == load->plan.count) load->over_ns = wr_load_now_ns();
  s->has_content = false;
  s->held_len = 0;
  s->state = WR_LOAD_IDLE;
}

static void end_whole(struct wr_load_stream *s, uint64_t now_ns) {
  struct wr_load *load = s->load;
  load->totals.whole++;
  if (now_ns > s->due_ns) wr_load_hist_add(&load->totals.span, now_ns - s->due_ns);
  if (s->has_stamps) wr_load_order_end(&s->order, load->totals.faults);
  clear(s);
  if (!s->reusable || load->plan.fresh) drop_conn(s, false);
  wr_load_slot_free(s);
}

static void end_left(struct wr_load_stream *s) {
  s->load->totals.left++;
  clear(s);
  drop_conn(s, true);
  wr_load_slot_free(s);
}

/* The kind has been counted. */
static void end_failed(struct wr_load_stream *s) {
  s->load->totals.failed++;
  clear(s);
  drop_conn(s, true);
  s->state = WR_LOAD_REST;
  wr_timer_set(s->load->loop, &s->timer, REST_MS);
}

static void fail(struct wr_load_stream *s, enum wr_load_fault kind) {
  s->load->totals.faults[kind]++;
  end_failed(s);
}

/* The body's own end has come. */
static void judge_end(struct wr_load_stream *s, uint64_t now_ns) {
  if (s->saw_error)
    fail(s, WR_LOAD_ERROR_EVENT);
  else if (!s->saw_end)
    fail(s, WR_LOAD_TRUNCATED);
  else if (s->held_len > 0)
    fail(s, WR_LOAD_FRAMING);
  else
    end_whole(s, now_ns);
}

static void start_body(struct wr_load_stream *s, const struct wr_head *head) {
  wr_http1_body_init(&s->body, (enum wr_framing)head->framing, head->content_length);
  s->reusable = head->keep_alive;
  s->state = WR_LOAD_BODY;
  if (wr_load_api_is_sse(s->load->plan.api))
    wr_sse_init(&s->cut.sse, 0);
  else
    wr_ndjson_init(&s->cut.lines, 0);
}

/* Each of the takers returns false when the stream is over. */
static bool take_body(struct wr_load_stream *s, struct wr_span in, uint64_t now_ns) {
  while (in.len > 0) {
    size_t used = 0;
    struct wr_span data;
    enum wr_err err = wr_http1_body_next(&s->body, in, &used, &data);
    uint64_t bad = s->load->totals.faults[WR_LOAD_FRAMING] + s->load->totals.faults[WR_LOAD_MEMORY];
    if (data.len > 0 && !wr_load_events_take(s, data, now_ns)) {
      bool broken = s->load->totals.faults[WR_LOAD_FRAMING] +
                    s->load->totals.faults[WR_LOAD_MEMORY] != bad;
      if (broken)
        end_failed(s);
      else
        end_left(s);
      return false;
    }
    in = wr_span_sub(in, used, in.len - used);
    if (err == WR_E_END) {
      /* Nothing was asked for that could come behind the answer. */
      if (in.len > 0)
        fail(s, WR_LOAD_FRAMING);
      else
        judge_end(s, now_ns);
      return false;
    }
    if (err != WR_OK && err != WR_E_AGAIN) {
      fail(s, WR_LOAD_FRAMING);
      return false;
    }
  }
  return true;
}

static bool take_head(struct wr_load_stream *s, struct wr_span in, uint64_t now_ns) {
  struct wr_head *head = &s->load->head;
  struct wr_span all = in;
  size_t off = 0, len = 0;
  bool parts = s->held_len > 0;
  if (parts) {
    if (!wr_load_hold(s, in)) {
      end_failed(s);
      return false;
    }
    all = wr_span_make(s->held, s->held_len);
  }
  enum wr_err err = wr_http1_head_end(all, &s->resume, HEAD_MAX_BYTES, &off, &len);
  if (err == WR_E_AGAIN) {
    if (parts || wr_load_hold(s, in)) return true;
    end_failed(s);
    return false;
  }
  if (err == WR_OK)
    err = wr_http1_parse_response(wr_span_sub(all, off, len), WR_METHOD_POST, NULL, head);
  if (err != WR_OK || head->status != 200) {
    if (err == WR_OK) s->load->totals.last_status = head->status;
    fail(s, err == WR_OK ? WR_LOAD_STATUS : WR_LOAD_FRAMING);
    return false;
  }
  start_body(s, head);
  if (head->framing == WR_FRAMING_NONE) {
    judge_end(s, now_ns);
    return false;
  }
  /* What is held from here on are events: the head's bytes, and what came with them, go aside. */
  char *old = parts ? s->held : NULL;
  if (parts) {
    s->held = NULL;
    s->held_len = s->held_cap = 0;
  }
  bool more = take_body(s, wr_span_sub(all, off + len, all.len - off - len), now_ns);
  wr_heap_free(WR_HEAP_CLI, old);
  return more;
}

static enum wr_load_fault fault_of(const struct wr_load_stream *s) {
  switch (wr_conn_err(s->conn)) {
    case WR_E_CONNECT: return WR_LOAD_CONNECT;
    case WR_E_TLS:
    case WR_E_TLS_VERIFY: return WR_LOAD_TLS;
    default: return WR_LOAD_RESET;
  }
}

/* The other side has ended; what it sent has been read. */
static void see_eof(struct wr_load_stream *s, uint64_t now_ns) {
  if (s->state == WR_LOAD_BODY && wr_conn_err(s->conn) == WR_OK &&
      wr_http1_body_eof(&s->body) == WR_OK) {
    s->reusable = false;
    judge_end(s, now_ns);
    return;
  }
  /* A relay may break the framing behind its error, so that nobody takes the answer as whole. */
  fail(s, s->saw_error ? WR_LOAD_ERROR_EVENT : WR_LOAD_RESET);
}

static void set_pause(struct wr_load_stream *s, size_t bytes) {
  wr_conn_pause(s->conn);
  s->paused = true;
  wr_timer_set(s->load->loop, &s->timer, bytes * 1000 / s->load->plan.slow_bytes + 1);
}

/* False: the slot has no stream any more, or a new one. */
static bool read_all(struct wr_load_stream *s, uint64_t *now_ns) {
  struct wr_view v;
  while (!s->paused && wr_conn_take(s->conn, &v)) {
    if (*now_ns == 0) {
      *now_ns = wr_load_now_ns();
      s->heard_ms = *now_ns / 1000000;
    }
    struct wr_span in = wr_view_span(&v);
    bool more = s->state == WR_LOAD_HEAD ? take_head(s, in, *now_ns) : take_body(s, in, *now_ns);
    size_t len = v.len;
    wr_view_drop(&v);
    if (!more) return false;
    if (s->slow) set_pause(s, len);
  }
  return true;
}

static void run(struct wr_task *task) {
  struct wr_load_stream *s = WR_CONTAINER(task, struct wr_load_stream, task);
  uint64_t now_ns = 0;
  if (s->conn == NULL) return;
  if (s->state == WR_LOAD_IDLE) {
    /* Nothing may come on a connection that waits for its next stream but its end. */
    if (wr_conn_state(s->conn) == WR_CONN_FAILED || wr_conn_got_eof(s->conn) ||
        wr_conn_input_bytes(s->conn) > 0)
      drop_conn(s, true);
    return;
  }
  if (s->state != WR_LOAD_HEAD && s->state != WR_LOAD_BODY) return;
  if (!read_all(s, &now_ns) || s->paused) return;
  if (wr_conn_state(s->conn) == WR_CONN_FAILED) {
    fail(s, fault_of(s));
  } else if (wr_conn_at_eof(s->conn) || wr_conn_err(s->conn) != WR_OK) {
    see_eof(s, wr_load_now_ns());
  } else if (wr_conn_state(s->conn) == WR_CONN_OPEN && wr_conn_unsent_bytes(s->conn) > 0 &&
             wr_conn_flush(s->conn) != WR_OK) {
    fail(s, WR_LOAD_RESET);
  }
}

static void fire(struct wr_timer *timer) {
  struct wr_load_stream *s = WR_CONTAINER(timer, struct wr_load_stream, timer);
  struct wr_load *load = s->load;
  if (s->state == WR_LOAD_REST) {
    s->state = WR_LOAD_IDLE;
    wr_load_slot_free(s);
    return;
  }
  if (s->state == WR_LOAD_IDLE) return;
  if (s->paused) {
    s->paused = false;
    wr_conn_resume(s->conn);
    wr_loop_mark(load->loop, &s->task);
    return;
  }
  uint64_t silent_ms = wr_load_now_ns() / 1000000 - s->heard_ms;
  if (s->slow || (load->plan.hold && s->has_content)) silent_ms = 0;
  if (silent_ms >= load->plan.timeout_ms)
    fail(s, WR_LOAD_TIMEOUT);
  else
    wr_timer_set(load->loop, timer, load->plan.timeout_ms - silent_ms);
}

void wr_load_stream_init(struct wr_load_stream *s, struct wr_load *load) {
  s->load = load;
  wr_list_init(&s->link);
  wr_task_init(&s->task, run);
  wr_timer_init(&s->timer, fire);
}

static bool ask(struct wr_load_stream *s) {
  struct wr_load *load = s->load;
  if (s->conn == NULL) {
    load->totals.dials++;
    enum wr_err err = wr_conn_dial(load->loop, &load->plan.addr, load->plan.tls,
                                   load->plan.server_name, &s->task, &s->conn);
    if (err != WR_OK) {
      s->conn = NULL;
      return false;
    }
    if (s->slow) wr_conn_set_credit(s->conn, SLOW_CREDIT_BYTES);
  }
  if (load->tag_at > 0) {
    char *digit = load->request + load->tag_at + 9;
    for (uint32_t left = s->tag, i = 0; i < 10; i++, left /= 10) *digit-- = (char)('0' + left % 10);
  }
  return wr_conn_write_copy(s->conn, wr_span_make(load->request, load->request_len)) == WR_OK;
}

void wr_load_stream_begin(struct wr_load_stream *s, uint64_t due_ns) {
  struct wr_load *load = s->load;
  const struct wr_load_plan *plan = &load->plan;
  WR_CHECK(s->state == WR_LOAD_IDLE);
  load->begun++;
  load->totals.begun++;
  load->open++;
  s->state = WR_LOAD_HEAD;
  s->due_ns = due_ns;
  s->heard_ms = wr_load_now_ns() / 1000000;
  s->resume = 0;
  s->events = 0;
  s->held_len = 0;
  s->order = (struct wr_load_order){ 0 };
  s->paused = s->has_content = s->has_stamps = s->saw_end = s->saw_error = false;
  s->tag = load->next_tag++;
  if (load->next_tag < 2) load->next_tag = 2;
  s->slow = plan->slow_permille > 0 && wr_rand_below(&load->rand, 1000) < plan->slow_permille;
  bool leaves = plan->leave_permille > 0 && wr_rand_below(&load->rand, 1000) < plan->leave_permille;
  s->leave_after = leaves ? (uint32_t)wr_rand_range(&load->rand, 1, plan->leave_events) : 0;
  if (!ask(s)) {
    fail(s, WR_LOAD_MEMORY);
    return;
  }
  wr_timer_set(load->loop, &s->timer, plan->timeout_ms);
  wr_loop_mark(load->loop, &s->task);
}

void wr_load_stream_fini(struct wr_load_stream *s) {
  if (s->state == WR_LOAD_HEAD || s->state == WR_LOAD_BODY) clear(s);
  wr_timer_clear(&s->timer);
  drop_conn(s, true);
  wr_loop_unmark(&s->task);
  wr_list_remove(&s->link);
  wr_heap_free(WR_HEAP_CLI, s->held);
  s->held = NULL;
  s->held_len = s->held_cap = 0;
  s->state = WR_LOAD_IDLE;
}

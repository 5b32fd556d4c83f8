#include "load/load.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/heap.h"
#include "load/stream.h"

/* New connections in one millisecond while a load begins: what a listener's queue can hold. */
#define RAMP_STREAMS 64
/* Waits that are added when a load stops with streams due. */
#define BACKLOG_MAX 1000000u

uint64_t wr_load_now_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static enum wr_err build_request(struct wr_load *load) {
  const struct wr_load_plan *plan = &load->plan;
  struct wr_buf body, out;
  char room[4096];
  struct wr_span text = plan->body;
  if (text.len == 0) {
    wr_buf_init(&body, room, sizeof room);
    wr_load_api_body(plan->api, wr_span_str(plan->model), plan->tokens, &body);
    if (body.overflow) return WR_E_ARG;
    text = wr_buf_span(&body);
  }
  load->request = wr_heap_alloc(WR_HEAP_CLI, WR_LOAD_REQUEST_BYTES);
  if (load->request == NULL) return WR_E_NOMEM;
  wr_buf_init(&out, load->request, WR_LOAD_REQUEST_BYTES);
  wr_buf_printf(&out, "POST %s HTTP/1.1\r\nhost: %s\r\nuser-agent: weir-bench\r\naccept: */*\r\n",
                plan->path, plan->authority);
  if (plan->fresh) wr_buf_put(&out, WR_SPAN("connection: close\r\n"));
  if (plan->tokens > 0)
    wr_buf_printf(&out, "x-mock-tokens: %llu\r\n", (unsigned long long)plan->tokens);
  if (plan->hold) wr_buf_put(&out, WR_SPAN("x-mock-fault: stall@3\r\n"));
  if (plan->stamps) {
    wr_buf_put(&out, WR_SPAN("x-mock-stamp: "));
    load->tag_at = out.len;
    wr_buf_put(&out, WR_SPAN("0000000000\r\n"));
  }
  wr_buf_put(&out, wr_span_str(wr_load_api_fields(plan->api)));
  wr_buf_put(&out, wr_span_str(plan->fields));
  wr_buf_put(&out, WR_SPAN("content-type: application/json\r\ncontent-length: "));
  wr_buf_u64(&out, text.len);
  wr_buf_put(&out, WR_SPAN("\r\n\r\n"));
  wr_buf_put(&out, text);
  load->request_len = out.len;
  return out.overflow ? WR_E_ARG : WR_OK;
}

static bool may_begin(const struct wr_load *load) {
  if (!load->running) return false;
  return load->plan.count == 0 || load->begun < load->plan.count;
}

/* When stream number n of an open loop is due, on a grid of milliseconds, which is what the
 * loop's timers have. */
static uint64_t due_of(const struct wr_load *load, uint64_t n) {
  uint64_t after_ms = (uint64_t)((double)n * 1000.0 / load->plan.rate);
  return load->start_ns + after_ms * 1000000;
}

uint64_t wr_load_backlog(const struct wr_load *load) {
  if (!(load->plan.rate > 0) || load->start_ns == 0) return 0;
  double s = (double)(wr_load_now_ns() - load->start_ns) / 1e9;
  uint64_t due = (uint64_t)(s * load->plan.rate) + 1;
  if (load->plan.count > 0 && due > load->plan.count) due = load->plan.count;
  return due > load->begun ? due - load->begun : 0;
}

static void begin_due(struct wr_load *load, uint64_t now_ns) {
  while (may_begin(load) && !wr_list_empty(&load->free_slots)) {
    uint64_t due = due_of(load, load->begun);
    if (due > now_ns) {
      wr_timer_set(load->loop, &load->timer, (due - now_ns + 999999) / 1000000);
      return;
    }
    struct wr_list *link = wr_list_pop_front(&load->free_slots);
    wr_load_stream_begin(WR_CONTAINER(link, struct wr_load_stream, link), due);
  }
}

static void begin_closed(struct wr_load *load, uint64_t now_ns) {
  for (uint32_t i = 0; i < RAMP_STREAMS && may_begin(load); i++) {
    struct wr_list *link = wr_list_pop_front(&load->free_slots);
    if (link == NULL) return;
    wr_load_stream_begin(WR_CONTAINER(link, struct wr_load_stream, link), now_ns);
  }
  if (!wr_list_empty(&load->free_slots)) wr_timer_set(load->loop, &load->timer, 1);
}

static void fire(struct wr_timer *timer) {
  struct wr_load *load = WR_CONTAINER(timer, struct wr_load, timer);
  uint64_t now_ns = wr_load_now_ns();
  if (!load->running) return;
  if (load->plan.rate > 0)
    begin_due(load, now_ns);
  else
    begin_closed(load, now_ns);
}

/* Connections that were used last are used first, so that few are open. */
void wr_load_slot_free(struct wr_load_stream *s) {
  struct wr_load *load = s->load;
  if (!load->running) return;
  if (load->plan.rate > 0) {
    wr_list_push_front(&load->free_slots, &s->link);
    begin_due(load, wr_load_now_ns());
  } else if (!load->plan.hold && may_begin(load)) {
    wr_load_stream_begin(s, wr_load_now_ns());
  }
}

enum wr_err wr_load_new(struct wr_loop *loop, const struct wr_load_plan *plan,
                        struct wr_load **out) {
  bool fits = plan->streams > 0 && plan->streams <= WR_LOAD_MAX_STREAMS && plan->timeout_ms > 0;
  fits = fits && plan->rate >= 0 && plan->slow_permille <= 1000 && plan->leave_permille <= 1000;
  fits = fits && (plan->slow_permille == 0 || plan->slow_bytes > 0);
  if (!fits || (plan->leave_permille > 0 && plan->leave_events == 0)) return WR_E_ARG;
  struct wr_load *load = wr_heap_zalloc(WR_HEAP_CLI, sizeof *load);
  if (load == NULL) return WR_E_NOMEM;
  load->loop = loop;
  load->plan = *plan;
  load->next_tag = 2;
  wr_list_init(&load->free_slots);
  wr_timer_init(&load->timer, fire);
  wr_rand_init(&load->rand, 1);
  load->slots = wr_heap_zalloc(WR_HEAP_CLI, plan->streams * sizeof *load->slots);
  enum wr_err err = load->slots != NULL ? build_request(load) : WR_E_NOMEM;
  for (uint32_t i = 0; err == WR_OK && i < plan->streams; i++) {
    wr_load_stream_init(&load->slots[i], load);
    wr_list_push_back(&load->free_slots, &load->slots[i].link);
  }
  if (err == WR_OK) {
    *out = load;
    return WR_OK;
  }
  wr_heap_free(WR_HEAP_CLI, load->slots);
  wr_heap_free(WR_HEAP_CLI, load->request);
  wr_heap_free(WR_HEAP_CLI, load);
  return err;
}

void wr_load_start(struct wr_load *load) {
  load->running = true;
  load->start_ns = wr_load_now_ns();
  wr_timer_set(load->loop, &load->timer, 0);
}

void wr_load_reset(struct wr_load *load) { load->totals = (struct wr_load_totals){ 0 }; }

void wr_load_stop(struct wr_load *load) {
  uint64_t now_ns = wr_load_now_ns();
  uint64_t backlog = load->running ? wr_load_backlog(load) : 0;
  if (backlog > BACKLOG_MAX) backlog = BACKLOG_MAX;
  load->running = false;
  for (uint64_t i = 0; i < backlog; i++) {
    uint64_t due = due_of(load, load->begun + i);
    if (due < now_ns) wr_load_hist_add(&load->totals.first, now_ns - due);
  }
  for (uint32_t i = 0; i < load->plan.streams; i++) {
    struct wr_load_stream *s = &load->slots[i];
    bool waits = s->state == WR_LOAD_HEAD || s->state == WR_LOAD_BODY;
    if (waits && !s->has_content && now_ns > s->due_ns)
      wr_load_hist_add(&load->totals.first, now_ns - s->due_ns);
    wr_load_stream_fini(s);
  }
}

void wr_load_free(struct wr_load *load) {
  if (load == NULL) return;
  load->running = false;
  wr_timer_clear(&load->timer);
  for (uint32_t i = 0; i < load->plan.streams; i++) wr_load_stream_fini(&load->slots[i]);
  wr_heap_free(WR_HEAP_CLI, load->slots);
  wr_heap_free(WR_HEAP_CLI, load->request);
  wr_heap_free(WR_HEAP_CLI, load);
}

const struct wr_load_totals *wr_load_totals(const struct wr_load *load) { return &load->totals; }

uint32_t wr_load_open(const struct wr_load *load) { return load->open; }

uint32_t wr_load_streaming(const struct wr_load *load) { return load->streaming; }

uint64_t wr_load_over_ns(const struct wr_load *load) { return load->over_ns; }

bool wr_load_is_over(const struct wr_load *load) {
  return load->plan.count > 0 && load->ended >= load->plan.count;
}

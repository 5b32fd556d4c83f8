/* Cuts the body of a stream into events, checks each, and takes the time. */
#include <string.h>

#include "base/heap.h"
#include "load/stream.h"

#define HELD_FIRST_BYTES 1024u
#define HELD_MAX_BYTES (1024u * 1024)

bool wr_load_hold(struct wr_load_stream *s, struct wr_span bytes) {
  size_t want = s->held_len + bytes.len;
  if (want > s->held_cap) {
    size_t cap = s->held_cap > 0 ? s->held_cap : HELD_FIRST_BYTES;
    while (cap < want) cap *= 2;
    char *grown = cap <= HELD_MAX_BYTES ? wr_heap_realloc(WR_HEAP_CLI, s->held, cap) : NULL;
    if (grown == NULL) {
      s->load->totals.faults[cap <= HELD_MAX_BYTES ? WR_LOAD_MEMORY : WR_LOAD_FRAMING]++;
      return false;
    }
    s->held = grown;
    s->held_cap = (uint32_t)cap;
  }
  if (bytes.len > 0) memcpy(s->held + s->held_len, bytes.ptr, bytes.len);
  s->held_len = (uint32_t)want;
  return true;
}

static void check_stamp(struct wr_load_stream *s, enum wr_load_sign sign, struct wr_span data,
                        uint64_t now_ns) {
  struct wr_load_totals *t = &s->load->totals;
  struct wr_mock_stamp stamp;
  if (wr_mock_stamp_read(data, &stamp)) {
    s->has_stamps = true;
    t->stamped++;
    wr_load_order_see(&s->order, &stamp, s->tag, t->faults);
    if (now_ns >= stamp.sent_ns) wr_load_hist_add(&t->delay, now_ns - stamp.sent_ns);
    return;
  }
  wr_load_order_skip(&s->order);
  if (sign == WR_LOAD_PLAIN && (s->has_stamps || s->load->plan.must_stamp))
    t->faults[WR_LOAD_UNSTAMPED]++;
}

static void take_time(struct wr_load_stream *s, struct wr_span name, struct wr_span data,
                      uint64_t now_ns) {
  struct wr_load *load = s->load;
  if (s->has_content) {
    wr_load_hist_add(&load->totals.gap, now_ns - s->last_ns);
  } else {
    if (!wr_load_api_has_content(load->plan.api, name, data)) return;
    s->has_content = true;
    load->streaming++;
    wr_load_hist_add(&load->totals.first, now_ns > s->due_ns ? now_ns - s->due_ns : 0);
  }
  s->last_ns = now_ns;
}

/* False: the client leaves. */
static bool see_event(struct wr_load_stream *s, struct wr_span name, struct wr_span data,
                      uint64_t now_ns) {
  struct wr_load *load = s->load;
  enum wr_load_sign sign = wr_load_api_sign(load->plan.api, name, data);
  load->totals.events++;
  s->events++;
  check_stamp(s, sign, data, now_ns);
  if (sign == WR_LOAD_ENDS) s->saw_end = true;
  if (sign == WR_LOAD_FAILS) s->saw_error = true;
  if (sign == WR_LOAD_PLAIN) take_time(s, name, data, now_ns);
  return s->leave_after == 0 || s->events < s->leave_after;
}

/* The whole event: what was held before, and these bytes. */
static bool joined(struct wr_load_stream *s, struct wr_span bytes, struct wr_span *out) {
  if (s->held_len == 0) {
    *out = bytes;
    return true;
  }
  if (!wr_load_hold(s, bytes)) return false;
  *out = wr_span_make(s->held, s->held_len);
  s->held_len = 0;
  return true;
}

static bool take_sse(struct wr_load_stream *s, struct wr_span in, uint64_t now_ns) {
  while (in.len > 0) {
    struct wr_sse_event ev;
    struct wr_span event;
    size_t used = 0;
    enum wr_err err = wr_sse_next(&s->cut.sse, in, &used, &ev);
    if (err == WR_E_AGAIN) return wr_load_hold(s, in);
    if (err != WR_OK) {
      s->load->totals.faults[WR_LOAD_FRAMING]++;
      return false;
    }
    if (!joined(s, wr_span_sub(in, 0, used), &event)) return false;
    in = wr_span_sub(in, used, in.len - used);
    if (ev.kind != WR_SSE_EVENT) continue;
    if (!see_event(s, wr_span_at(event.ptr, ev.name), wr_span_at(event.ptr, ev.data), now_ns))
      return false;
  }
  return true;
}

static bool take_lines(struct wr_load_stream *s, struct wr_span in, uint64_t now_ns) {
  while (in.len > 0) {
    struct wr_ndjson_line line;
    struct wr_span text;
    size_t used = 0;
    enum wr_err err = wr_ndjson_next(&s->cut.lines, in, &used, &line);
    if (err == WR_E_AGAIN) return wr_load_hold(s, in);
    if (err != WR_OK) {
      s->load->totals.faults[WR_LOAD_FRAMING]++;
      return false;
    }
    if (!joined(s, wr_span_sub(in, 0, used), &text)) return false;
    in = wr_span_sub(in, used, in.len - used);
    if (line.text.len == 0) continue;
    if (!see_event(s, wr_span_make(NULL, 0), wr_span_at(text.ptr, line.text), now_ns))
      return false;
  }
  return true;
}

bool wr_load_events_take(struct wr_load_stream *s, struct wr_span data, uint64_t now_ns) {
  s->load->totals.bytes += data.len;
  return wr_load_api_is_sse(s->load->plan.api) ? take_sse(s, data, now_ns)
                                                : take_lines(s, data, now_ns);
}

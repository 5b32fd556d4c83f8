/* Writes a streamed answer: its pace, its framing, and the faults that befall it on the way. */
#include <time.h>

#include "base/check.h"
#include "mock/client.h"
#include "mock/stamp.h"
#include "mock/trouble.h"
#include "wire/http1_write.h"

/* A pace that fell behind by more than this starts anew: a reader that paused gets no burst. */
#define CATCH_UP_US 1000000u
#define HEAD_BYTES 2048u

static enum wr_mock_turn gone(struct wr_mock_client *c) {
  wr_mock_client_end(c, true);
  return WR_MOCK_TURN_GONE;
}

static bool is_sse(const struct wr_mock_exchange *x) {
  return x->answer.ask.dialect != WR_MOCK_OLLAMA_CHAT &&
         x->answer.ask.dialect != WR_MOCK_OLLAMA_GENERATE;
}

enum wr_mock_turn wr_mock_client_stream_begin(struct wr_mock_client *c) {
  struct wr_mock_exchange *x = c->exchange;
  struct wr_mock *m = c->mock;
  char room[HEAD_BYTES];
  struct wr_buf head;
  uint8_t fault = x->knobs.fault.kind;
  enum wr_mock_framing_said says = WR_MOCK_SAYS_CHUNKED;
  if (x->old || x->knobs.framing == WR_MOCK_UNTIL_CLOSE) says = WR_MOCK_SAYS_NOTHING;
  if (fault == WR_MOCK_FAULT_BOTH_LENGTHS) says = WR_MOCK_SAYS_BOTH;
  if (fault == WR_MOCK_FAULT_EARLY_END) says = WR_MOCK_SAYS_LENGTH;
  x->raw = says == WR_MOCK_SAYS_NOTHING || says == WR_MOCK_SAYS_LENGTH;
  x->fired = x->fired || fault == WR_MOCK_FAULT_BOTH_LENGTHS || fault == WR_MOCK_FAULT_EARLY_END ||
             fault == WR_MOCK_FAULT_GZIP_CLAIM || fault == WR_MOCK_FAULT_SPLIT_HEAD;
  if (says != WR_MOCK_SAYS_CHUNKED) x->keep = false;
  x->streams = true;
  x->status = 200;
  m->counters.streams++;
  m->counters.open_streams++;
  const char *type = is_sse(x) ? "text/event-stream; charset=utf-8" : "application/x-ndjson";
  wr_buf_init(&head, room, sizeof room);
  wr_mock_reply_head(x, 200, type, says, 1000000000, &head);
  if (!WR_EXPECT(!head.overflow)) return gone(c);
  if (fault == WR_MOCK_FAULT_SPLIT_HEAD) c->split_left = (uint32_t)head.len;
  x->due_us = wr_loop_now_us(m->loop) + (uint64_t)x->knobs.first_token_ms * 1000;
  c->state = WR_MOCK_STREAM;
  c->after = WR_MOCK_AFTER_KEEP;
  return wr_mock_client_send(c, wr_buf_span(&head)) ? WR_MOCK_TURN_MORE : gone(c);
}

static struct wr_span line_end(const struct wr_mock_exchange *x) {
  switch ((enum wr_mock_line_end)x->knobs.line_end) {
    case WR_MOCK_LF: break;
    case WR_MOCK_CRLF: return WR_SPAN("\r\n");
    case WR_MOCK_CR: return WR_SPAN("\r");
  }
  return WR_SPAN("\n");
}

/* What stands before and behind a payload. */
static void open_event(const struct wr_mock_exchange *x, struct wr_span name, struct wr_buf *out) {
  if (!is_sse(x)) return;
  if (name.len > 0) {
    wr_buf_put(out, WR_SPAN("event: "));
    wr_buf_put(out, name);
    wr_buf_put(out, line_end(x));
  }
  wr_buf_put(out, WR_SPAN("data: "));
}

static void close_event(const struct wr_mock_exchange *x, struct wr_buf *out) {
  wr_buf_put(out, is_sse(x) ? line_end(x) : WR_SPAN("\n"));
  if (is_sse(x)) wr_buf_put(out, line_end(x));
}

/* One unit of output: the scratch with room before it for a chunk's head. */
static struct wr_buf unit_open(struct wr_mock *m) {
  struct wr_buf unit;
  /* Room behind it for the end of the chunk and the last chunk. */
  wr_buf_init(&unit, m->scratch, m->scratch_cap - 16);
  unit.len = WR_HTTP1_CHUNK_HEAD_BYTES;
  return unit;
}

/* Puts the chunk's frame around the unit and sends it; last: the end of the body too. */
static bool unit_send(struct wr_mock_client *c, struct wr_buf *unit, bool last) {
  size_t len = unit->len - WR_HTTP1_CHUNK_HEAD_BYTES, begin = WR_HTTP1_CHUNK_HEAD_BYTES;
  unit->cap += 16;
  if (!c->exchange->raw) {
    char head[WR_HTTP1_CHUNK_HEAD_BYTES];
    if (len > 0) {
      size_t head_len = wr_http1_chunk_head(head, len);
      begin -= head_len;
      memcpy(unit->ptr + begin, head, head_len);
      wr_buf_put(unit, WR_HTTP1_CRLF);
    }
    if (last) wr_buf_put(unit, WR_HTTP1_LAST_CHUNK);
  }
  if (!WR_EXPECT(!unit->overflow)) return false;
  return wr_mock_client_send(c, wr_span_make(unit->ptr + begin, unit->len - begin));
}

/* The clock is read for each event: a batch is made at one time, but a stamp is for measuring. */
static void put_stamp(struct wr_mock_exchange *x, size_t from, struct wr_buf *unit) {
  struct wr_mock_event next;
  struct timespec t;
  bool more = wr_mock_answer_peek(&x->answer, &next) == WR_OK;
  bool done = more && next.last && x->answer.ask.dialect == WR_MOCK_CHAT;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  struct wr_mock_stamp stamp = { .tag = x->knobs.stamp, .number = x->events,
                                 .last = !more || done,
                                 .sent_ns = (uint64_t)t.tv_sec * 1000000000u +
                                            (uint64_t)t.tv_nsec };
  (void)wr_mock_stamp_put(unit, from, &stamp);
}

/* Appends the next event. False when the answer is at its end or memory is short (*ok false). */
static bool append_event(struct wr_mock_client *c, struct wr_buf *unit, bool *ok) {
  struct wr_mock_exchange *x = c->exchange;
  struct wr_mock_event event;
  *ok = true;
  if (wr_mock_answer_peek(&x->answer, &event) != WR_OK) return false;
  for (;;) {
    size_t before = unit->len;
    struct wr_mock_answer saved = x->answer;
    open_event(x, event.name, unit);
    size_t from = unit->len;
    enum wr_err err = unit->overflow ? WR_E_NOMEM : wr_mock_answer_next(&x->answer, unit);
    if (err == WR_OK && x->knobs.stamp != 0) put_stamp(x, from, unit);
    if (err == WR_OK) close_event(x, unit);
    if (err == WR_OK && !unit->overflow) break;
    x->answer = saved;
    *ok = (err == WR_OK || err == WR_E_NOMEM) && wr_mock_scratch_grow(c->mock);
    if (!*ok) return false;
    *unit = unit_open(c->mock);
    unit->len = before;
  }
  x->events++;
  c->mock->counters.events++;
  return true;
}

static void append_payload(struct wr_mock_client *c, struct wr_span name, struct wr_span payload,
                           struct wr_buf *unit) {
  open_event(c->exchange, name, unit);
  wr_buf_put(unit, payload);
  close_event(c->exchange, unit);
  c->exchange->events++;
  c->mock->counters.events++;
}

/* Everything has been produced; a body without a length of its own ends with the connection. */
static enum wr_mock_turn finish(struct wr_mock_client *c, enum wr_mock_after after) {
  c->state = WR_MOCK_FLUSH;
  c->after = (uint8_t)after;
  if (after != WR_MOCK_AFTER_KEEP) c->exchange->keep = false;
  return WR_MOCK_TURN_MORE;
}

/* The clean end of the body, whatever the dialect would still have said. */
static enum wr_mock_turn end_body(struct wr_mock_client *c) {
  struct wr_buf unit = unit_open(c->mock);
  if (!c->exchange->raw && !unit_send(c, &unit, true)) return gone(c);
  return finish(c, WR_MOCK_AFTER_KEEP);
}

static enum wr_mock_turn fault_truncate(struct wr_mock_client *c) {
  struct wr_buf unit = unit_open(c->mock);
  char head[WR_HTTP1_CHUNK_HEAD_BYTES];
  bool ok;
  if (!append_event(c, &unit, &ok) && !ok) return gone(c);
  size_t begin = WR_HTTP1_CHUNK_HEAD_BYTES, len = unit.len - begin;
  if (!c->exchange->raw && len > 0) {
    size_t head_len = wr_http1_chunk_head(head, len);
    begin -= head_len;
    memcpy(unit.ptr + begin, head, head_len);
  }
  size_t sent = WR_HTTP1_CHUNK_HEAD_BYTES - begin + len / 2;
  if (!wr_mock_client_send(c, wr_span_make(unit.ptr + begin, sent))) return gone(c);
  return finish(c, WR_MOCK_AFTER_CLOSE);
}

static enum wr_mock_turn fault_bad_chunk(struct wr_mock_client *c) {
  struct wr_buf unit = unit_open(c->mock);
  bool ok;
  if (!append_event(c, &unit, &ok) && !ok) return gone(c);
  size_t begin = WR_HTTP1_CHUNK_HEAD_BYTES - 4;
  memcpy(unit.ptr + begin, "zz\r\n", 4);
  wr_buf_put(&unit, WR_HTTP1_CRLF);
  if (!wr_mock_client_send(c, wr_span_make(unit.ptr + begin, unit.len - begin))) return gone(c);
  return finish(c, WR_MOCK_AFTER_CLOSE);
}

static enum wr_mock_turn fault_payload(struct wr_mock_client *c, bool error) {
  struct wr_buf unit = unit_open(c->mock);
  char room[256];
  struct wr_buf text;
  struct wr_span name = wr_span_make(NULL, 0), payload = WR_SPAN("{\"broken\": ");
  wr_buf_init(&text, room, sizeof room);
  if (error) {
    name = wr_mock_trouble_event(c->exchange->route.dialect, c->exchange->events, &text);
    payload = wr_buf_span(&text);
  } else {
    /* Under the name of the event that it stands before: clients skip names that they don't know.
     */
    struct wr_mock_event next = { 0 };
    if (wr_mock_answer_peek(&c->exchange->answer, &next) == WR_OK) name = next.name;
  }
  append_payload(c, name, payload, &unit);
  if (!unit_send(c, &unit, error)) return gone(c);
  return error ? finish(c, WR_MOCK_AFTER_KEEP) : WR_MOCK_TURN_MORE;
}

static void reverse(char *bytes, size_t len) {
  for (size_t i = 0; i < len / 2; i++) {
    char c = bytes[i];
    bytes[i] = bytes[len - 1 - i];
    bytes[len - 1 - i] = c;
  }
}

/* Another letter for one in the first half, so that JSON stays JSON. */
static void garble(char *bytes, size_t len) {
  for (size_t i = len / 2; i > 0; i--) {
    char *c = bytes + i - 1;
    if (*c < 'a' || *c > 'y') continue;
    (*c)++;
    return;
  }
}

/* An event that is lost, repeated, late or altered: what a stream must never show, and what a
 * checking client has to find. */
static enum wr_mock_turn fault_event(struct wr_mock_client *c, enum wr_mock_fault_kind kind) {
  struct wr_buf unit = unit_open(c->mock);
  size_t begin = unit.len;
  bool ok = true, more = append_event(c, &unit, &ok);
  size_t first = unit.len - begin;
  if (!ok) return gone(c);
  if (!more || kind == WR_MOCK_FAULT_DROP) return WR_MOCK_TURN_MORE;
  if (kind == WR_MOCK_FAULT_TWICE) {
    if (unit.len + first > unit.cap && !wr_mock_scratch_grow(c->mock)) return gone(c);
    unit.ptr = c->mock->scratch;
    unit.cap = c->mock->scratch_cap - 16;
    wr_buf_put(&unit, wr_span_make(unit.ptr + begin, first));
  } else if (kind == WR_MOCK_FAULT_SWAP) {
    if (!append_event(c, &unit, &ok) && !ok) return gone(c);
    reverse(unit.ptr + begin, first);
    reverse(unit.ptr + begin + first, unit.len - begin - first);
    reverse(unit.ptr + begin, unit.len - begin);
  } else {
    garble(unit.ptr + begin, first);
  }
  return unit_send(c, &unit, false) ? WR_MOCK_TURN_MORE : gone(c);
}

/* The fault's place has been reached. */
static enum wr_mock_turn meet_fault(struct wr_mock_client *c) {
  c->exchange->fired = true;
  switch ((enum wr_mock_fault_kind)c->exchange->knobs.fault.kind) {
    case WR_MOCK_FAULT_STALL: return finish(c, WR_MOCK_AFTER_HOLD);
    case WR_MOCK_FAULT_RESET: return finish(c, WR_MOCK_AFTER_ABORT);
    case WR_MOCK_FAULT_CUT:
    case WR_MOCK_FAULT_NO_DONE: return end_body(c);
    case WR_MOCK_FAULT_TRUNCATE: return fault_truncate(c);
    case WR_MOCK_FAULT_BAD_CHUNK: return fault_bad_chunk(c);
    case WR_MOCK_FAULT_BAD_JSON: return fault_payload(c, false);
    case WR_MOCK_FAULT_ERROR: return fault_payload(c, true);
    case WR_MOCK_FAULT_DROP:
    case WR_MOCK_FAULT_TWICE:
    case WR_MOCK_FAULT_SWAP:
    case WR_MOCK_FAULT_GARBLE:
      return fault_event(c, (enum wr_mock_fault_kind)c->exchange->knobs.fault.kind);
    default: return WR_MOCK_TURN_MORE;
  }
}

/* Events that may leave before the fault; UINT32_MAX where none waits on the way. */
static uint32_t events_before_fault(const struct wr_mock_exchange *x) {
  const struct wr_mock_fault *f = &x->knobs.fault;
  if (x->fired || wr_mock_fault_mark((enum wr_mock_fault_kind)f->kind) != '@') return UINT32_MAX;
  return f->n > x->events ? f->n - x->events : 0;
}

static uint64_t pause_us(struct wr_mock *m, const struct wr_mock_knobs *k) {
  uint64_t average = 1000000u / k->rate;
  if (k->jitter_permille == 0) return average;
  uint64_t spread = average * k->jitter_permille / 1000;
  return average - spread + wr_rand_below(&m->rand, 2 * spread + 1);
}

/* May the next token leave now? Otherwise the timer is set. */
static bool is_due(struct wr_mock_client *c) {
  struct wr_mock_exchange *x = c->exchange;
  uint64_t now = wr_loop_now_us(c->mock->loop);
  if (x->due_us <= now) return true;
  wr_timer_set(c->mock->loop, &c->timer, (x->due_us - now + 999) / 1000);
  c->on_timer = true;
  return false;
}

static void pace(struct wr_mock_client *c, uint32_t tokens) {
  struct wr_mock_exchange *x = c->exchange;
  if (x->knobs.rate == 0) return;
  uint64_t now = wr_loop_now_us(c->mock->loop);
  if (x->due_us + CATCH_UP_US < now) x->due_us = now;
  for (uint32_t i = 0; i < tokens; i++) x->due_us += pause_us(c->mock, &x->knobs);
}

/* One write: a batch of events, at most up to the fault. */
static enum wr_mock_turn write_batch(struct wr_mock_client *c, uint32_t most) {
  struct wr_mock_exchange *x = c->exchange;
  struct wr_buf unit = unit_open(c->mock);
  uint32_t n = 0, tokens = 0;
  struct wr_mock_event event;
  bool ended = false, ok = true, no_done = x->knobs.fault.kind == WR_MOCK_FAULT_NO_DONE;
  while (n < most) {
    ended = wr_mock_answer_peek(&x->answer, &event) != WR_OK;
    if (ended || (no_done && event.last)) break;
    if (!append_event(c, &unit, &ok)) return gone(c);
    n++;
    tokens += event.token;
  }
  if (n == most) ended = wr_mock_answer_peek(&x->answer, &event) != WR_OK;
  if (n == 0 && !ended) return meet_fault(c); /* no-done at the terminator */
  bool waits = events_before_fault(x) == 0;
  pace(c, tokens);
  if (!unit_send(c, &unit, ended && !waits)) return gone(c);
  if (!ended || waits) return WR_MOCK_TURN_MORE;
  return finish(c, WR_MOCK_AFTER_KEEP);
}

enum wr_mock_turn wr_mock_client_stream(struct wr_mock_client *c) {
  struct wr_mock_exchange *x = c->exchange;
  struct wr_mock_event event;
  bool ok;
  c->on_timer = false;
  if (!wr_mock_client_drain(c, &ok)) return ok ? WR_MOCK_TURN_WAIT : gone(c);
  if (wr_conn_unsent_bytes(c->conn) >= WR_MOCK_HIGH_BYTES) return WR_MOCK_TURN_WAIT;
  uint32_t most = events_before_fault(x);
  if (most == 0) return meet_fault(c);
  if (wr_mock_answer_peek(&x->answer, &event) != WR_OK) return end_body(c);
  if (event.token && !is_due(c)) return WR_MOCK_TURN_WAIT;
  return write_batch(c, most < x->knobs.batch_events ? most : x->knobs.batch_events);
}

/* Begins the answer to a request that has been read: an error, a list, a whole answer, or a stream.
 */
#include <stdio.h>
#include <time.h>

#include "base/check.h"
#include "base/heap.h"
#include "mock/ask.h"
#include "mock/client.h"
#include "mock/trouble.h"
#include "wire/http1_write.h"

/* The head is put in front of the body once the body's length is known. */
#define HEAD_ROOM_BYTES 2048u

static void refuse(struct wr_mock_exchange *x, unsigned status, const char *why) {
  if (x->refuse != 0) return;
  x->refuse = (uint16_t)status;
  (void)snprintf(x->why, sizeof x->why, "%s", why);
}

static void fire(struct wr_mock_exchange *x) { x->fired = true; }

static void refuse_place(struct wr_mock_exchange *x) {
  if (x->route.place == WR_MOCK_AT_NOTHING) {
    char why[96];
    (void)snprintf(why, sizeof why, "unknown request URL: %s", x->path);
    refuse(x, 404, why);
  }
  if (x->route.place == WR_MOCK_AT_OTHER_METHOD) refuse(x, 405, "the method is not allowed here");
}

/* What the body says, and whether it can be answered. */
static void read_ask(struct wr_mock_exchange *x) {
  struct wr_mock_intake *in = x->intake;
  struct wr_mock_ask ask;
  bool answers = x->route.place == WR_MOCK_AT_ANSWER;
  if (!answers && x->route.place != WR_MOCK_AT_EMBEDDINGS && x->route.place != WR_MOCK_AT_COUNT)
    return;
  if (in->json_err == WR_OK) in->json_err = wr_json_stream_finish(&in->json);
  if (in->json_err != WR_OK) {
    refuse(x, 400, "we could not parse the JSON body of your request");
    return;
  }
  if (wr_mock_ask_read(&in->json, x->route.dialect, in->body.total, &ask) != WR_OK)
    refuse(x, 400, "model: the name is too long");
  else if (ask.model[0] == 0)
    refuse(x, 400,
           x->route.dialect == WR_MOCK_MESSAGES ? "model: Field required"
                                                : "you must provide a model parameter");
  if (x->route.place == WR_MOCK_AT_EMBEDDINGS && x->refuse == 0) {
    const char *why = wr_mock_embeddings_check(x);
    if (why != NULL) refuse(x, 400, why);
  }
  ask.prefill_bytes = in->prefill.bytes;
  wr_mock_answer_init(&x->answer, &ask, &x->knobs, x->replay, x->id, (uint64_t)time(NULL));
  if (x->route.dialect == WR_MOCK_OLLAMA_GENERATE) x->answer.calls = false;
}

/* Once a request, before anything else of the answer. */
static void prepare(struct wr_mock_exchange *x) {
  refuse_place(x);
  if (x->intake != NULL) read_ask(x);
  if (x->knobs.fault.kind == WR_MOCK_FAULT_STATUS) {
    x->refuse = 0;
    refuse(x, x->knobs.fault.n, wr_mock_trouble_text(x->knobs.fault.n));
    fire(x);
  }
  bool whole = x->route.place == WR_MOCK_AT_ANSWER && !x->answer.ask.stream;
  if (x->knobs.fault.kind == WR_MOCK_FAULT_ERROR && whole) {
    refuse(x, 500, wr_mock_trouble_text(500));
    fire(x);
  }
  if (x->route.place == WR_MOCK_AT_EMBEDDINGS || x->intake == NULL) return;
  wr_heap_free(WR_HEAP_MOCK, x->intake->kept);
  wr_heap_free(WR_HEAP_MOCK, x->intake);
  x->intake = NULL;
}

static uint64_t delay_ms(struct wr_mock_exchange *x) {
  const struct wr_mock_knobs *k = &x->knobs;
  uint64_t ms = 0;
  if (k->fault.kind == WR_MOCK_FAULT_SLOW_HEAD) {
    ms += k->fault.n;
    fire(x);
  }
  if (x->refuse != 0 || x->route.place != WR_MOCK_AT_ANSWER || x->answer.ask.stream) return ms;
  /* An answer that comes whole takes as long as its tokens would. */
  ms += k->first_token_ms;
  if (k->rate > 0) ms += wr_mock_answer_output_tokens(&x->answer) * 1000 / k->rate;
  return ms;
}

/* Produces the body of an answer that isn't streamed. Returns its content type. */
static const char *put_body(const struct wr_mock_exchange *x, struct wr_buf *out) {
  if (x->refuse != 0) {
    const char *code = x->refuse == 401 ? "invalid_api_key" : NULL;
    wr_mock_trouble_body(x->route.dialect, x->refuse, x->why, NULL, code, x->id, out);
    return "application/json";
  }
  if (x->route.place != WR_MOCK_AT_ANSWER) return wr_mock_plain_body(x, out);
  if (x->knobs.fault.kind == WR_MOCK_FAULT_BAD_JSON)
    wr_buf_put(out, WR_SPAN("{\"broken\": "));
  else
    wr_mock_answer_whole(&x->answer, out);
  return "application/json";
}

/* How the body leaves; where the fault of the request changes it. */
struct shape {
  uint64_t said_bytes; /* in content-length */
  size_t sent_bytes;   /* of the body */
  enum wr_mock_framing_said says;
  enum wr_mock_after after;
};

static struct shape shape_of(struct wr_mock_exchange *x, size_t body_bytes) {
  struct shape s = { body_bytes, body_bytes, WR_MOCK_SAYS_LENGTH, WR_MOCK_AFTER_KEEP };
  bool fired = true;
  if (x->refuse != 0) return s;
  switch ((enum wr_mock_fault_kind)x->knobs.fault.kind) {
    case WR_MOCK_FAULT_STALL: s.after = WR_MOCK_AFTER_HOLD; break;
    case WR_MOCK_FAULT_RESET: s.after = WR_MOCK_AFTER_ABORT; break;
    case WR_MOCK_FAULT_TRUNCATE: s.after = WR_MOCK_AFTER_CLOSE; break;
    case WR_MOCK_FAULT_CUT:
    case WR_MOCK_FAULT_NO_DONE: s.said_bytes = body_bytes / 2; break;
    case WR_MOCK_FAULT_EARLY_END:
      s.said_bytes = body_bytes + 100;
      s.after = WR_MOCK_AFTER_CLOSE;
      break;
    case WR_MOCK_FAULT_BOTH_LENGTHS:
      s.says = WR_MOCK_SAYS_BOTH;
      s.after = WR_MOCK_AFTER_CLOSE;
      break;
    case WR_MOCK_FAULT_BAD_CHUNK:
      s.says = WR_MOCK_SAYS_CHUNKED;
      s.after = WR_MOCK_AFTER_CLOSE;
      break;
    case WR_MOCK_FAULT_BAD_JSON:
    case WR_MOCK_FAULT_GZIP_CLAIM:
    case WR_MOCK_FAULT_SPLIT_HEAD: break;
    default: fired = false;
  }
  bool half = s.after == WR_MOCK_AFTER_HOLD || s.after == WR_MOCK_AFTER_ABORT ||
              x->knobs.fault.kind == WR_MOCK_FAULT_TRUNCATE || s.said_bytes < body_bytes;
  if (half) s.sent_bytes = body_bytes / 2;
  if (fired) fire(x);
  return s;
}

/* The chunk head that goes between head and body, if one does. */
static size_t put_chunk_head(const struct shape *s, char *out) {
  if (s->says == WR_MOCK_SAYS_CHUNKED) {
    memcpy(out, "zz\r\n", 4);
    return 4;
  }
  if (s->says == WR_MOCK_SAYS_BOTH && s->sent_bytes > 0)
    return wr_http1_chunk_head(out, s->sent_bytes);
  return 0;
}

/* Puts head and body together in the scratch and sends them. */
static bool send_whole(struct wr_mock_client *c, const char *type, size_t body_bytes) {
  struct wr_mock_exchange *x = c->exchange;
  char room[HEAD_ROOM_BYTES];
  struct wr_buf head;
  unsigned status = x->refuse != 0 ? x->refuse : x->route.place == WR_MOCK_AT_OPTIONS ? 204 : 200;
  struct shape s = shape_of(x, body_bytes);
  x->status = (uint16_t)status;
  if (s.after != WR_MOCK_AFTER_KEEP) x->keep = false;
  wr_buf_init(&head, room, sizeof room - WR_HTTP1_CHUNK_HEAD_BYTES);
  wr_mock_reply_head(x, status, type, s.says, s.said_bytes, &head);
  if (!WR_EXPECT(!head.overflow)) return false;
  c->split_left = x->knobs.fault.kind == WR_MOCK_FAULT_SPLIT_HEAD ? (uint32_t)head.len : 0;
  size_t len = head.len + put_chunk_head(&s, room + head.len);
  char *start = c->mock->scratch + HEAD_ROOM_BYTES - len;
  memcpy(start, room, len);
  bool no_body = x->head_only || status == 204 || status == 304;
  if (!no_body) len += s.sent_bytes;
  if (s.says == WR_MOCK_SAYS_BOTH && !no_body) {
    memcpy(start + len, "\r\n0\r\n\r\n", 7);
    len += 7;
  }
  c->after = (uint8_t)s.after;
  c->state = WR_MOCK_FLUSH;
  return wr_mock_client_send(c, wr_span_make(start, len));
}

static enum wr_mock_turn reply_whole(struct wr_mock_client *c) {
  struct wr_mock *m = c->mock;
  for (;;) {
    struct wr_buf body;
    /* Room behind the body for the end of a chunk. */
    wr_buf_init(&body, m->scratch + HEAD_ROOM_BYTES, m->scratch_cap - HEAD_ROOM_BYTES - 16);
    const char *type = put_body(c->exchange, &body);
    if (!body.overflow) {
      if (send_whole(c, type, body.len)) return WR_MOCK_TURN_MORE;
      break;
    }
    if (!wr_mock_scratch_grow(m)) break;
  }
  wr_mock_client_end(c, true);
  return WR_MOCK_TURN_GONE;
}

enum wr_mock_turn wr_mock_client_reply(struct wr_mock_client *c) {
  struct wr_mock_exchange *x = c->exchange;
  if (!x->delayed) {
    prepare(x);
    x->delayed = true;
    uint64_t ms = delay_ms(x);
    c->state = WR_MOCK_DELAY;
    if (ms > 0) {
      wr_timer_set(c->mock->loop, &c->timer, ms);
      return WR_MOCK_TURN_WAIT;
    }
  }
  switch ((enum wr_mock_fault_kind)x->knobs.fault.kind) {
    case WR_MOCK_FAULT_HANG:
      fire(x);
      c->state = WR_MOCK_HOLD;
      return WR_MOCK_TURN_WAIT;
    case WR_MOCK_FAULT_CLOSE:
      fire(x);
      wr_mock_client_end(c, false);
      return WR_MOCK_TURN_GONE;
    case WR_MOCK_FAULT_GARBAGE:
      fire(x);
      c->state = WR_MOCK_FLUSH;
      c->after = WR_MOCK_AFTER_CLOSE;
      if (wr_mock_client_send(c, WR_SPAN("\x16\x03\x01 the river has left its bed\r\n\r\n")))
        return WR_MOCK_TURN_MORE;
      wr_mock_client_end(c, true);
      return WR_MOCK_TURN_GONE;
    default: break;
  }
  bool stream = x->refuse == 0 && x->route.place == WR_MOCK_AT_ANSWER && x->answer.ask.stream;
  return stream ? wr_mock_client_stream_begin(c) : reply_whole(c);
}

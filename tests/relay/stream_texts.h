/* stream_texts.h: whole streams of four dialects around a text that is cut anywhere, and what a
 * client reads out of them. */
#ifndef TESTS_RELAY_STREAM_TEXTS_H
#define TESTS_RELAY_STREAM_TEXTS_H

#include "base/buf.h"
#include "base/text.h"
#include "relay/texts.h"
#include "wire/json_scan.h"

enum shape { CHAT, MESSAGES, RESPONSES, OLLAMA, SHAPES };

static const char *const ask_of[SHAPES] = {
  ASK,
  "POST /v1/messages HTTP/1.1\r\nHost: h\r\nanthropic-version: 2023-06-01\r\n"
  "content-length: 27\r\n\r\n" BODY,
  "POST /v1/responses HTTP/1.1\r\nHost: h\r\ncontent-length: 27\r\n\r\n" BODY,
  "POST /api/chat HTTP/1.1\r\nHost: h\r\ncontent-length: 27\r\n\r\n" BODY,
};

/* The envelope of a delta of each kind (0 text, 1 reasoning, 2 tool arguments). */
static const char *const before_of[SHAPES][3] = {
  { "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":"
    "{\"arguments\":" },
  { "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
    "{\"type\":\"text_delta\",\"text\":",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
    "{\"type\":\"thinking_delta\",\"thinking\":",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
    "{\"type\":\"input_json_delta\",\"partial_json\":" },
  { "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
    "\"output_index\":0,\"content_index\":0,\"delta\":",
    "event: response.reasoning_text.delta\ndata: {\"type\":\"response.reasoning_text.delta\","
    "\"output_index\":0,\"content_index\":0,\"delta\":",
    "event: response.function_call_arguments.delta\ndata: {\"type\":"
    "\"response.function_call_arguments.delta\",\"output_index\":0,\"delta\":" },
  { "{\"model\":\"m\",\"done\":false,\"message\":{\"role\":\"assistant\",\"content\":",
    "{\"model\":\"m\",\"done\":false,\"message\":{\"role\":\"assistant\",\"thinking\":", NULL },
};
static const char *const after_of[SHAPES][3] = {
  { "}}]}\n\n", "}}]}\n\n", "}}]}}]}\n\n" },
  { "}}\n\n", "}}\n\n", "}}\n\n" },
  { "}\n\n", "}\n\n", "}\n\n" },
  { "}}\n", "}}\n", NULL },
};
static const char *const first_of[SHAPES] = {
  ROLE,
  "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\"}}\n\n"
  "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
  "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
  "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\n",
  "",
};
static const char *const last_of[SHAPES] = {
  STOP USAGE DONE,
  "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
  "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":"
  "{\"stop_reason\":\"end_turn\"},"
  "\"usage\":{\"output_tokens\":5}}\n\n"
  "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
  "", /* repeats the text: made */
  ("{\"model\":\"m\",\"done\":true,\"message\":{\"role\":\"assistant\",\"content\":\"\"},"
   "\"eval_count\":3}\n"),
};

static inline void put_literal(struct wr_buf *b, struct wr_span text) {
  wr_buf_json_string(b, text);
}

static inline void put_delta(struct wr_buf *b, enum shape shape, int kind, struct wr_span text) {
  wr_buf_put(b, wr_span_str(before_of[shape][kind]));
  put_literal(b, text);
  wr_buf_put(b, wr_span_str(after_of[shape][kind]));
}

/* What the Responses API says once more, whole. */
static inline void put_repeats(struct wr_buf *b, int kind, struct wr_span text) {
  static const char *const done[3] = {
    "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\","
    "\"output_index\":0,\"content_index\":0,\"text\":",
    "event: response.reasoning_text.done\ndata: {\"type\":\"response.reasoning_text.done\","
    "\"output_index\":0,\"content_index\":0,\"text\":",
    "event: response.function_call_arguments.done\ndata: {\"type\":"
    "\"response.function_call_arguments.done\",\"output_index\":0,\"arguments\":"
  };
  const char *name = kind == 2 ? "arguments" : "text";
  wr_buf_put(b, wr_span_str(done[kind]));
  put_literal(b, text);
  wr_buf_put(b, WR_SPAN("}\n\n"));
  wr_buf_put(b, WR_SPAN("event: response.output_item.done\ndata: {\"type\":"
                        "\"response.output_item.done\",\"output_index\":0,\"item\":{\""));
  wr_buf_put(b, wr_span_str(name));
  wr_buf_put(b, WR_SPAN("\":"));
  put_literal(b, text);
  wr_buf_put(b, WR_SPAN("}}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\","
                        "\"response\":{\"output\":[{\"content\":[{\"type\":\"output_text\",\""));
  wr_buf_put(b, wr_span_str(name));
  wr_buf_put(b, WR_SPAN("\" : "));
  put_literal(b, text);
  wr_buf_put(b, WR_SPAN("}]}],\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n"));
}

static char stream_room[256 << 10], sse_room[200 << 10];

/* The answer of an upstream: `text` in `n` parts that end at `ends`. */
static inline struct wr_span stream_answer(enum shape shape, int kind, const char *text,
                                           const size_t *ends, size_t n) {
  struct wr_buf b, whole;
  wr_buf_init(&b, sse_room, sizeof sse_room);
  wr_buf_put(&b, wr_span_str(first_of[shape]));
  size_t from = 0;
  for (size_t i = 0; i < n; i++) {
    put_delta(&b, shape, kind, wr_span_make(text + from, ends[i] - from));
    from = ends[i];
  }
  if (shape == RESPONSES) put_repeats(&b, kind, wr_span_str(text));
  wr_buf_put(&b, wr_span_str(last_of[shape]));
  wr_buf_init(&whole, stream_room, sizeof stream_room);
  wr_buf_printf(&whole,
                "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n%zx\r\n",
                shape == OLLAMA ? "application/x-ndjson" : "text/event-stream", b.len);
  wr_buf_put(&whole, wr_buf_span(&b));
  wr_buf_put(&whole, WR_SPAN("\r\n0\r\n\r\n"));
  assert_false(b.overflow || whole.overflow);
  return wr_buf_span(&whole);
}

/* All that the deltas of a kind say, in a stream as a client got it. */
static inline const char *text_of(enum shape shape, int kind, const char *got) {
  static char out[64 << 10];
  struct wr_buf b;
  wr_buf_init(&b, out, sizeof out - 1);
  const char *mark = before_of[shape][kind];
  for (const char *p = got; (p = strstr(p, mark)) != NULL;) {
    p += strlen(mark);
    const char *end = p + 1;
    while (*end != '"') end += *end == '\\' ? 2 : 1;
    assert_int_equal(wr_json_string_decode(wr_span_make(p, (size_t)(end + 1 - p)), &b), WR_OK);
    p = end;
  }
  out[b.len] = 0;
  return out;
}

static inline size_t count_of(const char *text, const char *part) {
  size_t n = 0;
  for (const char *p = text; (p = strstr(p, part)) != NULL; p += strlen(part)) n++;
  return n;
}

/* An answer with a length: an error that weir made. Its text becomes the body. */
static inline bool got_error(const struct rig *r) {
  const char *len = strstr(r->got, "content-length: "), *end = strstr(r->got, "\r\n\r\n");
  uint64_t want = 0;
  if (!len || !end || len > end) return false;
  len += sizeof "content-length: " - 1;
  size_t digits = strspn(len, "0123456789");
  assert_int_equal(wr_text_u64(wr_span_make(len, digits), sizeof body - 1, &want), WR_OK);
  if (strlen(end + 4) < want) return false;
  memcpy(body, end + 4, want);
  body[want] = 0;
  return true;
}

/* One exchange; the client's body is in `body`. */
static inline void exchange(struct rig *r, enum shape shape, struct wr_span answer) {
  answer_with(r, answer);
  ask(r, ask_of[shape]);
  TURN_UNTIL(&r->w, rig_dechunk(r->got, body, sizeof body, NULL) || r->client_end || got_error(r));
}

#endif

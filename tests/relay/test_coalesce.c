/* Joining text deltas: which may be, what becomes of them, and that nothing else is lost. */
#include "net/world.h"

#include <stdio.h>

#include "base/buf.h"
#include "relay/coalesce.h"
#include "relay/delta.h"

#define CHAT(text)                                                               \
  "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text \
  "\"},\"finish_reason\":null}]}\n\n"
#define CHAT1(text)                                                              \
  "data: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{\"content\":\"" text \
  "\"},\"finish_reason\":null}]}\n\n"
#define THINK(text)                                                                        \
  "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"" text \
  "\"},\"finish_reason\":null}]}\n\n"
#define TOOL(text)                                                                                 \
  "data: "                                                                                         \
  "{\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{" \
  "\"arguments\":\"" text "\"}}]}}]}\n\n"
#define CALL                                                                                       \
  "data: "                                                                                         \
  "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"function\":{" \
  "\"name\":\"f\",\"arguments\":\"x\"}}]}}]}\n\n"
#define LAST(text)                                                               \
  "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text \
  "\"},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":7}}\n\n"
#define DONE "data: [DONE]\n\n"
#define RESP(n, text, pad)                                                      \
  "event: response.output_text.delta\ndata: "                                   \
  "{\"type\":\"response.output_text.delta\",\"sequence_number\":" n             \
  ",\"item_id\":\"i\",\"output_index\":0,\"content_index\":0,\"delta\":\"" text \
  "\",\"logprobs\":[],\"obfuscation\":\"" pad "\"}\n\n"
#define ANT(text)                                                                              \
  "event: content_block_delta\ndata: "                                                         \
  "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":" \
  "\"" text "\"}}\n\n"
#define ANTJ(text)                                                                          \
  "event: content_block_delta\ndata: "                                                      \
  "{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\"," \
  "\"partial_json\":\"" text "\"}}\n\n"
#define ANT_STOP \
  "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
#define OLL(at, text)                     \
  "{\"model\":\"m\",\"created_at\":\"" at \
  "\",\"message\":{\"role\":\"assistant\",\"content\":\"" text "\"},\"done\":false}\n"
#define OLL_END                                                                                  \
  "{\"model\":\"m\",\"created_at\":\"z\",\"message\":{\"role\":\"assistant\",\"content\":\"\"}," \
  "\"done\":true,\"eval_count\":9}\n"

struct bench {
  struct world w;
  struct wr_dialects dialects;
  struct wr_stream stream;
  struct wr_reader reader;
  struct wr_coalescer *c;
  struct wr_coalesced did;
  char out[65536];
};

static void open_bench(struct bench *b) {
  memset(b, 0, sizeof *b);
  world_open(&b->w, 1u << 20);
  assert_int_equal(wr_dialects_init(&b->dialects), WR_OK);
  wr_stream_init(&b->stream, b->w.slabs);
  wr_reader_init(&b->reader, &b->stream);
  b->c = wr_coalescer_new();
  assert_non_null(b->c);
}

static void close_bench(struct bench *b) {
  wr_coalescer_free(b->c);
  wr_reader_fini(&b->reader);
  wr_stream_fini(&b->stream);
  world_close(&b->w);
  assert_int_equal(wr_expect_failures(), 0);
}

/* As the pump would put it; chunked: with the framing of a chunk. */
static void put(struct bench *b, enum wr_dialect dialect, const char *event, bool chunked) {
  size_t n = strlen(event);
  struct wr_event ev = { .name = WR_SPAN("") };
  struct wr_usage usage = { -1, -1, -1, -1 };
  const char *data = dialect == WR_DIALECT_OLLAMA ? event : strstr(event, "data: ") + 6;
  ev.data = wr_span_make(data, strcspn(data, "\n"));
  assert_int_equal(wr_dialect_read(&b->dialects, dialect, &ev, &usage), WR_OK);
  char head[16] = "";
  size_t lead = chunked ? (size_t)snprintf(head, sizeof head, "%zx\r\n", n) : 0;
  struct wr_block *block = wr_slabs_alloc(b->w.slabs, n + lead + 2, WR_CHARGE_CLIENT);
  assert_non_null(block);
  memcpy(block->data, head, lead);
  memcpy(block->data + lead, event, n);
  memcpy(block->data + lead + n, "\r\n", 2);
  struct wr_view v = wr_view_take(block, 0, lead + n + (chunked ? 2 : 0));
  assert_int_equal(
      wr_stream_append_framed(&b->stream, &v, ev.kind, (uint8_t)(chunked ? lead + 2 : 0)), WR_OK);
}

/* All that is in the log, without framing; the log is empty then. */
static const char *take(struct bench *b) {
  size_t n = 0;
  while (wr_reader_left(&b->reader)) {
    const struct wr_frame *f = wr_reader_peek(&b->reader, 0);
    size_t lead = f->framing ? f->framing - 2u : 0, len = f->view.len - f->framing;
    memcpy(b->out + n, f->view.ptr + lead, len);
    n += len;
    wr_reader_next(&b->reader, 1);
  }
  b->out[n] = 0;
  assert_int_equal(b->stream.bytes, 0);
  return b->out;
}

static void join(struct bench *b, enum wr_dialect d, uint32_t drop) {
  wr_coalesce(b->c, &b->stream, d, d == WR_DIALECT_OLLAMA, true, drop, &b->did);
}

struct run {
  enum wr_dialect dialect;
  const char *events[8];
  const char *want;
};

static const struct run runs[] = {
  { WR_DIALECT_CHAT, { CHAT("a"), CHAT("b"), CHAT("c"), DONE }, CHAT("abc") DONE },
  /* Escapes stay what they are, halves of a pair become one. */
  { WR_DIALECT_CHAT,
    { CHAT("a\\n"), CHAT("\\\""), CHAT("\\ud83d"), CHAT("\\ude00") },
    CHAT("a\\n\\\"\\ud83d\\ude00") },
  /* A finish reason, usage, a name or an id keep their events. */
  { WR_DIALECT_CHAT,
    { CHAT("a"), CHAT("b"), LAST("c"), USAGE, DONE },
    CHAT("ab") LAST("c") USAGE DONE },
  { WR_DIALECT_CHAT, { LAST("a"), LAST("b") }, LAST("a") LAST("b") },
  { WR_DIALECT_CHAT,
    { CALL, CALL, TOOL("{\\\"a"), TOOL("\\\":1}") },
    CALL CALL TOOL("{\\\"a\\\":1}") },
  /* Kinds of one choice keep their order; choices don't wait for each other. */
  { WR_DIALECT_CHAT,
    { THINK("a"), THINK("b"), CHAT("c"), CHAT("d"), THINK("e") },
    THINK("ab") CHAT("cd") THINK("e") },
  { WR_DIALECT_CHAT, { CHAT("a"), CHAT1("b"), CHAT("c"), CHAT1("d") }, CHAT("ac") CHAT1("bd") },
  { WR_DIALECT_CHAT, { CHAT("a"), USAGE, CHAT("c") }, CHAT("a") USAGE CHAT("c") },
  /* What weir doesn't know may add up: two log probabilities, a second choice in one event. */
  { WR_DIALECT_CHAT,
    { "data: "
      "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"x\":1}}]}\n\n",
      "data: "
      "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"x\":1}}]}\n\n" },
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"x\":1}}]}\n\n"
    "data: "
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"x\":1}}]}\n\n" },
  { WR_DIALECT_CHAT,
    { "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}},{\"delta\":{\"content\":\"b\"}}]}\n\n",
      "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}},{\"delta\":{\"content\":\"b\"}}]}\n\n" },
    "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}},{\"delta\":{\"content\":\"b\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}},{\"delta\":{\"content\":\"b\"}}]}\n\n" },
  /* An id is a place to go on from. */
  { WR_DIALECT_CHAT,
    { "id: 1\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
      "id: 1\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n" },
    "id: 1\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"
    "id: 1\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n" },
  { WR_DIALECT_RESPONSES,
    { RESP("8", "a", "xx"), RESP("9", "b", "x"), RESP("10", "c", "") },
    RESP("10", "abc", "xx") },
  { WR_DIALECT_RESPONSES,
    { "data: {\"type\":\"response.audio.delta\",\"delta\":\"QQ==\"}\n\n",
      "data: {\"type\":\"response.audio.delta\",\"delta\":\"QQ==\"}\n\n" },
    "data: {\"type\":\"response.audio.delta\",\"delta\":\"QQ==\"}\n\n"
    "data: {\"type\":\"response.audio.delta\",\"delta\":\"QQ==\"}\n\n" },
  { WR_DIALECT_ANTHROPIC,
    { ANT("a"), ANT("b"), ANT_STOP, ANTJ("{\\\"a"), ANTJ("\\\":1}") },
    ANT("ab") ANT_STOP ANTJ("{\\\"a\\\":1}") },
  { WR_DIALECT_OLLAMA, { OLL("1", "a"), OLL("2", "b"), OLL_END }, OLL("1", "ab") OLL_END },
};

static void tables(void **state) {
  (void)state;
  struct bench *b = calloc(1, sizeof *b);
  open_bench(b);
  for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
    for (int chunked = 0; chunked < 2; chunked++) {
      for (size_t k = 0; k < 8 && runs[i].events[k]; k++)
        put(b, runs[i].dialect, runs[i].events[k], chunked);
      join(b, runs[i].dialect, 0);
      assert_string_equal(take(b), runs[i].want);
      assert_int_equal(wr_slabs_live_blocks(b->w.slabs), 0);
    }
  }
  close_bench(b);
  free(b);
}

/* A text cut at every two places, joined at once or after each event: the same text. */
static void every_split(void **state) {
  (void)state;
  static const char text[] = "Gr\xc3\xbc\xc3\x9f"
                             "e \\u00e9\\\\ \\ud83d\\ude00 {\\\"a\\\":[1,2]}";
  char whole[256], event[256];
  struct bench *b = calloc(1, sizeof *b);
  open_bench(b);
  snprintf(whole, sizeof whole, "data: {\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}\n\n", text);
  size_t n = strlen(text);
  for (size_t i = 1; i < n - 1; i++) {
    for (size_t k = i + 1; k < n; k++) {
      size_t cuts[4] = { 0, i, k, n };
      bool legal = true;
      for (int step = 0; step < 2; step++) {
        for (unsigned p = 0; p < 3 && legal; p++) {
          int len = (int)(cuts[p + 1] - cuts[p]);
          snprintf(event, sizeof event,
                   "data: {\"choices\":[{\"delta\":{\"content\":\"%.*s\"}}]}\n\n", len,
                   text + cuts[p]);
          struct wr_event ev = { .data = wr_span_make(event + 6, strlen(event) - 8) };
          struct wr_usage u;
          /* Not within an escape: that isn't JSON. */
          legal = wr_dialect_read(&b->dialects, WR_DIALECT_CHAT, &ev, &u) == WR_OK;
          if (legal)
            put(b, WR_DIALECT_CHAT, event, false);
          if (step)
            join(b, WR_DIALECT_CHAT, 0);
        }
        join(b, WR_DIALECT_CHAT, 0);
        if (legal)
          assert_string_equal(take(b), whole);
        else
          wr_stream_clear(&b->stream);
      }
    }
  }
  close_bench(b);
  free(b);
}

/* A thousand small events become few, none larger than the limit; the ring shrinks. */
static void many(void **state) {
  (void)state;
  struct bench *b = calloc(1, sizeof *b);
  open_bench(b);
  for (unsigned i = 0; i < 1000; i++)
    put(b, WR_DIALECT_CHAT, CHAT("twenty bytes of text"), i & 1);
  uint64_t first = b->stream.first;
  join(b, WR_DIALECT_CHAT, 0);
  assert_int_equal(b->stream.first, first);
  assert_in_range(b->stream.count, 3, 4);
  assert_int_equal(b->did.joined, 1000 - b->stream.count);
  assert_in_range(b->stream.bytes, 20000, 20400);
  for (uint32_t i = 0; i < b->stream.count; i++)
    assert_in_range(wr_stream_frame(&b->stream, i)->view.len, 1, WR_COALESCE_BYTES);
  assert_in_range(wr_slabs_live_bytes(b->w.slabs), 20000, 20000 + 8192 + 256);
  const char *p = take(b);
  size_t n = 0;
  while ((p = strstr(p, "twenty bytes of text")) != NULL) {
    n++;
    p++;
  }
  assert_int_equal(n, 1000);
  close_bench(b);
  free(b);
}

/* Kinds that may be dropped, and only pure deltas of them. */
static void drops(void **state) {
  (void)state;
  struct bench *b = calloc(1, sizeof *b);
  open_bench(b);
  put(b, WR_DIALECT_CHAT, THINK("a"), true);
  put(b, WR_DIALECT_CHAT, CHAT("b"), true);
  put(b, WR_DIALECT_CHAT, THINK("c"), false);
  put(b, WR_DIALECT_CHAT, CHAT("d"), true);
  put(b, WR_DIALECT_CHAT,
      "data: {\"choices\":[{\"delta\":{\"reasoning\":\"e\"},\"finish_reason\":\"stop\"}]}\n\n",
      true);
  join(b, WR_DIALECT_CHAT, 1u << WR_EVENT_REASONING);
  assert_int_equal(b->did.dropped, 2);
  assert_string_equal(
      take(b), CHAT("bd") "data: {\"choices\":[{\"delta\":{\"reasoning\":\"e\"},\"finish_reason\":"
                          "\"stop\"}]}\n\n");
  close_bench(b);
  free(b);
}

/* Each allocation fails in turn: nothing is lost. */
static void no_room(void **state) {
  (void)state;
  struct bench *b = calloc(1, sizeof *b);
  open_bench(b);
  for (unsigned nth = 1; nth < 6; nth++) {
    for (unsigned i = 0; i < 40; i++)
      put(b, WR_DIALECT_CHAT, i % 20 < 10 ? CHAT("a") : THINK("b"), true);
    wr_mem_debug_set(&(struct wr_mem_debug){ .poison = true, .fail_nth = nth });
    join(b, WR_DIALECT_CHAT, 0);
    wr_mem_debug_set(&(struct wr_mem_debug){ .poison = true });
    const char *p = take(b);
    char text[64];
    size_t n = 0;
    bool in = false;
    for (; *p; p++) { /* the texts are all that is a or b beside the words around them */
      if (strncmp(p, "ent\":\"", 6) == 0 && (in = true))
        p += 6;
      if (*p == '"')
        in = false;
      if (in)
        text[n++] = *p;
    }
    text[n] = 0;
    assert_string_equal(text, "aaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbb");
  }
  close_bench(b);
  free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(tables), cmocka_unit_test(every_split), cmocka_unit_test(many),
    cmocka_unit_test(drops),  cmocka_unit_test(no_room),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

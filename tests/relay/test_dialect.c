/* What events mean in each dialect, on recorded streams and by cases; what weir says itself is
 * legal in each. */
#include "wire/recordings.h"

#include "base/buf.h"
#include "relay/dialect.h"
#include "relay/reply.h"
#include "wire/json_doc.h"
#include "wire/ndjson.h"
#include "wire/sse_parse.h"

static struct wr_dialects dialects;

struct seen {
  unsigned kinds[WR_EVENT_KINDS];
  unsigned events, terminators, finishes, contents, errors;
  size_t text_bytes;
  struct wr_usage usage;
};

static void see(enum wr_dialect d, struct wr_span name, struct wr_span data, struct seen *seen) {
  struct wr_event ev = { .raw = data, .name = name, .data = data };
  struct wr_usage usage = { -1, -1, -1, -1 };
  if (wr_dialect_read(&dialects, d, &ev, &usage) != WR_OK) seen->errors++;
  seen->events++;
  seen->kinds[ev.kind]++;
  seen->terminators += ev.terminator;
  seen->finishes += ev.finish;
  seen->contents += ev.content;
  seen->text_bytes += ev.text.len;
  if (ev.text.len)
    assert_true(ev.text.ptr >= data.ptr && ev.text.ptr + ev.text.len <= data.ptr + data.len);
  if (usage.input >= 0) seen->usage.input = usage.input;
  if (usage.output >= 0) seen->usage.output = usage.output;
  if (usage.reasoning >= 0) seen->usage.reasoning = usage.reasoning;
}

static struct seen nothing(void) { return (struct seen){ .usage = { -1, -1, -1, -1 } }; }

static enum wr_dialect dialect_of(const char *name) {
  if (strncmp(name, "anthropic", 9) == 0) return WR_DIALECT_ANTHROPIC;
  if (strncmp(name, "openai-chat", 11) == 0) return WR_DIALECT_CHAT;
  if (strncmp(name, "openai-responses", 16) == 0) return WR_DIALECT_RESPONSES;
  return WR_DIALECT_NONE;
}

static void recordings(void **state) {
  (void)state;
  for (unsigned i = 0; i < RECORDING_COUNT; i++) {
    enum wr_dialect d = dialect_of(RECORDINGS[i]);
    struct wr_span all = recording_load(RECORDINGS[i]), rest = all, line;
    struct seen seen = nothing();
    while (recording_line(&rest, &line)) see(d, WR_SPAN(""), line, &seen);
    if (d == WR_DIALECT_CHAT) see(d, WR_SPAN(""), WR_SPAN("[DONE]"), &seen);
    recording_free(all);
    assert_int_equal(seen.errors, 0);
    if (d == WR_DIALECT_NONE) continue;
    if (strstr(RECORDINGS[i], "error")) { /* `error`, and `response.failed` behind it */
      assert_true(seen.kinds[WR_EVENT_ERROR] > 0 && seen.terminators > 0);
      continue;
    }
    assert_int_equal(seen.terminators, 1);
    assert_true(seen.finishes >= 1);
    assert_true(seen.contents >= 1);
    assert_int_equal(seen.kinds[WR_EVENT_ERROR], 0);
    assert_true(seen.usage.output > 0);
    assert_true(seen.usage.input > 0);
    if (strstr(RECORDINGS[i], "text"))
      assert_true(seen.kinds[WR_EVENT_TEXT] > 0 && seen.text_bytes > 0);
    if (strstr(RECORDINGS[i], "tool")) assert_true(seen.kinds[WR_EVENT_TOOL] > 0);
    if (strstr(RECORDINGS[i], "reasoning")) assert_true(seen.kinds[WR_EVENT_REASONING] > 0);
  }
}

static void cases(void **state) {
  (void)state;
  static const struct {
    enum wr_dialect dialect;
    const char *data, *text;
    enum wr_event_kind kind;
    bool terminator, finish, content;
  } c[] = {
    { WR_DIALECT_CHAT, "[DONE]", "", WR_EVENT_STOP, true, false, false },
    { WR_DIALECT_CHAT, "{\"error\":{\"message\":\"x\"}}", "", WR_EVENT_ERROR, false, false, false },
    { WR_DIALECT_CHAT, "{\"error\":null,\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "a",
      WR_EVENT_TEXT, false, false, true },
    { WR_DIALECT_CHAT, "{\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":null}]}", "",
      WR_EVENT_START, false, false, false },
    { WR_DIALECT_CHAT, "{\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}",
      "b", WR_EVENT_TEXT, false, true, true },
    { WR_DIALECT_CHAT, "{\"choices\":[{\"text\":\"old\"}]}", "old", WR_EVENT_TEXT, false, false,
      true },
    { WR_DIALECT_CHAT, "{\"choices\":[{\"delta\":{\"reasoning_content\":\"h\"}}]}", "h",
      WR_EVENT_REASONING, false, false, true },
    { WR_DIALECT_CHAT, " ", "", WR_EVENT_PING, false, false, false },
    { WR_DIALECT_RESPONSES, "[DONE]", "", WR_EVENT_STOP, false, false, false },
    { WR_DIALECT_RESPONSES, "{\"type\":\"response.created\"}", "", WR_EVENT_START, false, false,
      false },
    { WR_DIALECT_RESPONSES, "{\"type\":\"response.output_text.delta\",\"delta\":\"t\"}", "t",
      WR_EVENT_TEXT, false, false, true },
    { WR_DIALECT_RESPONSES, "{\"type\":\"response.incomplete\"}", "", WR_EVENT_STOP, true, true,
      false },
    { WR_DIALECT_RESPONSES, "{\"type\":\"response.failed\"}", "", WR_EVENT_ERROR, true, false,
      false },
    { WR_DIALECT_RESPONSES, "{\"type\":\"error\"}", "", WR_EVENT_ERROR, true, false, false },
    { WR_DIALECT_ANTHROPIC, "{\"type\":\"ping\"}", "", WR_EVENT_PING, false, false, false },
    { WR_DIALECT_ANTHROPIC, "{\"type\":\"message_stop\"}", "", WR_EVENT_STOP, true, false, false },
    { WR_DIALECT_ANTHROPIC, "{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"q\"}}", "q",
      WR_EVENT_TEXT, false, false, true },
    { WR_DIALECT_ANTHROPIC, "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}",
      "", WR_EVENT_STOP, false, true, false },
    { WR_DIALECT_ANTHROPIC, "{\"type\":\"error\",\"error\":{}}", "", WR_EVENT_ERROR, true, false,
      false },
    { WR_DIALECT_OLLAMA, "{\"message\":{\"content\":\"o\"},\"done\":false}", "o", WR_EVENT_TEXT,
      false, false, true },
    { WR_DIALECT_OLLAMA, "{\"message\":{\"content\":\"\"},\"done\":true}", "", WR_EVENT_STOP, true,
      true, false },
    { WR_DIALECT_OLLAMA, "{\"error\":\"no\"}", "", WR_EVENT_ERROR, true, false, false },
  };
  for (unsigned round = 0; round < 2; round++) { /* the second by shapes */
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
      struct wr_event ev = { .data = wr_span_str(c[i].data) };
      struct wr_usage usage;
      assert_int_equal(wr_dialect_read(&dialects, c[i].dialect, &ev, &usage), WR_OK);
      if (ev.kind != c[i].kind)
        fail_msg("%s: %s", c[i].data, wr_event_kind_name((enum wr_event_kind)ev.kind));
      assert_true(wr_span_eq(ev.text, wr_span_str(c[i].text)));
      assert_int_equal(ev.terminator, c[i].terminator);
      assert_int_equal(ev.finish, c[i].finish);
      assert_int_equal(ev.content, c[i].content);
    }
  }
  struct wr_event bad = { .data = WR_SPAN("{\"a\":") };
  struct wr_usage usage;
  assert_int_equal(wr_dialect_read(&dialects, WR_DIALECT_CHAT, &bad, &usage), WR_E_EVENT_SYNTAX);
}

static void paths(void **state) {
  (void)state;
  assert_int_equal(wr_dialect_of(WR_SPAN("/v1/chat/completions"), false), WR_DIALECT_CHAT);
  assert_int_equal(wr_dialect_of(WR_SPAN("/v1/completions"), false), WR_DIALECT_CHAT);
  assert_int_equal(wr_dialect_of(WR_SPAN("/openai/v1/responses"), false), WR_DIALECT_RESPONSES);
  assert_int_equal(wr_dialect_of(WR_SPAN("/v1/messages"), true), WR_DIALECT_ANTHROPIC);
  assert_int_equal(wr_dialect_of(WR_SPAN("/api/chat"), false), WR_DIALECT_OLLAMA);
  assert_int_equal(wr_dialect_of(WR_SPAN("/v1/models"), false), WR_DIALECT_NONE);
  assert_true(wr_span_eq(wr_dialect_operation(WR_SPAN("/v1/embeddings")), WR_SPAN("embeddings")));
}

static char room[65536];

/* Every event in `text` parses, and says the same to us as it is to say to the client. */
static struct seen events_of(enum wr_dialect d, struct wr_span text) {
  struct seen seen = nothing();
  struct wr_sse_parser p;
  struct wr_ndjson lines;
  wr_sse_init(&p, 0);
  wr_ndjson_init(&lines, 0);
  while (text.len) {
    size_t used = 0;
    struct wr_sse_event ev = { 0 };
    struct wr_ndjson_line line;
    struct wr_span data;
    if (d == WR_DIALECT_OLLAMA) {
      assert_int_equal(wr_ndjson_next(&lines, text, &used, &line), WR_OK);
      data = wr_span_at(text.ptr, line.text);
    } else {
      assert_int_equal(wr_sse_next(&p, text, &used, &ev), WR_OK);
      assert_int_equal(ev.kind, WR_SSE_EVENT);
      data = wr_span_at(text.ptr, ev.data);
    }
    if (!wr_span_eq(data, WR_SPAN("[DONE]"))) {
      struct wr_json_doc *doc;
      assert_int_equal(wr_json_doc_parse(data, 0, &doc), WR_OK);
      wr_json_doc_free(doc);
    }
    see(d, wr_span_at(text.ptr, ev.name), data, &seen);
    text = wr_span_sub(text, used, text.len - used);
  }
  assert_int_equal(seen.errors, 0);
  return seen;
}

static void is_document(struct wr_span text, const char *path, const char *want) {
  struct wr_json_doc *doc;
  assert_int_equal(wr_json_doc_parse(text, 0, &doc), WR_OK);
  struct wr_span got = wr_json_item_str(wr_json_item_at(wr_json_doc_root(doc), path));
  if (!wr_span_eq(got, wr_span_str(want))) fail_msg("%.*s: %s", (int)text.len, text.ptr, path);
  wr_json_doc_free(doc);
}

static void replies(void **state) {
  (void)state;
  static const char *const message_paths[WR_DIALECTS] = { "error.message", "error.message",
                                                          "error.message", "error.message",
                                                          "error" };
  static const char *const answer_paths[WR_DIALECTS] = { "choices[0].message.content",
                                                         "choices[0].message.content",
                                                         "output[0].content[0].text",
                                                         "content[0].text", "message.content" };
  struct wr_span nasty = WR_SPAN("say \"no\"\n\\ to \x01 \xc3\xa9");
  const char *plain = "say \"no\"\n\\ to \x01 \xc3\xa9";
  struct wr_buf out;
  for (int d = 0; d < WR_DIALECTS; d++) {
    enum wr_dialect dialect = (enum wr_dialect)d;
    for (unsigned status = 400; status < 600; status += 3) {
      wr_buf_init(&out, room, sizeof room);
      wr_reply_error_body(&out, dialect, status, WR_SPAN("code"), nasty);
      is_document(wr_buf_span(&out), message_paths[d], plain);
    }
    wr_buf_init(&out, room, sizeof room);
    wr_reply_answer(&out, dialect, false, WR_SPAN("m\"x"), nasty, 17, 1700000000);
    is_document(wr_buf_span(&out), answer_paths[d], plain);
    if (dialect == WR_DIALECT_NONE) continue;
    wr_buf_init(&out, room, sizeof room);
    wr_reply_answer(&out, dialect, true, WR_SPAN("m"), nasty, 17, 1700000000);
    struct seen seen = events_of(dialect, wr_buf_span(&out));
    assert_int_equal(seen.terminators, 1);
    assert_true(seen.finishes >= 1 && seen.contents >= 1);
    wr_buf_init(&out, room, sizeof room);
    wr_reply_error_event(&out, dialect, 502, WR_SPAN("code"), nasty, 4);
    seen = events_of(dialect, wr_buf_span(&out));
    assert_int_equal(seen.events, 1);
    assert_int_equal(seen.kinds[WR_EVENT_ERROR], 1);
    for (unsigned n = 0; n < 4; n++) {
      struct wr_reply_ending e = { .id = WR_SPAN("i"),
                                   .model = nasty,
                                   .reason = n & 1 ? WR_SPAN("length") : nasty,
                                   .sequence = 3,
                                   .open_block = n & 2 ? 0 : -1,
                                   .output_tokens = 9,
                                   .open_choices = n == 2 ? UINT32_MAX : 0,
                                   .finished = n == 3 };
      wr_buf_init(&out, room, sizeof room);
      wr_reply_ending(&out, dialect, &e);
      seen = events_of(dialect, wr_buf_span(&out));
      assert_int_equal(seen.terminators, 1);
      if (!e.finished) assert_int_equal(seen.finishes, 1);
      assert_int_equal(seen.contents, 0);
      assert_null(memmem(out.ptr, out.len, "\"stop\"", 6)); /* never invented */
      assert_null(memmem(out.ptr, out.len, "end_turn", 8));
    }
    struct wr_span beat = wr_reply_heartbeat(dialect);
    assert_int_equal(beat.len == 0, dialect == WR_DIALECT_OLLAMA);
  }
}

static int setup(void **state) {
  (void)state;
  return wr_dialects_init(&dialects) == WR_OK ? 0 : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(recordings),
    cmocka_unit_test(cases),
    cmocka_unit_test(paths),
    cmocka_unit_test(replies),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}

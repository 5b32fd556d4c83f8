/* Hooks that see text: the same text for every cut and dialect, untouched events to the byte,
 * bounds, borders, and what a guard does with what it can't see. */
#include "relay/stream_texts.h"

#include <stdlib.h>

/* A filter in C: every `find` becomes `with`; a tail that may still become one is held. */
struct filter {
  struct rig r;
  struct wr_conf_text stage[2];
  const char *find, *with;
  char seen[4096]; /* windows, joined with '|' */
  size_t seen_len;
  unsigned calls, lasts, rounds;
  struct wr_verdict say; /* kind set: this is said instead */
  bool stop_last;        /* holds all, and stops at the end */
  bool holds;            /* of `passes` */
  unsigned passes;       /* calls before `say` is said */
};

static size_t may_grow(const char *find, struct wr_span text) {
  size_t n = strlen(find);
  for (size_t k = n - 1 < text.len ? n - 1 : text.len; k > 0; k--)
    if (memcmp(text.ptr + text.len - k, find, k) == 0) return k;
  return 0;
}

static void filter_text(void *ctx, struct wr_hook_stream *s, const struct wr_hook_window *win,
                        struct wr_verdict *out) {
  struct filter *f = ctx;
  f->calls++;
  f->lasts += win->last;
  if (f->seen_len + win->text.len + 1 < sizeof f->seen) {
    memcpy(f->seen + f->seen_len, win->text.ptr, win->text.len);
    f->seen_len += win->text.len;
    f->seen[f->seen_len++] = '|';
  }
  assert_non_null(s);
  assert_true(win->text.len > 0);
  assert_true(wr_json_utf8_valid(win->text));
  if (f->calls <= f->passes) {
    out->kind = f->holds ? WR_VERDICT_HOLD : WR_VERDICT_DEFAULT;
    return;
  }
  if (f->say.kind) {
    *out = f->say;
    return;
  }
  if (f->stop_last) {
    out->kind = win->last ? WR_VERDICT_STOP : WR_VERDICT_HOLD;
    out->text = WR_SPAN("no");
    out->i = 0;
    return;
  }
  struct wr_span t = win->text;
  size_t n = strlen(f->find);
  const char *at = n <= t.len ? memmem(t.ptr, t.len, f->find, n) : NULL;
  if (at) {
    out->kind = WR_VERDICT_REPLACE;
    out->text = wr_span_str(f->with);
    out->i = (size_t)(at - t.ptr) + 1;
    out->j = out->i + n - 1;
    return;
  }
  size_t tail = win->last ? 0 : may_grow(f->find, t);
  if (!tail) return;
  out->kind = WR_VERDICT_HOLD;
  out->i = t.len - tail + 1;
}

static void filter_end(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome) {
  (void)s;
  assert_true(outcome != WR_OUTCOME_NONE);
  ((struct filter *)ctx)->r.ends++;
}

static void open_filter(struct filter *f, bool guard) {
  memset(f, 0, sizeof *f);
  rig_init(&f->r);
  f->r.use_hooks = true;
  f->r.hooks = (struct wr_hooks){ .ctx = f, .end = filter_end, .text = filter_text };
  f->r.routes[0].hooks = WR_HOOK_TEXT;
  f->r.routes[0].guards = guard ? WR_HOOK_TEXT : 0;
  f->stage[0] = f->stage[1] = (struct wr_conf_text){ 7, 256, guard };
  f->r.routes[0].texts = f->stage;
  f->r.routes[0].text_count = 1;
  f->find = "never to be found";
  f->with = "";
  rig_open(&f->r);
}

static void close_filter(struct filter *f) { rig_close(&f->r); }

static bool char_starts(const char *text, size_t at) {
  return ((unsigned char)text[at] & 0xc0u) != 0x80;
}

/* Every cut in two, and each character alone. */
static void every_cut(struct filter *f, enum shape shape, int kind, const char *text,
                      const char *expected) {
  size_t n = strlen(text), ends[256], k = 0;
  for (size_t i = 1; i < n; i++) {
    if (!char_starts(text, i)) continue;
    const size_t two[2] = { i, n };
    exchange(&f->r, shape, stream_answer(shape, kind, text, two, 2));
    assert_string_equal(text_of(shape, kind, body), expected);
    if (shape == RESPONSES) assert_int_equal(count_of(body, text), 0);
    ends[k++] = i;
  }
  ends[k++] = n;
  exchange(&f->r, shape, stream_answer(shape, kind, text, ends, k));
  assert_string_equal(text_of(shape, kind, body), expected);
  if (shape == RESPONSES) {
    char literal[512];
    struct wr_buf b;
    wr_buf_init(&b, literal, sizeof literal - 1);
    wr_buf_json_string(&b, wr_span_str(expected));
    literal[b.len] = 0;
    assert_int_equal(count_of(body, literal), 3);
  }
}

static void cuts(void **state) {
  (void)state;
  struct filter f;
  open_filter(&f, true);
  f.find = "s\xc3\xa9" "cret";
  f.with = "[\"\xf0\x9f\x98\x80\"]";
  for (enum shape shape = CHAT; shape < SHAPES; shape++)
    for (int kind = 0; kind < 2; kind++)
      every_cut(&f, shape, kind,
                "a \xf0\x9f\x98\x80 s\xc3\xa9" "cret\n, s\xc3\xa9 and s\xc3\xa9" "cret",
                "a \xf0\x9f\x98\x80 [\"\xf0\x9f\x98\x80\"]\n, s\xc3\xa9 and "
                "[\"\xf0\x9f\x98\x80\"]");
  close_filter(&f);
}

/* Arguments stay JSON: a quote in the replacement is escaped twice, a number becomes a string. */
static void tools(void **state) {
  (void)state;
  struct filter f;
  open_filter(&f, true);
  for (enum shape shape = CHAT; shape < OLLAMA; shape++) {
    f.find = "bob";
    f.with = "a\"b";
    every_cut(&f, shape, 2, "{\"q\":\"hi\\nbob\",\"n\":1}", "{\"q\":\"hi\\na\\\"b\",\"n\":1}");
    f.find = "411";
    f.with = "[CARD]";
    every_cut(&f, shape, 2, "{\"q\":411, \"t\":\"411\"}", "{\"q\":\"[CARD]\", \"t\":\"[CARD]\"}");
  }
  static const char whole[] =
      "{\"model\":\"m\",\"done\":false,\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"x\","
      "\"arguments\":{\"a\": \"411 \\\"\"}}}]}}\n{\"done\":true}\n";
  char answer[1024];
  int n = snprintf(answer, sizeof answer,
                   "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
                   "transfer-encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n",
                   strlen(whole), whole);
  exchange(&f.r, OLLAMA, wr_span_make(answer, (size_t)n));
  assert_non_null(strstr(body, "\"arguments\":{\"a\": \"[CARD] \\\"\"}"));
  close_filter(&f);
}

/* A range that would break the arguments: a guard stops, others let them pass. */
static void tool_breaks(void **state) {
  (void)state;
  for (int guard = 0; guard < 2; guard++) {
    struct filter f;
    open_filter(&f, guard);
    f.find = "\",\"";
    f.with = "x";
    const size_t ends[] = { 4, 17 };
    exchange(&f.r, CHAT, stream_answer(CHAT, 2, "{\"a\":\"1\",\"b\":\"2\"}", ends, 2));
    assert_string_equal(f.r.outcome, guard ? "stopped" : "complete");
    if (!guard) assert_string_equal(text_of(CHAT, 2, body), "{\"a\":\"1\",\"b\":\"2\"}");
    close_filter(&f);
  }
}

static void say(struct filter *f, uint8_t kind, const char *text, size_t i, size_t j) {
  memset(&f->say, 0, sizeof f->say);
  f->say.kind = kind;
  f->say.text = wr_span_str(text);
  f->say.i = i;
  f->say.j = j;
}

static const size_t three[] = { 3, 6, 9 };

/* What a verdict makes of "abcdefghi" in three deltas. */
static void expect(struct filter *f, const char *text, const char *outcome) {
  for (enum shape shape = CHAT; shape < SHAPES; shape++) {
    exchange(&f->r, shape, stream_answer(shape, 0, "abcdefghi", three, 3));
    assert_string_equal(text_of(shape, 0, body), text);
    assert_string_equal(f->r.outcome, outcome);
  }
}

static void verdicts(void **state) {
  (void)state;
  struct filter f;
  open_filter(&f, false);
  say(&f, WR_VERDICT_DROP, "", 0, 0);
  expect(&f, "", "complete");
  assert_int_equal(count_of(body, "\"content\":\"\""), 4); /* the envelopes are there */
  say(&f, WR_VERDICT_HOLD, "", 0, 0);
  expect(&f, "abcdefghi", "complete");
  say(&f, WR_VERDICT_HOLD, "", 3, 0);
  expect(&f, "abcdefghi", "complete");
  say(&f, WR_VERDICT_REPLACE, "Y", 0, 0);
  expect(&f, "YYY", "complete");
  say(&f, WR_VERDICT_REPLACE, "\xff\"", 0, 0);
  expect(&f, "\xef\xbf\xbd\"\xef\xbf\xbd\"\xef\xbf\xbd\"", "complete");
  say(&f, WR_VERDICT_REPLACE, "X", 9, 9); /* beyond the window: not done */
  expect(&f, "abcdefghi", "complete");
  say(&f, WR_VERDICT_STOP, "no", 0, 0);
  expect(&f, "", "stopped");
  say(&f, WR_VERDICT_STOP, "length", 0, 0);
  expect(&f, "", "over_budget");
  f.say.kind = 0;
  f.stop_last = true;
  expect(&f, "", "stopped");
  for (enum shape shape = CHAT; shape < SHAPES; shape++) {
    exchange(&f.r, shape, stream_answer(shape, 0, "abcdefghi", three, 3));
    assert_int_equal(count_of(body, "abc"), 0); /* nor as a repeat */
  }
  close_filter(&f);
}

/* Insertion without end: 64 rounds, then it failed. */
static void rounds(void **state) {
  (void)state;
  for (int guard = 0; guard < 2; guard++) {
    struct filter f;
    open_filter(&f, guard);
    say(&f, WR_VERDICT_REPLACE, "", 1, 0);
    exchange(&f.r, CHAT, stream_answer(CHAT, 0, "abcdefghi", three, 1));
    assert_int_equal(f.calls, 64);
    assert_string_equal(f.r.outcome, guard ? "stopped" : "complete");
    close_filter(&f);
  }
}

/* A range inside of a character takes all of it. */
static void borders(void **state) {
  (void)state;
  struct filter f;
  open_filter(&f, true);
  const size_t one[] = { 6 };
  say(&f, WR_VERDICT_REPLACE, "x", 3, 3);
  f.stage[0].hold_bytes = 1;
  exchange(&f.r, CHAT, stream_answer(CHAT, 0, "a\xf0\x9f\x98\x80" "b", one, 1));
  assert_string_equal(f.r.outcome, "stopped"); /* the second round asks for what isn't there */
  f.say.kind = 0;
  f.find = "\x9f\x98"; /* half of one */
  f.with = "-";
  exchange(&f.r, CHAT, stream_answer(CHAT, 0, "a\xf0\x9f\x98\x80" "b", one, 1));
  assert_string_equal(text_of(CHAT, 0, body), "a-b");
  f.find = "a";
  exchange(&f.r, CHAT, stream_answer(CHAT, 0, "a\xf0\x9f\x98\x80" "a", one, 1));
  assert_string_equal(text_of(CHAT, 0, body), "-\xf0\x9f\x98\x80-");
  close_filter(&f);
}

/* Text beyond `hold` goes; events beyond held_bytes end a guarded stream, and flow otherwise. */
static void bounds(void **state) {
  (void)state;
  static char text[512];
  size_t ends[500];
  memset(text, 'a', 500);
  for (size_t i = 0; i < 500; i++) ends[i] = i + 1;
  for (int guard = 0; guard < 2; guard++) {
    struct filter f;
    open_filter(&f, guard);
    say(&f, WR_VERDICT_HOLD, "", 0, 0);
    f.stage[0].hold_bytes = 20;
    exchange(&f.r, CHAT, stream_answer(CHAT, 0, text, ends, 500));
    assert_string_equal(text_of(CHAT, 0, body), text);
    f.stage[0].hold_bytes = 400;
    f.r.routes[0].held_bytes = 4096;
    exchange(&f.r, CHAT, stream_answer(CHAT, 0, text, ends, 500));
    assert_string_equal(f.r.outcome, guard ? "stopped" : "complete");
    if (!guard) assert_string_equal(text_of(CHAT, 0, body), text);
    close_filter(&f);
  }
}

/* Two stages: the second sees what the first has made. */
static void stages(void **state) {
  (void)state;
  struct filter f;
  open_filter(&f, true);
  f.r.routes[0].text_count = 2;
  f.find = "bc";
  f.with = "bbcc";
  const size_t ends[] = { 2, 3, 6 };
  exchange(&f.r, CHAT, stream_answer(CHAT, 0, "abcdef", ends, 3));
  assert_string_equal(text_of(CHAT, 0, body), "abbbccc" "def");
  close_filter(&f);
}

/* Reasoning ends where text begins; order stays. */
static void kinds(void **state) {
  (void)state;
  struct filter f;
  open_filter(&f, true);
  f.find = "xyz";
  f.with = "!";
  static const char r1[] =
      "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"..xy\"}}]}\n\n";
  const char *const parts[] = { ROLE, r1, HELLO, STOP, DONE };
  exchange(&f.r, CHAT, chunked(parts, 5));
  assert_string_equal(f.seen, "..xy|xy|hello|"); /* not only at the end of the stream */
  assert_int_equal(f.lasts, 1); /* hello holds nothing back, so only the reasoning ends */
  char all[2048];
  snprintf(all, sizeof all, "%s%s%s%s%s", ROLE, r1, HELLO, STOP, DONE);
  assert_string_equal(body, all);
  close_filter(&f);
}

/* finish_reason and text in one event; several lines of data; a comment; logprobs. */
static void odd_events(void **state) {
  (void)state;
  struct filter f;
  open_filter(&f, true);
  f.find = "bad";
  f.with = "ok";
  const char *const parts[] = {
    "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"a bad\"}}]}\n\n",
    ": ping\n\n",
    "data: {\"choices\":[{\"index\":0,\"logprobs\":{\"content\":[{\"token\":\"bad\"}]},"
    "\"delta\":{\"content\":\" ba\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"d\"},\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
    DONE
  };
  exchange(&f.r, CHAT, chunked(parts, 5));
  assert_string_equal(body,
                      "data: {\"choices\":[{\"index\":0, \"delta\":{\"content\":\"a ok\"}}]}"
                      "\n\n: ping\n\n"
                      "data: {\"choices\":[{\"index\":0,\"logprobs\":null,"
                      "\"delta\":{\"content\":\" ok\"}}]}\n\n"
                      "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},"
                      "\"finish_reason\":\"stop\"}],"
                      "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n" DONE);
  close_filter(&f);
}

/* A pair of surrogates that stands in two deltas is one character. */
static void surrogates(void **state) {
  (void)state;
  struct filter f;
  open_filter(&f, true);
  f.find = "\xf0\x9f\x98\x80";
  f.with = ":)";
#define PIECE(t) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t "\"}}]}\n\n"
  const char *const parts[] = { PIECE("a\\\\ud83d\\ud83d"), PIECE("\\uDE00b"), STOP, DONE };
  exchange(&f.r, CHAT, chunked(parts, 4));
  assert_string_equal(body, PIECE("a\\\\ud83d") PIECE(":)b") STOP DONE);
  close_filter(&f);
}

/* Shapes that may hide text. */
static void unknown(void **state) {
  (void)state;
  static const char *const shapes[] = {
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"text\":\"zebra\"}]}}]}\n\n",
    ("data: {\"choices\":[{\"index\":0,\"delta\":{}},"
     "{\"index\":1,\"delta\":{\"content\":\"zebra\"}}]}\n\n"),
    "data: {\"choices\":[{\"index\":0,\"message\":{\"content\":\"zebra\"}}]}\n\n",
  };
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    for (int guard = 0; guard < 2; guard++) {
      struct filter f;
      open_filter(&f, guard);
      const char *const parts[] = { ROLE, HELLO, shapes[i], STOP, DONE };
      exchange(&f.r, CHAT, chunked(parts, 5));
      assert_string_equal(f.r.outcome, guard ? "stopped" : "complete");
      assert_int_equal(count_of(body, "zebra"), guard ? 0 : 1);
      close_filter(&f);
    }
}

/* A guard that fails before any content was let go: a status, in every dialect, also when its text
 * came in several events and all of them are held. Behind the first that went: an error event. */
static void fails_first(void **state) {
  (void)state;
  static const char *const reasons[SHAPES] = {
    "\"code\":\"policy_error\"", "\"type\":\"api_error\"", "\"code\":\"policy_error\"",
    "{\"error\":\"",
  };
  for (enum shape shape = CHAT; shape < SHAPES; shape++)
    for (unsigned good = 0; good < 3; good++) {
      struct filter f;
      open_filter(&f, true);
      f.holds = good == 1;
      f.passes = good;
      say(&f, WR_VERDICT_STOP, "policy_error", 0, 0);
      f.say.failed = true;
      exchange(&f.r, shape, stream_answer(shape, 0, "abcdefghi", three, 3));
      assert_int_equal(strncmp(f.r.got, good == 2 ? "HTTP/1.1 200" : "HTTP/1.1 500", 12), 0);
      TURN_UNTIL(&f.r.w, f.r.records == 1);
      assert_int_equal(f.r.record.status, good == 2 ? 200 : 500);
      assert_string_equal(f.r.outcome, "stopped");
      assert_int_equal(f.r.record.err, WR_E_POLICY_ERROR);
      assert_int_equal(count_of(body, "abc"), good == 2);
      assert_int_equal(count_of(body, "ghi"), 0);
      if (good < 2) assert_non_null(strstr(body, reasons[shape]));
      else assert_non_null(strstr(f.r.got, "policy of this gateway failed"));
      close_filter(&f);
    }
}

/* Text that a hook still holds has been shown to nobody: what fails then can be tried elsewhere. */
static void held_and_retried(void **state) {
  (void)state;
  for (int held = 0; held < 2; held++) {
    static char whole[4096];
    struct filter f;
    open_filter(&f, true);
    f.r.routes[0].to = 2;
    f.r.groups[2].retry_on = 1u << WR_RETRY_TRUNCATED;
    f.passes = 1;
    f.holds = held;
    const char *const half[] = { ROLE, HELLO };
    struct wr_span answer = whole_answer();
    memcpy(whole, answer.ptr, answer.len);
    f.r.answer_of[1] = wr_span_make(whole, answer.len);
    do { /* whoever is asked first */
      f.calls = f.r.asked[0] = f.r.asked[1] = 0;
      f.r.answer_of[0] = chunked(half, 2);
      ask(&f.r, ASK_CLOSE);
      TURN_UNTIL(&f.r.w, f.r.client_end);
      rig_ups_drop(&f.r);
    } while (f.r.asked[0] == 0);
    assert_int_equal(f.r.asked[1], held);
    assert_string_equal(f.r.outcome, held ? "complete" : "truncated");
    if (held) assert_true(rig_dechunk(f.r.got, body, sizeof body, NULL));
    if (held) assert_string_equal(body, WHOLE);
    close_filter(&f);
  }
}

/* An answer that isn't a stream can't be seen: a guard refuses it. */
static void not_a_stream(void **state) {
  (void)state;
  static const char plain[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                              "content-length: 11\r\n\r\n{\"text\":\"x\"}";
  for (int guard = 0; guard < 2; guard++) {
    struct filter f;
    open_filter(&f, guard);
    answer_with(&f.r, wr_span_str(plain));
    ask(&f.r, ASK);
    TURN_UNTIL(&f.r.w, f.r.got_len > 0);
    assert_int_equal(strncmp(f.r.got, guard ? "HTTP/1.1 500" : "HTTP/1.1 200", 12), 0);
    close_filter(&f);
  }
}

/* Texts larger than a block. */
static void big(void **state) {
  (void)state;
  static char text[80001], expected[80001];
  memset(text, 'a', 80000);
  memcpy(expected, text, sizeof text);
  memcpy(text + 70000, "secret", 6);
  memcpy(expected + 70000, "SECRET", 6);
  struct filter f;
  open_filter(&f, true);
  f.r.routes[0].held_bytes = 1u << 20;
  f.find = "secret";
  f.with = "SECRET";
  const size_t ends[] = { 70003, 80000 };
  for (enum shape shape = CHAT; shape < SHAPES; shape++) {
    if (shape == RESPONSES) continue;
    exchange(&f.r, shape, stream_answer(shape, 0, text, ends, 2));
    assert_string_equal(f.r.outcome, "complete");
    assert_int_equal(count_of(body, "SECRET"), 1);
    assert_int_equal(count_of(body, "secret"), 0);
  }
  static char middle[40001];
  memcpy(middle, text + 40000, 40001);
  const size_t halves[] = { 30003, 40000 };
  exchange(&f.r, RESPONSES, stream_answer(RESPONSES, 0, middle, halves, 2));
  assert_int_equal(count_of(body, "SECRET"), 4);
  assert_int_equal(count_of(body, "secret"), 0);
  close_filter(&f);
}

/* Every recording passes to the byte under a guard that finds nothing. */
static void recordings(void **state) {
  (void)state;
  static const struct { const char *name; enum shape shape; bool done; } files[] = {
    { "openai-chat-text", CHAT, true },
    { "openai-chat-alibaba-tool-call", CHAT, true },
    { "openai-chat-azure-model-router", CHAT, true },
    { "openai-chat-deepseek-reasoning-tool-call", CHAT, true },
    { "openai-chat-mistral-text", CHAT, true },
    { "openai-chat-xai-text", CHAT, true },
    { "openai-responses-error", RESPONSES, false },
    { "openai-responses-lmstudio", RESPONSES, false },
    { "openai-responses-web-search", RESPONSES, false },
    { "anthropic-text", MESSAGES, false },
    { "anthropic-tool-no-args", MESSAGES, false },
    { "anthropic-web-search", MESSAGES, false },
  };
  const char *shared = getenv("WEIR_SHARED");
  static char in[2 << 20], whole[2 << 20], line[1 << 20];
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/streams/%s.jsonl", shared ? shared : "../shared",
             files[i].name);
    FILE *file = fopen(path, "r");
    if (!file) {
      print_message("%s is absent: skipped\n", path);
      continue;
    }
    size_t n = 0;
    while (fgets(line, sizeof line, file)) {
      line[strcspn(line, "\n")] = 0;
      n += (size_t)snprintf(in + n, sizeof in - n, "data: %s\n\n", line);
    }
    fclose(file);
    if (files[i].done) n += (size_t)snprintf(in + n, sizeof in - n, DONE);
    if (n > sizeof body - 4096) continue;
    int len = snprintf(whole, sizeof whole, "%s%zx\r\n%s\r\n0\r\n\r\n", SSE_HEAD, n, in);
    struct filter f;
    open_filter(&f, true);
    f.r.routes[0].held_bytes = 1u << 20;
    exchange(&f.r, files[i].shape, wr_span_make(whole, (size_t)len));
    if (strcmp(body, in) != 0) fail_msg("%s differs: %s", files[i].name, f.r.outcome);
    assert_true(f.calls > 0 || strstr(files[i].name, "error") != NULL);
    close_filter(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(cuts),       cmocka_unit_test(tools),        cmocka_unit_test(tool_breaks),
    cmocka_unit_test(verdicts),   cmocka_unit_test(rounds),       cmocka_unit_test(borders),
    cmocka_unit_test(fails_first), cmocka_unit_test(held_and_retried),
    cmocka_unit_test(bounds),     cmocka_unit_test(stages),       cmocka_unit_test(kinds),
    cmocka_unit_test(odd_events), cmocka_unit_test(unknown),      cmocka_unit_test(not_a_stream),
    cmocka_unit_test(surrogates),   cmocka_unit_test(big),        cmocka_unit_test(recordings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Generated and replayed answers as lists of events: exact where exactness is promised, JSON
 * everywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/heap.h"
#include "mock/answer.h"
#include "mock/prefill.h"
#include "mock/replay.h"
#include "wire/json_scan.h"

#define ROOM 65536

static struct wr_mock_ask ask_of(enum wr_mock_dialect dialect) {
  struct wr_mock_ask ask = { 0 };
  (void)snprintf(ask.model, sizeof ask.model, "m\"1");
  ask.dialect = (uint8_t)dialect;
  ask.choices = 1;
  ask.stream = true;
  return ask;
}

static struct wr_mock_knobs knobs_of(uint32_t tokens) {
  struct wr_mock_options o;
  wr_mock_options_init(&o);
  o.knobs.tokens = tokens;
  o.knobs.numbered = true;
  return o.knobs;
}

/* Walks the answer: counts its events, joins what `path` leads to, and checks that each payload is
 * JSON. */
static unsigned walk(struct wr_mock_answer *a, const char *path, char *joined, size_t joined_cap,
                     bool *last) {
  static struct wr_json_prog prog;
  static char room[ROOM];
  struct wr_buf text, event;
  struct wr_mock_event ev;
  unsigned n = 0;
  wr_buf_init(&text, joined, joined_cap - 1);
  assert_int_equal(wr_json_compile(&prog, &path, 1), WR_OK);
  *last = false;
  while (wr_mock_answer_peek(a, &ev) == WR_OK) {
    assert_false(*last);
    wr_buf_init(&event, room, sizeof room);
    assert_int_equal(wr_mock_answer_next(a, &event), WR_OK);
    *last = ev.last;
    n++;
    if (wr_span_eq(wr_buf_span(&event), WR_SPAN("[DONE]"))) continue;
    struct wr_json_value v;
    assert_int_equal(wr_json_scan(&prog, wr_buf_span(&event), &v), WR_OK);
    if (v.type == WR_JSON_STRING)
      assert_int_equal(wr_json_string_decode(wr_json_raw(wr_buf_span(&event), &v), &text), WR_OK);
  }
  joined[text.len] = 0;
  return n;
}

static void test_numbered_text(void **state) {
  (void)state;
  static const char *const paths[] = { "choices[0].delta.content", "delta", "delta.text",
                                       "message.content", "response" };
  static const unsigned others[] = { 3, 8, 6, 1, 1 };
  for (unsigned d = 0; d < WR_MOCK_DIALECTS; d++) {
    struct wr_mock_ask ask = ask_of((enum wr_mock_dialect)d);
    struct wr_mock_knobs knobs = knobs_of(3);
    struct wr_mock_answer a;
    char joined[256];
    bool last;
    wr_mock_answer_init(&a, &ask, &knobs, NULL, 7, 1700000000);
    assert_int_equal(walk(&a, paths[d], joined, sizeof joined, &last), 3 + others[d]);
    assert_string_equal(joined, "t0 t1 t2");
    assert_true(last);
  }
}

static void test_exact_chat(void **state) {
  (void)state;
  struct wr_mock_ask ask = ask_of(WR_MOCK_CHAT);
  struct wr_mock_knobs knobs = knobs_of(1);
  struct wr_mock_answer a;
  char room[1024];
  struct wr_buf out;
  wr_mock_answer_init(&a, &ask, &knobs, NULL, 255, 1700000000);
  wr_buf_init(&out, room, sizeof room);
  assert_int_equal(wr_mock_answer_next(&a, &out), WR_OK);
  out.len = 0;
  assert_int_equal(wr_mock_answer_next(&a, &out), WR_OK);
  const char *expected =
      "{\"id\":\"chatcmpl-00000000000000ff\",\"object\":\"chat.completion.chunk\",\"created\":"
      "1700000000,"
      "\"model\":\"m\\\"1\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_weirmock\","
      "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"t0\"},\"logprobs\":null,\"finish_"
      "reason\":null}]}";
  assert_true(wr_span_eq(wr_buf_span(&out), wr_span_str(expected)));
}

/* Every kind of answer in every dialect is JSON, streamed and whole, and its arguments come
 * complete. */
static void test_all_kinds(void **state) {
  (void)state;
  static const char *const arguments[] = { "choices[0].delta.tool_calls[0].function.arguments",
                                           "delta", "delta.partial_json", "x", "x" };
  static char whole[ROOM];
  for (unsigned d = 0; d < WR_MOCK_DIALECTS; d++) {
    for (unsigned kind = 0; kind < 16; kind++) {
      struct wr_mock_ask ask = ask_of((enum wr_mock_dialect)d);
      struct wr_mock_knobs knobs = knobs_of(5);
      struct wr_mock_answer a;
      struct wr_buf out;
      char joined[512], room[WR_MOCK_ARGUMENTS_BYTES];
      bool last;
      knobs.tool = (kind & 1) != 0;
      knobs.reasoning = (kind & 2) != 0 ? 2 : 0;
      ask.include_usage = (kind & 4) != 0;
      ask.max_tokens = (kind & 8) != 0 ? 2 : 0;
      if (d == WR_MOCK_CHAT) ask.choices = 3;
      wr_mock_answer_init(&a, &ask, &knobs, NULL, 7, 1700000000);
      struct wr_mock_answer copy = a;
      (void)walk(&copy, arguments[d], joined, sizeof joined, &last);
      assert_true(last);
      if (knobs.tool && d >= 1 && d <= 2 && knobs.reasoning == 0) {
        struct wr_span all = wr_mock_answer_arguments(&a, room);
        assert_true(wr_span_eq(wr_span_str(joined), all));
      }
      wr_buf_init(&out, whole, sizeof whole);
      wr_mock_answer_whole(&a, &out);
      assert_false(out.overflow);
      static struct wr_json_prog prog;
      static const char *const path[] = { "model" };
      struct wr_json_value v;
      assert_int_equal(wr_json_compile(&prog, path, 1), WR_OK);
      assert_int_equal(wr_json_scan(&prog, wr_buf_span(&out), &v), WR_OK);
      assert_true(wr_json_string_eq(wr_json_raw(wr_buf_span(&out), &v), WR_SPAN("m\"1")));
    }
  }
}

/* Too little room changes nothing: the same event comes with more. */
static void test_retry_with_more_room(void **state) {
  (void)state;
  struct wr_mock_ask ask = ask_of(WR_MOCK_RESPONSES);
  struct wr_mock_knobs knobs = knobs_of(9);
  struct wr_mock_answer small, large;
  static char room_a[ROOM], room_b[ROOM];
  struct wr_buf a, b;
  knobs.numbered = false;
  wr_mock_answer_init(&small, &ask, &knobs, NULL, 7, 1);
  large = small;
  for (;;) {
    wr_buf_init(&b, room_b, sizeof room_b);
    enum wr_err err = wr_mock_answer_next(&large, &b);
    for (size_t cap = 0; cap < b.len; cap += 7) {
      wr_buf_init(&a, room_a, cap);
      assert_int_equal(wr_mock_answer_next(&small, &a), WR_E_NOMEM);
      assert_int_equal(a.len, 0);
    }
    wr_buf_init(&a, room_a, sizeof room_a);
    assert_int_equal(wr_mock_answer_next(&small, &a), err);
    assert_true(wr_span_eq(wr_buf_span(&a), wr_buf_span(&b)));
    if (err != WR_OK) break;
  }
}

static void test_text(void **state) {
  (void)state;
  struct wr_mock_text a, b, other;
  char room_a[WR_MOCK_TOKEN_BYTES], room_b[WR_MOCK_TOKEN_BYTES];
  bool differs = false;
  wr_mock_text_init(&a, 5, false);
  wr_mock_text_init(&b, 5, false);
  wr_mock_text_init(&other, 6, false);
  for (unsigned i = 0; i < 5000; i++) {
    struct wr_span x = wr_mock_text_next(&a, room_a), y = wr_mock_text_next(&b, room_b);
    assert_true(wr_span_eq(x, y));
    assert_true(x.len >= 1 && x.len <= WR_MOCK_TOKEN_BYTES);
    assert_int_equal(x.ptr[0] == ' ', i > 0);
    for (size_t k = 0; k < x.len; k++)
      assert_true(x.ptr[k] >= ' ' && x.ptr[k] < 127 && x.ptr[k] != '"' && x.ptr[k] != '\\');
    if (!wr_span_eq(x, wr_mock_text_next(&other, room_b))) differs = true;
  }
  assert_true(differs);
}

static void test_replay(void **state) {
  (void)state;
  static const char bytes[] = "{\"type\":\"a.b\",\"x\":1}\r\n\n{\"type\":\"c\"}";
  char path[] = "/tmp/wr_mock_replay_XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, sizeof bytes - 1), sizeof bytes - 1);
  assert_int_equal(close(fd), 0);
  struct wr_mock_recordings set;
  const struct wr_mock_recording *r, *again;
  wr_mock_recordings_init(&set);
  assert_int_equal(wr_mock_recordings_open(&set, path, &r), WR_OK);
  assert_int_equal(wr_mock_recordings_open(&set, path, &again), WR_OK);
  assert_ptr_equal(r, again);
  assert_int_equal(wr_mock_recordings_open_in(&set, "/tmp", wr_span_str(path + 5), &again), WR_OK);
  assert_int_equal(wr_mock_recordings_open_in(&set, "/tmp", WR_SPAN("../etc/passwd"), &again),
                   WR_E_ARG);
  assert_int_equal(wr_mock_recordings_open_in(&set, "/", WR_SPAN(".."), &again), WR_E_ARG);
  assert_int_equal(wr_mock_recordings_open(&set, "/tmp", &again), WR_E_IO);
  assert_int_equal(wr_mock_recordings_open(&set, "/dev/null", &again), WR_E_IO);
  static const enum wr_mock_dialect dialects[] = { WR_MOCK_CHAT, WR_MOCK_MESSAGES };
  for (unsigned i = 0; i < 2; i++) {
    struct wr_mock_ask ask = ask_of(dialects[i]);
    struct wr_mock_knobs knobs = knobs_of(1);
    struct wr_mock_answer a;
    struct wr_mock_event ev;
    char room[128];
    struct wr_buf out;
    wr_mock_answer_init(&a, &ask, &knobs, r, 7, 1);
    wr_buf_init(&out, room, sizeof room);
    assert_int_equal(wr_mock_answer_peek(&a, &ev), WR_OK);
    assert_true(wr_span_eq(ev.name, i == 0 ? WR_SPAN("") : WR_SPAN("a.b")));
    assert_int_equal(wr_mock_answer_next(&a, &out), WR_OK);
    assert_true(wr_span_eq(wr_buf_span(&out), WR_SPAN("{\"type\":\"a.b\",\"x\":1}")));
    assert_int_equal(wr_mock_answer_peek(&a, &ev), WR_OK);
    assert_int_equal(ev.last, i == 1);
    out.len = 0;
    assert_int_equal(wr_mock_answer_next(&a, &out), WR_OK);
    assert_true(wr_span_eq(wr_buf_span(&out), WR_SPAN("{\"type\":\"c\"}")));
    out.len = 0;
    assert_int_equal(wr_mock_answer_next(&a, &out), i == 0 ? WR_OK : WR_E_END);
    assert_true(wr_span_eq(wr_buf_span(&out), i == 0 ? WR_SPAN("[DONE]") : WR_SPAN("")));
    assert_int_equal(wr_mock_answer_peek(&a, &ev), WR_E_END);
  }
  wr_mock_recordings_fini(&set);
  assert_int_equal(wr_heap_live_count(WR_HEAP_MOCK), 0);
  assert_int_equal(unlink(path), 0);
}

/* What the client has of the answer, from a request in two pieces cut anywhere. */
static uint32_t prefilled(const char *json) {
  uint32_t got = 0;
  for (size_t cut = 0; cut <= strlen(json); cut++) {
    struct wr_mock_prefill p;
    wr_mock_prefill_init(&p, 1, true);
    wr_mock_prefill_feed(&p, wr_span_make(json, cut));
    wr_mock_prefill_feed(&p, wr_span_str(json + cut));
    assert_true(cut == 0 || p.bytes == got);
    got = p.bytes;
  }
  return got;
}

static void goes_on(void **state) {
  (void)state;
#define ASKED "{\"messages\":[{\"role\":\"user\",\"content\":\"t0 t1\"}"
  assert_int_equal(prefilled(ASKED "]}"), 0);
  assert_int_equal(prefilled(ASKED ",{\"role\":\"assistant\",\"content\":\"t0 t1\"}]}"), 5);
  assert_int_equal(prefilled(ASKED ", {\"role\" : \"assistant\", \"content\" : \"t0 t\"}],"
                                   "\"model\":\"m\"}"), 4);
  assert_int_equal(prefilled(ASKED ",{\"role\":\"assistant\",\"content\":\"t0 x1\"}]}"), 0);
  assert_int_equal(prefilled(ASKED ",{\"role\":\"assistant\",\"content\":\"t0\"},"
                                   "{\"role\":\"user\",\"content\":\"and?\"}]}"), 0);
#undef ASKED
  struct wr_mock_ask ask = ask_of(WR_MOCK_CHAT);
  struct wr_mock_knobs knobs = knobs_of(5);
  static const char *const paths[] = { "choices[0].delta.content" };
  static const char whole[] = "t0 t1 t2 t3 t4";
  for (uint32_t n = 0; n <= sizeof whole - 1; n++) {
    struct wr_mock_answer a;
    char text[256];
    bool last;
    ask.prefill_bytes = n;
    wr_mock_answer_init(&a, &ask, &knobs, NULL, 1, 0);
    (void)walk(&a, paths[0], text, sizeof text, &last);
    assert_true(last);
    assert_string_equal(text, whole + n);
    struct wr_buf b;
    wr_buf_init(&b, text, sizeof text - 1);
    wr_mock_answer_put_text(&a, 0, &b);
    text[b.len] = 0;
    assert_string_equal(text, whole + n);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(goes_on),
    cmocka_unit_test(test_numbered_text), cmocka_unit_test(test_exact_chat),
    cmocka_unit_test(test_all_kinds),     cmocka_unit_test(test_retry_with_more_room),
    cmocka_unit_test(test_text),          cmocka_unit_test(test_replay),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "recordings.h"

#include "base/buf.h"
#include "wire/sse_parse.h"
#include "wire/sse_write.h"

static char room[512];
static struct wr_buf buf;

static void expect(struct wr_span name, struct wr_span data, const char *want) {
  wr_buf_init(&buf, room, sizeof room);
  assert_int_equal(wr_sse_write_event(&buf, name, data), WR_OK);
  if (!wr_span_eq(wr_buf_span(&buf), wr_span_str(want))) {
    fail_msg("%.*s", (int)buf.len, buf.ptr);
  }
}

static void events(void **state) {
  (void)state;
  expect(WR_SPAN(""), WR_SPAN("x"), "data: x\n\n");
  expect(WR_SPAN("e"), WR_SPAN("x"), "event: e\ndata: x\n\n");
  expect(WR_SPAN(""), WR_SPAN(""), "data: \n\n");
  expect(wr_span_make(NULL, 0), wr_span_make(NULL, 0), "data: \n\n");
  expect(WR_SPAN(""), WR_SPAN(" x"), "data:  x\n\n");
  expect(WR_SPAN(""), WR_SPAN("a\nb"), "data: a\ndata: b\n\n");
  expect(WR_SPAN(""), WR_SPAN("a\rb\r\nc"), "data: a\ndata: b\ndata: c\n\n");
  expect(WR_SPAN(""), WR_SPAN("\n"), "data: \ndata: \n\n");
  expect(WR_SPAN(""), WR_SPAN("a\n\nevent: evil\n\n"),
         "data: a\ndata: \ndata: event: evil\ndata: \ndata: \n\n");
}

static void names_cannot_inject(void **state) {
  (void)state;
  wr_buf_init(&buf, room, sizeof room);
  assert_int_equal(wr_sse_write_event(&buf, WR_SPAN("a\nb"), WR_SPAN("x")), WR_E_ARG);
  assert_int_equal(wr_sse_write_name(&buf, WR_SPAN("a\rb")), WR_E_ARG);
  assert_int_equal(wr_sse_write_id(&buf, WR_SPAN("a\0b")), WR_E_ARG);
  assert_int_equal(wr_sse_write_id(&buf, WR_SPAN("a\n")), WR_E_ARG);
  assert_int_equal(buf.len, 0);
}

static void parts(void **state) {
  (void)state;
  wr_buf_init(&buf, room, sizeof room);
  assert_int_equal(wr_sse_write_comment(&buf, WR_SPAN("")), WR_OK);
  assert_int_equal(wr_sse_write_comment(&buf, WR_SPAN("a\nb")), WR_OK);
  assert_int_equal(wr_sse_write_id(&buf, WR_SPAN("7")), WR_OK);
  assert_int_equal(wr_sse_write_name(&buf, WR_SPAN("n")), WR_OK);
  assert_int_equal(wr_sse_write_data(&buf, WR_SPAN("d")), WR_OK);
  assert_int_equal(wr_sse_write_end(&buf), WR_OK);
  struct wr_span want = WR_SPAN(":\n: a\n: b\nid: 7\nevent: n\ndata: d\n\n");
  assert_true(wr_span_eq(wr_buf_span(&buf), want));
  assert_true(wr_sse_is_one_line(WR_SPAN("abc")));
  assert_true(wr_sse_is_one_line(WR_SPAN("")));
  assert_false(wr_sse_is_one_line(WR_SPAN("abc\n")));
  assert_false(wr_sse_is_one_line(WR_SPAN("a\rbc")));
}

static void overflow(void **state) {
  (void)state;
  for (size_t cap = 0; cap < 18; cap++) {
    wr_buf_init(&buf, room, cap);
    assert_int_equal(wr_sse_write_event(&buf, WR_SPAN("e"), WR_SPAN("x")), WR_E_AGAIN);
  }
  wr_buf_init(&buf, room, 18);
  assert_int_equal(wr_sse_write_event(&buf, WR_SPAN("e"), WR_SPAN("x")), WR_OK);
}

/* What is written, the parser reads back. */
static void round_trip(void **state) {
  (void)state;
  static const char alphabet[] = "ab:\n\r ";
  char text[6];
  for (unsigned n = 0; n < 6 * 6 * 6 * 6 * 6; n++) {
    unsigned rest = n;
    for (int i = 0; i < 5; i++, rest /= 6) text[i] = alphabet[rest % 6];
    wr_buf_init(&buf, room, sizeof room);
    assert_int_equal(wr_sse_write_event(&buf, WR_SPAN("e"), wr_span_make(text, 5)), WR_OK);
    struct wr_sse_parser p;
    struct wr_sse_event ev;
    size_t used;
    wr_sse_init(&p, 0);
    assert_int_equal(wr_sse_next(&p, wr_buf_span(&buf), &used, &ev), WR_OK);
    assert_int_equal(used, buf.len);
    char joined[64];
    struct wr_buf out;
    wr_buf_init(&out, joined, sizeof joined);
    assert_int_equal(wr_sse_join_data(wr_buf_span(&buf), &ev, &out), WR_OK);
    char want[8];
    size_t len = 0;
    for (int i = 0; i < 5; i++) {
      if (text[i] == '\n' && i > 0 && text[i - 1] == '\r') continue;
      want[len++] = text[i] == '\r' ? '\n' : text[i];
    }
    assert_true(wr_span_eq(wr_buf_span(&out), wr_span_make(want, len)));
  }
}

static void constants(void **state) {
  (void)state;
  static const struct { struct wr_span text; uint8_t kind; } all[] = {
    { { ":\n\n", 3 }, WR_SSE_COMMENT_ONLY },
    { { "event: ping\ndata: {\"type\": \"ping\"}\n\n", 36 }, WR_SSE_EVENT },
    { { "data: [DONE]\n\n", 14 }, WR_SSE_EVENT },
  };
  struct wr_span given[] = { WR_SSE_HEARTBEAT, WR_SSE_ANTHROPIC_PING, WR_SSE_DONE };
  for (size_t i = 0; i < 3; i++) {
    struct wr_sse_parser p;
    struct wr_sse_event ev;
    size_t used;
    assert_true(wr_span_eq(given[i], all[i].text));
    wr_sse_init(&p, 0);
    assert_int_equal(wr_sse_next(&p, given[i], &used, &ev), WR_OK);
    assert_int_equal(used, given[i].len);
    assert_int_equal(ev.kind, all[i].kind);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(events),     cmocka_unit_test(names_cannot_inject),
    cmocka_unit_test(parts),      cmocka_unit_test(overflow),
    cmocka_unit_test(round_trip), cmocka_unit_test(constants),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

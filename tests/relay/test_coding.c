/* Answers that come compressed though weir asks for identity: who gets them, and who doesn't. */
#include "relay/coding.h"

#include "base/text.h"
#include "relay/texts.h"

static void fields(void **state) {
  (void)state;
  static const struct {
    const char *accept, *coding; /* borrowed: literals */
    bool suits;
  } cases[] = {
    { "", "", true },
    { "", "identity", true },
    { "", "gzip", false },
    { "gzip", "gzip", true },
    { "gzip", "GZip", true },
    { "deflate, GZIP ; q=0.5", "gzip", true },
    { "gzip;q=0", "gzip", false },
    { "gzip; Q=0.000", "gzip", false },
    { "gzip;q=0.001", "gzip", true },
    { "br", "gzip", false },
    { "br, zstd", "zstd", true },
    { "gzip, br", "gzip, br", true },
    { "gzip", "gzip, br", false },
    { "*", "deflate", true },
    { "*;q=0", "deflate", false },
    { "x-gzip", "gzip", true },
    { "*", "compress", false }, /* whatever that may be */
    { "*", "*", false },
    { ",, ;q=0 ,", "gzip", false },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    uint8_t accepted = wr_coding_accepted(wr_span_str(cases[i].accept));
    if (wr_coding_suits(accepted, wr_span_str(cases[i].coding)) != cases[i].suits)
      fail_msg("'%s' and '%s'", cases[i].accept, cases[i].coding);
  }
}

#define JSON_HEAD "content-type: application/json\r\ncontent-length: 4\r\n"
#define PACKED "\x1f\x8bzz"

/* The status that a client gets who sends this Accept-Encoding. */
static int status_of(struct rig *r, const char *accept, const char *answer) {
  char text[512];
  snprintf(text, sizeof text, POST "%s%scontent-length: 27\r\nconnection: close\r\n\r\n" BODY,
           accept, *accept ? "\r\n" : "");
  answer_with(r, wr_span_str(answer));
  ask(r, text);
  TURN_UNTIL(&r->w, r->client_end);
  snprintf(body, sizeof body, "%s", r->got);
  uint64_t status = 0;
  assert_int_equal(wr_text_u64(wr_span_make(body + 9, 3), 999, &status), WR_OK);
  return (int)status;
}

static void exchanges(void **state) {
  (void)state;
  static const char packed[] = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n"
                               JSON_HEAD "\r\n" PACKED;
  static const char sly[] = "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\n"
                            "content-encoding: gzip\r\n" JSON_HEAD "\r\n" PACKED;
  static const char error[] = "HTTP/1.1 400 No\r\ncontent-encoding: gzip\r\n"
                               JSON_HEAD "\r\n" PACKED;
  static const char stream[] = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n"
                               "content-type: text/event-stream\r\ncontent-length: 4\r\n\r\n"
                               PACKED;
  static const char none[] = "HTTP/1.1 204 OK\r\ncontent-encoding: gzip\r\n\r\n";
  struct rig r;
  rig_init(&r);
  rig_open(&r);
  assert_int_equal(status_of(&r, "accept-encoding: gzip, deflate", packed), 200);
  assert_non_null(strstr(r.got, "content-encoding: gzip\r\n"));
  assert_non_null(strstr(r.got, "\r\n\r\n" PACKED));
  assert_int_equal(status_of(&r, "accept-encoding: br\r\naccept-encoding: gzip", packed), 200);
  assert_int_equal(status_of(&r, "", packed), 502);
  assert_int_equal(r.record.err, WR_E_ENCODING);
  assert_null(strstr(r.got, PACKED));
  assert_null(strstr(r.got, "content-encoding"));
  assert_int_equal(status_of(&r, "accept-encoding: gzip;q=0", packed), 502);
  assert_int_equal(status_of(&r, "", sly), 502);
  assert_int_equal(status_of(&r, "accept-encoding: gzip", stream), 502);
  assert_int_equal(status_of(&r, "", error), 400);
  assert_non_null(strstr(r.got, "content-encoding: gzip\r\n"));
  assert_int_equal(status_of(&r, "", none), 204);
  rig_close(&r);
}

static void hook_event(void *ctx, struct wr_hook_stream *s, const struct wr_event *ev,
                       const struct wr_view *raw, struct wr_verdict *out) {
  (void)ctx;
  (void)s;
  (void)ev;
  (void)raw;
  (void)out;
  fail_msg("there are no events");
}
static void hook_text(void *ctx, struct wr_hook_stream *s, const struct wr_hook_window *win,
                      struct wr_verdict *out) {
  (void)ctx;
  (void)s;
  (void)win;
  (void)out;
  fail_msg("there is no text");
}
static void hook_end(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome) {
  (void)ctx;
  (void)s;
  (void)outcome;
}

/* What a guard of a stream can't see doesn't pass it, compressed or not; errors do. */
static void guards(void **state) {
  (void)state;
  static const char plain[] = "HTTP/1.1 200 OK\r\n" JSON_HEAD "\r\n1234";
  static const char packed[] = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n"
                               JSON_HEAD "\r\n" PACKED;
  static const char error[] = "HTTP/1.1 400 No\r\n" JSON_HEAD "\r\n1234";
  static const struct wr_conf_text text[] = { { 7, 256, true } };
  for (int i = 0; i < 4; i++) {
    struct rig r;
    bool guard = i % 2 == 0;
    rig_init(&r);
    r.use_hooks = true;
    r.hooks = (struct wr_hooks){ .ctx = &r, .event = hook_event, .text = hook_text,
                                 .end = hook_end };
    r.routes[0].hooks = i < 2 ? WR_HOOK_EVENT : WR_HOOK_TEXT;
    r.routes[0].guards = guard ? r.routes[0].hooks : 0;
    r.routes[0].texts = text;
    r.routes[0].text_count = 1;
    rig_open(&r);
    assert_int_equal(status_of(&r, "", plain), guard ? 500 : 200);
    if (guard) assert_int_equal(r.record.err, WR_E_POLICY_ERROR);
    assert_int_equal(status_of(&r, "accept-encoding: gzip", packed), guard ? 500 : 200);
    assert_int_equal(status_of(&r, "", error), 400);
    rig_close(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(fields),
    cmocka_unit_test(exchanges),
    cmocka_unit_test(guards),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Clients that read slowly: each action, its bounds, and that the whole text arrives where none of
 * it may be lost. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/relay_priv.h"
#include "relay/rig.h"
#include "relay/session.h"
#include "relay/slow.h"

#define GOT (24u << 20)
#define HIGH 8192u
#define MOST 32768u

/* A client on a plain socket with a small buffer, which reads when it is told to. */
struct raw {
  int fd;
  size_t len;
  bool end;
  char *got, *want; /* owned */
  size_t want_len;
};

static void chunk(struct wr_conn *conn, const char *text) {
  char out[6000];
  int n = snprintf(out, sizeof out, "%zx\r\n%s\r\n", strlen(text), text);
  assert_in_range(n, 1, sizeof out - 1);
  rig_write(conn, out, (size_t)n);
}

static void raw_open(struct raw *c, struct rig *r) {
  memset(c, 0, sizeof *c);
  c->got = malloc(GOT);
  c->want = malloc(GOT);
  assert_non_null(c->got);
  assert_non_null(c->want);
  int small = 4096;
  struct sockaddr_in to = { .sin_family = AF_INET };
  to.sin_port = htons(wr_addr_port(wr_listen_addr(r->front)));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_true(c->fd >= 0);
  setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  assert_int_equal(connect(c->fd, (struct sockaddr *)&to, sizeof to), 0);
  assert_int_equal(send(c->fd, ASK_CLOSE, strlen(ASK_CLOSE), 0), strlen(ASK_CLOSE));
}

static void raw_close(struct raw *c) {
  close(c->fd);
  free(c->got);
  free(c->want);
}

static void raw_read(struct raw *c) {
  for (;;) {
    ssize_t n = recv(c->fd, c->got + c->len, GOT - 1 - c->len, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
      c->end = true;
    if (n <= 0)
      break;
    c->len += (size_t)n;
  }
  c->got[c->len] = 0;
}

/* The texts of all deltas, in place of the chunked answer. `field` stands before each. */
static size_t raw_text(struct raw *c, const char *field) {
  char *body = malloc(GOT);
  assert_non_null(body);
  assert_true(rig_dechunk(c->got, body, GOT, NULL));
  size_t n = 0;
  for (char *p = body; (p = strstr(p, field)) != NULL;) {
    p += strlen(field);
    while (*p != '"')
      c->got[n++] = *p++;
  }
  c->got[n] = 0;
  free(body);
  return n;
}

static const char FIELD[] = "\"content\":\"";

/* One delta whose text says its number, padded. */
static void delta(struct rig *r, struct raw *c, unsigned i, unsigned pad) {
  char text[4200], event[4400];
  memset(text, 'a' + (int)(i % 26), sizeof text);
  int n = snprintf(text, sizeof text, "<%u>", i);
  text[n] = '.';
  text[(unsigned)n + pad] = 0;
  snprintf(event, sizeof event,
           "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}\n\n", text);
  chunk(r->ups[0]->conn, event);
  size_t len = strlen(text);
  assert_true(c->want_len + len < GOT);
  memcpy(c->want + c->want_len, text, len + 1);
  c->want_len += len;
}

static void setup(struct rig *r, enum wr_slow_action action) {
  rig_init(r);
  r->routes[0].slow_high_bytes = HIGH;
  r->routes[0].slow_low_bytes = HIGH / 4;
  r->routes[0].slow_max_bytes = MOST;
  r->routes[0].slow_action = action;
  r->routes[0].slow_give_up_ms = 0;
}

static void begin(struct rig *r, struct raw *c) {
  rig_open(r);
  raw_open(c, r);
  TURN_UNTIL(&r->w, r->up_count == 1 && rig_request_bytes(r->ups[0]->text) > 0);
  rig_write(r->ups[0]->conn, SSE_HEAD, strlen(SSE_HEAD));
}

struct most {
  uint64_t queued;
  bool paused;
};
static void look(void *ctx, const struct wr_relay_row *row) {
  struct most *m = ctx;
  if (row->queued_bytes > m->queued)
    m->queued = row->queued_bytes;
  m->paused = row->paused;
}
static struct most state_of(struct rig *r) {
  struct most m = { 0, false };
  wr_relay_each(r->relay, look, &m);
  return m;
}

static uint64_t did(struct rig *r, enum wr_slow_did what) {
  return wr_relay_stats(r->relay)->slow_did[what];
}

/* Large events until the kernels' buffers are full and the client counts as slow. */
static unsigned fill(struct rig *r, struct raw *c, enum wr_slow_did what) {
  unsigned i = 0;
  uint64_t until_ms = clock_ms() + 20000;
  while (did(r, what) == 0) {
    assert_true(clock_ms() < until_ms);
    if (wr_conn_unsent_bytes(r->ups[0]->conn) < 65536)
      delta(r, c, i++, 3900);
    wr_loop_turn(r->w.loop, 0);
  }
  return i;
}

/* Small ones, as long as somebody takes them. Returns how many. */
static unsigned trickle(struct rig *r, struct raw *c, unsigned i, unsigned count) {
  unsigned n = 0;
  for (; n < count && wr_conn_unsent_bytes(r->ups[0]->conn) < 16384; n++) {
    delta(r, c, i + n, 12);
    if (n % 8 == 0)
      wr_loop_turn(r->w.loop, 0);
  }
  for (unsigned k = 0; k < 30; k++)
    wr_loop_turn(r->w.loop, 1);
  return n;
}

static void finish(struct rig *r, struct raw *c) {
  chunk(r->ups[0]->conn, STOP);
  chunk(r->ups[0]->conn, USAGE);
  chunk(r->ups[0]->conn, DONE);
  rig_write(r->ups[0]->conn, "0\r\n\r\n", 5);
  TURN_UNTIL(&r->w, (raw_read(c), c->end && r->records == 1));
  assert_non_null(strstr(c->got, "\"finish_reason\":\"stop\""));
  assert_non_null(strstr(c->got, "\"completion_tokens\":7"));
  assert_non_null(strstr(c->got, "[DONE]"));
  assert_string_equal(r->outcome, "complete");
}

/* The upstream is read on while its text fits into little room; when the client reads again it gets
 * every word, in fewer events. */
static void coalesces(void **state) {
  (void)state;
  struct rig r;
  struct raw c;
  setup(&r, WR_SLOW_COALESCE);
  begin(&r, &c);
  unsigned i = fill(&r, &c, WR_SLOW_DID_COALESCE);
  i += trickle(&r, &c, i, 600);
  assert_true(wr_relay_stats(r.relay)->coalesced_events > 300);
  struct most m = state_of(&r);
  assert_in_range(m.queued, 1, MOST + 65536);
  assert_int_equal(wr_relay_stats(r.relay)->pauses, 0);
  /* At last it is too much. */
  while (!state_of(&r).paused) {
    unsigned n = trickle(&r, &c, i, 600);
    assert_true(n > 0);
    i += n;
  }
  assert_in_range(state_of(&r).queued, MOST, MOST + 16384);
  assert_true(r.shared.slow_bytes > 0);
  finish(&r, &c);
  assert_int_equal(raw_text(&c, FIELD), c.want_len);
  assert_string_equal(c.got, c.want);
  assert_int_equal(r.shared.slow_bytes, 0);
  assert_true(r.record.copied_bytes > 0);
  assert_int_equal(r.record.joined_events, wr_relay_stats(r.relay)->coalesced_events);
  raw_close(&c);
  rig_close(&r);
}

/* The process has a bound of its own. */
static void process_bound(void **state) {
  (void)state;
  struct rig r;
  struct raw c;
  setup(&r, WR_SLOW_COALESCE);
  r.conf.server.slow_bytes = 4096;
  begin(&r, &c);
  unsigned i = fill(&r, &c, WR_SLOW_DID_COALESCE);
  while (!state_of(&r).paused)
    i += trickle(&r, &c, i, 100);
  assert_in_range(state_of(&r).queued, HIGH + 4096, MOST - 1);
  finish(&r, &c);
  assert_int_equal(raw_text(&c, FIELD), c.want_len);
  assert_string_equal(c.got, c.want);
  raw_close(&c);
  rig_close(&r);
}

/* Reasoning is left out while the client is slow, text never is. */
static void drops(void **state) {
  (void)state;
  struct rig r;
  struct raw c;
  setup(&r, WR_SLOW_PAUSE);
  r.routes[0].slow_max_bytes = 1u << 20;
  r.routes[0].slow_drop = 1u << WR_EVENT_REASONING;
  begin(&r, &c);
  unsigned i = fill(&r, &c, WR_SLOW_DID_PAUSE);
  for (unsigned n = 0; n < 2000; n++) {
    chunk(r.ups[0]->conn, "data: {\"choices\":[{\"delta\":{\"reasoning\":\"I think so\"}}]}\n\n");
    if (n % 8 == 0)
      wr_loop_turn(r.w.loop, 0);
  }
  TURN_UNTIL(&r.w, wr_relay_stats(r.relay)->slow_dropped_events > 1500);
  delta(&r, &c, i, 12);
  finish(&r, &c);
  assert_int_equal(raw_text(&c, FIELD), c.want_len);
  assert_string_equal(c.got, c.want);
  raw_close(&c);
  rig_close(&r);
}

/* The stream ends legally, behind what waits. */
static void stops(void **state) {
  (void)state;
  struct rig r;
  struct raw c;
  setup(&r, WR_SLOW_STOP);
  begin(&r, &c);
  (void)fill(&r, &c, WR_SLOW_DID_STOP);
  TURN_UNTIL(&r.w, r.ups[0]->ended);
  TURN_UNTIL(&r.w, (raw_read(&c), c.end && r.records == 1));
  assert_string_equal(r.outcome, "stopped");
  assert_int_equal(r.record.err, WR_E_CLIENT_SLOW);
  assert_non_null(strstr(c.got, "\"finish_reason\":\"length\""));
  /* Its usage is counted: a quarter of the request's bytes, an event a token. */
  char usage[128];
  snprintf(usage, sizeof usage,
           "\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":%u,\"total_tokens\":%u}",
           (unsigned)r.record.events, (unsigned)r.record.events + 6);
  assert_non_null(strstr(c.got, usage));
  assert_non_null(strstr(c.got, "[DONE]"));
  size_t n = raw_text(&c, FIELD);
  assert_memory_equal(c.got, c.want, n);
  raw_close(&c);
  rig_close(&r);
}

/* Who takes nothing is given up behind the end of the stream as well, stopped or whole. */
static void given_up_at_the_end(void **state) {
  (void)state;
  for (unsigned whole = 0; whole < 2; whole++) {
    struct rig r;
    struct raw c;
    setup(&r, whole ? WR_SLOW_COALESCE : WR_SLOW_STOP);
    r.routes[0].slow_give_up_ms = 60;
    r.routes[0].slow_max_bytes = 1u << 20;
    begin(&r, &c);
    (void)fill(&r, &c, whole ? WR_SLOW_DID_COALESCE : WR_SLOW_DID_STOP);
    if (whole) {
      chunk(r.ups[0]->conn, DONE);
      rig_write(r.ups[0]->conn, "0\r\n\r\n", 5);
    }
    TURN_UNTIL(&r.w, r.records == 1); /* it never reads */
    assert_int_equal(r.record.err, WR_E_CLIENT_SLOW);
    assert_string_equal(r.outcome, whole ? "client_gone" : "stopped");
    assert_int_equal(wr_relay_stats(r.relay)->slow_did[WR_SLOW_DID_GIVE_UP], 1);
    raw_close(&c);
    rig_close(&r);
  }
}

/* And who has all the time in the world keeps it there; its own end wakes the session. */
static void never_given_up(void **state) {
  (void)state;
  struct rig r;
  struct raw c;
  setup(&r, WR_SLOW_STOP);
  r.routes[0].heartbeat_ms = 5; /* the last deadline passes behind the end */
  uint64_t before = wr_expect_failures();
  begin(&r, &c);
  (void)fill(&r, &c, WR_SLOW_DID_STOP);
  TURN_UNTIL(&r.w, r.ups[0]->ended);
  /* Long enough for the heartbeat: behind it no deadline is left. */
  for (uint64_t until_ms = clock_ms() + 60; clock_ms() < until_ms;) wr_loop_turn(r.w.loop, 0);
  assert_int_equal(r.records, 0);
  raw_close(&c);
  TURN_UNTIL(&r.w, r.records == 1);
  assert_int_equal(wr_expect_failures(), before);
  rig_close(&r);
}

/* --- a script decides --- */

static struct {
  unsigned calls;
  struct wr_hook_slow last;
  uint8_t say;
  const char *text;
  bool failed;
} script;

static void slow_hook(void *ctx, struct wr_hook_stream *s, const struct wr_hook_slow *q,
                      struct wr_verdict *out) {
  (void)ctx;
  assert_true(s->queued_bytes == q->bytes);
  script.calls++;
  script.last = *q;
  out->kind = script.say;
  out->failed = script.failed;
  if (script.text)
    out->text = wr_span_str(script.text);
}
static void end_hook(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome) {
  (void)ctx;
  (void)s;
  (void)outcome;
}

static void hooked(struct rig *r, struct raw *c, uint8_t say, const char *text) {
  setup(r, WR_SLOW_PAUSE);
  memset(&script, 0, sizeof script);
  script.say = say;
  script.text = text;
  r->use_hooks = true;
  r->routes[0].hooks = WR_HOOK_SLOW_CLIENT;
  r->hooks.slow_client = slow_hook;
  r->hooks.end = end_hook;
  begin(r, c);
}

static void hook_waits_then_joins(void **state) {
  (void)state;
  struct rig r;
  struct raw c;
  hooked(&r, &c, WR_VERDICT_WAIT, NULL);
  unsigned i = fill(&r, &c, WR_SLOW_DID_WAIT);
  assert_int_equal(script.calls, 1);
  assert_true(script.last.bytes >= HIGH);
  assert_int_equal(script.last.age_ms, 0);
  i += trickle(&r, &c, i, 50);
  assert_int_equal(wr_relay_stats(r.relay)->coalesced_events, 0);
  script.say = WR_VERDICT_COALESCE;
  TURN_UNTIL(&r.w, did(&r, WR_SLOW_DID_COALESCE) == 1); /* a second later */
  assert_int_equal(script.calls, 2);
  assert_in_range(script.last.age_ms, 900, 60000);
  i += trickle(&r, &c, i, 200);
  assert_true(wr_relay_stats(r.relay)->coalesced_events > 50);
  finish(&r, &c);
  assert_int_equal(raw_text(&c, FIELD), c.want_len);
  assert_string_equal(c.got, c.want);
  raw_close(&c);
  rig_close(&r);
}

static void hook_stops(void **state) {
  (void)state;
  for (int guard = 0; guard < 2; guard++) {
    struct rig r;
    struct raw c;
    hooked(&r, &c, WR_VERDICT_STOP, "other");
    script.failed = guard;
    uint64_t until_ms = clock_ms() + 20000;
    for (unsigned i = 0; !r.ups[0]->ended && clock_ms() < until_ms;) {
      if (wr_conn_unsent_bytes(r.ups[0]->conn) < 65536)
        delta(&r, &c, i++, 3900);
      wr_loop_turn(r.w.loop, 0);
    }
    TURN_UNTIL(&r.w, (raw_read(&c), c.end && r.records == 1));
    if (guard) {
      assert_int_equal(r.record.err, WR_E_POLICY_ERROR);
      assert_non_null(strstr(c.got, "\"error\":{"));
      assert_null(strstr(c.got, "[DONE]"));
    } else {
      assert_string_equal(r.outcome, "stopped");
      assert_non_null(strstr(c.got, "\"finish_reason\":\"content_filter\""));
      assert_non_null(strstr(c.got, "[DONE]"));
    }
    raw_close(&c);
    rig_close(&r);
  }
}

/* --- what the pressure ladder uses --- */

static void for_the_ladder(void **state) {
  (void)state;
  struct rig r;
  struct raw c;
  setup(&r, WR_SLOW_PAUSE);
  begin(&r, &c);
  unsigned i = fill(&r, &c, WR_SLOW_DID_PAUSE);
  for (unsigned k = 0; k < 30; k++)
    wr_loop_turn(r.w.loop, 1);
  wr_relay_coalesce(r.relay, true);
  wr_relay_coalesce(r.relay, false);
  assert_false(wr_list_empty(&r.relay->sessions));
  struct wr_session *s = WR_CONTAINER(r.relay->sessions.next, struct wr_session, link);
  assert_true(wr_session_held_bytes(s) >= HIGH);
  assert_true(i > 0);
  assert_true(wr_session_end_legally(s, WR_SPAN("length"), WR_OUTCOME_SHED, WR_E_SHED));
  assert_false(wr_session_end_legally(s, WR_SPAN("length"), WR_OUTCOME_SHED, WR_E_SHED));
  TURN_UNTIL(&r.w, r.ups[0]->ended);
  TURN_UNTIL(&r.w, (raw_read(&c), c.end && r.records == 1));
  assert_string_equal(r.outcome, "shed");
  assert_non_null(strstr(c.got, "\"finish_reason\":\"length\""));
  assert_non_null(strstr(c.got, "[DONE]"));
  raw_close(&c);
  rig_close(&r);
}

/* --- requests that come a byte at a time --- */

/* Steady drops of a head or a body: an absolute deadline ends them. */
static void dripping_requests(void **state) {
  (void)state;
  for (int in_body = 0; in_body < 2; in_body++) {
    struct rig r;
    rig_init(&r);
    if (in_body)
      r.routes[0].body_deadline_ms = 150;
    else
      r.conf.server.head_timeout_ms = 150;
    rig_open(&r);
    assert_true(rig_dial(&r));
    rig_send(&r, in_body ? POST "content-length: 100000\r\n\r\n" : "POST /v1/chat/completions HT");
    uint64_t until_ms = clock_ms() + 20000, last_ms = 0;
    while (r.records == 0) {
      assert_true(clock_ms() < until_ms);
      if (clock_ms() != last_ms) rig_send(&r, "x"); /* faster, it would be too large */
      last_ms = clock_ms();
      wr_loop_turn(r.w.loop, 5);
    }
    assert_int_equal(r.record.err, in_body ? WR_E_BODY_TIMEOUT : WR_E_HEAD_TIMEOUT);
    TURN_UNTIL(&r.w, strstr(r.got, "HTTP/1.1 408 ") != NULL);
    rig_close(&r);
  }
}

/* A stream that brings all at once has only so many events of a turn. */
static void fair_turns(void **state) {
  (void)state;
  struct rig r;
  struct raw c;
  setup(&r, WR_SLOW_PAUSE);
  r.routes[0].slow_high_bytes = 1u << 20;
  begin(&r, &c);
  enum { TOTAL = 100000, PIECE = 500 };
  char piece[PIECE * 8 + 1], out[PIECE * 8 + 32];
  for (unsigned i = 0; i < PIECE; i++)
    memcpy(piece + i * 8, "data:1\n\n", 9);
  int n = snprintf(out, sizeof out, "%zx\r\n%s\r\n", strlen(piece), piece);
  uint64_t before = 0, most = 0, until_ms = clock_ms() + 60000;
  for (unsigned sent = 0; wr_relay_stats(r.relay)->events < TOTAL;) {
    assert_true(clock_ms() < until_ms);
    for (; sent < TOTAL && wr_conn_unsent_bytes(r.ups[0]->conn) < 262144; sent += PIECE)
      rig_write(r.ups[0]->conn, out, (size_t)n);
    wr_loop_turn(r.w.loop, 1);
    raw_read(&c);
    uint64_t events = wr_relay_stats(r.relay)->events;
    if (events - before > most)
      most = events - before;
    before = events;
  }
  assert_in_range(most, 100, 256);
  finish(&r, &c);
  raw_close(&c);
  rig_close(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(coalesces),      cmocka_unit_test(process_bound),
    cmocka_unit_test(drops),          cmocka_unit_test(stops),
    cmocka_unit_test(hook_stops),     cmocka_unit_test(hook_waits_then_joins),
    cmocka_unit_test(for_the_ladder), cmocka_unit_test(dripping_requests),
    cmocka_unit_test(fair_turns),     cmocka_unit_test(given_up_at_the_end),
    cmocka_unit_test(never_given_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

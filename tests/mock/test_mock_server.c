/* The stand-in server over loopback, seen by a raw client: endpoints, faults, pace, bodies and a
 * slow reader. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/heap.h"
#include "mem/depot.h"
#include "mem/ledger.h"
#include "mock/mock.h"

#define POOL_BYTES ((size_t)16 * 1024 * 1024)
#define DEADLINE_MS 10000

struct rig {
  struct wr_depot *depot;
  struct wr_ledger *ledger;
  struct wr_slabs *slabs;
  struct wr_loop *loop;
  struct wr_mock *mock;
};

struct raw {
  int fd;
  char *buf;
  size_t len, cap;
  bool eof, reset;
};

static uint64_t now_ms(void) {
  struct timespec t;
  assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void rig_start(struct rig *r, const char *const *options) {
  struct wr_mock_options o;
  char why[128];
  wr_mock_options_init(&o);
  for (; options != NULL && options[0] != NULL; options += 2)
    assert_int_equal(wr_mock_options_set(&o, WR_MOCK_FROM_OPERATOR, wr_span_str(options[0]),
                                         wr_span_str(options[1]), why, sizeof why),
                     WR_OK);
  assert_int_equal(wr_depot_new(POOL_BYTES, &r->depot), WR_OK);
  assert_int_equal(wr_ledger_new(POOL_BYTES, NULL, &r->ledger), WR_OK);
  assert_int_equal(wr_slabs_new(r->depot, r->ledger, &r->slabs), WR_OK);
  assert_int_equal(wr_loop_new(r->slabs, &r->loop), WR_OK);
  assert_int_equal(wr_mock_new(r->loop, &o, &r->mock, why, sizeof why), WR_OK);
}

/* Ends everything and finds nothing left over. */
static void rig_stop(struct rig *r) {
  wr_mock_free(r->mock);
  for (int i = 0; i < 4; i++) wr_loop_turn(r->loop, 0);
  assert_int_equal(wr_loop_free(r->loop), 0);
  assert_int_equal(wr_slabs_free(r->slabs), 0);
  wr_ledger_free(r->ledger);
  wr_depot_free(r->depot);
  assert_int_equal(wr_heap_live_count(WR_HEAP_MOCK), 0);
}

/* A connected pair over loopback: the mock gets one end. */
static struct raw raw_open(struct rig *r) {
  struct sockaddr_in at = { 0 };
  socklen_t len = sizeof at;
  struct raw raw = { 0 };
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(listen(listener, 1), 0);
  assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
  raw.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(raw.fd, (struct sockaddr *)&at, sizeof at), 0);
  int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  assert_true(accepted >= 0);
  assert_int_equal(close(listener), 0);
  assert_int_equal(fcntl(raw.fd, F_SETFL, O_NONBLOCK), 0);
  struct wr_conn *conn;
  assert_int_equal(wr_conn_adopt(r->loop, accepted, NULL, &conn), WR_OK);
  wr_mock_accept(r->mock, conn);
  return raw;
}

static void raw_close(struct raw *raw) {
  assert_int_equal(close(raw->fd), 0);
  free(raw->buf);
}

static void raw_read(struct raw *raw) {
  for (;;) {
    if (raw->cap - raw->len < 65537) {
      raw->cap = raw->cap * 2 + 131072;
      raw->buf = realloc(raw->buf, raw->cap);
      assert_non_null(raw->buf);
    }
    ssize_t n = read(raw->fd, raw->buf + raw->len, 65536);
    if (n > 0) raw->len += (size_t)n;
    raw->buf[raw->len] = 0;
    if (n > 0) continue;
    if (n == 0) raw->eof = true;
    if (n < 0 && errno != EAGAIN) raw->reset = true;
    return;
  }
}

static void raw_send(struct rig *r, struct raw *raw, const char *bytes, size_t len) {
  uint64_t deadline = now_ms() + DEADLINE_MS;
  while (len > 0) {
    ssize_t n = send(raw->fd, bytes, len, MSG_NOSIGNAL);
    if (n > 0) {
      bytes += n;
      len -= (size_t)n;
    }
    wr_loop_turn(r->loop, 0);
    assert_true(now_ms() < deadline);
  }
}

static void raw_text(struct rig *r, struct raw *raw, const char *text) {
  raw_send(r, raw, text, strlen(text));
}

/* No memmem: under a sanitizer each call of it looks at all that is left. */
static unsigned count(const struct raw *raw, const char *what) {
  unsigned n = 0;
  size_t len = strlen(what);
  for (size_t at = 0; at + len <= raw->len; at++)
    if (raw->buf[at] == what[0] && !memcmp(raw->buf + at, what, len)) n++;
  return n;
}

/* Turns the loop until `what` was seen n times (what NULL: until the connection ended). */
static void raw_until(struct rig *r, struct raw *raw, const char *what, unsigned n) {
  uint64_t deadline = now_ms() + DEADLINE_MS;
  while (what != NULL ? count(raw, what) < n : !raw->eof && !raw->reset) {
    wr_loop_turn(r->loop, 5);
    raw_read(raw);
    assert_true(now_ms() < deadline);
    if (what != NULL && (raw->eof || raw->reset)) break;
  }
  if (what != NULL && count(raw, what) < n) fail_msg("no %s in: %s", what, raw->buf);
}

static void post(struct rig *r, struct raw *raw, const char *path, const char *fields,
                 const char *body) {
  char text[2048];
  (void)snprintf(text, sizeof text,
                 "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", path, fields,
                 strlen(body), body);
  raw_text(r, raw, text);
}

#define STREAM_BODY "{\"model\":\"m\",\"stream\":true}"

static void test_endpoints(void **state) {
  (void)state;
  static const char *const options[] = { "tokens", "3", "numbered", "yes", NULL };
  static const struct {
    const char *path, *body, *expect, *end;
  } cases[] = {
    { "/v1/chat/completions", STREAM_BODY, "\"content\":\" t2\"", "data: [DONE]\n\n\r\n0\r\n\r\n" },
    { "/chat/completions", STREAM_BODY, "\"content\":\" t2\"", "data: [DONE]\n\n\r\n0\r\n\r\n" },
    { "/v1/chat/completions", "{\"model\":\"m\"}", "\"content\":\"t0 t1 t2\"", "}" },
    { "/v1/responses", STREAM_BODY, "event: response.output_text.done\n", "\n\n\r\n0\r\n\r\n" },
    { "/v1/responses", "{\"model\":\"m\"}", "\"text\":\"t0 t1 t2\"", "}" },
    { "/v1/messages", STREAM_BODY, "event: ping\n",
      "{\"type\":\"message_stop\"}\n\n\r\n0\r\n\r\n" },
    { "/v1/messages", "{\"model\":\"m\"}", "\"text\":\"t0 t1 t2\"", "}" },
    { "/v1/messages/count_tokens", "{\"model\":\"m\"}", "\"input_tokens\":", "}" },
    { "/api/chat", "{\"model\":\"m\"}", "\"content\":\" t2\"}",
      "\"eval_duration\":60000000}\n\r\n0\r\n\r\n" },
    { "/api/generate", "{\"model\":\"m\",\"stream\":false}", "\"response\":\"t0 t1 t2\"", "}" },
    { "/v1/embeddings", "{\"model\":\"m\",\"input\":[\"a\",\"b\"]}", "\"index\":1", "}" },
    { "/v1/chat/completions", "{\"stream\":true}", " 400 ", "}}" },
    { "/v1/messages", "{", " 400 ", "}" },
    { "/v1/nothing", "{}", " 404 ", "}}" },
    { "/v1/models", "{}", " 405 ", "}}" },
  };
  struct rig r;
  rig_start(&r, options);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct raw raw = raw_open(&r);
    post(&r, &raw, cases[i].path, "Connection: close\r\n", cases[i].body);
    raw_until(&r, &raw, NULL, 0);
    assert_true(raw.eof && !raw.reset);
    if (strstr(raw.buf, cases[i].expect) == NULL) fail_msg("%s: %s", cases[i].path, raw.buf);
    size_t n = strlen(cases[i].end);
    assert_true(raw.len > n && memcmp(raw.buf + raw.len - n, cases[i].end, n) == 0);
    raw_close(&raw);
  }
  assert_int_equal(wr_mock_counters(r.mock)->streams, 5);
  assert_int_equal(wr_mock_counters(r.mock)->completed, 5);
  assert_int_equal(wr_mock_counters(r.mock)->open_connections, 0);
  rig_stop(&r);
}

static void test_faults(void **state) {
  (void)state;
  static const char *const options[] = { "tokens", "20", "numbered", "yes", NULL };
  static const struct {
    const char *fault;
    unsigned events; /* "data: " seen */
    bool reset;
    bool terminator; /* [DONE] */
    bool last_chunk;
    const char *expect;
  } cases[] = {
    { "reset@4", 4, true, false, false, " t2" },
    { "cut@4", 4, false, false, true, " t2" },
    { "no-done", 22, false, false, true, " t19" },
    { "truncate@4", 5, false, false, false, " t2" },
    { "bad-chunk@4", 5, false, false, false, "zz\r\n" },
    { "bad-json@4", 24, false, true, true, "data: {\"broken\": \n\n" },
    { "error@4", 5, false, false, true, "{\"error\":{\"message\"" },
    { "status:429", 0, false, false, false, "retry-after: 1\r\n" },
    { "close", 0, false, false, false, "" },
    { "garbage", 0, false, false, false, "left its bed" },
    { "both-lengths", 23, false, true, true,
      "content-length: 1000000000\r\ntransfer-encoding: chunked" },
    { "early-end", 23, false, true, false, "content-length: 1000000000\r\n" },
    { "split-head", 23, false, true, true, "transfer-encoding: chunked" },
    { "gzip-claim", 23, false, true, true, "content-encoding: gzip\r\n" },
    { "slow-head:3", 23, false, true, true, "" },
    { "cut@23", 23, false, true, true, "" },
    { "cut@24", 23, false, true, true, "" },
    { "truncate@0", 1, false, false, false, "" },
  };
  struct rig r;
  rig_start(&r, options);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char fields[128];
    struct raw raw = raw_open(&r);
    (void)snprintf(fields, sizeof fields, "Connection: close\r\nX-Mock-Fault: %s\r\n",
                   cases[i].fault);
    post(&r, &raw, "/v1/chat/completions", fields, STREAM_BODY);
    raw_until(&r, &raw, NULL, 0);
    if (raw.buf == NULL) raw.buf = calloc(1, 1);
    if (count(&raw, "data: ") != cases[i].events || raw.reset != cases[i].reset ||
        (count(&raw, "[DONE]") == 1) != cases[i].terminator ||
        (count(&raw, "\r\n0\r\n\r\n") == 1) != cases[i].last_chunk ||
        strstr(raw.buf, cases[i].expect) == NULL)
      fail_msg("%s: reset %d: %s", cases[i].fault, raw.reset, raw.buf);
    raw_close(&raw);
  }
  assert_int_equal(wr_mock_counters(r.mock)->faults, sizeof cases / sizeof cases[0] - 1);
  rig_stop(&r);
}

/* Silence: the events before it come, then nothing, and the client's close ends it at once. */
static void test_silent_faults(void **state) {
  (void)state;
  struct rig r;
  rig_start(&r, NULL);
  struct raw stalled = raw_open(&r), hung = raw_open(&r);
  post(&r, &stalled, "/v1/chat/completions", "x-mock-fault: stall@3\r\n", STREAM_BODY);
  post(&r, &hung, "/v1/chat/completions", "x-mock-fault: hang\r\n", STREAM_BODY);
  raw_until(&r, &stalled, "data: ", 3);
  for (int i = 0; i < 20; i++) wr_loop_turn(r.loop, 0);
  raw_read(&stalled);
  raw_read(&hung);
  assert_int_equal(count(&stalled, "data: "), 3);
  assert_int_equal(hung.len, 0);
  assert_false(stalled.eof || hung.eof || stalled.reset || hung.reset);
  assert_int_equal(wr_mock_counters(r.mock)->open_connections, 2);
  raw_close(&stalled);
  raw_close(&hung);
  uint64_t deadline = now_ms() + DEADLINE_MS;
  while (wr_mock_counters(r.mock)->open_connections > 0) {
    wr_loop_turn(r.loop, 5);
    assert_true(now_ms() < deadline);
  }
  assert_int_equal(wr_mock_counters(r.mock)->faults, 2);
  assert_int_equal(wr_mock_counters(r.mock)->open_streams, 0);
  rig_stop(&r);
}

/* Faults of answers that come whole. */
static void test_faults_whole(void **state) {
  (void)state;
  static const struct {
    const char *fault;
    bool reset;
    const char *expect;
    bool whole;
  } cases[] = {
    { "reset@4", true, " 200 OK", false },     { "cut@4", false, " 200 OK", false },
    { "truncate@4", false, " 200 OK", false }, { "bad-chunk@4", false, "\r\n\r\nzz\r\n", true },
    { "error@4", false, " 500 ", false },      { "bad-json", false, "{\"broken\": ", false },
    { "early-end", false, " 200 OK", true },   { "both-lengths", false, "\r\n0\r\n\r\n", true },
    { "status:503", false, " 503 ", false },   { "split-head", false, " 200 OK", true }
  };
  struct rig r;
  rig_start(&r, NULL);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char fields[128];
    struct raw raw = raw_open(&r);
    (void)snprintf(fields, sizeof fields, "Connection: close\r\nX-Mock-Fault: %s\r\n",
                   cases[i].fault);
    post(&r, &raw, "/v1/chat/completions", fields, "{\"model\":\"m\"}");
    raw_until(&r, &raw, NULL, 0);
    if (raw.reset != cases[i].reset || strstr(raw.buf, cases[i].expect) == NULL ||
        (strstr(raw.buf, "\"usage\":{") != NULL) != cases[i].whole)
      fail_msg("%s: reset %d: %s", cases[i].fault, raw.reset, raw.buf);
    raw_close(&raw);
  }
  rig_stop(&r);
}

/* Requests one behind the other on one connection, all sent at once, split at every place. */
static void test_pipelined(void **state) {
  (void)state;
  static const char *const options[] = { "tokens", "2", "numbered", "yes", NULL };
  static const char text[] =
      "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
      "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5\r\n{\"mod\r\n16\r\nel\":\"m\",\"stream\":true}\r\n0\r\n\r\n"
      "HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  struct rig r;
  rig_start(&r, options);
  for (size_t split = 0; split < sizeof text - 1; split += 3) {
    struct raw raw = raw_open(&r);
    raw_send(&r, &raw, text, split);
    wr_loop_turn(r.loop, 0);
    raw_send(&r, &raw, text + split, sizeof text - 1 - split);
    raw_until(&r, &raw, NULL, 0);
    assert_int_equal(count(&raw, "HTTP/1.1 200 OK\r\n"), 4);
    assert_int_equal(count(&raw, "[DONE]"), 1);
    assert_int_equal(count(&raw, "\"object\":\"list\""), 1);
    assert_false(raw.reset);
    raw_close(&raw);
  }
  rig_stop(&r);
}

/* A body of 20 MB goes by; the pool and the heap hardly notice. */
static void test_large_body(void **state) {
  (void)state;
  static char chunk[65536];
  size_t pieces = 20 * 16;
  char text[256];
  struct rig r;
  rig_start(&r, NULL);
  struct raw raw = raw_open(&r);
  const char *front = "{\"messages\":[{\"content\":\"", *back = "\"}],\"model\":\"m\"}";
  (void)snprintf(text, sizeof text,
                 "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                 "Connection: close\r\nContent-Length: %zu\r\n\r\n",
                 strlen(front) + pieces * sizeof chunk + strlen(back));
  raw_text(&r, &raw, text);
  raw_until(&r, &raw, "HTTP/1.1 100 Continue\r\n\r\n", 1);
  memset(chunk, 'a', sizeof chunk);
  raw_text(&r, &raw, front);
  for (size_t i = 0; i < pieces; i++) raw_send(&r, &raw, chunk, sizeof chunk);
  assert_true(wr_heap_live_bytes(WR_HEAP_MOCK) < 65536);
  raw_text(&r, &raw, back);
  raw_until(&r, &raw, NULL, 0);
  assert_int_equal(count(&raw, " 200 OK"), 1);
  assert_non_null(strstr(raw.buf, "\"prompt_tokens\":5242"));
  assert_true(wr_ledger_peak_bytes(r.ledger) < 1024 * 1024);
  raw_close(&raw);
  rig_stop(&r);
}

/* A reader that doesn't read stops the stream at a bound; when it reads, nothing is missing. */
static void test_slow_reader(void **state) {
  (void)state;
  static const char *const options[] = { "tokens", "100000", "numbered", "yes", NULL };
  struct rig r;
  rig_start(&r, options);
  struct raw raw = raw_open(&r);
  post(&r, &raw, "/v1/messages", "Connection: close\r\n", STREAM_BODY);
  uint64_t events = 0, same = 0;
  while (same < 50) {
    wr_loop_turn(r.loop, 1);
    same = wr_mock_counters(r.mock)->events == events ? same + 1 : 0;
    events = wr_mock_counters(r.mock)->events;
  }
  assert_true(events > 100 && events < 100000);
  assert_true(wr_ledger_peak_bytes(r.ledger) < 1024 * 1024);
  raw_until(&r, &raw, NULL, 0);
  assert_int_equal(count(&raw, "\"text_delta\""), 100000);
  assert_int_equal(count(&raw, "\" t99999\""), 1);
  assert_int_equal(count(&raw, "message_stop\"}"), 1);
  raw_close(&raw);
  rig_stop(&r);
}

/* The bytes are the same whatever the size of the writes and batches; the chunks are joined again
 * for that. */
static size_t body_of(const struct raw *raw, char *out) {
  const char *at = strstr(raw->buf, "\r\n\r\n") + 4;
  size_t n = 0;
  for (;;) {
    char *end;
    size_t size = strtoul(at, &end, 16);
    if (size == 0) break;
    memcpy(out + n, end + 2, size);
    n += size;
    at = end + 2 + size + 2;
  }
  out[n] = 0;
  return n;
}

/* What a client must see of a recording: computed here from the file alone. */
static void expect_of(const char *path, bool chat, char *out, size_t cap) {
  static char line[262144];
  FILE *file = fopen(path, "r");
  size_t n = 0;
  assert_non_null(file);
  while (fgets(line, sizeof line, file) != NULL) {
    size_t len = strcspn(line, "\n");
    char *type = strstr(line, "\"type\":\"");
    if (!chat) {
      assert_ptr_equal(type, line + 1);
      n += (size_t)snprintf(out + n, cap - n, "event: %.*s\n", (int)strcspn(type + 8, "\""),
                            type + 8);
    }
    n += (size_t)snprintf(out + n, cap - n, "data: %.*s\n\n", (int)len, line);
    assert_true(n < cap);
  }
  if (chat) (void)snprintf(out + n, cap - n, "data: [DONE]\n\n");
  assert_int_equal(fclose(file), 0);
}

static void test_recordings(void **state) {
  (void)state;
  static const struct {
    const char *name, *path;
  } files[] = {
      { "openai-chat-text.jsonl", "/v1/chat/completions" },
      { "openai-chat-azure-model-router.jsonl", "/v1/chat/completions" },
      { "openai-chat-deepseek-reasoning-tool-call.jsonl", "/v1/chat/completions" },
      { "openai-responses-lmstudio.jsonl", "/v1/responses" },
      { "openai-responses-error.jsonl", "/v1/responses" },
      { "anthropic-text.jsonl", "/v1/messages" },
      { "anthropic-web-search.jsonl", "/v1/messages" },
  };
  static const char *const fields[] = { "", "x-mock-write: 7\r\n", "x-mock-batch: 16\r\n" };
  static char expected[1 << 20], got[1 << 20];
  const char *shared = getenv("WEIR_SHARED");
  char dir[256], path[512], all[256];
  (void)snprintf(dir, sizeof dir, "%s/streams", shared != NULL ? shared : "../shared");
  if (access(dir, R_OK) != 0) {
    print_message("no recordings in %s: set WEIR_SHARED\n", dir);
    skip();
  }
  const char *const options[] = { "replay-dir", dir, NULL };
  struct rig r;
  rig_start(&r, options);
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    (void)snprintf(path, sizeof path, "%s/%s", dir, files[i].name);
    expect_of(path, strstr(files[i].path, "chat") != NULL, expected, sizeof expected);
    for (size_t k = 0; k < sizeof fields / sizeof fields[0]; k++) {
      struct raw raw = raw_open(&r);
      (void)snprintf(all, sizeof all, "Connection: close\r\nx-mock-replay: %s\r\n%s",
                     files[i].name, fields[k]);
      post(&r, &raw, files[i].path, all, STREAM_BODY);
      raw_until(&r, &raw, NULL, 0);
      (void)body_of(&raw, got);
      assert_string_equal(expected, got);
      raw_close(&raw);
    }
  }
  rig_stop(&r);
}

static void test_writes(void **state) {
  (void)state;
  static const char *const options[] = { "tokens", "30", NULL };
  static const char *const fields[] = { "",
                                        "x-mock-write: 1\r\n",
                                        "x-mock-write-bytes: 7\r\n",
                                        "x-mock-write: 64\r\n",
                                        "x-mock-batch: 16\r\n",
                                        "x-mock-rate: 20000\r\nx-mock-jitter: 1\r\n" };
  static char first[65536], other[65536];
  struct rig r;
  rig_start(&r, options);
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    char all[128];
    struct raw raw = raw_open(&r);
    (void)snprintf(all, sizeof all, "Connection: close\r\n%s", fields[i]);
    post(&r, &raw, "/v1/chat/completions", all, STREAM_BODY);
    raw_until(&r, &raw, NULL, 0);
    (void)body_of(&raw, i == 0 ? first : other);
    /* Ids differ; the text doesn't. */
    for (char *at = i == 0 ? first : other; (at = strstr(at, "chatcmpl-")) != NULL;) {
      memset(at, 'x', 25);
      at = strstr(at, "\"created\":");
      memset(at, 'x', 20);
    }
    if (i > 0) assert_string_equal(first, other);
    raw_close(&raw);
  }
  rig_stop(&r);
}

/* With a pace the stream takes its time, and a client that leaves is noticed while only the clock
 * is waited for. */
static void test_pace_and_cancel(void **state) {
  (void)state;
  static const char *const options[] = { "tokens", "10", "rate", "200", "ttft", "20", NULL };
  struct rig r;
  rig_start(&r, options);
  struct raw raw = raw_open(&r);
  uint64_t began = now_ms();
  post(&r, &raw, "/v1/chat/completions", "Connection: close\r\n", STREAM_BODY);
  raw_until(&r, &raw, NULL, 0);
  assert_true(now_ms() - began >= 20 + 9 * 5);
  raw_close(&raw);
  raw = raw_open(&r);
  post(&r, &raw, "/v1/chat/completions", "x-mock-ttft: 3600000\r\n", STREAM_BODY);
  raw_until(&r, &raw, "data: ", 1);
  raw_close(&raw);
  uint64_t deadline = now_ms() + DEADLINE_MS;
  while (wr_mock_counters(r.mock)->open_connections > 0) {
    wr_loop_turn(r.loop, 5);
    assert_true(now_ms() < deadline);
  }
  assert_int_equal(wr_mock_counters(r.mock)->cancelled, 1);
  rig_stop(&r);
}

static void test_refusals(void **state) {
  (void)state;
  static const char *const options[] = { "key", "secret", NULL };
  static const struct {
    const char *text, *expect;
  } cases[] = {
    { "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", " 401 " },
    { "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
      "secre\r\n\r\n",
      " 401 " },
    { "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "
      "secret\r\n\r\n",
      " 200 " },
    { "GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: secret\r\n\r\n",
      " 200 " },
    { "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", " 200 " },
    { "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-mock-tokenz: 1\r\n\r\n",
      "no option" },
    { "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-mock-replay: ../x\r\n\r\n",
      " 400 " },
    { "OPTIONS /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", " 204 " },
    { "GET / HTTP/3.1\r\nHost: x\r\n\r\n", " 400 " },
    { "POST /v1/responses HTTP/1.1\r\nHost: x\r\nx-api-key: secret\r\nTransfer-Encoding: "
      "chunked\r\n\r\nzz\r\n",
      " 400 " },
    { "POST /v1/responses HTTP/1.1\r\nHost: x\r\nx-api-key: secret\r\nContent-Length: "
      "99999999999\r\n\r\n",
      " 413 " },
  };
  struct rig r;
  rig_start(&r, options);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct raw raw = raw_open(&r);
    raw_text(&r, &raw, cases[i].text);
    raw_until(&r, &raw, NULL, 0);
    if (strstr(raw.buf, cases[i].expect) == NULL) fail_msg("%s: %s", cases[i].text, raw.buf);
    raw_close(&raw);
  }
  rig_stop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_endpoints),       cmocka_unit_test(test_faults),
    cmocka_unit_test(test_silent_faults),   cmocka_unit_test(test_faults_whole),
    cmocka_unit_test(test_pipelined),       cmocka_unit_test(test_large_body),
    cmocka_unit_test(test_slow_reader),     cmocka_unit_test(test_recordings),
    cmocka_unit_test(test_writes),
    cmocka_unit_test(test_pace_and_cancel), cmocka_unit_test(test_refusals),
  };
  const char *only = getenv("T_ONLY");
  if (only != NULL) cmocka_set_test_filter(only);
  return cmocka_run_group_tests(tests, NULL, NULL);
}

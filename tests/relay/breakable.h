/* breakable.h: two scripted upstreams, of which the first breaks a stream off and the second goes
 * on with it. */
#ifndef TESTS_RELAY_BREAKABLE_H
#define TESTS_RELAY_BREAKABLE_H

#include "relay/stream_texts.h"

#define TEXT                                                                                   \
  "Gr\xc3\xbc\xc3\x9f" "e from \xf0\x9f\x98\x80\xf0\x9f\x98\x81 both: one, \n\n two and three "  \
  "\"at last\"."
#define MESSAGES_JSON "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define JSON_BODY "{\"model\":\"m\",\"stream\":true,\"max_tokens\":100," MESSAGES_JSON "}"
#define SHORT "Hello there, "

static const char *const path_of[SHAPES] = { "/v1/chat/completions", "/v1/messages",
                                             "/v1/responses", "/api/chat" };

struct try {
  struct rig r;
  unsigned first; /* the upstream that was asked first */
  char request[8192];
};

static inline uint64_t ends(struct rig *r, enum wr_continue_end how) {
  return wr_relay_stats(r->relay)->continued[how];
}

static inline void init_try(struct try *t) {
  memset(t, 0, sizeof *t);
  rig_init(&t->r);
  t->r.routes[0].to = 2;
  t->r.routes[0].continues = true;
  t->r.routes[0].continue_bytes = 4096;
  t->r.groups[2].retry_budget_permille = 1000;
  for (unsigned i = 0; i < 2; i++) {
    t->r.upstreams[i].prefill = WR_PREFILL_ASSISTANT;
    t->r.upstreams[i].breaker.failures = 0;
  }
}

static inline void ask_body(struct try *t, enum shape shape, const char *json) {
  char text[8192];
  snprintf(text, sizeof text,
           "POST %s HTTP/1.1\r\nHost: h\r\ncontent-type: application/json\r\n"
           "content-length: %zu\r\n\r\n%s", path_of[shape], strlen(json), json);
  assert_true(rig_dial(&t->r));
  rig_send(&t->r, text);
}

/* The newest connection that has got a request, which is one. */
static inline struct rig_up *asked(struct rig *r) {
  struct rig_up *up = r->up_count ? r->ups[r->up_count - 1] : NULL;
  return up && up->conn && rig_request_bytes(up->text) ? up : NULL;
}

static inline void say(struct rig_up *up, const char *text) {
  char head[32];
  size_t n = strlen(text);
  if (!n) return;
  rig_write(up->conn, head, (size_t)snprintf(head, sizeof head, "%zx\r\n", n));
  rig_write(up->conn, text, n);
  rig_write(up->conn, "\r\n", 2);
}

static inline void say_head(struct rig_up *up, enum shape shape) {
  const char *head = shape == OLLAMA ? "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
                                       "transfer-encoding: chunked\r\n\r\n"
                                     : SSE_HEAD;
  rig_write(up->conn, head, strlen(head));
}

static inline void say_text(struct rig_up *up, enum shape shape, const char *text, size_t n) {
  char room[4096];
  struct wr_buf b;
  wr_buf_init(&b, room, sizeof room - 1);
  if (n) put_delta(&b, shape, 0, wr_span_make(text, n));
  room[b.len] = 0;
  say(up, room);
}

static inline void end_body(struct rig_up *up) { rig_write(up->conn, "0\r\n\r\n", 5); }

/* The first server: its beginning and so much of the text. */
static inline struct rig_up *first_says(struct try *t, enum shape shape, const char *json,
                                 const char *text) {
  rig_ups_drop(&t->r);
  ask_body(t, shape, json);
  TURN_UNTIL(&t->r.w, asked(&t->r));
  struct rig_up *up = asked(&t->r);
  t->first = up->peer;
  say_head(up, shape);
  say(up, first_of[shape]);
  say_text(up, shape, text, strlen(text));
  return up;
}

/* The second one has been asked; what it was asked is in t->request. */
static inline struct rig_up *second(struct try *t) {
  size_t before = t->r.up_count;
  TURN_UNTIL(&t->r.w, t->r.up_count > before ? asked(&t->r) != NULL
                                             : asked(&t->r) && asked(&t->r)->peer != t->first);
  struct rig_up *up = asked(&t->r);
  assert_int_not_equal(up->peer, t->first);
  assert_true(up->len < sizeof t->request);
  memcpy(t->request, up->text, up->len + 1);
  return up;
}

static inline void drop(struct rig_up *up) { rig_up_drop(up); }

static inline void expect_whole(struct try *t, enum shape shape, const char *text) {
  TURN_UNTIL(&t->r.w, rig_dechunk(t->r.got, body, sizeof body, NULL) || t->r.client_end);
  assert_true(rig_dechunk(t->r.got, body, sizeof body, NULL));
  assert_string_equal(text_of(shape, 0, body), text);
  assert_null(strstr(body, "error"));
  assert_string_equal(t->r.outcome, "complete");
  for (unsigned n = 0; n < 2; n++) assert_int_equal(t->r.shared.upstreams[n], 0);
}

#endif

/* rig.h: a relay between a scripted client and scripted upstreams, all on one loop over loopback.
 *
 * The configuration is built by hand and may be changed between rig_init and rig_open. rig_close
 * ends everything and asserts that no block, no handle and no allocation is left. */
#ifndef TESTS_RELAY_RIG_H
#define TESTS_RELAY_RIG_H

#include "net/world.h"

#include <stdio.h>

#include "net/resolve.h"
#include "relay/relay.h"
#include "wire/head.h"

#define RIG_UPS 64
#define RIG_GOT (512u << 10)

/* What most tests say. */
#define POST "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\ncontent-type: application/json\r\n"
#define BODY "{\"model\":\"m\",\"stream\":true}"
#define ASK POST "content-length: 27\r\n\r\n" BODY
#define ASK_CLOSE POST "connection: close\r\ncontent-length: 27\r\n\r\n" BODY
#define SSE_HEAD                                                                                   \
  "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
#define ROLE                                                                                       \
  "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
#define HELLO "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n"
#define STOP "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":7}}\n\n"
#define DONE "data: [DONE]\n\n"
#define WHOLE ROLE HELLO STOP USAGE DONE
#define FAULT "data: {\"error\":{\"message\":\"overloaded\"}}\n\n"

struct rig;

/* One connection that an upstream has accepted. */
struct rig_up {
  struct wr_task task;
  struct rig *rig;      /* borrowed: the test's */
  struct wr_conn *conn; /* owned; NULL once it is over */
  unsigned peer;        /* which upstream */
  bool ended;           /* the relay has ended it */
  size_t len;           /* bytes of requests so far */
  char text[192 << 10];
  unsigned answered;
};

struct rig {
  struct world w;
  struct wr_resolver *resolver; /* owned */
  struct wr_listen *front;      /* owned */
  struct wr_listen *back[2];    /* owned */
  struct wr_conf conf;
  struct wr_conf_listen listens[1];
  struct wr_conf_upstream upstreams[2];
  struct wr_conf_url urls[2];
  struct wr_conf_model models[2];
  struct wr_conf_group groups[3];
  struct wr_conf_route routes[1];
  uint32_t members[3][2];
  struct wr_hooks hooks;
  bool use_hooks;
  struct wr_upstreams *set; /* owned */
  struct wr_relay_gen gen;
  struct wr_relay_shared shared;
  struct wr_relay *relay; /* owned */
  /* What every upstream answers to a whole request by itself; empty: the test does it. */
  struct wr_span answer; /* borrowed: the test's */
  size_t answer_bytes;   /* so many of them */
  struct wr_span answer_of[2]; /* borrowed: the test's; what one of them answers instead */
  unsigned asked[2];           /* requests that each has got */
  enum { RIG_STAY, RIG_FIN, RIG_RESET } then;
  bool answer_first_only;      /* later requests of a connection get a reset */
  struct rig_up *ups[RIG_UPS]; /* owned */
  size_t up_count;
  /* The client. */
  struct wr_task task;
  struct wr_conn *client; /* owned */
  bool client_end;
  bool client_hold; /* doesn't read */
  char *got;        /* owned */
  size_t got_len;
  /* What the relay told. */
  unsigned records, ends, events;
  struct wr_record record; /* the last one; spans but `outcome` and `why` are gone */
  char outcome[32], model[64];
};

static inline void rig_up_run(struct wr_task *task);

static inline void rig_write(struct wr_conn *conn, const char *bytes, size_t n) {
  while (n) {
    size_t piece = n < 4096 ? n : 4096;
    if (wr_conn_write_copy(conn, wr_span_make(bytes, piece)) != WR_OK) return;
    bytes += piece;
    n -= piece;
  }
  (void)!wr_conn_flush(conn);
}

static inline void rig_accepted(struct rig *r, unsigned peer, struct wr_conn *conn) {
  struct rig_up *up = calloc(1, sizeof *up);
  assert_non_null(up);
  assert_true(r->up_count < RIG_UPS);
  wr_task_init(&up->task, rig_up_run);
  up->rig = r;
  up->conn = conn;
  up->peer = peer;
  r->ups[r->up_count++] = up;
  wr_conn_set_owner(conn, &up->task);
  wr_loop_mark(r->w.loop, &up->task);
}
static inline void rig_back0(void *ctx, struct wr_conn *take_conn) {
  rig_accepted(ctx, 0, take_conn);
}
static inline void rig_back1(void *ctx, struct wr_conn *take_conn) {
  rig_accepted(ctx, 1, take_conn);
}

/* Length of the first whole request in a text, or 0. */
static inline size_t rig_request_bytes(const char *text) {
  const char *end = strstr(text, "\r\n\r\n");
  if (!end) return 0;
  size_t head = (size_t)(end - text) + 4;
  const char *cl = strstr(text, "content-length: ");
  if (cl && cl < end) {
    size_t need = head + (size_t)strtoul(cl + 16, NULL, 10);
    return strlen(text) >= need ? need : 0;
  }
  const char *te = strstr(text, "transfer-encoding: chunked");
  if (!te || te > end) return head;
  const char *last = strstr(end + 2, "\r\n0\r\n\r\n");
  return last ? (size_t)(last - text) + 7 : 0;
}

static inline void rig_up_drop(struct rig_up *up) {
  if (up->conn) wr_conn_abort(up->conn);
  up->conn = NULL;
  wr_loop_unmark(&up->task);
}

static inline void rig_up_answer(struct rig_up *up) {
  struct rig *r = up->rig;
  up->answered++;
  r->asked[up->peer]++;
  if (r->answer_first_only && up->answered > 1) {
    rig_up_drop(up);
    return;
  }
  if (r->answer_of[up->peer].len)
    rig_write(up->conn, r->answer_of[up->peer].ptr, r->answer_of[up->peer].len);
  else
    rig_write(up->conn, r->answer.ptr, r->answer_bytes);
  if (r->then == RIG_FIN) {
    wr_conn_close(up->conn);
    up->conn = NULL;
  } else if (r->then == RIG_RESET) {
    rig_up_drop(up);
  }
}

static inline void rig_up_run(struct wr_task *task) {
  struct rig_up *up = WR_CONTAINER(task, struct rig_up, task);
  struct wr_view v;
  while (up->conn && wr_conn_take(up->conn, &v)) {
    size_t room = sizeof up->text - 1 - up->len, n = v.len < room ? v.len : room;
    memcpy(up->text + up->len, v.ptr, n);
    up->len += n;
    wr_view_drop(&v);
    size_t whole = rig_request_bytes(up->text);
    if (whole && up->rig->answer.len + up->rig->answer_of[up->peer].len > 0) {
      memmove(up->text, up->text + whole, sizeof up->text - whole);
      up->len -= whole;
      rig_up_answer(up);
    }
  }
  if (up->conn && (wr_conn_state(up->conn) == WR_CONN_FAILED || wr_conn_at_eof(up->conn))) {
    up->ended = true;
    rig_up_drop(up);
  }
}

static inline void rig_client_run(struct wr_task *task) {
  struct rig *r = WR_CONTAINER(task, struct rig, task);
  struct wr_view v;
  while (r->client && !r->client_hold && wr_conn_take(r->client, &v)) {
    size_t n = v.len < RIG_GOT - 1 - r->got_len ? v.len : RIG_GOT - 1 - r->got_len;
    memcpy(r->got + r->got_len, v.ptr, n);
    r->got_len += n;
    r->got[r->got_len] = 0;
    wr_view_drop(&v);
  }
  if (r->client && (wr_conn_state(r->client) == WR_CONN_FAILED || wr_conn_at_eof(r->client)))
    r->client_end = true;
}

static inline void rig_record(void *ctx, const struct wr_record *record) {
  struct rig *r = ctx;
  r->records++;
  r->record = *record;
  snprintf(r->outcome, sizeof r->outcome, "%.*s", (int)record->outcome.len, record->outcome.ptr);
  snprintf(r->model, sizeof r->model, "%.*s", (int)record->model.len,
           record->model.len ? record->model.ptr : "");
}

static inline void rig_front(void *ctx, struct wr_conn *take_conn) {
  struct rig *r = ctx;
  wr_relay_accept(r->relay, 0, take_conn);
}

static inline void rig_init(struct rig *r) {
  memset(r, 0, sizeof *r);
  r->got = calloc(1, RIG_GOT);
  assert_non_null(r->got);
  for (unsigned i = 0; i < 2; i++) {
    r->urls[i] = (struct wr_conf_url){
      .text = "http://up", .host = "127.0.0.1", .authority = "up", .base_path = ""
    };
    r->upstreams[i] = (struct wr_conf_upstream){
      .name = i ? "second" : "first",
      .kind = WR_KIND_OPENAI_COMPATIBLE,
      .urls = &r->urls[i],
      .url_count = 1,
      .timeout = { 5000, 5000, 5000, 5000, 5000, 0 },
      .keep_idle = 4,
      .keep_idle_ms = 60000,
    };
    r->members[i][0] = i;
    r->groups[i] = (struct wr_conf_group){
      .name = r->upstreams[i].name, .members = r->members[i], .member_count = 1, .attempts = 1,
      .retry_on = WR_RETRY_ON_DEFAULT, .retry_budget_permille = 200
    };
  }
  r->members[2][1] = 1;
  r->groups[2] = (struct wr_conf_group){
    .name = "both", .members = r->members[2], .member_count = 2, .attempts = 2,
    .retry_on = WR_RETRY_ON_DEFAULT, .retry_budget_permille = 200, .again = true
  };
  r->routes[0] = (struct wr_conf_route){
    .name = "all",
    .path = "/*",
    .to = 0,
    .body_bytes = 32u << 20,
    .inspect_bytes = 65536,
    .event_bytes = 1u << 20,
    .body_timeout_ms = 5000,
    .heartbeat_ms = 15000,
    .held_bytes = 65536,
    .slow_high_bytes = 65536,
    .slow_low_bytes = 16384,
    .slow_give_up_ms = 5000,
  };
  r->conf = (struct wr_conf){ .listens = r->listens,
                              .listen_count = 1,
                              .upstreams = r->upstreams,
                              .upstream_count = 2,
                              .groups = r->groups,
                              .group_count = 3,
                              .routes = r->routes,
                              .route_count = 1 };
  r->conf.server.client_idle_ms = 5000;
  r->conf.server.head_timeout_ms = 5000;
}

static inline void rig_open_pool(struct rig *r, size_t pool_bytes) {
  char why[256];
  struct wr_addr any;
  world_open(&r->w, pool_bytes);
  assert_int_equal(wr_resolver_new(r->w.loop, &r->resolver), WR_OK);
  assert_int_equal(wr_addr_parse(wr_span_str("127.0.0.1:0"), &any), WR_OK);
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(wr_listen_open(r->w.loop, &any, NULL, i ? rig_back1 : rig_back0, r,
                                    &r->back[i], why, sizeof why),
                     WR_OK);
    r->urls[i].port = wr_addr_port(wr_listen_addr(r->back[i]));
  }
  assert_int_equal(wr_listen_open(r->w.loop, &any, NULL, rig_front, r, &r->front, why, sizeof why),
                   WR_OK);
  assert_int_equal(
      wr_upstreams_new(r->w.loop, r->resolver, &r->conf, NULL, &r->set, why, sizeof why), WR_OK);
  r->gen = (struct wr_relay_gen){ .conf = &r->conf,
                                  .hooks = r->use_hooks ? &r->hooks : NULL,
                                  .upstreams = r->set };
  struct wr_relay_options o = {
    .loop = r->w.loop, .shared = &r->shared, .gen = &r->gen, .record = rig_record, .record_ctx = r
  };
  assert_int_equal(wr_relay_new(&o, &r->relay), WR_OK);
  wr_task_init(&r->task, rig_client_run);
}
static inline void rig_open(struct rig *r) { rig_open_pool(r, 16u << 20); }

/* Makes an upstream refuse connections. */
static inline void rig_back_close(struct rig *r, unsigned i) {
  wr_listen_close(r->back[i]);
  r->back[i] = NULL;
}

static inline void rig_client_drop(struct rig *r) {
  if (r->client) wr_conn_abort(r->client);
  r->client = NULL;
  wr_loop_unmark(&r->task);
}

/* A new client connection; what the one before had got is forgotten. */
static inline bool rig_dial(struct rig *r) {
  rig_client_drop(r);
  r->got_len = 0;
  r->got[0] = 0;
  r->client_end = false;
  return wr_conn_dial(r->w.loop, wr_listen_addr(r->front), NULL, NULL, &r->task, &r->client) ==
         WR_OK;
}

static inline void rig_send(struct rig *r, const char *text) {
  rig_write(r->client, text, strlen(text));
}

static inline void rig_ups_drop(struct rig *r) {
  for (size_t i = 0; i < r->up_count; i++) {
    rig_up_drop(r->ups[i]);
    free(r->ups[i]);
  }
  r->up_count = 0;
}

static inline void rig_close(struct rig *r) {
  rig_client_drop(r);
  rig_ups_drop(r);
  wr_relay_free(r->relay);
  assert_int_equal(r->gen.refs, 0);
  assert_int_equal(r->shared.requests, 0);
  wr_relay_shared_fini(&r->shared);
  wr_upstreams_free(r->set);
  for (unsigned i = 0; i < 2; i++)
    if (r->back[i]) wr_listen_close(r->back[i]);
  wr_listen_close(r->front);
  for (unsigned i = 0; i < 3; i++) wr_loop_turn(r->w.loop, 0);
  rig_ups_drop(r); /* who came in at the last moment */
  wr_resolver_free(r->resolver);
  world_close(&r->w);
  assert_int_equal(wr_heap_live_count(WR_HEAP_RELAY), 0);
  assert_int_equal(wr_heap_live_count(WR_HEAP_UPSTREAM), 0);
  assert_int_equal(wr_expect_failures(), 0);
  free(r->got);
}

/* The body of the chunked answer in `got` from `from` on: appended to out. True when it ended as it
 * should; *end is where the next answer begins. */
static inline bool rig_dechunk(const char *got, char *out, size_t cap, const char **end) {
  const char *p = strstr(got, "\r\n\r\n");
  size_t n = 0;
  out[0] = 0;
  if (!p) return false;
  for (p += 4;;) {
    char *after;
    size_t len = (size_t)strtoul(p, &after, 16);
    if (after == p || strncmp(after, "\r\n", 2) != 0) return false;
    p = after + 2;
    if (len == 0) {
      if (strncmp(p, "\r\n", 2) != 0) return false;
      if (end) *end = p + 2;
      return true;
    }
    size_t have = strlen(p), take = have < len ? have : len;
    assert_true(n + take < cap);
    memcpy(out + n, p, take);
    n += take;
    out[n] = 0;
    if (have < len + 2 || strncmp(p + len, "\r\n", 2) != 0) return false;
    p += len + 2;
  }
}

#endif

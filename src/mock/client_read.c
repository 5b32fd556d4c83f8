/* Takes a request in: its head as a whole, its body as it goes by. */
#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"
#include "mock/ask.h"
#include "mock/client.h"
#include "wire/http1_parse.h"

#define HEAD_MAX_BYTES 16384u

static void intake_free(struct wr_mock_intake *intake) {
  if (intake == NULL) return;
  wr_heap_free(WR_HEAP_MOCK, intake->kept);
  wr_heap_free(WR_HEAP_MOCK, intake);
}

void wr_mock_exchange_free(struct wr_mock_exchange *x) {
  intake_free(x->intake);
  wr_heap_free(WR_HEAP_MOCK, x);
}

static void refuse(struct wr_mock_exchange *x, unsigned status, const char *why) {
  if (x->refuse != 0) return;
  x->refuse = (uint16_t)status;
  (void)snprintf(x->why, sizeof x->why, "%s", why);
}

/* Authorization: Bearer KEY, x-api-key: KEY, api-key: KEY. */
static bool has_key(const struct wr_mock *m, const char *base) {
  struct wr_span key = wr_span_str(m->options.key);
  struct wr_span bearer = WR_SPAN("bearer ");
  struct wr_span value = wr_head_value(&m->head, base, WR_FIELD_AUTHORIZATION);
  if (value.len > bearer.len && wr_span_ieq(wr_span_sub(value, 0, bearer.len), bearer))
    value = wr_span_trim(wr_span_sub(value, bearer.len, value.len - bearer.len));
  return wr_span_eq(value, key) ||
         wr_span_eq(wr_head_value(&m->head, base, WR_FIELD_X_API_KEY), key) ||
         wr_span_eq(wr_head_value(&m->head, base, WR_FIELD_API_KEY), key);
}

/* The options as the headers x-mock-* of this request change them. */
static void read_knobs(struct wr_mock *m, struct wr_mock_exchange *x, const char *base,
                       bool *own_fault) {
  struct wr_span prefix = WR_SPAN("x-mock-");
  struct wr_mock_options options = m->options;
  char why[128];
  *own_fault = false;
  for (unsigned i = 0; i < m->head.field_count; i++) {
    const struct wr_field *f = &m->head.fields[i];
    struct wr_span name = wr_span_at(base, f->name), value = wr_span_at(base, f->value);
    if (name.len <= prefix.len || !wr_span_ieq(wr_span_sub(name, 0, prefix.len), prefix)) continue;
    struct wr_span key = wr_span_sub(name, prefix.len, name.len - prefix.len);
    if (wr_span_ieq(key, WR_SPAN("replay"))) {
      if (wr_mock_recordings_open_in(&m->recordings, m->options.replay_dir, value, &x->replay) !=
          WR_OK)
        refuse(x, 400, "x-mock-replay: there is no such recording in --replay-dir");
      continue;
    }
    if (wr_span_ieq(key, WR_SPAN("fault"))) *own_fault = true;
    if (wr_mock_options_set(&options, WR_MOCK_FROM_REQUEST, key, value, why, sizeof why) != WR_OK)
      refuse(x, 400, why);
  }
  x->knobs = options.knobs;
}

/* Does this request meet the fault of the options? One that its own header names it always meets.
 */
static void choose_fault(struct wr_mock *m, struct wr_mock_exchange *x, bool own_fault) {
  const struct wr_mock_options *o = &m->options;
  if (x->knobs.fault.kind == WR_MOCK_FAULT_NONE) return;
  bool meets = own_fault;
  if (!own_fault && x->route.place == WR_MOCK_AT_ANSWER) {
    meets = o->fault_first == 0 || m->faults_given < o->fault_first;
    if (meets && o->fault_share_permille < 1000)
      meets = wr_rand_below(&m->rand, 1000) < o->fault_share_permille;
    if (meets) m->faults_given++;
  }
  if (!meets) x->knobs.fault = (struct wr_mock_fault){ 0, WR_MOCK_FAULT_NONE };
}

static bool wants_json(const struct wr_mock_exchange *x) {
  return x->route.place == WR_MOCK_AT_ANSWER || x->route.place == WR_MOCK_AT_EMBEDDINGS ||
         x->route.place == WR_MOCK_AT_COUNT;
}

static struct wr_mock_exchange *exchange_new(struct wr_mock *m) {
  struct wr_mock_exchange *x = wr_heap_zalloc(WR_HEAP_MOCK, sizeof *x);
  if (x == NULL) return NULL;
  x->id = wr_rand_u64(&m->rand);
  x->started_us = wr_loop_now_us(m->loop);
  x->knobs = m->options.knobs;
  x->replay = m->replay;
  m->counters.requests++;
  return x;
}

/* A head that can't be read is answered, and then the connection ends: nothing behind it is in
 * step. */
static enum wr_mock_turn bad_head(struct wr_mock_client *c, enum wr_err err) {
  struct wr_mock_exchange *x = exchange_new(c->mock);
  if (x == NULL) {
    wr_mock_client_end(c, true);
    return WR_MOCK_TURN_GONE;
  }
  c->exchange = x;
  x->route = (struct wr_mock_route){ WR_MOCK_AT_NOTHING, WR_MOCK_CHAT, false };
  x->knobs.fault.kind = WR_MOCK_FAULT_NONE;
  int status = wr_err_status(err);
  refuse(x, status > 0 ? (unsigned)status : 400, wr_err_text(err));
  return wr_mock_client_reply(c);
}

/* The head has been parsed into mock->head; its bytes are borrowed. */
static enum wr_mock_turn begin_exchange(struct wr_mock_client *c, const char *base) {
  struct wr_mock *m = c->mock;
  const struct wr_head *head = &m->head;
  struct wr_mock_exchange *x = exchange_new(m);
  if (x == NULL) {
    wr_mock_client_end(c, true);
    return WR_MOCK_TURN_GONE;
  }
  c->exchange = x;
  struct wr_span path = wr_span_at(base, head->path);
  x->route = wr_mock_route_find((enum wr_method)head->method, path,
                                wr_head_has(head, WR_FIELD_ANTHROPIC_VERSION));
  (void)snprintf(x->path, sizeof x->path, "%.*s", (int)(path.len < 47 ? path.len : 47), path.ptr);
  x->keep = head->keep_alive;
  x->head_only = head->method == WR_METHOD_HEAD;
  x->old = head->version_minor == 0;
  x->expects = head->expect_continue;
  x->has_origin = wr_head_has(head, WR_FIELD_ORIGIN);
  bool own_fault;
  read_knobs(m, x, base, &own_fault);
  choose_fault(m, x, own_fault);
  bool is_open = x->route.place == WR_MOCK_AT_HEALTH || x->route.place == WR_MOCK_AT_OPTIONS;
  if (m->options.key[0] != 0 && !is_open && !has_key(m, base))
    refuse(x, 401, "incorrect API key provided");
  x->intake = wr_heap_zalloc(WR_HEAP_MOCK, sizeof *x->intake);
  if (x->intake == NULL) {
    wr_mock_client_end(c, true);
    return WR_MOCK_TURN_GONE;
  }
  enum wr_framing framing = (enum wr_framing)head->framing;
  wr_http1_body_init(&x->intake->body, framing, head->content_length);
  wr_json_stream_init(&x->intake->json, &m->prog);
  wr_mock_prefill_init(&x->intake->prefill, x->knobs.seed, x->knobs.numbered);
  if (framing == WR_FRAMING_LENGTH && head->content_length > WR_MOCK_BODY_MAX_BYTES) {
    x->keep = false;
    refuse(x, 413, "the request is too large");
    return wr_mock_client_reply(c);
  }
  if (framing == WR_FRAMING_NONE || (framing == WR_FRAMING_LENGTH && head->content_length == 0))
    return wr_mock_client_reply(c);
  c->state = WR_MOCK_BODY;
  return WR_MOCK_TURN_MORE;
}

/* Adds a piece to the copy of a head that comes in pieces. */
static bool gather_head(struct wr_mock_client *c, struct wr_span piece) {
  size_t cap = HEAD_MAX_BYTES + 2;
  if (c->head_len + piece.len > cap) piece.len = cap - c->head_len;
  char *grown = wr_heap_realloc(WR_HEAP_MOCK, c->head, c->head_len + piece.len + 1);
  if (grown == NULL) return false;
  c->head = grown;
  memcpy(c->head + c->head_len, piece.ptr, piece.len);
  c->head_len += piece.len;
  return true;
}

static void drop_head(struct wr_mock_client *c) {
  wr_heap_free(WR_HEAP_MOCK, c->head);
  c->head = NULL;
  c->head_len = 0;
  c->head_resume = 0;
}

/* Gives back to the connection what stands behind the first n bytes of a view. */
static bool give_rest(struct wr_mock_client *c, struct wr_view *view, size_t n) {
  wr_view_advance(view, n);
  if (view->len == 0) {
    wr_view_drop(view);
    return true;
  }
  struct wr_view moved = wr_view_move(view);
  return wr_conn_unread(c->conn, &moved) == WR_OK;
}

enum wr_mock_turn wr_mock_client_read_head(struct wr_mock_client *c) {
  struct wr_view view;
  if (!wr_conn_take(c->conn, &view)) {
    if (!wr_conn_at_eof(c->conn)) return WR_MOCK_TURN_WAIT;
    wr_mock_client_end(c, false);
    return WR_MOCK_TURN_GONE;
  }
  struct wr_mock *m = c->mock;
  size_t before = c->head_len, off = 0, len = 0;
  struct wr_span bytes = wr_view_span(&view);
  if (before > 0) {
    if (!gather_head(c, bytes)) {
      wr_view_drop(&view);
      wr_mock_client_end(c, true);
      return WR_MOCK_TURN_GONE;
    }
    bytes = wr_span_make(c->head, c->head_len);
  }
  enum wr_err err = wr_http1_head_end(bytes, &c->head_resume, HEAD_MAX_BYTES, &off, &len);
  if (err == WR_E_AGAIN) {
    bool ok = before > 0 || gather_head(c, bytes);
    wr_view_drop(&view);
    if (ok) return WR_MOCK_TURN_MORE;
    wr_mock_client_end(c, true);
    return WR_MOCK_TURN_GONE;
  }
  const char *base = bytes.ptr + off;
  if (err == WR_OK) err = wr_http1_parse_request(wr_span_make(base, len), NULL, &m->head);
  if (err != WR_OK) {
    wr_view_drop(&view);
    drop_head(c);
    return bad_head(c, err);
  }
  /* The bytes live on in the gathered copy or in this reference while the exchange looks at them.
   */
  struct wr_view hold = wr_view_keep(&view);
  bool ok = give_rest(c, &view, off + len - before);
  enum wr_mock_turn turn = WR_MOCK_TURN_GONE;
  char *gathered = c->head;
  c->head = NULL;
  drop_head(c);
  if (ok)
    turn = begin_exchange(c, base);
  else
    wr_mock_client_end(c, true);
  wr_heap_free(WR_HEAP_MOCK, gathered);
  wr_view_drop(&hold);
  return turn;
}

/* The body itself, for what needs more than a few fields of it. */
static bool keep_body(struct wr_mock_intake *in, struct wr_span data) {
  if (in->kept_len + data.len > WR_MOCK_KEPT_BODY_MAX_BYTES) return false;
  if (in->kept_len + data.len > in->kept_cap) {
    size_t cap = (in->kept_len + data.len) * 2;
    char *grown = wr_heap_realloc(WR_HEAP_MOCK, in->kept, cap);
    if (grown == NULL) return false;
    in->kept = grown;
    in->kept_cap = cap;
  }
  if (data.len > 0) memcpy(in->kept + in->kept_len, data.ptr, data.len);
  in->kept_len += data.len;
  return true;
}

/* Looks at the data of a body; a malformed document is read to its end all the same, and then
 * refused. */
static void take_data(struct wr_mock_exchange *x, struct wr_span data) {
  struct wr_mock_intake *in = x->intake;
  if (data.len == 0 || !wants_json(x)) return;
  if (in->json_err == WR_OK) in->json_err = wr_json_stream_feed(&in->json, data);
  if (x->route.place == WR_MOCK_AT_ANSWER && !x->knobs.echo)
    wr_mock_prefill_feed(&in->prefill, data);
  if (x->route.place == WR_MOCK_AT_EMBEDDINGS && !keep_body(in, data)) {
    x->keep = false;
    refuse(x, 413, "the input is too large");
  }
}

static bool send_continue(struct wr_mock_client *c) {
  c->exchange->expects = false;
  if (wr_conn_input_bytes(c->conn) > 0) return true; /* it didn't wait */
  return wr_mock_client_send(c, WR_SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
}

enum wr_mock_turn wr_mock_client_read_body(struct wr_mock_client *c) {
  struct wr_mock_exchange *x = c->exchange;
  struct wr_mock_intake *in = x->intake;
  struct wr_view view;
  bool ok = true;
  if (x->expects) ok = send_continue(c);
  if (ok && !wr_mock_client_drain(c, &ok) && ok) return WR_MOCK_TURN_WAIT;
  if (!ok || (wr_conn_input_bytes(c->conn) == 0 && wr_conn_at_eof(c->conn))) {
    wr_mock_client_end(c, true);
    return WR_MOCK_TURN_GONE;
  }
  if (!wr_conn_take(c->conn, &view)) return WR_MOCK_TURN_WAIT;
  enum wr_err err = WR_OK;
  while (err == WR_OK) {
    size_t consumed;
    struct wr_span data;
    err = wr_http1_body_next(&in->body, wr_view_span(&view), &consumed, &data);
    take_data(x, data);
    wr_view_advance(&view, consumed);
  }
  if (in->body.total > WR_MOCK_BODY_MAX_BYTES && err != WR_E_END) {
    x->keep = false;
    refuse(x, 413, "the request is too large");
    err = WR_E_BODY_TOO_LARGE;
  }
  if (err == WR_E_AGAIN) {
    wr_view_drop(&view);
    return WR_MOCK_TURN_MORE;
  }
  if (err != WR_E_END) {
    x->keep = false;
    refuse(x, 400, wr_err_text(err));
  }
  if (!give_rest(c, &view, 0)) {
    wr_mock_client_end(c, true);
    return WR_MOCK_TURN_GONE;
  }
  return wr_mock_client_reply(c);
}

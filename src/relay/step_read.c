/* READ_HEAD and READ_BODY: from the first byte of a request to what routing needs of it. */
#include <stdatomic.h>
#include <string.h>

#include "base/check.h"
#include "base/heap.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "wire/http1_parse.h"
#include "wire/url.h"

#define HEAD_BYTES 16384u
/* A new request is let in while at least this much of the pool is to be had. */
#define ADMIT_BYTES 4096u

static struct wr_span none(void) { return wr_span_make(NULL, 0); }

static bool route_matches(const struct wr_conf_route *r, const struct wr_head *h,
                          const char *base) {
  if (r->methods && !(r->methods >> h->method & 1u)) return false;
  if (r->host && !wr_span_ieq(wr_span_at(base, h->host), wr_span_str(r->host))) return false;
  struct wr_span path = wr_span_at(base, h->path), pattern = wr_span_str(r->path);
  if (pattern.len && pattern.ptr[pattern.len - 1] == '*') {
    pattern.len--;
    if (pattern.len > 1 && pattern.ptr[pattern.len - 1] == '/') pattern.len--;
    return wr_path_matches(path, pattern, WR_PATH_PREFIX);
  }
  return wr_path_matches(path, pattern, WR_PATH_EXACT);
}

/* NULL when none matches; *other tells whether one would with another method. */
static const struct wr_conf_route *route_find(const struct wr_conf *conf, const struct wr_head *h,
                                              const char *base, bool *other) {
  for (size_t i = 0; i < conf->route_count; i++) {
    const struct wr_conf_route *r = &conf->routes[i];
    if (route_matches(r, h, base)) return r;
    struct wr_conf_route any = *r;
    any.methods = 0;
    if (r->methods && route_matches(&any, h, base)) *other = true;
  }
  return NULL;
}

/* The first bytes of a request are here: it is counted, and pinned to the generation of this
 * moment. */
static enum wr_err begin(struct wr_session *s) {
  struct wr_relay *relay = s->relay;
  s->gen = wr_relay_gen_ref(relay->gen);
  s->id = atomic_fetch_add_explicit(&relay->shared->next_id, 1, memory_order_relaxed) + 1;
  s->started_us = wr_loop_now_us(relay->loop);
  s->active = s->served = true;
  WR_RELAY_COUNT(relay, active, 1);
  WR_RELAY_COUNT(relay, requests, 1);
  uint32_t running = atomic_fetch_add_explicit(&relay->shared->requests, 1, memory_order_relaxed);
  uint32_t most = s->gen->conf->server.max_streams;
  const struct wr_conf_listen *listen = wr_relay_listen(s->gen, s->listen_number);
  enum wr_err err = wr_request_new(wr_session_slabs(s), &s->rq);
  if (err != WR_OK) return err;
  relay->head_of = NULL; /* a request's memory may be an earlier one's */
  if (most && running >= most) return WR_E_SHED;
  if (!wr_ledger_admits(wr_slabs_ledger(wr_session_slabs(s)), WR_CHARGE_HEAD, ADMIT_BYTES))
    return WR_E_POOL_FULL;
  return wr_admit_listen(s, listen);
}

static void take_head(struct wr_session *s, const struct wr_head *h, const char *base) {
  WR_DCHECK(s->rq != NULL && h->method < WR_METHODS);
  struct wr_request *rq = s->rq;
  rq->method = h->method;
  rq->length_known = h->framing != WR_FRAMING_CHUNKED;
  rq->content_length = h->framing == WR_FRAMING_LENGTH ? h->content_length : 0;
  rq->expect = h->expect_continue;
  wr_http1_body_init(&rq->decode, (enum wr_framing)h->framing, h->content_length);
  rq->body_done = h->framing == WR_FRAMING_NONE || (rq->length_known && rq->content_length == 0);
  s->method = h->method;
  s->head_request = h->method == WR_METHOD_HEAD;
  s->http10 = h->version_minor == 0;
  s->keep_alive = h->keep_alive && !s->relay->draining;
  s->dialect =
      (uint8_t)wr_dialect_of(wr_span_at(base, h->path), wr_head_has(h, WR_FIELD_ANTHROPIC_VERSION));
  wr_session_name(s, wr_span_at(base, h->path), none(), none());
}

static bool is_json(const struct wr_head *h, const char *base) {
  struct wr_span type = wr_head_value(h, base, WR_FIELD_CONTENT_TYPE);
  struct wr_span json = WR_SPAN("application/json");
  return type.len == 0 ||
         (type.len >= json.len && wr_span_ieq(wr_span_sub(type, 0, json.len), json));
}

/* Who is refused before its head is read hears it in the words of its API, where the head is
 * here already. */
static void learn_dialect(struct wr_session *s) {
  struct wr_head *h = &s->relay->head;
  if (!s->rq || wr_headbuf_read(&s->rq->head, s->client, HEAD_BYTES, true) != WR_OK) return;
  if (wr_request_parse(s) == WR_OK) take_head(s, h, s->rq->head.head.ptr);
}

enum wr_step wr_step_read_head(struct wr_session *s) {
  WR_DCHECK(s->at == NULL && !s->committed && s->outcome == WR_OUTCOME_NONE);
  if (!s->rq) {
    bool unheard = wr_conn_input_bytes(s->client) == 0; /* there is no room to read what it wants */
    if (unheard && (wr_conn_state(s->client) != WR_CONN_OPEN || !wr_conn_is_starved(s->client)))
      return WR_STEP_WAIT;
    enum wr_err err = begin(s);
    if (err == WR_OK && unheard) err = WR_E_POOL_FULL;
    if (err != WR_OK) {
      if (wr_err_status(err) == 503) WR_RELAY_COUNT(s->relay, refused, 1);
      learn_dialect(s);
      return wr_session_fail(s, err, none());
    }
    wr_session_due_step(s, s->gen->conf->server.head_timeout_ms, WR_E_HEAD_TIMEOUT);
    wr_session_due_tidy(s);
  }
  enum wr_err err = wr_headbuf_read(&s->rq->head, s->client, HEAD_BYTES, true);
  if (err == WR_E_AGAIN) return WR_STEP_WAIT;
  struct wr_head *h = &s->relay->head;
  const char *base = s->rq->head.head.ptr;
  if (err == WR_OK) err = wr_request_parse(s);
  if (err != WR_OK) {
    s->keep_alive = false;
    return wr_session_fail(s, err, none());
  }
  take_head(s, h, base);
  bool other = false;
  s->route = route_find(s->gen->conf, h, base, &other);
  /* Who is refused whatever it asks need not send its body first. */
  if (wr_degrade_active(s->relay, WR_ACTION_SHED_ALL) && wr_degrade_refuses(s))
    return wr_session_fail(s, WR_E_SHED, none());
  if (!s->route) return wr_session_fail(s, other ? WR_E_METHOD : WR_E_NO_ROUTE, none());
  if (s->rq->content_length > s->route->body_bytes)
    return wr_session_fail(s, WR_E_BODY_TOO_LARGE, none());
  /* Who posts to a known API without saying that it is JSON gets the same service. */
  if (!s->rq->body_done && (is_json(h, base) || s->dialect != WR_DIALECT_NONE)) {
    s->rq->scan = wr_arena_alloc(&s->rq->arena, sizeof *s->rq->scan);
    if (!s->rq->scan) return wr_session_fail(s, WR_E_POOL_FULL, none());
    wr_json_stream_init(s->rq->scan, &s->relay->request_prog);
  }
  if (s->route->timeout.total_ms) wr_session_due(s, WR_DUE_TOTAL, s->route->timeout.total_ms);
  wr_session_due_step(s, s->route->body_timeout_ms, WR_E_BODY_TIMEOUT);
  if (!s->rq->body_done) wr_session_due(s, WR_DUE_BODY, s->route->body_deadline_ms);
  return WR_STEP_READ_BODY;
}

/* The client waits for leave to send its body. */
static enum wr_err send_continue(struct wr_session *s) {
  WR_DCHECK(s->rq->expect && !s->committed);
  s->rq->expect = false;
  struct wr_view v = wr_view_static(WR_SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
  enum wr_err err = wr_conn_write(s->client, &v);
  return err == WR_OK ? wr_conn_flush(s->client) : err;
}

enum wr_step wr_step_read_body(struct wr_session *s) {
  WR_DCHECK(s->rq != NULL && s->route != NULL && s->at == NULL);
  struct wr_request *rq = s->rq;
  if (rq->body_done) return WR_STEP_ROUTE;
  uint64_t before = s->in_bytes;
  enum wr_err err = wr_request_read_body(s, s->route->inspect_bytes);
  if (err == WR_E_END) return WR_STEP_ROUTE;
  if (err != WR_OK) {
    if (err == WR_E_HTTP_CHUNK || err == WR_E_HTTP_FRAMING) s->keep_alive = false;
    return wr_session_fail(s, err, none());
  }
  if (rq->body.bytes >= s->route->inspect_bytes) {
    rq->expect = false; /* it didn't wait */
    return WR_STEP_ROUTE;
  }
  if (rq->expect && send_continue(s) != WR_OK) return wr_session_client_gone(s);
  if (s->in_bytes != before) {
    wr_session_due_step(s, s->route->body_timeout_ms, WR_E_BODY_TIMEOUT);
  } else if (wr_conn_is_starved(s->client)) {
    /* Who is half in would hold what it has, wait for more, and not even notice its client's end;
     * together such requests could hold the whole pool. */
    WR_RELAY_COUNT(s->relay, refused, 1);
    return wr_session_fail(s, WR_E_POOL_FULL, none());
  }
  return WR_STEP_WAIT;
}

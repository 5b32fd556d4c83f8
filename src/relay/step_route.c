/* ROUTE: who may ask, what the policy says, and where the request goes. */
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "net/digest.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "wire/http1_parse.h"

/* Hooks that may read the request's body. */
#define READS_BODY (WR_HOOK_REQUEST | WR_HOOK_RESPONSE_START | WR_HOOK_UPSTREAM_ERROR)

static struct wr_span none(void) { return wr_span_make(NULL, 0); }

/* The client's key: `Authorization: Bearer …`, `x-api-key` or `api-key`. */
static struct wr_span credential(const struct wr_head *h, const char *base) {
  struct wr_span v = wr_head_value(h, base, WR_FIELD_AUTHORIZATION);
  struct wr_span bearer = WR_SPAN("bearer ");
  if (v.len > bearer.len && wr_span_ieq(wr_span_sub(v, 0, bearer.len), bearer))
    return wr_span_trim(wr_span_sub(v, bearer.len, v.len - bearer.len));
  v = wr_head_value(h, base, WR_FIELD_X_API_KEY);
  return v.len ? v : wr_head_value(h, base, WR_FIELD_API_KEY);
}

/* Every key is compared, each in constant time. */
static const struct wr_conf_key *key_find(const struct wr_conf *conf, struct wr_span text) {
  uint8_t digest[32];
  const struct wr_conf_key *found = NULL;
  if (text.len == 0) return NULL;
  wr_digest_sha256(text, digest);
  for (size_t i = 0; i < conf->key_count; i++)
    if (wr_digest_equal(digest, conf->keys[i].sha256)) found = &conf->keys[i];
  return found;
}

/* Counts the request for its key; false when the route's limit is reached. */
static bool key_admits(struct wr_session *s, const struct wr_conf_key *key) {
  WR_DCHECK(!s->keyed);
  s->key_slot = wr_relay_key_number(s->gen, key);
  uint32_t open =
      atomic_fetch_add_explicit(&s->relay->shared->keys[s->key_slot], 1, memory_order_relaxed);
  s->keyed = true;
  return !s->route->streams_per_key || open < s->route->streams_per_key;
}

/* The model as the client named it becomes the session's. */
static void read_model(struct wr_session *s, struct wr_span raw) {
  char text[256];
  struct wr_buf buf;
  wr_buf_init(&buf, text, sizeof text);
  if (raw.len < 2 || raw.ptr[0] != '"' || wr_json_string_decode(raw, &buf) != WR_OK) return;
  wr_session_name(s, none(), wr_buf_span(&buf), none());
}

static void read_fields(struct wr_session *s) {
  struct wr_request *rq = s->rq;
  read_model(s, wr_request_value(rq, WR_RQ_MODEL));
  struct wr_span stream = wr_request_value(rq, WR_RQ_STREAM);
  if (wr_span_eq(stream, WR_SPAN("true"))) rq->stream = 1;
  if (wr_span_eq(stream, WR_SPAN("false"))) rq->stream = 0;
  /* What the API goes by alone: a field of another one would tell policies what isn't so. */
  bool ollama = s->dialect == WR_DIALECT_OLLAMA;
  int last = ollama ? WR_RQ_NUM_PREDICT : WR_RQ_MAX_OUTPUT_TOKENS;
  for (int i = ollama ? WR_RQ_NUM_PREDICT : WR_RQ_MAX_TOKENS; i <= last; i++) {
    uint64_t n = 0;
    if (wr_json_u64(wr_request_value(rq, (enum wr_request_path)i), &n) == WR_OK && n <= INT64_MAX)
      rq->max_tokens = (int64_t)n;
  }
}

static void hook_request(struct wr_session *s, struct wr_verdict *out) {
  WR_DCHECK(s->hook != NULL && s->rq->body.count <= 1);
  s->hooked = true;
  wr_session_hook_held(s);
  s->gen->hooks->request(s->gen->hooks->ctx, s->hook, s->rq->hook, out);
}

/* What the verdict changes. */
static enum wr_step apply(struct wr_session *s, const struct wr_verdict *v) {
  WR_DCHECK(s->hook != NULL && v->kind <= WR_VERDICT_STOP);
  struct wr_request *rq = s->rq;
  if (v->kind == WR_VERDICT_REJECT) return wr_session_refuse(s, v->status, v->text, v);
  if (v->kind == WR_VERDICT_ANSWER) return wr_session_answer(s, v->text, rq->stream == 1);
  if (v->kind != WR_VERDICT_ROUTE) return WR_STEP_PICK;
  if (!WR_EXPECT(v->group < s->gen->conf->group_count))
    return wr_session_fail(s, WR_E_POLICY_ERROR, none());
  s->group = v->group;
  if (v->model.len) {
    struct wr_span model;
    enum wr_err err = wr_arena_copy(&rq->arena, v->model, &model);
    if (err != WR_OK) return wr_session_fail(s, err, none());
    rq->model = model.ptr;
    wr_session_name(s, none(), v->model, none());
    if (s->hook) s->hook->model = wr_session_model(s);
  }
  if (v->max_tokens >= 0 && (rq->cap_tokens < 0 || v->max_tokens < rq->cap_tokens))
    rq->cap_tokens = v->max_tokens;
  if (v->deadline_ms > 0) wr_session_due(s, WR_DUE_TOTAL, (uint64_t)v->deadline_ms);
  return WR_STEP_PICK;
}

enum wr_step wr_step_route(struct wr_session *s) {
  WR_CHECK(s->rq != NULL && s->route != NULL && s->hook == NULL);
  struct wr_head *h = &s->relay->head;
  const char *base = s->rq->head.head.ptr;
  wr_session_due_step(s, 0, WR_OK);
  enum wr_err err = wr_request_parse(s);
  if (!WR_EXPECT(err == WR_OK)) return wr_session_fail(s, WR_E_INTERNAL, none());
  read_fields(s);
  const struct wr_conf_key *key = NULL;
  if (s->gen->conf->keys_declared) key = key_find(s->gen->conf, credential(h, base));
  s->key = key;
  if (s->route->keys_required && !key) return wr_session_fail(s, WR_E_UNAUTHORIZED, none());
  if (key && !key_admits(s, key)) {
    WR_RELAY_COUNT(s->relay, limited[WR_QUOTA_KEY_STREAMS], 1);
    return wr_session_fail(s, WR_E_TOO_MANY, none());
  }
  err = wr_admit_route(s);
  if (err != WR_OK) return wr_session_fail(s, err, none());
  if (wr_degrade_refuses(s)) return wr_session_fail(s, WR_E_SHED, none());
  if (s->route->output_tokens) s->rq->cap_tokens = s->route->output_tokens;
  s->group = s->route->to;
  wr_degrade_request(s);
  if (!s->gen->hooks || !s->route->hooks) return WR_STEP_PICK;
  err = wr_session_hook_make(s, key);
  if (err == WR_OK && s->route->hooks & READS_BODY) err = wr_request_flatten(s);
  if (err != WR_OK) return wr_session_fail(s, err, none());
  s->hooked = s->route->hooks & WR_HOOK_END; /* that one hears of every request */
  const struct wr_hooks *hooks = s->gen->hooks;
  struct wr_verdict v = { .kind = WR_VERDICT_DEFAULT, .max_tokens = -1, .deadline_ms = -1 };
  if (hooks->admit) hooks->admit(hooks->ctx, s->hook, &v);
  if (v.kind == WR_VERDICT_DEFAULT && s->route->hooks & WR_HOOK_REQUEST) hook_request(s, &v);
  return apply(s, &v);
}

#include "relay/session.h"

#include <stdatomic.h>
#include <string.h>

#include "base/check.h"
#include "base/heap.h"
#include "relay/hedge.h"
#include "relay/relay_priv.h"

#define NEVER UINT32_MAX
/* Handshake and first byte of a TLS connection, together. */
#define FIRST_TLS_MS 10000u
#define POOL_AGAIN_MS 10u
#define TIDY_MS 1000u
/* What the record has of each. */
#define PATH_BYTES 200u
#define MODEL_BYTES 128u
#define WHY_BYTES 160u
#define MODEL_ROOM_BYTES 16u

static void timer_fire(struct wr_timer *timer) {
  struct wr_session *s = WR_CONTAINER(timer, struct wr_session, timer);
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  wr_session_mark(s);
}

/* What a request begins with. */
static void fields_reset(struct wr_session *s) {
  s->dialect = WR_DIALECT_NONE;
  s->mode = WR_MODE_RAW;
  s->outcome = WR_OUTCOME_NONE;
  s->err = s->status = s->upstream_status = s->attempts = 0;
  s->retry_err = 0;
  s->head_request = s->http10 = s->committed = s->chunked = s->no_body = false;
  s->source_done = s->clean = s->terminator = s->finish = s->content = false;
  s->policy_failed = s->shed = false;
  s->paused = s->active = s->stopping = s->hooked = false;
  s->keep_alive = true;
  s->retry_after_ms = 0;
  s->reused = s->abortive = s->slow = s->tight = false;
  s->coalesced = s->queued_us = 0;
  s->continued = 0;
  s->continued_bytes = 0;
  s->hedged = 0;
  s->chunk_left = 0;
  s->method = 0;
  s->peer = NULL;
  s->open = 0;
  s->route = NULL;
  s->key = NULL;
  s->group = 0;
  s->tried = s->asked = 0;
  s->id = 0;
  s->started_us = 0;
  s->first_byte_us = s->first_token_us = NEVER;
  s->events = s->contents = s->out_bytes = s->in_bytes = s->copied = 0;
  for (unsigned i = 0; i < 4; i++) s->usage[i] = -1;
  memset(s->due, 0, sizeof s->due);
}

enum wr_err wr_session_new(struct wr_relay *relay, uint32_t listen_number,
                           struct wr_conn *take_conn) {
  struct wr_session *s = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *s);
  if (!s) {
    wr_conn_abort(take_conn);
    return WR_E_NOMEM;
  }
  s->magic = WR_SESSION_MAGIC;
  s->relay = relay;
  s->listen_number = listen_number;
  s->client = take_conn;
  s->admitted = (struct wr_admitted){ WR_QUOTA_NONE, WR_QUOTA_NONE, WR_QUOTA_NONE };
  wr_task_init(&s->task, wr_session_run);
  wr_timer_init(&s->timer, timer_fire);
  wr_stream_init(&s->stream, wr_loop_slabs(relay->loop));
  wr_reader_init(&s->reader, &s->stream);
  fields_reset(s);
  wr_list_init(&s->link);
  wr_list_push_back(&relay->sessions, &s->link);
  uint32_t first_ms = relay->gen->conf->server.client_idle_ms;
  if (wr_conn_is_tls(take_conn) && (!first_ms || first_ms > FIRST_TLS_MS)) first_ms = FIRST_TLS_MS;
  wr_session_due_step(s, first_ms, WR_E_HEAD_TIMEOUT);
  s->started_us = wr_loop_now_us(relay->loop);
  wr_conn_set_owner(take_conn, &s->task);
  wr_session_mark(s);
  return WR_OK;
}

/* What only one request has. */
static void request_parts_free(struct wr_session *s) {
  wr_hedge_drop(s, WR_HEDGE_DROPPED);
  wr_session_attempt_end(s, false);
  wr_queue_leave(s);
  wr_continue_free(s);
  wr_request_free(s->rq);
  s->rq = NULL;
  wr_stream_clear(&s->stream);
  wr_heap_free(WR_HEAP_RELAY, s->names);
  s->names = NULL;
  s->path_len = s->model_len = s->why_len = s->names_cap = 0;
  wr_heap_free(WR_HEAP_RELAY, s->answer_id);
  s->answer_id = NULL;
  s->answer_created = 0;
  WR_CHECK(!s->hook || !s->hook->reserves); /* settled when the exchange was concluded */
  wr_heap_free(WR_HEAP_RELAY, s->hook);
  s->hook = NULL;
  if (s->active) {
    s->active = false;
    WR_RELAY_COUNT(s->relay, active, -1);
    atomic_fetch_sub_explicit(&s->relay->shared->requests, 1, memory_order_relaxed);
  }
  wr_admitted_end(s);
  if (s->keyed)
    atomic_fetch_sub_explicit(&s->relay->shared->keys[s->key_slot], 1, memory_order_relaxed);
  s->keyed = false;
  if (s->gen) wr_relay_gen_unref(s->gen);
  s->gen = NULL;
}

void wr_session_free(struct wr_session *s) {
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  WR_CHECK(!s->running);
  struct wr_relay *relay = s->relay;
  if (s->active && s->step != WR_STEP_FINISH) {
    s->running = true; /* the record is written, and no step runs any more */
    s->keep_alive = false;
    if (s->outcome == WR_OUTCOME_NONE) s->outcome = WR_OUTCOME_SHED;
    s->step = WR_STEP_FINISH;
    (void)wr_step_finish(s);
    s->running = false;
  }
  if (!s->served) wr_session_record_unused(s);
  request_parts_free(s);
  wr_reader_fini(&s->reader);
  wr_stream_fini(&s->stream);
  wr_timer_clear(&s->timer);
  wr_loop_unmark(&s->task);
  if (s->abortive)
    wr_conn_abort(s->client);
  else
    wr_conn_close(s->client);
  wr_list_remove(&s->link);
  s->magic = 0;
  wr_heap_free(WR_HEAP_RELAY, s);
  wr_relay_left(relay);
}

void wr_session_reset(struct wr_session *s) {
  WR_CHECK(!s->hooked && s->chunk_left == 0);
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  request_parts_free(s);
  fields_reset(s);
}

uint64_t wr_session_now_ms(const struct wr_session *s) { return wr_loop_now_ms(s->relay->loop); }

void wr_session_due(struct wr_session *s, enum wr_due which, uint64_t delay_ms) {
  WR_DCHECK((unsigned)which < WR_DUES);
  if (!delay_ms) {
    s->due[which] = 0;
    return;
  }
  if (delay_ms > INT32_MAX) delay_ms = INT32_MAX;
  uint64_t due_ms = wr_session_now_ms(s) + delay_ms;
  s->due[which] = (uint32_t)due_ms ? (uint32_t)due_ms : 1; /* 0 says something else */
  if (due_ms < s->timer.due_ms) s->rearm = true;
}

void wr_session_due_step(struct wr_session *s, uint64_t delay_ms, enum wr_err err) {
  wr_session_due(s, WR_DUE_STEP, delay_ms);
  s->due_err = (uint8_t)err;
}

void wr_session_due_tidy(struct wr_session *s) { wr_session_due(s, WR_DUE_POOL, TIDY_MS); }
void wr_session_due_pool(struct wr_session *s) { wr_session_due(s, WR_DUE_POOL, POOL_AGAIN_MS); }

struct wr_slabs *wr_session_slabs(const struct wr_session *s) {
  return wr_loop_slabs(s->relay->loop);
}

void wr_session_mark(struct wr_session *s) { wr_loop_mark(s->relay->loop, &s->task); }

static uint32_t first_set(uint32_t a, uint32_t b) { return a ? a : b; }

struct wr_conf_timeouts wr_session_timeouts(const struct wr_session *s) {
  struct wr_conf_timeouts r = s->route->timeout;
  if (s->at) {
    const struct wr_conf_timeouts *u = &s->at->peer->up->timeout;
    r.connect_ms = first_set(r.connect_ms, u->connect_ms);
    r.tls_ms = first_set(r.tls_ms, u->tls_ms);
    r.first_byte_ms = first_set(r.first_byte_ms, u->first_byte_ms);
    r.first_token_ms = first_set(r.first_token_ms, u->first_token_ms);
    r.idle_ms = first_set(r.idle_ms, u->idle_ms);
    r.total_ms = first_set(r.total_ms, u->total_ms);
  }
  return r;
}

/* Asked once a turn, so without the others. */
uint32_t wr_session_idle_ms(const struct wr_session *s) {
  return first_set(s->route->timeout.idle_ms, s->at ? s->at->peer->up->timeout.idle_ms : 0);
}

struct wr_span wr_session_path(const struct wr_session *s) {
  return wr_span_make(s->names, s->path_len);
}

struct wr_span wr_session_model(const struct wr_session *s) {
  return wr_span_make(s->names ? s->names + s->path_len : NULL, s->model_len);
}

void wr_session_name(struct wr_session *s, struct wr_span path, struct wr_span model,
                     struct wr_span why) {
  WR_DCHECK(s->path_len + s->model_len + s->why_len == 0 || s->names != NULL);
  struct wr_span old_path = wr_session_path(s), old_model = wr_session_model(s);
  if (!path.len) path = old_path;
  if (!model.len) model = old_model;
  if (!why.len && s->why_len)
    why = wr_span_make(s->names + s->path_len + s->model_len, s->why_len);
  if (path.len > PATH_BYTES) path.len = PATH_BYTES;
  if (model.len > MODEL_BYTES) model.len = MODEL_BYTES;
  if (why.len > WHY_BYTES) why.len = WHY_BYTES;
  size_t len = path.len + model.len + why.len;
  char *names = s->names, all[PATH_BYTES + MODEL_BYTES + WHY_BYTES];
  if (len > s->names_cap) {
    /* The path is known before the model, which mostly finds room here. */
    size_t cap = model.len ? len : len + MODEL_ROOM_BYTES;
    names = wr_heap_alloc(WR_HEAP_RELAY, cap);
    if (!names) return; /* the record goes without */
    s->names_cap = (uint16_t)cap;
  }
  if (path.len) memcpy(all, path.ptr, path.len);
  if (model.len) memcpy(all + path.len, model.ptr, model.len);
  if (why.len) memcpy(all + path.len + model.len, why.ptr, why.len);
  if (names != s->names) wr_heap_free(WR_HEAP_RELAY, s->names);
  s->names = names;
  if (len) memcpy(names, all, len);
  s->path_len = (uint16_t)path.len;
  s->model_len = (uint16_t)model.len;
  s->why_len = (uint16_t)why.len;
  if (!s->hook) return;
  s->hook->model = wr_session_model(s);
  wr_session_hook_held(s);
}

/* FLUSH and FINISH: the last bytes leave, the exchange is recorded, the connection goes on or
 * ends. */
#include <time.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/hedge.h"
#include "relay/relay_priv.h"
#include "relay/reserve.h"
#include "relay/session.h"
#include "wire/http1_write.h"

/* For an answer made here: no route may have been found for it. */
#define REPLY_FLUSH_MS 30000u

/* How long a client may take nothing of the end: as of what comes before it. 0: for ever. */
static uint32_t patience_ms(const struct wr_session *s) {
  return s->committed ? s->route->slow_give_up_ms : REPLY_FLUSH_MS;
}

enum wr_step wr_step_flush(struct wr_session *s) {
  WR_CHECK(s->source_done && s->at == NULL);
  enum wr_err err = wr_session_drain_log(s);
  bool drained = wr_reader_left(&s->reader) == 0 && s->chunk_left == 0;
  if (err != WR_OK && err != WR_E_POOL_FULL) return wr_session_client_gone(s);
  wr_session_due(s, WR_DUE_POOL, 0);
  if (err == WR_E_POOL_FULL)
    wr_session_due_pool(s);
  else if (drained && wr_conn_unsent_bytes(s->client) == 0)
    return WR_STEP_FINISH;
  uint32_t sent = (uint32_t)wr_conn_bytes_out(s->client);
  if (!s->due[WR_DUE_STEP] || sent != s->progress)
    wr_session_due_step(s, patience_ms(s), WR_E_CLIENT_SLOW);
  s->progress = sent;
  return WR_STEP_WAIT;
}

static struct wr_span provider_of(const struct wr_conf_upstream *up) {
  switch (up->kind) {
    case WR_KIND_OPENAI: return WR_SPAN("openai");
    case WR_KIND_ANTHROPIC: return WR_SPAN("anthropic");
    case WR_KIND_OLLAMA: return WR_SPAN("ollama");
    case WR_KIND_MOCK: return WR_SPAN("weir.mock");
    case WR_KIND_OPENAI_COMPATIBLE:
    case WR_KIND_SSE:
    case WR_KINDS: break;
  }
  return wr_span_str(up->name);
}

static uint64_t unix_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static int64_t since(uint32_t us) { return us == UINT32_MAX ? -1 : (int64_t)us; }

/* The names of all upstreams that were asked, with commas between them, where there were several
 * attempts. */
static struct wr_span tried(const struct wr_session *s, struct wr_buf *out) {
  const struct wr_conf *conf = s->gen->conf;
  for (size_t i = 0; s->attempts > 1 && i < conf->upstream_count && i < 64; i++) {
    if (!(s->asked >> i & 1u)) continue;
    if (out->len) wr_buf_char(out, ',');
    wr_buf_put(out, wr_span_str(conf->upstreams[i].name));
  }
  return wr_buf_span(out);
}

static void record(struct wr_session *s) {
  WR_DCHECK(s->outcome > WR_OUTCOME_NONE && s->outcome < WR_OUTCOMES);
  char addr[128], names[256];
  struct wr_buf list;
  wr_buf_init(&list, names, sizeof names);
  struct wr_record r = {
    .kind = WR_RECORD_REQUEST,
    .tried = tried(s, &list),
    .retried = s->attempts > 1 ? (enum wr_err)s->retry_err : WR_OK,
    .streamed = s->mode != WR_MODE_RAW,
    .reused = s->reused,
    .status = s->status,
    .upstream_status = s->upstream_status,
    .attempts = s->attempts,
    .err = (enum wr_err)s->err,
    .id = s->id,
    .duration_us = wr_loop_now_us(s->relay->loop) - s->started_us,
    .first_byte_us = since(s->first_byte_us),
    .first_token_us = since(s->first_token_us),
    .events = s->events,
    .bytes_in = s->in_bytes,
    .bytes_out = s->out_bytes,
    .copied_bytes = s->copied,
    .continued = s->continued,
    .continued_bytes = s->continued_bytes,
    .hedge = wr_span_str(s->hedged ? wr_hedge_end_name(s->hedged - 1u) : ""),
    .joined_events = s->coalesced,
    .queued_us = s->queued_us,
    .input_tokens = s->usage[0],
    .output_tokens = s->usage[1],
    .cached_tokens = s->usage[2],
    .reasoning_tokens = s->usage[3],
    .client = wr_span_str(wr_addr_format(wr_conn_peer(s->client), addr, sizeof addr)),
    .method = wr_method_name((enum wr_method)s->method),
    .path = wr_session_path(s),
    .route = wr_span_str(s->route ? s->route->name : ""),
    .key = wr_span_str(s->key ? s->key->name : ""),
    .model = wr_session_model(s),
    .upstream = wr_span_str(s->peer ? s->peer->up->name : ""),
    .peer = wr_span_str(s->peer ? wr_peer_authority(s->peer) : ""),
    .outcome = wr_span_str(wr_outcome_name((enum wr_outcome)s->outcome)),
    .operation = wr_dialect_operation(wr_session_path(s)),
    .provider = s->peer ? provider_of(s->peer->up) : WR_SPAN(""),
    .why = wr_span_make(s->names ? s->names + s->path_len + s->model_len : NULL,
                        s->err ? s->why_len : 0), /* a later try may have gone well */
  };
  r.started_unix_us = unix_us() - r.duration_us;
  if (s->relay->record) s->relay->record(s->relay->record_ctx, &r);
}

void wr_session_record_unused(struct wr_session *s) {
  char addr[128];
  enum wr_err err = wr_conn_err(s->client);
  struct wr_record r = {
    .kind = WR_RECORD_CONNECTION,
    .err = err,
    .started_unix_us = unix_us(),
    .duration_us = wr_loop_now_us(s->relay->loop) - s->started_us,
    .first_byte_us = -1,
    .first_token_us = -1,
    .input_tokens = -1,
    .output_tokens = -1,
    .cached_tokens = -1,
    .reasoning_tokens = -1,
    .client = wr_span_str(wr_addr_format(wr_conn_peer(s->client), addr, sizeof addr)),
    .outcome = WR_SPAN("unused"),
    .why = wr_span_str(err != WR_OK ? wr_conn_why(s->client) : ""),
  };
  r.started_unix_us -= r.duration_us;
  if (s->relay->record) s->relay->record(s->relay->record_ctx, &r);
}

/* Counts and tells of a request that is over. */
static void conclude(struct wr_session *s) {
  WR_DCHECK(s->active && s->at == NULL);
  if (s->outcome == WR_OUTCOME_NONE && s->status >= 400) { /* passed on whole, but no success */
    s->outcome = WR_OUTCOME_UPSTREAM_ERROR;
    s->err = WR_E_UPSTREAM_STATUS;
  }
  if (s->outcome == WR_OUTCOME_NONE) s->outcome = WR_OUTCOME_COMPLETE;
  WR_RELAY_COUNT(s->relay, outcomes[s->outcome], 1);
  if (s->hook) {
    s->hook->status = s->status;
    s->hook->events = s->events;
    s->hook->now_us = wr_loop_now_us(s->relay->loop);
    s->hook->sent_bytes = s->out_bytes;
    s->hook->queued_bytes = 0;
    wr_reserves_settle(s->hook, (enum wr_outcome)s->outcome);
  }
  if (s->hooked && s->gen->hooks->end)
    s->gen->hooks->end(s->gen->hooks->ctx, s->hook, (enum wr_outcome)s->outcome);
  s->hooked = false;
  record(s);
}

enum wr_step wr_step_finish(struct wr_session *s) {
  WR_MAGIC_CHECK(s, WR_SESSION_MAGIC);
  if (!s->active) return WR_STEP_GONE; /* an idle connection, nothing was asked */
  wr_session_attempt_end(s, false);
  bool body_left = s->rq && !s->rq->body_done;
  bool go_on = s->keep_alive && !body_left && !s->relay->draining &&
               s->outcome != WR_OUTCOME_CLIENT_GONE && wr_conn_state(s->client) == WR_CONN_OPEN &&
               !wr_conn_got_eof(s->client);
  conclude(s);
  if (!go_on) return WR_STEP_GONE;
  wr_session_reset(s);
  wr_session_due_step(s, s->relay->gen->conf->server.client_idle_ms, WR_E_HEAD_TIMEOUT);
  return WR_STEP_READ_HEAD;
}

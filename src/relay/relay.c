#include "relay/relay.h"

#include "base/check.h"
#include "base/heap.h"
#include "relay/coalesce.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "relay/window.h"

#define SCRATCH_BYTES 16384u
#define DRAIN_IDLE_MS 2000u

const char *wr_outcome_name(enum wr_outcome outcome) {
  static const char *const names[WR_OUTCOMES] = {
    "none",    "complete",       "stopped",     "over_budget", "truncated",
    "stalled", "upstream_error", "client_gone", "shed",        "refused",
  };
  return (unsigned)outcome < WR_OUTCOMES ? names[outcome] : names[0];
}

struct wr_relay_gen *wr_relay_gen_ref(struct wr_relay_gen *gen) {
  gen->refs++;
  return gen;
}

uint32_t wr_relay_upstream_number(const struct wr_relay_gen *gen,
                                  const struct wr_conf_upstream *up) {
  size_t i = (size_t)(up - gen->conf->upstreams);
  WR_DCHECK(i < gen->conf->upstream_count);
  return (gen->upstream_numbers ? gen->upstream_numbers[i] : (uint32_t)i) % WR_RELAY_UPSTREAMS;
}

uint32_t wr_relay_key_number(const struct wr_relay_gen *gen, const struct wr_conf_key *key) {
  size_t i = (size_t)(key - gen->conf->keys);
  WR_DCHECK(i < gen->conf->key_count);
  return (gen->key_numbers ? gen->key_numbers[i] : (uint32_t)i) % WR_RELAY_KEYS;
}

const struct wr_conf_listen *wr_relay_listen(const struct wr_relay_gen *gen, uint32_t number) {
  const struct wr_conf *conf = gen->conf;
  if (!gen->listen_numbers) return number < conf->listen_count ? &conf->listens[number] : NULL;
  for (size_t i = 0; i < conf->listen_count; i++)
    if (gen->listen_numbers[i] == number) return &conf->listens[i];
  return NULL;
}

void wr_relay_gen_unref(struct wr_relay_gen *gen) {
  WR_CHECK(gen->refs > 0);
  if (--gen->refs == 0 && gen->gone) gen->gone(gen->gone_ctx, gen);
}

static void close_idle(struct wr_relay *relay) {
  struct wr_list *l = relay->sessions.next;
  while (l != &relay->sessions) {
    struct wr_session *s = WR_CONTAINER(l, struct wr_session, link);
    l = l->next;
    if (s->step == WR_STEP_READ_HEAD && !s->rq) wr_session_free(s);
  }
}

static void drain_fire(struct wr_timer *timer) {
  close_idle(WR_CONTAINER(timer, struct wr_relay, drain_timer));
}

static const char *const identity_paths[3] = { "id", "response.id", "created" };

enum wr_err wr_relay_new(const struct wr_relay_options *o, struct wr_relay **out) {
  struct wr_relay *relay = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *relay);
  if (!relay) return WR_E_NOMEM;
  relay->loop = o->loop;
  relay->shared = o->shared;
  relay->record = o->record;
  relay->record_ctx = o->record_ctx;
  relay->drained_fn = o->drained;
  wr_list_init(&relay->sessions);
  wr_list_init(&relay->woken);
  wr_timer_init(&relay->drain_timer, drain_fire);
  if (wr_rand_init_system(&relay->rand) != WR_OK)
    wr_rand_init(&relay->rand, wr_loop_now_us(o->loop));
  enum wr_err err = wr_dialects_init(&relay->dialects);
  if (err == WR_OK) err = wr_json_compile(&relay->request_prog, wr_request_paths, WR_RQ_PATHS);
  if (err == WR_OK) err = wr_json_compile(&relay->identity_prog, identity_paths, 3);
  if (err == WR_OK && !wr_relay_scratch(relay, SCRATCH_BYTES)) err = WR_E_NOMEM;
  if (err != WR_OK) {
    wr_heap_free(WR_HEAP_RELAY, relay);
    return err;
  }
  relay->gen = wr_relay_gen_ref(o->gen);
  relay->pressed = o->pressed;
  wr_degrade_init(relay, o->worker);
  *out = relay;
  return WR_OK;
}

void wr_relay_free(struct wr_relay *relay) {
  if (!relay) return;
  wr_relay_stop(relay);
  WR_CHECK(wr_list_empty(&relay->sessions) && relay->count == 0);
  wr_timer_clear(&relay->drain_timer);
  wr_degrade_fini(relay);
  wr_relay_gen_unref(relay->gen);
  wr_window_reader_free(relay->window_reader);
  wr_continue_reader_free(relay->continue_reader);
  wr_coalescer_free(relay->coalescer);
  wr_heap_free(WR_HEAP_RELAY, relay->scratch);
  wr_heap_free(WR_HEAP_RELAY, relay);
}

void wr_relay_shared_fini(struct wr_relay_shared *shared) {
  wr_quotas_free(atomic_exchange(&shared->quotas, NULL));
  wr_queues_free(atomic_exchange(&shared->queues, NULL));
}

char *wr_relay_scratch(struct wr_relay *relay, size_t bytes) {
  WR_DCHECK(bytes > 0 && bytes <= (64u << 20));
  if (bytes > relay->scratch_bytes) {
    char *p = wr_heap_alloc(WR_HEAP_RELAY, bytes);
    if (!p) return NULL;
    wr_heap_free(WR_HEAP_RELAY, relay->scratch);
    relay->scratch = p;
    relay->scratch_bytes = bytes;
  }
  return relay->scratch;
}

void wr_relay_accept(struct wr_relay *relay, uint32_t listen_number, struct wr_conn *take_conn) {
  WR_CHECK(take_conn != NULL);
  WR_RELAY_COUNT(relay, connections, 1);
  if (wr_session_new(relay, listen_number, take_conn) != WR_OK) {
    WR_RELAY_COUNT(relay, refused, 1);
    return;
  }
  relay->count++;
  WR_RELAY_COUNT(relay, open, 1);
  if (relay->draining && !wr_timer_is_set(&relay->drain_timer))
    wr_timer_set(relay->loop, &relay->drain_timer, DRAIN_IDLE_MS);
}

void wr_relay_left(struct wr_relay *relay) {
  WR_CHECK(relay->count > 0);
  relay->count--;
  WR_RELAY_COUNT(relay, open, -1);
  if (relay->draining && relay->count == 0 && !relay->drained) {
    relay->drained = true;
    wr_timer_clear(&relay->drain_timer);
    if (relay->drained_fn) relay->drained_fn(relay->record_ctx);
  }
}

void wr_relay_set_gen(struct wr_relay *relay, struct wr_relay_gen *gen) {
  WR_CHECK(relay->gen != NULL && gen != NULL && gen->conf != NULL);
  struct wr_relay_gen *old = relay->gen;
  relay->gen = wr_relay_gen_ref(gen);
  relay->text_prog_of = NULL;
  wr_degrade_refresh(relay);
  wr_relay_gen_unref(old);
}

void wr_relay_drain(struct wr_relay *relay) {
  if (relay->draining) return;
  relay->draining = true;
  wr_timer_set(relay->loop, &relay->drain_timer, DRAIN_IDLE_MS);
  if (relay->count == 0) {
    relay->drained = true;
    wr_timer_clear(&relay->drain_timer);
    if (relay->drained_fn) relay->drained_fn(relay->record_ctx);
  }
}

void wr_relay_stop(struct wr_relay *relay) {
  while (!wr_list_empty(&relay->sessions)) {
    struct wr_session *s = WR_CONTAINER(relay->sessions.next, struct wr_session, link);
    if (s->active && !s->source_done) {
      if (wr_session_fail(s, WR_E_DRAINING, wr_span_make(NULL, 0)) == WR_STEP_FLUSH)
        s->step = WR_STEP_FLUSH;
      if (wr_session_drain_log(s) != WR_OK) s->keep_alive = false;
    }
    /* Where only the connection's end says that an answer is over, it must not say so now. */
    if (s->committed && !s->chunked && wr_reader_left(&s->reader) > 0) s->abortive = true;
    wr_session_free(s);
  }
}

#define WAIT_LEAST_MS 1000u
#define WAIT_MOST_MS 20000u

uint32_t wr_relay_wait_ms(struct wr_relay *relay, uint64_t expected_ms) {
  uint64_t ms = expected_ms < WAIT_MOST_MS ? expected_ms : WAIT_MOST_MS;
  if (ms < WAIT_LEAST_MS) ms = WAIT_LEAST_MS;
  return (uint32_t)(ms + wr_rand_below(&relay->rand, ms / 2 + 1));
}

void wr_relay_woken(struct wr_relay *relay) { wr_queue_woken(relay); }

uint32_t wr_relay_connections(const struct wr_relay *relay) { return relay->count; }
const struct wr_relay_stats *wr_relay_stats(const struct wr_relay *relay) { return &relay->stats; }

void wr_relay_each(struct wr_relay *relay, void (*fn)(void *ctx, const struct wr_relay_row *row),
                   void *ctx) {
  uint64_t now = wr_loop_now_us(relay->loop);
  for (struct wr_list *l = relay->sessions.next; l != &relay->sessions; l = l->next) {
    struct wr_session *s = WR_CONTAINER(l, struct wr_session, link);
    if (!s->active) continue;
    struct wr_relay_row row = {
      .id = s->id,
      .age_ms = (now - s->started_us) / 1000,
      .events = s->events,
      .sent_bytes = s->out_bytes,
      .queued_bytes = wr_session_queued(s),
      .step = wr_step_name((enum wr_step)s->step),
      .route = s->route ? s->route->name : "",
      .upstream = s->at ? s->at->peer->up->name : "",
      .model = wr_session_model(s),
      .status = s->status,
      .paused = s->paused,
      .committed = s->committed,
    };
    fn(ctx, &row);
  }
}

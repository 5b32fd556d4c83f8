#include "trial/trial.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "net/digest.h"
#include "obs/record.h"
#include "policy/load.h"
#include "trial/trial_int.h"

#define POOL_BYTES (64u << 20)
#define KEY_NAMES_BYTES 8192u
/* A busy machine must not decide what a test says: instructions are counted, time is not. */
#define WALL_MS 10000u

static uint64_t core_mono(void *ctx) { return wr_loop_now_us(((struct wr_trial *)ctx)->loop); }

uint64_t wr_trial_now_us(struct wr_trial *t) {
  return t->unix_us + (wr_loop_now_us(t->loop) - t->begin_us);
}
static uint64_t core_wall(void *ctx) { return wr_trial_now_us(ctx); }
static uint64_t core_random(void *ctx) { return wr_rand_u64(&((struct wr_trial *)ctx)->rand); }

static void recorded(void *ctx, const struct wr_record *r) {
  struct wr_trial *t = ctx;
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  if (r->kind != WR_RECORD_REQUEST || !t->ask) return;
  t->recorded = true;
  for (int i = 0; i < WR_OUTCOMES; i++)
    if (wr_span_eq(r->outcome, wr_span_str(wr_outcome_name((enum wr_outcome)i))))
      t->result.outcome = wr_outcome_name((enum wr_outcome)i);
  t->result.err = wr_err_label(r->err);
  for (size_t i = 0; i < t->conf.route_count; i++)
    if (wr_span_eq(r->route, wr_span_str(t->conf.routes[i].name)))
      t->result.route = t->conf.routes[i].name;
  t->result.usage = (struct wr_usage){ r->input_tokens, r->output_tokens, r->cached_tokens,
                                       r->reasoning_tokens };
  t->result.attempts = r->attempts;
}

static enum wr_err load_in(struct wr_vm *vm, const struct wr_trial_options *o, struct wr_span text,
                           struct wr_conf **out, struct wr_diag *diag) {
  enum wr_err err = wr_conf_load(vm, o->file, text, out, diag);
  if (err != WR_OK && diag->errors == 0) wr_diag_error(diag, o->file, 0, "%s", wr_err_text(err));
  return err;
}

/* As a worker does it: once for the limits, once in the VM that has them. */
static enum wr_err load_twice(struct wr_trial *t, const struct wr_trial_options *o,
                              struct wr_span text, struct wr_vm **vm, struct wr_diag *diag) {
  struct wr_conf *first = NULL;
  enum wr_err err = wr_vm_new(NULL, vm);
  if (err != WR_OK) return err;
  err = load_in(*vm, o, text, &first, diag);
  wr_vm_free(*vm);
  *vm = NULL;
  if (err != WR_OK) return err;
  struct wr_vm_limits limits = { .memory_bytes = first->lua.memory_bytes,
                                 .instructions = first->lua.instructions,
                                 .wall_ms = WALL_MS,
                                 .ledger = t->ledger };
  wr_conf_free(first);
  size_t warnings = diag->count;
  err = wr_vm_new(&limits, vm);
  if (err == WR_OK) wr_vm_script(*vm)->tallies = t->tallies;
  if (err == WR_OK) err = load_in(*vm, o, text, &t->loaded, diag);
  if (err == WR_OK && warnings) diag->warnings = warnings; /* they were said twice */
  return err;
}

static enum wr_err load(struct wr_trial *t, const struct wr_trial_options *o, struct wr_vm **vm,
                        struct wr_diag *diag) {
  struct wr_span text = o->source;
  char *bytes = NULL;
  if (!text.ptr) {
    size_t len = 0;
    enum wr_err err = wr_conf_read_source(o->file, &bytes, &len);
    if (err == WR_E_IO) {
      wr_diag_error(diag, o->file, 0, "can't be read: %s", strerror(errno));
      return WR_E_CONFIG;
    }
    if (err != WR_OK) return err;
    text = wr_span_make(bytes, len);
  }
  enum wr_err err = load_twice(t, o, text, vm, diag);
  wr_heap_free(WR_HEAP_CONF, bytes);
  if (err != WR_OK && *vm) {
    wr_vm_free(*vm);
    *vm = NULL;
  }
  return err;
}

/* Upstreams lose their TLS: what they are told doesn't leave this process. */
static void copy_upstreams(struct wr_trial *t) {
  size_t url = 0;
  for (size_t i = 0; i < t->conf.upstream_count; i++) {
    struct wr_conf_upstream *up = &t->upstreams[i];
    *up = t->loaded->upstreams[i];
    up->keep_idle = 0;
    /* What one exchange has met must not decide the next one. */
    memset(&up->breaker, 0, sizeof up->breaker);
    up->health.path = NULL;
    for (size_t u = 0; u < up->url_count; u++) {
      t->urls[url + u] = up->urls[u];
      t->urls[url + u].tls = false;
    }
    up->urls = &t->urls[url];
    url += up->url_count;
  }
}

static void set_secret(struct wr_conf_key *k) {
  char text[320];
  struct wr_buf b;
  wr_buf_init(&b, text, sizeof text);
  wr_buf_printf(&b, "weir-trial-%s", k->name);
  wr_digest_sha256(wr_buf_span(&b), k->sha256);
}

static enum wr_err copy_conf(struct wr_trial *t) {
  size_t urls = 0;
  t->conf = *t->loaded;
  for (size_t i = 0; i < t->conf.upstream_count; i++) urls += t->conf.upstreams[i].url_count;
  t->key_room = t->conf.key_count + WR_TRIAL_KEYS;
  t->upstreams = wr_heap_zalloc(WR_HEAP_CLI, (t->conf.upstream_count + 1) * sizeof *t->upstreams);
  t->urls = wr_heap_zalloc(WR_HEAP_CLI, (urls + 1) * sizeof *t->urls);
  t->keys = wr_heap_zalloc(WR_HEAP_CLI, t->key_room * sizeof *t->keys);
  t->states = wr_heap_zalloc(WR_HEAP_CLI, (t->conf.upstream_count + 1) * sizeof *t->states);
  t->key_names.ptr = wr_heap_alloc(WR_HEAP_CLI, KEY_NAMES_BYTES);
  if (!t->upstreams || !t->urls || !t->keys || !t->states || !t->key_names.ptr) return WR_E_NOMEM;
  t->key_names.cap = KEY_NAMES_BYTES;
  copy_upstreams(t);
  for (size_t i = 0; i < t->conf.upstream_count; i++)
    t->states[i] = (struct wr_live_upstream){ .healthy = true, .room = INT64_MAX };
  for (size_t i = 0; i < t->conf.key_count; i++) {
    t->keys[i] = t->loaded->keys[i];
    set_secret(&t->keys[i]);
  }
  t->conf.upstreams = t->upstreams;
  t->conf.keys = t->keys;
  t->conf.keys_declared = true; /* a route that wants one says so itself */
  return WR_OK;
}

static const char *keep_name(struct wr_trial *t, const char *name) {
  size_t len = strlen(name) + 1, at = t->key_names.len;
  if (len > t->key_names.cap - at || len > 256) return NULL;
  memcpy(t->key_names.ptr + at, name, len);
  t->key_names.len += len;
  return t->key_names.ptr + at;
}

enum wr_err wr_trial_key(struct wr_trial *t, const char *name, const char *class_name) {
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  struct wr_conf_key *k = NULL;
  for (size_t i = 0; i < t->conf.key_count; i++)
    if (strcmp(t->keys[i].name, name) == 0) k = &t->keys[i];
  if (k && (!class_name || strcmp(class_name, k->class_name) == 0)) return WR_OK;
  const char *class_copy = class_name && *class_name ? keep_name(t, class_name) : "";
  if (!class_copy) return WR_E_ARG;
  if (!k) {
    if (t->conf.key_count == t->key_room) return WR_E_ARG;
    const char *copy = keep_name(t, name);
    if (!copy) return WR_E_ARG;
    k = &t->keys[t->conf.key_count++];
    *k = (struct wr_conf_key){ .name = copy };
    set_secret(k);
  }
  k->class_name = class_copy;
  return WR_OK;
}

static enum wr_err world_make(struct wr_trial *t) {
  enum wr_err err = wr_depot_new(POOL_BYTES, &t->depot);
  if (err == WR_OK) err = wr_ledger_new(POOL_BYTES, NULL, &t->ledger);
  if (err == WR_OK) err = wr_slabs_new(t->depot, t->ledger, &t->slabs);
  if (err == WR_OK) err = wr_loop_new(t->slabs, &t->loop);
  if (err != WR_OK) return err;
  wr_loop_hold_clock(t->loop);
  t->begin_us = wr_loop_now_us(t->loop);
  err = wr_tallies_new(t->unix_us, t->begin_us, &t->tallies);
  if (err != WR_OK) return err;
  t->notes = wr_heap_zalloc(WR_HEAP_CLI, WR_TRIAL_NOTES * sizeof *t->notes);
  t->places = wr_heap_zalloc(WR_HEAP_CLI, WR_TRIAL_NOTES * sizeof *t->places);
  t->sent = wr_heap_zalloc(WR_HEAP_CLI, WR_TRIAL_SENT * sizeof *t->sent);
  t->sent_at = wr_heap_zalloc(WR_HEAP_CLI, WR_TRIAL_SENT * sizeof *t->sent_at);
  if (!t->notes || !t->places || !t->sent || !t->sent_at) return WR_E_NOMEM;
  return wr_resolver_new(t->loop, &t->resolver);
}

static void live_upstream(void *ctx, uint32_t index, struct wr_live_upstream *out) {
  struct wr_trial *t = ctx;
  WR_CHECK(index < t->conf.upstream_count);
  *out = t->states[index];
  out->conf = &t->conf.upstreams[index];
}

static void live_pressure(void *ctx, struct wr_hook_pressure *out) {
  *out = ((struct wr_trial *)ctx)->pressure;
}

enum wr_err wr_trial_upstream(struct wr_trial *t, const char *name,
                              const struct wr_live_upstream *state) {
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  uint32_t i = wr_conf_upstream_find(&t->conf, wr_span_str(name));
  if (i == UINT32_MAX) return WR_E_ARG;
  t->states[i] = *state;
  return WR_OK;
}

bool wr_trial_flag(struct wr_trial *t, const char *name, bool on) {
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  return wr_tallies_switch(t->tallies, wr_span_str(name), on);
}

/* weir.every, as a worker runs it. */
static void every_fire(struct wr_timer *timer) {
  struct wr_trial *t = WR_CONTAINER(timer, struct wr_trial, every);
  uint64_t ms = wr_engine_timers(t->engine, wr_loop_now_us(t->loop));
  if (ms) wr_timer_set(t->loop, timer, ms);
}

static enum wr_err engine_make(struct wr_trial *t, struct wr_vm *take_vm) {
  struct wr_script_core core = { .ctx = t, .mono_us = core_mono, .wall_us = core_wall,
                                 .random_u64 = core_random, .log = wr_trial_log };
  bool hooks = t->conf.hooks != 0 || t->conf.timer_count > 0;
  for (size_t i = 0; i < t->conf.route_count; i++) hooks |= t->conf.routes[i].hooks != 0;
  if (!hooks) {
    wr_vm_free(take_vm);
    return WR_OK;
  }
  wr_vm_set_core(take_vm, &core);
  t->script = wr_vm_script(take_vm);
  enum wr_err err = wr_engine_new(take_vm, &t->conf, t->slabs, &t->engine);
  if (err != WR_OK) return err;
  wr_engine_watch(t->engine, wr_trial_saw, t);
  t->live = (struct wr_live){ .ctx = t, .upstream = live_upstream, .pressure = live_pressure };
  wr_engine_set_live(t->engine, &t->live);
  every_fire(&t->every);
  return WR_OK;
}

static enum wr_err relay_make(struct wr_trial *t) {
  char why[256] = "";
  struct wr_addr mocks[WR_UPSTREAM_MAX_PEERS];
  size_t n = 0;
  enum wr_err err = wr_trial_ups_open(t);
  if (err != WR_OK) return err;
  for (size_t i = 0; i < t->conf.upstream_count && n < WR_UPSTREAM_MAX_PEERS; i++)
    if (t->conf.upstreams[i].kind == WR_KIND_MOCK) mocks[n++] = t->ups[i].addr;
  err = wr_upstreams_new(t->loop, t->resolver, &t->conf, mocks, &t->set, why, sizeof why);
  for (size_t i = 0; err == WR_OK && i < t->conf.upstream_count; i++)
    wr_upstreams_redirect(t->set, i, &t->ups[i].addr);
  if (err != WR_OK) return err;
  t->gen = (struct wr_relay_gen){ .conf = &t->conf,
                                  .hooks = t->engine ? wr_engine_hooks(t->engine) : NULL,
                                  .upstreams = t->set };
  struct wr_relay_options ro = { .loop = t->loop,
                                 .shared = &t->shared,
                                 .gen = &t->gen,
                                 .record = recorded,
                                 .record_ctx = t };
  return wr_relay_new(&ro, &t->relay);
}

static enum wr_err parts_make(struct wr_trial *t, const struct wr_trial_options *o,
                              struct wr_diag *diag) {
  struct wr_vm *vm = NULL;
  enum wr_err err = world_make(t);
  if (err == WR_OK) err = load(t, o, &vm, diag);
  if (err != WR_OK) return err;
  err = copy_conf(t);
  if (err != WR_OK) {
    wr_vm_free(vm);
    return err;
  }
  err = engine_make(t, vm);
  return err == WR_OK ? relay_make(t) : err;
}

enum wr_err wr_trial_new(const struct wr_trial_options *options, struct wr_trial **out,
                         struct wr_diag *diag) {
  struct wr_trial *t = wr_heap_zalloc(WR_HEAP_CLI, sizeof *t);
  if (!t) return WR_E_NOMEM;
  signal(SIGPIPE, SIG_IGN); /* both ends of every socket are here */
  t->magic = WR_TRIAL_MAGIC;
  t->unix_us = options->unix_us;
  wr_list_init(&t->conns);
  wr_task_init(&t->task, wr_trial_client_run);
  wr_timer_init(&t->every, every_fire);
  wr_rand_init(&t->rand, options->seed);
  wr_trial_notes_clear(t);
  enum wr_err err = parts_make(t, options, diag);
  if (err != WR_OK) {
    wr_trial_free(t);
    return err;
  }
  *out = t;
  return WR_OK;
}

static void loop_end(struct wr_trial *t) {
  wr_timer_clear(&t->every);
  wr_relay_free(t->relay);
  wr_relay_shared_fini(&t->shared);
  wr_upstreams_free(t->set);
  wr_trial_ups_close(t);
  wr_engine_free(t->engine);
  wr_resolver_free(t->resolver);
  for (int i = 0; i < 4; i++) wr_loop_turn(t->loop, 0); /* close callbacks */
  wr_trial_ups_end(t);
  (void)wr_loop_free(t->loop);
  if (t->dir[0]) rmdir(t->dir);
}

void wr_trial_free(struct wr_trial *t) {
  if (!t) return;
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  struct wr_trial_bytes *const bytes[] = { &t->got,      &t->body,    &t->words,
                                           &t->requests, &t->log,     &t->key_names };
  if (t->loop) loop_end(t);
  wr_tallies_free(t->tallies);
  if (t->slabs) (void)wr_slabs_free(t->slabs);
  wr_ledger_free(t->ledger);
  wr_depot_free(t->depot);
  if (t->loaded) wr_conf_free(t->loaded);
  for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++)
    wr_heap_free(WR_HEAP_CLI, bytes[i]->ptr);
  wr_heap_free(WR_HEAP_CLI, t->upstreams);
  wr_heap_free(WR_HEAP_CLI, t->urls);
  wr_heap_free(WR_HEAP_CLI, t->keys);
  wr_heap_free(WR_HEAP_CLI, t->states);
  wr_heap_free(WR_HEAP_CLI, t->notes);
  wr_heap_free(WR_HEAP_CLI, t->places);
  wr_heap_free(WR_HEAP_CLI, t->sent);
  wr_heap_free(WR_HEAP_CLI, t->sent_at);
  t->magic = 0;
  wr_heap_free(WR_HEAP_CLI, t);
}

const struct wr_conf *wr_trial_conf(const struct wr_trial *t) { return &t->conf; }

void wr_trial_advance(struct wr_trial *t, uint64_t us) {
  WR_MAGIC_CHECK(t, WR_TRIAL_MAGIC);
  wr_trial_settle(t);
  wr_loop_advance(t->loop, us);
  wr_trial_settle(t);
}

void wr_trial_seed(struct wr_trial *t, uint64_t seed) { wr_rand_init(&t->rand, seed); }

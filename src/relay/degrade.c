#include "relay/degrade.h"

#include <string.h>

#include "base/check.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "relay/slow.h"
#include "wire/http1_write.h"

#define ASK_EVERY_US 1000000u
#define LEAST_MARK_BYTES 1024u

static uint32_t level_of(const struct wr_degrade *d, enum wr_meter meter) {
  const struct wr_ladder *l = meter == WR_METER_LOOP_LAG ? &d->lag : &d->shared->ladders[meter];
  uint32_t level = wr_ladder_level(l), most = d->conf->ladders[meter].count;
  return level < most ? level : most; /* the process may be a generation ahead */
}

/* A policy that goes above the meters climbs the first ladder that is high enough, or the
 * highest. */
static enum wr_meter main_meter(const struct wr_degrade *d, uint32_t step) {
  enum wr_meter best = WR_METER_MEMORY;
  for (int m = 0; m < WR_METERS; m++) {
    if (d->conf->ladders[m].count >= step) return (enum wr_meter)m;
    if (d->conf->ladders[m].count > d->conf->ladders[best].count) best = (enum wr_meter)m;
  }
  return best;
}

static void add_step(struct wr_degrade *d, const struct wr_conf_step *step) {
  d->actions |= step->actions;
  if (step->cap_tokens && (!d->cap_tokens || step->cap_tokens < d->cap_tokens))
    d->cap_tokens = step->cap_tokens;
  if (step->actions >> WR_ACTION_ROUTE & 1u) d->route = step->route;
}

static uint32_t most_steps(const struct wr_degrade *d) {
  uint32_t most = 0;
  for (int m = 0; m < WR_METERS; m++)
    if (d->conf->ladders[m].count > most) most = d->conf->ladders[m].count;
  return most;
}

/* The steps that each meter holds, after the policy's say. */
static uint32_t held_by(const struct wr_degrade *d, enum wr_meter meter) {
  uint32_t level = level_of(d, meter);
  if (d->forced == WR_DEGRADE_FREE) return level;
  if (d->forced > d->step && meter == main_meter(d, d->forced))
    return d->forced < d->conf->ladders[meter].count ? d->forced : d->conf->ladders[meter].count;
  return level < d->forced ? level : d->forced;
}

void wr_degrade_refresh(struct wr_relay *relay) {
  struct wr_degrade *d = &relay->degrade;
  d->version = atomic_load_explicit(&d->shared->version, memory_order_acquire);
  if (d->conf != relay->gen->conf) {
    d->conf = relay->gen->conf;
    wr_ladder_set(&d->lag, &d->conf->ladders[WR_METER_LOOP_LAG]);
  }
  uint32_t step = 0, before = d->actions;
  for (int m = 0; m < WR_METERS; m++)
    if (level_of(d, (enum wr_meter)m) > step) step = level_of(d, (enum wr_meter)m);
  if (step != d->step) d->forced = WR_DEGRADE_FREE; /* the meters say otherwise */
  d->step = step;
  d->now = d->actions = d->cap_tokens = 0;
  for (int m = 0; m < WR_METERS; m++) {
    uint32_t held = held_by(d, (enum wr_meter)m);
    WR_DCHECK(held <= d->conf->ladders[m].count);
    if (held > d->now) d->now = held;
    for (uint32_t i = 0; i < held; i++) add_step(d, &d->conf->ladders[m].steps[i]);
  }
  bool small = d->actions >> WR_ACTION_SHRINK_BUFFERS & 1u;
  wr_loop_shrink(relay->loop, small);
  atomic_store_explicit(&relay->stats.pressure_step, d->now, memory_order_relaxed);
  atomic_store_explicit(&relay->stats.shedding, d->actions >> WR_ACTION_SHED_ALL & 1u,
                        memory_order_relaxed);
  if (d->actions != before || d->now != d->told_now || d->step != d->told)
    wr_loop_mark(relay->loop, &d->task);
}

void wr_degrade_count(struct wr_relay *relay, enum wr_action action, uint64_t n) {
  WR_DCHECK((unsigned)action < WR_ACTIONS);
  if (n)
    atomic_fetch_add_explicit(&relay->degrade.shared->acts[action], n, memory_order_relaxed);
}

/* ---- telling: the policy, the log */

void wr_relay_pressure(struct wr_relay *relay, struct wr_hook_pressure *out) {
  const struct wr_degrade *d = &relay->degrade;
  const struct wr_ledger *ledger = wr_slabs_ledger(wr_loop_slabs(relay->loop));
  const struct wr_ladder *process = &d->shared->ladders[WR_METER_PROCESS];
  *out = (struct wr_hook_pressure){
    .step = d->now,
    .memory = (double)atomic_load_explicit(&process->value, memory_order_relaxed) / WR_LADDER_FULL,
    .pool = (double)wr_ledger_used_bytes(ledger) / (double)wr_ledger_pool_bytes(ledger),
    .loop_lag_s = (double)atomic_load_explicit(&d->lag.value, memory_order_relaxed) / 1e6,
    .streams =
        (uint32_t)atomic_load_explicit(&relay->stats.active, memory_order_relaxed),
  };
}

static void ask_policy(struct wr_relay *relay, uint64_t now_us) {
  struct wr_degrade *d = &relay->degrade;
  const struct wr_hooks *hooks = relay->gen->hooks;
  d->asked_us = now_us;
  uint32_t before = d->forced;
  d->forced = WR_DEGRADE_FREE; /* the last verdict ends with this call */
  if (hooks && hooks->pressure) {
    struct wr_hook_pressure p;
    struct wr_verdict v = { .kind = WR_VERDICT_DEFAULT, .max_tokens = -1, .deadline_ms = -1 };
    wr_relay_pressure(relay, &p);
    p.step = d->step; /* what holds without the policy, so that its answer stays the same */
    hooks->pressure(hooks->ctx, &p, &v);
    uint32_t most = most_steps(d);
    if (v.kind == WR_VERDICT_STEP && v.step != d->step)
      d->forced = v.step < most ? v.step : most;
  }
  if (d->forced != before) wr_degrade_refresh(relay);
}

/* A policy that bends the step is heard before the step does anything. */
static void hear_policy(struct wr_relay *relay) {
  struct wr_degrade *d = &relay->degrade;
  if (d->step == d->told) return;
  d->told = d->step;
  ask_policy(relay, wr_loop_now_us(relay->loop));
}

bool wr_degrade_active(struct wr_relay *relay, enum wr_action action) {
  struct wr_degrade *d = &relay->degrade;
  if (atomic_load_explicit(&d->shared->version, memory_order_relaxed) != d->version) {
    wr_degrade_refresh(relay);
    hear_policy(relay);
  }
  return d->actions >> action & 1u;
}

static enum wr_meter cause_of(const struct wr_degrade *d) {
  for (int m = 0; m < WR_METERS; m++)
    if (d->step && level_of(d, (enum wr_meter)m) == d->step) return (enum wr_meter)m;
  return WR_METER_MEMORY;
}

static void tell_run(struct wr_task *task) {
  struct wr_relay *relay = WR_CONTAINER(task, struct wr_relay, degrade.task);
  struct wr_degrade *d = &relay->degrade;
  uint64_t now = wr_loop_now_us(relay->loop);
  uint32_t before = d->told_now;
  hear_policy(relay);
  /* Here, between the turns of sessions. */
  wr_relay_coalesce(relay, d->actions >> WR_ACTION_COALESCE & 1u);
  if (d->now == before) return;
  if (d->now > before) d->cause = cause_of(d);
  const struct wr_ladder *l =
      d->cause == WR_METER_LOOP_LAG ? &d->lag : &d->shared->ladders[d->cause];
  struct wr_relay_change change = {
    .from = before,
    .to = d->now,
    .meter = d->cause,
    .by_policy = d->forced != WR_DEGRADE_FREE,
    .value = atomic_load_explicit(&l->value, memory_order_relaxed),
    .lasted_us = now - d->since_us,
    .actions = d->actions,
  };
  d->told_now = d->now;
  d->since_us = now;
  if (relay->pressed) relay->pressed(relay->record_ctx, &change);
}

void wr_relay_tick(struct wr_relay *relay, uint64_t lag_us) {
  struct wr_degrade *d = &relay->degrade;
  uint64_t now = wr_loop_now_us(relay->loop);
  wr_queue_tick(relay);
  if (d->ticked_us)
    atomic_fetch_add_explicit(&relay->stats.pressure_us[d->now], now - d->ticked_us,
                              memory_order_relaxed);
  d->ticked_us = now;
  bool moved = wr_ladder_sample(&d->lag, lag_us < UINT32_MAX ? (uint32_t)lag_us : UINT32_MAX);
  atomic_store_explicit(&relay->stats.loop_lag_us, lag_us, memory_order_relaxed);
  atomic_store_explicit(&relay->stats.lag_ups, atomic_load(&d->lag.ups), memory_order_relaxed);
  atomic_store_explicit(&relay->stats.lag_downs, atomic_load(&d->lag.downs), memory_order_relaxed);
  if (moved || atomic_load_explicit(&d->shared->version, memory_order_relaxed) != d->version)
    wr_degrade_refresh(relay);
  if (d->actions >> WR_ACTION_EMPTY_SHELF & 1u)
    wr_degrade_count(relay, WR_ACTION_EMPTY_SHELF, wr_upstreams_empty(relay->gen->upstreams));
  wr_degrade_stop(relay);
  /* Also when only the policy's word holds: it must be able to take it back. */
  if ((d->step | d->now) > 0 && d->step == d->told && now - d->asked_us >= ASK_EVERY_US) {
    ask_policy(relay, now);
    if (d->now != d->told_now) wr_loop_mark(relay->loop, &d->task);
  }
}

/* ---- requests */

static bool sheds_class(const struct wr_degrade *d, const char *name) {
  for (int m = 0; m < WR_METERS; m++) {
    const struct wr_conf_ladder *ladder = &d->conf->ladders[m];
    uint32_t held = held_by(d, (enum wr_meter)m);
    for (uint32_t i = 0; i < held; i++)
      for (uint32_t c = 0; c < ladder->steps[i].shed_count; c++)
        if (strcmp(ladder->steps[i].shed[c], name) == 0) return true;
  }
  return false;
}

/* When the ladder may be down again: three samples a step, and who has been up for long is rarely
 * down at the next moment. */
static uint64_t hold_ms(const struct wr_relay *relay) {
  const struct wr_degrade *d = &relay->degrade;
  uint64_t ms = (uint64_t)d->now * WR_LADDER_CALM_SAMPLES * d->conf->server.sample_ms;
  bool told = d->now == d->told_now; /* else it is since just now */
  return told ? ms + (wr_loop_now_us(relay->loop) - d->since_us) / 2000 : ms;
}

bool wr_degrade_refuses(struct wr_session *s) {
  struct wr_relay *relay = s->relay;
  enum wr_action why = WR_ACTION_SHED_ALL;
  if (!wr_degrade_active(relay, WR_ACTION_SHED_ALL)) {
    if (!(relay->degrade.actions >> WR_ACTION_SHED & 1u)) return false;
    if (!s->key || !sheds_class(&relay->degrade, s->key->class_name)) return false;
    why = WR_ACTION_SHED;
  }
  wr_degrade_count(relay, why, 1);
  WR_RELAY_COUNT(relay, refused, 1);
  s->retry_after_ms = wr_relay_wait_ms(relay, hold_ms(relay));
  return true;
}

/* Does some member of the group know the model? */
static bool group_serves(const struct wr_conf *conf, uint32_t group, struct wr_span model) {
  WR_DCHECK(group < conf->group_count);
  const struct wr_conf_group *g = &conf->groups[group];
  for (size_t i = 0; i < g->member_count; i++) {
    const struct wr_conf_upstream *up = &conf->upstreams[g->members[i]];
    if (up->model_count == 0 || model.len == 0) return true;
    for (size_t m = 0; m < up->model_count; m++)
      if (strcmp(up->models[m].client, "*") == 0 ||
          wr_span_eq(wr_span_str(up->models[m].client), model) ||
          wr_span_eq(wr_span_str(up->models[m].provider), model))
        return true;
  }
  return false;
}

void wr_degrade_request(struct wr_session *s) {
  WR_DCHECK(s->rq != NULL && s->gen != NULL);
  struct wr_degrade *d = &s->relay->degrade;
  if (d->actions == 0) return;
  /* Paths of no known API have neither a bound that is known nor a cheaper model. */
  if (s->dialect == WR_DIALECT_NONE) return;
  if (d->actions >> WR_ACTION_CAP_OUTPUT & 1u &&
      (s->rq->cap_tokens < 0 || (int64_t)d->cap_tokens < s->rq->cap_tokens)) {
    s->rq->cap_tokens = d->cap_tokens;
    wr_degrade_count(s->relay, WR_ACTION_CAP_OUTPUT, 1);
  }
  if (d->actions >> WR_ACTION_ROUTE & 1u && s->gen->conf == d->conf && s->group != d->route &&
      group_serves(d->conf, d->route, wr_session_model(s))) {
    s->group = d->route;
    wr_degrade_count(s->relay, WR_ACTION_ROUTE, 1);
  }
}

void wr_degrade_marks(const struct wr_session *s, uint32_t *high, uint32_t *low) {
  *high = s->route->slow_high_bytes;
  *low = s->route->slow_low_bytes;
  if (!wr_degrade_active(s->relay, WR_ACTION_SHRINK_BUFFERS) || *high <= LEAST_MARK_BYTES) return;
  *high = *high / 4 > LEAST_MARK_BYTES ? *high / 4 : LEAST_MARK_BYTES;
  if (*low > *high / 4) *low = *high / 4;
}

enum wr_err wr_degrade_field(struct wr_session *s, struct wr_buf *out) {
  uint32_t step = s->relay->degrade.now;
  if (step == 0 || !s->route || !s->route->show_degraded) return WR_OK;
  return wr_http1_put_field_u64(out, WR_SPAN("x-weir-degraded"), step);
}

/* ---- life */

void wr_degrade_init(struct wr_relay *relay, uint32_t worker) {
  struct wr_degrade *d = &relay->degrade;
  WR_CHECK(relay->gen != NULL && relay->shared != NULL);
  d->shared = &relay->shared->degrade;
  d->worker = worker % WR_DEGRADE_WORKERS;
  d->forced = WR_DEGRADE_FREE;
  d->since_us = wr_loop_now_us(relay->loop);
  wr_task_init(&d->task, tell_run);
  wr_degrade_refresh(relay);
}

void wr_degrade_fini(struct wr_relay *relay) { wr_loop_unmark(&relay->degrade.task); }

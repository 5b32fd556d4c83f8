/* wear.c: the engine as its worker looks at it: how full, how often it failed, when it is over. */
#include <stdio.h>

#include "base/check.h"
#include "policy/engine_int.h"

#define WARN_US UINT64_C(60000000)

static uint64_t now_us(const struct wr_engine *e) {
  const struct wr_script_core *core = &e->script->core;
  return core->mono_us(core->ctx);
}

static bool is_tight(size_t bytes, size_t cap) { return bytes > cap / 4 * 3; }

/* What lives, not what lies around: garbage is no reason to warn. */
static void warn_if_tight(struct wr_engine *e) {
  size_t lives = wr_vm_floor_bytes(e->vm), cap = wr_vm_cap_bytes(e->vm);
  if (!is_tight(lives, cap)) return;
  uint64_t now = now_us(e);
  if (e->tight_us && now - e->tight_us < WARN_US) return;
  e->tight_us = now ? now : 1;
  char line[160];
  int n = snprintf(line, sizeof line,
                   "policies hold %zu KiB of the %zu KiB that weir.lua 'memory' gives a worker",
                   lives >> 10, cap >> 10);
  const struct wr_script_core *core = &e->script->core;
  if (n > 0)
    core->log(core->ctx, WR_SCRIPT_WARN, wr_span_make("", 0), wr_span_make(line, (size_t)n));
}

bool wr_engine_idle(struct wr_engine *e) {
  bool more = false;
  if (e->starved) {
    e->starved = false;
    wr_vm_collect(e->vm);
    e->worn = is_tight(wr_vm_bytes(e->vm), wr_vm_cap_bytes(e->vm));
  } else {
    more = wr_vm_idle(e->vm);
  }
  warn_if_tight(e);
  return more;
}

bool wr_engine_worn(const struct wr_engine *e) { return e->worn && !e->retired; }

/* Every plugin is put aside, for good: the path of a call has no test of its own for it. */
void wr_engine_retire(struct wr_engine *e) {
  WR_MAGIC_CHECK(e, WR_ENGINE_MAGIC);
  e->retired = true;
  for (size_t i = 0; i < e->plugin_count; i++) e->plugins[i].until_us = UINT64_MAX;
  e->aside_us = UINT64_MAX;
}

bool wr_engine_retired(const struct wr_engine *e) { return e->retired; }

size_t wr_engine_bytes(const struct wr_engine *e, size_t *cap) {
  *cap = wr_vm_cap_bytes(e->vm);
  return wr_vm_bytes(e->vm);
}

const char *wr_engine_aside(const struct wr_engine *e, size_t i) {
  uint64_t now = now_us(e);
  for (size_t k = 0; k < e->plugin_count; k++)
    if (e->plugins[k].until_us > now && i-- == 0) return e->plugins[k].name;
  return NULL;
}

/* Timers stand behind the hooks. */
static struct wr_hook *hook_at(const struct wr_engine *e, size_t i) {
  if (i < e->hook_count) return &e->hooks[i];
  i -= e->hook_count;
  return i < e->timer_count ? &e->timers[i].hook : NULL;
}

bool wr_engine_stats(const struct wr_engine *e, size_t i, struct wr_hook_stats *out) {
  const struct wr_hook *h = hook_at(e, i);
  if (!h) return false;
  bool routed = i < e->hook_count && h->route < e->conf->route_count;
  out->plugin = e->plugins[h->plugin].name;
  out->hook = wr_hook_name(h);
  out->route = routed ? e->conf->routes[h->route].name : "";
  out->calls = h->calls;
  memcpy(out->fails, h->fails, sizeof out->fails);
  return true;
}

bool wr_engine_stats_take(struct wr_engine *e, size_t i, struct wr_hook_stats *out) {
  if (!wr_engine_stats(e, i, out)) return false;
  struct wr_hook *h = hook_at(e, i);
  out->calls -= h->told_calls;
  h->told_calls = h->calls;
  for (unsigned k = 0; k < WR_FAILS; k++) {
    out->fails[k] -= h->told_fails[k];
    h->told_fails[k] = h->fails[k];
  }
  return true;
}

const char *wr_fail_name(enum wr_fail fail) {
  static const char *const names[WR_FAILS] = { "error",   "instructions", "time",   "memory",
                                               "verdict", "quarantine",   "retired" };
  WR_CHECK((unsigned)fail < WR_FAILS);
  return names[fail];
}

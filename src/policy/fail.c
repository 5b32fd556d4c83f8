/* fail.c: what a failure of a script means, whatever its cause. */
#include "base/check.h"
#include "policy/engine_int.h"

#include <stdio.h>

#define WINDOW_US UINT64_C(10000000)
#define ASIDE_US UINT64_C(30000000)
#define WARN_US UINT64_C(60000000)
#define LOG_LINES_A_SECOND 10

static void say(struct wr_engine *e, const struct wr_hook_stream *s, enum wr_script_level level,
                struct wr_span text) {
  const struct wr_script_core *core = &e->script->core;
  if (s->now_us - e->log_since_us >= 1000000) {
    e->log_since_us = s->now_us;
    e->log_lines = 0;
  }
  /* Who watches wants to see everything. */
  if (e->log_lines++ < LOG_LINES_A_SECOND || e->watch)
    core->log(core->ctx, level, wr_span_make("", 0), text);
}

/* What a guard's failure means where the hook was asked. */
static enum wr_verdict_kind guard_kind(enum wr_hook_id id) {
  switch (id) {
    case WR_HOOK_ID_REQUEST:
    case WR_HOOK_ID_RESPONSE_START: return WR_VERDICT_REJECT;
    case WR_HOOK_ID_EVENT:
    case WR_HOOK_ID_TEXT:
    case WR_HOOK_ID_SLOW_CLIENT: return WR_VERDICT_STOP;
    case WR_HOOK_ID_UPSTREAM_ERROR: return WR_VERDICT_FAIL;
    case WR_HOOK_ID_END:
    case WR_HOOK_ID_PRESSURE:
    case WR_HOOK_IDS: break;
  }
  return WR_VERDICT_DEFAULT;
}

/* The verdict of a hook that has none: a guard refuses or stops, any other lets C decide. */
static void set_verdict(const struct wr_hook *hook, enum wr_err err, uint16_t status,
                        struct wr_verdict *out) {
  enum wr_verdict_kind kind = guard_kind((enum wr_hook_id)hook->id);
  if (!hook->guard || kind == WR_VERDICT_DEFAULT) return;
  *out = wr_verdict_none();
  out->kind = (uint8_t)kind;
  out->failed = true;
  out->text = wr_span_str(kind == WR_VERDICT_STOP ? wr_err_label(err) : wr_err_text(err));
  if (kind != WR_VERDICT_STOP) out->status = status;
}

/* The same before anything was asked: whatever hooks it has, a guard that is put aside refuses. */
static void set_refusal(const struct wr_plugin *p, uint64_t now_us, struct wr_verdict *out) {
  *out = wr_verdict_none();
  out->kind = WR_VERDICT_REJECT;
  out->failed = true;
  out->text = wr_span_str(wr_err_text(WR_E_POLICY_ERROR));
  out->status = 503;
  uint64_t left_ms = (p->until_us - now_us) / 1000 + 1;
  out->delay_ms = left_ms <= ASIDE_US / 1000 ? (int64_t)left_ms : (int64_t)(ASIDE_US / 1000);
}

/* At the memory limit every further call would cost a full collection: once is enough. */
static void count(struct wr_engine *e, struct wr_hook *hook, const struct wr_hook_stream *s,
                  enum wr_fail fail) {
  struct wr_plugin *p = &e->plugins[hook->plugin];
  p->error_us[p->next] = s->now_us;
  p->next = (p->next + 1) % WR_PLUGIN_ERRORS;
  uint64_t oldest = p->error_us[p->next];
  bool often = oldest != 0 && s->now_us - oldest <= WINDOW_US;
  if (!often && fail != WR_FAIL_MEMORY) return;
  p->until_us = s->now_us + ASIDE_US;
  if (e->aside_us < p->until_us) e->aside_us = p->until_us;
  char line[160];
  int n = snprintf(line, sizeof line, "plugin '%s' is put aside for 30 s after repeated failures",
                   p->name);
  if (n > 0)
    say(e, s, WR_SCRIPT_WARN,
        wr_span_make(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1));
}

void wr_hook_failed(struct wr_engine *e, struct wr_hook *hook, const struct wr_hook_stream *s,
                    enum wr_fail fail, struct wr_span text, struct wr_verdict *out) {
  WR_CHECK((unsigned)fail < WR_FAILS);
  hook->fails[fail]++;
  if (fail == WR_FAIL_MEMORY) e->starved = true;
  say(e, s, WR_SCRIPT_ERROR, text);
  count(e, hook, s, fail);
  set_verdict(hook, WR_E_POLICY_ERROR, (uint16_t)wr_err_status(WR_E_POLICY_ERROR), out);
}

bool wr_hook_aside(struct wr_engine *e, struct wr_hook *hook, const struct wr_hook_stream *s,
                   struct wr_verdict *out) {
  struct wr_plugin *p = &e->plugins[hook->plugin];
  if (s->now_us >= p->until_us) {
    p->until_us = 0;
    memset(p->error_us, 0, sizeof p->error_us);
    return false;
  }
  hook->fails[e->retired ? WR_FAIL_RETIRED : WR_FAIL_QUARANTINE]++;
  set_verdict(hook, WR_E_POLICY_ERROR, 503, out);
  return true;
}

void wr_engine_admit(void *ctx, struct wr_hook_stream *s, struct wr_verdict *out) {
  struct wr_engine *e = ctx;
  out->kind = WR_VERDICT_DEFAULT;
  if (s->now_us >= e->aside_us) return;
  for (int id = 0; id < WR_HOOK_IDS; id++) {
    struct wr_hook_list list = wr_hook_list_of(e, s, (enum wr_hook_id)id);
    if (guard_kind((enum wr_hook_id)id) == WR_VERDICT_DEFAULT) continue;
    for (uint32_t i = 0; i < list.count; i++) {
      struct wr_hook *hook = &e->hooks[list.first + i];
      const struct wr_plugin *p = &e->plugins[hook->plugin];
      if (!hook->guard || s->now_us >= p->until_us) continue;
      hook->fails[e->retired ? WR_FAIL_RETIRED : WR_FAIL_QUARANTINE]++;
      set_refusal(p, s->now_us, out);
      return;
    }
  }
}

void wr_hook_near_limit(struct wr_engine *e, const struct wr_hook *hook,
                        const struct wr_hook_stream *s) {
  struct wr_plugin *p = &e->plugins[hook->plugin];
  if (p->warned_us && s->now_us - p->warned_us < WARN_US) return;
  p->warned_us = s->now_us ? s->now_us : 1;
  char line[200];
  int n = snprintf(line, sizeof line, "%s of '%s' used more than half of its %u instructions",
                   wr_hook_name(hook), p->name, e->script->instructions);
  if (n > 0)
    say(e, s, WR_SCRIPT_WARN,
        wr_span_make(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1));
}

/* hooks.c: relay/hooks.h in Lua. */
#include <lua.h>

#include "api/handle.h"
#include "api/pins.h"
#include "base/check.h"
#include "policy/engine_int.h"

/* The first event of a stream: its handles are made. */
static int call_event(lua_State *L) {
  struct wr_hook_call *c = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->fn_ref);
  wr_lsession_push(L, c->s);
  wr_levent_push(L, 3, c->ev, c->raw);
  lua_insert(L, 3);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->conf_ref);
  lua_call(L, 3, 2);
  if (!lua_isnil(L, 2)) wr_verdict_read_event(L, c, 2);
  return 0;
}

static int read_event(lua_State *L) {
  wr_verdict_read_event(L, lua_touserdata(L, 3), 1);
  return 0;
}

/* Every other event: the hot path. Nothing is looked up by name, and what is pushed exists already,
 * so nothing allocates and no C function has to stand between. */
static enum wr_vm_end enter_event(struct wr_hook_call *c, const struct wr_vm_call *call) {
  lua_State *L = c->e->L;
  const struct wr_lsession *session = c->s->policy;
  if (!session || !session->has_event) {
    lua_pushcfunction(L, call_event);
    lua_pushlightuserdata(L, c);
    return wr_vm_pcall(c->e->vm, call, 1, 0);
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->fn_ref);
  wr_lsession_push(L, c->s);
  wr_levent_push(L, -1, c->ev, c->raw);
  lua_insert(L, -2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->conf_ref);
  enum wr_vm_end end = wr_vm_pcall(c->e->vm, call, 3, 2);
  if (end != WR_VM_OK) return end;
  if (lua_isnil(L, -2)) {
    lua_pop(L, 2);
    return end;
  }
  lua_pushcfunction(L, read_event);
  lua_insert(L, -3);
  lua_pushlightuserdata(L, c);
  return wr_vm_pcall(c->e->vm, call, 3, 0);
}

/* The first window of a stream: its handle is made. */
static int call_text(lua_State *L) {
  struct wr_hook_call *c = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->fn_ref);
  wr_lsession_push(L, c->s);
  wr_lwindow_push(L, 3, c->win);
  lua_insert(L, 3);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->conf_ref);
  lua_call(L, 3, 4);
  if (!lua_isnil(L, 2)) wr_verdict_read_text(L, c, 2);
  return 0;
}

static int read_text(lua_State *L) {
  wr_verdict_read_text(L, lua_touserdata(L, 5), 1);
  return 0;
}

/* Every other window: as for events. */
static enum wr_vm_end enter_text(struct wr_hook_call *c, const struct wr_vm_call *call) {
  lua_State *L = c->e->L;
  const struct wr_lsession *session = c->s->policy;
  if (!session || !session->has_window) {
    lua_pushcfunction(L, call_text);
    lua_pushlightuserdata(L, c);
    return wr_vm_pcall(c->e->vm, call, 1, 0);
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->fn_ref);
  wr_lsession_push(L, c->s);
  wr_lwindow_push(L, -1, c->win);
  lua_insert(L, -2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->conf_ref);
  enum wr_vm_end end = wr_vm_pcall(c->e->vm, call, 3, 4);
  if (end != WR_VM_OK) return end;
  if (lua_isnil(L, -4)) {
    lua_pop(L, 4);
    return end;
  }
  lua_pushcfunction(L, read_text);
  lua_insert(L, -5);
  lua_pushlightuserdata(L, c);
  return wr_vm_pcall(c->e->vm, call, 5, 0);
}

enum wr_fail wr_fail_of(enum wr_vm_end end) {
  switch (end) {
    case WR_VM_INSTRUCTIONS: return WR_FAIL_INSTRUCTIONS;
    case WR_VM_TIME: return WR_FAIL_TIME;
    case WR_VM_MEMORY: return WR_FAIL_MEMORY;
    case WR_VM_OK:
    case WR_VM_ERROR:
    case WR_VM_ENDS: break;
  }
  return WR_FAIL_ERROR;
}

static enum wr_vm_end enter(struct wr_hook_call *c, const struct wr_vm_call *call,
                            lua_CFunction fn) {
  lua_pushcfunction(c->e->L, fn);
  lua_pushlightuserdata(c->e->L, c);
  return wr_vm_pcall(c->e->vm, call, 1, 0);
}

/* What is only pointed elsewhere for each call is made anew. */
static void forget_handles(struct wr_hook_stream *s) {
  struct wr_lsession *session = s ? s->policy : NULL;
  if (session) session->has_event = session->has_window = false;
}

static void tell_watcher(const struct wr_hook_call *c, enum wr_vm_end end) {
  const struct wr_engine *e = c->e;
  struct wr_hook_seen seen = { .plugin = e->plugins[c->hook->plugin].name,
                               .hook = wr_hook_name(c->hook),
                               .verdict = c->out };
  if (end != WR_VM_OK) {
    seen.error = wr_vm_error(e->vm);
    seen.fail = (uint8_t)wr_fail_of(end);
  } else if (c->bad) {
    seen.error = wr_span_str(c->why);
    seen.fail = WR_FAIL_VERDICT;
  }
  int64_t used = (int64_t)e->script->instructions - e->script->left;
  seen.instructions = used > 0 ? (uint32_t)used : 0;
  e->watch(e->watch_ctx, &seen);
}

static void tell_aside(const struct wr_hook_call *c, const struct wr_hook *hook) {
  const struct wr_engine *e = c->e;
  struct wr_hook_seen seen = { .plugin = e->plugins[hook->plugin].name,
                               .hook = wr_hook_name(hook),
                               .verdict = c->out,
                               .error = WR_SPAN("not called: put aside after repeated failures"),
                               .fail = WR_FAIL_QUARANTINE };
  e->watch(e->watch_ctx, &seen);
}

void wr_hook_run(struct wr_hook_call *c, struct wr_hook *hook, lua_CFunction fn) {
  struct wr_engine *e = c->e;
  if (e->plugins[hook->plugin].until_us && wr_hook_aside(e, hook, c->s, c->out)) {
    if (e->watch) tell_aside(c, hook);
    return;
  }
  struct wr_vm_call call = {
    hook->name, e->plugins[hook->plugin].name, c->s->id, true, 0, 0
  };
  bool known = c->s->policy != NULL;
  c->hook = hook;
  c->bad = false;
  if (e->watch) forget_handles(c->s);
  hook->calls++;
  e->script->epoch++;
  e->script->stream = c->s;
  e->script->home = c->home;
  enum wr_vm_end end = fn ? enter(c, &call, fn)
                          : c->win ? enter_text(c, &call) : enter_event(c, &call);
  e->script->epoch++;
  e->script->stream = NULL;
  if (e->script->pins_dying) wr_pins_settle(e->script, c->s->policy);
  if (!known && c->s->policy) e->streams++;
  if (end != WR_VM_OK) wr_hook_failed(e, hook, c->s, wr_fail_of(end), wr_vm_error(e->vm), c->out);
  else if (c->bad) wr_hook_failed(e, hook, c->s, WR_FAIL_VERDICT, wr_span_str(c->why), c->out);
  else if (e->script->left < e->script->instructions / 2) wr_hook_near_limit(e, hook, c->s);
  if (e->watch) tell_watcher(c, end);
  wr_vm_relieve(e->vm);
}

struct wr_hook_list wr_hook_list_of(const struct wr_engine *e, const struct wr_hook_stream *s,
                                    enum wr_hook_id id) {
  size_t route = (size_t)(s->route - e->conf->routes);
  WR_CHECK(route < e->conf->route_count);
  return e->routes[route * WR_HOOK_IDS + (size_t)id];
}

void wr_engine_event(void *ctx, struct wr_hook_stream *s, const struct wr_event *ev,
                     const struct wr_view *raw, struct wr_verdict *out) {
  struct wr_engine *e = ctx;
  struct wr_hook_list list = wr_hook_list_of(e, s, WR_HOOK_ID_EVENT);
  struct wr_hook_call c;
  c.e = e;
  c.s = s;
  c.ev = ev;
  c.raw = c.home = raw;
  c.win = NULL;
  c.out = out;
  out->kind = WR_VERDICT_DEFAULT;
  for (uint32_t i = 0; i < list.count; i++) {
    wr_hook_run(&c, &e->hooks[list.first + i], NULL);
    if (out->kind != WR_VERDICT_DEFAULT) return;
  }
}

void wr_engine_text_failed(void *ctx, struct wr_hook_stream *s, uint32_t stage, const char *why,
                           struct wr_verdict *out) {
  struct wr_engine *e = ctx;
  struct wr_hook_list list = wr_hook_list_of(e, s, WR_HOOK_ID_TEXT);
  WR_CHECK(stage < list.count);
  struct wr_hook *hook = &e->hooks[list.first + stage];
  struct wr_hook_call c = { .e = e, .s = s, .hook = hook, .out = out };
  wr_verdict_refuse(&c, why);
  wr_hook_failed(e, hook, s, WR_FAIL_VERDICT, wr_span_str(c.why), out);
  if (e->watch) tell_watcher(&c, WR_VM_OK);
}

/* The relay knows the chain: it asks one stage at a time. */
void wr_engine_text(void *ctx, struct wr_hook_stream *s, const struct wr_hook_window *win,
                    struct wr_verdict *out) {
  struct wr_engine *e = ctx;
  struct wr_hook_list list = wr_hook_list_of(e, s, WR_HOOK_ID_TEXT);
  WR_CHECK(win->stage < list.count);
  struct wr_hook_call c;
  c.e = e;
  c.s = s;
  c.win = win;
  c.home = NULL;
  c.out = out;
  out->kind = WR_VERDICT_DEFAULT;
  wr_hook_run(&c, &e->hooks[list.first + win->stage], NULL);
}

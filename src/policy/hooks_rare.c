/* hooks_rare.c: the hooks that run once a request, once a try or once a second. */
#include <lua.h>

#include "api/handle.h"
#include "base/check.h"
#include "policy/engine_int.h"
#include "relay/reserve.h"

/* What the hook's first argument is. */
static void push_subject(lua_State *L, const struct wr_hook_call *c) {
  if (c->rq) wr_lrequest_push(L, c->rq);
  else if (c->rs) wr_lresponse_push(L, c->rs);
  else if (c->slow) wr_lslow_push(L, c->slow);
  else if (c->er) wr_lerror_push(L, c->er);
  else if (c->pressure) wr_lpressure_push(L, c->pressure);
  else wr_lend_push(L, c->s, c->outcome);
}

static int call_rare(lua_State *L) {
  struct wr_hook_call *c = lua_touserdata(L, 1);
  bool of_stream = c->s != &c->e->nobody;
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->fn_ref);
  push_subject(L, c);
  if (of_stream) wr_lsession_push(L, c->s);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->conf_ref);
  lua_call(L, of_stream ? 3 : 2, 4);
  if (c->hook->id == WR_HOOK_ID_END || lua_isnil(L, 2)) return 0;
  if (c->hook->id == WR_HOOK_ID_REQUEST) wr_verdict_read_request(L, c, 2);
  else wr_verdict_read_other(L, c, 2);
  return 0;
}

/* The first hook that says something has said it. */
static void run_list(struct wr_hook_call *c, struct wr_hook_list list) {
  *c->out = wr_verdict_none();
  for (uint32_t i = 0; i < list.count && c->out->kind == WR_VERDICT_DEFAULT; i++)
    wr_hook_run(c, &c->e->hooks[list.first + i], call_rare);
  if (c->out->kind != WR_VERDICT_DEFAULT) c->out->guard = c->hook && c->hook->guard;
}

/* Each hook sees the request as it came; routes add up, a refusal or an answer ends the chain. */
void wr_engine_request(void *ctx, struct wr_hook_stream *s, const struct wr_hook_request *rq,
                       struct wr_verdict *out) {
  struct wr_engine *e = ctx;
  struct wr_hook_list list = wr_hook_list_of(e, s, WR_HOOK_ID_REQUEST);
  struct wr_hook_call c = { .e = e, .s = s, .rq = rq, .home = &rq->body, .out = out };
  const struct wr_hook_request *before = s->request;
  s->request = rq;
  *out = wr_verdict_none();
  for (uint32_t i = 0; i < list.count; i++) {
    wr_hook_run(&c, &e->hooks[list.first + i], call_rare);
    if (out->kind != WR_VERDICT_DEFAULT && out->kind != WR_VERDICT_ROUTE) break;
  }
  s->request = before;
}

void wr_engine_response_start(void *ctx, struct wr_hook_stream *s,
                              const struct wr_hook_response *rs, struct wr_verdict *out) {
  struct wr_engine *e = ctx;
  struct wr_hook_call c = { .e = e, .s = s, .rs = rs, .out = out };
  run_list(&c, wr_hook_list_of(e, s, WR_HOOK_ID_RESPONSE_START));
}

void wr_engine_slow_client(void *ctx, struct wr_hook_stream *s, const struct wr_hook_slow *q,
                           struct wr_verdict *out) {
  struct wr_engine *e = ctx;
  struct wr_hook_call c = { .e = e, .s = s, .slow = q, .out = out };
  run_list(&c, wr_hook_list_of(e, s, WR_HOOK_ID_SLOW_CLIENT));
}

void wr_engine_upstream_error(void *ctx, struct wr_hook_stream *s, const struct wr_hook_error *er,
                              struct wr_verdict *out) {
  struct wr_engine *e = ctx;
  struct wr_hook_call c = { .e = e, .s = s, .er = er, .out = out };
  run_list(&c, wr_hook_list_of(e, s, WR_HOOK_ID_UPSTREAM_ERROR));
}

void wr_engine_pressure(void *ctx, const struct wr_hook_pressure *p, struct wr_verdict *out) {
  struct wr_engine *e = ctx;
  const struct wr_script_core *core = &e->script->core;
  struct wr_hook_call c = { .e = e, .s = &e->nobody, .pressure = p, .out = out };
  e->nobody.now_us = core->mono_us(core->ctx);
  run_list(&c, e->routes[e->conf->route_count * WR_HOOK_IDS + WR_HOOK_ID_PRESSURE]);
}

void wr_engine_end(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome) {
  struct wr_engine *e = ctx;
  struct wr_hook_list list = wr_hook_list_of(e, s, WR_HOOK_ID_END);
  struct wr_verdict none = wr_verdict_none();
  struct wr_hook_call c = { .e = e, .s = s, .out = &none, .outcome = outcome };
  wr_reserves_settle(s, outcome); /* where no relay did */
  for (uint32_t i = 0; i < list.count; i++)
    wr_hook_run(&c, &e->hooks[list.first + i], call_rare);
  if (!s->policy) return;
  wr_lsession_end(e->L, s);
  e->streams--;
}

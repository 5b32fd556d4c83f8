/* l_session.c: `s`, one stream from its request to its end. */
#include <lauxlib.h>
#include <stdio.h>

#include "api/handle.h"
#include "api/lib.h"
#include "relay/reserve.h"

void wr_lsession_push(lua_State *L, struct wr_hook_stream *s) {
  struct wr_lsession *h = s->policy;
  if (h) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->ref);
  } else {
    h = wr_handle_new(L, WR_HANDLE_SESSION, sizeof *h, WR_SESSION_VALUES_END - 1);
    lua_pushvalue(L, -1);
    h->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    s->policy = h;
  }
  h->h.epoch = wr_script_of(L)->epoch;
  h->s = s;
}

/* The slot in the registry exists, so nothing is allocated. */
void wr_lsession_end(lua_State *L, struct wr_hook_stream *s) {
  struct wr_lsession *h = s->policy;
  if (!h) return;
  WR_CHECK(h->h.type == WR_HANDLE_SESSION);
  s->policy = NULL;
  h->s = NULL;
  h->h.epoch = 0;
  luaL_unref(L, LUA_REGISTRYINDEX, h->ref);
}

static int push_ctx(lua_State *L) {
  if (lua_getiuservalue(L, 1, WR_SESSION_CTX) == LUA_TTABLE) return 1;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, WR_SESSION_CTX);
  return 1;
}

/* Made once a stream: { name, class, tags }, closed. Without declared keys everybody is anonymous.
 */
static int push_key(lua_State *L, const struct wr_conf_key *key) {
  if (lua_getiuservalue(L, 1, WR_SESSION_KEY) == LUA_TTABLE) return 1;
  lua_pop(L, 1);
  lua_createtable(L, 0, 3);
  lua_pushstring(L, key ? key->name : "anonymous");
  lua_setfield(L, -2, "name");
  lua_pushstring(L, key && key->class_name ? key->class_name : "");
  lua_setfield(L, -2, "class");
  lua_newtable(L);
  wr_lib_freeze(L, "s.key.tags");
  lua_setfield(L, -2, "tags");
  wr_lib_freeze(L, "s.key");
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, 1, WR_SESSION_KEY);
  return 1;
}

static int push_id(lua_State *L, uint64_t id) {
  char text[20];
  int n = snprintf(text, sizeof text, "%llx", (unsigned long long)id);
  lua_pushlstring(L, text, (size_t)n);
  return 1;
}

static int push_string(lua_State *L, const char *str) {
  lua_pushstring(L, str ? str : "");
  return 1;
}

static int push_count(lua_State *L, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

/* Seconds since the request's head was complete. */
static int push_age(lua_State *L, const struct wr_hook_stream *s) {
  lua_pushnumber(L,
                 s->now_us > s->started_us ? (lua_Number)(s->now_us - s->started_us) / 1e6 : 0.0);
  return 1;
}

static int push_model(lua_State *L, struct wr_span model) {
  lua_pushlstring(L, model.len ? model.ptr : "", model.len);
  return 1;
}

static int session_index(lua_State *L) {
  const struct wr_lsession *h = wr_handle_check(L, 1, WR_HANDLE_SESSION);
  const struct wr_hook_stream *s = h->s;
  size_t len = 0;
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &len) : "";
  struct wr_span k = wr_span_make(key, len);
#define IS(name) wr_span_eq(k, WR_SPAN(name))
  if (IS("ctx")) return push_ctx(L);
  if (IS("output_tokens")) return push_count(L, s->output_tokens);
  if (IS("sent")) return push_count(L, s->sent_bytes);
  if (IS("queued")) return push_count(L, s->queued_bytes);
  if (IS("key")) return push_key(L, s->key);
  if (IS("id")) return push_id(L, s->id);
  if (IS("route")) return push_string(L, s->route->name);
  if (IS("model")) return push_model(L, s->model);
  if (IS("upstream")) return push_string(L, s->upstream);
  if (IS("attempt")) return push_count(L, s->attempt);
  if (IS("status")) return push_count(L, s->status);
  if (IS("events")) return push_count(L, s->events);
  if (IS("age")) return push_age(L, s);
#undef IS
  return luaL_error(L, "a stream has no field '%s'", len ? key : luaL_typename(L, 2));
}

static int session_newindex(lua_State *L) {
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
  return luaL_error(L, "a stream is read-only (tried to set '%s'); keep your own state in s.ctx",
                    key);
}

void wr_session_open(lua_State *L) {
  static const luaL_Reg meta[] = { { "__index", session_index },
                                   { "__newindex", session_newindex },
                                   { NULL, NULL } };
  lua_newtable(L);
  luaL_setfuncs(L, meta, 0);
}

static void set_tokens(lua_State *L, const char *name, int64_t n) {
  if (n < 0) return;
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

void wr_lend_push(lua_State *L, const struct wr_hook_stream *s, enum wr_outcome outcome) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, wr_outcome_name(outcome));
  lua_setfield(L, -2, "outcome");
  push_age(L, s);
  lua_setfield(L, -2, "duration");
  lua_createtable(L, 0, 6);
  set_tokens(L, "input", s->usage.input);
  set_tokens(L, "output", s->usage.output);
  set_tokens(L, "cached", s->usage.cached);
  set_tokens(L, "reasoning", s->usage.reasoning);
  set_tokens(L, "charged", s->charged);
  lua_pushstring(L, wr_usage_status_name((enum wr_usage_status)s->usage_status));
  lua_setfield(L, -2, "status");
  lua_setfield(L, -2, "usage");
}

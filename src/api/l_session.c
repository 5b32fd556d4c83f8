/* l_session.c: `s`, one stream from its request to its end. */
#include <lauxlib.h>
#include <stdio.h>

#include "api/handle.h"
#include "api/header.h"
#include "api/lib.h"
#include "api/pins.h"
#include "base/buf.h"
#include "base/heap.h"
#include "relay/reserve.h"

/* Of headers that one stream's hooks set. */
#define HEADERS_BYTES 2048u

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
  s->headers = wr_span_make(NULL, 0);
  wr_pins_free(wr_script_of(L), h->pins);
  wr_heap_free(WR_HEAP_LUA, h->headers);
  h->pins = NULL;
  h->headers = NULL;
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

/* A list of words, in which each is also a name: for _, t in ipairs(tags), if tags.beta. */
static void push_tags(lua_State *L, const struct wr_conf_key *key) {
  lua_newtable(L);
  for (size_t i = 0; key && i < key->tag_count; i++) {
    lua_pushstring(L, key->tags[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, key->tags[i]);
  }
  wr_lib_freeze(L, "s.key.tags");
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
  push_tags(L, key);
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

/* The request, while it is held. */
static int push_request(lua_State *L, const struct wr_hook_stream *s) {
  if (s->request) wr_lrequest_push(L, s->request);
  else lua_pushnil(L);
  return 1;
}

/* s:tried(name): was an attempt made there? */
static int session_tried(lua_State *L) {
  const struct wr_lsession *h = wr_handle_check(L, 1, WR_HANDLE_SESSION);
  const struct wr_conf *conf = wr_script_of(L)->conf;
  uint32_t i = conf ? wr_conf_upstream_find(conf, wr_lib_bytes(L, 2)) : UINT32_MAX;
  if (i == UINT32_MAX)
    return luaL_error(L, "s:tried: there is no upstream '%s'", lua_tostring(L, 2));
  lua_pushboolean(L, i < 64 && (h->s->tried >> i & 1));
  return 1;
}

/* The lines without the one of that name. */
static void headers_without(struct wr_span lines, struct wr_span name, struct wr_buf *out) {
  while (lines.len) {
    const char *end = memchr(lines.ptr, '\n', lines.len);
    WR_CHECK(end != NULL);
    struct wr_span line = wr_span_make(lines.ptr, (size_t)(end - lines.ptr) + 1);
    bool same = line.len > name.len && line.ptr[name.len] == ':' &&
                wr_span_ieq(wr_span_make(line.ptr, name.len), name);
    if (!same) wr_buf_put(out, line);
    lines = wr_span_make(end + 1, lines.len - line.len);
  }
}

/* s:set_header(name, value): into the head of the answer, in place of what the upstream says. */
static int session_set_header(lua_State *L) {
  struct wr_lsession *h = wr_handle_check(L, 1, WR_HANDLE_SESSION);
  struct wr_span name = wr_lib_bytes(L, 2), value = wr_lib_bytes(L, 3);
  if (h->s->status)
    return luaL_error(L, "s:set_header: the answer has begun (its head has left)");
  if (!wr_header_allowed(name, value))
    return luaL_error(L, "s:set_header: a header that is not allowed: '%s'",
                      lua_tostring(L, 2) ? lua_tostring(L, 2) : "");
  if (!h->headers) h->headers = wr_heap_alloc(WR_HEAP_LUA, HEADERS_BYTES);
  if (!h->headers) return luaL_error(L, "s:set_header: no memory");
  char store[HEADERS_BYTES];
  struct wr_buf b;
  wr_buf_init(&b, store, sizeof store);
  headers_without(h->s->headers, name, &b);
  wr_buf_put(&b, name);
  wr_buf_put(&b, WR_SPAN(": "));
  wr_buf_put(&b, value);
  wr_buf_put(&b, WR_SPAN("\r\n"));
  if (b.overflow)
    return luaL_error(L, "s:set_header: more than %d bytes of headers", (int)HEADERS_BYTES);
  memcpy(h->headers, store, b.len);
  h->s->headers = wr_span_make(h->headers, b.len);
  return 0;
}

static int push_method(lua_State *L, lua_CFunction fn) {
  lua_pushcfunction(L, fn);
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
  if (IS("request")) return push_request(L, s);
  if (IS("tried")) return push_method(L, session_tried);
  if (IS("set_header")) return push_method(L, session_set_header);
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

/* Dollars for what is charged, if the upstream's price is known. */
static void set_cost(lua_State *L, const struct wr_hook_stream *s) {
  const struct wr_conf *conf = wr_script_of(L)->conf;
  uint32_t i = conf ? wr_conf_upstream_find(conf, wr_span_str(s->upstream)) : UINT32_MAX;
  int64_t input = s->usage.input >= 0 ? s->usage.input : s->prompt_tokens;
  if (input > s->charged) input = s->charged;
  double dollars = 0;
  if (s->charged > 0 &&
      (i == UINT32_MAX || !wr_conf_price(&conf->upstreams[i], s->model, (double)input,
                                         (double)(s->charged - input), &dollars)))
    return;
  lua_pushnumber(L, dollars);
  lua_setfield(L, -2, "cost");
}

void wr_lend_push(lua_State *L, const struct wr_hook_stream *s, enum wr_outcome outcome) {
  lua_createtable(L, 0, 5);
  lua_pushstring(L, wr_outcome_name(outcome));
  lua_setfield(L, -2, "outcome");
  push_age(L, s);
  lua_setfield(L, -2, "duration");
  if (s->first_token_us != UINT64_MAX) {
    lua_pushnumber(L, (lua_Number)s->first_token_us / 1e6);
    lua_setfield(L, -2, "first_token");
  }
  set_cost(L, s);
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

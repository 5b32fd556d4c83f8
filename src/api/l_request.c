/* l_request.c: `req`, the request that on_request decides about. */
#include <lauxlib.h>

#include "api/handle.h"
#include "api/lib.h"

void wr_lrequest_push(lua_State *L, const struct wr_hook_request *rq) {
  struct wr_lrequest *r = wr_handle_new(L, WR_HANDLE_REQUEST, sizeof *r, 1);
  r->rq = rq;
}

static const struct wr_hook_request *check(lua_State *L) {
  const struct wr_lrequest *r = wr_handle_check(L, 1, WR_HANDLE_REQUEST);
  return r->rq;
}

/* req:header(name), or req.header(name) with the request as upvalue. */
static int header_of(lua_State *L, const struct wr_hook_request *rq, int arg) {
  struct wr_span name = wr_lib_bytes(L, arg);
  struct wr_span value = rq->header ? rq->header(rq, name) : wr_span_make(NULL, 0);
  if (!value.ptr) lua_pushnil(L);
  else lua_pushlstring(L, value.ptr, value.len);
  return 1;
}

static int request_header(lua_State *L) { return header_of(L, check(L), 2); }

static int request_json(lua_State *L) {
  const struct wr_hook_request *rq = check(L);
  if (rq->body_complete) return wr_ljson_push(L, wr_view_span(&rq->body), 2);
  lua_pushnil(L);
  lua_pushliteral(L, "incomplete");
  return 2;
}

static int push_count(lua_State *L, int64_t n) {
  if (n < 0) lua_pushnil(L);
  else lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

static int push_text(lua_State *L, struct wr_span s) {
  if (s.len == 0) lua_pushnil(L);
  else lua_pushlstring(L, s.ptr, s.len);
  return 1;
}

static int push_stream(lua_State *L, int stream) {
  if (stream < 0) lua_pushnil(L);
  else lua_pushboolean(L, stream);
  return 1;
}

static int push_method(lua_State *L, lua_CFunction fn) {
  lua_pushcfunction(L, fn);
  return 1;
}

static int push_body(lua_State *L, const struct wr_hook_request *rq) {
  wr_lview_role(L, 1, 1, wr_view_span(&rq->body));
  return 1;
}

static int request_index(lua_State *L) {
  const struct wr_hook_request *rq = check(L);
  size_t len = 0;
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &len) : "";
  struct wr_span k = wr_span_make(key, len);
#define IS(name) wr_span_eq(k, WR_SPAN(name))
  if (IS("model")) return push_text(L, rq->model);
  if (IS("path")) return push_text(L, rq->path);
  if (IS("query")) return push_text(L, rq->query);
  if (IS("method")) return push_text(L, rq->method);
  if (IS("stream")) return push_stream(L, rq->stream);
  if (IS("max_tokens")) return push_count(L, rq->max_tokens);
  if (IS("prompt_tokens")) return push_count(L, rq->prompt_tokens);
  if (IS("body_bytes")) return push_count(L, rq->body_bytes);
  if (IS("body")) return push_body(L, rq);
  if (IS("header")) return push_method(L, request_header);
  if (IS("json")) return push_method(L, request_json);
#undef IS
  return luaL_error(L, "a request has no field '%s'", len ? key : luaL_typename(L, 2));
}

static int request_newindex(lua_State *L) {
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
  return luaL_error(
      L, "a request is read-only (tried to set '%s'); return \"route\", name, { ... } instead",
      key);
}

void wr_request_open(lua_State *L) {
  static const luaL_Reg meta[] = { { "__index", request_index },
                                   { "__newindex", request_newindex },
                                   { NULL, NULL } };
  lua_newtable(L);
  luaL_setfuncs(L, meta, 0);
}

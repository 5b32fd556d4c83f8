#include "api/handle.h"

#include <lauxlib.h>

#include "api/lib.h"

/* One registry key a type; the address is what counts. */
static const char keys[WR_HANDLE_OTHER - WR_HANDLE_VIEW] = { 0 };

static void *key_of(enum wr_handle_type type) {
  return (void *)(uintptr_t)&keys[(unsigned)type - (unsigned)WR_HANDLE_VIEW];
}

static const char *name_of(enum wr_handle_type type) {
  switch (type) {
    case WR_HANDLE_VIEW: return "view";
    case WR_HANDLE_EVENT: return "event";
    case WR_HANDLE_REQUEST: return "request";
    case WR_HANDLE_SESSION: return "stream";
    case WR_HANDLE_RECORD: return "response";
    case WR_HANDLE_WINDOW: return "window";
    case WR_HANDLE_OTHER: break;
  }
  return "value";
}

/* The metatable on top: not readable by scripts, and named in messages. */
static void finish(lua_State *L, enum wr_handle_type type) {
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushfstring(L, "weir.%s", name_of(type));
  lua_setfield(L, -2, "__name");
  lua_rawsetp(L, LUA_REGISTRYINDEX, key_of(type));
}

void wr_handle_open(lua_State *L) {
  wr_view_open(L);
  finish(L, WR_HANDLE_VIEW);
  wr_event_open(L);
  finish(L, WR_HANDLE_EVENT);
  wr_request_open(L);
  finish(L, WR_HANDLE_REQUEST);
  wr_session_open(L);
  finish(L, WR_HANDLE_SESSION);
  wr_record_open(L);
  finish(L, WR_HANDLE_RECORD);
  wr_window_open(L);
  finish(L, WR_HANDLE_WINDOW);
}

void *wr_handle_new(lua_State *L, enum wr_handle_type type, size_t bytes, int values) {
  struct wr_handle *h = lua_newuserdatauv(L, bytes, values);
  memset(h, 0, bytes);
  h->type = (uint32_t)type;
  h->epoch = wr_script_of(L)->epoch;
  lua_rawgetp(L, LUA_REGISTRYINDEX, key_of(type));
  lua_setmetatable(L, -2);
  return h;
}

void *wr_handle_peek(lua_State *L, int arg, enum wr_handle_type type) {
  if (lua_type(L, arg) != LUA_TUSERDATA) return NULL;
  struct wr_handle *h = lua_touserdata(L, arg);
  if (lua_rawlen(L, arg) < sizeof *h) return NULL; /* the loader's own are smaller */
  return h->type == (uint32_t)type ? h : NULL;
}

int wr_handle_expired(lua_State *L, enum wr_handle_type type) {
  return wr_lib_error(L,
                      "weir: %s expired (it is only valid inside the hook call that received it%s)",
                      name_of(type),
                      type == WR_HANDLE_VIEW ? "; use tostring(v) or v:retain()" : "");
}

void *wr_handle_check(lua_State *L, int arg, enum wr_handle_type type) {
  struct wr_handle *h = wr_handle_peek(L, arg, type);
  if (!h) {
    luaL_typeerror(L, arg, name_of(type));
    return NULL;
  }
  if (h->epoch != wr_script_of(L)->epoch) wr_handle_expired(L, type);
  return h;
}

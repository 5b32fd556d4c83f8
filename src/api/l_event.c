/* l_event.c: `ev`, one event of the upstream's stream. */
#include <lauxlib.h>

#include "api/handle.h"
#include "base/buf.h"
#include "base/heap.h"
#include "wire/json_scan.h"

#define KIND_UPVALUE(kind) lua_upvalueindex(2 + (int)(kind))

void wr_levent_push(lua_State *L, int session, const struct wr_event *ev,
                    const struct wr_view *raw) {
  struct wr_levent *e = NULL;
  session = lua_absindex(L, session);
  struct wr_lsession *h = lua_touserdata(L, session);
  if (h->has_event) {
    lua_getiuservalue(L, session, WR_SESSION_EVENT);
    e = lua_touserdata(L, -1);
  } else {
    e = wr_handle_new(L, WR_HANDLE_EVENT, sizeof *e, WR_ROLES_END - 1);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, session, WR_SESSION_EVENT);
    h->has_event = true;
  }
  e->h.epoch = wr_script_of(L)->epoch;
  e->ev = ev;
  e->raw = raw;
  e->text_ready = false;
}

/* Room for decoded text, kept by the VM and used again. */
static char *scratch(lua_State *L, size_t bytes) {
  struct wr_script *s = wr_script_of(L);
  if (s->scratch_bytes >= bytes) return s->scratch;
  size_t size = bytes < 4096 ? 4096 : bytes + bytes / 2;
  char *p = wr_heap_realloc(WR_HEAP_LUA, s->scratch, size);
  if (!p) luaL_error(L, "no memory for the text of an event");
  s->scratch = p;
  s->scratch_bytes = size;
  return p;
}

/* The literal stands without its quotes, which the decoder wants to see. */
static struct wr_span decode(lua_State *L, struct wr_span literal) {
  size_t with_quotes = literal.len + 2;
  wr_budget_charge_bytes(L, literal.len * 2);
  char *room = scratch(L, 2 * with_quotes);
  room[0] = '"';
  memcpy(room + 1, literal.ptr, literal.len);
  room[with_quotes - 1] = '"';
  struct wr_buf out;
  wr_buf_init(&out, room + with_quotes, with_quotes);
  if (wr_json_string_decode(wr_span_make(room, with_quotes), &out) != WR_OK)
    luaL_error(L, "the text has bad escapes");
  return wr_buf_span(&out);
}

static int push_text(lua_State *L, struct wr_levent *e) {
  if (!e->ev->text.ptr) {
    lua_pushnil(L);
    return 1;
  }
  if (!e->text_ready) {
    e->text = e->ev->text_escaped ? decode(L, e->ev->text) : e->ev->text;
    e->text_ready = true;
  }
  wr_lview_role(L, 1, WR_ROLE_TEXT, e->text);
  return 1;
}

static int push_role(lua_State *L, enum wr_event_role role, struct wr_span bytes) {
  wr_lview_role(L, 1, (int)role, bytes);
  return 1;
}

static int event_json(lua_State *L) {
  const struct wr_levent *e = wr_handle_check(L, 1, WR_HANDLE_EVENT);
  return wr_ljson_push(L, e->ev->data, 2);
}

static bool is(const char *key, size_t len, const char *name, size_t name_len) {
  return len == name_len && memcmp(key, name, len) == 0;
}
#define IS(name) is(key, len, "" name, sizeof(name) - 1)

/* Upvalues: the method json, then the kinds' names in the order of enum wr_event_kind. */
static int event_index(lua_State *L) {
  struct wr_levent *e = wr_handle_check(L, 1, WR_HANDLE_EVENT);
  size_t len = 0;
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tolstring(L, 2, &len) : "";
  switch (key[0]) {
    case 'k':
      if (!IS("kind")) break;
      lua_pushvalue(L, KIND_UPVALUE(e->ev->kind < WR_EVENT_KINDS ? e->ev->kind : WR_EVENT_UNKNOWN));
      return 1;
    case 't':
      if (IS("text")) return push_text(L, e);
      break;
    case 'r':
      if (IS("raw")) return push_role(L, WR_ROLE_RAW, wr_view_span(e->raw));
      break;
    case 'd':
      if (IS("data")) return push_role(L, WR_ROLE_DATA, e->ev->data);
      break;
    case 'i':
      if (!IS("index")) break;
      lua_pushinteger(L, e->ev->index);
      return 1;
    case 'n':
      if (!IS("name")) break;
      lua_pushlstring(L, e->ev->name.len ? e->ev->name.ptr : "", e->ev->name.len);
      return 1;
    case 'j':
      if (!IS("json")) break;
      lua_pushvalue(L, lua_upvalueindex(1));
      return 1;
    default: break;
  }
  return luaL_error(L, "an event has no field '%s'", len ? key : luaL_typename(L, 2));
}

static int event_newindex(lua_State *L) {
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
  return luaL_error(L, "views are read-only (tried to set '%s'); return \"replace\", text instead",
                    key);
}

void wr_event_open(lua_State *L) {
  lua_newtable(L);
  lua_pushcfunction(L, event_newindex);
  lua_setfield(L, -2, "__newindex");
  lua_pushcfunction(L, event_json);
  for (int i = 0; i < WR_EVENT_KINDS; i++)
    lua_pushstring(L, wr_event_kind_name((enum wr_event_kind)i));
  lua_pushcclosure(L, event_index, 1 + WR_EVENT_KINDS);
  lua_setfield(L, -2, "__index");
}

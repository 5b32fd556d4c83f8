/* l_view.c: views: read-only bytes of the pool, valid inside one hook call. */
#include <lauxlib.h>

#include "api/handle.h"
#include "api/lib.h"
#include "api/pattern.h"
#include "api/pins.h"

static const struct wr_lpin *pin_of(const struct wr_lview *v) {
  return v->h.flags == WR_VIEW_IS_PIN ? (const struct wr_lpin *)(const void *)v : NULL;
}

static struct wr_span live_bytes(lua_State *L, int arg) {
  const struct wr_lview *v = wr_handle_peek(L, arg, WR_HANDLE_VIEW);
  bool live = v && v->h.epoch == wr_script_of(L)->epoch;
  if (!live && v && pin_of(v)) return wr_lpin_bytes(L, pin_of(v)); /* its epoch never comes */
  if (!live) v = wr_handle_check(L, arg, WR_HANDLE_VIEW);          /* says what is wrong */
  return wr_span_make(v->ptr, v->len);
}

static struct wr_span check(lua_State *L) { return live_bytes(L, 1); }

struct wr_span wr_lib_bytes(lua_State *L, int arg) {
  if (lua_type(L, arg) == LUA_TUSERDATA) return live_bytes(L, arg);
  size_t len;
  const char *ptr = luaL_checklstring(L, arg, &len);
  return wr_span_make(ptr, len);
}

static void push_bytes(lua_State *L, struct wr_span s) {
  wr_budget_charge_bytes(L, s.len);
  lua_pushlstring(L, s.len ? s.ptr : "", s.len);
}

struct wr_lview *wr_lview_push(lua_State *L, struct wr_span bytes) {
  struct wr_lview *v = wr_handle_new(L, WR_HANDLE_VIEW, sizeof *v, 1);
  v->ptr = bytes.ptr;
  v->len = bytes.len;
  return v;
}

void wr_lview_role(lua_State *L, int at, int n, struct wr_span bytes) {
  int type = lua_getiuservalue(L, at, n);
  struct wr_lview *v = NULL;
  if (type == LUA_TUSERDATA) {
    v = lua_touserdata(L, -1);
  } else {
    lua_pop(L, 1);
    v = wr_lview_push(L, bytes);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, at, n);
  }
  v->h.epoch = wr_script_of(L)->epoch;
  v->ptr = bytes.ptr;
  v->len = bytes.len;
}

static int view_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L).len);
  return 1;
}

static int view_byte(lua_State *L) {
  struct wr_span s = check(L);
  lua_Integer i = luaL_optinteger(L, 2, 1), len = (lua_Integer)s.len;
  if (i < 0) i = i < -len ? 0 : len + i + 1;
  if (i < 1 || i > len) return 0;
  lua_pushinteger(L, (unsigned char)s.ptr[i - 1]);
  return 1;
}

static int view_equals(lua_State *L) {
  struct wr_span s = check(L), other = wr_lib_bytes(L, 2);
  wr_budget_charge_bytes(L, s.len == other.len ? s.len : 0);
  lua_pushboolean(L, wr_span_eq(s, other));
  return 1;
}

static int view_starts_with(lua_State *L) {
  struct wr_span s = check(L), prefix = wr_lib_bytes(L, 2);
  wr_budget_charge_bytes(L, prefix.len);
  lua_pushboolean(L, wr_span_starts(s, prefix));
  return 1;
}

static int view_find(lua_State *L) {
  struct wr_span s = check(L), pattern = wr_lib_bytes(L, 2);
  return wr_lib_find(L, s, pattern, 3);
}

/* Where the run of the set's bytes begins that reaches the end. Most runs are a word, which costs
 * less than a table of the set would. */
static size_t run_at_end(lua_State *L, struct wr_span s, struct wr_span body) {
  enum { FEW = 48 };
  size_t at = s.len;
  wr_budget_charge(L, 16 + 4 * body.len);
  while (at > 0 && s.len - at < FEW && wr_pattern_in_set(body, s.ptr[at - 1])) at--;
  if (at > 0 && s.len - at == FEW) {
    struct wr_pattern_set set;
    wr_budget_charge(L, 16 * body.len);
    wr_pattern_set_of(body, &set);
    while (at > 0 && wr_pattern_set_has(&set, s.ptr[at - 1])) at--;
  }
  wr_budget_charge(L, (s.len - at) / 4);
  return at;
}

/* v:tail(set, ...): the first index of the longest run of one set's bytes that reaches the end, or
 * nil. */
static int view_tail(lua_State *L) {
  struct wr_span s = check(L);
  size_t first = s.len;
  int n = lua_gettop(L);
  luaL_argcheck(L, n >= 2, 2, "a set of bytes is expected, such as \"%w._-\"");
  for (int i = 2; i <= n; i++) {
    size_t at = run_at_end(L, s, wr_lib_bytes(L, i));
    if (at < first) first = at;
  }
  if (first == s.len) lua_pushnil(L);
  else lua_pushinteger(L, (lua_Integer)first + 1);
  return 1;
}

static int view_str(lua_State *L) {
  struct wr_span s = check(L);
  size_t off, n;
  wr_lib_range(L, 2, 3, s.len, &off, &n);
  push_bytes(L, wr_span_sub(s, off, n));
  return 1;
}

static int view_tostring(lua_State *L) {
  push_bytes(L, check(L));
  return 1;
}

/* The part keeps alive what the whole is kept alive by. */
static int view_sub(lua_State *L) {
  struct wr_span s = check(L);
  size_t off, n;
  wr_lib_range(L, 2, 3, s.len, &off, &n);
  wr_lview_push(L, wr_span_sub(s, off, n));
  if (lua_getiuservalue(L, 1, 1) != LUA_TNIL) lua_setiuservalue(L, -2, 1);
  else lua_pop(L, 1);
  return 1;
}

static int view_concat(lua_State *L) {
  struct wr_span a = wr_lib_bytes(L, 1), b = wr_lib_bytes(L, 2);
  wr_budget_charge_bytes(L, a.len + b.len);
  luaL_Buffer out;
  luaL_buffinitsize(L, &out, a.len + b.len);
  luaL_addlstring(&out, a.len ? a.ptr : "", a.len);
  luaL_addlstring(&out, b.len ? b.ptr : "", b.len);
  luaL_pushresult(&out);
  return 1;
}

static int view_eq(lua_State *L) { return view_equals(L); }

static int view_json(lua_State *L) {
  struct wr_span s = check(L);
  return wr_ljson_push(L, s, 2);
}

static int view_retain(lua_State *L) {
  wr_lpin_push(L, check(L));
  return 1;
}

/* r:release(): a second one does nothing. */
static int view_release(lua_State *L) {
  const struct wr_lview *v = wr_handle_peek(L, 1, WR_HANDLE_VIEW);
  if (!v) return luaL_typeerror(L, 1, "view");
  if (!pin_of(v)) return luaL_error(L, "view:release: the view is not a retained one");
  wr_lpin_release(L, pin_of(v));
  return 0;
}

/* local r <close> = v:retain(). A view that was not retained has nothing to give back. */
static int view_close(lua_State *L) {
  const struct wr_lview *v = wr_handle_peek(L, 1, WR_HANDLE_VIEW);
  if (v && pin_of(v)) wr_lpin_release(L, pin_of(v));
  return 0;
}

static int view_newindex(lua_State *L) {
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
  return luaL_error(L, "views are read-only (tried to set '%s'); return \"replace\", text instead",
                    key);
}

/* win:last(): nothing follows in this choice or block. */
static int window_last(lua_State *L) {
  const struct wr_lwindow *w = wr_handle_check(L, 1, WR_HANDLE_VIEW);
  if (w->v.h.flags != WR_VIEW_IS_WINDOW) return luaL_typeerror(L, 1, "window");
  lua_pushboolean(L, w->last);
  return 1;
}

/* Upvalues: the methods, then the kinds' names in the order of enum wr_event_kind. */
static int window_index(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1; /* a method checks by itself */
  const struct wr_lwindow *w = wr_handle_check(L, 1, WR_HANDLE_VIEW);
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
  if (strcmp(key, "kind") == 0) {
    lua_pushvalue(L, lua_upvalueindex(2 + w->kind));
  } else if (strcmp(key, "index") == 0) {
    lua_pushinteger(L, w->index);
  } else {
    return luaL_error(L, "a window has no field '%s'", key);
  }
  return 1;
}

void wr_lwindow_push(lua_State *L, int session, const struct wr_hook_window *win) {
  struct wr_lwindow *w;
  session = lua_absindex(L, session);
  struct wr_lsession *h = lua_touserdata(L, session);
  if (h->has_window) {
    lua_getiuservalue(L, session, WR_SESSION_WINDOW);
    w = lua_touserdata(L, -1);
  } else {
    w = wr_handle_new(L, WR_HANDLE_WINDOW, sizeof *w, 1);
    w->v.h.type = WR_HANDLE_VIEW;
    w->v.h.flags = WR_VIEW_IS_WINDOW;
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, session, WR_SESSION_WINDOW);
    h->has_window = true;
  }
  w->v.h.epoch = wr_script_of(L)->epoch;
  w->v.ptr = win->text.ptr;
  w->v.len = win->text.len;
  w->index = win->index;
  w->kind = win->kind < WR_EVENT_KINDS ? win->kind : WR_EVENT_UNKNOWN;
  w->last = win->last;
}

static void open_type(lua_State *L, bool window) {
  static const luaL_Reg methods[] = {
    { "byte", view_byte }, { "equals", view_equals }, { "starts_with", view_starts_with },
    { "find", view_find }, { "tail", view_tail },     { "str", view_str },
    { "sub", view_sub },   { "json", view_json },     { "retain", view_retain },
    { "release", view_release }, { NULL, NULL },
  };
  static const luaL_Reg meta[] = { { "__len", view_len },           { "__tostring", view_tostring },
                                   { "__concat", view_concat },     { "__eq", view_eq },
                                   { "__newindex", view_newindex }, { "__close", view_close },
                                   { NULL, NULL } };
  lua_newtable(L);
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  if (window) {
    lua_pushcfunction(L, window_last);
    lua_setfield(L, -2, "last");
    for (int i = 0; i < WR_EVENT_KINDS; i++)
      lua_pushstring(L, wr_event_kind_name((enum wr_event_kind)i));
    lua_pushcclosure(L, window_index, 1 + WR_EVENT_KINDS);
  }
  lua_setfield(L, -2, "__index");
}

void wr_view_open(lua_State *L) { open_type(L, false); }
void wr_window_open(lua_State *L) { open_type(L, true); }

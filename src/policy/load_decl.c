/* The declarative functions of `weir`: each notes what it was given and where. Nothing is checked
 * here but the shape of the call, so that one mistake doesn't hide the next. */
#include <lauxlib.h>
#include <string.h>

#include "base/check.h"
#include "policy/load_int.h"

#define NAME_MAX_BYTES 64

static struct decl *note(lua_State *L, struct load *l, enum decl_kind kind, const char *name) {
  l->decls = load_grow(L, l, l->decls, l->decl_count, &l->decl_cap, sizeof *l->decls);
  struct decl *d = &l->decls[l->decl_count++];
  memset(d, 0, sizeof *d);
  d->kind = kind;
  d->name = name;
  load_where(L, l, 1, &d->file, &d->line);
  return d;
}

static void keep_table(lua_State *L, const struct load *l, const struct decl *d, int idx) {
  idx = lua_absindex(L, idx);
  lua_getfield(L, LUA_REGISTRYINDEX, LOAD_DECLS_KEY);
  lua_pushvalue(L, idx);
  lua_rawseti(L, -2, d - l->decls + 1);
  lua_pop(L, 1);
}

static const struct decl *earlier(const struct load *l, enum decl_kind kind,
                                  const struct decl *self) {
  for (const struct decl *d = l->decls; d < self; d++)
    if (d->kind == kind) return d;
  return NULL;
}

/* weir.server { … } and its like. */
static int singleton(lua_State *L, enum decl_kind kind, bool once) {
  char function[32];
  lua_pushfstring(L, "weir.%s", load_decl_word(kind));
  strncpy(function, lua_tostring(L, -1), sizeof function - 1);
  function[sizeof function - 1] = '\0';
  lua_pop(L, 1);
  struct load *l = load_of(L, function);
  struct decl *d = note(L, l, kind, NULL);
  const struct decl *first = once ? earlier(l, kind, d) : NULL;
  if (first) {
    wr_diag_error(l->diag, d->file, d->line, "%s: declared twice (first in line %d)",
                  load_decl_word(kind), first->line);
    l->decl_count--;
  } else if (!lua_istable(L, 1)) {
    wr_diag_error(l->diag, d->file, d->line, "%s: expected a table: weir.%s { … }, got %s",
                  load_decl_word(kind), load_decl_word(kind), load_type_name(L, 1));
    l->decl_count--;
  } else {
    d->complete = true;
    keep_table(L, l, d, 1);
  }
  return 0;
}

static int decl_server(lua_State *L) { return singleton(L, DECL_SERVER, true); }
static int decl_keys(lua_State *L) { return singleton(L, DECL_KEYS, true); }
static int decl_use(lua_State *L) { return singleton(L, DECL_USE, false); }

/* The path is needed at once, by the next require. */
static int decl_lua(lua_State *L) {
  (void)singleton(L, DECL_LUA, true);
  struct load *l = load_of(L, "weir.lua");
  if (!lua_istable(L, 1) || load_option(L, 1, "path") != LUA_TSTRING) return 0;
  struct wr_span path = load_span(L, -1);
  if (l->path_used && !wr_span_eq(path, wr_span_str(l->lua_path))) {
    const char *file;
    int line;
    load_where(L, l, 1, &file, &line);
    wr_diag_error(
        l->diag, file, line,
        "lua: 'path' must be declared before the first require (line order matters here)");
    return 0;
  }
  if (path.len && !memchr(path.ptr, '\0', path.len)) l->lua_path = load_copy(L, l, path);
  return 0;
}

static int decl_api(lua_State *L) {
  struct load *l = load_of(L, "weir.api");
  struct decl *d = note(L, l, DECL_API, NULL);
  d->complete = true;
  if (earlier(l, DECL_API, d)) {
    wr_diag_error(l->diag, d->file, d->line, "api: declared twice");
  } else if (!lua_isinteger(L, 1) || lua_tointeger(L, 1) != 1) {
    wr_diag_error(l->diag, d->file, d->line, "api: this version speaks weir.api(1)");
  }
  return 0;
}

bool load_name_is_valid(struct wr_span name) {
  if (name.len == 0 || name.len > NAME_MAX_BYTES) return false;
  for (size_t i = 0; i < name.len; i++) {
    char c = name.ptr[i];
    bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (i > 0 && (c == '_' || c == '-' || c == '.'));
    if (!ok) return false;
  }
  return true;
}

/* The second call of weir.route "name" { … }. Upvalue 1: index of the declaration. */
static int named_table(lua_State *L) {
  lua_Integer index = lua_tointeger(L, lua_upvalueindex(1));
  const char *function = lua_tostring(L, lua_upvalueindex(2));
  struct load *l = load_of(L, function);
  if (index < 0) return 0; /* its name was refused already */
  struct decl *d = &l->decls[index];
  if (d->complete) return luaL_error(L, "%s '%s': called twice", function, d->name);
  if (!lua_istable(L, 1)) {
    wr_diag_error(l->diag, d->file, d->line, "%s '%s': expected a table: %s \"%s\" { … }, got %s",
                  load_decl_word(d->kind), d->name, function, d->name, load_type_name(L, 1));
    lua_newtable(L);
    lua_replace(L, 1);
    d->kind = DECL_API; /* nothing to build */
  }
  d->complete = true;
  keep_table(L, l, d, 1);
  return 0;
}

static int named(lua_State *L, enum decl_kind kind, const char *function) {
  struct load *l = load_of(L, function);
  lua_Integer index = -1;
  const char *file;
  int line;
  load_where(L, l, 1, &file, &line);
  if (lua_type(L, 1) != LUA_TSTRING) {
    wr_diag_error(l->diag, file, line, "%s: expected a name: %s \"…\" { … }, got %s",
                  load_decl_word(kind), function, load_type_name(L, 1));
  } else if (kind != DECL_LISTEN && !load_name_is_valid(load_span(L, 1))) {
    wr_diag_error(
        l->diag, file, line,
        "%s '%.70s': a name has 1 to %d letters, digits, '-', '_' or '.', and begins with "
        "a letter or digit",
        load_decl_word(kind), lua_tostring(L, 1), NAME_MAX_BYTES);
  } else {
    (void)note(L, l, kind, load_copy(L, l, load_span(L, 1)));
    index = (lua_Integer)l->decl_count - 1;
  }
  lua_pushinteger(L, index);
  lua_pushstring(L, function);
  lua_pushcclosure(L, named_table, 2);
  return 1;
}

static int decl_listen(lua_State *L) { return named(L, DECL_LISTEN, "weir.listen"); }
static int decl_upstream(lua_State *L) { return named(L, DECL_UPSTREAM, "weir.upstream"); }
static int decl_group(lua_State *L) { return named(L, DECL_GROUP, "weir.group"); }
static int decl_route(lua_State *L) { return named(L, DECL_ROUTE, "weir.route"); }
static int decl_pressure(lua_State *L) { return named(L, DECL_PRESSURE, "weir.pressure"); }

void load_decl_register(lua_State *L) {
  static const luaL_Reg declare[] = {
    { "api", decl_api },           { "server", decl_server },
    { "lua", decl_lua },           { "listen", decl_listen },
    { "upstream", decl_upstream }, { "group", decl_group },
    { "keys", decl_keys },         { "route", decl_route },
    { "use", decl_use },           { "pressure", decl_pressure },
    { NULL, NULL },
  };
  wr_vm_push_weir(L);
  luaL_setfuncs(L, declare, 0);
  lua_pop(L, 1);
}

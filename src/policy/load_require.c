/* require: files of text along weir.lua { path }, and the standard library, which is in the binary;
 * each runs once a VM. */
#include <errno.h>
#include <lauxlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/embed.h"
#include "base/heap.h"
#include "conf/schema.h"
#include "policy/load.h"
#include "policy/load_int.h"

/* Names of letters, digits, "_" and "-", with "." between: no ".." and nothing absolute. */
static bool name_is_valid(struct wr_span name) {
  bool dot = true;
  for (size_t i = 0; i < name.len; i++) {
    char c = name.ptr[i];
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '_' || c == '-';
    if (!word && (c != '.' || dot)) return false;
    dot = c == '.';
  }
  return name.len > 0 && name.len <= 128 && !dot;
}

/* One template with its "?" replaced, dots as slashes; pushed. */
static const char *push_candidate(lua_State *L, struct wr_span templ, const char *name) {
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (size_t i = 0; i < templ.len; i++) {
    if (templ.ptr[i] != '?') {
      luaL_addchar(&b, templ.ptr[i]);
      continue;
    }
    for (const char *c = name; *c; c++) luaL_addchar(&b, *c == '.' ? '/' : *c);
  }
  luaL_pushresult(&b);
  return lua_tostring(L, -1);
}

/* The first file along the templates that is there; pushes nothing. The names that were tried go
 * into `tried`. */
static const char *search(lua_State *L, struct load *l, const char *templates, const char *name,
                          luaL_Buffer *tried) {
  const char *at = templates;
  while (*at) {
    size_t len = strcspn(at, ";");
    if (len > 0) {
      const char *file = load_path(L, l, push_candidate(L, wr_span_make(at, len), name));
      lua_pop(L, 1);
      if (access(file, R_OK) == 0) return file;
      luaL_addstring(tried, "\n  no file '");
      luaL_addstring(tried, file);
      luaL_addstring(tried, "'");
    }
    at += len + (at[len] == ';');
  }
  return NULL;
}

/* The load holds the bytes until they are a Lua string: making that may raise. */
static void push_source(lua_State *L, struct load *l, const char *file) {
  size_t len = 0;
  WR_CHECK(l->hold == NULL);
  enum wr_err err = wr_conf_read_source(file, &l->hold, &len);
  if (err == WR_E_NOMEM) {
    l->diag->nomem = true;
    luaL_error(L, "not enough memory");
  }
  if (err != WR_OK) luaL_error(L, "can't read '%s': %s", file, strerror(errno));
  lua_pushlstring(L, l->hold, len);
  wr_heap_free(WR_HEAP_CONF, l->hold);
  l->hold = NULL;
}

void load_run_file(lua_State *L, struct load *l, const char *file) {
  push_source(L, l, file);
  wr_vm_compile(L, load_span(L, -1), file);
  load_lint(L, l, file, load_span(L, -2));
  lua_remove(L, -2);
  lua_call(L, 0, 1);
}

static const char *library_name(const void *ctx, size_t i) {
  return ((const struct wr_embedded *)ctx)[i].name;
}

/* A file of the standard library, run; its result is pushed. */
static void run_library(lua_State *L, const char *name) {
  const char *file = push_candidate(L, WR_SPAN("lua/?.lua"), name);
  const struct wr_embedded *e = wr_embedded_policy;
  while (e->name && strcmp(e->name, file) != 0) e++;
  if (!e->name) {
    const char *near = wr_suggest(wr_span_str(file), library_name, wr_embedded_policy);
    if (!near) luaL_error(L, "require '%s': not in the standard library", name);
    lua_pushlstring(L, near + 4, strlen(near) - 8); /* without "lua/" and ".lua" */
    luaL_error(L, "require '%s': not in the standard library (did you mean '%s'?)", name,
               luaL_gsub(L, lua_tostring(L, -1), "/", "."));
  }
  wr_vm_compile(L, wr_span_str(e->text), e->name + 4);
  lua_remove(L, -2);
  lua_call(L, 0, 1);
}

/* A file along weir.lua { path }, run; its result is pushed. */
static void run_own(lua_State *L, struct load *l, const char *name) {
  int top = lua_gettop(L);
  luaL_Buffer tried;
  l->path_used = true;
  luaL_buffinit(L, &tried);
  const char *file = search(L, l, l->lua_path, name, &tried);
  luaL_pushresult(&tried);
  if (!file) luaL_error(L, "require '%s': not found:%s", name, lua_tostring(L, -1));
  lua_settop(L, top);
  load_run_file(L, l, file);
}

static int load_require(lua_State *L) {
  struct load *l = load_of(L, "require");
  if (lua_type(L, 1) != LUA_TSTRING || !name_is_valid(load_span(L, 1)))
    return luaL_error(L, "require: not a module's name: words with '.' between");
  const char *name = lua_tostring(L, 1);
  lua_settop(L, 1);
  lua_getfield(L, LUA_REGISTRYINDEX, LOAD_REQUIRED_KEY);
  int known = lua_getfield(L, 2, name);
  if (known == LUA_TBOOLEAN)
    return luaL_error(L, "require '%s': the files require each other", name);
  if (known != LUA_TNIL) return 1;
  lua_pop(L, 1);
  lua_pushboolean(L, 1);
  lua_setfield(L, 2, name);
  if (strncmp(name, "weir.", 5) == 0)
    run_library(L, name);
  else
    run_own(L, l, name);
  if (lua_isnil(L, -1) || lua_isboolean(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L); /* a file that returns nothing has still run */
  }
  lua_pushvalue(L, -1);
  lua_setfield(L, 2, name);
  return 1;
}

void load_require_register(lua_State *L) {
  wr_vm_push_globals(L);
  lua_pushcfunction(L, load_require);
  lua_setfield(L, -2, "require");
  lua_pop(L, 1);
}

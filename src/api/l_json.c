/* l_json.c: v:json(path), ev:json(path), req:json(path). */
#include <lauxlib.h>
#include <lua.h>

#include "api/handle.h"
#include "api/json.h"
#include "base/buf.h"
#include "base/heap.h"
#include "wire/json_scan.h"

#define PROGRAMS 16
#define PATH_BYTES 120

struct program {
  size_t len;
  char path[PATH_BYTES];
  struct wr_json_prog prog;
};

struct wr_json_cache {
  unsigned next;                      /* to be thrown out */
  unsigned last;                      /* found last */
  struct program *programs[PROGRAMS]; /* owned */
};

void wr_json_cache_free(struct wr_json_cache *cache) {
  if (!cache) return;
  for (unsigned i = 0; i < PROGRAMS; i++) wr_heap_free(WR_HEAP_LUA, cache->programs[i]);
  wr_heap_free(WR_HEAP_LUA, cache);
}

static bool is_path(const struct program *p, struct wr_span path) {
  return p && wr_span_eq(wr_span_make(p->path, p->len), path);
}

static const struct wr_json_prog *find(struct wr_json_cache *cache, struct wr_span path) {
  if (is_path(cache->programs[cache->last], path)) return &cache->programs[cache->last]->prog;
  for (unsigned i = 0; i < PROGRAMS; i++) {
    if (!is_path(cache->programs[i], path)) continue;
    cache->last = i;
    return &cache->programs[i]->prog;
  }
  return NULL;
}

static int no_memory(lua_State *L) { return luaL_error(L, "json: no memory for a path"); }

static const struct wr_json_prog *program_of(lua_State *L, struct wr_span path) {
  struct wr_script *s = wr_script_of(L);
  if (!s->json) s->json = wr_heap_zalloc(WR_HEAP_LUA, sizeof *s->json);
  if (!s->json) no_memory(L);
  const struct wr_json_prog *known = find(s->json, path);
  if (known) return known;
  unsigned slot = s->json->next;
  struct program *p = s->json->programs[slot];
  if (!p) p = s->json->programs[slot] = wr_heap_zalloc(WR_HEAP_LUA, sizeof *p);
  if (!p) no_memory(L);
  p->len = SIZE_MAX; /* while it is none */
  if (path.len >= PATH_BYTES)
    luaL_error(L, "json: the path is longer than %d bytes", PATH_BYTES - 1);
  memcpy(p->path, path.ptr, path.len);
  p->path[path.len] = '\0';
  const char *paths[1] = { p->path };
  wr_budget_charge(L, 256);
  if (strlen(p->path) != path.len || wr_json_compile(&p->prog, paths, 1) != WR_OK) {
    luaL_error(L, "json: '%s' is not a valid path", p->path);
  }
  p->len = path.len;
  s->json->last = slot;
  s->json->next = (slot + 1) % PROGRAMS;
  return &p->prog;
}

/* A string without a backslash is a view of the document; with one, a view of its decoded copy. */
static int push_string(lua_State *L, struct wr_span raw, bool escaped) {
  if (!escaped) {
    wr_lview_push(L, wr_json_unquote(raw));
    return 1;
  }
  struct wr_buf b;
  luaL_Buffer lb;
  wr_budget_charge_bytes(L, raw.len);
  wr_buf_init(&b, luaL_buffinitsize(L, &lb, raw.len), raw.len);
  if (wr_json_string_decode(raw, &b) != WR_OK) b.len = 0;
  luaL_pushresultsize(&lb, b.len);
  size_t len;
  const char *ptr = lua_tolstring(L, -1, &len);
  wr_lview_push(L, wr_span_make(ptr, len));
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, 1); /* the string lives as long as the view */
  return 1;
}

static int push_number(lua_State *L, struct wr_span raw) {
  char text[64];
  if (raw.len < sizeof text) {
    memcpy(text, raw.ptr, raw.len);
    text[raw.len] = '\0';
    if (lua_stringtonumber(L, text)) return 1;
  }
  lua_pushnumber(L, 0);
  return 1;
}

static int push_nothing(lua_State *L, const char *why) {
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

int wr_ljson_push(lua_State *L, struct wr_span doc, int arg_path) {
  size_t len;
  const char *path = luaL_checklstring(L, arg_path, &len);
  const struct wr_json_prog *prog = program_of(L, wr_span_make(path, len));
  struct wr_json_value v;
  wr_budget_charge(L, doc.len / 8 + 16);
  enum wr_err err = wr_json_scan_with(prog, doc, WR_JSON_SKIP_FAST | WR_JSON_STOP_WHEN_FOUND, &v);
  if (err != WR_OK) return push_nothing(L, "invalid");
  struct wr_span raw = wr_json_raw(doc, &v);
  switch ((enum wr_json_type)v.type) {
    case WR_JSON_MISSING: return push_nothing(L, "missing");
    case WR_JSON_NULL: return push_nothing(L, "null");
    case WR_JSON_BOOL: lua_pushboolean(L, raw.ptr[0] == 't'); return 1;
    case WR_JSON_NUMBER: return push_number(L, raw);
    case WR_JSON_STRING: return push_string(L, raw, v.escaped);
    case WR_JSON_OBJECT:
    case WR_JSON_ARRAY: break;
  }
  wr_lview_push(L, raw);
  return 1;
}

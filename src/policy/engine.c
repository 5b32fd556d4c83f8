#include "policy/engine.h"

#include <lauxlib.h>

#include "base/check.h"
#include "base/heap.h"
#include "policy/engine_int.h"
#include "policy/load.h"

_Static_assert((int)WR_HOOK_IDS == WR_HOOKS && 1u << WR_HOOK_ID_END == WR_HOOK_END &&
                   1u << WR_HOOK_ID_TEXT == WR_HOOK_TEXT,
               "an id is the place of its bit");

const char *wr_hook_name(const struct wr_hook *hook) { return hook->name ? hook->name : "every"; }

/* Room for one more element of `size` bytes; false when there is no memory. */
static bool grow(void **array, size_t count, size_t *cap, size_t size) {
  if (count < *cap) return true;
  size_t want = *cap ? *cap * 2 : 8;
  void *p = wr_heap_realloc(WR_HEAP_LUA, *array, want * size);
  if (!p) return false;
  *array = p;
  *cap = want;
  return true;
}

#define IN_PLACE "conf.lua"

uint32_t wr_engine_plugin(struct wr_engine *e, const char *name, uint32_t route) {
  if (strcmp(name, IN_PLACE) != 0) route = UINT32_MAX;
  for (size_t i = 0; i < e->plugin_count; i++) {
    if (e->plugins[i].route == route && strcmp(e->plugins[i].name, name) == 0) return (uint32_t)i;
  }
  void *array = e->plugins;
  if (!grow(&array, e->plugin_count, &e->plugin_cap, sizeof *e->plugins)) return UINT32_MAX;
  e->plugins = array;
  char *copy = wr_heap_strndup(WR_HEAP_LUA, name, strlen(name));
  if (!copy) return UINT32_MAX;
  e->plugins[e->plugin_count] = (struct wr_plugin){ .route = route, .name = copy };
  return (uint32_t)e->plugin_count++;
}

/* Field `name` of the entry on top, or its n-th element. */
static int entry_field(lua_State *L, const char *name, int n) {
  int type = lua_getfield(L, -1, name);
  if (type != LUA_TNIL) return type;
  lua_pop(L, 1);
  return lua_rawgeti(L, -1, n);
}

/* The entry on top becomes a hook. */
static void load_hook(lua_State *L, struct wr_engine *e, uint32_t route, uint8_t id) {
  struct wr_hook hook = { .route = route, .id = id, .name = wr_hook_word(id) };
  luaL_checktype(L, -1, LUA_TTABLE);
  entry_field(L, "plugin", 2);
  const char *name = lua_tostring(L, -1);
  hook.plugin = wr_engine_plugin(e, name ? name : IN_PLACE, route);
  lua_pop(L, 1);
  void *array = e->hooks;
  if (hook.plugin == UINT32_MAX || !grow(&array, e->hook_count, &e->hook_cap, sizeof *e->hooks)) {
    luaL_error(L, "no memory for a hook");
  }
  e->hooks = array;
  entry_field(L, "guard", 3);
  hook.guard = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  if (entry_field(L, "fn", 1) != LUA_TFUNCTION) luaL_error(L, "a hook is a function");
  hook.fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  entry_field(L, "conf", 4);
  hook.conf_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  e->hooks[e->hook_count++] = hook;
}

/* The route's table is on top. */
static void load_route(lua_State *L, struct wr_engine *e, uint32_t route) {
  for (uint8_t id = 0; id < WR_HOOK_IDS; id++) {
    struct wr_hook_list *list = &e->routes[route * WR_HOOK_IDS + id];
    list->first = (uint32_t)e->hook_count;
    if (lua_getfield(L, -1, wr_hook_word(id)) == LUA_TTABLE) {
      for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        load_hook(L, e, route, id);
        lua_pop(L, 1);
      }
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
    list->count = (uint32_t)e->hook_count - list->first;
  }
}

static int load_engine(lua_State *L) {
  struct wr_engine *e = lua_touserdata(L, 1);
  lua_createtable(L, 2 + 2 * WR_VERDICT_HEADERS, 0);
  for (int i = 1; i <= 2 + 2 * WR_VERDICT_HEADERS; i++) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, i);
  }
  e->keep_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  wr_engine_load_timers(L, e);
  if (lua_getfield(L, LUA_REGISTRYINDEX, WR_LOAD_ROUTES_KEY) != LUA_TTABLE) return 0;
  for (size_t i = 0; i < e->conf->route_count; i++) {
    if (lua_rawgeti(L, -1, (lua_Integer)i + 1) == LUA_TTABLE) load_route(L, e, (uint32_t)i);
    lua_pop(L, 1);
  }
  if (lua_getfield(L, -1, WR_LOAD_GLOBAL) == LUA_TTABLE)
    load_route(L, e, (uint32_t)e->conf->route_count);
  return 0;
}

static bool has_hook(const struct wr_engine *e, enum wr_hook_id id) {
  for (size_t i = 0; i < e->hook_count; i++) {
    if (e->hooks[i].id == (uint8_t)id) return true;
  }
  return false;
}

/* What nobody defined is NULL. */
static void fill_table(struct wr_engine *e) {
  struct wr_hooks *t = &e->table;
  t->ctx = e;
  if (has_hook(e, WR_HOOK_ID_REQUEST)) t->request = wr_engine_request;
  if (has_hook(e, WR_HOOK_ID_RESPONSE_START)) t->response_start = wr_engine_response_start;
  if (has_hook(e, WR_HOOK_ID_EVENT)) t->event = wr_engine_event;
  if (has_hook(e, WR_HOOK_ID_TEXT)) {
    t->text = wr_engine_text;
    t->text_failed = wr_engine_text_failed;
  }
  if (has_hook(e, WR_HOOK_ID_SLOW_CLIENT)) t->slow_client = wr_engine_slow_client;
  if (has_hook(e, WR_HOOK_ID_UPSTREAM_ERROR)) t->upstream_error = wr_engine_upstream_error;
  if (has_hook(e, WR_HOOK_ID_PRESSURE)) t->pressure = wr_engine_pressure;
  if (e->hook_count > 0) t->end = wr_engine_end;
  for (size_t i = 0; i < e->hook_count; i++)
    if (e->hooks[i].guard) t->admit = wr_engine_admit;
}

enum wr_err wr_engine_new(struct wr_vm *take_vm, const struct wr_conf *conf, struct wr_slabs *slabs,
                          struct wr_engine **out) {
  struct wr_engine *e = wr_heap_zalloc(WR_HEAP_LUA, sizeof *e);
  if (!e) {
    wr_vm_free(take_vm);
    return WR_E_NOMEM;
  }
  e->magic = WR_ENGINE_MAGIC;
  e->vm = take_vm;
  e->script = wr_vm_script(take_vm);
  e->L = wr_vm_state(take_vm);
  e->conf = conf;
  e->slabs = slabs;
  e->routes =
      wr_heap_zalloc(WR_HEAP_LUA, (conf->route_count + 1) * WR_HOOK_IDS * sizeof *e->routes);
  if (!e->routes) {
    wr_engine_free(e);
    return WR_E_NOMEM;
  }
  struct wr_vm_call call = { .instructions = 10000000, .wall_ms = 1000 };
  lua_pushcfunction(e->L, load_engine);
  lua_pushlightuserdata(e->L, e);
  enum wr_vm_end end = wr_vm_pcall(e->vm, &call, 1, 0);
  if (end != WR_VM_OK) {
    wr_engine_free(e);
    return end == WR_VM_MEMORY ? WR_E_NOMEM : WR_E_CONFIG;
  }
  e->script->phase = WR_PHASE_HOOK;
  e->script->conf = conf;
  e->script->slabs = slabs;
  e->script->retained_bytes = conf->lua.retained_bytes;
  fill_table(e);
  wr_vm_collect(e->vm);
  *out = e;
  return WR_OK;
}

void wr_engine_free(struct wr_engine *e) {
  if (!e) return;
  WR_MAGIC_CHECK(e, WR_ENGINE_MAGIC);
  WR_CHECK(e->streams == 0);
  for (size_t i = 0; i < e->plugin_count; i++) wr_heap_free(WR_HEAP_LUA, e->plugins[i].name);
  wr_heap_free(WR_HEAP_LUA, e->plugins);
  wr_heap_free(WR_HEAP_LUA, e->hooks);
  wr_heap_free(WR_HEAP_LUA, e->routes);
  wr_heap_free(WR_HEAP_LUA, e->timers);
  wr_vm_free(e->vm);
  e->magic = 0;
  wr_heap_free(WR_HEAP_LUA, e);
}

const struct wr_hooks *wr_engine_hooks(const struct wr_engine *e) { return &e->table; }
void wr_engine_watch(struct wr_engine *e, void (*fn)(void *ctx, const struct wr_hook_seen *seen),
                     void *ctx) {
  WR_MAGIC_CHECK(e, WR_ENGINE_MAGIC);
  e->watch = fn;
  e->watch_ctx = ctx;
}
size_t wr_engine_streams(const struct wr_engine *e) { return e->streams; }

void wr_engine_set_live(struct wr_engine *e, const struct wr_live *live) {
  WR_MAGIC_CHECK(e, WR_ENGINE_MAGIC);
  e->script->live = live;
}

struct wr_view_counts wr_engine_views(const struct wr_engine *e) {
  return (struct wr_view_counts){ e->script->views_retained, e->script->views_leaked };
}

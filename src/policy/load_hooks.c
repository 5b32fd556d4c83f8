/* Which hooks a route runs, and in which order: the registry's "weir.routes" (load.h). */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "policy/load.h"
#include "policy/load_int.h"

#define NAMES_BYTES 512

#define PLACE_TEXT 3u
_Static_assert(1u << PLACE_TEXT == WR_HOOK_TEXT, "its place");
/* What comes from the client goes through the list as it stands; what comes from the upstream
 * goes the other way. */
#define FORWARD (WR_HOOK_REQUEST | WR_HOOK_SLOW_CLIENT | WR_HOOK_PRESSURE)

/* What has no route can't be bent by one. */
static void check_route_plugin(lua_State *L, struct load *l, const struct place *at, int idx,
                               int entry) {
  const struct decl *d = at->key ? load_instance(L, idx) : NULL; /* weir.use has no key */
  if (!d) return;
  if (load_option(L, idx + 1, wr_hook_word(WR_HOOKS - 1)) != LUA_TNIL)
    load_error(l, at, "entry %d: '%s' has on_pressure, which belongs to no route: weir.use { … }",
               entry, d->name);
}

/* Appends the instances of a `use` list to the array at `chain`. */
static void add_list(lua_State *L, struct load *l, const struct place *at, int list, int chain) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, list);
  lua_Integer entries = 0;
  for (lua_pushnil(L); lua_next(L, list); lua_pop(L, 1)) entries++;
  if (entries != count) load_error(l, at, "must be a list: { plugin { … }, … }");
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, list, i);
    int idx = lua_gettop(L);
    if (load_is_plugin(L, idx)) {
      load_error(l, at, "entry %d is a plugin without its options: call it, plugin {}", (int)i);
    } else if (!load_instance(L, idx)) {
      load_error(l, at, "entry %d must be a plugin with its options, not %s", (int)i,
                 load_type_name(L, idx));
    } else {
      lua_settop(L, idx);
      check_route_plugin(L, l, at, idx, (int)i);
      lua_pushvalue(L, idx);
      lua_rawseti(L, chain, (lua_Integer)lua_rawlen(L, chain) + 1);
    }
    lua_settop(L, idx - 1);
  }
}

static void add_global(lua_State *L, struct load *l, int chain) {
  for (size_t i = 0; i < l->decl_count; i++) {
    const struct decl *d = &l->decls[i];
    if (d->kind != DECL_USE) continue;
    const struct place at = { d, NULL, NULL };
    load_push_table(L, l, d);
    add_list(L, l, &at, lua_gettop(L), chain);
    lua_pop(L, 1);
  }
}

/* Functions in place stand in the chain as the route's own table. */
static void check_in_place(lua_State *L, struct load *l, const struct decl *d, int table) {
  for (unsigned h = 0; h < WR_HOOKS - 1; h++) {
    const struct place at = { d, NULL, wr_hook_word(h) };
    int type = load_option(L, table, at.key);
    if (type != LUA_TNIL && type != LUA_TFUNCTION)
      load_error(l, &at, "must be a function, not %s", load_type_name(L, -1));
    lua_pop(L, 1);
  }
}

/* Pushes the chain of a route, in the order of requests; `global` is what stands in front of all.
 */
static void push_chain(lua_State *L, struct load *l, const struct decl *d, int global) {
  lua_newtable(L);
  int chain = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, global);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, global, i);
    lua_rawseti(L, chain, i);
  }
  load_push_table(L, l, d);
  int table = lua_gettop(L);
  check_in_place(L, l, d, table);
  lua_pushvalue(L, table);
  lua_rawseti(L, chain, (lua_Integer)lua_rawlen(L, chain) + 1);
  const struct place at = { d, NULL, "use" };
  if (load_option(L, table, "use") == LUA_TTABLE) {
    add_list(L, l, &at, lua_gettop(L), chain);
  } else if (!lua_isnil(L, -1)) {
    load_error(l, &at, "must be a list: { plugin { … }, … }, not %s", load_type_name(L, -1));
  }
  lua_settop(L, chain);
}

/* prepare(conf) of an instance, once. `done` is the set of those that ran. */
static void prepare(lua_State *L, struct load *l, int item, int done) {
  lua_pushvalue(L, item);
  bool ran = lua_rawget(L, done) != LUA_TNIL;
  lua_pop(L, 1);
  const struct decl *d = ran ? NULL : load_instance(L, item);
  if (!d) return;
  int spec = lua_gettop(L) - 1;
  lua_pushvalue(L, item);
  lua_pushboolean(L, 1);
  lua_rawset(L, done);
  if (load_option(L, spec, "prepare") == LUA_TFUNCTION) {
    lua_pushvalue(L, spec + 1);
    const struct wr_vm_call call = { .hook = "prepare", .plugin = d->name, .named = true };
    if (wr_vm_pcall(l->vm, &call, 1, 0) != WR_VM_OK) {
      const struct place at = { d, NULL, NULL };
      struct wr_span why = wr_vm_error(l->vm);
      load_error_text(l, &at, "%.*s", (int)(why.len < 300 ? why.len : 300), why.ptr);
    }
  }
  lua_settop(L, spec - 1);
}

/* Pushes { fn, plugin, guard, conf } of one item of a chain, or nothing when it has no such hook.
 */
static bool push_entry(lua_State *L, int item, const char *hook, const char **name,
                       struct wr_conf_text *text) {
  int top = lua_gettop(L);
  const struct decl *d = load_instance(L, item); /* pushes spec and conf */
  int spec = d ? top + 1 : item;
  if (load_option(L, spec, hook) != LUA_TFUNCTION) {
    lua_settop(L, top);
    return false;
  }
  int fn = lua_gettop(L);
  *name = d ? d->name : "conf.lua";
  *text = (struct wr_conf_text){ .needs = WR_TEXT_TEXT, .hold_bytes = 256 };
  if (d) load_text_of(L, spec, text);
  lua_createtable(L, 0, 4);
  lua_pushvalue(L, fn);
  lua_setfield(L, -2, "fn");
  lua_pushstring(L, *name);
  lua_setfield(L, -2, "plugin");
  if (d) {
    load_option(L, spec, "guard");
    lua_pushboolean(L, lua_toboolean(L, -1));
    lua_setfield(L, -3, "guard");
    lua_pop(L, 1);
    lua_pushvalue(L, top + 2);
    lua_setfield(L, -2, "conf");
  } else {
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "guard");
  }
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  return true;
}

/* The texts of a route and the bits of its guards, while its hooks are listed. */
struct texts {
  struct wr_conf_text *list; /* borrowed: conf arena */
  uint32_t count;
  uint32_t guards;
};

static void put_name(struct wr_buf *names, const char *name, const struct wr_conf_text *text) {
  wr_buf_printf(names, "%s%s(Lua", names->len ? " " : "", name);
  if (text) wr_buf_printf(names, ", window %u B", text->hold_bytes);
  wr_buf_char(names, ')');
}

/* Pushes the list of one hook; returns its names for people, NULL and nothing pushed when it is
 * empty. */
static const char *push_hook_list(lua_State *L, struct load *l, int chain, unsigned h,
                                  struct texts *texts) {
  char store[NAMES_BYTES];
  struct wr_buf names;
  wr_buf_init(&names, store, sizeof store);
  lua_newtable(L);
  int list = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, chain), n = 0;
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, chain, (1u << h) & FORWARD ? i : count + 1 - i);
    const char *name;
    struct wr_conf_text text;
    if (push_entry(L, list + 1, wr_hook_word(h), &name, &text)) {
      if (texts && text.guard) texts->guards |= 1u << h;
      if (h == PLACE_TEXT && texts->count < WR_CONF_TEXTS) texts->list[texts->count++] = text;
      lua_rawseti(L, list, ++n);
      put_name(&names, name, h == PLACE_TEXT ? &text : NULL);
    }
    lua_settop(L, list);
  }
  if (n > 0) return load_copy(L, l, wr_buf_span(&names));
  lua_pop(L, 1);
  return NULL;
}

static void fill_route(lua_State *L, struct load *l, const struct decl *d, int chain,
                       struct wr_conf_route *r) {
  struct texts texts = { load_alloc(L, l, WR_CONF_TEXTS * sizeof *texts.list), 0, 0 };
  lua_newtable(L);
  for (unsigned h = 0; h < WR_HOOKS - 1; h++) {
    r->hook_names[h] = push_hook_list(L, l, chain, h, &texts);
    if (h == PLACE_TEXT && r->hook_names[h] && lua_rawlen(L, -1) > WR_CONF_TEXTS) {
      const struct place at = { d, NULL, NULL };
      load_error_text(l, &at, "has more than %d on_text hooks", WR_CONF_TEXTS);
    }
    if (!r->hook_names[h]) continue;
    r->hooks |= 1u << h;
    lua_setfield(L, -2, wr_hook_word(h));
  }
  r->texts = texts.list;
  r->text_count = texts.count;
  r->guards = texts.guards;
}

/* The hooks that have no route, under the name WR_LOAD_GLOBAL of the table at `all`. */
static void fill_global(lua_State *L, struct load *l, int chain, int all) {
  lua_newtable(L);
  l->conf->pressure_hooks = push_hook_list(L, l, chain, WR_HOOKS - 1, NULL);
  if (l->conf->pressure_hooks) {
    l->conf->hooks |= WR_HOOK_PRESSURE;
    lua_setfield(L, -2, wr_hook_word(WR_HOOKS - 1));
  }
  lua_setfield(L, all, WR_LOAD_GLOBAL);
}

static void prepare_all(lua_State *L, struct load *l, int chain, int done) {
  lua_Integer count = (lua_Integer)lua_rawlen(L, chain);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, chain, i);
    prepare(L, l, lua_gettop(L), done);
    lua_settop(L, done + 1); /* what stands above is the chain */
  }
}

void load_hooks(lua_State *L, struct load *l) {
  luaL_checkstack(L, 32, "hooks");
  lua_newtable(L);
  int all = lua_gettop(L);
  lua_newtable(L);
  int global = lua_gettop(L);
  add_global(L, l, global);
  fill_global(L, l, global, all);
  lua_newtable(L);
  int done = lua_gettop(L);
  size_t route = 0;
  for (size_t i = 0; i < l->decl_count; i++) {
    if (l->decls[i].kind != DECL_ROUTE) continue;
    push_chain(L, l, &l->decls[i], global);
    int chain = lua_gettop(L);
    WR_CHECK(chain == done + 1 && route < l->conf->route_count);
    if (l->diag->errors == 0) prepare_all(L, l, chain, done);
    fill_route(L, l, &l->decls[i], chain, &l->routes[route]);
    lua_rawseti(L, all, (lua_Integer)++route);
    lua_settop(L, done);
  }
  lua_pushvalue(L, all);
  lua_setfield(L, LUA_REGISTRYINDEX, WR_LOAD_ROUTES_KEY);
  lua_settop(L, all - 1);
}

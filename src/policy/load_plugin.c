/* weir.plugin { … }: a policy with options. Calling it checks the options against its schema at the
 * caller's line and gives an instance for a `use` list. */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "policy/load_int.h"
#include "policy/load_option.h"

#define PLUGIN_TYPE "weir.plugin"
#define INSTANCE_TYPE "weir.instance"

struct plugin_head {
  const char *name; /* borrowed: conf arena */
  uint32_t api;
  bool guard;
  uint32_t needs;
  uint32_t hold_bytes;
};

/* In the order of enum wr_text_need. */
static const char *const text_needs[] = { "text", "reasoning", "tool", NULL };

#define AT(member) (uint16_t) offsetof(struct plugin_head, member)
static const struct wr_option plugin_fields[] = {
  { .name = "name", .type = WR_OPT_STRING, .offset = AT(name), .required = true },
  { .name = "api",
    .type = WR_OPT_INTEGER,
    .offset = AT(api),
    .min = 1,
    .max = 1,
    .required = true },
  { .name = "guard", .type = WR_OPT_BOOL, .offset = AT(guard), .def = "false" },
  { .name = "schema", .type = WR_OPT_HOOK },
  { .name = "prepare", .type = WR_OPT_HOOK },
  { .name = "on_request", .type = WR_OPT_HOOK },
  { .name = "on_event", .type = WR_OPT_HOOK },
  { .name = "on_end", .type = WR_OPT_HOOK },
  { .name = "on_text", .type = WR_OPT_HOOK },
  { .name = "needs",
    .type = WR_OPT_FLAGS,
    .offset = AT(needs),
    .words = text_needs },
  { .name = "hold",
    .type = WR_OPT_INTEGER,
    .offset = AT(hold_bytes),
    .min = 1,
    .max = 65536,
    .def = "256" },
  { .name = "on_response_start", .type = WR_OPT_HOOK },
  { .name = "on_slow_client", .type = WR_OPT_HOOK },
  { .name = "on_pressure", .type = WR_OPT_HOOK },
  { .name = "on_upstream_error", .type = WR_OPT_HOOK },
};
static const struct wr_schema plugin_schema = {
  .name = "plugin",
  .fields = plugin_fields,
  .field_count = sizeof plugin_fields / sizeof plugin_fields[0],
};

static struct decl *place_here(lua_State *L, struct load *l, const char *name) {
  struct decl *d = load_alloc(L, l, sizeof *d);
  d->kind = DECL_PLUGIN;
  d->name = name;
  load_where(L, l, 1, &d->file, &d->line);
  return d;
}

static const char *name_option(lua_State *L, struct load *l, int idx) {
  const char *name = NULL;
  if (load_option(L, idx, "name") == LUA_TSTRING) name = load_copy(L, l, load_span(L, -1));
  lua_pop(L, 1);
  return name;
}

static void check_functions(lua_State *L, struct load *l, const struct place *top) {
  for (unsigned i = 0; i <= WR_HOOKS; i++) {
    const char *name = i < WR_HOOKS ? wr_hook_word(i) : "prepare";
    const struct place at = { top->decl, NULL, name };
    int type = load_option(L, 1, name);
    if (type != LUA_TNIL && type != LUA_TFUNCTION)
      load_error(l, &at, "must be a function, not %s", load_type_name(L, -1));
    lua_pop(L, 1);
  }
}

/* What says how on_text is called, in a plugin that has none: likely a misspelt hook. */
static void warn_text(lua_State *L, struct load *l, const struct decl *d) {
  static const char *const names[] = { "needs", "hold" };
  bool text = load_option(L, 1, "on_text") != LUA_TNIL;
  lua_pop(L, 1);
  for (size_t i = 0; i < 2 && !text; i++) {
    if (load_option(L, 1, names[i]) != LUA_TNIL)
      wr_diag_warn(l->diag, d->file, d->line,
                   "plugin '%s': '%s' has no effect without on_text", d->name, names[i]);
    lua_pop(L, 1);
  }
}

/* weir.plugin { … } → an object that takes options. */
static int plugin_new(lua_State *L) {
  struct load *l = load_of(L, "weir.plugin");
  if (!lua_istable(L, 1))
    return luaL_error(L, "weir.plugin: expected a table, got %s", load_type_name(L, 1));
  lua_settop(L, 1);
  const struct decl *d = place_here(L, l, name_option(L, l, 1));
  const struct place top = { d, NULL, NULL };
  struct plugin_head head = { 0 };
  load_table(L, l, &top, 1, &plugin_schema, &head, false);
  check_functions(L, l, &top);
  warn_text(L, l, d);
  load_option(L, 1, "schema");
  load_option_schema(L, l, &top, 2);
  lua_settop(L, 1);
  lua_newuserdatauv(L, 1, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, PLUGIN_TYPE);
  return 1;
}

/* pii { … } → an instance. */
static int plugin_call(lua_State *L) {
  struct load *l = load_of(L, "plugin");
  luaL_checkudata(L, 1, PLUGIN_TYPE);
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, 1);
  const char *name = name_option(L, l, 3);
  const struct decl *d = place_here(L, l, name ? name : "?");
  const struct place top = { d, NULL, NULL };
  if (!lua_istable(L, 2)) {
    if (!lua_isnil(L, 2))
      load_error_text(l, &top, "expected a table of options, got %s", load_type_name(L, 2));
    lua_newtable(L);
    lua_replace(L, 2);
  }
  struct decl **self = lua_newuserdatauv(L, sizeof *self, 2); /* 4 */
  struct decl *copy = load_alloc(L, l, sizeof *copy);
  *copy = *d;
  *self = copy;
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, 4, 1);
  load_option(L, 3, "schema"); /* 5 */
  load_option_values(L, l, &top, 5, 2);
  lua_setiuservalue(L, 4, 2);
  lua_settop(L, 4);
  luaL_setmetatable(L, INSTANCE_TYPE);
  return 1;
}

void load_text_of(lua_State *L, int spec, struct wr_conf_text *out) {
  *out = (struct wr_conf_text){ .needs = WR_TEXT_TEXT, .hold_bytes = 256 };
  if (load_option(L, spec, "needs") == LUA_TTABLE) {
    out->needs = 0;
    for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, -1); i++) {
      lua_rawgeti(L, -1, i);
      for (uint32_t k = 0; text_needs[k]; k++)
        if (wr_span_eq(load_span(L, -1), wr_span_str(text_needs[k]))) out->needs |= 1u << k;
      lua_pop(L, 1);
    }
  }
  if (load_option(L, spec, "hold") == LUA_TNUMBER) out->hold_bytes = (uint32_t)lua_tointeger(L, -1);
  load_option(L, spec, "guard");
  out->guard = lua_toboolean(L, -1) != 0;
  lua_pop(L, 3);
}

const struct decl *load_instance(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  struct decl **self = luaL_testudata(L, idx, INSTANCE_TYPE);
  if (!self) return NULL;
  lua_getiuservalue(L, idx, 1);
  lua_getiuservalue(L, idx, 2);
  return *self;
}

bool load_is_plugin(lua_State *L, int idx) { return luaL_testudata(L, idx, PLUGIN_TYPE) != NULL; }

static void new_type(lua_State *L, const char *type, const char *shown, lua_CFunction call) {
  if (luaL_newmetatable(L, type)) {
    lua_pushstring(L, shown);
    lua_setfield(L, -2, "__metatable");
    lua_pushstring(L, shown);
    lua_setfield(L, -2, "__name");
    if (call) {
      lua_pushcfunction(L, call);
      lua_setfield(L, -2, "__call");
    }
  }
  lua_pop(L, 1);
}

void load_plugin_register(lua_State *L) {
  new_type(L, PLUGIN_TYPE, "plugin", plugin_call);
  new_type(L, INSTANCE_TYPE, "plugin with options", NULL);
  wr_vm_push_weir(L);
  lua_pushcfunction(L, plugin_new);
  lua_setfield(L, -2, "plugin");
  lua_pop(L, 1);
}

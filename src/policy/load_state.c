/* weir.counter, weir.budget, weir.flag and weir.every: what outlives a hook is declared while
 * conf.lua loads, by whatever file it requires, so that its size is known and a name means one
 * thing. */
#include <lauxlib.h>
#include <string.h>

#include "api/budget.h"
#include "api/l_tally.h"
#include "base/check.h"
#include "policy/load.h"
#include "policy/load_int.h"

/* One declaration, in the configuration's arena. */
struct load_state {
  const struct load_state *next; /* borrowed: conf arena */
  const struct decl *decl;       /* borrowed: conf arena */
  struct wr_tally_options options;
};

struct state_head {
  uint32_t window_ms, keys;
  bool on;
};

#define AT(member) (uint16_t) offsetof(struct state_head, member)
#define KEYS                                                                              \
  {                                                                                       \
    .name = "keys", .type = WR_OPT_INTEGER, .offset = AT(keys), .min = 1,                 \
    .max = WR_TALLY_KEYS_MAX                                                              \
  }
#define WINDOW(word, must)                                                                \
  {                                                                                       \
    .name = word, .type = WR_OPT_DURATION, .offset = AT(window_ms), .required = must,     \
    .min = 1000, .max = UINT64_C(31) * 86400000                                           \
  }
static const struct wr_option counter_fields[] = { WINDOW("window", false), KEYS };
static const struct wr_option budget_fields[] = { WINDOW("per", true), KEYS };
static const struct wr_option flag_fields[] = { { .name = "on", .type = WR_OPT_BOOL,
                                                  .offset = AT(on) } };
static const struct wr_schema schemas[WR_TALLY_KINDS] = {
  [WR_TALLY_COUNTER] = { .name = "counter", .fields = counter_fields, .field_count = 2 },
  [WR_TALLY_BUDGET] = { .name = "budget", .fields = budget_fields, .field_count = 2 },
  [WR_TALLY_FLAG] = { .name = "flag", .fields = flag_fields, .field_count = 1 },
};
#define KEYS_DEFAULT 1000

static struct decl *place_here(lua_State *L, struct load *l, enum decl_kind kind,
                               const char *name) {
  struct decl *d = load_alloc(L, l, sizeof *d);
  d->kind = kind;
  d->name = name;
  load_where(L, l, 1, &d->file, &d->line);
  return d;
}

/* One name is one thing, wherever it is declared. */
static void check_same(struct load *l, const struct place *at,
                       const struct wr_tally_options *o) {
  for (const struct load_state *s = l->states; s; s = s->next) {
    if (strcmp(s->options.name, o->name) != 0) continue;
    if (s->options.kind != o->kind) {
      load_error_text(l, at, "the name is taken by the %s in %s:%d",
                      wr_tally_kind_name(s->options.kind), s->decl->file, s->decl->line);
    } else if (s->options.window_ms != o->window_ms || s->options.keys != o->keys ||
               s->options.on != o->on) {
      load_error_text(l, at, "declared with other options in %s:%d", s->decl->file,
                      s->decl->line);
    }
    return;
  }
}

static void read_options(lua_State *L, struct load *l, const struct place *at,
                         struct wr_tally_options *o) {
  struct state_head head = { .keys = o->kind == WR_TALLY_FLAG ? 0 : KEYS_DEFAULT };
  if (lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    lua_newtable(L);
  }
  if (!lua_istable(L, 2)) {
    load_error_text(l, at, "expected a table of options, got %s", load_type_name(L, 2));
  } else {
    load_table(L, l, at, 2, &schemas[o->kind], &head, false);
  }
  o->window_ms = head.window_ms;
  o->keys = head.keys;
  o->on = head.on;
}

static int declare(lua_State *L, const char *function, enum wr_tally_kind kind,
                   enum decl_kind decl_kind) {
  struct load *l = load_of(L, function);
  struct wr_tally_options o = { .kind = kind, .name = "?" };
  bool named = lua_type(L, 1) == LUA_TSTRING && load_name_is_valid(load_span(L, 1));
  if (named) o.name = load_copy(L, l, load_span(L, 1));
  const struct decl *d = place_here(L, l, decl_kind, named ? o.name : NULL);
  const struct place at = { d, NULL, NULL };
  size_t errors = l->diag->errors;
  if (!named)
    load_error_text(l, &at,
                    "expected a name of letters, digits, '-', '_' and '.': %s(\"…\"), got %s",
                    function,
                    lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : load_type_name(L, 1));
  read_options(L, l, &at, &o);
  if (named) check_same(l, &at, &o);
  struct load_state *s = load_alloc(L, l, sizeof *s);
  *s = (struct load_state){ l->states, d, o };
  l->states = s;
  if (l->diag->errors != errors) { /* something to go on with, so that other mistakes are found */
    o.keys = kind == WR_TALLY_FLAG ? 0 : 1;
    o.window_ms = 1000;
    wr_script_of(L)->tallies = NULL;
  }
  enum wr_err err = wr_ltally_push(L, &o);
  if (err == WR_E_ARG) {
    load_error_text(l, &at, "no room: %u of them and %u keys are the most, over all together",
                    WR_TALLIES_MAX, WR_TALLY_ENTRIES_MAX);
  } else if (err != WR_OK) {
    l->diag->nomem = true;
    return luaL_error(L, "not enough memory");
  }
  return 1;
}

static int decl_counter(lua_State *L) {
  return declare(L, "weir.counter", WR_TALLY_COUNTER, DECL_COUNTER);
}
static int decl_budget(lua_State *L) {
  return declare(L, "weir.budget", WR_TALLY_BUDGET, DECL_BUDGET);
}
static int decl_flag(lua_State *L) { return declare(L, "weir.flag", WR_TALLY_FLAG, DECL_FLAG); }

static const struct wr_option interval = { .name = "interval", .type = WR_OPT_DURATION,
                                           .min = WR_LOAD_EVERY_MIN_MS, .max = 86400000 };

static bool read_interval(lua_State *L, struct load *l, const struct place *at, uint32_t *out) {
  char why[WR_CONF_WHY_BYTES];
  struct wr_value v = { .type = WR_VALUE_OTHER, .type_name = load_type_name(L, 1) };
  if (lua_type(L, 1) == LUA_TSTRING)
    v = (struct wr_value){ .type = WR_VALUE_TEXT, .text = load_span(L, 1) };
  enum wr_err err = wr_schema_set(&interval, out, &v, l->arena, why);
  if (err == WR_OK) return true;
  load_error_text(l, at, "the interval %s", why);
  return false;
}

/* weir.every("5s", fn) */
static int decl_every(lua_State *L) {
  struct load *l = load_of(L, "weir.every");
  struct decl *d = place_here(L, l, DECL_EVERY, NULL);
  const struct place at = { d, NULL, NULL };
  uint32_t ms = 0;
  bool good = read_interval(L, l, &at, &ms);
  if (lua_type(L, 2) != LUA_TFUNCTION) {
    load_error_text(l, &at, "expected weir.every(\"5s\", function), got %s", load_type_name(L, 2));
    good = false;
  }
  if (!good) return 0;
  if (l->conf->timer_count == WR_LOAD_EVERY_MAX) {
    load_error_text(l, &at, "more than %d timers", WR_LOAD_EVERY_MAX);
    return 0;
  }
  if (lua_getfield(L, LUA_REGISTRYINDEX, WR_LOAD_TIMERS_KEY) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, WR_LOAD_TIMERS_KEY);
  }
  lua_createtable(L, 0, 3);
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "fn");
  lua_pushinteger(L, ms);
  lua_setfield(L, -2, "ms");
  lua_pushfstring(L, "%s:%d", d->file, d->line);
  lua_setfield(L, -2, "plugin");
  lua_rawseti(L, -2, (lua_Integer)++l->conf->timer_count);
  return 0;
}

void load_state_register(lua_State *L) {
  static const luaL_Reg functions[] = { { "counter", decl_counter },
                                        { "budget", decl_budget },
                                        { "flag", decl_flag },
                                        { "every", decl_every },
                                        { NULL, NULL } };
  wr_vm_push_weir(L);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}

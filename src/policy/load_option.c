#include "policy/load_option.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/text.h"

enum base {
  B_STRING,
  B_INTEGER,
  B_NUMBER,
  B_BOOLEAN,
  B_DURATION,
  B_SIZE,
  B_UPSTREAM,
  B_KEY,
  BASES
};
static const char *const base_names[] = { "string", "integer",  "number", "boolean", "duration",
                                          "size",   "upstream", "key",    NULL };

enum shape { ONE, LIST, MAP };

struct type {
  enum shape shape;
  enum base base;
};

static bool type_of(struct wr_span text, struct type *out) {
  out->shape = ONE;
  if (wr_span_starts(text, WR_SPAN("list of "))) out->shape = LIST;
  if (wr_span_starts(text, WR_SPAN("map of "))) out->shape = MAP;
  size_t skip = out->shape == LIST ? 8 : out->shape == MAP ? 7 : 0;
  text = wr_span_sub(text, skip, text.len - skip);
  for (int i = 0; base_names[i]; i++) {
    if (!wr_span_eq(text, wr_span_str(base_names[i]))) continue;
    out->base = (enum base)i;
    return true;
  }
  return false;
}

/* The type of the entry at idx, [1] of it. */
static bool entry_type(lua_State *L, int idx, struct type *out) {
  bool ok = lua_istable(L, idx) && lua_rawgeti(L, idx, 1) == LUA_TSTRING &&
            type_of(load_span(L, -1), out);
  if (lua_istable(L, idx)) lua_pop(L, 1);
  return ok;
}

static void check_entry(lua_State *L, struct load *l, const struct place *at, int idx) {
  static const char *const known[] = { "default", "min", "max", "one_of", "required", "doc", NULL };
  struct type type;
  if (!entry_type(L, idx, &type)) {
    load_error(l, at,
               "must be { \"type\", … } with a type of string, integer, number, boolean, "
               "duration, size, upstream, key, list of T, map of T");
    return;
  }
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    struct wr_span name = load_span(L, -2);
    bool found = false;
    for (size_t i = 0; known[i]; i++) found = found || wr_span_eq(name, wr_span_str(known[i]));
    if (found) continue;
    const char *near = wr_words_suggest(known, name);
    load_error(l, at, "has an unknown property '%.*s'%s%s%s", (int)name.len, name.ptr,
               near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
  }
}

void load_option_schema(lua_State *L, struct load *l, const struct place *at, int idx) {
  const struct place top = { at->decl, at, "schema" };
  if (lua_isnil(L, idx)) return;
  if (!lua_istable(L, idx)) {
    load_error(l, &top, "must be a table, not %s", load_type_name(L, idx));
    return;
  }
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      load_error(l, &top, "has an option without a name");
      continue;
    }
    const struct place inner = { at->decl, &top, lua_tostring(L, -2) };
    check_entry(L, l, &inner, lua_gettop(L));
  }
}

static void note_name(lua_State *L, struct load *l, const struct place *at, bool key, int idx) {
  l->checks = load_grow(L, l, l->checks, l->check_count, &l->check_cap, sizeof *l->checks);
  struct name_check *c = &l->checks[l->check_count];
  c->name = load_copy(L, l, load_span(L, idx));
  c->option = load_copy(L, l,
                        wr_span_str(at->key && at->key[0] != '[' ? at->key
                                    : at->up && at->up->key      ? at->up->key
                                                                 : "?"));
  c->plugin = at->decl->name;
  c->file = at->decl->file;
  c->line = at->decl->line;
  c->key = key;
  l->check_count++;
}

/* "30s" → seconds, "64KiB" → bytes: pushed. False: not one. */
static bool push_quantity(lua_State *L, enum base base, struct wr_span text) {
  uint64_t v = 0;
  if (base == B_DURATION) {
    if (wr_text_duration_us(text, &v) != WR_OK) return false;
    lua_pushnumber(L, (lua_Number)v / 1e6);
  } else {
    if (wr_text_size_bytes(text, &v) != WR_OK || v > INT64_MAX) return false;
    lua_pushinteger(L, (lua_Integer)v);
  }
  return true;
}

static bool wrong(lua_State *L, struct load *l, const struct place *at, int idx, const char *must) {
  load_error(l, at, "must be %s, not %s", must, load_type_name(L, idx));
  lua_pushnil(L);
  return false;
}

/* Pushes the value at idx as its type wants it; nil and false when it isn't one. */
static bool push_one(lua_State *L, struct load *l, const struct place *at, enum base base,
                     int idx) {
  int type = lua_type(L, idx);
  switch (base) {
  case B_STRING:
  case B_UPSTREAM:
  case B_KEY:
    if (type != LUA_TSTRING) return wrong(L, l, at, idx, base == B_STRING ? "a string" : "a name");
    if (base != B_STRING) note_name(L, l, at, base == B_KEY, idx);
    break;
  case B_BOOLEAN:
    if (type != LUA_TBOOLEAN) return wrong(L, l, at, idx, "true or false");
    break;
  case B_INTEGER: {
    int whole = 0;
    lua_Integer i = type == LUA_TNUMBER ? lua_tointegerx(L, idx, &whole) : 0;
    if (!whole) return wrong(L, l, at, idx, "a whole number");
    lua_pushinteger(L, i);
    return true;
  }
  case B_NUMBER:
    if (type != LUA_TNUMBER) return wrong(L, l, at, idx, "a number");
    break;
  default:
    if (type == LUA_TSTRING && push_quantity(L, base, load_span(L, idx))) return true;
    return wrong(L, l, at, idx,
                 base == B_DURATION ? "a duration such as \"30s\"" : "a size such as \"64KiB\"");
  }
  lua_pushvalue(L, idx);
  return true;
}

/* The entry's min or max, in the unit of the value; false: none. */
static bool bound(lua_State *L, int entry, const char *name, enum base base, lua_Number *out) {
  bool there = false;
  int type = load_option(L, entry, name);
  if (type == LUA_TNUMBER) {
    *out = lua_tonumber(L, -1);
    there = true;
  } else if (type == LUA_TSTRING &&
             push_quantity(L, base == B_DURATION ? base : B_SIZE, load_span(L, -1))) {
    *out = lua_tonumber(L, -1);
    lua_pop(L, 1);
    there = true;
  }
  lua_pop(L, 1);
  return there;
}

static void check_range(lua_State *L, struct load *l, const struct place *at, int entry,
                        enum base base, int value) {
  lua_Number limit;
  if (lua_type(L, value) != LUA_TNUMBER) return;
  lua_Number v = lua_tonumber(L, value);
  if (bound(L, entry, "min", base, &limit) && !(v >= limit))
    load_error(l, at, "must be at least %.14g", limit);
  if (bound(L, entry, "max", base, &limit) && !(v <= limit))
    load_error(l, at, "must be at most %.14g", limit);
}

static void check_one_of(lua_State *L, struct load *l, const struct place *at, int entry,
                         int value) {
  if (load_option(L, entry, "one_of") == LUA_TTABLE) {
    char words[200] = "";
    size_t len = 0;
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    bool found = false;
    for (lua_Integer i = 1; i <= count; i++) {
      lua_rawgeti(L, -1, i);
      found = found || lua_rawequal(L, -1, value);
      const char *word = load_text(L, l, -1);
      if (word && len < sizeof words - 1)
        len += (size_t)snprintf(words + len, sizeof words - len, "%s%s", len ? ", " : "", word);
      lua_pop(L, 1);
    }
    if (!found) load_error(l, at, "must be one of: %s", words);
  }
  lua_pop(L, 1);
}

static void push_checked(lua_State *L, struct load *l, const struct place *at, int entry,
                         enum base base, int idx) {
  if (!push_one(L, l, at, base, idx)) return;
  int value = lua_gettop(L);
  check_range(L, l, at, entry, base, value);
  check_one_of(L, l, at, entry, value);
}

static void push_list(lua_State *L, struct load *l, const struct place *at, int entry,
                      enum base base, int idx) {
  lua_newtable(L);
  int out = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, idx);
  for (lua_Integer i = 1; i <= count; i++) {
    char key[24];
    snprintf(key, sizeof key, "[%lld]", (long long)i);
    const struct place inner = { at->decl, at, key };
    lua_rawgeti(L, idx, i);
    push_checked(L, l, &inner, entry, base, lua_gettop(L));
    lua_rawseti(L, out, i);
    lua_pop(L, 1);
  }
  wr_vm_freeze(L, "conf");
}

static void push_map(lua_State *L, struct load *l, const struct place *at, int entry,
                     enum base base, int idx) {
  lua_newtable(L);
  int out = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      load_error(l, at, "must have a name for each value: { name = value }");
      continue;
    }
    const struct place inner = { at->decl, at, lua_tostring(L, -2) };
    int value = lua_gettop(L);
    lua_pushvalue(L, -2);
    push_checked(L, l, &inner, entry, base, value);
    lua_rawset(L, out);
  }
  wr_vm_freeze(L, "conf");
}

static void push_value(lua_State *L, struct load *l, const struct place *at, int entry, int idx) {
  struct type type;
  luaL_checkstack(L, 12, "options");
  if (!entry_type(L, entry, &type)) {
    lua_pushnil(L); /* the schema was refused already */
  } else if (type.shape == ONE) {
    push_checked(L, l, at, entry, type.base, idx);
  } else if (!lua_istable(L, idx)) {
    load_error(l, at, "must be a %s, not %s", type.shape == LIST ? "list" : "table of name = value",
               load_type_name(L, idx));
    lua_pushnil(L);
  } else if (type.shape == LIST) {
    push_list(L, l, at, entry, type.base, idx);
  } else {
    push_map(L, l, at, entry, type.base, idx);
  }
}

#define NAMES_MAX 64
static const char *name_at(const void *ctx, size_t i) { return ((const char *const *)ctx)[i]; }

/* Options that the schema doesn't know. */
static void unknown(lua_State *L, struct load *l, const struct place *at, int schema, int values) {
  const char *names[NAMES_MAX + 1];
  size_t count = 0;
  if (schema) {
    for (lua_pushnil(L); lua_next(L, schema); lua_pop(L, 1))
      if (lua_type(L, -2) == LUA_TSTRING && count < NAMES_MAX) names[count++] = lua_tostring(L, -2);
  }
  names[count] = NULL;
  for (lua_pushnil(L); lua_next(L, values); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      load_error(l, at, "has a value without a name; write name = value");
      continue;
    }
    struct wr_span name = load_span(L, -2);
    bool known = false;
    for (size_t i = 0; i < count; i++) known = known || wr_span_eq(name, wr_span_str(names[i]));
    if (known) continue;
    const char *near = wr_suggest(name, name_at, names);
    load_error_text(l, at, "unknown option '%.*s'%s%s%s", (int)name.len, name.ptr,
                    near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
  }
}

/* One option: what was given, or the default; pushes the value for the result. */
static void push_option(lua_State *L, struct load *l, const struct place *at, int entry,
                        int values) {
  if (load_option(L, values, at->key) == LUA_TNIL) {
    lua_pop(L, 1);
    load_option(L, entry, "required");
    bool required = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (load_option(L, entry, "default") == LUA_TNIL) {
      const struct place top = { at->decl, NULL, NULL };
      if (required) load_error_text(l, &top, "option '%s' is missing", at->key);
      return; /* nil is pushed */
    }
  }
  push_value(L, l, at, entry, lua_gettop(L));
  lua_remove(L, -2);
}

void load_option_values(lua_State *L, struct load *l, const struct place *at, int idx, int values) {
  bool has_schema = lua_istable(L, idx);
  unknown(L, l, at, has_schema ? idx : 0, values);
  lua_newtable(L);
  int out = lua_gettop(L);
  if (has_schema) {
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
      if (lua_type(L, -2) != LUA_TSTRING || !lua_istable(L, -1)) continue;
      int entry = lua_gettop(L);
      const struct place inner = { at->decl, NULL, lua_tostring(L, -2) };
      lua_pushvalue(L, -2);
      push_option(L, l, &inner, entry, values);
      lua_rawset(L, out);
    }
  }
  lua_settop(L, out);
  wr_vm_freeze(L, "conf");
}

static const char *upstream_at(const void *ctx, size_t i) {
  const struct wr_conf *c = ctx;
  return i < c->group_count ? c->groups[i].name : NULL;
}

static const char *key_at(const void *ctx, size_t i) {
  const struct wr_conf *c = ctx;
  return i < c->key_count ? c->keys[i].name : NULL;
}

static bool is_known(const struct wr_conf *c, wr_name_at_fn at, const char *name) {
  const char *known;
  for (size_t i = 0; (known = at(c, i)) != NULL; i++)
    if (strcmp(known, name) == 0) return true;
  return false;
}

/* A hook may name what this configuration doesn't have, and never get there. */
static void warn_name(struct load *l, const struct name_check *c, const char *near) {
  wr_diag_warn(l->diag, c->file, c->line, "%s names '%s', which isn't declared%s%s%s", c->option,
               c->name, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

void load_option_names(struct load *l) {
  for (size_t i = 0; i < l->check_count; i++) {
    const struct name_check *c = &l->checks[i];
    wr_name_at_fn at = c->key ? key_at : upstream_at;
    if (is_known(l->conf, at, c->name)) continue;
    const char *near = wr_suggest(wr_span_str(c->name), at, l->conf);
    if (!c->plugin) {
      warn_name(l, c, near);
      continue;
    }
    wr_diag_error(l->diag, c->file, c->line,
                  "plugin '%s': '%s' names the %s '%s', which isn't "
                  "declared%s%s%s",
                  c->plugin, c->option, c->key ? "key" : "upstream", c->name,
                  near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
  }
}

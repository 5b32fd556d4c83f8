/* Lua tables → the structs of conf.h, by the schema. */
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "policy/load_int.h"

const char *load_decl_word(enum decl_kind kind) {
  static const char *const words[DECL_KINDS] = { "api",      "server", "lua",    "listen",
                                                 "upstream", "group",  "keys",   "route",
                                                 "pressure", "use",    "plugin", "counter",
                                                 "budget",   "flag",   "every" };
  return words[kind];
}

/* The names of the options down to a place, outermost first; "[1]" isn't a name that can be found.
 */
static size_t path_of(const struct place *at, const char *path[static WR_LOCATE_DEPTH]) {
  size_t depth = 0;
  for (const struct place *p = at; p && p->key; p = p->up) depth++;
  if (depth > WR_LOCATE_DEPTH) return 0;
  size_t i = depth;
  for (const struct place *p = at; p && p->key; p = p->up) path[--i] = p->key;
  return depth;
}

static int line_of(const struct load *l, const struct place *at) {
  const char *path[WR_LOCATE_DEPTH];
  size_t depth = path_of(at, path);
  if (strcmp(at->decl->file, l->file) != 0 || at->decl->line <= 0) return at->decl->line;
  return wr_locate(l->source, at->decl->line, path, depth);
}

static void put_head(struct wr_buf *b, const struct decl *d) {
  wr_buf_put(b, wr_span_str(load_decl_word(d->kind)));
  if (d->name) wr_buf_printf(b, " '%.80s'", d->name);
  wr_buf_put(b, WR_SPAN(": "));
}

static void put_option(struct wr_buf *b, const struct place *at) {
  const char *path[WR_LOCATE_DEPTH];
  size_t depth = path_of(at, path);
  if (depth == 0) return;
  wr_buf_char(b, '\'');
  for (size_t i = 0; i < depth; i++)
    wr_buf_printf(b, "%s%.60s", i && path[i][0] != '[' ? "." : "", path[i]);
  wr_buf_put(b, WR_SPAN("' "));
}

static void report(struct load *l, const struct place *at, bool option, const char *format,
                   va_list args) WR_PRINTF(4, 0);

static void report(struct load *l, const struct place *at, bool option, const char *format,
                   va_list args) {
  char head[400], what[400];
  struct wr_buf b;
  wr_buf_init(&b, head, sizeof head - 1);
  put_head(&b, at->decl);
  if (option) put_option(&b, at);
  head[b.len] = '\0';
  int len = vsnprintf(what, sizeof what, format, args);
  WR_CHECK(len >= 0);
  wr_diag_error(l->diag, at->decl->file, line_of(l, at), "%s%s", head, what);
}

void load_error(struct load *l, const struct place *at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  report(l, at, true, format, args);
  va_end(args);
}

void load_error_text(struct load *l, const struct place *at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  report(l, at, false, format, args);
  va_end(args);
}

int load_option(lua_State *L, int idx, const char *name) {
  idx = lua_absindex(L, idx);
  lua_pushstring(L, name);
  return lua_rawget(L, idx);
}

const char *load_text(lua_State *L, struct load *l, int idx) {
  switch (lua_type(L, idx)) {
  case LUA_TSTRING: return load_copy(L, l, load_span(L, idx));
  case LUA_TBOOLEAN: return lua_toboolean(L, idx) ? "true" : "false";
  case LUA_TNUMBER:
    if (lua_isinteger(L, idx)) return load_format(L, l, "%lld", (long long)lua_tointeger(L, idx));
    return load_format(L, l, "%.14g", lua_tonumber(L, idx));
  default: return NULL;
  }
}

void load_check_file(struct load *l, const struct place *at, const char *name) {
  struct stat st;
  if (stat(name, &st) != 0) {
    load_error(l, at, "file '%s' does not exist", name);
  } else if (S_ISDIR(st.st_mode)) {
    load_error(l, at, "'%s' is a folder, not a file", name);
  } else if (access(name, R_OK) != 0) {
    load_error(l, at, "file '%s' can't be read", name);
  }
}

static void *slot(const struct wr_option *f, void *target) { return (char *)target + f->offset; }

static struct wr_value value_at(lua_State *L, int idx) {
  struct wr_value v = { .type = WR_VALUE_OTHER, .type_name = load_type_name(L, idx) };
  switch (lua_type(L, idx)) {
  case LUA_TBOOLEAN:
    v.type = WR_VALUE_BOOL;
    v.boolean = lua_toboolean(L, idx);
    break;
  case LUA_TNUMBER:
    v.type = lua_isinteger(L, idx) ? WR_VALUE_INTEGER : WR_VALUE_NUMBER;
    v.integer = lua_isinteger(L, idx) ? lua_tointeger(L, idx) : 0;
    v.number = lua_tonumber(L, idx);
    break;
  case LUA_TSTRING:
    v.type = WR_VALUE_TEXT;
    v.text = load_span(L, idx);
    break;
  default: break;
  }
  return v;
}

static void read_scalar(lua_State *L, struct load *l, const struct place *at, int idx,
                        const struct wr_option *f, void *target) {
  char why[WR_CONF_WHY_BYTES];
  struct wr_value v = value_at(L, idx);
  enum wr_err err = wr_schema_set(f, target, &v, l->arena, why);
  if (err == WR_E_NOMEM) {
    l->diag->nomem = true;
    luaL_error(L, "not enough memory");
  }
  if (err != WR_OK) {
    load_error(l, at, "%s", why);
    return;
  }
  if (f->type != WR_OPT_FILE) return;
  const char *name;
  memcpy(&name, slot(f, target), sizeof name);
  name = load_path(L, l, name);
  memcpy(slot(f, target), &name, sizeof name);
  load_check_file(l, at, name);
}

/* A list of words. */
static void read_flags(lua_State *L, struct load *l, const struct place *at, int idx,
                       const struct wr_option *f, void *target) {
  if (!lua_istable(L, idx)) {
    load_error(l, at, "must be a list such as { \"POST\" }, not %s", load_type_name(L, idx));
    return;
  }
  lua_Integer count = (lua_Integer)lua_rawlen(L, idx);
  if (count == 0) load_error(l, at, "is an empty list");
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, idx, i);
    read_scalar(L, l, at, lua_gettop(L), f, target);
    lua_pop(L, 1);
  }
}

static int by_name(const struct wr_conf_header *a, const struct wr_conf_header *b) {
  bool star_a = strcmp(a->name, "*") == 0, star_b = strcmp(b->name, "*") == 0;
  if (star_a != star_b) return star_a ? 1 : -1;
  return strcmp(a->name, b->name);
}

/* In the order of their names, "*" last, so that every worker reads the same. */
static void insert_pair(struct wr_conf_header *pairs, size_t count, struct wr_conf_header pair) {
  size_t i = count;
  for (; i > 0 && by_name(&pair, &pairs[i - 1]) < 0; i--) pairs[i] = pairs[i - 1];
  pairs[i] = pair;
}

static void read_map(lua_State *L, struct load *l, const struct place *at, int idx,
                     const struct wr_option *f, void *target) {
  /* Headers, models and options of the mock are all a pair of strings. */
  _Static_assert(sizeof(struct wr_conf_header) == sizeof(struct wr_conf_model) &&
                     offsetof(struct wr_conf_header, value) ==
                         offsetof(struct wr_conf_model, provider),
                 "pairs look alike");
  if (!lua_istable(L, idx)) {
    load_error(l, at, "must be a table of name = value, not %s", load_type_name(L, idx));
    return;
  }
  struct wr_conf_header *pairs = NULL;
  size_t count = 0, cap = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      load_error(l, at, "must have a name for each value: { name = value }");
      continue;
    }
    struct wr_conf_header pair = { load_copy(L, l, load_span(L, -2)), NULL };
    pair.value = load_text(L, l, -1);
    const struct place inner = { at->decl, at, pair.name };
    if (!pair.value) {
      load_error(l, &inner, "must be a string, not %s", load_type_name(L, -1));
      continue;
    }
    pairs = load_grow(L, l, pairs, count, &cap, sizeof *pairs);
    insert_pair(pairs, count++, pair);
  }
  memcpy(slot(f, target), &pairs, sizeof pairs);
  memcpy((char *)target + f->count_offset, &count, sizeof count);
}

/* A list of strings that are not known beforehand. */
static void read_words(lua_State *L, struct load *l, const struct place *at, int idx,
                       const struct wr_option *f, void *target) {
  bool good = lua_istable(L, idx);
  size_t count = good ? lua_rawlen(L, idx) : 0, all = 0;
  if (good)
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) all++;
  good = good && all == count && (!f->max || count <= f->max);
  const char **words = load_alloc(L, l, (count + 1) * sizeof *words);
  for (size_t i = 0; i < count && good; i++) {
    good = lua_rawgeti(L, idx, (lua_Integer)i + 1) == LUA_TSTRING && (f->max || lua_rawlen(L, -1));
    if (good) words[i] = load_copy(L, l, load_span(L, -1));
    lua_pop(L, 1);
  }
  if (!good) {
    load_error(l, at, "must be a list of words such as { \"eu\", \"beta\" }");
    return;
  }
  memcpy(slot(f, target), &words, sizeof words);
  memcpy((char *)target + f->count_offset, &count, sizeof count);
}

static void read_table(lua_State *L, struct load *l, const struct place *at, int idx,
                       const struct wr_option *f, void *target) {
  if (!lua_istable(L, idx)) {
    load_error(l, at, "must be a table, not %s", load_type_name(L, idx));
    return;
  }
  void *inner = slot(f, target);
  if (f->by_pointer) {
    /* All tables behind a pointer are struct wr_conf_tls now; the block is large enough for any. */
    inner = load_alloc(L, l, sizeof(struct wr_conf_tls));
    memcpy(slot(f, target), &inner, sizeof inner);
    wr_schema_defaults(f->table, inner);
  }
  load_table(L, l, at, idx, f->table, inner, false); /* tables nest three deep, by the schema */
}

static void read_field(lua_State *L, struct load *l, const struct place *at, int idx,
                       const struct wr_option *f, void *target) {
  switch (f->type) {
  case WR_OPT_TABLE: read_table(L, l, at, idx, f, target); break;
  case WR_OPT_FLAGS: read_flags(L, l, at, idx, f, target); break;
  case WR_OPT_MAP: read_map(L, l, at, idx, f, target); break;
  case WR_OPT_WORDS: read_words(L, l, at, idx, f, target); break;
  case WR_OPT_SECRET: load_secret(L, l, at, idx, slot(f, target)); break;
  case WR_OPT_LATER: load_error(l, at, "is not available in this version"); break;
  case WR_OPT_URLS:
  case WR_OPT_PRICES:
  case WR_OPT_LIMIT:
  case WR_OPT_WEIGHTS:
  case WR_OPT_MARK:
  case WR_OPT_NAMES:
  case WR_OPT_NAME:
  case WR_OPT_USE:
  case WR_OPT_HOOK: break; /* whoever asked for the table knows these */
  default: read_scalar(L, l, at, idx, f, target); break;
  }
}

static void unknown_options(lua_State *L, struct load *l, const struct place *at, int idx,
                            const struct wr_schema *schema, bool positional) {
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      if (positional && lua_isinteger(L, -2)) continue;
      load_error(l, at, "has a value without a name (%s); write name = value",
                 load_type_name(L, -1));
      continue;
    }
    struct wr_span name = load_span(L, -2);
    if (wr_schema_find(schema, name)) continue;
    char key[64];
    snprintf(key, sizeof key, "%.*s", (int)name.len, name.ptr);
    const struct place inner = { at->decl, at, key };
    const char *near = wr_schema_suggest(schema, name);
    struct wr_buf b;
    char option[160];
    wr_buf_init(&b, option, sizeof option - 1);
    put_option(&b, &inner);
    option[b.len ? b.len - 1 : 0] = '\0';
    if (near) {
      load_error_text(l, &inner, "unknown option %s (did you mean '%s'?)", option, near);
    } else {
      load_error_text(l, &inner, "unknown option %s", option);
    }
  }
}

void load_table(lua_State *L, struct load *l, const struct place *at, int idx,
                const struct wr_schema *schema, void *target, bool positional) {
  luaL_checkstack(L, 8, "nested options");
  idx = lua_absindex(L, idx);
  unknown_options(L, l, at, idx, schema, positional);
  for (size_t i = 0; i < schema->field_count; i++) {
    const struct wr_option *f = &schema->fields[i];
    const struct place inner = { at->decl, at, f->name };
    if (load_option(L, idx, f->name) != LUA_TNIL) {
      read_field(L, l, &inner, lua_gettop(L), f, target);
    } else if (f->required) {
      load_error_text(l, at, "option '%s%s%s' is missing", at->key ? at->key : "",
                      at->key ? "." : "", f->name);
    }
    lua_pop(L, 1);
  }
}

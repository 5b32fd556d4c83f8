/* weir.pressure: ladders of steps, one a meter. */
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/text.h"
#include "policy/load_int.h"

#define CLASSES_MAX 64

/* What may stand in a step as a word of its own; CAP_OUTPUT is an option. */
static const char *const words[] = { "coalesce",    "shrink_buffers", "no_hedge",
                                     "no_retry",    "empty_shelf",    "stop_largest",
                                     "route:GROUP", "shed:CLASS",     "shed:all", NULL };

static const char *meter_name_at(const void *ctx, size_t i) {
  (void)ctx;
  return i < WR_METERS ? wr_meter_name((enum wr_meter)i) : NULL;
}

static bool meter_of(struct load *l, const struct decl *d, enum wr_meter *out) {
  for (int m = 0; m < WR_METERS; m++) {
    *out = (enum wr_meter)m;
    if (strcmp(d->name, wr_meter_name(*out)) == 0) return true;
  }
  const struct place top = { d, NULL, NULL };
  const char *near = wr_suggest(wr_span_str(d->name), meter_name_at, NULL);
  load_error_text(l, &top,
                  "no such meter; expected \"memory\", \"process\", \"stall\" or "
                  "\"loop_lag\"%s%s%s",
                  near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
  return false;
}

/* A mark in the unit of its meter; false after an error. */
static bool read_mark(lua_State *L, struct load *l, const struct place *at, enum wr_meter meter,
                      int idx, uint32_t *out) {
  uint64_t us = 0;
  double share = 0;
  if (wr_meter_is_time(meter)) {
    if (lua_type(L, idx) == LUA_TSTRING &&
        wr_text_duration_us(load_span(L, idx), &us) == WR_OK && us > 0 && us <= 3600000000u) {
      *out = (uint32_t)us;
      return true;
    }
    load_error(l, at, "must be a duration such as \"50ms\", of at most an hour");
    return false;
  }
  if (lua_type(L, idx) == LUA_TNUMBER) share = lua_tonumber(L, idx);
  if (share > 0.0 && share <= 1.0) {
    *out = (uint32_t)lround(share * WR_LADDER_FULL);
    if (*out > 0) return true;
  }
  load_error(l, at, "must be a share above 0 and up to 1, such as 0.70");
  return false;
}

static void read_marks(lua_State *L, struct load *l, const struct place *top, enum wr_meter meter,
                       int idx, const struct wr_conf_step *before, struct wr_conf_step *out) {
  const struct place at = { top->decl, top, "at" }, off = { top->decl, top, "off" };
  bool good = load_option(L, idx, "at") != LUA_TNIL && read_mark(L, l, &at, meter, -1, &out->at);
  lua_pop(L, 1);
  uint32_t tenth = WR_LADDER_FULL / 10;
  out->off = wr_meter_is_time(meter) || out->at <= tenth ? out->at / 2 : out->at - tenth;
  if (load_option(L, idx, "off") != LUA_TNIL) good &= read_mark(L, l, &off, meter, -1, &out->off);
  lua_pop(L, 1);
  if (!good) return;
  if (before && out->at <= before->at)
    load_error(l, &at, "must be above that of the step before");
  if (out->off >= out->at)
    load_error(l, &off, "must be below 'at', or the step would come and go");
}

static const char *class_at(const void *ctx, size_t i) {
  const struct wr_conf *c = ctx;
  return i < c->key_count ? c->keys[i].class_name : NULL;
}

static void add_class(lua_State *L, struct load *l, const struct place *at, struct wr_span name,
                      struct wr_conf_step *out, const char **list) {
  const struct wr_conf *c = l->conf;
  bool known = false;
  for (size_t i = 0; i < c->key_count; i++)
    known = known || wr_span_eq(name, wr_span_str(c->keys[i].class_name));
  const char *near = known ? NULL : wr_suggest(name, class_at, c);
  int len = (int)(name.len < 60 ? name.len : 60);
  if (!known && near)
    load_error(l, at, "names the class '%.*s', which no key has (did you mean '%s'?)", len,
               name.ptr, near);
  else if (!known)
    wr_diag_warn(l->diag, at->decl->file, at->decl->line,
                 "pressure '%s': no key has the class '%.*s'", at->decl->name, len, name.ptr);
  if (out->shed_count >= CLASSES_MAX) return;
  list[out->shed_count++] = load_copy(L, l, name);
  out->actions |= 1u << WR_ACTION_SHED;
}

static const char *group_at(const void *ctx, size_t i) {
  const struct wr_conf *c = ctx;
  return i < c->group_count ? c->groups[i].name : NULL;
}

static void set_route(struct load *l, const struct place *at, struct wr_span name,
                      struct wr_conf_step *out) {
  out->route = wr_conf_group_find(l->conf, name);
  out->actions |= 1u << WR_ACTION_ROUTE;
  if (out->route != UINT32_MAX) return;
  const char *near = wr_suggest(name, group_at, l->conf);
  load_error(l, at, "names '%.*s', which is neither an upstream nor a group%s%s%s",
             (int)(name.len < 60 ? name.len : 60), name.ptr, near ? " (did you mean '" : "",
             near ? near : "", near ? "'?)" : "");
}

static void add_word(lua_State *L, struct load *l, const struct place *at, struct wr_span word,
                     struct wr_conf_step *out, const char **list) {
  struct wr_span shed = WR_SPAN("shed:"), route = WR_SPAN("route:");
  if (wr_span_eq(word, WR_SPAN("shed:all"))) {
    out->actions |= 1u << WR_ACTION_SHED_ALL;
    return;
  }
  if (wr_span_starts(word, shed) && word.len > shed.len) {
    add_class(L, l, at, wr_span_sub(word, shed.len, word.len - shed.len), out, list);
    return;
  }
  if (wr_span_starts(word, route) && word.len > route.len) {
    set_route(l, at, wr_span_sub(word, route.len, word.len - route.len), out);
    return;
  }
  for (int a = 0; a < WR_ACTIONS; a++) {
    bool alone = a != WR_ACTION_CAP_OUTPUT && a != WR_ACTION_ROUTE && a != WR_ACTION_SHED &&
                 a != WR_ACTION_SHED_ALL;
    if (!alone || !wr_span_eq(word, wr_span_str(wr_action_name((enum wr_action)a)))) continue;
    out->actions |= 1u << a;
    return;
  }
  const char *near = wr_words_suggest(words, word);
  load_error(l, at, "has an unknown action '%.*s'%s%s%s", (int)(word.len < 60 ? word.len : 60),
             word.ptr, near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

static void build_step(lua_State *L, struct load *l, const struct place *at, enum wr_meter meter,
                       const struct wr_conf_step *before, struct wr_conf_step *out) {
  int idx = lua_gettop(L);
  load_table(L, l, at, idx, &wr_schema_pressure, out, true);
  read_marks(L, l, at, meter, idx, before, out);
  if (out->cap_tokens) out->actions |= 1u << WR_ACTION_CAP_OUTPUT;
  lua_Integer count = (lua_Integer)lua_rawlen(L, idx);
  const char **list = load_alloc(L, l, CLASSES_MAX * sizeof *list);
  out->shed = list;
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, idx, i);
    if (lua_type(L, -1) == LUA_TSTRING)
      add_word(L, l, at, load_span(L, -1), out, list);
    else
      load_error(l, at, "must hold actions, such as \"coalesce\", not %s", load_type_name(L, -1));
    lua_pop(L, 1);
  }
  bool capped = load_option(L, idx, "cap_output") != LUA_TNIL;
  if (count == 0 && !capped) load_error(l, at, "has no action");
  lua_pop(L, 1);
}

static void build_ladder(lua_State *L, struct load *l, const struct decl *d) {
  enum wr_meter meter;
  if (!meter_of(l, d, &meter)) return;
  const struct place top = { d, NULL, NULL };
  struct wr_conf_ladder *ladder = &l->conf->ladders[meter];
  load_push_table(L, l, d);
  int idx = lua_gettop(L);
  lua_Integer count = (lua_Integer)lua_rawlen(L, idx), entries = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) entries++;
  if (entries != count || count > (lua_Integer)WR_LADDER_STEPS) {
    load_error_text(l, &top, "must be a list of at most %d steps: { { at = … }, … }",
                    (int)WR_LADDER_STEPS);
    count = 0;
  }
  struct wr_conf_step *steps = load_alloc(L, l, ((size_t)count + 1) * sizeof *steps);
  for (lua_Integer i = 0; i < count; i++) {
    char key[24];
    snprintf(key, sizeof key, "[%d]", (int)i + 1);
    const struct place at = { d, &top, key };
    lua_rawgeti(L, idx, i + 1);
    if (lua_istable(L, -1))
      build_step(L, l, &at, meter, i ? &steps[i - 1] : NULL, &steps[i]);
    else
      load_error(l, &at, "must be a step, { at = … }, not %s", load_type_name(L, -1));
    lua_settop(L, idx);
  }
  *ladder = (struct wr_conf_ladder){ .steps = steps, .count = (uint32_t)count, .line = d->line };
  lua_pop(L, 1);
}

void load_pressure(lua_State *L, struct load *l) {
  for (int m = 0; m < WR_METERS; m++)
    wr_conf_ladder_default((enum wr_meter)m, &l->conf->ladders[m]);
  for (size_t i = 0; i < l->decl_count; i++)
    if (l->decls[i].kind == DECL_PRESSURE) build_ladder(L, l, &l->decls[i]);
}

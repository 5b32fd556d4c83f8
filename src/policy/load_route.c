/* Routes: what they match, where they lead. Their hooks are load_hooks.c. */
#include <lauxlib.h>
#include <string.h>

#include "base/check.h"
#include "policy/load_int.h"
#include "wire/url.h"

/* Two joined events and more, however small the mark is. */
#define SLOW_MAX_BYTES (32u << 10)

static const char *group_name_at(const void *ctx, size_t i) {
  const struct wr_conf *c = ctx;
  return i < c->group_count ? c->groups[i].name : NULL;
}

static void read_to(lua_State *L, struct load *l, const struct place *top, int idx,
                    struct wr_conf_route *r) {
  const struct place at = { top->decl, NULL, "to" };
  if (load_option(L, idx, "to") == LUA_TSTRING) {
    struct wr_span name = load_span(L, -1);
    r->to = wr_conf_group_find(l->conf, name);
    if (r->to == UINT32_MAX) {
      const char *near = wr_suggest(name, group_name_at, l->conf);
      load_error(l, &at, "names '%.*s', which is neither an upstream nor a group%s%s%s",
                 (int)(name.len < 64 ? name.len : 64), name.ptr, near ? " (did you mean '" : "",
                 near ? near : "", near ? "'?)" : "");
    }
  } else if (!lua_isnil(L, -1)) {
    load_error(l, &at, "must be the name of an upstream or a group, not %s", load_type_name(L, -1));
  }
  lua_pop(L, 1);
}

static void check_path(struct load *l, const struct place *at, const char *path) {
  size_t len = strlen(path);
  if (strcmp(path, "*") == 0) return;
  if (len >= 2 && path[len - 1] == '*' && path[len - 2] == '/') len--;
  if (memchr(path, '*', len)) {
    load_error(l, at, "may have a '*' only at the end, behind a '/': \"/v1/*\"");
  } else if (!wr_path_check(wr_span_make(path, len))) {
    load_error(l, at, "must be a path such as \"/v1/chat/completions\", not \"%.80s\"", path);
  }
}

static void check_host(struct load *l, const struct place *at, const char *host) {
  struct wr_authority a;
  if (wr_authority_parse(wr_span_str(host), &a) != WR_OK || a.port != 0)
    load_error(l, at, "must be a host's name without a port, not \"%.80s\"", host);
}

static void check_slow(lua_State *L, struct load *l, const struct place *top, int idx,
                       struct wr_conf_route *r) {
  const struct place slow = { top->decl, NULL, "slow_client" };
  const struct place low = { top->decl, &slow, "low" }, max = { top->decl, &slow, "max" };
  bool low_given = false;
  if (load_option(L, idx, "slow_client") == LUA_TTABLE) {
    low_given = load_option(L, lua_gettop(L), "low") != LUA_TNIL;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  /* A high mark below the default of low moves low with it. */
  if (!low_given && r->slow_low_bytes >= r->slow_high_bytes)
    r->slow_low_bytes = r->slow_high_bytes / 4;
  if (r->slow_low_bytes >= r->slow_high_bytes)
    load_error(l, &low, "must be less than 'slow_client.high'");
  if (!r->slow_max_bytes) {
    r->slow_max_bytes = r->slow_high_bytes > UINT32_MAX / 4 ? UINT32_MAX : r->slow_high_bytes * 4;
    if (r->slow_max_bytes < SLOW_MAX_BYTES) r->slow_max_bytes = SLOW_MAX_BYTES;
  }
  if (r->slow_max_bytes < r->slow_high_bytes)
    load_error(l, &max, "must not be less than 'slow_client.high'");
}

/* Who can go on with an answer, of a group or (NULL) of all. */
static size_t count_able(const struct wr_conf *c, const struct wr_conf_group *g) {
  size_t n = g ? g->member_count : c->upstream_count, able = 0;
  for (size_t i = 0; i < n; i++)
    able += c->upstreams[g ? g->members[i] : i].prefill != WR_PREFILL_NONE;
  return able;
}

/* What could never happen isn't configured by accident. */
static void check_continue(struct load *l, const struct place *top, const struct wr_conf_route *r) {
  const struct place at = { top->decl, NULL, "continue" };
  if (!r->continues || r->to == UINT32_MAX) return;
  const struct wr_conf_group *g = &l->conf->groups[r->to];
  if (!count_able(l->conf, NULL)) {
    load_error(l, &at, "needs an upstream in '%s' that can go on with an answer: say there "
               "prefill = true, \"prefix\" or \"vllm\"", g->name);
  } else if (!count_able(l->conf, g)) { /* a hook may send requests elsewhere */
    wr_diag_warn(l->diag, l->file, r->line,
                 "route '%s': 'continue' finds nobody in '%s' that has 'prefill'", r->name,
                 g->name);
  } else if (g->attempts < 2) {
    load_error(l, &at, "needs a second attempt: 'retry.attempts' of '%s' is 1", g->name);
  } else if (g->member_count < 2 && l->conf->upstreams[g->members[0]].url_count < 2) {
    wr_diag_warn(l->diag, l->file, r->line,
                 "route '%s': 'continue' finds nobody else in '%s' unless its name has several "
                 "addresses", r->name, g->name);
  }
}

static void build_route(lua_State *L, struct load *l, const struct decl *d,
                        struct wr_conf_route *r) {
  const struct place top = { d, NULL, NULL };
  const struct place match = { d, NULL, "match" };
  const struct place path = { d, &match, "path" }, host = { d, &match, "host" };
  wr_schema_defaults(&wr_schema_route, r);
  r->name = d->name;
  r->line = d->line;
  load_push_table(L, l, d);
  int idx = lua_gettop(L);
  load_table(L, l, &top, idx, &wr_schema_route, r, false);
  read_to(L, l, &top, idx, r);
  if (r->path) check_path(l, &path, r->path);
  if (r->host) check_host(l, &host, r->host);
  check_slow(L, l, &top, idx, r);
  r->hedge.on = load_option(L, idx, "hedge") != LUA_TNIL;
  lua_pop(L, 1);
  const struct place rate = { d, NULL, "min_rate" };
  if (r->min_rate_chars && r->commit == WR_COMMIT_ALIVE)
    load_error(l, &rate, "needs commit = \"content\": what the client has can't be given up");
  check_continue(l, &top, r);
  r->keys_required = l->conf->keys_declared && !r->open;
  lua_pop(L, 1);
}

void load_routes(lua_State *L, struct load *l) {
  struct wr_conf_route *routes = load_alloc(L, l, (l->decl_count + 1) * sizeof *routes);
  l->routes = routes;
  l->conf->routes = routes;
  for (size_t i = 0; i < l->decl_count; i++) {
    if (l->decls[i].kind != DECL_ROUTE) continue;
    build_route(L, l, &l->decls[i], &routes[l->conf->route_count]);
    l->conf->route_count++;
  }
  if (l->conf->route_count == 0 && l->diag->errors == 0)
    wr_diag_error(l->diag, l->file, 0,
                  "no route: declare one, such as weir.route \"all\" "
                  "{ match = { path = \"*\" }, to = \"…\" }");
}

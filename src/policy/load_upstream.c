/* Upstreams and groups. */
#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "mock/mock.h"
#include "policy/load_int.h"
#include "wire/http1_write.h"
#include "wire/json_scan.h"
#include "wire/url.h"

#define HEADER_MAX_BYTES 16384

static const char *copy_extent(lua_State *L, struct load *l, const char *text, struct wr_extent e) {
  return load_copy(L, l, wr_span_at(text, e));
}

/* A user, a password and what a query says are nobody's to read in a message. */
static struct wr_span without_secrets(struct wr_span url) {
  size_t len = 0;
  while (len < url.len && url.ptr[len] != '?' && url.ptr[len] != '#') len++;
  const char *at = len ? memrchr(url.ptr, '@', len) : NULL;
  size_t from = at ? (size_t)(at - url.ptr) : 0;
  return wr_span_sub(url, from, len - from);
}

static bool read_url(lua_State *L, struct load *l, const struct place *at, int idx,
                     struct wr_conf_url *out) {
  if (lua_type(L, idx) != LUA_TSTRING) {
    load_error(l, at, "must be a URL such as \"https://api.openai.com\", not %s",
               load_type_name(L, idx));
    return false;
  }
  struct wr_span text = load_span(L, idx);
  struct wr_url url;
  enum wr_err err = wr_url_parse(text, &url);
  if (err != WR_OK) {
    struct wr_span shown = without_secrets(text);
    load_error(l, at,
               "must be http://host[:port][/path] or https://…, without user, query or "
               "fragment, not \"%s%.*s\"",
               shown.len < text.len ? "…" : "", (int)(shown.len < 80 ? shown.len : 80), shown.ptr);
    return false;
  }
  out->text = load_copy(L, l, text);
  out->host = copy_extent(L, l, out->text, url.host);
  out->authority = copy_extent(L, l, out->text, url.authority);
  struct wr_extent path = url.path;
  while (path.len > 0 && out->text[path.off + path.len - 1] == '/') path.len--;
  out->base_path = copy_extent(L, l, out->text, path);
  out->port = url.port;
  out->tls = url.tls;
  return true;
}

static void read_urls(lua_State *L, struct load *l, const struct place *top, int idx,
                      struct wr_conf_upstream *u) {
  const struct place at = { top->decl, NULL, "url" };
  int type = load_option(L, idx, "url");
  int value = lua_gettop(L);
  if (type == LUA_TNIL) {
    if (u->kind != WR_KIND_MOCK) load_error_text(l, top, "option 'url' is missing");
  } else if (u->kind == WR_KIND_MOCK) {
    load_error(l, &at, "isn't for kind \"mock\", which runs inside weir");
  } else if (type == LUA_TTABLE) {
    lua_Integer count = (lua_Integer)lua_rawlen(L, value);
    struct wr_conf_url *urls = load_alloc(L, l, ((size_t)count + 1) * sizeof *urls);
    if (count == 0) load_error(l, &at, "is an empty list");
    for (lua_Integer i = 1; i <= count; i++) {
      lua_rawgeti(L, value, i);
      if (read_url(L, l, &at, lua_gettop(L), &urls[u->url_count])) u->url_count++;
      lua_pop(L, 1);
    }
    u->urls = urls;
  } else {
    struct wr_conf_url *one = load_alloc(L, l, sizeof *one);
    if (read_url(L, l, &at, value, one)) u->url_count = 1;
    u->urls = one;
  }
  lua_pop(L, 1);
}

/* { "adaptive", min = 8, max = 256 } */
static void read_adaptive(lua_State *L, struct load *l, const struct place *at, int idx,
                          size_t entries, struct wr_conf_upstream *u) {
  static const char *const names[] = { "min", "max" };
  lua_Integer bounds[2] = { 8, 256 };
  bool ok = true;
  for (int i = 0; i < 2; i++) {
    int type = load_option(L, idx, names[i]), whole = 1;
    if (type != LUA_TNIL) {
      bounds[i] = type == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
      entries--;
    }
    ok = ok && whole && bounds[i] >= 1 && bounds[i] <= 1000000;
    lua_pop(L, 1);
  }
  if (!ok || entries != 1 || bounds[0] > bounds[1])
    load_error(l, at, "must be { \"adaptive\", min = 8, max = 256 }, numbers from 1 to 1000000");
  u->limit_min = (uint32_t)bounds[0];
  u->max_streams = (uint32_t)bounds[1];
}

static void read_limit(lua_State *L, struct load *l, const struct place *top, int idx,
                       struct wr_conf_upstream *u) {
  const struct place at = { top->decl, NULL, "limit" };
  if (load_option(L, idx, "limit") == LUA_TTABLE) {
    int whole = 0;
    int type = lua_rawgeti(L, -1, 1);
    lua_Integer n = type == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
    bool word = type == LUA_TSTRING;
    bool adaptive = word && wr_span_eq(load_span(L, -1), WR_SPAN("adaptive"));
    lua_pop(L, 1);
    size_t entries = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) entries++;
    if (adaptive) {
      read_adaptive(L, l, &at, lua_gettop(L), entries, u);
    } else if (!whole || n < 1 || n > 10000000 || entries != 1) {
      load_error(l, &at, "must be { n }, a number of streams from 1 to 10000000");
    } else {
      u->max_streams = (uint32_t)n;
    }
  } else if (!lua_isnil(L, -1)) {
    load_error(l, &at, "must be a table such as { 64 }, not %s", load_type_name(L, -1));
  }
  lua_pop(L, 1);
}

/* A list of `count` weights, with a 0 behind it; NULL when there is none. Weights mean that turns
 * are not equal. */
static const uint32_t *read_weights(lua_State *L, struct load *l, const struct place *top, int idx,
                                    size_t count, enum wr_balance *balance) {
  const struct place at = { top->decl, NULL, "weights" };
  uint32_t *weights = NULL;
  if (load_option(L, idx, "weights") == LUA_TTABLE) {
    weights = load_alloc(L, l, (count + 1) * sizeof *weights);
    bool ok = lua_rawlen(L, -1) == count;
    for (size_t i = 0; ok && i < count; i++) {
      int whole = 0;
      lua_rawgeti(L, -1, (lua_Integer)i + 1);
      lua_Integer n = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
      lua_pop(L, 1);
      ok = whole && n >= 1 && n <= 1000;
      weights[i] = ok ? (uint32_t)n : 1;
    }
    if (!ok) load_error(l, &at, "must be %zu whole numbers from 1 to 1000, one for each", count);
    if (*balance == WR_BALANCE_ROUND_ROBIN) *balance = WR_BALANCE_WEIGHTED;
  } else if (!lua_isnil(L, -1)) {
    load_error(l, &at, "must be a list such as { 3, 1 }, not %s", load_type_name(L, -1));
  }
  lua_pop(L, 1);
  return weights;
}

static void check_peers(struct load *l, const struct place *top, const struct wr_conf_upstream *u) {
  const struct place health = { top->decl, NULL, "health" };
  const struct place breaker = { top->decl, NULL, "breaker" };
  const struct place path = { top->decl, &health, "path" };
  const struct place most = { top->decl, &breaker, "open_max" };
  if (u->health.path && (u->health.path[0] != '/' || strchr(u->health.path, ' ')))
    load_error(l, &path, "must begin with \"/\" and have no blank, such as \"/health\"");
  if (u->breaker.open_max_ms < u->breaker.open_ms)
    load_error(l, &most, "must not be less than 'open'");
}

static bool has_model(const struct wr_conf_upstream *u, const char *name) {
  for (size_t i = 0; i < u->model_count; i++)
    if (strcmp(u->models[i].client, name) == 0 || strcmp(u->models[i].client, "*") == 0)
      return true;
  return u->model_count == 0;
}

static bool read_price(lua_State *L, int idx, struct wr_conf_price *out) {
  double *const to[2] = { &out->input, &out->output };
  if (!lua_istable(L, idx) || lua_rawlen(L, idx) != 2) return false;
  for (int i = 0; i < 2; i++) {
    int type = lua_rawgeti(L, idx, i + 1);
    *to[i] = type == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    lua_pop(L, 1);
    if (!(*to[i] >= 0) || !isfinite(*to[i])) return false;
  }
  return true;
}

static void read_prices(lua_State *L, struct load *l, const struct place *top, int idx,
                        struct wr_conf_upstream *u) {
  const struct place at = { top->decl, NULL, "price" };
  if (load_option(L, idx, "price") == LUA_TTABLE) {
    struct wr_conf_price *prices = NULL;
    size_t cap = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      struct wr_conf_price p = { 0 };
      if (lua_type(L, -2) == LUA_TSTRING) p.model = load_copy(L, l, load_span(L, -2));
      const struct place inner = { top->decl, &at, p.model };
      if (!p.model || !read_price(L, lua_gettop(L), &p)) {
        load_error(l, p.model ? &inner : &at,
                   "must be model = { in, out }: dollars per million tokens");
        continue;
      }
      if (!has_model(u, p.model))
        load_error(l, &inner, "is the price of a model that isn't in 'models'");
      prices = load_grow(L, l, prices, u->price_count, &cap, sizeof *prices);
      size_t i = u->price_count++;
      for (; i > 0 && strcmp(p.model, prices[i - 1].model) < 0; i--) prices[i] = prices[i - 1];
      prices[i] = p;
    }
    u->prices = prices;
  } else if (!lua_isnil(L, -1)) {
    load_error(l, &at, "must be a table of model = { in, out }, not %s", load_type_name(L, -1));
  }
  lua_pop(L, 1);
}

/* Fields that the relay writes itself: a second one would be a framing or a routing error. */
static bool is_reserved(const char *name) {
  static const char *const names[] = { "host",
                                       "content-length",
                                       "transfer-encoding",
                                       "connection",
                                       "keep-alive",
                                       "te",
                                       "trailer",
                                       "upgrade",
                                       "expect",
                                       "proxy-connection",
                                       "accept-encoding",
                                       NULL };
  for (size_t i = 0; names[i]; i++)
    if (wr_span_ieq(wr_span_str(name), wr_span_str(names[i]))) return true;
  return false;
}

static void check_headers(struct load *l, const struct place *top,
                          const struct wr_conf_upstream *u) {
  const struct place at = { top->decl, NULL, "headers" };
  char scratch[HEADER_MAX_BYTES];
  for (size_t i = 0; i < u->header_count; i++) {
    const struct wr_conf_header *h = &u->headers[i];
    const struct place inner = { top->decl, &at, h->name };
    struct wr_buf b;
    wr_buf_init(&b, scratch, sizeof scratch);
    if (is_reserved(h->name)) {
      load_error(l, &inner, "is a header that weir writes itself");
    } else if (wr_http1_put_field(&b, wr_span_str(h->name), wr_span_str(h->value)) != WR_OK) {
      load_error(l, &inner,
                 "is not a valid header (a name is a token, a value has no control "
                 "characters)");
    }
  }
}

static void check_mock(struct load *l, const struct place *top, const struct wr_conf_upstream *u) {
  const struct place at = { top->decl, NULL, "mock" };
  if (u->mock_count > 0 && u->kind != WR_KIND_MOCK) load_error(l, &at, "is only for kind \"mock\"");
  struct wr_mock_options opts;
  wr_mock_options_init(&opts);
  for (size_t i = 0; u->kind == WR_KIND_MOCK && i < u->mock_count; i++) {
    const struct place inner = { top->decl, &at, u->mock[i].name };
    char why[200] = "";
    enum wr_err err =
        wr_mock_options_set(&opts, WR_MOCK_FROM_OPERATOR, wr_span_str(u->mock[i].name),
                            wr_span_str(u->mock[i].value), why, sizeof why);
    if (err != WR_OK) load_error(l, &inner, "%s", why[0] ? why : wr_err_text(err));
  }
}

static void check_models(struct load *l, const struct place *top,
                         const struct wr_conf_upstream *u) {
  const struct place at = { top->decl, NULL, "models" };
  for (size_t i = 0; i < u->model_count; i++) {
    const struct place inner = { top->decl, &at, u->models[i].client };
    if (!u->models[i].client[0] || !u->models[i].provider[0])
      load_error(l, &inner, "must be a name that isn't empty");
  }
}

static void check_text_path(struct load *l, const struct place *at, const char *path) {
  struct wr_json_prog prog;
  const char *const paths[] = { path };
  if (wr_json_compile(&prog, paths, 1) != WR_OK)
    load_error(l, at, "is not a path such as \"choices.0.text\"");
}

static void check_upstream(struct load *l, const struct place *top, struct wr_conf_upstream *u) {
  const struct place tls = { top->decl, NULL, "tls" };
  const struct place text = { top->decl, NULL, "text_path" };
  check_headers(l, top, u);
  check_mock(l, top, u);
  check_models(l, top, u);
  if (!u->tls.cert != !u->tls.key)
    load_error(l, &tls, "needs both 'cert' and 'key' for a client certificate, or none");
  if (u->text_path && u->kind != WR_KIND_SSE) load_error(l, &text, "is only for kind \"sse\"");
  if (u->text_path) check_text_path(l, &text, u->text_path);
}

static void build_upstream(lua_State *L, struct load *l, const struct decl *d,
                           struct wr_conf_upstream *u) {
  const struct place top = { d, NULL, NULL };
  wr_schema_defaults(&wr_schema_upstream, u);
  u->name = d->name;
  u->line = d->line;
  load_push_table(L, l, d);
  int idx = lua_gettop(L);
  load_table(L, l, &top, idx, &wr_schema_upstream, u, false);
  bool has_kind = load_option(L, idx, "kind") == LUA_TSTRING &&
                  wr_span_eq(load_span(L, -1), wr_span_str(wr_kind_name(u->kind)));
  lua_pop(L, 1);
  if (has_kind) read_urls(L, l, &top, idx, u);
  read_limit(L, l, &top, idx, u);
  read_prices(L, l, &top, idx, u);
  u->weights = read_weights(L, l, &top, idx, u->kind == WR_KIND_MOCK ? 1 : u->url_count,
                            &u->balance);
  check_upstream(l, &top, u);
  check_peers(l, &top, u);
  lua_pop(L, 1);
}

static size_t count_kind(const struct load *l, enum decl_kind kind) {
  size_t n = 0;
  for (size_t i = 0; i < l->decl_count; i++) n += l->decls[i].kind == kind;
  return n;
}

void load_upstreams(lua_State *L, struct load *l) {
  struct wr_conf *c = l->conf;
  size_t count = count_kind(l, DECL_UPSTREAM);
  size_t groups = count + count_kind(l, DECL_GROUP);
  struct wr_conf_upstream *all = load_alloc(L, l, (count + 1) * sizeof *all);
  struct wr_conf_group *own = load_alloc(L, l, (groups + 1) * sizeof *own);
  uint32_t *members = load_alloc(L, l, (count + 1) * sizeof *members);
  c->upstreams = all;
  c->groups = own;
  l->groups = own;
  for (size_t i = 0; i < l->decl_count; i++) {
    if (l->decls[i].kind != DECL_UPSTREAM) continue;
    size_t n = c->upstream_count;
    build_upstream(L, l, &l->decls[i], &all[n]);
    wr_schema_defaults(&wr_schema_group, &own[n]);
    members[n] = (uint32_t)n;
    own[n].retry_on = WR_RETRY_ON_DEFAULT;
    own[n].name = all[n].name;
    own[n].members = &members[n];
    own[n].member_count = 1;
    own[n].queue = all[n].queue;
    own[n].line = all[n].line;
    c->upstream_count++;
    c->group_count++;
  }
}

static const char *upstream_name_at(const void *ctx, size_t i) {
  const struct wr_conf *c = ctx;
  return i < c->upstream_count ? c->upstreams[i].name : NULL;
}

struct member_list {
  uint32_t *members; /* borrowed: conf arena */
  size_t count;
};

static bool is_group(const struct load *l, const char *name) {
  for (size_t i = 0; i < l->decl_count; i++)
    if (l->decls[i].kind == DECL_GROUP && strcmp(l->decls[i].name, name) == 0) return true;
  return false;
}

static void add_member(lua_State *L, struct load *l, const struct place *at, int idx,
                       struct member_list *list) {
  if (lua_type(L, idx) != LUA_TSTRING) {
    load_error_text(l, at, "must name upstreams, not hold %s", load_type_name(L, idx));
    return;
  }
  const char *name = load_copy(L, l, load_span(L, idx));
  uint32_t found = UINT32_MAX;
  for (size_t i = 0; i < l->conf->upstream_count; i++)
    if (strcmp(l->conf->upstreams[i].name, name) == 0) found = (uint32_t)i;
  if (found == UINT32_MAX && is_group(l, name)) {
    load_error_text(l, at, "'%.64s' is a group, and a group holds upstreams only", name);
    return;
  }
  if (found == UINT32_MAX) {
    const char *near = wr_suggest(wr_span_str(name), upstream_name_at, l->conf);
    load_error_text(l, at, "unknown upstream '%.64s'%s%s%s", name, near ? " (did you mean '" : "",
                    near ? near : "", near ? "'?)" : "");
    return;
  }
  for (size_t i = 0; i < list->count; i++)
    if (list->members[i] == found) load_error_text(l, at, "names '%s' twice", name);
  list->members[list->count++] = found;
}

static void build_group(lua_State *L, struct load *l, const struct decl *d,
                        struct wr_conf_group *g) {
  const struct place top = { d, NULL, NULL };
  wr_schema_defaults(&wr_schema_group, g);
  g->name = d->name;
  g->line = d->line;
  load_push_table(L, l, d);
  int idx = lua_gettop(L);
  load_table(L, l, &top, idx, &wr_schema_group, g, true);
  if (!g->retry_on) g->retry_on = WR_RETRY_ON_DEFAULT;
  g->again = true;
  lua_Integer count = (lua_Integer)lua_rawlen(L, idx);
  struct member_list list = { load_alloc(L, l, ((size_t)count + 2) * sizeof *list.members), 0 };
  for (lua_Integer i = 1; i <= count; i++) {
    lua_rawgeti(L, idx, i);
    add_member(L, l, &top, lua_gettop(L), &list);
    lua_pop(L, 1);
  }
  const struct place last = { d, NULL, "last" };
  if (load_option(L, idx, "last") != LUA_TNIL) {
    size_t before = list.count;
    add_member(L, l, &last, lua_gettop(L), &list);
    if (list.count > before) g->last = l->conf->upstreams[list.members[before]].name;
  } else if (count == 0) {
    load_error_text(l, &top, "has no members: weir.group \"%s\" { \"upstream\", … }", d->name);
  }
  g->members = list.members;
  g->member_count = list.count;
  g->weights = read_weights(L, l, &top, idx, list.count - (g->last ? 1 : 0), &g->balance);
  lua_pop(L, 2);
}

void load_groups(lua_State *L, struct load *l) {
  struct wr_conf *c = l->conf;
  for (size_t i = 0; i < l->decl_count; i++) {
    if (l->decls[i].kind != DECL_GROUP) continue;
    build_group(L, l, &l->decls[i], &l->groups[c->group_count]);
    c->group_count++;
  }
}

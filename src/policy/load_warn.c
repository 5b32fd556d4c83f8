/* What is allowed and likely a mistake. */
#include <string.h>

#include "base/check.h"
#include "net/addr.h"
#include "policy/load_int.h"
#include "wire/url.h"

/* Does the earlier route take every path of the later one? */
static bool covers_path(const char *a, const char *b) {
  size_t n = strlen(a);
  if (strcmp(a, b) == 0 || strcmp(a, "*") == 0) return true;
  if (a[n - 1] != '*') return false;
  struct wr_span prefix = wr_span_make(a, n - 1);
  return wr_span_starts(wr_span_str(b), prefix) ||
         wr_span_eq(wr_span_str(b), wr_span_make(a, n - 2)); /* "/v1/" + "*" takes "/v1" too */
}

static bool covers(const struct wr_conf_route *a, const struct wr_conf_route *b) {
  if (a->host && (!b->host || !wr_span_ieq(wr_span_str(a->host), wr_span_str(b->host))))
    return false;
  if (a->methods && (!b->methods || (b->methods & ~a->methods))) return false;
  return covers_path(a->path, b->path);
}

static void warn_routes(struct load *l) {
  const struct wr_conf *c = l->conf;
  for (size_t i = 0; i < c->route_count; i++) {
    for (size_t j = 0; j < i; j++) {
      if (!covers(&c->routes[j], &c->routes[i])) continue;
      wr_diag_warn(l->diag, l->file, c->routes[i].line,
                   "route '%s': nothing reaches it, route '%s' in line %d takes all of it",
                   c->routes[i].name, c->routes[j].name, c->routes[j].line);
      break;
    }
    bool streams = c->routes[i].streams_per_key > 0;
    if ((streams || c->routes[i].requests_per_second_per_key) && !c->routes[i].keys_required)
      wr_diag_warn(l->diag, l->file, c->routes[i].line,
                   "route '%s': 'limits.%s' has no effect without keys", c->routes[i].name,
                   streams ? "streams_per_key" : "requests_per_second_per_key");
  }
}

static bool any_own_key(const struct wr_conf *c) {
  for (size_t i = 0; i < c->upstream_count; i++)
    if (wr_secret_is_set(&c->upstreams[i].key)) return true;
  return false;
}

static void warn_listens(struct load *l) {
  const struct wr_conf *c = l->conf;
  for (size_t i = 0; i < c->listen_count; i++) {
    const struct wr_conf_listen *s = &c->listens[i];
    struct wr_addr addr;
    if (wr_addr_parse(wr_span_str(s->address), &addr) != WR_OK) continue;
    if (wr_addr_is_unix(&addr) || wr_addr_is_loopback(&addr)) continue;
    if (!c->keys_declared && any_own_key(c) && !(s->tls && s->tls->verify))
      wr_diag_warn(l->diag, l->file, s->line,
                   "listen '%s': whoever reaches it uses the upstreams' keys; declare weir.keys",
                   s->address);
    if (c->keys_declared && !s->tls)
      wr_diag_warn(l->diag, l->file, s->line,
                   "listen '%s': clients' keys cross the network without TLS", s->address);
  }
  struct wr_addr admin;
  if (c->server.admin && wr_addr_parse(wr_span_str(c->server.admin), &admin) == WR_OK &&
      !wr_addr_is_unix(&admin) && !wr_addr_is_loopback(&admin))
    wr_diag_warn(l->diag, l->file, 0, "server: 'admin' %s can be reached from other machines",
                 c->server.admin);
}

static bool host_is_local(const char *host) {
  struct wr_addr addr;
  if (strcmp(host, "localhost") == 0) return true;
  return wr_addr_literal(wr_span_str(host), 1, &addr) == WR_OK && wr_addr_is_loopback(&addr);
}

/* The request's own path is kept, so a base URL as SDKs want it says "/v1" twice. */
static void warn_base_path(struct load *l, const struct wr_conf_upstream *u) {
  for (size_t i = 0; i < u->url_count; i++) {
    const char *path = u->urls[i].base_path;
    size_t len = strlen(path);
    if (len < 3 || strcmp(path + len - 3, "/v1") != 0) continue;
    wr_diag_warn(l->diag, l->file, u->line,
                 "upstream '%s': the URL's path comes before the request's: a client's "
                 "/v1/models becomes %s/v1/models",
                 u->name, path);
    return;
  }
}

static void warn_upstreams(struct load *l) {
  const struct wr_conf *c = l->conf;
  for (size_t i = 0; i < c->upstream_count; i++) {
    const struct wr_conf_upstream *u = &c->upstreams[i];
    bool https = false;
    for (size_t j = 0; j < u->url_count; j++) {
      https = https || u->urls[j].tls;
      if (wr_secret_is_set(&u->key) && !u->urls[j].tls && !host_is_local(u->urls[j].host))
        wr_diag_warn(l->diag, l->file, u->line,
                     "upstream '%s': its key crosses the network to %s without TLS", u->name,
                     u->urls[j].host);
    }
    warn_base_path(l, u);
    if (https && !u->tls.verify)
      wr_diag_warn(l->diag, l->file, u->line, "upstream '%s': certificates are not verified",
                   u->name);
  }
}

/* One address for good: a name may have several, or get them. */
static bool is_one_peer(const struct wr_conf *c, const struct wr_conf_group *g) {
  if (g->member_count != 1) return false;
  const struct wr_conf_upstream *u = &c->upstreams[g->members[0]];
  struct wr_addr addr;
  if (u->url_count == 0) return true;
  return u->url_count == 1 &&
         wr_addr_literal(wr_span_str(u->urls[0].host), 1, &addr) == WR_OK;
}

/* What needs a second peer, where there is none. A policy may send the request elsewhere. */
static void warn_alone(struct load *l, const struct wr_conf_route *r) {
  const struct wr_conf *c = l->conf;
  if (r->hooks & WR_HOOK_REQUEST || r->to >= c->group_count) return;
  const struct wr_conf_group *g = &c->groups[r->to];
  const char *what = r->hedge.on ? "hedge" : r->min_rate_chars ? "min_rate" : NULL;
  if (what && is_one_peer(c, g))
    wr_diag_warn(l->diag, l->file, r->line,
                 "route '%s': '%s' has no effect, '%s' is one server and there is no other to ask",
                 r->name, what, g->name);
}

static void warn_groups(struct load *l) {
  const struct wr_conf *c = l->conf;
  for (size_t i = 0; i < c->group_count; i++) {
    const struct wr_conf_group *g = &c->groups[i];
    bool own = i < c->upstream_count, limited = false;
    for (size_t m = 0; m < g->member_count; m++)
      limited |= c->upstreams[g->members[m]].max_streams > 0;
    if (g->queue.length && !limited)
      wr_diag_warn(l->diag, l->file, g->line,
                   "%s '%s': nobody waits in its 'queue' without a 'limit'%s",
                   own ? "upstream" : "group", g->name, own ? "" : " of an upstream");
    if (own || g->attempts < 2 || g->retry_budget_permille) continue;
    if (!(g->retry_on & (1u << WR_RETRY_CONNECT | 1u << WR_RETRY_TLS)))
      wr_diag_warn(l->diag, l->file, g->line,
                   "group '%s': nothing is sent again with 'retry.budget' = 0", g->name);
  }
  for (size_t i = 0; i < c->route_count; i++) warn_alone(l, &c->routes[i]);
}

void load_warnings(struct load *l) {
  warn_routes(l);
  warn_listens(l);
  warn_upstreams(l);
  warn_groups(l);
}

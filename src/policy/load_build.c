/* The second phase: from what was declared to one checked configuration. */
#include <lauxlib.h>
#include <string.h>

#include "base/check.h"
#include "net/addr.h"
#include "policy/load_int.h"
#include "policy/load_option.h"

static const struct decl *find_kind(const struct load *l, enum decl_kind kind) {
  for (size_t i = 0; i < l->decl_count; i++)
    if (l->decls[i].kind == kind) return &l->decls[i];
  return NULL;
}

/* Upstreams and groups share their names. */
static bool same_space(enum decl_kind a, enum decl_kind b) {
  return a == b || (a == DECL_UPSTREAM && b == DECL_GROUP) ||
         (a == DECL_GROUP && b == DECL_UPSTREAM);
}

static void check_twice(struct load *l, const struct decl *d) {
  for (const struct decl *e = l->decls; e < d; e++) {
    if (!e->name || !same_space(d->kind, e->kind) || strcmp(d->name, e->name) != 0) continue;
    const char *word = load_decl_word(d->kind);
    if (e->kind == d->kind) {
      wr_diag_error(l->diag, d->file, d->line, "%s '%s': declared twice (first in line %d)", word,
                    d->name, e->line);
    } else {
      wr_diag_error(l->diag, d->file, d->line, "%s '%s': the name is taken by the %s in line %d",
                    word, d->name, load_decl_word(e->kind), e->line);
    }
    return;
  }
}

static void check_declarations(struct load *l) {
  for (size_t i = 0; i < l->decl_count; i++) {
    struct decl *d = &l->decls[i];
    if (!d->name || d->kind == DECL_API) continue;
    if (!d->complete) {
      wr_diag_error(l->diag, d->file, d->line,
                    "%s '%s': its table is missing: weir.%s \"%s\" { … }", load_decl_word(d->kind),
                    d->name, load_decl_word(d->kind), d->name);
      d->kind = DECL_API; /* nothing to build */
      continue;
    }
    check_twice(l, d);
  }
}

static void build_singleton(lua_State *L, struct load *l, enum decl_kind kind,
                            const struct wr_schema *schema, void *target) {
  const struct decl *d = find_kind(l, kind);
  if (!d) return;
  const struct place top = { d, NULL, NULL };
  load_push_table(L, l, d);
  load_table(L, l, &top, lua_gettop(L), schema, target, false);
  lua_pop(L, 1);
}

static const struct decl nowhere_server = { .kind = DECL_SERVER };

static void build_server(lua_State *L, struct load *l) {
  struct wr_conf_server *s = &l->conf->server;
  build_singleton(L, l, DECL_SERVER, &wr_schema_server, s);
  const struct decl *d = find_kind(l, DECL_SERVER);
  struct decl top = d ? *d : nowhere_server;
  if (!top.file) top.file = l->file;
  const struct place at = { &top, NULL, "admin" };
  struct wr_addr addr;
  if (strcmp(s->admin, "off") == 0) {
    s->admin = NULL;
  } else if (wr_addr_parse(wr_span_str(s->admin), &addr) != WR_OK) {
    load_error(l, &at,
               "must be an address such as \"127.0.0.1:9901\", \"unix:/run/weir.sock\", or "
               "\"off\", not \"%s\"",
               s->admin);
  }
  bool word =
      strcmp(s->log, "stderr") == 0 || strcmp(s->log, "stdout") == 0 || strcmp(s->log, "off") == 0;
  if (!word) s->log = load_path(L, l, s->log);
}

static void build_lua(lua_State *L, struct load *l) {
  build_singleton(L, l, DECL_LUA, &wr_schema_lua, &l->conf->lua);
  const struct decl *d = find_kind(l, DECL_LUA);
  const struct place at = { d, NULL, "path" };
  if (d && !strchr(l->conf->lua.path, '?'))
    load_error(l, &at, "has no \"?\" for the name, as in \"policies/?.lua\"");
}

static void build_listen(lua_State *L, struct load *l, const struct decl *d,
                         struct wr_conf_listen *out) {
  const struct place top = { d, NULL, NULL };
  wr_schema_defaults(&wr_schema_listen, out);
  out->address = d->name;
  out->line = d->line;
  load_push_table(L, l, d);
  load_table(L, l, &top, lua_gettop(L), &wr_schema_listen, out, false);
  lua_pop(L, 1);
  struct wr_addr addr;
  if (wr_addr_parse(wr_span_str(d->name), &addr) != WR_OK)
    load_error_text(l, &top,
                    "not an address: \"127.0.0.1:8080\", \"[::1]:8080\", \":8080\" or "
                    "\"unix:/run/weir.sock\"");
  const struct place tls = { d, NULL, "tls" };
  const struct place verify = { d, &tls, "verify" };
  if (out->tls && out->tls->verify && !out->tls->ca)
    load_error(l, &verify, "needs 'tls.ca', the certificates to verify clients with");
}

static void build_listens(lua_State *L, struct load *l) {
  struct wr_conf_listen *listens = load_alloc(L, l, (l->decl_count + 1) * sizeof *listens);
  size_t n = 0;
  for (size_t i = 0; i < l->decl_count; i++)
    if (l->decls[i].kind == DECL_LISTEN) build_listen(L, l, &l->decls[i], &listens[n++]);
  l->conf->listens = listens;
  l->conf->listen_count = n;
  if (n == 0 && l->diag->errors == 0)
    wr_diag_error(l->diag, l->file, 0,
                  "no listener: declare one, such as weir.listen \"127.0.0.1:8080\" {}");
}

int load_build(lua_State *L) {
  struct load *l = lua_touserdata(L, 1);
  check_declarations(l);
  build_server(L, l);
  build_lua(L, l);
  build_listens(L, l);
  load_upstreams(L, l);
  load_groups(L, l);
  load_keys(L, l);
  load_routes(L, l);
  load_pressure(L, l);
  load_option_names(l);
  load_hooks(L, l); /* prepare runs only in a configuration that holds together so far */
  if (l->diag->errors == 0) load_warnings(l);
  return 0;
}

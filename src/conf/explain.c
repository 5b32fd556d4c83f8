#include "conf/explain.h"

#include <string.h>

#include "base/buf.h"
#include "conf/field.h"

#define HIDDEN "\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2" /* ••• */

struct printer {
  wr_conf_out_fn out;
  void *ctx;                  /* borrowed: the caller's */
  const struct wr_conf *conf; /* borrowed: the call */
};

static void put(const struct printer *p, const char *text) { p->out(p->ctx, wr_span_str(text)); }

static void put_indent(const struct printer *p, unsigned depth) {
  while (depth-- > 0) put(p, "  ");
}

/* As Lua would read it; bytes that aren't printable become \ddd. */
static void put_quoted(const struct printer *p, const char *text) {
  put(p, "\"");
  for (const char *c = text; *c; c++) {
    unsigned char u = (unsigned char)*c;
    char store[8];
    struct wr_buf b;
    wr_buf_init(&b, store, sizeof store);
    if (u == '"' || u == '\\') {
      wr_buf_printf(&b, "\\%c", u);
    } else if (u < 0x20 || u == 0x7f) {
      wr_buf_printf(&b, "\\%03u", u);
    } else {
      wr_buf_char(&b, *c);
    }
    p->out(p->ctx, wr_buf_span(&b));
  }
  put(p, "\"");
}

static void put_number(const struct printer *p, const struct wr_option *f, const void *at) {
  char store[48];
  struct wr_buf b;
  wr_buf_init(&b, store, sizeof store);
  wr_field_put_number(&b, f, at);
  p->out(p->ctx, wr_buf_span(&b));
}

static void put_flags(const struct printer *p, const struct wr_option *f, uint32_t bits) {
  put(p, "{");
  const char *sep = " ";
  for (unsigned i = 0; f->words[i]; i++) {
    if (!(bits & (UINT32_C(1) << i)) || !f->words[i][0]) continue;
    put(p, sep);
    put_quoted(p, f->words[i]);
    sep = ", ";
  }
  put(p, bits ? " }" : "}");
}

static void put_map(const struct printer *p, const struct wr_conf_header *pairs, size_t count,
                    bool hide) {
  put(p, "{");
  for (size_t i = 0; i < count; i++) {
    put(p, i ? ", [" : " [");
    put_quoted(p, pairs[i].name);
    put(p, "] = ");
    if (hide && wr_field_is_secret(pairs[i].name)) {
      put(p, "\"" HIDDEN "\"");
    } else {
      put_quoted(p, pairs[i].value);
    }
  }
  put(p, count ? " }" : "}");
}

static void put_prices(const struct printer *p, const struct wr_conf_price *prices, size_t count) {
  put(p, "{");
  for (size_t i = 0; i < count; i++) {
    char store[96];
    struct wr_buf b;
    put(p, i ? ", [" : " [");
    put_quoted(p, prices[i].model);
    wr_buf_init(&b, store, sizeof store);
    wr_buf_printf(&b, "] = { %.6g, %.6g }", prices[i].input, prices[i].output);
    p->out(p->ctx, wr_buf_span(&b));
  }
  put(p, count ? " }" : "}");
}

static void put_urls(const struct printer *p, const struct wr_conf_url *urls, size_t count) {
  put(p, "{");
  for (size_t i = 0; i < count; i++) {
    put(p, i ? ", " : " ");
    put_quoted(p, urls[i].text);
  }
  put(p, count ? " }" : "}");
}

static void put_members(const struct printer *p, const uint32_t *members, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (i) put(p, ", ");
    put_quoted(p, p->conf->upstreams[members[i]].name);
  }
}

/* A list of weights ends with a 0. */
static bool put_weights(const struct printer *p, const uint32_t *weights) {
  if (!weights) return false;
  put(p, "{");
  for (size_t i = 0; weights[i]; i++) {
    put(p, i ? ", " : " ");
    put_number(p, &(struct wr_option){ .type = WR_OPT_INTEGER }, &weights[i]);
  }
  put(p, " }");
  return true;
}

static void put_limit(const struct printer *p, const void *most, uint32_t least) {
  const struct wr_option number = { .type = WR_OPT_INTEGER };
  put(p, least ? "{ \"adaptive\", min = " : "{ ");
  if (least) {
    put_number(p, &number, &least);
    put(p, ", max = ");
  }
  put_number(p, &number, most);
  put(p, " }");
}

/* The value of one field; false: there is none to show. */
static bool put_value(const struct printer *p, const struct wr_option *f, const void *base) {
  const void *at = (const char *)base + f->offset;
  uint32_t bits;
  bool yes;
  switch (f->type) {
  case WR_OPT_STRING:
  case WR_OPT_FILE: {
    const char *text = wr_field_pointer(at);
    if (!text && strcmp(f->name, "admin") == 0) text = "off";
    if (!text) return false;
    put_quoted(p, text);
    return true;
  }
  case WR_OPT_BOOL:
    memcpy(&yes, at, sizeof yes);
    put(p, yes ? "true" : "false");
    return true;
  case WR_OPT_DURATION:
    if (!f->def && wr_field_uint(at, 4) == 0) return false; /* not set: somebody else's holds */
    put_number(p, f, at);
    return true;
  case WR_OPT_SHARE:
  case WR_OPT_INTEGER:
  case WR_OPT_SIZE:
  case WR_OPT_SIZE32: put_number(p, f, at); return true;
  case WR_OPT_ENUM:
    memcpy(&bits, at, sizeof bits);
    put_quoted(p, f->words[bits]);
    return true;
  case WR_OPT_FLAGS:
    memcpy(&bits, at, sizeof bits);
    if (bits) put_flags(p, f, bits);
    return bits != 0;
  case WR_OPT_SECRET: {
    const struct wr_secret *s = at;
    if (!wr_secret_is_set(s)) return false;
    put(p, HIDDEN);
    return true;
  }
  case WR_OPT_MAP:
    if (wr_field_count(f, base) == 0) return false;
    put_map(p, wr_field_pointer(at), wr_field_count(f, base), strcmp(f->name, "models") != 0);
    return true;
  case WR_OPT_PRICES:
    if (wr_field_count(f, base) == 0) return false;
    put_prices(p, wr_field_pointer(at), wr_field_count(f, base));
    return true;
  case WR_OPT_URLS:
    if (wr_field_count(f, base) == 0) return false;
    put_urls(p, wr_field_pointer(at), wr_field_count(f, base));
    return true;
  case WR_OPT_WEIGHTS: return put_weights(p, wr_field_pointer(at));
  case WR_OPT_LIMIT:
    if (wr_field_uint(at, 4) == 0) return false;
    put_limit(p, at, ((const struct wr_conf_upstream *)base)->limit_min);
    return true;
  default: return false;
  }
}

/* Is this value what it would be without being written? */
static bool is_default(const struct wr_option *f, const void *base) {
  if (!f->def || f->type > WR_OPT_ENUM) return false;
  uint64_t fresh[8] = { 0 }; /* as wide as any scalar field */
  struct wr_option alone = *f;
  alone.offset = 0;
  struct wr_schema one = { .fields = &alone, .field_count = 1 };
  wr_schema_defaults(&one, fresh);
  const void *at = (const char *)base + f->offset;
  switch (f->type) {
  case WR_OPT_STRING:
  case WR_OPT_FILE: {
    const char *a = wr_field_pointer(at), *b = wr_field_pointer(fresh);
    return a && b && strcmp(a, b) == 0;
  }
  case WR_OPT_BOOL: return memcmp(at, fresh, sizeof(bool)) == 0;
  case WR_OPT_SIZE: return memcmp(at, fresh, sizeof(uint64_t)) == 0;
  default: return memcmp(at, fresh, sizeof(uint32_t)) == 0;
  }
}

static void put_field(const struct printer *p, const struct wr_option *f, const void *base,
                      unsigned depth) {
  put_indent(p, depth);
  put(p, f->name);
  put(p, " = ");
  (void)put_value(p, f, base);
  put(p, ",");
  if (f->type == WR_OPT_SECRET) {
    const struct wr_secret *s = (const void *)((const char *)base + f->offset);
    put(p, "  -- ");
    put(p, s->source ? s->source : "?");
  } else if (is_default(f, base)) {
    put(p, "  -- default");
  }
  put(p, "\n");
}

static void nowhere(void *ctx, struct wr_span text) {
  (void)ctx;
  (void)text;
}

static bool any_value(const struct printer *p, const struct wr_schema *schema, const void *base) {
  const struct printer dry = { nowhere, NULL, p->conf };
  for (size_t i = 0; i < schema->field_count; i++)
    if (put_value(&dry, &schema->fields[i], base)) return true;
  return false;
}

static void put_fields(const struct printer *p, const struct wr_schema *schema, const void *base,
                       unsigned depth);

static void put_table(const struct printer *p, const struct wr_option *f, const void *base,
                      unsigned depth) {
  const void *inner = (const char *)base + f->offset;
  if (f->by_pointer) inner = wr_field_pointer(inner);
  if (!inner || !any_value(p, f->table, inner)) return;
  put_indent(p, depth);
  put(p, f->name);
  put(p, " = {\n");
  put_fields(p, f->table, inner, depth + 1);
  put_indent(p, depth);
  put(p, "},\n");
}

static void put_fields(const struct printer *p, const struct wr_schema *schema, const void *base,
                       unsigned depth) {
  const struct printer dry = { nowhere, NULL, p->conf };
  for (size_t i = 0; i < schema->field_count; i++) {
    const struct wr_option *f = &schema->fields[i];
    if (f->type == WR_OPT_TABLE) {
      put_table(p, f, base, depth);
    } else if (put_value(&dry, f, base)) {
      put_field(p, f, base, depth);
    }
  }
}

static void put_head(const struct printer *p, const char *what, const char *name, int line) {
  put(p, "weir.");
  put(p, what);
  if (name) {
    put(p, " ");
    put_quoted(p, name);
  }
  put(p, " {");
  if (line > 0) {
    char store[32];
    struct wr_buf b;
    wr_buf_init(&b, store, sizeof store);
    wr_buf_printf(&b, "  -- line %d", line);
    p->out(p->ctx, wr_buf_span(&b));
  }
  put(p, "\n");
}

static void put_groups(const struct printer *p) {
  const struct wr_conf *c = p->conf;
  for (size_t i = c->upstream_count; i < c->group_count; i++) {
    const struct wr_conf_group *g = &c->groups[i];
    put_head(p, "group", g->name, g->line);
    put_indent(p, 1);
    put_members(p, g->members, g->member_count - (g->last ? 1 : 0));
    put(p, ",\n");
    if (g->last) {
      put(p, "  last = ");
      put_quoted(p, g->last);
      put(p, ",\n");
    }
    put_fields(p,
               &(struct wr_schema){ .fields = wr_schema_group.fields + 2,
                                    .field_count = wr_schema_group.field_count - 2 },
               g, 1);
    put(p, "}\n\n");
  }
}

static void put_keys(const struct printer *p) {
  const struct wr_conf *c = p->conf;
  if (!c->keys_declared) return;
  put_head(p, "keys", NULL, 0);
  for (size_t i = 0; i < c->key_count; i++) {
    put(p, "  [");
    put_quoted(p, c->keys[i].name);
    put(p, "] = { sha256 = \"");
    p->out(p->ctx, wr_span_make(c->keys[i].sha256_hex, 8));
    put(p, "…\"");
    if (c->keys[i].class_name[0]) {
      put(p, ", class = ");
      put_quoted(p, c->keys[i].class_name);
    }
    for (size_t t = 0; t < c->keys[i].tag_count; t++) {
      put(p, t ? ", " : ", tags = { ");
      put_quoted(p, c->keys[i].tags[t]);
      if (t + 1 == c->keys[i].tag_count) put(p, " }");
    }
    put(p, " },\n");
  }
  put(p, "}");
  if (c->keys_file) {
    put(p, "  -- from ");
    put(p, c->keys_file);
  }
  put(p, "\n\n");
}

static void put_hooks(const struct printer *p, const char *hook, const char *names) {
  if (!names) return;
  put(p, "  -- ");
  put(p, hook);
  put(p, ": ");
  put(p, names);
  put(p, "\n");
}

static void put_routes(const struct printer *p) {
  for (size_t i = 0; i < p->conf->route_count; i++) {
    const struct wr_conf_route *r = &p->conf->routes[i];
    put_head(p, "route", r->name, r->line);
    put(p, "  to = ");
    put_quoted(p, p->conf->groups[r->to].name);
    put(p, ",\n");
    put_fields(p, &wr_schema_route, r, 1);
    for (unsigned h = 0; h < WR_HOOKS; h++) put_hooks(p, wr_hook_word(h), r->hook_names[h]);
    if (r->keys_required) put(p, "  -- a key is required\n");
    put(p, "}\n\n");
  }
}

void wr_conf_explain(const struct wr_conf *conf, wr_conf_out_fn out, void *ctx) {
  const struct printer p = { out, ctx, conf };
  put_head(&p, "server", NULL, 0);
  put_fields(&p, &wr_schema_server, &conf->server, 1);
  put(&p, "}\n\n");
  put_head(&p, "lua", NULL, 0);
  put_fields(&p, &wr_schema_lua, &conf->lua, 1);
  put(&p, "}\n\n");
  for (size_t i = 0; i < conf->listen_count; i++) {
    put_head(&p, "listen", conf->listens[i].address, conf->listens[i].line);
    put_fields(&p, &wr_schema_listen, &conf->listens[i], 1);
    put(&p, "}\n\n");
  }
  for (size_t i = 0; i < conf->upstream_count; i++) {
    put_head(&p, "upstream", conf->upstreams[i].name, conf->upstreams[i].line);
    put_fields(&p, &wr_schema_upstream, &conf->upstreams[i], 1);
    put(&p, "}\n\n");
  }
  put_groups(&p);
  put_keys(&p);
  put_routes(&p);
  wr_conf_explain_ladders(conf, out, ctx);
  if (!conf->pressure_hooks) return;
  put_head(&p, "use", NULL, 0);
  put_hooks(&p, "on_pressure", conf->pressure_hooks);
  put(&p, "}\n");
}

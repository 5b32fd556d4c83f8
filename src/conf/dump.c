#include "conf/dump.h"

#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/text.h"
#include "conf/field.h"

#define MOST_TEXT_BYTES 8192u

struct writer {
  wr_conf_out_fn out;
  void *ctx;                  /* borrowed: the caller's */
  const struct wr_conf *conf; /* borrowed: the call */
  unsigned depth;
  bool first; /* nothing stands in the open object or array yet */
};

static void put(struct writer *w, const char *text) { w->out(w->ctx, wr_span_str(text)); }

static void string(struct writer *w, struct wr_span text) {
  char store[MOST_TEXT_BYTES];
  struct wr_buf b;
  wr_buf_init(&b, store, sizeof store);
  wr_buf_json_string(&b, text);
  if (b.overflow) { /* longer than any option may be */
    wr_buf_init(&b, store, sizeof store);
    wr_buf_put(&b, WR_SPAN("\"…\""));
  }
  w->out(w->ctx, wr_buf_span(&b));
}

/* What comes next stands under this name, or in a row when there is none. */
static void next(struct writer *w, const char *name) {
  put(w, w->first ? "\n" : ",\n");
  for (unsigned i = 0; i < w->depth; i++) put(w, "  ");
  w->first = false;
  if (!name) return;
  string(w, wr_span_str(name));
  put(w, ": ");
}

static void open(struct writer *w, const char *name, const char *bracket) {
  next(w, name);
  put(w, bracket);
  w->depth++;
  w->first = true;
}

static void close(struct writer *w, const char *bracket) {
  WR_CHECK(w->depth > 0);
  w->depth--;
  if (!w->first) {
    put(w, "\n");
    for (unsigned i = 0; i < w->depth; i++) put(w, "  ");
  }
  put(w, bracket);
  w->first = false;
}

static void text(struct writer *w, const char *name, const char *value) {
  if (!value) return;
  next(w, name);
  string(w, wr_span_str(value));
}

static void raw(struct writer *w, const char *name, struct wr_buf *b) {
  next(w, name);
  w->out(w->ctx, wr_buf_span(b));
}

static void integer(struct writer *w, const char *name, uint64_t n) {
  char store[32];
  struct wr_buf b;
  wr_buf_init(&b, store, sizeof store);
  wr_buf_u64(&b, n);
  raw(w, name, &b);
}

static void boolean(struct writer *w, const char *name, bool yes) {
  next(w, name);
  put(w, yes ? "true" : "false");
}

static void number(struct writer *w, const struct wr_option *f, const void *at) {
  char store[64];
  struct wr_buf b;
  wr_buf_init(&b, store, sizeof store);
  wr_field_put_number(&b, f, at);
  raw(w, f->name, &b);
}

static void pairs(struct writer *w, const struct wr_option *f, const struct wr_conf_header *list,
                  size_t count) {
  if (count == 0) return;
  bool hide = strcmp(f->name, "models") != 0;
  open(w, f->name, "{");
  for (size_t i = 0; i < count; i++) {
    bool secret = hide && wr_field_is_secret(list[i].name);
    text(w, list[i].name, secret ? "\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2" : list[i].value);
  }
  close(w, "}");
}

static void prices(struct writer *w, const char *name, const struct wr_conf_price *list,
                   size_t count) {
  if (count == 0) return;
  open(w, name, "{");
  for (size_t i = 0; i < count; i++) {
    char store[96];
    struct wr_buf b;
    wr_buf_init(&b, store, sizeof store);
    wr_buf_printf(&b, "[%.6g, %.6g]", list[i].input, list[i].output);
    raw(w, list[i].model, &b);
  }
  close(w, "}");
}

static void words(struct writer *w, const char *name, const char *const *list, size_t count) {
  if (count == 0) return;
  open(w, name, "[");
  for (size_t i = 0; i < count; i++) text(w, NULL, list[i]);
  close(w, "]");
}

static void flags(struct writer *w, const struct wr_option *f, uint64_t bits) {
  if (bits == 0) return;
  open(w, f->name, "[");
  for (unsigned i = 0; f->words[i]; i++)
    if (bits >> i & 1 && f->words[i][0]) text(w, NULL, f->words[i]);
  close(w, "]");
}

static void urls(struct writer *w, const char *name, const struct wr_conf_url *list,
                 size_t count) {
  if (count == 0) return;
  open(w, name, "[");
  for (size_t i = 0; i < count; i++) text(w, NULL, list[i].text);
  close(w, "]");
}

/* A list of weights ends with a 0. */
static void weights(struct writer *w, const char *name, const uint32_t *list) {
  if (!list) return;
  open(w, name, "[");
  for (size_t i = 0; list[i]; i++) integer(w, NULL, list[i]);
  close(w, "]");
}

static void secret(struct writer *w, const char *name, const struct wr_secret *s) {
  if (!wr_secret_is_set(s)) return;
  open(w, name, "{");
  text(w, "secret", s->source ? s->source : "?");
  close(w, "}");
}

static void limit(struct writer *w, const char *name, const struct wr_conf_upstream *up) {
  if (!up->max_streams) return;
  open(w, name, "{");
  boolean(w, "adaptive", up->limit_min > 0);
  if (up->limit_min) integer(w, "min", up->limit_min);
  integer(w, "max", up->max_streams);
  close(w, "}");
}

static void fields(struct writer *w, const struct wr_schema *schema, const void *base);

static void table(struct writer *w, const struct wr_option *f, const void *at) {
  const void *inner = f->by_pointer ? wr_field_pointer(at) : at;
  if (!inner) return;
  open(w, f->name, "{");
  fields(w, f->table, inner);
  close(w, "}");
}

static void field(struct writer *w, const struct wr_option *f, const void *base) {
  const void *at = (const char *)base + f->offset;
  bool yes;
  switch (f->type) {
    case WR_OPT_STRING:
    case WR_OPT_FILE: text(w, f->name, wr_field_pointer(at)); break;
    case WR_OPT_BOOL:
      memcpy(&yes, at, sizeof yes);
      boolean(w, f->name, yes);
      break;
    case WR_OPT_DURATION:
      if (f->def || wr_field_uint(at, 4)) number(w, f, at); /* else somebody else's holds */
      break;
    case WR_OPT_SHARE:
    case WR_OPT_INTEGER:
    case WR_OPT_SIZE:
    case WR_OPT_SIZE32: number(w, f, at); break;
    case WR_OPT_ENUM: text(w, f->name, f->words[wr_field_uint(at, 4)]); break;
    case WR_OPT_FLAGS: flags(w, f, wr_field_uint(at, 4)); break;
    case WR_OPT_SECRET: secret(w, f->name, at); break;
    case WR_OPT_TABLE: table(w, f, at); break;
    case WR_OPT_MAP: pairs(w, f, wr_field_pointer(at), wr_field_count(f, base)); break;
    case WR_OPT_WORDS: words(w, f->name, wr_field_pointer(at), wr_field_count(f, base)); break;
    case WR_OPT_PRICES: prices(w, f->name, wr_field_pointer(at), wr_field_count(f, base)); break;
    case WR_OPT_URLS: urls(w, f->name, wr_field_pointer(at), wr_field_count(f, base)); break;
    case WR_OPT_WEIGHTS: weights(w, f->name, wr_field_pointer(at)); break;
    case WR_OPT_LIMIT:
      limit(w, f->name, base);
      break;
    default: break; /* what the loader knows by name is told beside the fields */
  }
}

static void fields(struct writer *w, const struct wr_schema *schema, const void *base) {
  for (size_t i = 0; i < schema->field_count; i++) field(w, &schema->fields[i], base);
}

static void groups(struct writer *w) {
  const struct wr_conf *c = w->conf;
  open(w, "group", "{");
  for (size_t i = c->upstream_count; i < c->group_count; i++) {
    const struct wr_conf_group *g = &c->groups[i];
    open(w, g->name, "{");
    open(w, "members", "[");
    for (size_t m = 0; m < g->member_count; m++) text(w, NULL, c->upstreams[g->members[m]].name);
    close(w, "]");
    text(w, "last", g->last);
    fields(w, &wr_schema_group, g);
    integer(w, "line", (uint64_t)g->line);
    close(w, "}");
  }
  close(w, "}");
}

static void keys(struct writer *w) {
  const struct wr_conf *c = w->conf;
  if (!c->keys_declared) return;
  open(w, "keys", "{");
  for (size_t i = 0; i < c->key_count; i++) {
    open(w, c->keys[i].name, "{");
    next(w, "sha256");
    string(w, wr_span_make(c->keys[i].sha256_hex, 8)); /* enough to find it, not to try it */
    if (c->keys[i].class_name[0]) text(w, "class", c->keys[i].class_name);
    words(w, "tags", c->keys[i].tags, c->keys[i].tag_count);
    close(w, "}");
  }
  close(w, "}");
}

static void routes(struct writer *w) {
  open(w, "route", "[");
  for (size_t i = 0; i < w->conf->route_count; i++) {
    const struct wr_conf_route *r = &w->conf->routes[i];
    open(w, NULL, "{");
    text(w, "name", r->name);
    text(w, "to", w->conf->groups[r->to].name);
    fields(w, &wr_schema_route, r);
    boolean(w, "key_required", r->keys_required);
    open(w, "hooks", "{");
    for (unsigned h = 0; h < WR_HOOKS; h++) text(w, wr_hook_word(h), r->hook_names[h]);
    close(w, "}");
    integer(w, "line", (uint64_t)r->line);
    close(w, "}");
  }
  close(w, "]");
}

static void mark(struct writer *w, const char *name, enum wr_meter meter, uint32_t value) {
  char store[48];
  struct wr_buf b;
  wr_buf_init(&b, store, sizeof store);
  if (wr_meter_is_time(meter)) {
    wr_buf_char(&b, '"');
    wr_text_put_duration(&b, value);
    wr_buf_char(&b, '"');
  } else {
    wr_buf_printf(&b, "%.4g", (double)value / WR_LADDER_FULL);
  }
  raw(w, name, &b);
}

static void step(struct writer *w, enum wr_meter meter, const struct wr_conf_step *s) {
  open(w, NULL, "{");
  mark(w, "at", meter, s->at);
  mark(w, "off", meter, s->off);
  open(w, "actions", "[");
  for (unsigned a = 0; a < WR_ACTIONS; a++) {
    if (!(s->actions >> a & 1u) || a == WR_ACTION_SHED) continue;
    text(w, NULL, a == WR_ACTION_SHED_ALL ? "shed:all" : wr_action_name((enum wr_action)a));
  }
  close(w, "]");
  words(w, "shed", s->shed, s->shed_count);
  if (s->actions >> WR_ACTION_CAP_OUTPUT & 1u) integer(w, "cap_output", s->cap_tokens);
  if (s->actions >> WR_ACTION_ROUTE & 1u) text(w, "route", w->conf->groups[s->route].name);
  close(w, "}");
}

static void ladders(struct writer *w) {
  open(w, "pressure", "{");
  for (unsigned m = 0; m < WR_METERS; m++) {
    const struct wr_conf_ladder *l = &w->conf->ladders[m];
    if (!l->count) continue;
    open(w, wr_meter_name((enum wr_meter)m), "[");
    for (uint32_t i = 0; i < l->count; i++) step(w, (enum wr_meter)m, &l->steps[i]);
    close(w, "]");
  }
  close(w, "}");
}

void wr_conf_dump(const struct wr_conf *conf, wr_conf_out_fn out, void *ctx) {
  struct writer w = { out, ctx, conf, 1, true };
  put(&w, "{");
  text(&w, "file", conf->file);
  open(&w, "server", "{");
  fields(&w, &wr_schema_server, &conf->server);
  close(&w, "}");
  open(&w, "lua", "{");
  fields(&w, &wr_schema_lua, &conf->lua);
  close(&w, "}");
  open(&w, "listen", "{");
  for (size_t i = 0; i < conf->listen_count; i++) {
    open(&w, conf->listens[i].address, "{");
    fields(&w, &wr_schema_listen, &conf->listens[i]);
    close(&w, "}");
  }
  close(&w, "}");
  open(&w, "upstream", "{");
  for (size_t i = 0; i < conf->upstream_count; i++) {
    open(&w, conf->upstreams[i].name, "{");
    fields(&w, &wr_schema_upstream, &conf->upstreams[i]);
    integer(&w, "line", (uint64_t)conf->upstreams[i].line);
    close(&w, "}");
  }
  close(&w, "}");
  groups(&w);
  keys(&w);
  routes(&w);
  ladders(&w);
  text(&w, "on_pressure", conf->pressure_hooks);
  put(&w, "\n}\n");
}

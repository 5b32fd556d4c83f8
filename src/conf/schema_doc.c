/* docs/configuration.md's reference, from the tables. */
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "conf/schema.h"

struct printer {
  wr_conf_out_fn out;
  void *ctx; /* borrowed: the caller's */
};

static void put(const struct printer *p, const char *text) { p->out(p->ctx, wr_span_str(text)); }

static const char *type_text(const struct wr_option *f) {
  switch (f->type) {
  case WR_OPT_STRING:
  case WR_OPT_NAME: return "string";
  case WR_OPT_FILE: return "file name";
  case WR_OPT_BOOL: return "boolean";
  case WR_OPT_INTEGER: return "integer";
  case WR_OPT_DURATION: return "duration";
  case WR_OPT_SIZE:
  case WR_OPT_SIZE32: return "size";
  case WR_OPT_FLAGS:
  case WR_OPT_WORDS:
  case WR_OPT_NAMES: return "list of string";
  case WR_OPT_SECRET: return "secret";
  case WR_OPT_TABLE: return "table";
  case WR_OPT_MAP: return "map of string";
  case WR_OPT_URLS: return "URL, or list of URL";
  case WR_OPT_PRICES: return "map of { number, number }";
  case WR_OPT_LIMIT: return "{ integer }";
  case WR_OPT_WEIGHTS: return "list of integer";
  case WR_OPT_SHARE: return "share, 0 to 1";
  case WR_OPT_MARK: return "share, or duration";
  case WR_OPT_USE: return "list of plugin";
  case WR_OPT_HOOK: return "function";
  default: return "";
  }
}

static void put_words(const struct printer *p, const char *const *words) {
  const char *sep = "";
  for (size_t i = 0; words[i]; i++) {
    if (!words[i][0]) continue;
    put(p, sep);
    put(p, "`\"");
    put(p, words[i]);
    put(p, "\"`");
    sep = ", ";
  }
}

static void put_limit(const struct printer *p, const struct wr_option *f, uint64_t v) {
  char store[48];
  struct wr_buf b;
  wr_buf_init(&b, store, sizeof store);
  if (f->type == WR_OPT_DURATION) {
    wr_text_put_duration(&b, v * 1000);
  } else if (f->type == WR_OPT_SIZE || f->type == WR_OPT_SIZE32) {
    wr_text_put_size(&b, v);
  } else {
    wr_buf_u64(&b, v);
  }
  p->out(p->ctx, wr_buf_span(&b));
}

static void put_type(const struct printer *p, const struct wr_option *f) {
  if (f->type == WR_OPT_ENUM) {
    put_words(p, f->words);
    return;
  }
  put(p, type_text(f));
  if (f->min == 0 && f->max == 0) return;
  put(p, ", ");
  if (f->max) {
    put_limit(p, f, f->min);
    put(p, " to ");
    put_limit(p, f, f->max);
  } else {
    put(p, "at least ");
    put_limit(p, f, f->min);
  }
}

static void put_default(const struct printer *p, const struct wr_option *f) {
  if (f->required) {
    put(p, "**required**");
  } else if (f->def && f->def[0]) {
    bool bare = f->type == WR_OPT_BOOL || f->type == WR_OPT_SHARE ||
                (f->type == WR_OPT_INTEGER && !(f->zero && strcmp(f->def, f->zero) == 0));
    put(p, bare ? "`" : "`\"");
    put(p, f->def);
    put(p, bare ? "`" : "\"`");
  }
}

static void put_rows(const struct printer *p, const struct wr_schema *schema, const char *prefix) {
  for (size_t i = 0; i < schema->field_count; i++) {
    const struct wr_option *f = &schema->fields[i];
    if (f->type == WR_OPT_LATER) continue;
    put(p, "| `");
    put(p, prefix);
    put(p, prefix[0] ? "." : "");
    put(p, f->name);
    put(p, "` | ");
    put_type(p, f);
    put(p, " | ");
    put_default(p, f);
    put(p, " | ");
    put(p, f->doc ? f->doc : "");
    put(p, " |\n");
    if (f->type == WR_OPT_TABLE) put_rows(p, f->table, f->name); /* one level of tables */
  }
}

static void put_later(const struct printer *p, const struct wr_schema *schema) {
  const char *sep = "\nRefused by name, because this version doesn't have it yet: ";
  for (size_t i = 0; i < schema->field_count; i++) {
    if (schema->fields[i].type != WR_OPT_LATER) continue;
    put(p, sep);
    put(p, "`");
    put(p, schema->fields[i].name);
    put(p, "`");
    sep = ", ";
  }
  if (sep[0] == ',') put(p, ".\n");
}

static void put_section(const struct printer *p, const struct wr_schema *schema) {
  put(p, "### `");
  put(p, schema->form);
  put(p, "`\n\n");
  put(p, schema->doc);
  put(p, "\n\n");
  if (schema->example) {
    put(p, "```lua\n");
    put(p, schema->example);
    put(p, "\n```\n\n");
  }
  put(p, "| option | type | default | meaning |\n|---|---|---|---|\n");
  put_rows(p, schema, "");
  put_later(p, schema);
  put(p, "\n");
}

void wr_schema_print_markdown(wr_conf_out_fn out, void *ctx) {
  const struct printer p = { out, ctx };
  const struct wr_schema *const all[] = { &wr_schema_server,   &wr_schema_lua,   &wr_schema_listen,
                                          &wr_schema_upstream, &wr_schema_group, &wr_schema_keys,
                                          &wr_schema_key,      &wr_schema_route,
                                          &wr_schema_pressure };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) put_section(&p, all[i]);
}

#include "conf/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/text.h"
#include "conf/secret.h"

static enum wr_err wrong(char *why, const char *text) {
  struct wr_buf b;
  wr_buf_init(&b, why, WR_CONF_WHY_BYTES - 1);
  wr_buf_put(&b, wr_span_str(text));
  why[b.len] = '\0';
  return WR_E_CONFIG;
}

static enum wr_err wrong_type(char *why, const char *must, const struct wr_value *v) {
  struct wr_buf b;
  wr_buf_init(&b, why, WR_CONF_WHY_BYTES - 1);
  wr_buf_printf(&b, "must be %s, not %s", must, v->type_name ? v->type_name : "this");
  why[b.len] = '\0';
  return WR_E_CONFIG;
}

static void *at(void *target, const struct wr_option *f) { return (char *)target + f->offset; }

static void store_u32(void *target, const struct wr_option *f, uint64_t value) {
  WR_CHECK(value <= UINT32_MAX);
  uint32_t v = (uint32_t)value;
  memcpy(at(target, f), &v, sizeof v);
}

static uint64_t limit_of(const struct wr_option *f) {
  if (f->max) return f->max;
  return f->type == WR_OPT_SIZE ? UINT64_MAX / 2 : UINT32_MAX;
}

static void put_quantity(struct wr_buf *b, const struct wr_option *f, uint64_t v) {
  if (f->type == WR_OPT_DURATION) {
    wr_text_put_duration(b, v * 1000);
  } else if (f->type == WR_OPT_SIZE || f->type == WR_OPT_SIZE32) {
    wr_text_put_size(b, v);
  } else {
    wr_buf_u64(b, v);
  }
}

/* "must be from 1 to 64", in the units of the field. */
static enum wr_err out_of_range(char *why, const struct wr_option *f) {
  struct wr_buf b;
  wr_buf_init(&b, why, WR_CONF_WHY_BYTES - 1);
  wr_buf_put(&b, WR_SPAN("must be from "));
  put_quantity(&b, f, f->min);
  wr_buf_put(&b, WR_SPAN(" to "));
  uint64_t max = limit_of(f);
  if (f->type == WR_OPT_DURATION && !f->max) max = UINT64_C(49) * 24 * 3600 * 1000;
  put_quantity(&b, f, max);
  if (f->zero) wr_buf_printf(&b, ", or \"%s\"", f->zero);
  why[b.len] = '\0';
  return WR_E_CONFIG;
}

static enum wr_err store_number(void *target, const struct wr_option *f, uint64_t v, char *why) {
  bool zero_word_only = f->zero && v == 0;
  if (zero_word_only || v < f->min || v > limit_of(f)) return out_of_range(why, f);
  if (f->type == WR_OPT_SIZE) {
    memcpy(at(target, f), &v, sizeof v);
  } else {
    store_u32(target, f, v);
  }
  return WR_OK;
}

static enum wr_err set_integer(const struct wr_option *f, void *target, const struct wr_value *v,
                               char *why) {
  const char *must = "a whole number";
  int64_t i = v->integer;
  if (v->type == WR_VALUE_NUMBER) {
    if (!(fabs(v->number) <= 9e15) || floor(v->number) != v->number)
      return wrong_type(why, must, v);
    i = (int64_t)v->number;
  } else if (v->type != WR_VALUE_INTEGER) {
    return wrong_type(why, must, v);
  }
  if (i < 0) return out_of_range(why, f);
  return store_number(target, f, (uint64_t)i, why);
}

static enum wr_err set_share(const struct wr_option *f, void *target, const struct wr_value *v,
                             char *why) {
  double share = v->type == WR_VALUE_INTEGER ? (double)v->integer : v->number;
  if (v->type != WR_VALUE_INTEGER && v->type != WR_VALUE_NUMBER)
    return wrong_type(why, "a share such as 0.2", v);
  if (!(share >= 0 && share <= 1)) return wrong(why, "must be from 0 to 1");
  store_u32(target, f, (uint64_t)(share * 1000 + 0.5));
  return WR_OK;
}

/* A duration or a size. A bare number is refused: "30" means seconds to one reader and milliseconds
 * to another. */
static enum wr_err set_quantity(const struct wr_option *f, void *target, const struct wr_value *v,
                                char *why) {
  bool time = f->type == WR_OPT_DURATION;
  const char *must = time ? "a duration such as \"30s\"" : "a size such as \"64KiB\"";
  if (v->type == WR_VALUE_INTEGER || v->type == WR_VALUE_NUMBER)
    return wrong(why,
                 time ? "needs a unit: write \"30s\", \"500ms\", \"2m\" (a bare number is an error)"
                      : "needs a unit: write \"64KiB\", \"4MiB\" (a bare number is an error)");
  if (v->type != WR_VALUE_TEXT) return wrong_type(why, must, v);
  uint64_t n = 0;
  enum wr_err err = time ? wr_text_duration_us(v->text, &n) : wr_text_size_bytes(v->text, &n);
  if (err == WR_E_TEXT_RANGE) return out_of_range(why, f);
  if (err == WR_E_TEXT_UNIT)
    return wrong(why, time ? "has a unit that isn't known: us, ms, s, m, h, d"
                           : "has a unit that isn't known: B, KB, MB, GB, KiB, MiB, GiB");
  if (err != WR_OK) {
    struct wr_buf b;
    wr_buf_init(&b, why, WR_CONF_WHY_BYTES - 1);
    wr_buf_printf(&b, "must be %s, not \"%.*s\"", must, (int)(v->text.len < 60 ? v->text.len : 60),
                  v->text.ptr);
    why[b.len] = '\0';
    return WR_E_CONFIG;
  }
  if (time) {
    if (n % 1000 != 0) return wrong(why, "must be whole milliseconds");
    n /= 1000;
  }
  return store_number(target, f, n, why);
}

/* The index of a word, or -1 with why. */
static int word_index(const struct wr_option *f, struct wr_span text, char *why) {
  for (int i = 0; f->words[i]; i++)
    if (f->words[i][0] && wr_span_eq(text, wr_span_str(f->words[i]))) return i;
  struct wr_buf b;
  wr_buf_init(&b, why, WR_CONF_WHY_BYTES - 1);
  for (int i = 0; f->later && f->later[i]; i++) {
    if (!wr_span_eq(text, wr_span_str(f->later[i]))) continue;
    wr_buf_printf(&b, "\"%s\" is not available in this version", f->later[i]);
    why[b.len] = '\0';
    return -1;
  }
  wr_buf_put(&b, WR_SPAN("must be "));
  const char *sep = "";
  for (int i = 0; f->words[i]; i++) {
    if (!f->words[i][0]) continue;
    wr_buf_printf(&b, "%s\"%s\"", sep, f->words[i]);
    sep = f->words[i + 1] && !f->words[i + 2] ? " or " : ", ";
  }
  wr_buf_printf(&b, ", not \"%.*s\"", (int)(text.len < 40 ? text.len : 40), text.ptr);
  const char *near = wr_words_suggest(f->words, text);
  if (near) wr_buf_printf(&b, " (did you mean \"%s\"?)", near);
  why[b.len] = '\0';
  return -1;
}

static enum wr_err set_word(const struct wr_option *f, void *target, const struct wr_value *v,
                            char *why) {
  /* Words that begin with "false" are a switch with several ways to be on: true is the first. */
  bool is_switch = strcmp(f->words[0], "false") == 0;
  if (is_switch && v->type == WR_VALUE_BOOL) {
    store_u32(target, f, v->boolean);
    return WR_OK;
  }
  if (v->type != WR_VALUE_TEXT)
    return wrong_type(why, is_switch ? "true, false or a string" : "a string", v);
  int i = word_index(f, v->text, why);
  if (i < 0) return WR_E_CONFIG;
  uint32_t bits = 0;
  if (f->type == WR_OPT_FLAGS) {
    memcpy(&bits, at(target, f), sizeof bits);
    bits |= UINT32_C(1) << i;
  } else {
    bits = (uint32_t)i; /* an enum without negative values is as wide as an unsigned */
  }
  store_u32(target, f, bits);
  return WR_OK;
}

static enum wr_err set_string(const struct wr_option *f, void *target, const struct wr_value *v,
                              struct wr_conf_arena *arena, char *why) {
  if (v->type != WR_VALUE_TEXT) return wrong_type(why, "a string", v);
  if (v->text.len == 0) return wrong(why, "must not be empty");
  if (memchr(v->text.ptr, '\0', v->text.len)) return wrong(why, "must not contain a NUL");
  for (size_t i = 0; i < v->text.len; i++)
    if ((unsigned char)v->text.ptr[i] < 0x20) return wrong(why, "has a control character in it");
  const char *copy = wr_conf_arena_copy(arena, v->text);
  if (!copy) return WR_E_NOMEM;
  memcpy(at(target, f), &copy, sizeof copy);
  return WR_OK;
}

enum wr_err wr_schema_set(const struct wr_option *f, void *target, const struct wr_value *v,
                          struct wr_conf_arena *arena, char why[static WR_CONF_WHY_BYTES]) {
  why[0] = '\0';
  if (f->zero && v->type == WR_VALUE_TEXT && wr_span_eq(v->text, wr_span_str(f->zero))) {
    WR_CHECK(f->type == WR_OPT_INTEGER || f->type == WR_OPT_DURATION);
    store_u32(target, f, 0);
    return WR_OK;
  }
  switch (f->type) {
  case WR_OPT_STRING:
  case WR_OPT_FILE: return set_string(f, target, v, arena, why);
  case WR_OPT_BOOL:
    if (v->type != WR_VALUE_BOOL) return wrong_type(why, "true or false", v);
    memcpy(at(target, f), &v->boolean, sizeof v->boolean);
    return WR_OK;
  case WR_OPT_INTEGER: return set_integer(f, target, v, why);
  case WR_OPT_DURATION:
  case WR_OPT_SIZE:
  case WR_OPT_SIZE32: return set_quantity(f, target, v, why);
  case WR_OPT_SHARE: return set_share(f, target, v, why);
  case WR_OPT_ENUM:
  case WR_OPT_FLAGS: return set_word(f, target, v, why);
  default: return wrong(why, "can't be set from a plain value");
  }
}

/* Reads a default as the table says it: numbers and yes/no without quotes, all else as text. */
static void set_default(const struct wr_option *f, void *target) {
  struct wr_value v = { .type = WR_VALUE_TEXT, .text = wr_span_str(f->def) };
  char why[WR_CONF_WHY_BYTES];
  if (f->type == WR_OPT_STRING || f->type == WR_OPT_FILE) {
    memcpy(at(target, f), &f->def, sizeof f->def); /* static text outlives every arena */
    return;
  }
  if (f->type == WR_OPT_BOOL) {
    v.type = WR_VALUE_BOOL;
    v.boolean = f->def[0] == 't';
  } else if (f->type == WR_OPT_SHARE) {
    v.type = WR_VALUE_NUMBER;
    v.number = strtod(f->def, NULL);
  } else if (f->type == WR_OPT_INTEGER && !(f->zero && strcmp(f->def, f->zero) == 0)) {
    uint64_t n = 0;
    WR_CHECK(wr_text_u64(v.text, UINT32_MAX, &n) == WR_OK);
    v.type = WR_VALUE_INTEGER;
    v.integer = (int64_t)n;
  }
  enum wr_err err = wr_schema_set(f, target, &v, NULL, why);
  WR_CHECK(err == WR_OK); /* the tables are tested */
}

void wr_schema_defaults(const struct wr_schema *schema, void *target) {
  for (size_t i = 0; i < schema->field_count; i++) {
    const struct wr_option *f = &schema->fields[i];
    if (f->type == WR_OPT_TABLE && !f->by_pointer) {
      wr_schema_defaults(f->table, at(target, f)); /* as deep as the tables nest: three */
    } else if (f->def && f->type <= WR_OPT_ENUM) {
      set_default(f, target);
    }
  }
}

const struct wr_option *wr_schema_find(const struct wr_schema *schema, struct wr_span name) {
  for (size_t i = 0; i < schema->field_count; i++)
    if (wr_span_eq(name, wr_span_str(schema->fields[i].name))) return &schema->fields[i];
  return NULL;
}

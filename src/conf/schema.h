/* schema.h: what may stand in a configuration, as tables.
 *
 * One table a declaration: names, types, ranges, defaults, and a line of documentation for each
 * option. The loader reads by it, `weir check --explain` prints by it, docs/configuration.md is
 * generated from it, so none of them can drift. Static data and pure functions, any thread. To add
 * an option: a field in conf.h, a row in schema_tables.c; for an own type, also a case in
 * policy/load_value.c and in explain.c. What the language knows but this version doesn't do is a
 * row of type LATER: it is refused by name. */
#ifndef WR_CONF_SCHEMA_H
#define WR_CONF_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "conf/arena.h"

enum wr_option_type {
  WR_OPT_STRING,   /* const char *, not empty */
  WR_OPT_FILE,     /* const char *: a name, taken from the folder of conf.lua */
  WR_OPT_BOOL,     /* bool */
  WR_OPT_INTEGER,  /* uint32_t */
  WR_OPT_DURATION, /* uint32_t, milliseconds */
  WR_OPT_SIZE,     /* uint64_t, bytes */
  WR_OPT_SIZE32,   /* uint32_t, bytes */
  WR_OPT_SHARE,    /* uint32_t, permille: a number from 0 to 1 */
  WR_OPT_ENUM,     /* an enum: the index of the word in `words` */
  WR_OPT_FLAGS,    /* uint32_t: a list of words, bit 1 << index */
  WR_OPT_SECRET,   /* struct wr_secret */
  WR_OPT_TABLE,    /* a struct of its own: `table`; behind a pointer if `by_pointer` */
  WR_OPT_MAP,      /* pointer to pairs of strings, and a size_t count at `count_offset` */
  WR_OPT_WORDS,    /* pointer to strings, and a size_t count at `count_offset`; with a `max` at most
                      so many, and one may be empty */
  /* Those the loader knows by name. */
  WR_OPT_URLS,   /* a URL or a list of them */
  WR_OPT_PRICES, /* model = { in, out } */
  WR_OPT_LIMIT,  /* { n } */
  WR_OPT_WEIGHTS, /* { 3, 1 } */
  WR_OPT_MARK,   /* of a meter: a share or a duration */
  WR_OPT_NAMES,  /* the positional names of a group */
  WR_OPT_NAME,   /* the name of another declaration */
  WR_OPT_USE,    /* a list of plugins with their options */
  WR_OPT_HOOK,   /* a function */
  WR_OPT_LATER   /* known to the language, not available in this version */
};

struct wr_schema;

struct wr_option {
  const char *name; /* borrowed: static, as all of these */
  const char *def;  /* borrowed: static; the default as conf.lua would say it; NULL: none */
  const char *doc;  /* borrowed: static; one line */
  const char *zero; /* borrowed: static; a word that stands for 0 ("auto"), or NULL */
  const char *const *words; /* borrowed: static; NULL-terminated; "" stands for no word */
  const char *const *later; /* borrowed: static; words that are known, not available yet; or NULL */
  const struct wr_schema *table; /* borrowed: static */
  uint64_t min, max;             /* of numbers, in the unit of the C field; max 0: what fits */
  uint16_t offset;
  uint16_t count_offset;
  uint8_t type; /* enum wr_option_type */
  bool required;
  bool by_pointer;
};

struct wr_schema {
  const char *name;    /* borrowed: static; "upstream" */
  const char *form;    /* borrowed: static; how the declaration is written, for the documentation */
  const char *doc;     /* borrowed: static */
  const char *example; /* borrowed: static; a piece of conf.lua that is right; may be NULL */
  const struct wr_option *fields; /* borrowed: static */
  size_t field_count;            /* at most 64 */
};

extern const struct wr_schema wr_schema_server, wr_schema_lua, wr_schema_listen,
    wr_schema_listen_tls, wr_schema_upstream, wr_schema_upstream_tls, wr_schema_upstream_timeout,
    wr_schema_hash, wr_schema_queue, wr_schema_breaker, wr_schema_health,
    wr_schema_group, wr_schema_retry, wr_schema_key, wr_schema_keys, wr_schema_route,
    wr_schema_match, wr_schema_limits, wr_schema_slow_client, wr_schema_min_rate, wr_schema_hedge,
    wr_schema_route_timeout, wr_schema_pressure;

/* One plain value from the configuration, by whatever language it was said. */
enum wr_value_type {
  WR_VALUE_BOOL,
  WR_VALUE_INTEGER,
  WR_VALUE_NUMBER,
  WR_VALUE_TEXT,
  WR_VALUE_OTHER
};
struct wr_value {
  enum wr_value_type type;
  bool boolean;
  int64_t integer;
  double number;
  struct wr_span text;   /* borrowed: for the call */
  const char *type_name; /* borrowed: static; what to call it in a message: "a table" */
};

#define WR_CONF_WHY_BYTES 256

/* Writes the defaults of all scalar fields, and of embedded tables; the rest of target is left
 * alone (zeroed by the caller). */
void wr_schema_defaults(const struct wr_schema *schema, void *target);
/* Sets one scalar field (STRING .. ENUM; strings are copied). CONFIG with `why` ("must be a
 * duration such as \"30s\", …"), or NOMEM. For FLAGS: adds the one word that value says. */
WR_MUST_USE enum wr_err wr_schema_set(const struct wr_option *field, void *target,
                                      const struct wr_value *value, struct wr_conf_arena *arena,
                                      char why[static WR_CONF_WHY_BYTES]);
const struct wr_option *wr_schema_find(const struct wr_schema *schema, struct wr_span name);

/* The nearest of some names within a small edit distance, or NULL. The i-th name comes from
 * `name_at`; NULL ends. */
typedef const char *(*wr_name_at_fn)(const void *ctx, size_t i);
const char *wr_suggest(struct wr_span wrong, wr_name_at_fn name_at, const void *ctx);
const char *wr_schema_suggest(const struct wr_schema *schema, struct wr_span wrong);
const char *wr_words_suggest(const char *const *words, struct wr_span wrong);

/* Text goes out in pieces. */
typedef void (*wr_conf_out_fn)(void *ctx, struct wr_span text);
/* The reference part of docs/configuration.md: a section a declaration, a table row an option. */
void wr_schema_print_markdown(wr_conf_out_fn out, void *ctx);

#endif

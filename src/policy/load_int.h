/* load_int.h: what the files of the loader share; nobody else includes it.
 *
 * One struct load a run, on the caller's stack. What it makes stands in the configuration's arena,
 * so that a Lua error may jump over any of these functions without a leak. Everything that is
 * declared is noted first (load_decl.c), then built and checked as a whole (load_build.c and what
 * it calls). */
#ifndef WR_POLICY_LOAD_INT_H
#define WR_POLICY_LOAD_INT_H

#include <lua.h>
#include <stdbool.h>

#include "conf/arena.h"
#include "conf/conf.h"
#include "conf/schema.h"
#include "policy/diag.h"
#include "policy/locate.h"
#include "policy/vm.h"

enum decl_kind {
  DECL_API,
  DECL_SERVER,
  DECL_LUA,
  DECL_LISTEN,
  DECL_UPSTREAM,
  DECL_GROUP,
  DECL_KEYS,
  DECL_ROUTE,
  DECL_PRESSURE,
  DECL_USE,
  /* Not declared in order: a place for messages. */
  DECL_PLUGIN,
  DECL_COUNTER,
  DECL_BUDGET,
  DECL_FLAG,
  DECL_EVERY,
  DECL_KINDS
};

/* One call in conf.lua; its table is decls[index] of the registry. */
struct decl {
  enum decl_kind kind;
  const char *name; /* borrowed: conf arena; NULL: has none */
  const char *file; /* borrowed: conf arena */
  int line;
  bool complete; /* its table came */
};

/* The name of an upstream or a key in a plugin's options, looked up once everything is known. */
struct name_check {
  const char *name;   /* borrowed: conf arena */
  const char *option; /* borrowed: conf arena; "order" */
  const char *plugin; /* borrowed: conf arena; NULL: not an option, but a name in a file's text */
  const char *file;   /* borrowed: conf arena */
  int line;
  bool key; /* of a key, not of an upstream */
};

struct load_state;

struct load {
  struct wr_vm *vm;             /* borrowed: the caller's */
  struct wr_diag *diag;         /* borrowed: the caller's */
  struct wr_conf_arena *arena;  /* borrowed: the caller's until the configuration owns it */
  struct wr_conf *conf;         /* borrowed: in the arena */
  const char *file;             /* borrowed: the caller's */
  const char *dir;              /* borrowed: conf arena; "" or with a "/" at its end */
  struct wr_span source;        /* borrowed: the caller's */
  struct wr_conf_group *groups; /* borrowed: the configuration's, while it is filled */
  struct wr_conf_route *routes; /* borrowed: as above */
  struct decl *decls;           /* borrowed: conf arena */
  size_t decl_count, decl_cap;
  struct name_check *checks; /* borrowed: conf arena */
  size_t check_count, check_cap;
  const char *lua_path; /* borrowed: conf arena or static; what require uses */
  char *hold;           /* owned: a file's text while it becomes a Lua string; tag CONF */
  const struct load_state *states; /* borrowed: conf arena; load_state.c */
  bool path_used;       /* require has run: the path may change no more */
};

/* Where a value stands: a chain of options up to a declaration. */
struct place {
  const struct decl *decl; /* borrowed: the load's */
  const struct place *up;  /* borrowed: the caller's frame; NULL: the declaration's own table */
  const char *key;         /* borrowed: the caller's; NULL at the top */
};

/* Registry keys. */
#define LOAD_KEY "weir.load"
#define LOAD_DECLS_KEY "weir.decls"
#define LOAD_REQUIRED_KEY "weir.required"

/* --- load.c --- */
/* The running load, or an error: "weir.route: only while conf.lua is loading". */
struct load *load_of(lua_State *L, const char *function);
/* Never NULL: raises when memory is short. Zeroed. */
void *load_alloc(lua_State *L, struct load *l, size_t bytes);
const char *load_copy(lua_State *L, struct load *l, struct wr_span text);
const char *load_format(lua_State *L, struct load *l, const char *format, ...) WR_PRINTF(3, 4);
/* Room for one more element; the array may move (the old one stays in the arena). */
void *load_grow(lua_State *L, struct load *l, void *array, size_t count, size_t *cap, size_t size);
/* A file's name as open() takes it: relative ones count from the folder of conf.lua. */
const char *load_path(lua_State *L, struct load *l, const char *name);
/* File and line of the Lua code that is running, `level` calls up. */
void load_where(lua_State *L, struct load *l, int level, const char **file, int *line);
/* The string at idx as a span, for strings only. */
struct wr_span load_span(lua_State *L, int idx);
/* "an integer", "a table", …: static. */
const char *load_type_name(lua_State *L, int idx);
/* The table of a declaration is pushed. */
void load_push_table(lua_State *L, const struct load *l, const struct decl *d);

/* --- load_value.c --- */
const char *load_decl_word(enum decl_kind kind); /* "upstream" */
/* An error at an option: "upstream 'openai': 'timeout.connect' must be …". */
void load_error(struct load *l, const struct place *at, const char *format, ...) WR_PRINTF(3, 4);
/* The same without the option's name, for sentences of their own: "upstream 'openai': …". */
void load_error_text(struct load *l, const struct place *at, const char *format, ...)
    WR_PRINTF(3, 4);
/* Reads the table at idx into target by the schema, defaults first. Fields that the schema leaves
 * to the loader are only known, not read. positional: values without a name are fine. */
void load_table(lua_State *L, struct load *l, const struct place *at, int idx,
                const struct wr_schema *schema, void *target, bool positional);
/* A pushed copy of the option, or nil. */
int load_option(lua_State *L, int idx, const char *name);
/* The file exists and can be read; else an error at `at`. */
void load_check_file(struct load *l, const struct place *at, const char *name);
/* The value at idx as text (a string, a number or a boolean), copied; NULL when it is something
 * else. */
const char *load_text(lua_State *L, struct load *l, int idx);

/* --- load_secret.c --- */
void load_secret_register(lua_State *L);
/* Reads the secret at idx into the arena; an error at `at` when it isn't one or can't be had. */
void load_secret(lua_State *L, struct load *l, const struct place *at, int idx,
                 struct wr_secret *out);

/* --- load_decl.c, load_require.c, load_plugin.c: put their functions into the tables --- */
void load_decl_register(lua_State *L);
void load_require_register(lua_State *L);
void load_plugin_register(lua_State *L);
void load_state_register(lua_State *L);
/* A name as declarations have it. */
bool load_name_is_valid(struct wr_span name);
/* Compiles and runs a file that returns a value, which is pushed; raises. */
void load_run_file(lua_State *L, struct load *l, const char *file);

/* --- load_build.c: the lua_CFunction of the second phase; its argument is the load --- */
int load_build(lua_State *L);

/* --- load_upstream.c, load_route.c, load_keys.c --- */
void load_upstreams(lua_State *L, struct load *l);
void load_groups(lua_State *L, struct load *l);
void load_keys(lua_State *L, struct load *l);
void load_routes(lua_State *L, struct load *l);
/* --- load_pressure.c --- */
void load_pressure(lua_State *L, struct load *l);
/* --- load_hooks.c --- */
/* Fills the registry's list of routes and the masks; runs the plugins' prepare. */
void load_hooks(lua_State *L, struct load *l);
/* --- load_plugin.c --- */
/* What a plugin's table says of its on_text. */
void load_text_of(lua_State *L, int spec, struct wr_conf_text *out);
/* The instance at idx (what a plugin's call gave): pushes plugin table and frozen options, returns
 * its place; NULL with nothing pushed when it is none. */
const struct decl *load_instance(lua_State *L, int idx);
/* Is the value at idx a plugin that was not called? */
bool load_is_plugin(lua_State *L, int idx);
/* --- load_warn.c --- */
void load_warnings(struct load *l);
/* --- load_lint.c --- */
/* Warnings about one file's text, and the names in it, which are looked up later. Raises when
 * memory is short; source and file stay where they are. */
void load_lint(lua_State *L, struct load *l, const char *file, struct wr_span source);

#endif

/* weir.secret: where a credential is, never the credential. The bytes go from the environment or
 * the file straight into the configuration's arena; no Lua value ever holds them. */
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "policy/load.h"
#include "policy/load_int.h"

#define SECRET_TYPE "weir.secret"
#define SECRET_MAX_BYTES 8192

struct source {
  bool file;
  char name[]; /* with a NUL */
};

static int make(lua_State *L, bool file, const char *function) {
  (void)load_of(L, function);
  size_t len = 0;
  if (lua_type(L, 1) != LUA_TSTRING)
    return luaL_error(L, "%s: expected a name, got %s", function, load_type_name(L, 1));
  const char *name = lua_tolstring(L, 1, &len);
  if (len == 0 || strlen(name) != len || (!file && strchr(name, '=')))
    return luaL_error(L, "%s: not a valid name", function);
  struct source *s = lua_newuserdatauv(L, sizeof *s + len + 1, 0);
  s->file = file;
  memcpy(s->name, name, len + 1);
  luaL_setmetatable(L, SECRET_TYPE);
  return 1;
}

static int secret_env(lua_State *L) { return make(L, false, "weir.secret.env"); }
static int secret_file(lua_State *L) { return make(L, true, "weir.secret.file"); }

static int secret_text(lua_State *L) {
  lua_pushliteral(L, "\xe2\x80\xa2\xe2\x80\xa2\xe2\x80\xa2");
  return 1;
}

void load_secret_register(lua_State *L) {
  if (luaL_newmetatable(L, SECRET_TYPE)) {
    lua_pushcfunction(L, secret_text);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "secret");
    lua_setfield(L, -2, "__metatable");
    lua_pushliteral(L, "secret");
    lua_setfield(L, -2, "__name");
  }
  lua_pop(L, 1);
  wr_vm_push_weir(L);
  lua_newtable(L);
  lua_pushcfunction(L, secret_env);
  lua_setfield(L, -2, "env");
  lua_pushcfunction(L, secret_file);
  lua_setfield(L, -2, "file");
  wr_vm_freeze(L, "weir.secret");
  lua_setfield(L, -2, "secret");
  lua_pop(L, 1);
}

/* Without the line feed that editors leave. False: it can't be sent in a header. */
static bool trim_and_check(struct wr_span *bytes) {
  while (bytes->len && (bytes->ptr[bytes->len - 1] == '\n' || bytes->ptr[bytes->len - 1] == '\r' ||
                        bytes->ptr[bytes->len - 1] == ' '))
    bytes->len--;
  for (size_t i = 0; i < bytes->len; i++)
    if ((unsigned char)bytes->ptr[i] < 0x20 || bytes->ptr[i] == 0x7f) return false;
  return bytes->len <= SECRET_MAX_BYTES;
}

/* Nothing here may raise: the file's bytes must be wiped behind it. */
static void keep(struct load *l, const struct place *at, const struct source *s,
                 struct wr_span bytes, struct wr_secret *out) {
  const char *what = s->file ? "file" : "environment variable";
  if (!trim_and_check(&bytes)) {
    load_error(l, at, "%s '%s' holds more than one line, or too much for a key", what, s->name);
  } else if (bytes.len == 0) {
    load_error(l, at, "%s '%s' is empty", what, s->name);
  } else {
    out->bytes = wr_conf_arena_copy(l->arena, bytes);
    out->len = out->bytes ? bytes.len : 0;
    if (!out->bytes) l->diag->nomem = true;
  }
}

static void from_file(struct load *l, const struct place *at, const struct source *s,
                      const char *path, struct wr_secret *out) {
  char *bytes = NULL;
  size_t len = 0;
  enum wr_err err = wr_conf_read_source(path, &bytes, &len);
  if (err == WR_E_NOMEM) {
    l->diag->nomem = true;
  } else if (err != WR_OK) {
    load_error(l, at, "file '%s' can't be read: %s", path, strerror(errno));
  } else {
    keep(l, at, s, wr_span_make(bytes, len), out);
    wr_wipe(bytes, len);
    wr_heap_free(WR_HEAP_CONF, bytes);
  }
}

void load_secret(lua_State *L, struct load *l, const struct place *at, int idx,
                 struct wr_secret *out) {
  const struct source *s = luaL_testudata(L, idx, SECRET_TYPE);
  if (!s) {
    load_error(l, at, "must be weir.secret.env \"NAME\" or weir.secret.file \"NAME\", not %s",
               load_type_name(L, idx));
    return;
  }
  out->source = load_format(L, l, "%s %s", s->file ? "file" : "env", s->name);
  if (s->file) {
    from_file(l, at, s, load_path(L, l, s->name), out);
    return;
  }
  const char *value = getenv(s->name);
  if (!value) {
    load_error(l, at, "environment variable '%s' is not set", s->name);
    return;
  }
  keep(l, at, s, wr_span_str(value), out);
}

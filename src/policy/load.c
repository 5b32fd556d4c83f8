#include "policy/load.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/budget.h"
#include "base/check.h"
#include "base/heap.h"
#include "policy/load_int.h"

/* Loading is no hot path; a file that loops must still end. */
#define LOAD_INSTRUCTIONS 50000000u
#define LOAD_WALL_MS 5000u

struct load *load_of(lua_State *L, const char *function) {
  lua_getfield(L, LUA_REGISTRYINDEX, LOAD_KEY);
  struct load *l = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (l) return l;
  const char *hook = wr_script_of(L)->hook;
  luaL_error(L, "%s: only while conf.lua is loading (called from %s)", function,
             hook ? hook : "a hook");
  return NULL;
}

void *load_alloc(lua_State *L, struct load *l, size_t bytes) {
  void *ptr = wr_conf_arena_alloc(l->arena, bytes);
  if (!ptr) {
    l->diag->nomem = true;
    luaL_error(L, "not enough memory");
  }
  return ptr;
}

const char *load_copy(lua_State *L, struct load *l, struct wr_span text) {
  char *copy = load_alloc(L, l, text.len + 1);
  if (text.len) memcpy(copy, text.ptr, text.len);
  return copy;
}

const char *load_format(lua_State *L, struct load *l, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  int len = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  WR_CHECK(len >= 0);
  return load_copy(L, l, wr_span_str(text));
}

void *load_grow(lua_State *L, struct load *l, void *array, size_t count, size_t *cap, size_t size) {
  if (count < *cap) return array;
  size_t more = *cap ? *cap * 2 : 8;
  void *moved = load_alloc(L, l, more * size);
  if (count) memcpy(moved, array, count * size);
  *cap = more;
  return moved;
}

const char *load_path(lua_State *L, struct load *l, const char *name) {
  if (name[0] == '/' || l->dir[0] == '\0') return load_copy(L, l, wr_span_str(name));
  size_t dir = strlen(l->dir), len = strlen(name);
  char *path = load_alloc(L, l, dir + len + 1);
  memcpy(path, l->dir, dir);
  memcpy(path + dir, name, len);
  return path;
}

void load_where(lua_State *L, struct load *l, int level, const char **file, int *line) {
  lua_Debug ar;
  *file = l->file;
  *line = 0;
  /* A call in tail position leaves no frame of its own: the next Lua function up has the line. */
  for (; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0) continue;
    *line = ar.currentline;
    const char *source = ar.source[0] == '@' || ar.source[0] == '=' ? ar.source + 1 : ar.short_src;
    if (strcmp(source, l->file) != 0) *file = load_copy(L, l, wr_span_str(source));
    return;
  }
}

struct wr_span load_span(lua_State *L, int idx) {
  size_t len = 0;
  WR_CHECK(lua_type(L, idx) == LUA_TSTRING);
  const char *text = lua_tolstring(L, idx, &len);
  return wr_span_make(text, len);
}

const char *load_type_name(lua_State *L, int idx) {
  switch (lua_type(L, idx)) {
  case LUA_TNONE:
  case LUA_TNIL: return "nil";
  case LUA_TBOOLEAN: return lua_toboolean(L, idx) ? "true" : "false";
  case LUA_TNUMBER: return lua_isinteger(L, idx) ? "an integer" : "a float";
  case LUA_TSTRING: return "a string";
  case LUA_TTABLE: return "a table";
  case LUA_TFUNCTION: return "a function";
  default:
    if (luaL_testudata(L, idx, "weir.secret")) return "a secret";
    if (load_is_plugin(L, idx)) return "a plugin";
    return "an object";
  }
}

void load_push_table(lua_State *L, const struct load *l, const struct decl *d) {
  WR_CHECK(d >= l->decls && d < l->decls + l->decl_count);
  lua_getfield(L, LUA_REGISTRYINDEX, LOAD_DECLS_KEY);
  lua_rawgeti(L, -1, d - l->decls + 1);
  lua_remove(L, -2);
}

static const char *dir_of(struct wr_conf_arena *arena, const char *file) {
  const char *slash = strrchr(file, '/');
  size_t len = slash ? (size_t)(slash - file) + 1 : 0;
  return wr_conf_arena_copy(arena, wr_span_make(file, len));
}

/* First phase: the file runs, its calls are noted. */
static int load_run(lua_State *L) {
  struct load *l = lua_touserdata(L, 1);
  lua_pushlightuserdata(L, l);
  lua_setfield(L, LUA_REGISTRYINDEX, LOAD_KEY);
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, LOAD_DECLS_KEY);
  lua_newtable(L);
  lua_setfield(L, LUA_REGISTRYINDEX, LOAD_REQUIRED_KEY);
  load_secret_register(L);
  load_decl_register(L);
  load_require_register(L);
  load_plugin_register(L);
  load_state_register(L);
  wr_vm_compile(L, l->source, l->file);
  load_lint(L, l, l->file, l->source);
  lua_call(L, 0, 0);
  return 0;
}

/* "policies/pii.lua:18: what": where the number begins, or 0. */
static size_t line_number_at(struct wr_span text) {
  for (size_t i = 1; i + 2 < text.len && i < 400; i++) {
    if (text.ptr[i] != ':' || text.ptr[i + 1] < '0' || text.ptr[i + 1] > '9') continue;
    size_t end = i + 1;
    while (end < text.len && text.ptr[end] >= '0' && text.ptr[end] <= '9') end++;
    if (end < text.len && text.ptr[end] == ':' && end - i < 9) return i + 1;
  }
  return 0;
}

/* What was raised becomes an entry with its own file and line. */
static void note_raised(struct load *l, struct wr_span text) {
  size_t at = line_number_at(text);
  if (at == 0) {
    wr_diag_error(l->diag, l->file, 0, "%.*s", (int)text.len, text.ptr);
    return;
  }
  char file[400];
  snprintf(file, sizeof file, "%.*s", (int)at - 1, text.ptr);
  int line = 0;
  for (; text.ptr[at] != ':'; at++) line = line * 10 + (text.ptr[at] - '0');
  at++;
  while (at < text.len && text.ptr[at] == ' ') at++;
  wr_diag_error(l->diag, file, line, "%.*s", (int)(text.len - at), text.ptr + at);
}

static enum wr_err run_phase(struct load *l, lua_CFunction phase) {
  lua_State *L = wr_vm_state(l->vm);
  const struct wr_vm_call call = { .hook = "conf.lua",
                                   .instructions = LOAD_INSTRUCTIONS,
                                   .wall_ms = LOAD_WALL_MS };
  lua_pushcfunction(L, phase);
  lua_pushlightuserdata(L, l);
  enum wr_vm_end end = wr_vm_pcall(l->vm, &call, 1, 0);
  if (end == WR_VM_OK) return l->diag->nomem ? WR_E_NOMEM : WR_OK;
  if (!l->diag->nomem) note_raised(l, wr_vm_error(l->vm));
  return end == WR_VM_MEMORY || l->diag->nomem ? WR_E_NOMEM : WR_E_CONFIG;
}

/* What is in the registry must not point to a load that is over. */
static int load_close(lua_State *L) {
  lua_pushnil(L);
  lua_setfield(L, LUA_REGISTRYINDEX, LOAD_KEY);
  lua_pushnil(L);
  lua_setfield(L, LUA_REGISTRYINDEX, LOAD_DECLS_KEY);
  return 0;
}

static enum wr_err load_all(struct load *l) {
  wr_vm_script(l->vm)->phase = WR_PHASE_LOAD;
  enum wr_err err = run_phase(l, load_run);
  if (err == WR_OK) err = run_phase(l, load_build);
  wr_vm_script(l->vm)->phase = WR_PHASE_NONE;
  lua_State *L = wr_vm_state(l->vm);
  lua_pushcfunction(L, load_close);
  if (wr_vm_pcall(l->vm, NULL, 0, 0) != WR_VM_OK && err == WR_OK) err = WR_E_NOMEM;
  if (err == WR_OK && l->diag->errors > 0) err = WR_E_CONFIG;
  return err;
}

enum wr_err wr_conf_load(struct wr_vm *vm, const char *file, struct wr_span source,
                         struct wr_conf **out, struct wr_diag *diag) {
  struct load l = { .vm = vm, .diag = diag, .file = file, .source = source };
  if (wr_conf_arena_new(&l.arena) != WR_OK) return WR_E_NOMEM;
  l.conf = wr_conf_arena_alloc(l.arena, sizeof *l.conf);
  l.dir = dir_of(l.arena, file);
  enum wr_err err = WR_E_NOMEM;
  if (l.conf && l.dir) {
    l.conf->arena = l.arena;
    l.conf->file = wr_conf_arena_copy(l.arena, wr_span_str(file));
    wr_schema_defaults(&wr_schema_server, &l.conf->server);
    wr_schema_defaults(&wr_schema_lua, &l.conf->lua);
    l.lua_path = l.conf->lua.path;
    err = l.conf->file ? load_all(&l) : WR_E_NOMEM;
  }
  wr_heap_free(WR_HEAP_CONF, l.hold);
  wr_diag_sort(diag);
  if (err != WR_OK) {
    wr_conf_arena_free(l.arena);
    return err;
  }
  *out = l.conf;
  return WR_OK;
}

static enum wr_err read_all(int fd, char **give_bytes, size_t *len) {
  struct stat st;
  if (fstat(fd, &st) != 0) return WR_E_IO;
  if (S_ISDIR(st.st_mode)) {
    errno = EISDIR;
    return WR_E_IO;
  }
  size_t cap = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size + 1 : 65536;
  if (cap > WR_LOAD_SOURCE_MAX_BYTES) cap = WR_LOAD_SOURCE_MAX_BYTES;
  char *bytes = wr_heap_alloc(WR_HEAP_CONF, cap + 1);
  if (!bytes) return WR_E_NOMEM;
  size_t got = 0;
  ssize_t n = 0;
  while (got < cap && (n = read(fd, bytes + got, cap - got)) > 0) got += (size_t)n;
  if (n < 0 || got == WR_LOAD_SOURCE_MAX_BYTES) {
    if (n >= 0) errno = EFBIG;
    wr_wipe(bytes, cap);
    wr_heap_free(WR_HEAP_CONF, bytes);
    return WR_E_IO;
  }
  bytes[got] = '\0';
  *give_bytes = bytes;
  *len = got;
  return WR_OK;
}

enum wr_err wr_conf_read_source(const char *file, char **give_bytes, size_t *len) {
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return WR_E_IO;
  enum wr_err err = read_all(fd, give_bytes, len);
  int saved = errno;
  close(fd);
  errno = saved;
  return err;
}

enum wr_err wr_conf_load_file(const char *file, struct wr_conf **out, struct wr_diag *diag) {
  char *bytes = NULL;
  size_t len = 0;
  enum wr_err err = wr_conf_read_source(file, &bytes, &len);
  if (err == WR_E_IO) {
    wr_diag_error(diag, file, 0, "can't be read: %s", strerror(errno));
    return diag->nomem ? WR_E_NOMEM : WR_E_CONFIG;
  }
  if (err != WR_OK) return err;
  struct wr_vm *vm = NULL;
  err = wr_vm_new(NULL, &vm);
  if (err == WR_OK) {
    err = wr_conf_load(vm, file, wr_span_make(bytes, len), out, diag);
    wr_vm_free(vm);
  }
  wr_heap_free(WR_HEAP_CONF, bytes);
  return err;
}

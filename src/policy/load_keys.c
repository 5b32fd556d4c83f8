/* weir.keys: in place, or from a file that returns the table. */
#include <lauxlib.h>
#include <string.h>

#include "base/check.h"
#include "base/text.h"
#include "policy/load_int.h"

static bool parse_sha256(const char *hex, uint8_t out[32]) {
  if (!hex || strlen(hex) != 64) return false;
  for (size_t i = 0; i < 32; i++) {
    int high = wr_text_hex_digit(hex[2 * i]), low = wr_text_hex_digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

static void add_key(lua_State *L, struct load *l, const struct place *at, int idx,
                    struct wr_conf_key *keys) {
  struct wr_conf_key k;
  memset(&k, 0, sizeof k);
  wr_schema_defaults(&wr_schema_key, &k);
  k.name = at->key;
  if (!lua_istable(L, idx)) {
    load_error(l, at, "must be a table such as { sha256 = \"…\" }, not %s", load_type_name(L, idx));
    return;
  }
  load_table(L, l, at, idx, &wr_schema_key, &k, false);
  const struct place sha = { at->decl, at, "sha256" };
  if (k.sha256_hex && !parse_sha256(k.sha256_hex, k.sha256))
    load_error(l, &sha, "must be 64 hex digits, the SHA-256 of the key");
  size_t i = l->conf->key_count++;
  for (; i > 0 && strcmp(k.name, keys[i - 1].name) < 0; i--) keys[i] = keys[i - 1];
  keys[i] = k;
}

static void add_keys(lua_State *L, struct load *l, const struct place *top, int idx, bool in_file) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) count++;
  struct wr_conf_key *keys = load_alloc(L, l, (count + 1) * sizeof *keys);
  l->conf->keys = keys;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      load_error_text(l, top, "a key needs a name: [\"team-a\"] = { sha256 = \"…\" }");
      continue;
    }
    const char *name = load_copy(L, l, load_span(L, -2));
    if (!in_file && strcmp(name, "file") == 0 && lua_type(L, -1) == LUA_TSTRING) continue;
    const struct place at = { top->decl, NULL, name };
    add_key(L, l, &at, lua_gettop(L), keys);
  }
  for (size_t i = 1; i < l->conf->key_count; i++)
    for (size_t j = 0; j < i; j++)
      if (memcmp(keys[i].sha256, keys[j].sha256, 32) == 0 && keys[i].sha256_hex)
        load_error_text(l, top, "'%s' and '%s' are the same key", keys[j].name, keys[i].name);
}

/* Arguments: the load, the file's name. */
static int run_keys_file(lua_State *L) {
  struct load *l = lua_touserdata(L, 1);
  load_run_file(L, l, lua_tostring(L, 2));
  return 1;
}

static bool push_file(lua_State *L, struct load *l, const struct place *at, const char *file) {
  const struct wr_vm_call call = { .hook = "keys" };
  lua_pushcfunction(L, run_keys_file);
  lua_pushlightuserdata(L, l);
  lua_pushstring(L, file);
  if (wr_vm_pcall(l->vm, &call, 2, 1) != WR_VM_OK) {
    struct wr_span why = wr_vm_error(l->vm);
    load_error_text(l, at, "%.*s", (int)(why.len < 300 ? why.len : 300), why.ptr);
    return false;
  }
  if (lua_istable(L, -1)) return true;
  load_error_text(l, at, "file '%s' must return a table of keys, not %s", file,
                  load_type_name(L, -1));
  lua_pop(L, 1);
  return false;
}

static void from_file(lua_State *L, struct load *l, const struct decl *d, const char *name) {
  const struct place at = { d, NULL, "file" };
  struct decl *inside = load_alloc(L, l, sizeof *inside);
  *inside = *d;
  const char *file = load_path(L, l, name);
  l->conf->keys_file = file;
  size_t before = l->diag->errors;
  load_check_file(l, &at, file);
  if (l->diag->errors > before || !push_file(L, l, &at, file)) return;
  inside->file = file;
  inside->line = 0;
  const struct place top = { inside, NULL, NULL };
  add_keys(L, l, &top, lua_gettop(L), true);
  lua_pop(L, 1);
}

void load_keys(lua_State *L, struct load *l) {
  const struct decl *d = NULL;
  for (size_t i = 0; i < l->decl_count; i++)
    if (l->decls[i].kind == DECL_KEYS) d = &l->decls[i];
  if (!d) return;
  l->conf->keys_declared = true;
  load_push_table(L, l, d);
  int idx = lua_gettop(L);
  const struct place top = { d, NULL, NULL };
  size_t entries = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) entries++;
  bool file = load_option(L, idx, "file") == LUA_TSTRING;
  if (file && entries > 1) {
    load_error_text(l, &top, "either 'file' or keys in place, not both");
  } else if (file) {
    from_file(L, l, d, load_copy(L, l, load_span(L, -1)));
  } else {
    add_keys(L, l, &top, idx, false);
  }
  lua_pop(L, 2);
}

/* l_string.c: the string library: stock functions charged for their bytes, patterns by our own
 * matcher. */
#include "api/lib.h"
#include "api/pattern.h"

/* A stock C function behind a charge for every string argument. */
static int charged(lua_State *L) {
  size_t bytes = 0;
  for (int i = 1, n = lua_gettop(L); i <= n; i++) {
    if (lua_type(L, i) == LUA_TSTRING) bytes += lua_rawlen(L, i);
  }
  wr_budget_charge_bytes(L, bytes);
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* From the stock library at `from` into the table on top. */
static void take(lua_State *L, int from, const char *const *names) {
  for (; *names; names++) {
    lua_getfield(L, from, *names);
    lua_pushcclosure(L, charged, 1);
    lua_setfield(L, -2, *names);
  }
}

/* Allocates the result first-class: its size is known, and charged, before a byte is copied. */
static int str_rep(lua_State *L) {
  size_t len, sep_len;
  const char *s = luaL_checklstring(L, 1, &len);
  lua_Integer n = luaL_checkinteger(L, 2);
  const char *sep = luaL_optlstring(L, 3, "", &sep_len);
  if (n <= 0 || len + sep_len == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  if ((uint64_t)n > (uint64_t)INT32_MAX / (len + sep_len)) wr_budget_trip(L, WR_LIMIT_MEMORY);
  size_t total = (size_t)n * (len + sep_len) - sep_len;
  wr_budget_charge_bytes(L, total);
  luaL_Buffer b;
  char *to = luaL_buffinitsize(L, &b, total);
  for (lua_Integer i = 0; i < n; i++) {
    if (i > 0 && sep_len) to = (char *)memcpy(to, sep, sep_len) + sep_len;
    if (len) to = (char *)memcpy(to, s, len) + len;
  }
  luaL_pushresultsize(&b, total);
  return 1;
}

static WR_NORETURN void raise_pattern(lua_State *L, enum wr_pattern_end end) {
  if (end == WR_PATTERN_STEPS) wr_budget_trip(L, WR_LIMIT_INSTRUCTIONS);
  luaL_error(L, "%s", wr_pattern_text(end));
  WR_CHECK(false);
  __builtin_unreachable();
}

static void push_capture(lua_State *L, struct wr_span subject, const struct wr_pattern_capture *c) {
  if (c->len == WR_PATTERN_POSITION) lua_pushinteger(L, (lua_Integer)c->off + 1);
  else lua_pushlstring(L, subject.ptr ? subject.ptr + c->off : "", (size_t)c->len);
}

/* All captures, or the whole match when there is none and `whole` is asked for. */
static int push_captures(lua_State *L, struct wr_span subject, const struct wr_pattern_match *m,
                         bool whole) {
  if (m->count == 0 && whole) {
    lua_pushlstring(L, subject.ptr ? subject.ptr + m->start : "", m->end - m->start);
    return 1;
  }
  luaL_checkstack(L, (int)m->count, "too many captures");
  for (unsigned i = 0; i < m->count; i++) push_capture(L, subject, &m->captures[i]);
  return (int)m->count;
}

/* The offset that string.find's init means, or SIZE_MAX behind the end. */
static size_t init_offset(lua_State *L, int arg, size_t len) {
  lua_Integer i = luaL_optinteger(L, arg, 1);
  if (i > 0) return (uint64_t)i - 1 > len ? SIZE_MAX : (size_t)i - 1;
  if (i == 0 || (uint64_t)-i >= len) return 0;
  return len - (size_t)-i;
}

static int no_match(lua_State *L) {
  lua_pushnil(L);
  return 1;
}

int wr_lib_find(lua_State *L, struct wr_span subject, struct wr_span pattern, int arg_init) {
  struct wr_script *s = wr_script_of(L);
  size_t init = init_offset(L, arg_init, subject.len);
  if (init == SIZE_MAX) return no_match(L);
  if (lua_toboolean(L, arg_init + 1) || wr_pattern_is_plain(pattern)) {
    size_t at = wr_pattern_plain(subject, pattern, init, &s->left);
    if (s->left < 0) raise_pattern(L, WR_PATTERN_STEPS);
    if (at == SIZE_MAX) return no_match(L);
    lua_pushinteger(L, (lua_Integer)at + 1);
    lua_pushinteger(L, (lua_Integer)(at + pattern.len));
    return 2;
  }
  struct wr_pattern_match m;
  enum wr_pattern_end end = wr_pattern_find(subject, pattern, init, &s->left, &m);
  if (end == WR_PATTERN_NONE) return no_match(L);
  if (end != WR_PATTERN_MATCH) raise_pattern(L, end);
  lua_pushinteger(L, (lua_Integer)m.start + 1);
  lua_pushinteger(L, (lua_Integer)m.end);
  return 2 + push_captures(L, subject, &m, false);
}

static struct wr_span check_span(lua_State *L, int arg) {
  size_t len;
  const char *ptr = luaL_checklstring(L, arg, &len);
  return wr_span_make(ptr, len);
}

static int str_find(lua_State *L) {
  struct wr_span subject = check_span(L, 1), pattern = check_span(L, 2);
  return wr_lib_find(L, subject, pattern, 3);
}

static int str_match(lua_State *L) {
  struct wr_span subject = check_span(L, 1), pattern = check_span(L, 2);
  size_t init = init_offset(L, 3, subject.len);
  if (init == SIZE_MAX) return no_match(L);
  struct wr_pattern_match m;
  enum wr_pattern_end end = wr_pattern_find(subject, pattern, init, &wr_script_of(L)->left, &m);
  if (end == WR_PATTERN_NONE) return no_match(L);
  if (end != WR_PATTERN_MATCH) raise_pattern(L, end);
  return push_captures(L, subject, &m, true);
}

/* Upvalues: subject, pattern, where to go on (offset), the end of the last match plus one (0:
 * none). */
static int gmatch_next(lua_State *L) {
  size_t len, p_len;
  const char *ptr = lua_tolstring(L, lua_upvalueindex(1), &len);
  const char *p = lua_tolstring(L, lua_upvalueindex(2), &p_len);
  struct wr_span subject = wr_span_make(ptr, len), pattern = wr_span_make(p, p_len);
  size_t last = (size_t)lua_tointeger(L, lua_upvalueindex(4));
  for (size_t at = (size_t)lua_tointeger(L, lua_upvalueindex(3)); at <= len; at++) {
    struct wr_pattern_match m;
    enum wr_pattern_end end = wr_pattern_at(subject, pattern, at, &wr_script_of(L)->left, &m);
    if (end > WR_PATTERN_MATCH) raise_pattern(L, end);
    if (end == WR_PATTERN_NONE || m.end + 1 == last) continue;
    lua_pushinteger(L, (lua_Integer)m.end);
    lua_replace(L, lua_upvalueindex(3));
    lua_pushinteger(L, (lua_Integer)m.end + 1);
    lua_replace(L, lua_upvalueindex(4));
    return push_captures(L, subject, &m, true);
  }
  return 0;
}

static int str_gmatch(lua_State *L) {
  struct wr_span subject = check_span(L, 1);
  check_span(L, 2);
  size_t init = init_offset(L, 3, subject.len);
  if (init == SIZE_MAX) init = subject.len + 1;
  lua_settop(L, 2);
  lua_pushinteger(L, (lua_Integer)init);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, gmatch_next, 4);
  return 1;
}

/* Adds what a replacement string gives: %0 to %9 are captures, %% is a percent sign. */
static void add_template(lua_State *L, luaL_Buffer *b, struct wr_span subject,
                         const struct wr_pattern_match *m) {
  size_t len;
  const char *t = lua_tolstring(L, 3, &len);
  wr_budget_charge_bytes(L, len);
  for (size_t i = 0; i < len; i++) {
    if (t[i] != '%') {
      luaL_addchar(b, t[i]);
      continue;
    }
    char c = ++i < len ? t[i] : '\0';
    unsigned n = (unsigned)(c - '1');
    if (c == '%') {
      luaL_addchar(b, '%');
    } else if (c == '0' || (c == '1' && m->count == 0)) {
      wr_budget_charge_bytes(L, m->end - m->start);
      luaL_addlstring(b, subject.ptr + m->start, m->end - m->start);
    } else if (c >= '1' && c <= '9') {
      if (n >= m->count)
        luaL_error(L, "invalid capture index %%%d in replacement string", (int)n + 1);
      push_capture(L, subject, &m->captures[n]);
      luaL_tolstring(L, -1, NULL);
      lua_remove(L, -2);
      wr_budget_charge_bytes(L, lua_rawlen(L, -1));
      luaL_addvalue(b);
    } else {
      luaL_error(L, "invalid use of '%%' in replacement string");
    }
  }
}

/* Adds the replacement of one match; whether anything was replaced. */
static bool add_value(lua_State *L, luaL_Buffer *b, struct wr_span subject,
                      const struct wr_pattern_match *m) {
  int type = lua_type(L, 3);
  if (type == LUA_TFUNCTION) {
    lua_pushvalue(L, 3);
    lua_call(L, push_captures(L, subject, m, true), 1);
  } else if (type == LUA_TTABLE) {
    if (m->count) push_capture(L, subject, &m->captures[0]);
    else push_captures(L, subject, m, true);
    lua_gettable(L, 3);
  } else {
    add_template(L, b, subject, m);
    return true;
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    luaL_addlstring(b, subject.ptr ? subject.ptr + m->start : "", m->end - m->start);
    return false;
  }
  if (!lua_isstring(L, -1)) luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  wr_budget_charge_bytes(L, lua_rawlen(L, -1));
  luaL_addvalue(b);
  return true;
}

static int str_gsub(lua_State *L) {
  struct wr_span subject = check_span(L, 1), pattern = check_span(L, 2);
  int type = lua_type(L, 3);
  luaL_argexpected(L,
                   type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION ||
                       type == LUA_TTABLE,
                   3, "string/function/table");
  lua_Integer max = luaL_optinteger(L, 4, (lua_Integer)subject.len + 1), n = 0;
  if (type == LUA_TNUMBER) lua_tostring(L, 3);
  wr_budget_charge_bytes(L, subject.len);
  bool anchored = pattern.len > 0 && pattern.ptr[0] == '^', changed = false;
  if (anchored) pattern = wr_span_sub(pattern, 1, pattern.len - 1);
  size_t at = 0, last = SIZE_MAX;
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  while (n < max) {
    struct wr_pattern_match m;
    enum wr_pattern_end end = wr_pattern_at(subject, pattern, at, &wr_script_of(L)->left, &m);
    if (end > WR_PATTERN_MATCH) raise_pattern(L, end);
    if (end == WR_PATTERN_MATCH && m.end != last) {
      n++;
      changed = add_value(L, &b, subject, &m) || changed;
      at = last = m.end;
    } else if (at < subject.len) {
      luaL_addchar(&b, subject.ptr[at]);
      at++;
    } else {
      break;
    }
    if (anchored) break;
  }
  if (changed) {
    luaL_addlstring(&b, subject.ptr + at, subject.len - at);
    luaL_pushresult(&b);
  } else {
    lua_pushvalue(L, 1);
  }
  lua_pushinteger(L, n);
  return 2;
}

void wr_lib_range(lua_State *L, int arg_i, int arg_j, size_t len, size_t *off, size_t *n) {
  lua_Integer i = luaL_optinteger(L, arg_i, 1), j = luaL_optinteger(L, arg_j, -1);
  lua_Integer max = (lua_Integer)len;
  if (i < 0) i = i < -max ? 1 : max + i + 1;
  if (i < 1) i = 1;
  if (j < 0) j = j < -max ? 0 : max + j + 1;
  if (j > max) j = max;
  *off = i > j ? 0 : (size_t)i - 1;
  *n = i > j ? 0 : (size_t)(j - i + 1);
}

void wr_lib_string(lua_State *L) {
  static const char *const stock[] = { "byte",    "char", "format", "len",      "lower",  "upper",
                                       "reverse", "sub",  "pack",   "packsize", "unpack", NULL };
  static const luaL_Reg own[] = { { "rep", str_rep },     { "find", str_find },
                                  { "match", str_match }, { "gmatch", str_gmatch },
                                  { "gsub", str_gsub },   { NULL, NULL } };
  int from = lua_gettop(L);
  lua_newtable(L);
  take(L, from, stock);
  luaL_setfuncs(L, own, 0);
  lua_remove(L, from);
}

void wr_lib_utf8(lua_State *L) {
  static const char *const stock[] = { "char", "codepoint", "codes", "len", "offset", NULL };
  int from = lua_gettop(L);
  lua_newtable(L);
  take(L, from, stock);
  lua_getfield(L, from, "charpattern");
  lua_setfield(L, -2, "charpattern");
  lua_remove(L, from);
}

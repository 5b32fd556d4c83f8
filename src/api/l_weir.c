/* l_weir.c: weir.log, weir.now, weir.date, weir.random: time, chance and log come from the core. */
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "api/lib.h"
#include "base/hash.h"

#define LINES_A_SECOND 10
#define LINE_BYTES 1024

/* "file:line" of the Lua function that called, or "". */
static struct wr_span caller(lua_State *L, char *to, size_t size) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    if (!lua_getinfo(L, "Sl", &ar) || ar.currentline <= 0) continue;
    snprintf(to, size, "%s:%d", ar.short_src, ar.currentline);
    return wr_span_str(to);
  }
  return wr_span_make("", 0);
}

static uint64_t hash_of(struct wr_span s) {
  uint64_t h = UINT64_C(0x9e3779b97f4a7c15);
  for (size_t i = 0; i < s.len; i++) h = wr_hash_mix64(h ^ (unsigned char)s.ptr[i]);
  return h ? h : 1;
}

/* The site's slot; when all are taken, the one that has been silent longest is given away. */
static struct wr_script_site *site_of(struct wr_script *s, uint64_t hash) {
  struct wr_script_site *oldest = &s->sites[0];
  for (size_t i = 0; i < WR_SCRIPT_LOG_SITES; i++) {
    struct wr_script_site *site = &s->sites[(hash + i) % WR_SCRIPT_LOG_SITES];
    if (site->hash == hash) return site;
    if (site->hash == 0) {
      site->hash = hash;
      return site;
    }
    if (site->since_us < oldest->since_us) oldest = site;
  }
  *oldest = (struct wr_script_site){ .hash = hash };
  return oldest;
}

/* May this site write a line now? *dropped: how many it may not write in the seconds before. */
static bool site_admits(struct wr_script *s, struct wr_span where, uint32_t *dropped) {
  struct wr_script_site *site = site_of(s, hash_of(where));
  uint64_t now = s->core.mono_us(s->core.ctx);
  *dropped = 0;
  if (site->lines == 0 || now - site->since_us >= 1000000) {
    *dropped = site->dropped;
    site->since_us = now;
    site->lines = 0;
    site->dropped = 0;
  }
  if (site->lines >= LINES_A_SECOND) {
    site->dropped++;
    return false;
  }
  site->lines++;
  return true;
}

/* A line is one line: control characters become spaces. */
static void emit(lua_State *L, enum wr_script_level level, struct wr_span where,
                 struct wr_span text, uint32_t dropped) {
  struct wr_script *s = wr_script_of(L);
  char line[LINE_BYTES];
  size_t n = text.len < sizeof line - 48 ? text.len : sizeof line - 48;
  for (size_t i = 0; i < n; i++) line[i] = (unsigned char)text.ptr[i] < 0x20 ? ' ' : text.ptr[i];
  if (dropped) {
    int more = snprintf(line + n, sizeof line - n, " (%u lines dropped before)", dropped);
    if (more > 0) n += (size_t)more;
  }
  s->core.log(s->core.ctx, level, where, wr_span_make(line, n));
}

/* Upvalue 1: the level; upvalue 2: string.format. */
static int log_line(lua_State *L) {
  char at[WR_SCRIPT_WHERE_BYTES];
  uint32_t dropped;
  struct wr_span where = caller(L, at, sizeof at);
  if (!site_admits(wr_script_of(L), where, &dropped)) return 0;
  int n = lua_gettop(L);
  luaL_checktype(L, 1, LUA_TSTRING);
  for (int i = 2; i <= n; i++) {
    /* %s and %d both have to work, so only what has no plain form becomes text. */
    int type = lua_type(L, i);
    if (type == LUA_TNUMBER || type == LUA_TSTRING) continue;
    luaL_tolstring(L, i, NULL);
    lua_replace(L, i);
  }
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  lua_call(L, n, 1);
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  enum wr_script_level level = (enum wr_script_level)lua_tointeger(L, lua_upvalueindex(1));
  emit(L, level, where, wr_span_make(text, len), dropped);
  return 0;
}

static int weir_print(lua_State *L) {
  char at[WR_SCRIPT_WHERE_BYTES];
  uint32_t dropped;
  struct wr_span where = caller(L, at, sizeof at);
  if (!site_admits(wr_script_of(L), where, &dropped)) return 0;
  int n = lua_gettop(L);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (int i = 1; i <= n; i++) {
    if (i > 1) luaL_addchar(&b, ' ');
    luaL_tolstring(L, i, NULL);
    luaL_addvalue(&b);
  }
  luaL_pushresult(&b);
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  emit(L, WR_SCRIPT_INFO, where, wr_span_make(text, len), dropped);
  return 0;
}

static int weir_now(lua_State *L) {
  const struct wr_script *s = wr_script_of(L);
  lua_pushnumber(L, (lua_Number)s->core.wall_us(s->core.ctx) / 1e6);
  return 1;
}

/* weir.date([format [, time]]): strftime, always in UTC: the zone of a machine is a trap for a
 * fleet. */
static int weir_date(lua_State *L) {
  const struct wr_script *s = wr_script_of(L);
  size_t len;
  const char *format = luaL_optlstring(L, 1, "%Y-%m-%dT%H:%M:%SZ", &len);
  lua_Number when = luaL_optnumber(L, 2, (lua_Number)s->core.wall_us(s->core.ctx) / 1e6);
  luaL_argcheck(L, len > 0 && len < 64, 1, "a format of 1 to 63 bytes is expected");
  luaL_argcheck(L, when >= 0 && when < 253402300800.0, 2, "out of range");
  time_t t = (time_t)when;
  struct tm tm;
  char out[512];
  if (!gmtime_r(&t, &tm)) return luaL_error(L, "weir.date: the time is out of range");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  size_t n = strftime(out, sizeof out, format, &tm);
#pragma GCC diagnostic pop
  lua_pushlstring(L, out, n);
  return 1;
}

/* As math.random of the manual: none, m, or m and n. */
static int weir_random(lua_State *L) {
  const struct wr_script *s = wr_script_of(L);
  uint64_t x = s->core.random_u64(s->core.ctx);
  int n = lua_gettop(L);
  if (n == 0) {
    lua_pushnumber(L, (lua_Number)(x >> 11) * 0x1.0p-53);
    return 1;
  }
  lua_Integer low = n == 1 ? 1 : luaL_checkinteger(L, 1),
              high = luaL_checkinteger(L, n == 1 ? 1 : 2);
  luaL_argcheck(L, low <= high, n == 1 ? 1 : 2, "interval is empty");
  uint64_t range = (uint64_t)high - (uint64_t)low;
  if (range != UINT64_MAX) {
    uint64_t count = range + 1, limit = UINT64_MAX - UINT64_MAX % count;
    /* A test's generator may be a constant: a few tries, then a bias nobody can measure. */
    for (int tries = 0; x >= limit && tries < 8; tries++) x = s->core.random_u64(s->core.ctx);
    x %= count;
  }
  lua_pushinteger(L, (lua_Integer)((uint64_t)low + x));
  return 1;
}

void wr_lib_random(lua_State *L) {
  lua_pushcfunction(L, weir_random);
  lua_setfield(L, -2, "random");
}

void wr_lib_weir(lua_State *L) {
  static const struct {
    const char *name; /* borrowed: a literal */
    enum wr_script_level level;
  } levels[] = { { "info", WR_SCRIPT_INFO },
                 { "warn", WR_SCRIPT_WARN },
                 { "error", WR_SCRIPT_ERROR } };
  static const luaL_Reg own[] = { { "now", weir_now }, { "date", weir_date }, { NULL, NULL } };
  luaL_setfuncs(L, own, 0);
  wr_lib_random(L);
  lua_newtable(L);
  for (size_t i = 0; i < 3; i++) {
    lua_pushinteger(L, (lua_Integer)levels[i].level);
    lua_pushliteral(L, "");
    lua_getfield(L, -1, "format");
    lua_remove(L, -2);
    lua_pushcclosure(L, log_line, 2);
    lua_setfield(L, -2, levels[i].name);
  }
  wr_lib_strict(L, "weir.log");
  wr_lib_freeze(L, "weir.log");
  lua_setfield(L, -2, "log");
  wr_lib_live(L);
}

void wr_lib_print(lua_State *L) {
  lua_pushcfunction(L, weir_print);
  lua_setfield(L, -2, "print");
}

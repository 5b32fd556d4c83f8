/* l_record.c: what a hook is told in a few plain values: of an answer's start, a slow client, an
 * upstream's error, the pressure; and what weir.live tells. Copies, so that a script may keep them;
 * but for an answer's head, which goes with the hook. */
#include <lauxlib.h>
#include <math.h>

#include "api/handle.h"
#include "api/lib.h"

enum field_type {
  FIELD_U32,
  FIELD_U32_SOME, /* nil instead of 0 */
  FIELD_U64,
  FIELD_DOUBLE,
  FIELD_DOUBLE_SOME, /* nil instead of 0 */
  FIELD_BOOL,
  FIELD_TEXT,
  FIELD_MS,      /* uint64_t; in seconds */
  FIELD_MS_SOME, /* int64_t; in seconds, nil instead of less than 0 */
  FIELD_US_SOME, /* uint64_t; in seconds, nil instead of UINT64_MAX */
  FIELD_ROOM     /* int64_t; INT64_MAX: infinite */
};

struct field {
  const char *name; /* borrowed: static, as all of these; NULL ends the list */
  uint16_t offset;
  uint8_t type;
};

struct record_type {
  const char *what;    /* borrowed: static; "an error" */
  const char *method;  /* borrowed: static; or NULL */
  lua_CFunction function;
  struct field fields[8];
  uint16_t bytes;
  bool fleeting; /* dead when the hook has returned */
};

struct wr_lrecord {
  struct wr_handle h;
  const struct record_type *type; /* borrowed: static */
  union {
    struct wr_hook_response response;
    struct wr_hook_slow slow;
    struct wr_hook_error error;
    struct wr_hook_pressure pressure;
    struct wr_live_upstream upstream;
  } of;
};

static int response_header(lua_State *L);
static int upstream_price(lua_State *L);

#define AT(type, member) (uint16_t) offsetof(struct type, member)
static const struct record_type response_type = {
  .what = "a response",
  .method = "header",
  .function = response_header,
  .fields = { { "status", AT(wr_hook_response, status), FIELD_U32 },
              { "first_token", AT(wr_hook_response, first_token_us), FIELD_US_SOME } },
  .bytes = sizeof(struct wr_hook_response),
  .fleeting = true,
};
static const struct record_type slow_type = {
  .what = "a slow client",
  .fields = { { "bytes", AT(wr_hook_slow, bytes), FIELD_U64 },
              { "events", AT(wr_hook_slow, events), FIELD_U64 },
              { "age", AT(wr_hook_slow, age_ms), FIELD_MS },
              { "rate", AT(wr_hook_slow, rate), FIELD_DOUBLE } },
  .bytes = sizeof(struct wr_hook_slow),
};
static const struct record_type error_type = {
  .what = "an upstream's error",
  .fields = { { "kind", AT(wr_hook_error, kind), FIELD_TEXT },
              { "status", AT(wr_hook_error, status), FIELD_U32_SOME },
              { "retry_after", AT(wr_hook_error, retry_after_ms), FIELD_MS_SOME },
              { "attempt", AT(wr_hook_error, attempt), FIELD_U32 },
              { "committed", AT(wr_hook_error, committed), FIELD_BOOL } },
  .bytes = sizeof(struct wr_hook_error),
};
static const struct record_type pressure_type = {
  .what = "the pressure",
  .fields = { { "step", AT(wr_hook_pressure, step), FIELD_U32 },
              { "memory", AT(wr_hook_pressure, memory), FIELD_DOUBLE },
              { "pool", AT(wr_hook_pressure, pool), FIELD_DOUBLE },
              { "lua", AT(wr_hook_pressure, lua), FIELD_DOUBLE },
              { "loop_lag", AT(wr_hook_pressure, loop_lag_s), FIELD_DOUBLE },
              { "streams", AT(wr_hook_pressure, streams), FIELD_U32 } },
  .bytes = sizeof(struct wr_hook_pressure),
};
static const struct record_type upstream_type = {
  .what = "an upstream",
  .method = "price",
  .function = upstream_price,
  .fields = { { "healthy", AT(wr_live_upstream, healthy), FIELD_BOOL },
              { "room", AT(wr_live_upstream, room), FIELD_ROOM },
              { "streams", AT(wr_live_upstream, streams), FIELD_U32 },
              { "first_token", AT(wr_live_upstream, first_token_s), FIELD_DOUBLE_SOME } },
  .bytes = sizeof(struct wr_live_upstream),
};

static void push(lua_State *L, const struct record_type *type, const void *from) {
  struct wr_lrecord *r = wr_handle_new(L, WR_HANDLE_RECORD, sizeof *r, 0);
  r->type = type;
  memcpy(&r->of, from, type->bytes);
}

static struct wr_lrecord *check(lua_State *L, const struct record_type *type) {
  struct wr_lrecord *r = wr_handle_peek(L, 1, WR_HANDLE_RECORD);
  if (!r || (type && r->type != type)) {
    luaL_typeerror(L, 1, type ? type->what : "record");
    return NULL;
  }
  if (r->type->fleeting) wr_handle_check(L, 1, WR_HANDLE_RECORD);
  return r;
}

static void push_some(lua_State *L, bool some, lua_Number value) {
  if (some) lua_pushnumber(L, value);
  else lua_pushnil(L);
}

static void push_field(lua_State *L, const struct field *f, const void *base) {
  const char *at = (const char *)base + f->offset;
  uint32_t u32;
  uint64_t u64;
  int64_t i64;
  double number;
  bool yes;
  const char *text;
  switch ((enum field_type)f->type) {
    case FIELD_U32:
    case FIELD_U32_SOME:
      memcpy(&u32, at, sizeof u32);
      if (f->type == FIELD_U32_SOME && u32 == 0) lua_pushnil(L);
      else lua_pushinteger(L, u32);
      break;
    case FIELD_U64:
      memcpy(&u64, at, sizeof u64);
      lua_pushinteger(L, (lua_Integer)u64);
      break;
    case FIELD_DOUBLE:
    case FIELD_DOUBLE_SOME:
      memcpy(&number, at, sizeof number);
      push_some(L, f->type == FIELD_DOUBLE || number > 0, number);
      break;
    case FIELD_BOOL:
      memcpy(&yes, at, sizeof yes);
      lua_pushboolean(L, yes);
      break;
    case FIELD_TEXT:
      memcpy(&text, at, sizeof text);
      lua_pushstring(L, text ? text : "");
      break;
    case FIELD_MS:
    case FIELD_MS_SOME:
      memcpy(&i64, at, sizeof i64);
      push_some(L, f->type == FIELD_MS || i64 >= 0, (lua_Number)i64 / 1e3);
      break;
    case FIELD_US_SOME:
      memcpy(&u64, at, sizeof u64);
      push_some(L, u64 != UINT64_MAX, (lua_Number)u64 / 1e6);
      break;
    case FIELD_ROOM:
      memcpy(&i64, at, sizeof i64);
      if (i64 == INT64_MAX) lua_pushnumber(L, HUGE_VAL);
      else lua_pushinteger(L, (lua_Integer)i64);
      break;
  }
}

static int record_index(lua_State *L) {
  const struct wr_lrecord *r = check(L, NULL);
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
  for (const struct field *f = r->type->fields; f->name; f++) {
    if (strcmp(key, f->name) != 0) continue;
    push_field(L, f, &r->of);
    return 1;
  }
  if (!r->type->method || strcmp(key, r->type->method) != 0)
    return luaL_error(L, "%s has no field '%s'", r->type->what, key);
  lua_pushcfunction(L, r->type->function);
  return 1;
}

static int record_newindex(lua_State *L) {
  const struct wr_lrecord *r = check(L, NULL);
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
  return luaL_error(L, "%s is read-only (tried to set '%s')", r->type->what, key);
}

static int response_header(lua_State *L) {
  const struct wr_hook_response *rs = &check(L, &response_type)->of.response;
  struct wr_span name = wr_lib_bytes(L, 2);
  struct wr_span value = rs->header ? rs->header(rs, name) : wr_span_make(NULL, 0);
  if (!value.ptr) lua_pushnil(L);
  else lua_pushlstring(L, value.ptr, value.len);
  return 1;
}

/* u:price(model, input, output): dollars; nil when it doesn't serve the model or doesn't say. */
static int upstream_price(lua_State *L) {
  const struct wr_live_upstream *u = &check(L, &upstream_type)->of.upstream;
  struct wr_span model = lua_isnoneornil(L, 2) ? wr_span_make("", 0) : wr_lib_bytes(L, 2);
  double dollars = 0;
  bool known = u->conf && wr_conf_price(u->conf, model, luaL_optnumber(L, 3, 0),
                                        luaL_optnumber(L, 4, 0), &dollars);
  push_some(L, known, dollars);
  return 1;
}

void wr_lresponse_push(lua_State *L, const struct wr_hook_response *rs) {
  push(L, &response_type, rs);
}
void wr_lslow_push(lua_State *L, const struct wr_hook_slow *q) { push(L, &slow_type, q); }
void wr_lerror_push(lua_State *L, const struct wr_hook_error *er) { push(L, &error_type, er); }

/* Nobody but the VM knows its share. */
void wr_lpressure_push(lua_State *L, const struct wr_hook_pressure *p) {
  struct wr_hook_pressure own = *p;
  size_t held = (size_t)lua_gc(L, LUA_GCCOUNT) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB);
  size_t cap = wr_script_of(L)->memory_bytes;
  own.lua = cap ? (double)held / (double)cap : 0;
  push(L, &pressure_type, &own);
}

static const struct wr_script *live_of(lua_State *L, const char *function) {
  const struct wr_script *s = wr_script_of(L);
  if (!s->conf) luaL_error(L, "%s: only in a hook (called while conf.lua is loading)", function);
  return s;
}

static int live_upstream(lua_State *L) {
  const struct wr_script *s = live_of(L, "weir.live.upstream");
  struct wr_span name = wr_lib_bytes(L, 1);
  uint32_t index = wr_conf_upstream_find(s->conf, name);
  if (index == UINT32_MAX)
    return luaL_error(L, "weir.live.upstream: there is no upstream '%s'", lua_tostring(L, 1));
  struct wr_live_upstream u = { .healthy = true, .room = INT64_MAX };
  if (s->live && s->live->upstream) s->live->upstream(s->live->ctx, index, &u);
  u.conf = &s->conf->upstreams[index];
  push(L, &upstream_type, &u);
  return 1;
}

static int live_pressure(lua_State *L) {
  const struct wr_script *s = live_of(L, "weir.live.pressure");
  struct wr_hook_pressure p = { 0 };
  if (s->live && s->live->pressure) s->live->pressure(s->live->ctx, &p);
  wr_lpressure_push(L, &p);
  return 1;
}

void wr_lib_live(lua_State *L) {
  static const luaL_Reg functions[] = { { "upstream", live_upstream },
                                        { "pressure", live_pressure },
                                        { NULL, NULL } };
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  wr_lib_strict(L, "weir.live");
  wr_lib_freeze(L, "weir.live");
  lua_setfield(L, -2, "live");
}

void wr_record_open(lua_State *L) {
  static const luaL_Reg meta[] = { { "__index", record_index },
                                   { "__newindex", record_newindex },
                                   { NULL, NULL } };
  lua_newtable(L);
  luaL_setfuncs(L, meta, 0);
}

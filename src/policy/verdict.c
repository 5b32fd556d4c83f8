/* verdict.c: what a hook returned, checked and turned into a struct wr_verdict. */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>

#include "api/header.h"
#include "base/check.h"
#include "base/text.h"
#include "policy/engine_int.h"

#define REASON_MAX_BYTES 256
#define TEXT_MAX_BYTES (64u << 10)
#define STEP_MAX 64

/* Slots of the table that keeps a verdict's strings alive. */
enum keep { KEEP_TEXT = 1, KEEP_MODEL, KEEP_HEADERS };

/* Where the hook's function begins: which line returned isn't known any more. */
static void put_place(struct wr_hook_call *c, struct wr_buf *b) {
  lua_State *L = wr_vm_state(c->e->vm);
  lua_Debug ar;
  if (!lua_checkstack(L, 1)) return;
  if (lua_rawgeti(L, LUA_REGISTRYINDEX, c->hook->fn_ref) != LUA_TFUNCTION) {
    lua_pop(L, 1);
    return;
  }
  lua_getinfo(L, ">S", &ar);
  if (ar.linedefined > 0) wr_buf_printf(b, "%s:%d: ", ar.short_src, ar.linedefined);
}

static void bad(struct wr_hook_call *c, const char *format, ...) WR_PRINTF(2, 3);
static void bad(struct wr_hook_call *c, const char *format, ...) {
  struct wr_buf b;
  char what[120];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  c->bad = true;
  wr_buf_init(&b, c->why, sizeof c->why - 1);
  put_place(c, &b);
  wr_buf_printf(&b, "%s of '%.60s'", wr_hook_name(c->hook), c->e->plugins[c->hook->plugin].name);
  wr_buf_put(&b, wr_span_str(" "));
  wr_buf_put(&b, wr_span_str(what));
  c->why[b.len] = '\0';
}

void wr_verdict_refuse(struct wr_hook_call *c, const char *why) { bad(c, "%s", why); }

/* The string at idx as a span that stays until the next verdict: the table keeps it alive. */
static struct wr_span keep(lua_State *L, struct wr_hook_call *c, int idx, int slot) {
  size_t len;
  const char *ptr = lua_tolstring(L, idx, &len);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->e->keep_ref);
  lua_pushvalue(L, idx);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
  return wr_span_make(ptr, len);
}

static bool is_text(lua_State *L, int idx, size_t max) {
  return lua_type(L, idx) == LUA_TSTRING && lua_rawlen(L, idx) <= max;
}

/* What was returned instead of a verdict, short enough for a line. */
static void bad_word(lua_State *L, struct wr_hook_call *c, int idx, const char *expected) {
  if (lua_type(L, idx) == LUA_TSTRING) {
    bad(c, "returned \"%.40s\"; expected %s", lua_tostring(L, idx), expected);
  } else {
    bad(c, "returned a %s; expected %s", luaL_typename(L, idx), expected);
  }
}

static bool is_word(lua_State *L, int idx, const char *word) {
  return lua_type(L, idx) == LUA_TSTRING && strcmp(lua_tostring(L, idx), word) == 0;
}

void wr_verdict_read_event(lua_State *L, struct wr_hook_call *c, int first) {
  struct wr_verdict v = wr_verdict_none();
  if (is_word(L, first, "pass")) return;
  if (is_word(L, first, "drop")) {
    c->out->kind = WR_VERDICT_DROP;
    return;
  }
  if (!is_word(L, first, "stop")) {
    bad_word(L, c, first, "nil, \"pass\", \"drop\" or \"stop\"");
    return;
  }
  if (!lua_isnil(L, first + 1)) {
    if (!is_text(L, first + 1, REASON_MAX_BYTES)) {
      bad(c, "returned \"stop\" with a reason that is no string of at most %d bytes",
          REASON_MAX_BYTES);
      return;
    }
    v.text = keep(L, c, first + 1, KEEP_TEXT);
  }
  v.kind = WR_VERDICT_STOP;
  *c->out = v;
}

/* An index of the window at idx: lo to hi; false: bad() was called. */
static bool read_index(lua_State *L, struct wr_hook_call *c, int idx, size_t lo, size_t hi,
                       size_t *out) {
  int ok = 0;
  lua_Integer n = lua_type(L, idx) == LUA_TNUMBER ? lua_tointegerx(L, idx, &ok) : 0;
  if (!ok || n < (lua_Integer)lo || n > (lua_Integer)hi) {
    bad(c, "returned a place that is no integer from %d to %d", (int)lo, (int)hi);
    return false;
  }
  *out = (size_t)n;
  return true;
}

static bool read_replace(lua_State *L, struct wr_hook_call *c, int first, struct wr_verdict *v) {
  size_t len = c->win->text.len;
  if (!is_text(L, first + 1, TEXT_MAX_BYTES)) {
    bad(c, "returned \"replace\" without a string of at most %d bytes", (int)TEXT_MAX_BYTES);
    return false;
  }
  v->kind = WR_VERDICT_REPLACE;
  v->text = keep(L, c, first + 1, KEEP_TEXT);
  if (lua_isnil(L, first + 2)) return true;
  if (!read_index(L, c, first + 2, 1, len + 1, &v->i)) return false;
  v->j = len;
  return lua_isnil(L, first + 3) || read_index(L, c, first + 3, v->i - 1, len, &v->j);
}

void wr_verdict_read_text(lua_State *L, struct wr_hook_call *c, int first) {
  struct wr_verdict v = wr_verdict_none();
  if (is_word(L, first, "pass")) return;
  if (is_word(L, first, "replace")) {
    if (read_replace(L, c, first, &v)) *c->out = v;
  } else if (is_word(L, first, "hold")) {
    v.kind = WR_VERDICT_HOLD;
    if (lua_isnil(L, first + 1) ||
        read_index(L, c, first + 1, 1, c->win->text.len + 1, &v.i))
      *c->out = v;
  } else if (is_word(L, first, "drop") || is_word(L, first, "stop")) {
    wr_verdict_read_event(L, c, first);
  } else {
    bad_word(L, c, first, "nil, \"pass\", \"drop\", \"replace\", \"hold\" or \"stop\"");
  }
}

/* Options of a route verdict that were read so far. */
struct route_options {
  int64_t max_tokens, deadline_ms; /* -1: none */
  bool final;
  bool model; /* it is on the stack, at model_at */
  int model_at;
};

static bool read_deadline(lua_State *L, struct route_options *o) {
  uint64_t us = 0;
  if (lua_type(L, -1) == LUA_TNUMBER) {
    lua_Number s = lua_tonumber(L, -1);
    if (!(s > 0 && s <= 86400.0 * 365)) return false;
    us = (uint64_t)(s * 1e6);
  } else if (lua_type(L, -1) != LUA_TSTRING ||
             wr_text_duration_us(wr_span_str(lua_tostring(L, -1)), &us) != WR_OK || us == 0) {
    return false;
  }
  o->deadline_ms = (int64_t)(us < 1000 ? 1 : us / 1000);
  return true;
}

/* One option: its name at -2, its value at -1. False: bad() was called. */
static bool read_option(lua_State *L, struct wr_hook_call *c, struct route_options *o) {
  if (lua_type(L, -2) != LUA_TSTRING) {
    bad(c, "returned \"route\" with options that are not named");
    return false;
  }
  if (is_word(L, -2, "model")) {
    o->model = is_text(L, -1, 256) && lua_rawlen(L, -1) > 0;
    if (o->model) {
      lua_pushvalue(L, -1);
      lua_replace(L, o->model_at);
      return true;
    }
  } else if (is_word(L, -2, "max_tokens")) {
    int ok = 0;
    o->max_tokens = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &ok) : 0;
    if (ok && o->max_tokens > 0) return true;
  } else if (is_word(L, -2, "deadline")) {
    if (read_deadline(L, o)) return true;
  } else if (is_word(L, -2, "final")) {
    o->final = lua_toboolean(L, -1) != 0;
    if (lua_isboolean(L, -1)) return true;
  } else {
    bad(c, "returned \"route\" with the unknown option '%.40s'", lua_tostring(L, -2));
    return false;
  }
  bad(c, "returned \"route\" with a %s that has no valid value", lua_tostring(L, -2));
  return false;
}

static bool read_options(lua_State *L, struct wr_hook_call *c, int idx, struct route_options *o) {
  if (lua_isnil(L, idx)) return true;
  if (lua_type(L, idx) != LUA_TTABLE) {
    bad(c, "returned \"route\" with options that are a %s; expected a table",
        luaL_typename(L, idx));
    return false;
  }
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    if (!read_option(L, c, o)) return false;
    lua_pop(L, 1);
  }
  return true;
}

static int64_t lower(int64_t a, int64_t b) {
  if (a < 0) return b;
  return b < 0 || a < b ? a : b;
}

/* The name behind "route" or "fallback"; false: bad() was called. */
static bool find_group(lua_State *L, struct wr_hook_call *c, int first, uint32_t *group) {
  const char *word = lua_tostring(L, first);
  if (lua_type(L, first + 1) != LUA_TSTRING) {
    bad(c, "returned \"%s\" without a name", word);
    return false;
  }
  size_t len;
  const char *name = lua_tolstring(L, first + 1, &len);
  *group = wr_conf_group_find(c->e->conf, wr_span_make(name, len));
  if (*group != UINT32_MAX) return true;
  bad(c, "returned \"%s\", \"%.40s\": there is no upstream or group of that name", word, name);
  return false;
}

static void read_route(lua_State *L, struct wr_hook_call *c, int first) {
  struct route_options o = { -1, -1, false, false, 0 };
  uint32_t group;
  if (!find_group(L, c, first, &group)) return;
  lua_pushnil(L);
  o.model_at = lua_gettop(L);
  if (!read_options(L, c, first + 2, &o)) return;
  struct wr_verdict *out = c->out;
  out->max_tokens = lower(out->max_tokens, o.max_tokens);
  out->deadline_ms = lower(out->deadline_ms, o.deadline_ms);
  if (c->final) return;
  out->kind = WR_VERDICT_ROUTE;
  out->group = group;
  out->model = o.model ? keep(L, c, o.model_at, KEEP_MODEL) : wr_span_make(NULL, 0);
  c->final = o.final;
}

/* One header: its name at -2, its value at -1. */
static bool read_header(lua_State *L, struct wr_hook_call *c, struct wr_verdict *v) {
  size_t i = v->header_count;
  if (i == WR_VERDICT_HEADERS) {
    bad(c, "returned \"reject\" with more than %d headers", WR_VERDICT_HEADERS);
    return false;
  }
  if (lua_type(L, -2) != LUA_TSTRING || !lua_isstring(L, -1)) {
    bad(c, "returned \"reject\" with headers that are not names and values");
    return false;
  }
  int slot = KEEP_HEADERS + 2 * (int)i;
  v->headers[i].name = keep(L, c, lua_absindex(L, -2), slot);
  v->headers[i].value = keep(L, c, lua_absindex(L, -1), slot + 1);
  v->header_count++;
  if (wr_header_allowed(v->headers[i].name, v->headers[i].value)) return true;
  bad(c, "returned \"reject\" with a header that is not allowed: '%.40s'", lua_tostring(L, -2));
  return false;
}

static bool read_headers(lua_State *L, struct wr_hook_call *c, int idx, struct wr_verdict *v) {
  if (lua_isnil(L, idx)) return true;
  if (lua_type(L, idx) != LUA_TTABLE) {
    bad(c, "returned \"reject\" with headers that are a %s; expected a table",
        luaL_typename(L, idx));
    return false;
  }
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    if (!read_header(L, c, v)) return false;
    lua_pop(L, 1);
  }
  return true;
}

static void read_reject(lua_State *L, struct wr_hook_call *c, int first) {
  struct wr_verdict v = wr_verdict_none();
  int ok = 0;
  lua_Integer status =
      lua_type(L, first + 1) == LUA_TNUMBER ? lua_tointegerx(L, first + 1, &ok) : 0;
  if (!ok || status < 400 || status > 599) {
    bad(c, "returned \"%s\" without a status of 400 to 599", lua_tostring(L, first));
    return;
  }
  if (!is_text(L, first + 2, TEXT_MAX_BYTES)) {
    bad(c, "returned \"%s\" without a text of at most 64 KiB", lua_tostring(L, first));
    return;
  }
  if (!read_headers(L, c, first + 3, &v)) return;
  v.kind = WR_VERDICT_REJECT;
  v.status = (uint16_t)status;
  v.text = keep(L, c, first + 2, KEEP_TEXT);
  *c->out = v;
}

static void read_answer(lua_State *L, struct wr_hook_call *c, int first) {
  if (!is_text(L, first + 1, TEXT_MAX_BYTES)) {
    bad(c, "returned \"answer\" without a text of at most 64 KiB");
    return;
  }
  struct wr_verdict v = wr_verdict_none();
  v.kind = WR_VERDICT_ANSWER;
  v.text = keep(L, c, first + 1, KEEP_TEXT);
  *c->out = v;
}

void wr_verdict_read_request(lua_State *L, struct wr_hook_call *c, int first) {
  if (is_word(L, first, "route")) read_route(L, c, first);
  else if (is_word(L, first, "reject")) read_reject(L, c, first);
  else if (is_word(L, first, "answer")) read_answer(L, c, first);
  else bad_word(L, c, first, "nil, \"route\", \"reject\" or \"answer\"");
}

/* "fallback", name. */
static void read_fallback(lua_State *L, struct wr_hook_call *c, int first) {
  struct wr_verdict v = wr_verdict_none();
  if (!find_group(L, c, first, &v.group)) return;
  v.kind = WR_VERDICT_FALLBACK;
  *c->out = v;
}

/* "retry" [, seconds]. */
static void read_retry(lua_State *L, struct wr_hook_call *c, int first) {
  struct wr_verdict v = wr_verdict_none();
  if (!lua_isnil(L, first + 1)) {
    lua_Number s = lua_type(L, first + 1) == LUA_TNUMBER ? lua_tonumber(L, first + 1) : -1;
    if (!(s >= 0 && s <= 3600)) {
      bad(c, "returned \"retry\" with a delay that is no number of seconds, 0 to 3600");
      return;
    }
    v.delay_ms = (int64_t)(s * 1000 + 0.5);
  }
  v.kind = WR_VERDICT_RETRY;
  *c->out = v;
}

/* "fail" [, status, text]. */
static void read_fail(lua_State *L, struct wr_hook_call *c, int first) {
  if (!lua_isnil(L, first + 1)) {
    read_reject(L, c, first);
    if (!c->bad) c->out->kind = WR_VERDICT_FAIL;
    return;
  }
  *c->out = wr_verdict_none();
  c->out->kind = WR_VERDICT_FAIL;
}

static void read_error(lua_State *L, struct wr_hook_call *c, int first) {
  bool fail = is_word(L, first, "fail");
  if (fail) read_fail(L, c, first);
  else if (c->er->committed && (is_word(L, first, "retry") || is_word(L, first, "fallback")))
    bad(c, "returned \"%s\" when the answer has begun; only \"fail\" is possible then",
        lua_tostring(L, first));
  else if (is_word(L, first, "retry")) read_retry(L, c, first);
  else if (is_word(L, first, "fallback")) read_fallback(L, c, first);
  else bad_word(L, c, first, "nil, \"retry\", \"fallback\" or \"fail\"");
}

static void read_slow(lua_State *L, struct wr_hook_call *c, int first) {
  static const struct {
    const char *word; /* borrowed: a literal */
    enum wr_verdict_kind kind;
  } words[] = { { "wait", WR_VERDICT_WAIT },
                { "pause_upstream", WR_VERDICT_PAUSE },
                { "coalesce", WR_VERDICT_COALESCE } };
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (!is_word(L, first, words[i].word)) continue;
    c->out->kind = (uint8_t)words[i].kind;
    return;
  }
  if (is_word(L, first, "stop")) wr_verdict_read_event(L, c, first);
  else bad_word(L, c, first, "nil, \"wait\", \"pause_upstream\", \"coalesce\" or \"stop\"");
}

/* "step", n: what the ladder has no step for is its last one. */
static void read_pressure(lua_State *L, struct wr_hook_call *c, int first) {
  int ok = 0;
  if (!is_word(L, first, "step")) {
    bad_word(L, c, first, "nil or \"step\"");
    return;
  }
  lua_Integer n = lua_type(L, first + 1) == LUA_TNUMBER ? lua_tointegerx(L, first + 1, &ok) : 0;
  if (!ok || n < 0 || n > STEP_MAX) {
    bad(c, "returned \"step\" without a number from 0 to %d", STEP_MAX);
    return;
  }
  c->out->kind = WR_VERDICT_STEP;
  c->out->step = (uint32_t)n;
}

void wr_verdict_read_other(lua_State *L, struct wr_hook_call *c, int first) {
  switch ((enum wr_hook_id)c->hook->id) {
    case WR_HOOK_ID_UPSTREAM_ERROR: read_error(L, c, first); break;
    case WR_HOOK_ID_SLOW_CLIENT: read_slow(L, c, first); break;
    case WR_HOOK_ID_PRESSURE: read_pressure(L, c, first); break;
    default:
      if (is_word(L, first, "fallback")) read_fallback(L, c, first);
      else if (is_word(L, first, "reject")) read_reject(L, c, first);
      else bad_word(L, c, first, "nil, \"fallback\" or \"reject\"");
      break;
  }
}

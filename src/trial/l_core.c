/* weir.test.core: trials for a stock Lua 5.4. The tables that people write and read are made in
 * lua/weir/test.lua; here they only become structs and back.
 *
 * The Lua that runs this is the test's own; the policy runs in a VM of the trial, with its own
 * limits. Spans that C borrows lie in strings of the caller's table. */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>

#include "trial/events.h"
#include "trial/trial.h"

#define TRIAL "weir.test.trial"

/* Lua doesn't see what a trial holds (descriptors, a pool): beyond so many it looks for those that
 * nobody needs any more. */
#define TRIALS_LIVE 16u
static unsigned live_trials;

static struct wr_trial **box_of(lua_State *L) { return luaL_checkudata(L, 1, TRIAL); }

static struct wr_trial *trial_of(lua_State *L) {
  struct wr_trial *t = *box_of(L);
  if (!t) luaL_error(L, "this policy was closed");
  return t;
}

static int trial_close(lua_State *L) {
  struct wr_trial **box = box_of(L);
  if (*box) live_trials--;
  wr_trial_free(*box);
  *box = NULL;
  return 0;
}

/* A string field of the table at idx; the table keeps it. */
static struct wr_span str_field(lua_State *L, int idx, const char *name) {
  size_t len = 0;
  if (lua_getfield(L, idx, name) != LUA_TSTRING && !lua_isnil(L, -1))
    luaL_error(L, "%s: a string is expected, not %s", name, luaL_typename(L, -1));
  const char *text = lua_tolstring(L, -1, &len);
  lua_pop(L, 1);
  return wr_span_make(text, len);
}

static const char *text_field(lua_State *L, int idx, const char *name) {
  struct wr_span s = str_field(L, idx, name);
  if (s.ptr && strlen(s.ptr) != s.len) luaL_error(L, "%s: has a NUL", name);
  return s.ptr;
}

static double num_field(lua_State *L, int idx, const char *name, double other) {
  if (lua_getfield(L, idx, name) != LUA_TNIL) {
    if (lua_type(L, -1) != LUA_TNUMBER) luaL_error(L, "%s: a number is expected", name);
    other = lua_tonumber(L, -1);
    if (!(other >= 0 && other < 1e15)) luaL_error(L, "%s: out of range", name);
  }
  lua_pop(L, 1);
  return other;
}

/* core.open(file, source, seed, seconds): a trial, or nil and all errors. */
static int core_open(lua_State *L) {
  size_t len = 0;
  const char *file = luaL_checkstring(L, 1);
  const char *source = luaL_optlstring(L, 2, NULL, &len);
  struct wr_trial_options o = { .file = file,
                                .source = wr_span_make(source, source ? len : 0),
                                .seed = (uint64_t)luaL_checkinteger(L, 3),
                                .unix_us = (uint64_t)(luaL_checknumber(L, 4) * 1e6) };
  struct wr_trial **box = lua_newuserdatauv(L, sizeof(struct wr_trial *), 0);
  *box = NULL;
  luaL_setmetatable(L, TRIAL);
  struct wr_diag diag;
  if (live_trials >= TRIALS_LIVE) lua_gc(L, LUA_GCCOLLECT, 0);
  wr_diag_init(&diag);
  enum wr_err err = wr_trial_new(&o, box, &diag);
  if (err == WR_OK) live_trials++;
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (size_t i = 0; i < diag.count; i++) {
    char line[64];
    luaL_addstring(&b, diag.entries[i].file);
    snprintf(line, sizeof line, ":%d: %s", diag.entries[i].line,
             diag.entries[i].grade == WR_DIAG_WARNING ? "warning: " : "");
    luaL_addstring(&b, line);
    luaL_addstring(&b, diag.entries[i].text);
    luaL_addchar(&b, '\n');
  }
  if (err != WR_OK && diag.count == 0) luaL_addstring(&b, wr_err_text(err));
  wr_diag_fini(&diag);
  luaL_pushresult(&b);
  if (err == WR_OK) return 2;
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

static uint8_t then_of(lua_State *L, const char *word) {
  static const char *const words[] = { "end", "cut", "reset", "hang", "refuse" };
  for (uint8_t i = 0; word && i < 5; i++)
    if (strcmp(word, words[i]) == 0) return i;
  if (word) luaL_error(L, "no way for an answer to end: %s", word);
  return WR_TRIAL_END;
}

/* The answer in a field of the table at 2, or false. What it points to stays on the stack. */
static bool answer_of(lua_State *L, const char *name, struct wr_trial_answer *out) {
  if (lua_getfield(L, 2, name) != LUA_TTABLE) return false;
  int at = lua_gettop(L);
  *out = (struct wr_trial_answer){ .status = (unsigned)num_field(L, at, "status", 200),
                                   .type = str_field(L, at, "type"),
                                   .headers = str_field(L, at, "headers"),
                                   .raw = str_field(L, at, "raw"),
                                   .pace_ms = (uint32_t)(num_field(L, at, "pace", 0) * 1000),
                                   .then = then_of(L, text_field(L, at, "ends")) };
  if (lua_getfield(L, at, "parts") != LUA_TTABLE) return true;
  int list = lua_gettop(L);
  size_t n = lua_rawlen(L, list);
  struct wr_span *parts = lua_newuserdatauv(L, (n + 1) * sizeof *parts, 0);
  for (size_t i = 0; i < n; i++) {
    size_t len = 0;
    if (lua_rawgeti(L, list, (lua_Integer)i + 1) != LUA_TSTRING)
      luaL_error(L, "parts: strings are expected");
    parts[i].ptr = lua_tolstring(L, -1, &len);
    parts[i].len = len;
    lua_pop(L, 1);
  }
  out->parts = parts;
  out->part_count = n;
  return true;
}

static void set_str(lua_State *L, const char *name, const char *text) {
  if (!text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}
static void set_span(lua_State *L, const char *name, struct wr_span s) {
  if (!s.ptr) return;
  lua_pushlstring(L, s.ptr, s.len);
  lua_setfield(L, -2, name);
}
static void set_int(lua_State *L, const char *name, int64_t n, bool when) {
  if (!when) return;
  lua_pushinteger(L, n);
  lua_setfield(L, -2, name);
}
static void set_seconds(lua_State *L, const char *name, int64_t ms) {
  if (ms < 0) return;
  lua_pushnumber(L, (lua_Number)ms / 1000);
  lua_setfield(L, -2, name);
}

static void push_note(lua_State *L, const struct wr_trial_note *n) {
  lua_createtable(L, 0, 8);
  set_str(L, "hook", n->hook);
  set_str(L, "plugin", n->plugin);
  set_str(L, "verdict", n->verdict);
  set_str(L, n->verdict && strcmp(n->verdict, "fallback") == 0 ? "fallback" : "route", n->group);
  set_str(L, "fail", n->fail);
  set_int(L, "status", n->status, n->status > 0);
  set_int(L, "max_tokens", n->max_tokens, n->max_tokens >= 0);
  set_seconds(L, "deadline", n->deadline_ms);
  set_seconds(L, "delay", n->delay_ms);
  set_int(L, "step", n->step, n->verdict && strcmp(n->verdict, "step") == 0);
  set_int(L, "instructions", n->instructions, true);
  if (n->text.len) set_span(L, "text", n->text);
  if (n->model.len) set_span(L, "model", n->model);
  if (n->error.len) set_span(L, "error", n->error);
}

static void set_usage(lua_State *L, const struct wr_usage *u) {
  lua_createtable(L, 0, 4);
  set_int(L, "input", u->input, u->input >= 0);
  set_int(L, "output", u->output, u->output >= 0);
  set_int(L, "cached", u->cached, u->cached >= 0);
  set_int(L, "reasoning", u->reasoning, u->reasoning >= 0);
  lua_setfield(L, -2, "usage");
}

static int push_result(lua_State *L, const struct wr_trial_result *r) {
  lua_createtable(L, 0, 16);
  set_int(L, "status", r->status, true);
  set_span(L, "head", r->head);
  set_span(L, "raw", r->body);
  lua_pushboolean(L, r->whole);
  lua_setfield(L, -2, "whole");
  lua_pushboolean(L, r->stuck);
  lua_setfield(L, -2, "stuck");
  set_str(L, "outcome", r->outcome);
  set_str(L, "err", r->err);
  set_str(L, "route", r->route);
  set_usage(L, &r->usage);
  set_int(L, "attempts", r->attempts, true);
  set_int(L, "calls", (int64_t)r->calls, true);
  set_int(L, "max_instructions", r->max_instructions, true);
  set_span(L, "log", r->log);
  lua_createtable(L, (int)r->note_count, 0);
  for (size_t i = 0; i < r->note_count; i++) {
    push_note(L, &r->notes[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "verdicts");
  lua_createtable(L, (int)r->sent_count, 0);
  for (size_t i = 0; i < r->sent_count; i++) {
    lua_createtable(L, 0, 3);
    set_str(L, "upstream", r->sent[i].upstream);
    set_span(L, "head", r->sent[i].head);
    set_span(L, "body", r->sent[i].body);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "sent");
  return 1;
}

static int trial_run(lua_State *L) {
  struct wr_trial *t = trial_of(L);
  struct wr_trial_answer answer, fault;
  struct wr_trial_result r;
  luaL_checktype(L, 2, LUA_TTABLE);
  struct wr_trial_ask ask = { .method = text_field(L, 2, "method"),
                              .path = text_field(L, 2, "path"),
                              .headers = str_field(L, 2, "headers"),
                              .body = str_field(L, 2, "body"),
                              .key = text_field(L, 2, "key"),
                              .fault_upstream = text_field(L, 2, "fault_upstream"),
                              .faults = (uint32_t)num_field(L, 2, "faults", 0),
                              .leave_bytes = (size_t)num_field(L, 2, "leave", 0) };
  if (!ask.path) luaL_error(L, "a request needs a path");
  if (answer_of(L, "answer", &answer)) ask.answer = &answer;
  if (answer_of(L, "fault", &fault)) ask.fault = &fault;
  enum wr_err err = wr_trial_run(t, &ask, &r);
  if (err == WR_E_ARG) return luaL_error(L, "no such key or upstream");
  if (err != WR_OK) return luaL_error(L, "the trial failed: %s", wr_err_text(err));
  return push_result(L, &r);
}

static int trial_key(lua_State *L) {
  struct wr_trial *t = trial_of(L);
  if (wr_trial_key(t, luaL_checkstring(L, 2), luaL_optstring(L, 3, NULL)) != WR_OK)
    return luaL_error(L, "too many keys, or too long a name");
  return 0;
}

static int trial_slow(lua_State *L) {
  struct wr_trial *t = trial_of(L);
  struct wr_trial_result r;
  luaL_checktype(L, 2, LUA_TTABLE);
  struct wr_hook_slow q = { .bytes = (uint64_t)num_field(L, 2, "bytes", 0),
                            .events = (uint64_t)num_field(L, 2, "events", 0),
                            .age_ms = (uint64_t)(num_field(L, 2, "age", 0) * 1000),
                            .rate = num_field(L, 2, "rate", 0) };
  const char *route = text_field(L, 2, "route"), *key = text_field(L, 2, "key");
  if (wr_trial_slow(t, route, key, &q, &r) != WR_OK)
    return luaL_error(L, "no such key or route");
  return push_result(L, &r);
}

static int trial_pressure(lua_State *L) {
  struct wr_trial *t = trial_of(L);
  struct wr_trial_result r;
  luaL_checktype(L, 2, LUA_TTABLE);
  struct wr_hook_pressure p = { .step = (uint32_t)num_field(L, 2, "step", 0),
                                .memory = num_field(L, 2, "memory", 0),
                                .pool = num_field(L, 2, "pool", 0),
                                .lua = num_field(L, 2, "lua", 0),
                                .loop_lag_s = num_field(L, 2, "loop_lag", 0),
                                .streams = (uint32_t)num_field(L, 2, "streams", 0) };
  if (wr_trial_pressure(t, &p, &r) != WR_OK) return luaL_error(L, "the trial failed");
  return push_result(L, &r);
}

static int trial_upstream(lua_State *L) {
  struct wr_trial *t = trial_of(L);
  const char *name = luaL_checkstring(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  struct wr_live_upstream state = { .healthy = true,
                                    .room = INT64_MAX,
                                    .streams = (uint32_t)num_field(L, 3, "streams", 0),
                                    .first_token_s = num_field(L, 3, "first_token", 0) };
  if (lua_getfield(L, 3, "healthy") != LUA_TNIL) state.healthy = lua_toboolean(L, -1) != 0;
  if (lua_getfield(L, 3, "room") != LUA_TNIL) state.room = (int64_t)num_field(L, 3, "room", 0);
  if (wr_trial_upstream(t, name, &state) != WR_OK)
    return luaL_error(L, "no upstream '%s'", name);
  return 0;
}

static int trial_flag(lua_State *L) {
  const char *name = luaL_checkstring(L, 2);
  if (!wr_trial_flag(trial_of(L), name, lua_toboolean(L, 3) != 0))
    return luaL_error(L, "no flag '%s'", name);
  return 0;
}

static int trial_advance(lua_State *L) {
  struct wr_trial *t = trial_of(L);
  lua_Number s = luaL_checknumber(L, 2);
  luaL_argcheck(L, s >= 0 && s < 1e9, 2, "seconds, not less than 0");
  wr_trial_advance(t, (uint64_t)(s * 1e6));
  return 0;
}

static int trial_seed(lua_State *L) {
  wr_trial_seed(trial_of(L), (uint64_t)luaL_checkinteger(L, 2));
  return 0;
}

static void push_event(lua_State *L, const struct wr_event *ev, struct wr_span text) {
  lua_createtable(L, 0, 6);
  lua_pushstring(L, ev->data.ptr ? wr_event_kind_name((enum wr_event_kind)ev->kind) : "comment");
  lua_setfield(L, -2, "kind");
  set_int(L, "index", ev->index, true);
  if (ev->name.len) set_span(L, "name", ev->name);
  set_span(L, "data", ev->data);
  set_span(L, "raw", ev->raw);
  set_span(L, "text", text);
}

/* core.read(kind, body): its events, and a sentence about what is left if that is none. */
static int core_read(lua_State *L) {
  struct wr_span kind, body, text;
  kind.ptr = luaL_checklstring(L, 1, &kind.len);
  body.ptr = luaL_checklstring(L, 2, &body.len);
  struct wr_trial_events *reader = NULL;
  struct wr_event ev;
  if (wr_trial_events_new(wr_trial_dialect_named(kind), body, &reader) != WR_OK)
    return luaL_error(L, "not enough memory");
  lua_newtable(L);
  enum wr_err err = WR_OK;
  for (lua_Integer i = 1; (err = wr_trial_events_next(reader, &ev, &text)) == WR_OK; i++) {
    push_event(L, &ev, text);
    lua_rawseti(L, -2, i);
  }
  wr_trial_events_free(reader);
  if (err == WR_E_END) return 1;
  lua_pushstring(L, wr_err_text(err));
  return 2;
}

static const luaL_Reg trial_methods[] = {
  { "run", trial_run },           { "key", trial_key },
  { "slow", trial_slow },         { "pressure", trial_pressure },
  { "upstream", trial_upstream }, { "advance", trial_advance },
  { "seed", trial_seed },         { "close", trial_close },
  { "flag", trial_flag },         { "__gc", trial_close },
  { NULL, NULL },
};
static const luaL_Reg core_functions[] = { { "open", core_open },
                                           { "read", core_read },
                                           { NULL, NULL } };

__attribute__((visibility("default"))) int luaopen_weir_test_core(lua_State *L);
int luaopen_weir_test_core(lua_State *L) {
  luaL_checkversion(L);
  luaL_newmetatable(L, TRIAL);
  luaL_setfuncs(L, trial_methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  luaL_newlib(L, core_functions);
  return 1;
}

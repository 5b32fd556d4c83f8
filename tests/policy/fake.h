/* fake.h: a VM, an engine and the relay's structs for tests of the policy, without a relay. */
#ifndef WR_POLICY_FAKE_H
#define WR_POLICY_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>

#include "base/heap.h"
#include "policy/engine.h"
#include "policy/vm.h"

struct fake {
  struct wr_slabs *slabs;   /* borrowed: the test's; NULL: kept views are in the heap */
  struct wr_vm *vm;         /* borrowed: the engine's once there is one */
  struct wr_engine *engine; /* owned */
  struct wr_conf conf;
  struct wr_conf_upstream upstreams[2];
  struct wr_conf_group groups[3];
  struct wr_conf_route routes[2];
  struct wr_conf_key key;
  struct wr_hook_stream stream;
  struct wr_event event;
  struct wr_view raw;
  struct wr_verdict verdict;
  uint64_t now_us;
  unsigned log_lines;
  char log[2048]; /* the last line */
};

static inline uint64_t fake_now(void *ctx) {
  struct fake *f = ctx;
  return f->now_us;
}
static inline uint64_t fake_random(void *ctx) {
  (void)ctx;
  return UINT64_C(1) << 63;
}
static inline void fake_log(void *ctx, enum wr_script_level level, struct wr_span where,
                            struct wr_span text) {
  struct fake *f = ctx;
  static const char *const names[] = { "info", "warn", "error" };
  f->log_lines++;
  snprintf(f->log, sizeof f->log, "%s|%.*s|%.*s", names[level], (int)where.len, where.ptr,
           (int)text.len, text.ptr);
}

/* A source and how to run it inside a protected call. */
struct fake_source {
  const char *text; /* borrowed: the caller's */
  const char *name; /* borrowed: the caller's */
};

static inline int fake_run_source(lua_State *L) {
  const struct fake_source *s = lua_touserdata(L, 1);
  wr_vm_compile(L, wr_span_str(s->text), s->name);
  lua_call(L, 0, 1);
  return 1;
}

/* Runs a chunk; its one result stays on the stack when it ends well. */
static inline enum wr_vm_end fake_eval(struct wr_vm *vm, const char *text) {
  struct fake_source s = { text, "test.lua" };
  struct wr_vm_call call = { .hook = "on_event", .plugin = "p", .stream = 0x7f3a, .named = true };
  lua_State *L = wr_vm_state(vm);
  lua_settop(L, 0);
  lua_pushcfunction(L, fake_run_source);
  lua_pushlightuserdata(L, &s);
  return wr_vm_pcall(vm, &call, 1, 1);
}

static inline const char *fake_error(struct wr_vm *vm) {
  static char text[1024];
  struct wr_span e = wr_vm_error(vm);
  snprintf(text, sizeof text, "%.*s", (int)e.len, e.ptr);
  return text;
}

static inline int fake_set_routes(lua_State *L) {
  fake_run_source(L);
  lua_setfield(L, LUA_REGISTRYINDEX, "weir.routes");
  return 0;
}

static inline void fake_init(struct fake *f, const struct wr_vm_limits *limits) {
  memset(f, 0, sizeof *f);
  f->conf.lua.retained_bytes = 4096;
  f->now_us = 1000000;
  /* Valgrind and a busy machine are slow: only the attacks are measured against the clock. */
  struct wr_vm_limits patient = { 0 };
  if (limits) patient = *limits;
  if (patient.wall_ms == 0) patient.wall_ms = 5000;
  assert_int_equal(wr_vm_new(&patient, &f->vm), WR_OK);
  struct wr_script_core core = { f, fake_now, fake_now, fake_random, fake_log };
  wr_vm_set_core(f->vm, &core);
}

/* routes: a chunk that returns what the loader would leave in registry["weir.routes"]. */
static inline void fake_engine(struct fake *f, const char *routes) {
  struct fake_source s = { routes, "policies/p.lua" };
  lua_State *L = wr_vm_state(f->vm);
  struct wr_vm_call call = { .instructions = 1000000, .wall_ms = 1000 };
  lua_pushcfunction(L, fake_set_routes);
  lua_pushlightuserdata(L, &s);
  if (wr_vm_pcall(f->vm, &call, 1, 0) != WR_VM_OK) fail_msg("%s", fake_error(f->vm));
  f->upstreams[0].name = f->groups[0].name = "openai";
  f->upstreams[1].name = f->groups[1].name = "local";
  f->groups[2].name = "chat";
  f->routes[0].name = "one";
  f->routes[1].name = "two";
  f->conf.upstreams = f->upstreams;
  f->conf.upstream_count = 2;
  f->conf.groups = f->groups;
  f->conf.group_count = 3;
  f->conf.routes = f->routes;
  f->conf.route_count = 2;
  f->key = (struct wr_conf_key){ .name = "team-a", .class_name = "paid" };
  f->stream = (struct wr_hook_stream){ .id = 0x7f3a,
                                       .route = &f->routes[0],
                                       .key = &f->key,
                                       .model = WR_SPAN("fast"),
                                       .upstream = "openai",
                                       .attempt = 1,
                                       .started_us = 1000000,
                                       .now_us = 3500000,
                                       .output_tokens = 7 };
  f->stream.usage = (struct wr_usage){ 10, 20, -1, -1 };
  assert_int_equal(wr_engine_new(f->vm, &f->conf, f->slabs, &f->engine), WR_OK);
}

static inline void fake_fini(struct fake *f) {
  if (f->engine) {
    const struct wr_hooks *h = wr_engine_hooks(f->engine);
    if (h->end) h->end(h->ctx, &f->stream, WR_OUTCOME_COMPLETE);
    assert_null(f->stream.policy);
    wr_engine_free(f->engine);
  } else {
    wr_vm_free(f->vm);
  }
  assert_int_equal(wr_heap_live_count(WR_HEAP_LUA), 0);
}

/* An event whose text is a literal inside its data. */
static inline void fake_event(struct fake *f, const char *data, const char *literal, bool escaped) {
  f->event = (struct wr_event){ .kind = WR_EVENT_TEXT, .index = 2, .text_escaped = escaped };
  f->event.data = wr_span_str(data);
  f->event.raw = f->event.data;
  f->event.name = WR_SPAN("message");
  f->raw = wr_view_static(f->event.raw);
  const char *at = literal ? strstr(data, literal) : NULL;
  if (at) f->event.text = wr_span_make(at, strlen(literal));
}

static inline void fake_call_event(struct fake *f) {
  const struct wr_hooks *h = wr_engine_hooks(f->engine);
  memset(&f->verdict, 0xa5, sizeof f->verdict);
  h->event(h->ctx, &f->stream, &f->event, &f->raw, &f->verdict);
}

#endif

/* engine_int.h: the inside of the engine, for engine.c, hooks.c, verdict.c and fail.c. */
#ifndef WR_POLICY_ENGINE_INT_H
#define WR_POLICY_ENGINE_INT_H

#include <lua.h>

#include "policy/engine.h"

#define WR_ENGINE_MAGIC 0xe4914e01u
#define WR_PLUGIN_ERRORS 5

/* The places of the bits of enum wr_hook_bit. */
enum wr_hook_id {
  WR_HOOK_ID_REQUEST,
  WR_HOOK_ID_RESPONSE_START,
  WR_HOOK_ID_EVENT,
  WR_HOOK_ID_TEXT,
  WR_HOOK_ID_SLOW_CLIENT,
  WR_HOOK_ID_UPSTREAM_ERROR,
  WR_HOOK_ID_END,
  WR_HOOK_ID_PRESSURE,
  WR_HOOK_IDS
};

/* One plugin of a worker, whatever routes use it; or the functions that stand in one route, since
 * those of another must not pay for their failures. */
struct wr_plugin {
  uint32_t route; /* UINT32_MAX: a plugin proper */
  char *name;                          /* owned */
  uint64_t error_us[WR_PLUGIN_ERRORS]; /* a ring */
  unsigned next;
  uint64_t until_us; /* aside until then; 0: not */
  uint64_t warned_us;
};

struct wr_hook {
  int fn_ref, conf_ref; /* in the registry */
  const char *name;     /* borrowed: static; "on_event" */
  uint32_t plugin;      /* index */
  uint32_t route; /* conf->route_count: none */
  uint8_t id;     /* enum wr_hook_id */
  bool guard;
  uint64_t calls;
  uint64_t fails[WR_FAILS];
  uint64_t told_calls, told_fails[WR_FAILS]; /* by wr_engine_stats_take */
};

/* Of weir.every: behind the hooks of the table, and without a list. */
#define WR_HOOK_ID_EVERY WR_HOOK_IDS
struct wr_engine_timer {
  struct wr_hook hook; /* of no route, without options, never a guard */
  uint64_t every_us, due_us;
};

struct wr_hook_list {
  uint32_t first, count; /* in engine.hooks */
};

struct wr_engine {
  uint32_t magic;
  struct wr_vm *vm;           /* owned */
  struct wr_script *script;   /* borrowed: the VM's */
  lua_State *L;               /* borrowed: the VM's */
  const struct wr_conf *conf; /* borrowed: outlives the engine */
  struct wr_slabs *slabs;     /* borrowed: the worker's */
  struct wr_hooks table;
  struct wr_hook *hooks; /* owned */
  size_t hook_count, hook_cap;
  struct wr_plugin *plugins; /* owned */
  size_t plugin_count, plugin_cap;
  struct wr_hook_list *routes; /* owned; WR_HOOK_IDS a route, then as many of none */
  struct wr_hook_stream nobody; /* stands in where there is no stream */
  void (*watch)(void *ctx, const struct wr_hook_seen *seen);
  void *watch_ctx;             /* borrowed: who watches */
  int keep_ref;                /* a table of the strings that the last verdict points to */
  struct wr_engine_timer *timers; /* owned */
  size_t timer_count;
  uint64_t aside_us; /* no plugin is put aside any more then */
  bool retired; /* no hook is called any more */
  bool starved; /* a call met the memory limit: collect when there is time */
  bool worn;    /* and that didn't help */
  uint64_t tight_us; /* when it was last said that memory is nearly used up; 0: never */
  size_t streams;
  uint64_t log_since_us;
  unsigned log_lines;
};

/* One call of one hook, as its C function sees it. */
struct wr_hook_call {
  struct wr_engine *e;              /* borrowed: the call */
  const struct wr_hook *hook;       /* borrowed: the engine */
  struct wr_hook_stream *s;         /* borrowed: the caller's */
  const struct wr_hook_request *rq; /* borrowed: the caller's */
  const struct wr_event *ev;        /* borrowed: the caller's */
  const struct wr_view *raw;        /* borrowed: the caller's */
  const struct wr_hook_window *win; /* borrowed: the caller's */
  const struct wr_hook_response *rs;      /* borrowed: the caller's */
  const struct wr_hook_slow *slow;        /* borrowed: the caller's */
  const struct wr_hook_error *er;         /* borrowed: the caller's */
  const struct wr_hook_pressure *pressure; /* borrowed: the caller's */
  const struct wr_view *home; /* borrowed: the caller's; where the payload lies; or NULL */
  struct wr_verdict *out;           /* borrowed: the caller's */
  enum wr_outcome outcome;
  bool final; /* a route verdict so far can't be changed */
  bool bad;   /* `why` says what is wrong with the verdict */
  char why[300]; /* LUA_IDSIZE, the hook, the plugin, and 120 bytes of what is wrong */
};

/* verdict.c; inside a protected call. The results lie on the stack from `first` on. Sets call->out,
 * or call->bad. */
void wr_verdict_read_request(lua_State *L, struct wr_hook_call *call, int first);
void wr_verdict_read_event(lua_State *L, struct wr_hook_call *call, int first);
void wr_verdict_read_text(lua_State *L, struct wr_hook_call *call, int first);
/* Of on_response_start, on_slow_client, on_upstream_error and on_pressure. */
void wr_verdict_read_other(lua_State *L, struct wr_hook_call *call, int first);

/* What was read is a verdict, but can't be followed: sets call->bad. */
void wr_verdict_refuse(struct wr_hook_call *call, const char *why);

/* hooks.c: runs one hook; fn NULL: on_event, or on_text where there is a window. Whatever happens,
 * c->out is a verdict that the relay can follow. */
void wr_hook_run(struct wr_hook_call *c, struct wr_hook *hook, lua_CFunction fn);
struct wr_hook_list wr_hook_list_of(const struct wr_engine *e, const struct wr_hook_stream *s,
                                    enum wr_hook_id id);

/* The functions of the table; wr_engine_admit is fail.c's. */
void wr_engine_admit(void *ctx, struct wr_hook_stream *s, struct wr_verdict *out);
void wr_engine_request(void *ctx, struct wr_hook_stream *s, const struct wr_hook_request *rq,
                       struct wr_verdict *out);
void wr_engine_event(void *ctx, struct wr_hook_stream *s, const struct wr_event *ev,
                     const struct wr_view *raw, struct wr_verdict *out);
void wr_engine_text(void *ctx, struct wr_hook_stream *s, const struct wr_hook_window *win,
                    struct wr_verdict *out);
void wr_engine_text_failed(void *ctx, struct wr_hook_stream *s, uint32_t stage, const char *why,
                           struct wr_verdict *out);
void wr_engine_response_start(void *ctx, struct wr_hook_stream *s,
                              const struct wr_hook_response *rs, struct wr_verdict *out);
void wr_engine_slow_client(void *ctx, struct wr_hook_stream *s, const struct wr_hook_slow *q,
                           struct wr_verdict *out);
void wr_engine_upstream_error(void *ctx, struct wr_hook_stream *s, const struct wr_hook_error *er,
                              struct wr_verdict *out);
void wr_engine_pressure(void *ctx, const struct wr_hook_pressure *p, struct wr_verdict *out);
void wr_engine_end(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome);

/* fail.c: the one place that decides what a failure means. text: what is logged. */
void wr_hook_failed(struct wr_engine *e, struct wr_hook *hook, const struct wr_hook_stream *s,
                    enum wr_fail fail, struct wr_span text, struct wr_verdict *out);
/* Is the plugin put aside? Then the verdict is set. */
bool wr_hook_aside(struct wr_engine *e, struct wr_hook *hook, const struct wr_hook_stream *s,
                   struct wr_verdict *out);
/* Says once a minute and plugin that a call came near its limits. */
void wr_hook_near_limit(struct wr_engine *e, const struct wr_hook *hook,
                        const struct wr_hook_stream *s);
const char *wr_hook_name(const struct wr_hook *hook);
enum wr_fail wr_fail_of(enum wr_vm_end end);

/* engine.c: the index of the plugin of that name, added if it is new; UINT32_MAX: no memory. route:
 * of a function in place. */
uint32_t wr_engine_plugin(struct wr_engine *e, const char *name, uint32_t route);
/* timers.c: inside a protected call. */
void wr_engine_load_timers(lua_State *L, struct wr_engine *e);

static inline struct wr_verdict wr_verdict_none(void) {
  struct wr_verdict v;
  memset(&v, 0, sizeof v);
  v.kind = WR_VERDICT_DEFAULT;
  v.max_tokens = -1;
  v.deadline_ms = -1;
  v.delay_ms = -1;
  return v;
}

#endif

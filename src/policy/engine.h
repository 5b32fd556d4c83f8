/* engine.h: the Lua engine: runs the hooks of a loaded configuration.
 *
 * One engine a worker and generation. It owns its VM; the configuration is the generation's and
 * outlives it. The relay sees only the table of relay/hooks.h. One thread.
 *
 * Whatever goes wrong in a script (an error, a limit, a verdict that doesn't exist) takes one path:
 * a plugin with `guard` refuses the request or stops the stream, any other loses its say for this
 * call. Five failures in 10 s, or one that met the memory limit, put a plugin aside for 30 s; a
 * guard then refuses new requests with 503. */
#ifndef WR_POLICY_ENGINE_H
#define WR_POLICY_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "conf/conf.h"
#include "policy/vm.h"
#include "relay/hooks.h"

struct wr_engine;
struct wr_slabs;

/* take_vm: the VM in which conf.lua was loaded (registry["weir.routes"], see policy/load.h). conf:
 * borrowed, outlives the engine. slabs: borrowed, for views that scripts keep; may be NULL. Time,
 * chance and the log are the VM's core (wr_vm_set_core). WR_E_NOMEM; WR_E_CONFIG: the registry is
 * not of that shape. */
WR_MUST_USE enum wr_err wr_engine_new(struct wr_vm *take_vm, const struct wr_conf *conf,
                                      struct wr_slabs *slabs, struct wr_engine **out);
/* Every stream must have ended. */
void wr_engine_free(struct wr_engine *e);
/* Borrowed from the engine. A hook that no route defines is NULL; `end` is there when any other is.
 */
const struct wr_hooks *wr_engine_hooks(const struct wr_engine *e);
/* What weir.live tells; borrowed, outlives the engine. Without it every upstream is healthy and has
 * room, and nothing presses. */
void wr_engine_set_live(struct wr_engine *e, const struct wr_live *live);
/* Views that scripts retained, and of these those that they didn't release before their stream's
 * end: so far. */
struct wr_view_counts {
  uint64_t retained, leaked;
};
struct wr_view_counts wr_engine_views(const struct wr_engine *e);
/* For the loop's idle time: collects a little garbage; true while there is more to do. */
bool wr_engine_idle(struct wr_engine *e);
/* Runs the functions of weir.every that are due. Milliseconds until the next is; 0: there is none.
 */
uint64_t wr_engine_timers(struct wr_engine *e, uint64_t now_us);
/* A call met the memory limit, and a full collection left the VM fuller than three quarters: it
 * needs a successor. */
bool wr_engine_worn(const struct wr_engine *e);
/* No hook is called any more: guards refuse or stop, for all others C decides. Streams still end as
 * they must. */
void wr_engine_retire(struct wr_engine *e);
bool wr_engine_retired(const struct wr_engine *e);
/* Bytes of the Lua heap, and how many it may have. */
size_t wr_engine_bytes(const struct wr_engine *e, size_t *cap);
/* The i-th plugin that is put aside now; NULL behind the last. Borrowed: the engine. */
const char *wr_engine_aside(const struct wr_engine *e, size_t i);

/* How a call failed, for metrics; "verdict": what it returned is no verdict; "quarantine" and
 * "retired": it was not called. */
enum wr_fail {
  WR_FAIL_ERROR,
  WR_FAIL_INSTRUCTIONS,
  WR_FAIL_TIME,
  WR_FAIL_MEMORY,
  WR_FAIL_VERDICT,
  WR_FAIL_QUARANTINE,
  WR_FAIL_RETIRED,
  WR_FAILS
};

struct wr_hook_stats {
  const char *plugin; /* borrowed: the engine */
  const char *hook;   /* borrowed: static; "on_event" */
  const char *route;  /* borrowed: the configuration; "": of none */
  uint64_t calls;
  uint64_t fails[WR_FAILS];
};
/* One entry a hook of each route and a timer; false behind the last. */
bool wr_engine_stats(const struct wr_engine *e, size_t i, struct wr_hook_stats *out);
/* The same, counted since the last call of this. */
bool wr_engine_stats_take(struct wr_engine *e, size_t i, struct wr_hook_stats *out);
const char *wr_fail_name(enum wr_fail fail);
/* One call of one hook, for who explains or tests a policy. All is borrowed for the call. */
struct wr_hook_seen {
  const char *plugin, *hook; /* borrowed: as in wr_hook_stats */
  const struct wr_verdict *verdict; /* borrowed: what the relay is going to see, so far */
  struct wr_span error; /* ptr NULL: it went well */
  uint8_t fail;         /* enum wr_fail, where there is an error */
  uint32_t instructions; /* that it took, as far as they are counted: in steps of up to 100 */
};
/* With a watcher every handle is made anew for each call, so that a script which keeps one is found
 * out at once. fn NULL: nobody watches. */
void wr_engine_watch(struct wr_engine *e, void (*fn)(void *ctx, const struct wr_hook_seen *seen),
                     void *ctx);
/* Streams that the engine still has state for. */
size_t wr_engine_streams(const struct wr_engine *e);

#endif

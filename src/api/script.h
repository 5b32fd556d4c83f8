/* script.h: what a C function that a script calls may know of its VM.
 *
 * One struct a VM, made by policy/vm.c and found from the lua_State without a look-up. It holds the
 * budget of the running call, the epoch that tells live handles from dead ones, the phase, and the
 * core's callbacks. The VM's thread only; freed with the VM. */
#ifndef WR_API_SCRIPT_H
#define WR_API_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct lua_State;
struct lua_Debug;
struct wr_conf;
struct wr_hook_stream;
struct wr_json_cache;
struct wr_live;
struct wr_slabs;
struct wr_view;
struct wr_tallies;

enum wr_script_level { WR_SCRIPT_INFO, WR_SCRIPT_WARN, WR_SCRIPT_ERROR };

/* The core, as scripts see it. */
struct wr_script_core {
  void *ctx;                         /* borrowed: outlives the VM */
  uint64_t (*mono_us)(void *ctx);    /* monotonic: rate limits, quarantine */
  uint64_t (*wall_us)(void *ctx);    /* since 1970: weir.now, weir.date */
  uint64_t (*random_u64)(void *ctx); /* weir.random, math.random */
  /* One line without its end, borrowed for the call; where is "file:line" or "". */
  void (*log)(void *ctx, enum wr_script_level level, struct wr_span where, struct wr_span text);
};

enum wr_limit { WR_LIMIT_NONE, WR_LIMIT_INSTRUCTIONS, WR_LIMIT_TIME, WR_LIMIT_MEMORY };

/* While conf.lua loads, declarations are allowed; in a hook they are not. */
enum wr_phase { WR_PHASE_NONE, WR_PHASE_LOAD, WR_PHASE_HOOK };

/* A call site that logs: at most ten lines a second each. */
#define WR_SCRIPT_LOG_SITES 64
struct wr_script_site {
  uint64_t hash;     /* of file and line; 0: free */
  uint64_t since_us; /* start of this second */
  uint32_t lines;
  uint32_t dropped;
};

#define WR_SCRIPT_MAGIC 0x5c719701u
#define WR_SCRIPT_WHERE_BYTES 96
struct wr_script {
  uint32_t magic;
  uint8_t limit;  /* enum wr_limit: sticky until the call ends */
  uint8_t phase;  /* enum wr_phase */
  bool armed;     /* a protected call runs */
  int64_t left;   /* instructions that the call may still use */
  uint64_t epoch; /* of the running hook call: a handle made in another one is dead */
  uint32_t instructions, wall_ms; /* the call's limits */
  uint32_t quantum;               /* instructions between two looks at the clock */
  uint64_t deadline_us;           /* of the call; on the real monotonic clock; 0: not read yet */
  uint64_t looked_us;             /* at the clock, last */
  uint64_t big_values; /* live allocations large enough to make single instructions slow */
  const char *hook;    /* borrowed: the call; for errors */
  const char *plugin;  /* borrowed: the call */
  char where[WR_SCRIPT_WHERE_BYTES]; /* "file:line: " of the instruction that met a limit */
  struct wr_script_core core;
  struct wr_json_cache *json; /* owned: compiled paths; NULL before the first */
  struct wr_tallies *tallies; /* borrowed: the process's, outlives the VM; NULL: none */
  char *scratch;              /* owned: decoded text of the running call */
  size_t scratch_bytes;
  struct wr_script_site sites[WR_SCRIPT_LOG_SITES];
  /* Set by the engine once. */
  const struct wr_conf *conf; /* borrowed: the generation's; NULL: no hook runs yet */
  const struct wr_live *live; /* borrowed: outlives the VM; NULL: nothing is known */
  struct wr_slabs *slabs;     /* borrowed: the worker's; NULL: kept views are in the heap */
  size_t memory_bytes;        /* that the Lua heap may take */
  size_t retained_bytes;      /* that the kept views of one stream may take */
  /* Of the running hook. */
  struct wr_hook_stream *stream; /* borrowed: the call; NULL: none runs */
  const struct wr_view *home;    /* borrowed: the call; the block of the payload, or NULL */
  bool pins_dying;               /* something was released in this call */
  uint64_t pin_serial;           /* of the view that was retained last */
  uint64_t views_retained, views_leaked;
};

#endif

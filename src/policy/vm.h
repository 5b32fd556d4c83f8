/* vm.h: one Lua state with a capped heap, a closed set of globals, and the only protected call.
 *
 * A VM belongs to one thread: a worker's engine (policy/engine.h), or the loader that runs
 * conf.lua. Nothing of the Lua API that may allocate is called outside wr_vm_pcall: at the memory
 * cap anything else would end the process. Automatic collection is off; wr_vm_idle and
 * wr_vm_relieve collect.
 *
 * Three tables behind the globals (see policy/sandbox.h): the script's _ENV is empty and closed, it
 * reads from the table that wr_vm_push_globals gives; the global `weir` is closed in the same way
 * and reads from what wr_vm_push_weir gives. C code adds its functions to those two. */
#ifndef WR_POLICY_VM_H
#define WR_POLICY_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/script.h"
#include "base/err.h"
#include "base/span.h"

struct lua_State;
struct wr_ledger;
struct wr_vm;

struct wr_vm_limits {
  size_t memory_bytes;   /* of the whole Lua heap; 0: 16 MiB. A single value takes an 8th at most */
  uint32_t instructions; /* of one protected call; 0: 100000 */
  uint32_t wall_ms;      /* of one protected call; 0: 15 ms */
  struct wr_ledger *ledger; /* borrowed: outlives the VM; charged WR_CHARGE_LUA; NULL: nobody */
};

/* limits may be NULL (the defaults). WR_E_NOMEM. */
WR_MUST_USE enum wr_err wr_vm_new(const struct wr_vm_limits *limits, struct wr_vm **out);
void wr_vm_free(struct wr_vm *vm);
struct lua_State *wr_vm_state(struct wr_vm *vm);
/* What the API's functions know of this VM: the clock, chance, log (api/script.h). */
struct wr_script *wr_vm_script(struct wr_vm *vm);
/* Time, chance and log lines come from the caller, so that a test owns them. Fields that are NULL
 * keep the defaults: the system's clocks, the system's random numbers, no log. Copied. */
void wr_vm_set_core(struct wr_vm *vm, const struct wr_script_core *core);

/* How a protected call ended. Anything but OK takes the same path at the caller. */
enum wr_vm_end {
  WR_VM_OK,
  WR_VM_ERROR,        /* the script raised, or didn't compile */
  WR_VM_INSTRUCTIONS, /* over the limit */
  WR_VM_TIME,         /* over the limit */
  WR_VM_MEMORY,       /* the heap's cap, or no memory at all */
  WR_VM_ENDS
};

/* What the error text says of the call; every field may be NULL or 0. */
struct wr_vm_call {
  const char *hook;      /* borrowed: the call; "on_event", "conf.lua" */
  const char *plugin;    /* borrowed: the call */
  uint64_t stream;       /* id; 0: none */
  bool named;            /* append " [hook of 'plugin', stream id]" to the error text */
  uint32_t instructions; /* 0: the VM's */
  uint32_t wall_ms;      /* 0: the VM's */
};

/* The only lua_pcall of the program: as lua_pcall, with the limits armed for this call. On the
 * stack lie the function and nargs arguments, put there without allocating (a C function and light
 * userdata are; everything else is pushed by the C function, inside). When it fails, the function
 * and its arguments are gone, nothing is left in their place, and wr_vm_error has the text. A limit
 * that was reached can't be caught by the script. A call within a call shares the limits of the
 * outer one; after a limit there, the outer code must return too. `call` may be NULL. */
WR_MUST_USE enum wr_vm_end wr_vm_pcall(struct wr_vm *vm, const struct wr_vm_call *call, int nargs,
                                       int nresults);
/* "policies/pii.lua:18: what [on_text of 'pii', stream 7f3a]"; borrowed until the next call. */
struct wr_span wr_vm_error(const struct wr_vm *vm);

/* Inside a protected call: compiles text (never bytecode) and pushes the function; raises with
 * file:line when it doesn't compile. name is what errors call it, such as "policies/pii.lua". The
 * function's _ENV is the closed one. */
void wr_vm_compile(struct lua_State *L, struct wr_span text, const char *name);
/* Inside a protected call: the tables that scripts read their globals, and `weir`, from. */
void wr_vm_push_globals(struct lua_State *L);
void wr_vm_push_weir(struct lua_State *L);
/* Inside a protected call: replaces the table on top by a closed one that reads from it: writes,
 * rawset and setmetatable raise "<what> is read-only"; pairs, ipairs, #, next work. Not deep. */
void wr_vm_freeze(struct lua_State *L, const char *what);

/* Bytes that the VM holds now; that it held after the last whole collection; that it may hold. */
size_t wr_vm_bytes(const struct wr_vm *vm);
size_t wr_vm_floor_bytes(const struct wr_vm *vm);
size_t wr_vm_cap_bytes(const struct wr_vm *vm);
/* Collects a little; true while there is more to do. For the loop's idle time. */
bool wr_vm_idle(struct wr_vm *vm);
/* Collects a step if garbage has passed the debt limit; cheap when it hasn't. After each hook. */
void wr_vm_relieve(struct wr_vm *vm);
/* A full collection. */
void wr_vm_collect(struct wr_vm *vm);

/* The Lua that this was built with. */
const char *wr_vm_lua_version(void);

#endif

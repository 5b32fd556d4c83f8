/* load.h: conf.lua → struct wr_conf.
 *
 * The file runs once in a sandboxed VM; its calls only declare. Then everything is checked as a
 * whole: types, ranges, names, files, headers. All errors are collected. A configuration comes out
 * only when there is none; it is then the caller's and freed by wr_conf_free. The same source gives
 * the same configuration on every worker (secrets and files are read again each time). Called on
 * the thread that owns the VM; may block on files, so only at start and reload.
 *
 * What the VM keeps: its registry has, under the key "weir.routes", an array by route index
 * (1-based, in the order of conf->routes) of { on_request = LIST, on_event = LIST, … }, each LIST
 * an array of { fn = function, plugin = "name" (or "conf.lua" for a function in place), guard =
 * boolean, conf = frozen table (nil for a function in place) }. A list stands in the order in which
 * it is to be run: requests and slow clients go through weir.use, then the function in place, then
 * the route's `use`; answers, events, errors and the end come back the other way, so that what
 * stands first is nearest to the client in both directions. A list that would be empty is absent,
 * and its bit in conf->routes[i].hooks is clear. The same table has under WR_LOAD_GLOBAL the lists
 * of hooks that have no route ({ on_pressure = LIST }); their bits are conf->hooks. */
#ifndef WR_POLICY_LOAD_H
#define WR_POLICY_LOAD_H

#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "policy/diag.h"

struct wr_vm;

#define WR_LOAD_ROUTES_KEY "weir.routes"
#define WR_LOAD_GLOBAL "global"
/* An array of { fn = function, ms = interval, plugin = "file:line" }; absent without weir.every. */
#define WR_LOAD_TIMERS_KEY "weir.timers"
#define WR_LOAD_EVERY_MIN_MS 100
#define WR_LOAD_EVERY_MAX 32
#define WR_LOAD_SOURCE_MAX_BYTES (4u << 20)

/* file: for messages, and relative names count from its folder. CONFIG: see diag; NOMEM (in a
 * script that needs more than its heap's cap, diag says so). *out is set on WR_OK only; warnings
 * may stand in diag all the same. */
WR_MUST_USE enum wr_err wr_conf_load(struct wr_vm *vm, const char *file, struct wr_span source,
                                     struct wr_conf **out, struct wr_diag *diag);
/* Reads the file and loads it in a VM of its own, which is gone afterwards. A file that can't be
 * read is CONFIG, with an entry in diag. */
WR_MUST_USE enum wr_err wr_conf_load_file(const char *file, struct wr_conf **out,
                                          struct wr_diag *diag);
/* The bytes of a file, less than WR_LOAD_SOURCE_MAX_BYTES, from the heap (tag CONF), with a NUL
 * behind them. IO: see errno. */
WR_MUST_USE enum wr_err wr_conf_read_source(const char *file, char **give_bytes, size_t *len);

#endif

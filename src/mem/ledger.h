/* ledger.h: who holds how much of the pool, and the levels that follow from it.
 *
 * Shared by all workers: bytes by class are C11 atomics. wr_ledger_add and _sub count at once.
 * What the slab sets allocate they count in plain integers of their own and publish here in
 * batches: when a set's total has drifted by 16 KiB (1/64 of a pool below 1 MiB), and at its
 * tick. So the figures are exact after each worker's tick and lag by less than a batch a worker
 * between ticks; a set's own admission test adds what it didn't publish yet.
 *
 * The level rises when the share of the pool in use crosses a mark and falls only below that
 * level's `off` mark (hysteresis). When memory is short the least needed class is refused first;
 * the classes that drain (client output, TLS) never are while a block is left. Ceilings, as
 * shares of the pool in use: idle 0.70, kept_log 0.80, kept_view 0.85, head 0.90, upstream 0.96;
 * the rest have none. */
#ifndef WR_MEM_LEDGER_H
#define WR_MEM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* From the least needed to the one that drains. */
enum wr_charge {
  WR_CHARGE_IDLE,     /* idle kept-alive connections */
  WR_CHARGE_KEPT_LOG, /* logs kept for resume and cache */
  WR_CHARGE_KEPT_VIEW,/* views that Lua retained */
  WR_CHARGE_HEAD,     /* heads and arenas of sessions: a refusal here is a 503 for a new session */
  WR_CHARGE_LUA,      /* Lua heaps (accounted, not from the pool) */
  WR_CHARGE_UPSTREAM, /* upstream input, receive blocks */
  WR_CHARGE_TLS,
  WR_CHARGE_CLIENT,   /* client output */
  WR_CHARGES
};

struct wr_ledger;

/* Marks as shares of pool_bytes: level n (1..4) is on at on[n-1] and off below off[n-1]. NULL:
 * the defaults 0.70/0.60, 0.80/0.70, 0.90/0.80, 0.96/0.90. */
struct wr_ledger_marks {
  double on[4];
  double off[4];
};
WR_MUST_USE enum wr_err wr_ledger_new(size_t pool_bytes, const struct wr_ledger_marks *marks,
                                      struct wr_ledger **out);
void wr_ledger_free(struct wr_ledger *ledger);

void wr_ledger_add(struct wr_ledger *ledger, enum wr_charge charge, size_t bytes);
void wr_ledger_sub(struct wr_ledger *ledger, enum wr_charge charge, size_t bytes);
size_t wr_ledger_bytes(const struct wr_ledger *ledger, enum wr_charge charge);
size_t wr_ledger_used_bytes(const struct wr_ledger *ledger);  /* pool classes only (not LUA) */
size_t wr_ledger_pool_bytes(const struct wr_ledger *ledger);
size_t wr_ledger_peak_bytes(const struct wr_ledger *ledger);
/* 0 (calm) .. 4. */
unsigned wr_ledger_level(const struct wr_ledger *ledger);
/* Whoever makes the use of the pool reach `at_bytes`, or go on above it, calls fn, with what is in
 * use then: once a batch at most, on the thread that allocates, so fn is short and takes no memory.
 * SIZE_MAX: never. The function is set before other threads run; the mark may move at any time. */
void wr_ledger_on_alarm(struct wr_ledger *ledger, void (*fn)(void *ctx, size_t used_bytes),
                        void *ctx);
void wr_ledger_set_alarm(struct wr_ledger *ledger, size_t at_bytes);
/* May this class have these bytes now? Each class has a ceiling, as a share of the pool, above
 * which it is refused; a refusal is counted. HEAD is refused at 0.90 so that streams that run
 * can finish. */
bool wr_ledger_admits(struct wr_ledger *ledger, enum wr_charge charge, size_t bytes);
uint64_t wr_ledger_refusals(const struct wr_ledger *ledger, enum wr_charge charge);
/* snake_case, for metric labels. */
const char *wr_charge_name(enum wr_charge charge);

#endif

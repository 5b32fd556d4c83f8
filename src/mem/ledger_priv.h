/* ledger_priv.h: the ledger's fields, for ledger.c and for the one test that slab.c makes at
 * each allocation. */
#ifndef WR_MEM_LEDGER_PRIV_H
#define WR_MEM_LEDGER_PRIV_H

#include <stdatomic.h>

#include "mem/ledger.h"

#define WR_LEDGER_LEVELS 4

struct wr_ledger {
  _Atomic size_t used;
  size_t limit[WR_CHARGES]; /* bytes in use above which the class is refused */
  size_t pool_bytes;
  size_t on[WR_LEDGER_LEVELS];
  size_t off[WR_LEDGER_LEVELS];
  _Atomic unsigned level;
  _Atomic size_t peak;
  _Atomic size_t alarm_bytes;
  void (*alarm)(void *ctx, size_t used_bytes);
  void *alarm_ctx; /* borrowed: outlives the ledger's users */
  _Atomic size_t bytes[WR_CHARGES];
  _Atomic uint64_t refusals[WR_CHARGES];
};

/* Shares of a thousand; 1000: never refused while a block is left. */
unsigned wr_ledger_ceiling(enum wr_charge charge);

/* `more` is what the caller wants and what it holds but didn't publish yet; it may be
 * "negative". */
static inline bool wr_ledger_fits(const struct wr_ledger *l, enum wr_charge charge, size_t more) {
  return atomic_load_explicit(&l->used, memory_order_relaxed) + more <= l->limit[charge];
}

/* Brings what a slab set published (`known`, changed here) to what it holds now. The pool's
 * total moves once, by the net change, so that a charge that only moves between classes can't
 * shake the level. Pool classes only. */
void wr_ledger_publish(struct wr_ledger *l, const size_t now[WR_CHARGES],
                       size_t known[WR_CHARGES]);

static inline void wr_ledger_refused(struct wr_ledger *l, enum wr_charge charge) {
  atomic_fetch_add_explicit(&l->refusals[charge], 1, memory_order_relaxed);
}

#endif

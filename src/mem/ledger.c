#include "mem/ledger.h"

#include "base/check.h"
#include "base/heap.h"
#include "mem/ledger_priv.h"

static const struct {
  const char *name; /* borrowed: a literal */
  unsigned ceiling;
} classes[WR_CHARGES] = {
  [WR_CHARGE_IDLE] = { "idle", 700 },
  [WR_CHARGE_KEPT_LOG] = { "kept_log", 800 },
  [WR_CHARGE_KEPT_VIEW] = { "kept_view", 850 },
  [WR_CHARGE_HEAD] = { "head", 900 },
  [WR_CHARGE_LUA] = { "lua", 1000 },
  [WR_CHARGE_UPSTREAM] = { "upstream", 960 },
  [WR_CHARGE_TLS] = { "tls", 1000 },
  [WR_CHARGE_CLIENT] = { "client", 1000 },
};

static const struct wr_ledger_marks default_marks = {
  .on = { 0.70, 0.80, 0.90, 0.96 },
  .off = { 0.60, 0.70, 0.80, 0.90 },
};

const char *wr_charge_name(enum wr_charge charge) {
  return (unsigned)charge < WR_CHARGES ? classes[charge].name : "?";
}

unsigned wr_ledger_ceiling(enum wr_charge charge) { return classes[charge].ceiling; }

static bool marks_valid(const struct wr_ledger_marks *m) {
  for (unsigned i = 0; i < WR_LEDGER_LEVELS; i++) {
    if (!(m->off[i] > 0.0 && m->off[i] <= m->on[i] && m->on[i] <= 1.0)) return false;
    if (i > 0 && (m->on[i] < m->on[i - 1] || m->off[i] < m->off[i - 1])) return false;
  }
  return true;
}

enum wr_err wr_ledger_new(size_t pool_bytes, const struct wr_ledger_marks *marks,
                          struct wr_ledger **out) {
  if (!marks) marks = &default_marks;
  if (pool_bytes == 0 || !marks_valid(marks)) return WR_E_ARG;
  struct wr_ledger *l = wr_heap_zalloc(WR_HEAP_MEM, sizeof *l);
  if (!l) return WR_E_NOMEM;
  l->pool_bytes = pool_bytes;
  atomic_init(&l->alarm_bytes, SIZE_MAX);
  for (unsigned i = 0; i < WR_LEDGER_LEVELS; i++) {
    l->on[i] = (size_t)((double)pool_bytes * marks->on[i]);
    l->off[i] = (size_t)((double)pool_bytes * marks->off[i]);
  }
  for (unsigned i = 0; i < WR_CHARGES; i++) {
    unsigned ceiling = classes[i].ceiling;
    l->limit[i] = ceiling == 1000 ? SIZE_MAX : pool_bytes / 1000 * ceiling;
  }
  *out = l;
  return WR_OK;
}

void wr_ledger_free(struct wr_ledger *l) { wr_heap_free(WR_HEAP_MEM, l); }

static unsigned level_after(const struct wr_ledger *l, unsigned level, size_t used) {
  while (level < WR_LEDGER_LEVELS && used >= l->on[level]) level++;
  while (level > 0 && used < l->off[level - 1]) level--;
  return level;
}

/* Looks again after each change: another thread may have moved the bytes since they were read,
 * and a level that nobody corrects would stand until the next movement. */
static void level_update(struct wr_ledger *l) {
  unsigned level = atomic_load_explicit(&l->level, memory_order_relaxed);
  for (;;) {
    size_t used = atomic_load(&l->used);
    unsigned want = level_after(l, level, used);
    if (want == level) return;
    if (atomic_compare_exchange_weak(&l->level, &level, want)) level = want;
  }
}

static void peak_update(struct wr_ledger *l, size_t used) {
  size_t peak = atomic_load_explicit(&l->peak, memory_order_relaxed);
  while (used > peak &&
         !atomic_compare_exchange_weak_explicit(&l->peak, &peak, used, memory_order_relaxed,
                                                memory_order_relaxed)) {
  }
}

/* More is in use than before. */
static void risen(struct wr_ledger *l, size_t used) {
  peak_update(l, used);
  if (used >= atomic_load_explicit(&l->alarm_bytes, memory_order_relaxed))
    l->alarm(l->alarm_ctx, used);
}

void wr_ledger_on_alarm(struct wr_ledger *l, void (*fn)(void *ctx, size_t used_bytes), void *ctx) {
  l->alarm = fn;
  l->alarm_ctx = ctx;
}

void wr_ledger_set_alarm(struct wr_ledger *l, size_t at_bytes) {
  WR_CHECK(l->alarm != NULL || at_bytes == SIZE_MAX);
  atomic_store_explicit(&l->alarm_bytes, at_bytes, memory_order_relaxed);
}

void wr_ledger_add(struct wr_ledger *l, enum wr_charge charge, size_t bytes) {
  WR_CHECK((unsigned)charge < WR_CHARGES);
  if (bytes == 0) return;
  atomic_fetch_add_explicit(&l->bytes[charge], bytes, memory_order_relaxed);
  if (charge == WR_CHARGE_LUA) return;
  size_t used = atomic_fetch_add_explicit(&l->used, bytes, memory_order_relaxed) + bytes;
  risen(l, used);
  level_update(l);
}

void wr_ledger_sub(struct wr_ledger *l, enum wr_charge charge, size_t bytes) {
  WR_CHECK((unsigned)charge < WR_CHARGES);
  if (bytes == 0) return;
  WR_CHECK(atomic_fetch_sub_explicit(&l->bytes[charge], bytes, memory_order_relaxed) >= bytes);
  if (charge == WR_CHARGE_LUA) return;
  WR_CHECK(atomic_fetch_sub_explicit(&l->used, bytes, memory_order_relaxed) >= bytes);
  level_update(l);
}

void wr_ledger_publish(struct wr_ledger *l, const size_t now[WR_CHARGES],
                       size_t known[WR_CHARGES]) {
  size_t net = 0; /* wraps below zero when more was freed than taken */
  for (unsigned c = 0; c < WR_CHARGES; c++) {
    size_t change = now[c] - known[c];
    if (change == 0) continue;
    atomic_fetch_add_explicit(&l->bytes[c], change, memory_order_relaxed);
    known[c] = now[c];
    net += change;
  }
  if (net == 0) return;
  size_t used = atomic_fetch_add_explicit(&l->used, net, memory_order_relaxed) + net;
  WR_DCHECK(used <= SIZE_MAX / 2);
  if (net <= SIZE_MAX / 2) risen(l, used);
  level_update(l);
}

size_t wr_ledger_bytes(const struct wr_ledger *l, enum wr_charge charge) {
  WR_CHECK((unsigned)charge < WR_CHARGES);
  return atomic_load_explicit(&l->bytes[charge], memory_order_relaxed);
}

size_t wr_ledger_used_bytes(const struct wr_ledger *l) {
  return atomic_load_explicit(&l->used, memory_order_relaxed);
}

size_t wr_ledger_pool_bytes(const struct wr_ledger *l) { return l->pool_bytes; }

size_t wr_ledger_peak_bytes(const struct wr_ledger *l) {
  return atomic_load_explicit(&l->peak, memory_order_relaxed);
}

unsigned wr_ledger_level(const struct wr_ledger *l) {
  return atomic_load_explicit(&l->level, memory_order_relaxed);
}

bool wr_ledger_admits(struct wr_ledger *l, enum wr_charge charge, size_t bytes) {
  WR_CHECK((unsigned)charge < WR_CHARGES);
  if (wr_ledger_fits(l, charge, bytes)) return true;
  wr_ledger_refused(l, charge);
  return false;
}

uint64_t wr_ledger_refusals(const struct wr_ledger *l, enum wr_charge charge) {
  WR_CHECK((unsigned)charge < WR_CHARGES);
  return atomic_load_explicit(&l->refusals[charge], memory_order_relaxed);
}

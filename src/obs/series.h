/* series.h: a bounded table of label sets, each with counters behind it.
 *
 * One thread adds and counts; any thread may look up and read meanwhile, because an entry is
 * published whole and stays until the table ends. Entry 0 is there from the start: all its labels
 * are "other", and what finds no room is counted there. */
#ifndef WR_OBS_SERIES_H
#define WR_OBS_SERIES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "obs/metric.h"

#define WR_SERIES_MAX_LABELS 4
#define WR_SERIES_SLOTS 512 /* a power of two, twice WR_METRIC_SERIES_MAX */
#define WR_SERIES_KEY_MAX_BYTES (WR_SERIES_MAX_LABELS * (1 + WR_METRIC_LABEL_MAX_BYTES))

/* The label values, each behind a byte with its length. */
struct wr_series_key {
  uint64_t hash;
  size_t len;
  char bytes[WR_SERIES_KEY_MAX_BYTES];
};

struct wr_series {
  uint64_t hash;
  uint16_t key_len;
  char *key;                 /* borrowed: behind the values, in the same allocation */
  _Atomic uint64_t values[]; /* the table's count of them */
};

struct wr_series_table {
  uint16_t limit;  /* 2 .. WR_METRIC_SERIES_MAX */
  uint8_t labels;  /* 1 .. WR_SERIES_MAX_LABELS */
  uint16_t values; /* of a series */
  _Atomic uint16_t count;
  _Atomic uint16_t slots[WR_SERIES_SLOTS]; /* index + 1; 0: empty */
  _Atomic(struct wr_series *) list[WR_METRIC_SERIES_MAX]; /* owned; set up to count */
};

WR_MUST_USE enum wr_err wr_series_init(struct wr_series_table *table, size_t labels, size_t values,
                                       size_t limit);
void wr_series_fini(struct wr_series_table *table);

void wr_series_key_make(struct wr_series_key *key, const struct wr_span *labels, size_t n);
/* Any thread; NULL when it isn't there. */
struct wr_series *wr_series_find(const struct wr_series_table *table,
                                 const struct wr_series_key *key);
/* Owner's thread; never NULL. *folded: it is entry 0 for want of room. */
struct wr_series *wr_series_get(struct wr_series_table *table, const struct wr_series_key *key,
                                bool *folded);
/* Any thread. i < wr_series_count. */
static inline size_t wr_series_count(const struct wr_series_table *table) {
  return atomic_load_explicit(&table->count, memory_order_acquire);
}
static inline const struct wr_series *wr_series_at(const struct wr_series_table *table, size_t i) {
  return atomic_load_explicit(&table->list[i], memory_order_relaxed);
}
/* The key of an entry, for looking it up in another table; and its label values, in order. */
void wr_series_key_of(const struct wr_series *series, struct wr_series_key *key);
void wr_series_labels(const struct wr_series *series, struct wr_span *labels, size_t n);

/* One writer: no locked instruction. */
static inline void wr_counter_add(_Atomic uint64_t *counter, uint64_t n) {
  uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
  atomic_store_explicit(counter, old + n, memory_order_relaxed);
}
static inline uint64_t wr_counter_read(const _Atomic uint64_t *counter) {
  return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif

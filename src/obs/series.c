#include "obs/series.h"

#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"

/* Cut at the start of a character, so that a cut label is still UTF-8. */
static size_t label_bytes(struct wr_span value) {
  if (value.len <= WR_METRIC_LABEL_MAX_BYTES) return value.len;
  size_t n = WR_METRIC_LABEL_MAX_BYTES;
  while (n > 0 && ((unsigned char)value.ptr[n] & 0xc0) == 0x80) n--;
  return n;
}

/* Eight bytes at a time: a few of these are made for each request. At most WR_METRIC_SERIES_MAX
 * keys are ever stored, so nobody gains by aiming many at one slot. */
static uint64_t hash_of(const char *bytes, size_t len) {
  uint64_t h = len, word;
  for (; len >= sizeof word; bytes += sizeof word, len -= sizeof word) {
    memcpy(&word, bytes, sizeof word);
    h = wr_hash_mix64(h ^ word);
  }
  word = 0;
  memcpy(&word, bytes, len);
  return wr_hash_mix64(h ^ word);
}

void wr_series_key_make(struct wr_series_key *key, const struct wr_span *labels, size_t n) {
  WR_CHECK(n <= WR_SERIES_MAX_LABELS);
  key->len = 0;
  for (size_t i = 0; i < n; i++) {
    size_t len = label_bytes(labels[i]);
    key->bytes[key->len++] = (char)len;
    if (len > 0) memcpy(key->bytes + key->len, labels[i].ptr, len);
    key->len += len;
  }
  key->hash = hash_of(key->bytes, key->len);
}

void wr_series_key_of(const struct wr_series *series, struct wr_series_key *key) {
  key->hash = series->hash;
  key->len = series->key_len;
  memcpy(key->bytes, series->key, series->key_len);
}

void wr_series_labels(const struct wr_series *series, struct wr_span *labels, size_t n) {
  const char *p = series->key;
  for (size_t i = 0; i < n; i++) {
    size_t len = (unsigned char)*p++;
    labels[i] = wr_span_make(p, len);
    p += len;
  }
  WR_DCHECK(p == series->key + series->key_len);
}

static bool same(const struct wr_series *series, const struct wr_series_key *key) {
  return series->hash == key->hash && series->key_len == key->len &&
         memcmp(series->key, key->bytes, key->len) == 0;
}

struct wr_series *wr_series_find(const struct wr_series_table *table,
                                 const struct wr_series_key *key) {
  /* At most half of the slots are taken, so an empty one ends every search. */
  for (uint64_t at = key->hash;; at++) {
    size_t slot = (size_t)at & (WR_SERIES_SLOTS - 1);
    unsigned i = atomic_load_explicit(&table->slots[slot], memory_order_acquire);
    if (i == 0) return NULL;
    struct wr_series *series = atomic_load_explicit(&table->list[i - 1], memory_order_relaxed);
    if (same(series, key)) return series;
  }
}

/* NULL when memory is short. */
static struct wr_series *insert(struct wr_series_table *table, const struct wr_series_key *key) {
  size_t values_bytes = table->values * sizeof(uint64_t);
  struct wr_series *series =
      wr_heap_zalloc(WR_HEAP_OBS, sizeof *series + values_bytes + key->len);
  if (!series) return NULL;
  series->hash = key->hash;
  series->key_len = (uint16_t)key->len;
  series->key = (char *)series + sizeof *series + values_bytes;
  memcpy(series->key, key->bytes, key->len);
  unsigned n = atomic_load_explicit(&table->count, memory_order_relaxed);
  WR_CHECK(n < table->limit);
  uint64_t at = key->hash;
  while (atomic_load_explicit(&table->slots[at & (WR_SERIES_SLOTS - 1)], memory_order_relaxed))
    at++;
  /* The entry first, then the ways to it. */
  atomic_store_explicit(&table->list[n], series, memory_order_relaxed);
  atomic_store_explicit(&table->slots[at & (WR_SERIES_SLOTS - 1)], (uint16_t)(n + 1),
                        memory_order_release);
  atomic_store_explicit(&table->count, (uint16_t)(n + 1), memory_order_release);
  return series;
}

struct wr_series *wr_series_get(struct wr_series_table *table, const struct wr_series_key *key,
                                bool *folded) {
  *folded = false;
  struct wr_series *series = wr_series_find(table, key);
  if (series) return series;
  if (wr_series_count(table) < table->limit) series = insert(table, key);
  if (series) return series;
  *folded = true;
  return atomic_load_explicit(&table->list[0], memory_order_relaxed);
}

enum wr_err wr_series_init(struct wr_series_table *table, size_t labels, size_t values,
                           size_t limit) {
  WR_CHECK(labels >= 1 && labels <= WR_SERIES_MAX_LABELS);
  WR_CHECK(limit >= 2 && limit <= WR_METRIC_SERIES_MAX);
  memset(table, 0, sizeof *table);
  table->labels = (uint8_t)labels;
  table->values = (uint16_t)values;
  table->limit = (uint16_t)limit;
  struct wr_span other[WR_SERIES_MAX_LABELS];
  for (size_t i = 0; i < labels; i++) other[i] = WR_SPAN("other");
  struct wr_series_key key;
  wr_series_key_make(&key, other, labels);
  return insert(table, &key) ? WR_OK : WR_E_NOMEM;
}

void wr_series_fini(struct wr_series_table *table) {
  size_t n = wr_series_count(table);
  for (size_t i = 0; i < n; i++)
    wr_heap_free(WR_HEAP_OBS, atomic_load_explicit(&table->list[i], memory_order_relaxed));
  atomic_store_explicit(&table->count, 0, memory_order_relaxed);
}

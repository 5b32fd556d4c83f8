#include "load/hist.h"

#include "base/check.h"

#define SUB (1u << WR_LOAD_HIST_BITS)

/* Below 2^7 each value has a bucket; from there on the 7 bits behind the first one count. */
static size_t bucket_of(uint64_t value) {
  if (value < SUB) return (size_t)value;
  if (value >> WR_LOAD_HIST_TOP) return WR_LOAD_HIST_BUCKETS - 1;
  unsigned shift = 63u - (unsigned)__builtin_clzll(value) - WR_LOAD_HIST_BITS;
  return ((size_t)(shift + 1) << WR_LOAD_HIST_BITS) + (size_t)((value >> shift) - SUB);
}

static uint64_t upper_of(size_t bucket) {
  if (bucket < SUB) return bucket;
  unsigned shift = (unsigned)(bucket >> WR_LOAD_HIST_BITS) - 1;
  uint64_t first = (uint64_t)(SUB + (bucket & (SUB - 1))) << shift;
  return first + ((uint64_t)1 << shift) - 1;
}

void wr_load_hist_add(struct wr_load_hist *h, uint64_t value) {
  size_t bucket = bucket_of(value);
  WR_DCHECK(bucket < WR_LOAD_HIST_BUCKETS);
  if (h->count == 0 || value < h->min) h->min = value;
  if (value > h->max) h->max = value;
  h->count++;
  h->sum += value;
  h->buckets[bucket]++;
}

uint64_t wr_load_hist_at(const struct wr_load_hist *h, double q) {
  if (h->count == 0) return 0;
  double rank = q * (double)h->count;
  uint64_t want = (uint64_t)rank, seen = 0;
  if ((double)want < rank) want++;
  if (want == 0) return h->min;
  for (size_t i = 0; i < WR_LOAD_HIST_BUCKETS; i++) {
    seen += h->buckets[i];
    if (seen < want) continue;
    uint64_t upper = upper_of(i);
    return upper < h->max ? upper : h->max;
  }
  return h->max;
}

/* Consistent hashing with bounded load: what has the same hash goes to the same place, and only
 * what was there moves when a place goes away. Each place draws a number from the hash and its own
 * name (rendezvous: the even spread of a ring with very many points, without the ring); the highest
 * takes it unless it holds a quarter more than its share of the streams, then the next. */
#include "base/hash.h"
#include "upstream/pick.h"

/* Hotter than this, in percent of the even share, and a place is passed over. */
#define BOUND_PERCENT 125u

static bool is_hot(const struct wr_pick_want *want, size_t i) {
  uint64_t streams = 1, weights = 0;
  for (size_t k = 0; k < want->count; k++) {
    if (!wr_pick_usable(want, k)) continue;
    streams += want->items[k].streams;
    weights += want->items[k].weight;
  }
  const struct wr_pick_item *it = &want->items[i];
  /* Rounded up: with few streams nobody is hot who has no more than one. */
  uint64_t share = (streams * it->weight * BOUND_PERCENT + weights * 100 - 1) / (weights * 100);
  return it->streams + 1u > share;
}

static size_t pick(struct wr_pick_memory *memory, const struct wr_pick_want *want) {
  if (want->hash == 0) return wr_pick_least_streams.pick(memory, want);
  uint64_t left = want->usable;
  size_t first = WR_PICK_MAX;
  while (left) {
    size_t best = WR_PICK_MAX;
    uint64_t most = 0;
    for (size_t i = 0; i < want->count; i++) {
      if (!(left >> i & 1u)) continue;
      uint64_t drawn = wr_hash_mix64(want->hash ^ wr_hash_mix64(want->items[i].id));
      if (best == WR_PICK_MAX || drawn > most) {
        best = i;
        most = drawn;
      }
    }
    if (first == WR_PICK_MAX) first = best;
    if (!is_hot(want, best)) return best;
    left &= ~(UINT64_C(1) << best);
  }
  return first;
}

const struct wr_pick_ops wr_pick_hash = { .name = "hash",
                                          .loads = true,
                                          .hashes = true,
                                          .pick = pick };

/* Smooth weighted round robin: in each turn everyone earns its weight, the richest goes and pays
 * what all have earned. 5, 1, 1 gives a a b a c a a. */
#include "upstream/pick.h"

static size_t pick(struct wr_pick_memory *memory, const struct wr_pick_want *want) {
  if (!memory->credits) return wr_pick_round_robin.pick(memory, want);
  size_t best = WR_PICK_MAX;
  int32_t earned = 0;
  for (size_t i = 0; i < want->count; i++) {
    if (!wr_pick_usable(want, i)) continue;
    memory->credits[i] += (int32_t)want->items[i].weight;
    earned += (int32_t)want->items[i].weight;
    if (best == WR_PICK_MAX || memory->credits[i] > memory->credits[best]) best = i;
  }
  memory->credits[best] -= earned;
  return best;
}

const struct wr_pick_ops wr_pick_weighted = { .name = "weighted", .pick = pick };

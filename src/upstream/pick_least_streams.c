/* The fewest streams for its weight; of equals the next in turn, so that idle peers share. */
#include "upstream/pick.h"

static size_t pick(struct wr_pick_memory *memory, const struct wr_pick_want *want) {
  size_t best = WR_PICK_MAX;
  for (size_t n = 0; n < want->count; n++) {
    size_t i = (memory->next + n) % want->count;
    if (!wr_pick_usable(want, i)) continue;
    const struct wr_pick_item *a = &want->items[i], *b = &want->items[best % WR_PICK_MAX];
    if (best == WR_PICK_MAX ||
        (uint64_t)a->streams * b->weight < (uint64_t)b->streams * a->weight)
      best = i;
  }
  memory->next = (uint32_t)((best + 1) % want->count);
  return best;
}

const struct wr_pick_ops wr_pick_least_streams = { .name = "least_streams",
                                                   .loads = true,
                                                   .pick = pick };

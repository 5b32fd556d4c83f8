#include "upstream/pick.h"

static size_t pick(struct wr_pick_memory *memory, const struct wr_pick_want *want) {
  (void)memory;
  return wr_pick_nth(want, (unsigned)wr_rand_below(want->rand, wr_pick_usable_count(want)));
}

const struct wr_pick_ops wr_pick_random = { .name = "random", .pick = pick };

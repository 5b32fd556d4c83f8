#include "upstream/pick.h"

static size_t pick(struct wr_pick_memory *memory, const struct wr_pick_want *want) {
  size_t i = memory->next % want->count;
  while (!wr_pick_usable(want, i)) i = (i + 1) % want->count;
  memory->next = (uint32_t)((i + 1) % want->count);
  return i;
}

const struct wr_pick_ops wr_pick_round_robin = { .name = "round_robin", .pick = pick };

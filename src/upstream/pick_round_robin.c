#include "base/check.h"
#include "upstream/pick.h"

static struct wr_peer *pick(struct wr_pick_set *set, uint64_t tried) {
  WR_DCHECK(set->count > 0);
  for (size_t n = 0; n < set->count; n++) {
    struct wr_peer *peer = &set->peers[set->next % set->count];
    set->next = (uint32_t)((set->next + 1) % set->count);
    if (!(tried >> peer->index & 1u)) return peer;
  }
  return NULL;
}

const struct wr_pick_ops wr_pick_round_robin = { "round_robin", pick };

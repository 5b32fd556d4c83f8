/* Power of two choices: of two that chance names, the one where a new stream should hear its first
 * token earlier: the moving average times the streams that it would share with. Taking the best of
 * all would send everybody to the same one until the average moves. */
#include "upstream/pick.h"

static bool is_better(const struct wr_pick_item *a, const struct wr_pick_item *b) {
  uint64_t cost_a = (uint64_t)a->streams + 1, cost_b = (uint64_t)b->streams + 1;
  if (a->first_token_us && b->first_token_us) { /* of an unknown one only the load counts */
    cost_a *= a->first_token_us;
    cost_b *= b->first_token_us;
  }
  return cost_a * b->weight < cost_b * a->weight;
}

static size_t pick(struct wr_pick_memory *memory, const struct wr_pick_want *want) {
  (void)memory;
  unsigned n = wr_pick_usable_count(want);
  unsigned first = (unsigned)wr_rand_below(want->rand, n);
  if (n == 1) return wr_pick_nth(want, 0);
  unsigned second = (first + 1 + (unsigned)wr_rand_below(want->rand, n - 1)) % n;
  size_t a = wr_pick_nth(want, first), b = wr_pick_nth(want, second);
  return is_better(&want->items[b], &want->items[a]) ? b : a;
}

const struct wr_pick_ops wr_pick_first_token = { .name = "first_token",
                                                 .loads = true,
                                                 .times = true,
                                                 .pick = pick };

#include "upstream/pick.h"

#include "base/check.h"

const struct wr_pick_ops *wr_pick_ops_of(enum wr_balance balance) {
  static const struct wr_pick_ops *const all[WR_BALANCES] = {
    [WR_BALANCE_ROUND_ROBIN] = &wr_pick_round_robin,
    [WR_BALANCE_WEIGHTED] = &wr_pick_weighted,
    [WR_BALANCE_LEAST_STREAMS] = &wr_pick_least_streams,
    [WR_BALANCE_FIRST_TOKEN] = &wr_pick_first_token,
    [WR_BALANCE_HASH] = &wr_pick_hash,
    [WR_BALANCE_RANDOM] = &wr_pick_random,
  };
  WR_DCHECK((unsigned)balance < WR_BALANCES);
  return all[balance];
}

unsigned wr_pick_usable_count(const struct wr_pick_want *want) {
  unsigned n = 0;
  for (uint64_t left = want->usable; left; left &= left - 1) n++;
  return n;
}

size_t wr_pick_nth(const struct wr_pick_want *want, unsigned n) {
  for (size_t i = 0; i < want->count; i++)
    if (wr_pick_usable(want, i) && n-- == 0) return i;
  WR_CHECK(false); /* The caller counted them. */
  return 0;
}

#include "load/fault.h"

#include "base/check.h"

static const struct {
  const char *name;    /* static */
  const char *meaning; /* static */
} rows[WR_LOAD_FAULTS] = {
#define X(id, name, meaning) { name, meaning },
  WR_LOAD_FAULT_LIST(X)
#undef X
};

const char *wr_load_fault_name(enum wr_load_fault kind) {
  WR_CHECK(kind < WR_LOAD_FAULTS);
  return rows[kind].name;
}

const char *wr_load_fault_meaning(enum wr_load_fault kind) {
  WR_CHECK(kind < WR_LOAD_FAULTS);
  return rows[kind].meaning;
}

/* A tag of 0 or 1 was set where the server was started, and says nothing of the request. */
#define TAGS_SHARED 2

static void pass(struct wr_load_order *o, uint32_t number, uint64_t *counts) {
  uint32_t gap = number - o->next;
  counts[WR_LOAD_LOST] += gap;
  o->missing = gap < 63 ? o->missing << (gap + 1) : 0;
  uint32_t marks = gap < 63 ? gap : 63;
  o->missing |= (((uint64_t)1 << marks) - 1) << 1;
  o->next = number + 1;
}

void wr_load_order_see(struct wr_load_order *o, const struct wr_mock_stamp *stamp, uint32_t tag,
                       uint64_t *counts) {
  if (!stamp->intact) counts[WR_LOAD_CHANGED]++;
  if (stamp->tag != tag && stamp->tag >= TAGS_SHARED) {
    counts[WR_LOAD_MIXED]++;
    return;
  }
  if (stamp->last) o->ended = true;
  if (stamp->number == o->next) {
    o->next++;
    o->missing <<= 1;
  } else if (stamp->number > o->next) {
    pass(o, stamp->number, counts);
  } else {
    uint32_t back = o->next - 1 - stamp->number;
    uint64_t bit = back < 64 ? (uint64_t)1 << back : 0;
    bool was_lost = (o->missing & bit) != 0;
    counts[was_lost ? WR_LOAD_LATE : WR_LOAD_REPEATED]++;
    if (was_lost) counts[WR_LOAD_LOST]--;
    o->missing &= ~bit;
  }
}

void wr_load_order_skip(struct wr_load_order *o) {
  o->next++;
  o->missing <<= 1;
}

void wr_load_order_end(struct wr_load_order *o, uint64_t *counts) {
  if (!o->ended) counts[WR_LOAD_LOST]++;
}

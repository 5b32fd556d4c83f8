/* pick.h: which peer gets a request. One small file an algorithm behind one vtable (pick_*.c). */
#ifndef WR_UPSTREAM_PICK_H
#define WR_UPSTREAM_PICK_H

#include <stddef.h>
#include <stdint.h>

#include "upstream/peer.h"

/* The peers of one upstream, and what the algorithm remembers of them. */
struct wr_pick_set {
  struct wr_peer *peers; /* borrowed: the worker's set */
  size_t count;
  uint32_t next;         /* round robin's memory */
};

struct wr_pick_ops {
  const char *name; /* borrowed: static */
  /* A peer whose bit (1 << index) is not in `tried`, or NULL. */
  struct wr_peer *(*pick)(struct wr_pick_set *set, uint64_t tried);
};

extern const struct wr_pick_ops wr_pick_round_robin;

#endif

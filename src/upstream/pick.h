/* pick.h: which of several gets a request: of the peers of an upstream, or of the members of a
 * group. One small file an algorithm behind one vtable (pick_*.c).
 *
 * To add one: a file with its ops, a row in pick.c, a word in conf/schema_tables.c. Loop thread. */
#ifndef WR_UPSTREAM_PICK_H
#define WR_UPSTREAM_PICK_H

#include <stddef.h>
#include <stdint.h>

#include "base/rand.h"
#include "conf/conf.h"

#define WR_PICK_MAX 64u

struct wr_pick_item {
  uint64_t id;             /* a hash of its name: the same on every worker and after a reload */
  uint32_t weight;         /* at least 1 */
  uint32_t streams;        /* that run there now, over all workers */
  uint32_t first_token_us; /* moving average; 0: not known */
};

struct wr_pick_want {
  const struct wr_pick_item *items; /* borrowed: the call */
  size_t count;                     /* 1 .. WR_PICK_MAX */
  uint64_t usable;                  /* bit an item; never 0 */
  uint64_t hash;                    /* of what is to stay together; 0: nothing is */
  struct wr_rand *rand;             /* borrowed: the set's */
};

/* What an algorithm remembers of one upstream or group. Zeroed is ready. */
struct wr_pick_memory {
  uint32_t next;    /* round robin: whose turn it is */
  int32_t *credits; /* owned by the set; weighted: one an item; NULL elsewhere */
};

struct wr_pick_ops {
  const char *name; /* borrowed: static */
  /* Bits of wr_pick_item that are read: what isn't needn't be filled. */
  bool loads, times, hashes;
  /* The index of a usable item. */
  size_t (*pick)(struct wr_pick_memory *memory, const struct wr_pick_want *want);
};

extern const struct wr_pick_ops wr_pick_round_robin, wr_pick_weighted, wr_pick_least_streams,
    wr_pick_first_token, wr_pick_hash, wr_pick_random;

/* That of a configuration's word. */
const struct wr_pick_ops *wr_pick_ops_of(enum wr_balance balance);

static inline bool wr_pick_usable(const struct wr_pick_want *want, size_t i) {
  return want->usable >> i & 1u;
}
/* The n-th usable item, n below their number. */
size_t wr_pick_nth(const struct wr_pick_want *want, unsigned n);
unsigned wr_pick_usable_count(const struct wr_pick_want *want);

#endif

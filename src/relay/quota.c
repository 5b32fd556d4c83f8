#include "relay/quota.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/rand.h"

#define WAYS 8u
#define SETS (WR_QUOTA_ENTRIES / WAYS)
#define STREAM_BITS 24u
#define STREAMS ((UINT64_C(1) << STREAM_BITS) - 1)
#define TRIES 16u

/* owner: 40 bits of the name, 24 bits of open streams; 0: nobody. Both change by one exchange, so
 * that an entry with streams can't be given to another. */
struct entry {
  _Atomic uint64_t owner;
  _Atomic uint64_t full_us; /* when the bucket is full again */
};

struct wr_quotas {
  uint8_t secret[16];
  _Atomic uint64_t evicted;
  struct entry entries[WR_QUOTA_ENTRIES];
};

const char *wr_quota_name(enum wr_quota limit) {
  static const char *const names[WR_QUOTAS] = {
    [WR_QUOTA_LISTEN_STREAMS] = "listener_streams", [WR_QUOTA_LISTEN_RATE] = "listener_rate",
    [WR_QUOTA_ADDRESS_STREAMS] = "address_streams", [WR_QUOTA_ADDRESS_RATE] = "address_rate",
    [WR_QUOTA_KEY_STREAMS] = "key_streams",         [WR_QUOTA_KEY_RATE] = "key_rate",
  };
  WR_DCHECK((unsigned)limit < WR_QUOTAS);
  return names[limit];
}

struct wr_quotas *wr_quotas_new(void) {
  struct wr_quotas *l = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *l);
  if (l && wr_rand_system_bytes(l->secret, sizeof l->secret) != WR_OK) {
    wr_heap_free(WR_HEAP_RELAY, l);
    return NULL;
  }
  return l;
}

void wr_quotas_free(struct wr_quotas *l) { wr_heap_free(WR_HEAP_RELAY, l); }

uint64_t wr_quotas_evicted(const struct wr_quotas *l) {
  return atomic_load_explicit(&l->evicted, memory_order_relaxed);
}

uint64_t wr_quotas_name(const struct wr_quotas *l, char what, struct wr_span place,
                        struct wr_span whom) {
  char text[320];
  struct wr_buf buf;
  wr_buf_init(&buf, text, sizeof text);
  wr_buf_char(&buf, what);
  wr_buf_char(&buf, (char)(place.len < 128 ? place.len : 128));
  wr_buf_put(&buf, wr_span_sub(place, 0, place.len < 128 ? place.len : 128));
  wr_buf_put(&buf, wr_span_sub(whom, 0, whom.len < 128 ? whom.len : 128));
  WR_DCHECK(!buf.overflow);
  return wr_siphash(l->secret, wr_buf_span(&buf));
}

static uint64_t tag_of(uint64_t name) {
  uint64_t tag = name & ~STREAMS;
  return tag ? tag : STREAMS + 1; /* 0 is nobody's */
}

static struct entry *set_of(struct wr_quotas *l, uint64_t name) {
  return &l->entries[(name & (SETS - 1)) * WAYS];
}

static struct entry *find(struct entry *set, uint64_t tag) {
  for (unsigned i = 0; i < WAYS; i++)
    if ((atomic_load_explicit(&set[i].owner, memory_order_relaxed) & ~STREAMS) == tag)
      return &set[i];
  return NULL;
}

/* Gives a place to a name: a free one, or that of the one without streams whose bucket is full
 * first. NULL: all have streams. */
static struct entry *claim(struct wr_quotas *l, struct entry *set, uint64_t tag, uint64_t now_us) {
  for (unsigned n = 0; n < TRIES; n++) {
    struct entry *least = NULL, *known = find(set, tag);
    uint64_t least_us = 0, least_owner = 0;
    if (known) return known; /* another thread was here first */
    for (unsigned i = 0; i < WAYS; i++) {
      uint64_t owner = atomic_load_explicit(&set[i].owner, memory_order_relaxed);
      uint64_t us = atomic_load_explicit(&set[i].full_us, memory_order_relaxed);
      if (owner == 0) us = 0;
      if (owner & STREAMS || (least && us >= least_us)) continue;
      least = &set[i];
      least_us = us;
      least_owner = owner;
    }
    if (!least) break;
    if (!atomic_compare_exchange_weak_explicit(&least->owner, &least_owner, tag,
                                               memory_order_relaxed, memory_order_relaxed))
      continue;
    if (least_us > now_us) atomic_fetch_add_explicit(&l->evicted, 1, memory_order_relaxed);
    atomic_store_explicit(&least->full_us, 0, memory_order_relaxed);
    /* Two threads may each have found a place for the same name: the first place counts. */
    struct entry *first = find(set, tag);
    if (!first || first == least) return least;
    uint64_t mine = tag;
    (void)atomic_compare_exchange_strong_explicit(&least->owner, &mine, 0, memory_order_relaxed,
                                                  memory_order_relaxed);
    return first;
  }
  atomic_fetch_add_explicit(&l->evicted, 1, memory_order_relaxed);
  return NULL;
}

static struct entry *entry_of(struct wr_quotas *l, uint64_t name, uint64_t now_us) {
  struct entry *set = set_of(l, name), *e = find(set, tag_of(name));
  return e ? e : claim(l, set, tag_of(name), now_us);
}

bool wr_quotas_take(struct wr_quotas *l, uint64_t name, uint32_t per_second, uint64_t now_us,
                    uint64_t *retry_ms) {
  WR_CHECK(per_second > 0);
  struct entry *e = entry_of(l, name, now_us);
  if (!e) return true;
  /* In microseconds, as nobody's limit is above a million a second. */
  uint64_t each_us = 1000000u / per_second, burst_us = 1000000u;
  uint64_t full_us = atomic_load_explicit(&e->full_us, memory_order_relaxed), next_us;
  do {
    next_us = (full_us > now_us ? full_us : now_us) + each_us;
    if (next_us > now_us + burst_us) {
      *retry_ms = (next_us - now_us - burst_us + 999) / 1000;
      return false;
    }
  } while (!atomic_compare_exchange_weak_explicit(&e->full_us, &full_us, next_us,
                                                  memory_order_relaxed, memory_order_relaxed));
  return true;
}

bool wr_quotas_enter(struct wr_quotas *l, uint64_t name, uint32_t most, uint64_t now_us,
                     uint32_t *entry) {
  WR_CHECK(most > 0);
  *entry = WR_QUOTA_NONE;
  for (unsigned n = 0; n < TRIES; n++) {
    struct entry *e = entry_of(l, name, now_us);
    if (!e) return true;
    uint64_t owner = atomic_load_explicit(&e->owner, memory_order_relaxed);
    while ((owner & ~STREAMS) == tag_of(name)) { /* as long as it is still its place */
      uint64_t streams = owner & STREAMS;
      if (streams >= most) return false;
      if (streams == STREAMS) return true;
      if (atomic_compare_exchange_weak_explicit(&e->owner, &owner, owner + 1, memory_order_relaxed,
                                                memory_order_relaxed)) {
        *entry = (uint32_t)(e - l->entries);
        return true;
      }
    }
  }
  return true;
}

void wr_quotas_leave(struct wr_quotas *l, uint32_t entry) {
  if (entry == WR_QUOTA_NONE) return;
  WR_CHECK(entry < WR_QUOTA_ENTRIES);
  uint64_t before =
      atomic_fetch_sub_explicit(&l->entries[entry].owner, 1, memory_order_relaxed);
  WR_CHECK((before & STREAMS) > 0);
}

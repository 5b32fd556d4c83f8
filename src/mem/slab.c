#include "mem/slab.h"

#include <string.h>

#include "base/heap.h"
#include "base/probe.h"
#include "mem/poison.h"
#include "mem/slab_priv.h"

#define TRIM_MOST 32u /* slabs a call */
#define BATCH_MAX_BYTES (16u << 10)
#define SPARES_PER_CLASS 1u
/* Freed blocks of a class that the next allocations take without a look at their slabs: so many,
 * and not more bytes than this. They go back to their slabs when memory is short, and by
 * wr_slabs_trim. */
#define STASH_BLOCKS 32u
#define STASH_BYTES (64u << 10)

/* Debug switches and the address sanitizer want to see each block pass: then there is no short
 * way. */
#ifdef WR_POISON_ASAN
#define WATCHED true
#else
#define WATCHED atomic_load_explicit(&wr_mem_debug_on, memory_order_relaxed)
#endif

static uint32_t slab_index(const struct wr_slabs *s, const struct wr_block *b) {
  return (uint32_t)((size_t)(b->data - s->base) >> s->slab_shift);
}

static uint32_t record_index(const struct wr_slabs *s, const struct wr_slab *slab) {
  return (uint32_t)(slab - s->records);
}

static size_t class_bytes(unsigned cls) { return (size_t)WR_BLOCK_MIN_BYTES << cls; }

unsigned wr_slab_class(size_t bytes) {
  if (bytes <= WR_BLOCK_MIN_BYTES) return 0;
  return (unsigned)(64 - 8 - __builtin_clzll((unsigned long long)bytes - 1));
}

/* --- The ledger: counted here in plain integers, published in batches. */

static void publish(struct wr_slabs *s) {
  wr_ledger_publish(s->ledger, s->live, s->published);
  s->unpublished = 0;
}

/* A block came (bytes > 0) or went (its bytes, wrapped below zero). True when the total has drifted
 * by more than a batch in either direction: time to publish. */
static inline bool count(struct wr_slabs *s, unsigned charge, size_t bytes) {
  s->live[charge] += bytes;
  size_t drift = s->unpublished += bytes;
  return __builtin_expect(drift + s->batch_bytes > 2 * s->batch_bytes, 0);
}

/* --- Slabs: from the depot and back. */

static void slab_adopt(struct wr_slabs *s, uint32_t index, unsigned cls) {
  struct wr_slab *slab = &s->records[index];
  slab->free = NULL;
  slab->used = slab->carved = 0;
  slab->cls = cls;
  slab->total = (uint32_t)((size_t)1 << s->slab_shift >> (8 + cls));
  WR_CHECK(slab->total > 0);
  wr_list_push_front(&s->cls[cls].partial, &slab->link);
  s->cls[cls].empty++;
}

/* The slab leaves its list and goes to the depot; its blocks are all free or given up. */
static void slab_return(struct wr_slabs *s, struct wr_slab *slab) {
  wr_list_remove(&slab->link);
  wr_depot_give(s->depot, record_index(s, slab));
}

static bool spares_return(struct wr_slabs *s) {
  bool any = false;
  for (unsigned c = 0; c < s->classes; c++) {
    struct wr_list *head = &s->cls[c].partial;
    while (s->cls[c].empty > 0) {
      struct wr_slab *slab = WR_CONTAINER(head->prev, struct wr_slab, link);
      WR_CHECK(head->prev != head && slab->used == 0);
      s->cls[c].empty--;
      slab_return(s, slab);
      any = true;
    }
  }
  return any;
}

/* Classes that may be refused leave the last slabs of the depot to those that may not: bytes in use
 * don't show how many slabs are broken into. */
static bool slab_take(struct wr_slabs *s, unsigned cls, enum wr_charge charge) {
  size_t kept = s->depot->slab_count * (1000 - wr_ledger_ceiling(charge)) / 1000;
  if (wr_depot_free_slabs(s->depot) <= kept) return false;
  uint32_t index = wr_depot_take(s->depot);
  if (index == UINT32_MAX) return false;
  slab_adopt(s, index, cls);
  return true;
}

/* --- Blocks. */

/* The slab was full, or is empty now, or somebody watches. Kept out of line, as its twin below,
 * so that the common path saves no registers. */
static __attribute__((noinline)) void release_edge(struct wr_slabs *s, struct wr_slab *slab,
                                                   struct wr_block *b) {
  struct class_lists *lists = &s->cls[slab->cls];
  if (WATCHED) wr_mem_debug_freed(b);
  wr_poison(b->data, b->cap);
  if (slab->free == NULL && slab->carved == slab->total) { /* was full */
    wr_list_remove(&slab->link);
    wr_list_push_front(&lists->partial, &slab->link);
  }
  b->next = slab->free;
  slab->free = b;
  if (--slab->used > 0) return;
  if (lists->empty >= SPARES_PER_CLASS) {
    slab_return(s, slab);
    return;
  }
  lists->empty++;
  if (slab->link.next == &lists->partial) return; /* the last already */
  wr_list_remove(&slab->link);
  wr_list_push_back(&lists->partial, &slab->link);
}

/* Back to its slab. */
static void give_back(struct wr_slabs *s, struct wr_block *b) {
  struct wr_slab *slab = &s->records[slab_index(s, b)];
  WR_DCHECK(slab->used > 0 && slab->cls == b->cls);
  bool common = slab->used > 1 && (slab->free || slab->carved < slab->total);
  if (__builtin_expect(common && !WATCHED, 1)) {
    b->next = slab->free;
    slab->free = b;
    slab->used--;
  } else {
    release_edge(s, slab, b);
  }
}

/* What is not the common path stands out of line and comes last, so that the common path saves no
 * registers. */
static __attribute__((noinline)) void release_slow(struct wr_slabs *s, struct wr_block *b) {
  struct class_lists *lists = &s->cls[b->cls];
  if (s->unpublished + s->batch_bytes > 2 * s->batch_bytes) publish(s);
  if (WATCHED || lists->stash_room == 0) {
    if (WATCHED) wr_mem_told(false, b);
    give_back(s, b);
    return;
  }
  b->next = lists->stash;
  lists->stash = b;
  lists->stash_room--;
}

void wr_block_release(struct wr_block *b) {
  struct wr_slabs *s = b->owner;
  WR_CHECK(b->magic == WR_BLOCK_MAGIC && b->refs == 0);
  struct class_lists *lists = &s->cls[b->cls];
  WR_PROBE2(block_put, b->cap, b->charge);
  b->magic = 0;
  /* Now: with its slab, b may become another worker's. */
  if (count(s, b->charge, (size_t)0 - b->cap) ||
      __builtin_expect(lists->stash_room == 0 || WATCHED, 0)) {
    release_slow(s, b);
    return;
  }
  b->next = lists->stash;
  lists->stash = b;
  lists->stash_room--;
}

/* True when any block went back to its slab. */
static bool stash_flush(struct wr_slabs *s) {
  bool any = false;
  for (unsigned c = 0; c < s->classes; c++) {
    struct class_lists *lists = &s->cls[c];
    while (lists->stash) {
      struct wr_block *b = lists->stash;
      lists->stash = b->next;
      lists->stash_room++;
      give_back(s, b);
      any = true;
    }
    WR_CHECK(lists->stash_room == lists->stash_most);
  }
  return any;
}

static void remote_collect(struct wr_slabs *s) {
  if (atomic_load_explicit(&s->remote, memory_order_relaxed) == NULL) return;
  struct wr_block *b = atomic_exchange_explicit(&s->remote, NULL, memory_order_acquire);
  while (b) {
    struct wr_block *next = b->next;
    WR_CHECK(b->owner == s && b->magic == WR_BLOCK_MAGIC && b->refs == 1);
    wr_block_unref(b);
    b = next;
  }
}

void wr_block_give_remote(struct wr_block *b) {
  WR_CHECK(b->magic == WR_BLOCK_MAGIC && b->refs == 1);
  struct wr_slabs *s = b->owner;
  struct wr_block *head = atomic_load_explicit(&s->remote, memory_order_relaxed);
  do b->next = head;
  while (!atomic_compare_exchange_weak_explicit(&s->remote, &head, b, memory_order_release,
                                                memory_order_relaxed));
}

/* The next block of the first slab in a partial list that isn't empty. */
static struct wr_block *block_pop(struct wr_slabs *s, unsigned cls) {
  struct class_lists *lists = &s->cls[cls];
  struct wr_slab *slab = WR_CONTAINER(lists->partial.next, struct wr_slab, link);
  struct wr_block *b = slab->free;
  bool used_before = b != NULL;
  if (used_before) {
    slab->free = b->next;
  } else {
    size_t index = record_index(s, slab);
    b = wr_depot_blocks(s->depot, index) + slab->carved;
    b->data = s->base + (index << s->slab_shift) + slab->carved * class_bytes(cls);
    b->cap = (uint32_t)class_bytes(cls);
    b->cls = (uint8_t)cls;
    slab->carved++;
  }
  WR_DCHECK(!used_before || (b->magic == 0 && b->cls == cls));
  if (slab->used++ == 0) lists->empty--;
  if (slab->free == NULL && slab->carved == slab->total) {
    wr_list_remove(&slab->link);
    wr_list_push_back(&lists->full, &slab->link);
  }
  wr_unpoison(b->data, b->cap);
  if (__builtin_expect(WATCHED, 0)) wr_mem_debug_taken(b, used_before);
  return b;
}

/* What to try when the class has no block: what other threads freed, the depot, our spare slabs,
 * and at last a larger block than was asked for. The class that has one, or WR_SLAB_CLASSES. */
static unsigned refill(struct wr_slabs *s, unsigned cls, enum wr_charge charge) {
  remote_collect(s);
  if (!wr_list_empty(&s->cls[cls].partial)) return cls;
  if (slab_take(s, cls, charge)) return cls;
  if (stash_flush(s) && !wr_list_empty(&s->cls[cls].partial)) return cls;
  if (spares_return(s) && slab_take(s, cls, charge)) return cls;
  for (unsigned c = cls; c < s->classes; c++)
    if (!wr_list_empty(&s->cls[c].partial)) return c;
  return WR_SLAB_CLASSES;
}

static inline bool admitted(const struct wr_slabs *s, unsigned cls, enum wr_charge charge) {
  return wr_ledger_fits(s->ledger, charge, s->unpublished + class_bytes(cls));
}

/* The general way to a block; the common one below is a shorter spelling of it. */
static __attribute__((noinline)) struct wr_block *block_find(struct wr_slabs *s, unsigned cls,
                                                             enum wr_charge charge) {
  if (WATCHED && wr_mem_debug_must_fail()) return NULL;
  if (admitted(s, cls, charge)) {
    if (wr_list_empty(&s->cls[cls].partial)) cls = refill(s, cls, charge);
    if (cls < WR_SLAB_CLASSES) return block_pop(s, cls);
  }
  wr_ledger_refused(s->ledger, charge);
  return NULL;
}

static inline bool hand_out(struct wr_slabs *s, struct wr_block *b, enum wr_charge charge) {
  b->refs = 1;
  b->magic = WR_BLOCK_MAGIC;
  b->charge = (uint8_t)charge;
  return count(s, charge, b->cap);
}

static __attribute__((noinline)) struct wr_block *alloc_slow(struct wr_slabs *s, unsigned cls,
                                                             enum wr_charge charge,
                                                             const void *caller) {
  struct wr_block *b = block_find(s, cls, charge);
  if (!b) return NULL;
  b->owner = s;
  b->next = NULL;
  b->tag = 0;
  if (hand_out(s, b, charge)) publish(s);
  if (WATCHED) {
    wr_mem_debug_tag(b, caller);
    wr_mem_told(true, b);
  }
  return b;
}

static __attribute__((noinline)) struct wr_block *published(struct wr_slabs *s,
                                                            struct wr_block *b) {
  publish(s);
  return b;
}

struct wr_block *wr_slabs_alloc(struct wr_slabs *s, size_t min_bytes, enum wr_charge charge) {
  WR_DCHECK(s->magic == WR_SLABS_MAGIC);
  WR_DCHECK((unsigned)charge < WR_CHARGES && charge != WR_CHARGE_LUA);
  if (!WR_EXPECT(min_bytes - 1 < s->max_block)) return NULL; /* 0 wraps */
  unsigned cls = wr_slab_class(min_bytes);
  struct class_lists *lists = &s->cls[cls];
  struct wr_block *b = lists->stash;
  if (__builtin_expect(!b || WATCHED || !admitted(s, cls, charge), 0))
    return alloc_slow(s, cls, charge, __builtin_return_address(0));
  lists->stash = b->next;
  lists->stash_room++;
  WR_PROBE2(block_get, b->cap, charge);
  return hand_out(s, b, charge) ? published(s, b) : b;
}

void wr_block_recharge(struct wr_block *b, enum wr_charge charge) {
  WR_CHECK(b->magic == WR_BLOCK_MAGIC && (unsigned)charge < WR_CHARGES);
  WR_CHECK(charge != WR_CHARGE_LUA);
  struct wr_slabs *s = b->owner;
  s->live[b->charge] -= b->cap;
  s->live[charge] += b->cap;
  b->charge = (uint8_t)charge;
}

/* --- The set. */

enum wr_err wr_slabs_new(struct wr_depot *depot, struct wr_ledger *ledger, struct wr_slabs **out) {
  WR_CHECK(depot && ledger);
  struct wr_slabs *s = wr_heap_zalloc(WR_HEAP_MEM, sizeof *s);
  if (!s) return WR_E_NOMEM;
  s->magic = WR_SLABS_MAGIC;
  s->slab_shift = depot->slab_shift;
  s->base = depot->base;
  s->records = depot->slabs;
  s->depot = depot;
  s->ledger = ledger;
  s->batch_bytes = depot->slab_bytes * depot->slab_count / 64;
  if (s->batch_bytes > BATCH_MAX_BYTES) s->batch_bytes = BATCH_MAX_BYTES;
  s->max_block = depot->slab_bytes;
  s->classes = wr_slab_class(s->max_block) + 1;
  WR_CHECK(s->classes <= WR_SLAB_CLASSES);
  for (unsigned c = 0; c < WR_SLAB_CLASSES; c++) {
    wr_list_init(&s->cls[c].partial);
    wr_list_init(&s->cls[c].full);
    size_t most = STASH_BYTES / class_bytes(c);
    if (STASH_BYTES > s->batch_bytes * 4) most = s->batch_bytes / class_bytes(c);
    s->cls[c].stash_most = (uint32_t)(most < STASH_BLOCKS ? most : STASH_BLOCKS);
    s->cls[c].stash_room = s->cls[c].stash_most;
  }
  *out = s;
  return WR_OK;
}

/* Blocks that live still are taken from their holders: a clean end has none. */
static void lists_return(struct wr_slabs *s, struct wr_list *head) {
  while (!wr_list_empty(head)) {
    struct wr_slab *slab = WR_CONTAINER(head->next, struct wr_slab, link);
    wr_poison(wr_depot_base(s->depot, record_index(s, slab)), s->max_block);
    slab_return(s, slab);
  }
}

size_t wr_slabs_free(struct wr_slabs *s) {
  if (!s) return 0;
  WR_MAGIC_CHECK(s, WR_SLABS_MAGIC);
  remote_collect(s);
  (void)stash_flush(s);
  size_t left = wr_slabs_live_blocks(s);
  for (unsigned c = 0; c < s->classes; c++) {
    lists_return(s, &s->cls[c].partial);
    lists_return(s, &s->cls[c].full);
  }
  memset(s->live, 0, sizeof s->live);
  publish(s);
  s->magic = 0;
  wr_heap_free(WR_HEAP_MEM, s);
  return left;
}

void wr_slabs_tick(struct wr_slabs *s) {
  WR_MAGIC_CHECK(s, WR_SLABS_MAGIC);
  remote_collect(s);
  if (memcmp(s->live, s->published, sizeof s->live) != 0) publish(s);
}

size_t wr_slabs_trim(struct wr_slabs *s) {
  WR_MAGIC_CHECK(s, WR_SLABS_MAGIC);
  (void)stash_flush(s);
  (void)spares_return(s);
  return wr_depot_trim(s->depot, 0, TRIM_MOST);
}

size_t wr_slabs_max_block(const struct wr_slabs *s) { return s->max_block; }
static size_t used_in(struct wr_list *head) {
  size_t used = 0;
  for (struct wr_list *l = head->next; l != head; l = l->next)
    used += WR_CONTAINER(l, struct wr_slab, link)->used;
  return used;
}

size_t wr_slabs_live_blocks(struct wr_slabs *s) {
  size_t used = 0;
  for (unsigned c = 0; c < s->classes; c++) {
    struct class_lists *lists = &s->cls[c];
    used += used_in(&lists->partial) + used_in(&lists->full);
    used -= lists->stash_most - lists->stash_room;
  }
  return used;
}
size_t wr_slabs_live_bytes(const struct wr_slabs *s) {
  size_t total = 0;
  for (unsigned c = 0; c < WR_CHARGES; c++) total += s->live[c];
  return total;
}
struct wr_ledger *wr_slabs_ledger(struct wr_slabs *s) { return s->ledger; }

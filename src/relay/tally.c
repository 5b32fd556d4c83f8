#include "relay/tally.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/rand.h"

#define TALLY_MAGIC 0x7a111e5u
#define TALLIES_MAGIC 0x7a111e6u
#define NONE UINT32_MAX
/* The holder has a few dozen instructions to do; if it takes longer, it doesn't run. */
#define SPINS 100

struct entry {
  uint64_t tag;
  int64_t value;
  uint32_t window;
  uint32_t next;         /* of the same head */
  uint32_t newer, older; /* in the order of use */
};

struct wr_tally {
  uint32_t magic;
  enum wr_tally_kind kind;
  char name[WR_TALLY_NAME_MAX_BYTES + 1];
  uint32_t window_ms, keys;
  bool begins_on;
  struct wr_tallies *all; /* borrowed: outlives it */
  _Atomic uint32_t refs;
  _Atomic bool on;
  atomic_flag lock; /* all below */
  uint32_t used, newest, oldest, mask;
  uint64_t evictions;
  uint32_t *heads;       /* owned: mask + 1 of them */
  struct entry *entries; /* owned: `keys` of them */
};

struct wr_tallies {
  uint32_t magic;
  uint8_t key[16];
  uint64_t offset_us; /* from the callers' clock to 1970 */
  pthread_mutex_t lock; /* the list */
  struct wr_tally *list[WR_TALLIES_MAX]; /* owned */
  uint32_t count, entries;
};

const char *wr_tally_kind_name(enum wr_tally_kind kind) {
  static const char *const names[WR_TALLY_KINDS] = { "counter", "budget", "flag" };
  WR_CHECK(kind < WR_TALLY_KINDS);
  return names[kind];
}

enum wr_err wr_tallies_new(uint64_t wall_us, uint64_t mono_us, struct wr_tallies **out) {
  struct wr_tallies *all = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *all);
  if (!all) return WR_E_NOMEM;
  all->magic = TALLIES_MAGIC;
  all->offset_us = wall_us - mono_us;
  enum wr_err err = wr_rand_system_bytes(all->key, sizeof all->key);
  if (err != WR_OK) {
    wr_heap_free(WR_HEAP_RELAY, all);
    return err;
  }
  pthread_mutex_init(&all->lock, NULL);
  *out = all;
  return WR_OK;
}

static void tally_free(struct wr_tally *t) {
  WR_CHECK(atomic_load(&t->refs) == 0);
  t->magic = 0;
  wr_heap_free(WR_HEAP_RELAY, t->heads);
  wr_heap_free(WR_HEAP_RELAY, t->entries);
  wr_heap_free(WR_HEAP_RELAY, t);
}

void wr_tallies_free(struct wr_tallies *all) {
  if (!all) return;
  WR_MAGIC_CHECK(all, TALLIES_MAGIC);
  for (uint32_t i = 0; i < all->count; i++) tally_free(all->list[i]);
  pthread_mutex_destroy(&all->lock);
  all->magic = 0;
  wr_heap_free(WR_HEAP_RELAY, all);
}

static bool is_it(const struct wr_tally *t, const struct wr_tally_options *o) {
  return t->kind == o->kind && t->window_ms == o->window_ms && t->keys == o->keys &&
         t->begins_on == o->on && strcmp(t->name, o->name) == 0;
}

static void drop_at(struct wr_tallies *all, uint32_t i) {
  WR_CHECK(i < all->count);
  all->entries -= all->list[i]->keys;
  tally_free(all->list[i]);
  memmove(&all->list[i], &all->list[i + 1], (all->count - i - 1) * sizeof all->list[0]);
  all->count--;
}

/* Tallies that nobody declares any more go, the oldest first, until `keys` entries have room. */
static bool make_room(struct wr_tallies *all, uint32_t keys) {
  uint32_t i = 0;
  while (all->count == WR_TALLIES_MAX || all->entries + keys > WR_TALLY_ENTRIES_MAX) {
    while (i < all->count && atomic_load(&all->list[i]->refs) > 0) i++;
    if (i == all->count) return false;
    drop_at(all, i);
  }
  return true;
}

static struct wr_tally *tally_make(struct wr_tallies *all, const struct wr_tally_options *o) {
  struct wr_tally *t = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *t);
  if (!t) return NULL;
  t->magic = TALLY_MAGIC;
  t->kind = o->kind;
  memcpy(t->name, o->name, strlen(o->name) + 1);
  t->window_ms = o->window_ms;
  t->keys = o->keys;
  t->begins_on = o->on;
  t->all = all;
  t->newest = t->oldest = NONE;
  atomic_store(&t->on, o->on);
  atomic_flag_clear(&t->lock);
  if (o->keys == 0) return t;
  uint32_t heads = 1;
  while (heads < o->keys) heads *= 2;
  t->mask = heads - 1;
  t->heads = wr_heap_alloc(WR_HEAP_RELAY, heads * sizeof *t->heads);
  t->entries = wr_heap_zalloc(WR_HEAP_RELAY, o->keys * sizeof *t->entries);
  if (!t->heads || !t->entries) {
    tally_free(t);
    return NULL;
  }
  memset(t->heads, 0xff, heads * sizeof *t->heads);
  return t;
}

static enum wr_err find_or_make(struct wr_tallies *all, const struct wr_tally_options *o,
                                struct wr_tally **out) {
  for (uint32_t i = 0; i < all->count; i++) {
    if (!is_it(all->list[i], o)) continue;
    *out = wr_tally_ref(all->list[i]);
    return WR_OK;
  }
  if (!make_room(all, o->keys)) return WR_E_ARG;
  struct wr_tally *t = tally_make(all, o);
  if (!t) return WR_E_NOMEM;
  all->list[all->count++] = t;
  all->entries += t->keys;
  *out = wr_tally_ref(t);
  return WR_OK;
}

enum wr_err wr_tally_get(struct wr_tallies *all, const struct wr_tally_options *o,
                         struct wr_tally **out) {
  WR_MAGIC_CHECK(all, TALLIES_MAGIC);
  size_t len = strlen(o->name);
  WR_CHECK(len > 0 && len <= WR_TALLY_NAME_MAX_BYTES && o->keys <= WR_TALLY_KEYS_MAX);
  WR_CHECK((o->kind == WR_TALLY_FLAG) == (o->keys == 0));
  WR_CHECK(o->kind != WR_TALLY_BUDGET || o->window_ms > 0);
  pthread_mutex_lock(&all->lock);
  enum wr_err err = find_or_make(all, o, out);
  pthread_mutex_unlock(&all->lock);
  return err;
}

struct wr_tally *wr_tally_ref(struct wr_tally *t) {
  WR_MAGIC_CHECK(t, TALLY_MAGIC);
  atomic_fetch_add(&t->refs, 1);
  return t;
}

void wr_tally_put(struct wr_tally *t) {
  if (!t) return;
  WR_MAGIC_CHECK(t, TALLY_MAGIC);
  WR_CHECK(atomic_fetch_sub(&t->refs, 1) > 0);
}

uint64_t wr_tally_tag(const struct wr_tally *t, struct wr_span key) {
  uint64_t tag = wr_siphash(t->all->key, key);
  return tag ? tag : 1;
}

static void lock(struct wr_tally *t) {
  WR_MAGIC_CHECK(t, TALLY_MAGIC);
  for (unsigned n = 0; atomic_flag_test_and_set_explicit(&t->lock, memory_order_acquire); n++)
    if (n % SPINS == SPINS - 1) sched_yield();
}

static void unlock(struct wr_tally *t) {
  atomic_flag_clear_explicit(&t->lock, memory_order_release);
}

/* All below with the lock held. */

static uint64_t wall_ms(const struct wr_tally *t, uint64_t now_us) {
  return (now_us + t->all->offset_us) / 1000;
}

static uint32_t window_of(const struct wr_tally *t, uint64_t now_us) {
  return t->window_ms ? (uint32_t)(wall_ms(t, now_us) / t->window_ms) : 0;
}

static void unlink_use(struct wr_tally *t, uint32_t i) {
  struct entry *e = &t->entries[i];
  if (e->newer != NONE) t->entries[e->newer].older = e->older;
  else t->newest = e->older;
  if (e->older != NONE) t->entries[e->older].newer = e->newer;
  else t->oldest = e->newer;
}

static void push_newest(struct wr_tally *t, uint32_t i) {
  struct entry *e = &t->entries[i];
  e->newer = NONE;
  e->older = t->newest;
  if (t->newest != NONE) t->entries[t->newest].newer = i;
  else t->oldest = i;
  t->newest = i;
}

static uint32_t find(const struct wr_tally *t, uint64_t tag) {
  uint32_t i = t->heads[tag & t->mask];
  while (i != NONE && t->entries[i].tag != tag) i = t->entries[i].next;
  WR_DCHECK(i == NONE || i < t->used);
  return i;
}

/* Takes the entry that was used least recently out of its chain. What was counted in a window that
 * is over is no loss. */
static uint32_t evict(struct wr_tally *t, uint32_t window) {
  uint32_t i = t->oldest;
  WR_CHECK(i < t->used);
  uint32_t *at = &t->heads[t->entries[i].tag & t->mask];
  while (*at != i) at = &t->entries[*at].next;
  *at = t->entries[i].next;
  unlink_use(t, i);
  if (t->window_ms == 0 || t->entries[i].window >= window) t->evictions++;
  return i;
}

/* The entry of a tag in this window, made if it isn't there. A worker whose clock is a turn behind
 * doesn't bring a window back. */
static struct entry *entry_of(struct wr_tally *t, uint64_t tag, uint32_t window) {
  WR_CHECK(t->entries != NULL && tag != 0);
  uint32_t i = find(t, tag);
  struct entry *e;
  if (i != NONE) {
    e = &t->entries[i];
    if (i != t->newest) {
      unlink_use(t, i);
      push_newest(t, i);
    }
    if (e->window < window) {
      e->window = window;
      e->value = 0;
    }
    return e;
  }
  i = t->used < t->keys ? t->used++ : evict(t, window);
  e = &t->entries[i];
  e->tag = tag;
  e->value = 0;
  e->window = window;
  e->next = t->heads[tag & t->mask];
  t->heads[tag & t->mask] = i;
  push_newest(t, i);
  return e;
}

static int64_t sum(int64_t a, int64_t b) { return a > INT64_MAX - b ? INT64_MAX : a + b; }

int64_t wr_tally_add(struct wr_tally *t, uint64_t tag, int64_t n, uint64_t now_us) {
  WR_CHECK(n >= 0);
  lock(t);
  struct entry *e = entry_of(t, tag, window_of(t, now_us));
  int64_t value = e->value = sum(e->value, n);
  unlock(t);
  return value;
}

int64_t wr_tally_read(struct wr_tally *t, uint64_t tag, uint64_t now_us) {
  int64_t value = 0;
  lock(t);
  WR_CHECK(t->entries != NULL);
  uint32_t i = find(t, tag);
  if (i != NONE && t->entries[i].window >= window_of(t, now_us)) value = t->entries[i].value;
  unlock(t);
  return value;
}

void wr_tally_reserve(struct wr_tally *t, uint64_t tag, int64_t n, int64_t limit, uint64_t now_us,
                      struct wr_tally_grant *out) {
  WR_CHECK(t->kind == WR_TALLY_BUDGET && n >= 0);
  uint32_t window = window_of(t, now_us);
  lock(t);
  uint32_t i = find(t, tag);
  int64_t used = i != NONE && t->entries[i].window >= window ? t->entries[i].value : 0;
  out->ok = n <= limit && used <= limit - n;
  if (out->ok) { /* a refusal changes nothing, not even the order of use */
    struct entry *e = entry_of(t, tag, window);
    WR_DCHECK(e->value == used);
    e->value = used += n;
    window = e->window;
  }
  unlock(t);
  out->left = used < limit ? limit - used : 0;
  out->window = window;
  out->reset_ms = t->window_ms - wall_ms(t, now_us) % t->window_ms;
}

void wr_tally_settle(struct wr_tally *t, uint64_t tag, uint32_t window, int64_t reserved,
                     int64_t used) {
  WR_CHECK(t->kind == WR_TALLY_BUDGET && reserved >= 0 && used >= 0);
  lock(t);
  uint32_t i = find(t, tag);
  struct entry *e = i == NONE ? NULL : &t->entries[i];
  if (e && e->window == window)
    e->value = sum(e->value > reserved ? e->value - reserved : 0, used);
  unlock(t);
}

bool wr_tally_is_on(const struct wr_tally *t) {
  return atomic_load_explicit(&t->on, memory_order_relaxed);
}

bool wr_tallies_switch(struct wr_tallies *all, struct wr_span name, bool on) {
  bool found = false;
  WR_MAGIC_CHECK(all, TALLIES_MAGIC);
  pthread_mutex_lock(&all->lock);
  for (uint32_t i = 0; i < all->count; i++) {
    struct wr_tally *t = all->list[i];
    if (t->kind != WR_TALLY_FLAG || !wr_span_eq(name, wr_span_str(t->name))) continue;
    atomic_store_explicit(&t->on, on, memory_order_relaxed);
    found = true;
  }
  pthread_mutex_unlock(&all->lock);
  return found;
}

/* Of the same name with other options there may be two while an old configuration still runs. */
static bool is_declared(const struct wr_tallies *all, uint32_t i) {
  const struct wr_tally *t = all->list[i];
  if (atomic_load(&t->refs) == 0) return false;
  for (uint32_t k = i + 1; k < all->count; k++) {
    const struct wr_tally *o = all->list[k];
    if (o->kind == t->kind && strcmp(o->name, t->name) == 0 && atomic_load(&o->refs) > 0)
      return false;
  }
  return true;
}

void wr_tallies_each(struct wr_tallies *all,
                     void (*fn)(void *ctx, const struct wr_tally_info *info), void *ctx) {
  WR_MAGIC_CHECK(all, TALLIES_MAGIC);
  pthread_mutex_lock(&all->lock);
  for (uint32_t i = 0; i < all->count; i++) {
    struct wr_tally *t = all->list[i];
    struct wr_tally_info info = { .kind = t->kind, .name = t->name, .window_ms = t->window_ms,
                                  .keys = t->keys, .on = wr_tally_is_on(t),
                                  .declared = is_declared(all, i) };
    lock(t);
    info.used = t->used;
    info.evictions = t->evictions;
    unlock(t);
    fn(ctx, &info);
  }
  pthread_mutex_unlock(&all->lock);
}

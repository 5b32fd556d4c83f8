#include "base/heap.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Each allocation carries its size in front, so that live bytes are exact. 16 bytes keep the
 * alignment. */
struct prefix {
  size_t size;
  size_t tag;
};

static struct {
  _Atomic size_t bytes;
  _Atomic size_t count;
} live[WR_HEAP_TAGS];
static _Atomic uint64_t calls;
static _Atomic uint64_t fail_every;
static _Atomic uint64_t fail_left;

static const char *const names[WR_HEAP_TAGS] = { "base", "mem",    "conf",     "obs",
                                                 "net",  "tls",    "upstream", "relay",
                                                 "lua",  "server", "mock",     "cli" };

static bool must_fail(void) {
  uint64_t left = atomic_load_explicit(&fail_left, memory_order_relaxed);
  if (__builtin_expect(left == 0, 1)) return false;
  if (atomic_fetch_sub(&fail_left, 1) != 1) return false;
  atomic_store(&fail_left, atomic_load(&fail_every));
  return true;
}

static void account(size_t tag, size_t size) {
  atomic_fetch_add_explicit(&live[tag].bytes, size, memory_order_relaxed);
  atomic_fetch_add_explicit(&live[tag].count, 1, memory_order_relaxed);
}

static void unaccount(size_t tag, size_t size) {
  atomic_fetch_sub_explicit(&live[tag].bytes, size, memory_order_relaxed);
  atomic_fetch_sub_explicit(&live[tag].count, 1, memory_order_relaxed);
}

void *wr_heap_alloc(enum wr_heap_tag tag, size_t size) {
  WR_CHECK((unsigned)tag < WR_HEAP_TAGS);
  atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
  if (size > SIZE_MAX - sizeof(struct prefix) || must_fail()) return NULL;
  struct prefix *p = malloc(sizeof *p + size);
  if (!p) return NULL;
  p->size = size;
  p->tag = (size_t)tag;
  account((size_t)tag, size);
  return p + 1;
}

void *wr_heap_zalloc(enum wr_heap_tag tag, size_t size) {
  void *ptr = wr_heap_alloc(tag, size);
  if (ptr) memset(ptr, 0, size);
  return ptr;
}

void *wr_heap_realloc(enum wr_heap_tag tag, void *ptr, size_t size) {
  if (!ptr) return wr_heap_alloc(tag, size);
  struct prefix *p = (struct prefix *)ptr - 1;
  WR_CHECK(p->tag == (size_t)tag);
  size_t old = p->size;
  atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
  if (size > SIZE_MAX - sizeof *p || (size > old && must_fail())) return NULL;
  struct prefix *q = realloc(p, sizeof *q + size);
  if (!q) {
    if (size > old) return NULL;
    q = p; /* a shrink keeps the old room rather than fail */
  }
  unaccount((size_t)tag, old);
  q->size = size;
  account((size_t)tag, size);
  return q + 1;
}

char *wr_heap_strndup(enum wr_heap_tag tag, const char *ptr, size_t len) {
  char *copy = wr_heap_alloc(tag, len + 1);
  if (!copy) return NULL;
  if (len) memcpy(copy, ptr, len);
  copy[len] = '\0';
  return copy;
}

void wr_heap_free(enum wr_heap_tag tag, void *ptr) {
  if (!ptr) return;
  struct prefix *p = (struct prefix *)ptr - 1;
  WR_CHECK(p->tag == (size_t)tag);
  unaccount(p->tag, p->size);
  p->tag = WR_HEAP_TAGS; /* a second free finds no valid tag */
  free(p);
}

size_t wr_heap_size(const void *ptr) { return ((const struct prefix *)ptr - 1)->size; }

uint64_t wr_heap_calls(void) { return atomic_load_explicit(&calls, memory_order_relaxed); }

size_t wr_heap_live_bytes(enum wr_heap_tag tag) {
  return atomic_load_explicit(&live[tag].bytes, memory_order_relaxed);
}

size_t wr_heap_live_count(enum wr_heap_tag tag) {
  return atomic_load_explicit(&live[tag].count, memory_order_relaxed);
}

const char *wr_heap_tag_name(enum wr_heap_tag tag) {
  return (unsigned)tag < WR_HEAP_TAGS ? names[tag] : "?";
}

void wr_heap_fail_at(uint64_t n, bool every) {
  atomic_store(&fail_every, every ? n : 0);
  atomic_store(&fail_left, n);
}

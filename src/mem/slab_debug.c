#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "mem/slab_priv.h"

#define FILL 0xdb
#define GROUPS 64

#ifdef WR_DEBUG
#define DEFAULT_ON true
#else
#define DEFAULT_ON false
#endif

_Atomic bool wr_mem_debug_on = DEFAULT_ON;
static _Atomic(wr_mem_watch_fn) watch;
static struct wr_mem_debug debug = { .poison = DEFAULT_ON, .owners = DEFAULT_ON };
static _Atomic uint64_t allocs_left; /* until the one that fails; 0: none does */

static void switch_on(void) {
  atomic_store(&wr_mem_debug_on,
               debug.poison || debug.owners || debug.fail_nth > 0 || atomic_load(&watch) != NULL);
}

void wr_mem_debug_set(const struct wr_mem_debug *wanted) {
  debug = *wanted;
  atomic_store(&allocs_left, debug.fail_nth);
  switch_on();
}

void wr_mem_watch(wr_mem_watch_fn fn) {
  atomic_store(&watch, fn);
  switch_on();
}

void wr_mem_told(bool taken, const struct wr_block *b) {
  wr_mem_watch_fn fn = atomic_load_explicit(&watch, memory_order_relaxed);
  if (fn) fn(taken, b->cap);
}

bool wr_mem_debug_must_fail(void) {
  uint64_t left = atomic_load_explicit(&allocs_left, memory_order_relaxed);
  do
    if (left == 0) return false;
  while (!atomic_compare_exchange_weak(&allocs_left, &left,
                                       left == 1 && debug.fail_every ? debug.fail_nth : left - 1));
  return left == 1;
}

void wr_mem_debug_freed(struct wr_block *b) {
  if (debug.poison) memset(b->data, FILL, b->cap);
}

void wr_mem_debug_taken(struct wr_block *b, bool used_before) {
  if (!debug.poison || !used_before) return;
  for (uint32_t i = 0; i < b->cap; i++) {
    bool block_untouched_since_free = (unsigned char)b->data[i] == FILL;
    WR_CHECK(block_untouched_since_free);
  }
}

/* Where the linker puts the first byte of the program, or of the module: what a debugger knows is
 * the distance from it. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

void wr_mem_debug_tag(struct wr_block *b, const void *caller) {
  WR_DCHECK(b->magic == WR_BLOCK_MAGIC);
  if (debug.owners) b->tag = (uint32_t)((uintptr_t)caller - (uintptr_t)__ehdr_start);
}

struct group {
  uint32_t tag;
  uint8_t charge;
  size_t blocks;
  size_t bytes;
};

struct census {
  struct group groups[GROUPS];
  size_t count;
  struct group others; /* what found no group left */
};

static struct group *census_group(struct census *c, const struct wr_block *b) {
  for (size_t i = 0; i < c->count; i++)
    if (c->groups[i].tag == b->tag && c->groups[i].charge == b->charge) return &c->groups[i];
  if (c->count == GROUPS) return &c->others;
  struct group *g = &c->groups[c->count++];
  *g = (struct group){ b->tag, b->charge, 0, 0 };
  return g;
}

static void census_list(struct census *c, const struct wr_slabs *s, struct wr_list *head) {
  for (struct wr_list *l = head->next; l != head; l = l->next) {
    const struct wr_slab *slab = WR_CONTAINER(l, struct wr_slab, link);
    const struct wr_block *b = wr_depot_blocks(s->depot, (size_t)(slab - s->records));
    for (uint32_t i = 0; i < slab->carved; i++, b++) {
      if (b->magic != WR_BLOCK_MAGIC) continue;
      struct group *g = census_group(c, b);
      g->blocks++;
      g->bytes += b->cap;
    }
  }
}

static void census_line(const struct group *g, const char *name, wr_slabs_report_fn fn, void *ctx) {
  char line[128];
  struct wr_buf buf;
  wr_buf_init(&buf, line, sizeof line);
  wr_buf_printf(&buf, "charge=%s at=0x%" PRIx32 " blocks=%zu bytes=%zu", name, g->tag, g->blocks,
                g->bytes);
  WR_CHECK(wr_buf_room(&buf) > 0);
  wr_buf_char(&buf, '\0');
  fn(ctx, line);
}

void wr_slabs_report(struct wr_slabs *s, wr_slabs_report_fn fn, void *ctx) {
  WR_MAGIC_CHECK(s, WR_SLABS_MAGIC);
  struct census c;
  memset(&c, 0, sizeof c);
  for (unsigned i = 0; i < s->classes; i++) {
    census_list(&c, s, &s->cls[i].partial);
    census_list(&c, s, &s->cls[i].full);
  }
  for (size_t i = 0; i < c.count; i++)
    census_line(&c.groups[i], wr_charge_name((enum wr_charge)c.groups[i].charge), fn, ctx);
  if (c.others.blocks) census_line(&c.others, "others", fn, ctx);
}

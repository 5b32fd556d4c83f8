#include "mem/arena.h"

#include <string.h>

#define ALIGN 16u
#define FIRST_BLOCK_BYTES 256u
#define GROWTH_MAX_BYTES (4u << 10)

/* Stands at the beginning of each block. */
struct link {
  struct wr_block *next; /* owned: the rest of the chain */
};
#define LINK_BYTES ((sizeof(struct link) + ALIGN - 1) & ~(size_t)(ALIGN - 1))

static struct link *link_of(struct wr_block *b) { return (struct link *)(void *)b->data; }

void wr_arena_init(struct wr_arena *arena, struct wr_slabs *slabs, enum wr_charge charge) {
  WR_CHECK(slabs != NULL);
  arena->slabs = slabs;
  arena->first = NULL;
  arena->cur = NULL;
  arena->used = 0;
  arena->charge = (uint8_t)charge;
}

void wr_arena_fini(struct wr_arena *arena) {
  struct wr_block *b = arena->first;
  while (b) {
    struct wr_block *next = link_of(b)->next;
    WR_DCHECK(b->refs == 1);
    wr_block_unref(b);
    b = next;
  }
  arena->first = NULL;
  arena->cur = NULL;
  arena->used = 0;
}

static size_t cur_room(const struct wr_arena *arena) {
  return arena->cur ? arena->cur->cap - arena->used : 0;
}

/* A new block for `bytes`. It becomes the one to fill unless the present one has more room left: a
 * large piece shouldn't waste the rest of a block. */
static void *grow(struct wr_arena *arena, size_t bytes) {
  size_t want = arena->cur ? 2 * (size_t)arena->cur->cap : FIRST_BLOCK_BYTES;
  size_t max = wr_slabs_max_block(arena->slabs);
  if (want > GROWTH_MAX_BYTES) want = GROWTH_MAX_BYTES;
  if (want > max) want = max;
  size_t need = LINK_BYTES + bytes;
  enum wr_charge charge = (enum wr_charge)arena->charge;
  struct wr_block *b = wr_slabs_alloc(arena->slabs, want > need ? want : need, charge);
  if (!b && want > need) b = wr_slabs_alloc(arena->slabs, need, charge);
  if (!b) return NULL;
  WR_DCHECK(((uintptr_t)b->data & (ALIGN - 1)) == 0 && b->cap >= need);
  link_of(b)->next = arena->first;
  arena->first = b;
  if (b->cap - need >= cur_room(arena)) {
    arena->cur = b;
    arena->used = (uint32_t)need;
  }
  return b->data + LINK_BYTES;
}

void *wr_arena_alloc(struct wr_arena *arena, size_t bytes) {
  if (bytes > wr_slabs_max_block(arena->slabs) - LINK_BYTES) return NULL;
  size_t rounded = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  if (rounded == 0) rounded = ALIGN;
  if (rounded > cur_room(arena)) return grow(arena, rounded);
  void *p = arena->cur->data + arena->used;
  arena->used += (uint32_t)rounded;
  WR_DCHECK(arena->used <= arena->cur->cap);
  return p;
}

enum wr_err wr_arena_copy(struct wr_arena *arena, struct wr_span bytes, struct wr_span *out) {
  *out = wr_span_make(NULL, 0);
  if (bytes.len == SIZE_MAX) return WR_E_POOL_FULL;
  char *copy = wr_arena_alloc(arena, bytes.len + 1);
  if (!copy) return WR_E_POOL_FULL;
  if (bytes.len) memcpy(copy, bytes.ptr, bytes.len);
  copy[bytes.len] = '\0';
  *out = wr_span_make(copy, bytes.len);
  return WR_OK;
}

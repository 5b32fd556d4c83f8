#include "conf/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "base/heap.h"

#define CHUNK_MIN_BYTES 4096
#define CHUNK_MAX_BYTES (256u << 10)

struct chunk {
  struct chunk *next; /* owned */
  size_t cap;         /* bytes behind this header */
  size_t used;
  size_t pad; /* keeps the data at 16 bytes */
};

struct wr_conf_arena {
  struct chunk *chunks; /* owned; the one that is filled stands first */
  size_t next_bytes;
};

void wr_wipe(void *ptr, size_t bytes) {
  volatile unsigned char *p = ptr;
  while (bytes-- > 0) *p++ = 0;
}

enum wr_err wr_conf_arena_new(struct wr_conf_arena **out) {
  struct wr_conf_arena *arena = wr_heap_zalloc(WR_HEAP_CONF, sizeof *arena);
  if (!arena) return WR_E_NOMEM;
  arena->next_bytes = CHUNK_MIN_BYTES;
  *out = arena;
  return WR_OK;
}

void wr_conf_arena_free(struct wr_conf_arena *arena) {
  if (!arena) return;
  struct chunk *next;
  for (struct chunk *c = arena->chunks; c; c = next) {
    next = c->next;
    wr_wipe(c, sizeof *c + c->used);
    wr_heap_free(WR_HEAP_CONF, c);
  }
  wr_heap_free(WR_HEAP_CONF, arena);
}

static struct chunk *chunk_for(struct wr_conf_arena *arena, size_t bytes) {
  struct chunk *c = arena->chunks;
  if (c && c->cap - c->used >= bytes) return c;
  size_t cap = bytes > arena->next_bytes ? bytes : arena->next_bytes;
  c = wr_heap_zalloc(WR_HEAP_CONF, sizeof *c + cap);
  if (!c) return NULL;
  c->cap = cap;
  c->next = arena->chunks;
  arena->chunks = c;
  if (arena->next_bytes < CHUNK_MAX_BYTES) arena->next_bytes *= 2;
  return c;
}

void *wr_conf_arena_alloc(struct wr_conf_arena *arena, size_t bytes) {
  if (bytes > SIZE_MAX / 2) return NULL;
  size_t need = (bytes + 15) & ~(size_t)15;
  struct chunk *c = chunk_for(arena, need);
  if (!c) return NULL;
  WR_CHECK(c->used + need <= c->cap);
  void *ptr = (char *)(c + 1) + c->used;
  c->used += need;
  return ptr;
}

const char *wr_conf_arena_copy(struct wr_conf_arena *arena, struct wr_span bytes) {
  char *copy = wr_conf_arena_alloc(arena, bytes.len + 1);
  if (!copy) return NULL;
  if (bytes.len) memcpy(copy, bytes.ptr, bytes.len);
  copy[bytes.len] = '\0';
  return copy;
}

/* arena.h: the memory of one configuration: grows by chunks, is freed whole, and wiped as it goes,
 * because secrets live in it. Made and filled on one thread; what stands in it may then be read by
 * all. */
#ifndef WR_CONF_ARENA_H
#define WR_CONF_ARENA_H

#include <stddef.h>

#include "base/err.h"
#include "base/span.h"

struct wr_conf_arena;

WR_MUST_USE enum wr_err wr_conf_arena_new(struct wr_conf_arena **out);
/* Wipes and frees everything that came from it; NULL is fine. */
void wr_conf_arena_free(struct wr_conf_arena *arena);
/* Zeroed, 16-byte aligned; lives as long as the arena. NULL: out of memory. */
WR_MUST_USE void *wr_conf_arena_alloc(struct wr_conf_arena *arena, size_t bytes);
/* A copy with a NUL behind it; NULL: out of memory. */
WR_MUST_USE const char *wr_conf_arena_copy(struct wr_conf_arena *arena, struct wr_span bytes);
/* Overwrites bytes in a way that the compiler may not leave out. */
void wr_wipe(void *ptr, size_t bytes);

#endif

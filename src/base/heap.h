/* heap.h: the only malloc of the program: tagged, counted, and able to fail on demand.
 *
 * The counters are C11 atomics: any thread may allocate and free. Long-lived structs come from
 * here; nothing on the path of an event may call it (a test asserts that wr_heap_calls stands
 * still). */
#ifndef WR_BASE_HEAP_H
#define WR_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum wr_heap_tag {
  WR_HEAP_BASE,
  WR_HEAP_MEM,
  WR_HEAP_CONF,
  WR_HEAP_OBS,
  WR_HEAP_NET,
  WR_HEAP_TLS,
  WR_HEAP_UPSTREAM,
  WR_HEAP_RELAY,
  WR_HEAP_LUA,
  WR_HEAP_SERVER,
  WR_HEAP_MOCK,
  WR_HEAP_CLI,
  WR_HEAP_TAGS
};

/* NULL when memory is short or a failure was asked for. Sizes are in bytes; zeroed by
 * wr_heap_zalloc. */
WR_MUST_USE void *wr_heap_alloc(enum wr_heap_tag tag, size_t size);
WR_MUST_USE void *wr_heap_zalloc(enum wr_heap_tag tag, size_t size);
/* As realloc; the tag must be the one of the allocation. A shrink never fails. */
WR_MUST_USE void *wr_heap_realloc(enum wr_heap_tag tag, void *ptr, size_t size);
/* A copy of len bytes with a NUL behind them. */
WR_MUST_USE char *wr_heap_strndup(enum wr_heap_tag tag, const char *ptr, size_t len);
void wr_heap_free(enum wr_heap_tag tag, void *ptr);
/* The bytes that were asked for. */
size_t wr_heap_size(const void *ptr);

/* Allocations and reallocations since the process began, over all tags. */
uint64_t wr_heap_calls(void);
/* Live bytes (as requested) and live allocations of a tag. */
size_t wr_heap_live_bytes(enum wr_heap_tag tag);
size_t wr_heap_live_count(enum wr_heap_tag tag);
const char *wr_heap_tag_name(enum wr_heap_tag tag);

/* Debug: the n-th allocation from now (1 = the next) fails, and with `every` each n-th; 0 turns
 * it off. */
void wr_heap_fail_at(uint64_t n, bool every);

#endif

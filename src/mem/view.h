/* view.h: one reference to some bytes of a block.
 *
 * Glossary: a block is memory with a count (mem/block.h); a view is {block, off, len} and holds
 * one count of it; whoever holds the struct owns that count and drops it once. A view is moved
 * by assigning it and nulling the source (wr_view_move). A static view has no block: its bytes
 * are constant for the life of the process. To add a place that holds bytes past a call: hold a
 * view, charge it, drop it in the holder's _fini. */
#ifndef WR_MEM_VIEW_H
#define WR_MEM_VIEW_H

#include "base/span.h"
#include "mem/block.h"

struct wr_view {
  struct wr_block *block; /* ref; NULL for a static or an empty view */
  const char *ptr;        /* borrowed: inside block->data, or static bytes */
  uint32_t len;
};

#define WR_VIEW_NONE ((struct wr_view){ NULL, NULL, 0 })

/* take_: the view owns the caller's reference to block. */
static inline struct wr_view wr_view_take(struct wr_block *take_block, size_t off, size_t len) {
  WR_DCHECK(off + len <= take_block->cap);
  struct wr_view v = { take_block, take_block->data + off, (uint32_t)len };
  return v;
}

static inline struct wr_view wr_view_static(struct wr_span s) {
  struct wr_view v = { NULL, s.ptr, (uint32_t)s.len };
  return v;
}

/* A new reference to a part of a view. */
static inline struct wr_view wr_view_sub(const struct wr_view *v, size_t off, size_t len) {
  WR_DCHECK(off + len <= v->len);
  struct wr_view s = { v->block ? wr_block_ref(v->block) : NULL, v->ptr + off, (uint32_t)len };
  return s;
}

static inline struct wr_view wr_view_keep(const struct wr_view *v) {
  return wr_view_sub(v, 0, v->len);
}

static inline void wr_view_drop(struct wr_view *v) {
  struct wr_block *b = v->block;
  *v = WR_VIEW_NONE;
  if (b) wr_block_unref(b);
}

static inline struct wr_view wr_view_move(struct wr_view *from) {
  struct wr_view v = *from;
  *from = WR_VIEW_NONE;
  return v;
}

static inline struct wr_span wr_view_span(const struct wr_view *v) {
  return wr_span_make(v->ptr, v->len);
}

/* Narrows the view in place; the reference stays. */
static inline void wr_view_advance(struct wr_view *v, size_t n) {
  WR_DCHECK(n <= v->len);
  v->ptr += n;
  v->len -= (uint32_t)n;
}

#endif

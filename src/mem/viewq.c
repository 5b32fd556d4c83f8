#include "mem/viewq.h"

#include <string.h>

#define INLINE_PIECES 1u
#define PIECES_MAX 4000u
/* A run of small pieces is joined into blocks of at most this size, so that a reader who goes on
 * slowly gives memory back as it goes. */
#define COMPACT_RUN_BYTES (4u << 10)
#define SMALLEST_BYTES 256u
/* Enough for WR_VIEWQ_PACK_BYTES in all classes, and in a pool of small blocks. */
#define PACK_BLOCKS 16u

_Static_assert(sizeof(struct wr_viewq) <= 48, "queues stand in every connection");

static struct wr_view *slots(struct wr_viewq *q) {
  return q->more ? (struct wr_view *)(void *)q->more->data : q->inl;
}

static struct wr_view *slot(struct wr_viewq *q, size_t i) {
  WR_DCHECK(i < q->cap);
  size_t at = q->head + i;
  return &slots(q)[at < q->cap ? at : at - q->cap];
}

void wr_viewq_init(struct wr_viewq *q) {
  memset(q, 0, sizeof *q);
  q->cap = INLINE_PIECES;
}

/* Back to the slot in the struct, when what is left fits there. */
static void settle(struct wr_viewq *q) {
  if (q->count > INLINE_PIECES) return;
  struct wr_view keep[INLINE_PIECES];
  for (size_t i = 0; i < q->count; i++) keep[i] = *slot(q, i);
  for (size_t i = 0; i < q->count; i++) q->inl[i] = keep[i];
  wr_block_unref(q->more);
  q->more = NULL;
  q->cap = INLINE_PIECES;
  q->head = 0;
}

void wr_viewq_fini(struct wr_viewq *q) {
  for (size_t i = 0; i < q->count; i++) wr_view_drop(slot(q, i));
  q->count = 0;
  q->bytes = 0;
  if (q->more) settle(q);
  q->head = 0;
}

/* The ring itself is charged to the class of what it holds: a queue that drains may grow. */
static enum wr_charge ring_charge(const struct wr_view *v) {
  return v->block ? (enum wr_charge)v->block->charge : WR_CHARGE_CLIENT;
}

static enum wr_err grow(struct wr_viewq *q, struct wr_slabs *slabs, enum wr_charge charge) {
  if (q->count >= PIECES_MAX) return WR_E_POOL_FULL;
  size_t bytes = q->more ? 2 * (size_t)q->more->cap : sizeof(struct wr_view) * INLINE_PIECES * 2;
  if (bytes > wr_slabs_max_block(slabs)) return WR_E_POOL_FULL;
  struct wr_block *more = wr_slabs_alloc(slabs, bytes, charge);
  if (!more) return WR_E_POOL_FULL;
  size_t cap = more->cap / sizeof(struct wr_view);
  WR_CHECK(cap > q->count);
  struct wr_view *to = (struct wr_view *)(void *)more->data;
  for (size_t i = 0; i < q->count; i++) to[i] = *slot(q, i);
  if (q->more) wr_block_unref(q->more);
  q->more = more;
  q->head = 0;
  q->cap = (uint16_t)(cap < PIECES_MAX ? cap : PIECES_MAX);
  return WR_OK;
}

static bool touches(const struct wr_view *a, const struct wr_view *b) {
  return a->block && a->block == b->block && a->ptr + a->len == b->ptr &&
         a->len <= UINT32_MAX - b->len;
}

/* Room for one more piece; on an error the piece is dropped. */
static enum wr_err ready(struct wr_viewq *q, struct wr_slabs *slabs, struct wr_view *v) {
  if (q->count < q->cap) return WR_OK;
  enum wr_err err = grow(q, slabs, ring_charge(v));
  if (err != WR_OK) wr_view_drop(v);
  return err;
}

enum wr_err wr_viewq_push(struct wr_viewq *q, struct wr_slabs *slabs, struct wr_view *take_view) {
  struct wr_view v = wr_view_move(take_view);
  if (v.len == 0) {
    wr_view_drop(&v);
    return WR_OK;
  }
  if (q->count == 0) { /* nearly always; an empty queue has no ring */
    WR_DCHECK(!q->more && q->head == 0);
    q->inl[0] = v;
    q->count = 1;
    q->bytes = v.len;
    return WR_OK;
  }
  struct wr_view *last = slot(q, q->count - 1u);
  if (touches(last, &v)) {
    last->len += v.len;
    q->bytes += v.len;
    wr_view_drop(&v);
    return WR_OK;
  }
  enum wr_err err = ready(q, slabs, &v);
  if (err != WR_OK) return err;
  q->count++;
  *slot(q, q->count - 1u) = v;
  q->bytes += v.len;
  return WR_OK;
}

enum wr_err wr_viewq_unshift(struct wr_viewq *q, struct wr_slabs *slabs,
                             struct wr_view *take_view) {
  struct wr_view v = wr_view_move(take_view);
  if (v.len == 0) {
    wr_view_drop(&v);
    return WR_OK;
  }
  struct wr_view *first = q->count ? slot(q, 0) : NULL;
  if (first && touches(&v, first)) {
    first->ptr = v.ptr;
    first->len += v.len;
    q->bytes += v.len;
    wr_view_drop(&v);
    return WR_OK;
  }
  enum wr_err err = ready(q, slabs, &v);
  if (err != WR_OK) return err;
  q->head = (uint16_t)(q->head ? q->head - 1 : q->cap - 1);
  q->count++;
  *slot(q, 0) = v;
  q->bytes += v.len;
  return WR_OK;
}

bool wr_viewq_shift(struct wr_viewq *q, struct wr_view *out) {
  if (q->count == 0) {
    *out = WR_VIEW_NONE;
    return false;
  }
  if (q->count == 1 && !q->more) { /* nearly always */
    *out = wr_view_move(&q->inl[0]);
    q->count = 0;
    q->bytes = 0;
    return true;
  }
  *out = wr_view_move(slot(q, 0));
  WR_DCHECK(q->bytes >= out->len);
  q->bytes -= out->len;
  q->head = (uint16_t)(q->head + 1 < q->cap ? q->head + 1 : 0);
  if (--q->count == 0) {
    if (q->more) settle(q);
    q->head = 0;
  }
  return true;
}

const struct wr_view *wr_viewq_peek(const struct wr_viewq *q, size_t i) {
  WR_CHECK(i < q->count);
  const struct wr_view *base = q->inl;
  if (q->more) base = (const struct wr_view *)(const void *)q->more->data;
  size_t at = q->head + i;
  return &base[at < q->cap ? at : at - q->cap];
}

void wr_viewq_consume(struct wr_viewq *q, size_t n) {
  WR_CHECK(n <= q->bytes);
  if (q->count == 1 && !q->more && n == q->bytes) { /* nearly always */
    q->count = 0;
    q->bytes = 0;
    wr_view_drop(&q->inl[0]);
    return;
  }
  while (n) {
    struct wr_view *first = slot(q, 0);
    if (n < first->len) {
      wr_view_advance(first, n);
      q->bytes -= n;
      return;
    }
    struct wr_view whole;
    bool some = wr_viewq_shift(q, &whole);
    WR_DCHECK(some && whole.len > 0);
    (void)some;
    n -= whole.len;
    wr_view_drop(&whole);
  }
}

size_t wr_viewq_gather(const struct wr_viewq *q, struct wr_span *out, size_t max) {
  size_t n = q->count < max ? q->count : max;
  for (size_t i = 0; i < n; i++) out[i] = wr_view_span(wr_viewq_peek(q, i));
  return n;
}

/* Less than a quarter of its block, and a smaller block would do. */
static bool pins(const struct wr_view *v) {
  return v->block && v->len < v->block->cap / 4 &&
         wr_slab_class(v->len) < wr_slab_class(v->block->cap);
}

/* How many pieces from the i-th on are copied together; at least 1. */
static size_t run_length(struct wr_viewq *q, size_t i, size_t *bytes) {
  size_t n = 1;
  *bytes = slot(q, i)->len;
  while (i + n < q->count && pins(slot(q, i + n)) &&
         *bytes + slot(q, i + n)->len <= COMPACT_RUN_BYTES)
    *bytes += slot(q, i + n++)->len;
  return n;
}

/* Copies n pieces from the i-th on into a block and drops them. */
static struct wr_view run_copy(struct wr_viewq *q, struct wr_block *take_block, size_t i,
                               size_t n) {
  size_t at = 0;
  for (size_t k = 0; k < n; k++) {
    struct wr_view *v = slot(q, i + k);
    WR_CHECK(at + v->len <= take_block->cap);
    memcpy(take_block->data + at, v->ptr, v->len);
    at += v->len;
    wr_view_drop(v);
  }
  return wr_view_take(take_block, 0, at);
}

enum wr_err wr_viewq_compact(struct wr_viewq *q, struct wr_slabs *slabs, enum wr_charge charge,
                             size_t *copied) {
  enum wr_err err = WR_OK;
  size_t to = 0;
  for (size_t from = 0, n; from < q->count; from += n) {
    size_t bytes = 0;
    struct wr_block *block = NULL;
    n = 1;
    if (pins(slot(q, from))) {
      n = run_length(q, from, &bytes);
      block = wr_slabs_alloc(slabs, bytes, charge);
      if (!block) err = WR_E_POOL_FULL;
    }
    if (block) {
      struct wr_view joined = run_copy(q, block, from, n);
      *slot(q, to++) = joined;
      *copied += bytes;
    } else {
      for (size_t k = 0; k < n; k++) {
        struct wr_view same = wr_view_move(slot(q, from + k));
        *slot(q, to++) = same;
      }
    }
  }
  q->count = (uint16_t)to;
  if (q->more) settle(q);
  return err;
}

static size_t class_of_bytes(size_t bytes) {
  return (size_t)SMALLEST_BYTES << wr_slab_class(bytes);
}

/* How many of the bytes that are left go into the next block: all, where they leave an eighth of it
 * free at most, else as many as fill a smaller one. */
static size_t pack_next(size_t left, size_t max) {
  if (left > max) return max;
  size_t cap = class_of_bytes(left);
  return cap - left <= cap / 8 || cap == SMALLEST_BYTES ? left : cap / 2;
}

/* The blocks that hold the queue's bytes, packed; 0: the pool doesn't have them. */
static size_t pack_blocks(size_t bytes, struct wr_slabs *slabs, enum wr_charge charge,
                          struct wr_view out[PACK_BLOCKS]) {
  size_t n = 0;
  while (bytes) {
    size_t len = pack_next(bytes, wr_slabs_max_block(slabs));
    struct wr_block *b = n < PACK_BLOCKS ? wr_slabs_alloc(slabs, len, charge) : NULL;
    if (!b) {
      while (n) wr_view_drop(&out[--n]);
      return 0;
    }
    out[n++] = wr_view_take(b, 0, len);
    bytes -= len;
  }
  return n;
}

/* Copies what the queue has, in order, and drops it. */
static void pack_fill(struct wr_viewq *q, struct wr_view *to) {
  size_t at = 0;
  for (size_t i = 0; i < q->count; i++) {
    struct wr_view *v = slot(q, i);
    for (size_t done = 0, n; done < v->len; done += n, at += n) {
      if (at == to->len) to++, at = 0;
      n = v->len - done < to->len - at ? v->len - done : to->len - at;
      memcpy(to->block->data + at, v->ptr + done, n);
    }
    wr_view_drop(v);
  }
  WR_CHECK(at == to->len);
}

/* What its blocks take, each counted for every piece that stands in it: pieces that were copied
 * before have blocks of their own. */
static size_t blocks_bytes(struct wr_viewq *q) {
  size_t bytes = q->more ? q->more->cap : 0;
  for (size_t i = 0; i < q->count; i++)
    if (slot(q, i)->block) bytes += slot(q, i)->block->cap;
  return bytes;
}

enum wr_err wr_viewq_pack(struct wr_viewq *q, struct wr_slabs *slabs, enum wr_charge charge,
                          size_t *copied) {
  struct wr_view packed[PACK_BLOCKS];
  if (q->count == 0 || q->bytes > WR_VIEWQ_PACK_BYTES) return WR_OK;
  if (blocks_bytes(q) <= q->bytes + q->bytes / 8 + SMALLEST_BYTES) return WR_OK;
  size_t n = pack_blocks(q->bytes, slabs, charge, packed);
  if (n == 0) return WR_E_POOL_FULL;
  if (n > q->cap) {
    while (n) wr_view_drop(&packed[--n]);
    return WR_OK;
  }
  pack_fill(q, packed);
  *copied += q->bytes;
  for (size_t i = 0; i < n; i++) *slot(q, i) = packed[i];
  q->count = (uint16_t)n;
  if (q->more) settle(q);
  return WR_OK;
}

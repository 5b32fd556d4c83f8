#include "relay/stream.h"

#include <string.h>

#include "base/check.h"
#include "mem/rxbuf.h"

#define FIRST_RING_BYTES 256u
/* Small frames move into blocks of at most this size together. */
#define COMPACT_BYTES 2048u

static struct wr_frame *frame_at(struct wr_stream *s, uint32_t i) {
  WR_DCHECK(i < s->count);
  if (!s->ring) return &s->one;
  return (struct wr_frame *)(void *)s->ring->data + ((s->head + i) & (s->cap - 1));
}

void wr_stream_init(struct wr_stream *s, struct wr_slabs *slabs) {
  *s = (struct wr_stream){ .magic = WR_STREAM_MAGIC, .slabs = slabs, .cap = 1 };
  wr_list_init(&s->readers);
}

static void ring_drop(struct wr_stream *s) {
  if (!s->ring) return;
  wr_block_unref(s->ring);
  s->ring = NULL;
  s->head = 0;
  s->cap = 1;
}

void wr_stream_clear(struct wr_stream *s) {
  WR_MAGIC_CHECK(s, WR_STREAM_MAGIC);
  for (uint32_t i = 0; i < s->count; i++) wr_view_drop(&frame_at(s, i)->view);
  s->first += s->count;
  s->count = 0;
  s->bytes = 0;
  ring_drop(s);
  for (struct wr_list *l = s->readers.next; l != &s->readers; l = l->next)
    WR_CONTAINER(l, struct wr_reader, link)->next = s->first;
}

void wr_stream_fini(struct wr_stream *s) {
  WR_MAGIC_CHECK(s, WR_STREAM_MAGIC);
  WR_CHECK(wr_list_empty(&s->readers));
  wr_stream_clear(s);
  s->magic = 0;
}

static uint32_t frames_in(const struct wr_block *b) {
  uint32_t n = (uint32_t)(b->cap / sizeof(struct wr_frame));
  uint32_t p = 1;
  while (p * 2 <= n) p *= 2;
  return p;
}

/* A ring twice as large, with the frames in order from its first place. */
static enum wr_err ring_grow(struct wr_stream *s) {
  size_t want = s->ring ? (size_t)s->ring->cap * 2 : FIRST_RING_BYTES;
  if (want > wr_slabs_max_block(s->slabs)) return WR_E_POOL_FULL;
  struct wr_block *b = wr_slabs_alloc(s->slabs, want, WR_CHARGE_CLIENT);
  if (!b) return WR_E_POOL_FULL;
  struct wr_frame *to = (struct wr_frame *)(void *)b->data;
  for (uint32_t i = 0; i < s->count; i++) to[i] = *frame_at(s, i);
  if (s->ring) wr_block_unref(s->ring);
  s->ring = b;
  s->head = 0;
  s->cap = frames_in(b);
  WR_CHECK(s->cap > s->count);
  return WR_OK;
}

struct wr_frame *wr_stream_frame(struct wr_stream *s, uint32_t i) { return frame_at(s, i); }

void wr_stream_set(struct wr_stream *s, uint32_t i, struct wr_view *take_view) {
  struct wr_frame *f = frame_at(s, i);
  WR_CHECK(s->bytes >= f->view.len);
  s->bytes = s->bytes - f->view.len + take_view->len;
  wr_view_drop(&f->view);
  f->view = wr_view_move(take_view);
  f->framing = 0;
}

/* A ring that is nearly empty gives way to a smaller one. */
static void ring_shrink(struct wr_stream *s) {
  size_t bytes = s->count * 2u * sizeof(struct wr_frame);
  if (bytes < FIRST_RING_BYTES) bytes = FIRST_RING_BYTES;
  if (!s->ring || bytes * 2 > s->ring->cap) return;
  struct wr_block *b = wr_slabs_alloc(s->slabs, bytes, WR_CHARGE_CLIENT);
  if (!b) return;
  struct wr_frame *to = (struct wr_frame *)(void *)b->data;
  for (uint32_t i = 0; i < s->count; i++) to[i] = *frame_at(s, i);
  wr_block_unref(s->ring);
  s->ring = b;
  s->head = 0;
  s->cap = frames_in(b);
  WR_CHECK(s->cap > s->count);
}

void wr_stream_squeeze(struct wr_stream *s) {
  WR_MAGIC_CHECK(s, WR_STREAM_MAGIC);
  for (struct wr_list *l = s->readers.next; l != &s->readers; l = l->next)
    WR_CHECK(WR_CONTAINER(l, struct wr_reader, link)->next == s->first && l->next == &s->readers);
  uint32_t n = 0;
  for (uint32_t i = 0; i < s->count; i++) {
    struct wr_frame *f = frame_at(s, i);
    if (f->view.len == 0) continue;
    struct wr_frame moved = *f;
    f->view = WR_VIEW_NONE;
    *frame_at(s, n++) = moved;
  }
  s->count = n;
  if (n == 0)
    ring_drop(s);
  else
    ring_shrink(s);
}

size_t wr_stream_max(const struct wr_stream *s) {
  size_t n = wr_slabs_max_block(s->slabs) / sizeof(struct wr_frame), p = 1;
  while (p * 2 <= n) p *= 2;
  return p;
}

enum wr_err wr_stream_reserve(struct wr_stream *s, size_t n) {
  WR_MAGIC_CHECK(s, WR_STREAM_MAGIC);
  while (s->count + n > s->cap) {
    enum wr_err err = ring_grow(s);
    if (err != WR_OK) return err;
  }
  return WR_OK;
}

enum wr_err wr_stream_append(struct wr_stream *s, struct wr_view *take_view, uint8_t kind) {
  return wr_stream_append_framed(s, take_view, kind, 0);
}

enum wr_err wr_stream_append_framed(struct wr_stream *s, struct wr_view *take_view, uint8_t kind,
                                    uint8_t framing) {
  WR_MAGIC_CHECK(s, WR_STREAM_MAGIC);
  if (take_view->len == 0) {
    wr_view_drop(take_view);
    return WR_OK;
  }
  if (s->count == s->cap) {
    enum wr_err err = ring_grow(s);
    if (err != WR_OK) {
      wr_view_drop(take_view);
      return err;
    }
  }
  s->bytes += take_view->len;
  s->count++;
  struct wr_frame *f = frame_at(s, s->count - 1);
  f->view = wr_view_move(take_view);
  f->kind = kind;
  f->framing = framing;
  return WR_OK;
}

/* A copy in a block of its own; the empty view: no room. */
static struct wr_view own_block(struct wr_stream *s, const struct wr_view *v,
                                enum wr_charge charge) {
  struct wr_block *b = wr_slabs_alloc(s->slabs, v->len, charge);
  if (!b) return WR_VIEW_NONE;
  memcpy(b->data, v->ptr, v->len);
  return wr_view_take(b, 0, v->len);
}

/* A few bytes of a large block. */
static bool pins(const struct wr_view *v) {
  return v->block && v->block->cap > COMPACT_BYTES && v->len * 4u <= v->block->cap;
}

void wr_stream_compact(struct wr_stream *s, enum wr_charge charge, uint64_t *copied) {
  WR_MAGIC_CHECK(s, WR_STREAM_MAGIC);
  struct wr_rxbuf to;
  size_t small = 0;
  for (uint32_t i = 0; i < s->count; i++) {
    const struct wr_view *v = &frame_at(s, i)->view;
    if (pins(v) && v->len <= COMPACT_BYTES) small += v->len;
  }
  wr_rxbuf_init(&to, s->slabs, COMPACT_BYTES, charge);
  /* Blocks are no larger than what is still to come: an event that waits alone takes one of its
   * own size. */
  for (uint32_t i = 0; i < s->count; i++) {
    struct wr_frame *f = frame_at(s, i);
    if (!pins(&f->view)) continue;
    struct wr_view moved = WR_VIEW_NONE;
    if (f->view.len > COMPACT_BYTES) {
      moved = own_block(s, &f->view, charge);
    } else {
      to.block_bytes = (uint32_t)(small < COMPACT_BYTES ? small : COMPACT_BYTES);
      small -= f->view.len;
      if (wr_rxbuf_append(&to, wr_view_span(&f->view), &moved) != WR_OK) continue;
    }
    if (moved.len == 0) continue;
    *copied += moved.len;
    wr_view_drop(&f->view);
    f->view = moved;
  }
  wr_rxbuf_fini(&to);
}

void wr_reader_init(struct wr_reader *r, struct wr_stream *stream) {
  WR_MAGIC_CHECK(stream, WR_STREAM_MAGIC);
  r->stream = stream;
  r->next = stream->first;
  wr_list_init(&r->link);
  wr_list_push_back(&stream->readers, &r->link);
}

/* Drops the frames that no reader needs any more. */
static void drop_passed(struct wr_stream *s) {
  uint64_t least = s->first + s->count;
  for (struct wr_list *l = s->readers.next; l != &s->readers; l = l->next) {
    uint64_t next = WR_CONTAINER(l, struct wr_reader, link)->next;
    if (next < least) least = next;
  }
  while (s->first < least) {
    struct wr_frame *f = frame_at(s, 0);
    WR_DCHECK(s->bytes >= f->view.len);
    s->bytes -= f->view.len;
    wr_view_drop(&f->view);
    s->head = (s->head + 1) & (s->cap - 1); /* of one frame: 0 again */
    s->count--;
    s->first++;
  }
  if (s->count == 0) ring_drop(s);
}

void wr_reader_fini(struct wr_reader *r) {
  if (!r->stream) return;
  wr_list_remove(&r->link);
  r->stream = NULL;
}

const struct wr_frame *wr_reader_peek(const struct wr_reader *r, size_t i) {
  WR_DCHECK(r->next >= r->stream->first);
  if (i >= wr_reader_left(r)) return NULL;
  return frame_at(r->stream, (uint32_t)(r->next - r->stream->first + i));
}

void wr_reader_next(struct wr_reader *r, size_t n) {
  WR_CHECK(n <= wr_reader_left(r));
  r->next += n;
  drop_passed(r->stream);
}

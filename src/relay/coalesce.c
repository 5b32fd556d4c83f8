#include "relay/coalesce.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/delta.h"

#define LANES 4u
/* An envelope larger than this isn't worth it. */
#define ENVELOPE_BYTES 4096u
#define NUMBER_BYTES 20u

/* Deltas of one choice that will be one event. */
struct lane {
  bool open;
  struct wr_delta first; /* borrows from its frame, which stays until the lane is closed */
  uint32_t at;           /* place of that frame */
  uint32_t last;         /* of the last one */
  uint32_t joined;       /* events beside the first */
  size_t len, cap;       /* of text */
  char number[NUMBER_BYTES];
  size_t number_len;
  char text[WR_COALESCE_BYTES];
};

struct wr_coalescer {
  struct wr_deltas deltas;
  struct lane lanes[LANES];
  uint8_t lane_of[WR_STREAM_FRAMES]; /* of each frame: number of its lane plus one; 0: none */
};

struct work {
  struct wr_coalescer *c;    /* borrowed: the worker's */
  struct wr_stream *stream;  /* borrowed: the session's */
  struct wr_coalesced *out;  /* borrowed: the caller's */
  enum wr_dialect dialect;
  bool lines, joins;
};

struct wr_coalescer *wr_coalescer_new(void) {
  struct wr_coalescer *c = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *c);
  if (c && !WR_EXPECT(wr_deltas_init(&c->deltas) == WR_OK)) {
    wr_heap_free(WR_HEAP_RELAY, c);
    return NULL;
  }
  return c;
}

void wr_coalescer_free(struct wr_coalescer *c) { wr_heap_free(WR_HEAP_RELAY, c); }

/* The event without the chunk that it came in. */
static struct wr_span event_of(const struct wr_frame *f) {
  struct wr_span s = wr_view_span(&f->view);
  WR_DCHECK(f->framing == 0 || (f->framing > 2 && f->framing < s.len));
  return f->framing ? wr_span_sub(s, f->framing - 2u, s.len - f->framing) : s;
}

/* Writes the one event that a lane has become. False: no room, its frames stay. */
static bool lane_write(struct work *w, struct lane *l) {
  struct wr_span text = wr_span_make(l->text, l->len);
  struct wr_span number = wr_span_make(l->number, l->number_len);
  size_t bytes = l->first.bytes.len - l->first.text.len + l->len;
  if (l->number_len) bytes = bytes - l->first.number.len + l->number_len;
  struct wr_block *b = wr_slabs_alloc(w->stream->slabs, bytes, WR_CHARGE_CLIENT);
  if (!b) return false;
  struct wr_buf buf;
  wr_buf_init(&buf, b->data, b->cap);
  enum wr_err err = wr_delta_write(&l->first, text, number, &buf);
  WR_CHECK(err == WR_OK && buf.len == bytes);
  struct wr_view v = wr_view_take(b, 0, bytes);
  wr_stream_set(w->stream, l->at, &v);
  w->out->copied_bytes += bytes;
  return true;
}

static void lane_close(struct work *w, struct lane *l) {
  if (!l->open) return;
  l->open = false;
  if (!l->joined || !lane_write(w, l)) return;
  uint8_t mark = (uint8_t)(l - w->c->lanes + 1);
  struct wr_view none = WR_VIEW_NONE;
  for (uint32_t i = l->at + 1; i <= l->last; i++)
    if (w->c->lane_of[i] == mark) wr_stream_set(w->stream, i, &none);
  w->out->joined += l->joined;
}

static void close_all(struct work *w) {
  for (unsigned i = 0; i < LANES; i++) lane_close(w, &w->c->lanes[i]);
}

static void lane_add(struct work *w, struct lane *l, uint32_t at, struct wr_span text,
                     struct wr_span number) {
  WR_CHECK(l->open && text.len <= l->cap - l->len && number.len <= NUMBER_BYTES);
  memcpy(l->text + l->len, text.ptr, text.len);
  l->len += text.len;
  if (number.len) memcpy(l->number, number.ptr, number.len);
  l->number_len = number.len;
  l->last = at;
  w->c->lane_of[at] = (uint8_t)(l - w->c->lanes + 1);
}

/* A delta that fits no open lane begins one; an older lane of the same choice is over then, so that
 * the kinds of one choice keep their order. */
static void lane_open(struct work *w, uint32_t at, const struct wr_delta *d) {
  struct lane *free_lane = NULL;
  for (unsigned i = 0; i < LANES; i++) {
    struct lane *l = &w->c->lanes[i];
    if (l->open && l->first.index == d->index) lane_close(w, l);
    if (!l->open && !free_lane) free_lane = l;
  }
  if (!free_lane) {
    close_all(w);
    free_lane = &w->c->lanes[0];
  }
  size_t most = WR_COALESCE_BYTES, block = wr_slabs_max_block(w->stream->slabs);
  if (block < most) most = block;
  size_t envelope = d->bytes.len - d->text.len + NUMBER_BYTES;
  if (envelope > ENVELOPE_BYTES || envelope + d->text.len > most) return;
  struct lane *l = free_lane;
  l->open = true;
  l->first = *d;
  l->at = at;
  l->joined = 0;
  l->len = 0;
  l->cap = most - envelope;
  lane_add(w, l, at, wr_span_at(d->bytes.ptr, d->text), wr_span_make(NULL, 0));
}

/* True when the event has become part of a lane. */
static bool lane_take(struct work *w, uint32_t at, uint8_t kind, struct wr_span bytes) {
  struct wr_span text, number;
  for (unsigned i = 0; i < LANES; i++) {
    struct lane *l = &w->c->lanes[i];
    if (!l->open || l->first.kind != kind || !wr_delta_same(&l->first, bytes, &text, &number))
      continue;
    if (text.len > l->cap - l->len) return false; /* full: a new one begins with it */
    lane_add(w, l, at, text, number);
    l->joined++;
    return true;
  }
  return false;
}

static void take_frame(struct work *w, uint32_t at, uint32_t drop) {
  struct wr_frame *f = wr_stream_frame(w->stream, at);
  w->c->lane_of[at] = 0;
  if (f->kind != WR_EVENT_TEXT && f->kind != WR_EVENT_REASONING && f->kind != WR_EVENT_TOOL) {
    close_all(w);
    return;
  }
  struct wr_span bytes = event_of(f);
  struct wr_delta d;
  if (lane_take(w, at, f->kind, bytes)) return;
  if (!wr_delta_read(&w->c->deltas, w->dialect, w->lines, bytes, &d) || d.kind != f->kind) {
    close_all(w);
    return;
  }
  if (drop >> f->kind & 1u) {
    struct wr_view none = WR_VIEW_NONE;
    wr_stream_set(w->stream, at, &none);
    w->out->dropped++;
    return;
  }
  if (w->joins) lane_open(w, at, &d);
}

void wr_coalesce(struct wr_coalescer *c, struct wr_stream *stream, enum wr_dialect dialect,
                 bool lines, bool joins, uint32_t drop, struct wr_coalesced *out) {
  WR_MAGIC_CHECK(stream, WR_STREAM_MAGIC);
  struct work w = { c, stream, out, dialect, lines, joins };
  uint64_t before = out->joined + out->dropped;
  if (dialect == WR_DIALECT_NONE || stream->count < (drop ? 1u : 2u)) return;
  for (unsigned i = 0; i < LANES; i++) c->lanes[i].open = false;
  WR_CHECK(stream->count <= WR_STREAM_FRAMES);
  for (uint32_t i = 0; i < stream->count; i++) take_frame(&w, i, drop);
  close_all(&w);
  if (out->joined + out->dropped != before) wr_stream_squeeze(stream);
}

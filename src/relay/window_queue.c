/* The events that wait for their text to be judged, and how they leave. */
#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/window_priv.h"

enum wr_err wr_window_push(struct wr_windows *ws, struct wr_text_entry *take_entry) {
  if (ws->count == ws->cap) {
    uint32_t cap = ws->cap ? ws->cap * 2 : 16;
    struct wr_text_entry *p = wr_heap_alloc(WR_HEAP_RELAY, cap * sizeof *p);
    if (!p) {
      wr_view_drop(&take_entry->view);
      return WR_E_NOMEM;
    }
    for (uint32_t i = 0; i < ws->count; i++) p[i] = *wr_window_entry(ws, i);
    wr_heap_free(WR_HEAP_RELAY, ws->entries);
    ws->entries = p;
    ws->cap = cap;
    ws->head = 0;
  }
  WR_DCHECK(take_entry->count <= WR_WINDOW_SLOTS && ws->count < ws->cap);
  ws->bytes += take_entry->view.len;
  *wr_window_entry(ws, ws->count++) = *take_entry;
  return WR_OK;
}

/* --- bytes that are copied --- */

static void block_push(struct wr_window_copy *c) {
  if (!c->block) return;
  struct wr_text_entry e = { .view = wr_view_take(c->block, 0, c->len), .kind = c->kind };
  c->block = NULL;
  enum wr_err err = wr_window_push(c->s->at->win, &e);
  if (c->err == WR_OK) c->err = err;
}

void wr_window_copy(struct wr_window_copy *c, struct wr_span bytes) {
  struct wr_slabs *slabs = wr_session_slabs(c->s);
  while (bytes.len && c->err == WR_OK) {
    if (c->block && c->len == c->block->cap) block_push(c);
    if (!c->block) {
      size_t want = bytes.len < 1024 ? 1024 : bytes.len, max = wr_slabs_max_block(slabs);
      c->block = wr_slabs_alloc(slabs, want < max ? want : max, WR_CHARGE_CLIENT);
      c->len = 0;
      if (!c->block) {
        c->err = WR_E_NOMEM;
        return;
      }
    }
    WR_CHECK(c->len <= c->block->cap);
    size_t room = c->block->cap - c->len, n = bytes.len < room ? bytes.len : room;
    char *to = c->block->data + c->len;
    memcpy(to, bytes.ptr, n);
    for (size_t i = 0; c->one_line && i < n; i++)
      if (to[i] == '\n') to[i] = ' ';
    c->len += n;
    wr_loop_stats(c->s->relay->loop)->copy_bytes[WR_COPY_EDIT] += n;
    bytes = wr_span_sub(bytes, n, bytes.len - n);
  }
}

void wr_window_copy_open(struct wr_window_copy *c, const struct wr_window_event *event) {
  if (!event->joined) return;
  if (event->ev->name.len) {
    wr_window_copy(c, WR_SPAN("event: "));
    wr_window_copy(c, event->ev->name);
    wr_window_copy(c, WR_SPAN("\n"));
  }
  wr_window_copy(c, WR_SPAN("data: "));
  c->one_line = true;
}

void wr_window_copy_end(struct wr_window_copy *c, const struct wr_window_event *event) {
  c->one_line = false;
  if (event->joined) wr_window_copy(c, WR_SPAN("\n\n"));
  block_push(c);
}

/* --- leaving --- */

/* Has every stage let go of the event's text? The window's first bytes are its. */
static bool may_leave(const struct wr_windows *ws, const struct wr_text_entry *e,
                      uint32_t stages) {
  WR_DCHECK(stages > 0 && stages <= WR_CONF_TEXTS);
  for (uint8_t k = 0; k < e->count; k++) {
    const struct wr_text_window *w = &ws->windows[e->slots[k].window];
    if (w->clear[stages - 1] < e->slots[k].bytes) return false;
  }
  return true;
}

static bool is_edited(const struct wr_text_entry *e) {
  for (uint8_t k = 0; k < e->count; k++)
    if (e->slots[k].edited) return true;
  return false;
}

/* One slot's text as a literal. The slots of an event never share a window. */
static void put_slot(const struct wr_windows *ws, const struct wr_text_slot *slot,
                     struct wr_buf *out) {
  struct wr_span text = wr_span_make(ws->windows[slot->window].text.ptr, slot->bytes);
  WR_CHECK(slot->bytes <= ws->windows[slot->window].text.len);
  if (slot->raw) wr_buf_put(out, text.len ? text : WR_SPAN("{}"));
  else wr_buf_json_text(out, text);
}

/* The event anew, around its new literals, in the scratch. False: no memory. */
static bool rewrite(struct wr_session *s, const struct wr_text_entry *e, struct wr_span *out) {
  const struct wr_windows *ws = s->at->win;
  size_t room = e->view.len + 16u, done = 0;
  for (uint8_t k = 0; k < e->count; k++) room += (size_t)e->slots[k].bytes * 6;
  char *scratch = wr_relay_scratch(s->relay, room);
  if (!scratch) return false;
  struct wr_buf buf;
  wr_buf_init(&buf, scratch, room);
  struct wr_span whole = wr_view_span(&e->view);
  struct { struct wr_extent at; const struct wr_text_slot *slot; } parts[WR_WINDOW_SLOTS + 1];
  size_t n = 0;
  for (uint8_t k = 0; k < e->count; k++)
    if (e->slots[k].edited) {
      parts[n].slot = &e->slots[k];
      parts[n++].at = (struct wr_extent){ e->slots[k].off, e->slots[k].len };
    }
  if (e->logprobs.len) {
    parts[n].slot = NULL;
    parts[n++].at = e->logprobs;
  }
  while (n > 0) { /* the first that is left */
    size_t first = 0;
    for (size_t i = 1; i < n; i++)
      if (parts[i].at.off < parts[first].at.off) first = i;
    WR_CHECK(parts[first].at.off >= done);
    wr_buf_put(&buf, wr_span_sub(whole, done, parts[first].at.off - done));
    done = parts[first].at.off + parts[first].at.len;
    if (parts[first].slot) put_slot(ws, parts[first].slot, &buf);
    else wr_buf_put(&buf, whole.ptr[parts[first].at.off] == '[' ? WR_SPAN("[]") : WR_SPAN("null"));
    parts[first] = parts[--n];
  }
  if (whole.len) wr_buf_put(&buf, wr_span_sub(whole, done, whole.len - done));
  WR_CHECK(!buf.overflow);
  *out = wr_buf_span(&buf);
  return true;
}

static enum wr_err leave_edited(struct wr_session *s, struct wr_text_entry *e) {
  struct wr_slabs *slabs = wr_session_slabs(s);
  size_t max = wr_slabs_max_block(slabs);
  struct wr_span bytes;
  if (!rewrite(s, e, &bytes)) return WR_E_NOMEM;
  size_t frames = bytes.len / max + 1;
  if (frames > wr_stream_max(&s->stream)) return WR_E_EVENT_TOO_LARGE;
  enum wr_err err = wr_stream_reserve(&s->stream, frames);
  /* All blocks are had before the first frame is appended: the event leaves whole. */
  struct wr_block *blocks[64];
  size_t n = 0;
  if (frames > sizeof blocks / sizeof blocks[0]) return WR_E_EVENT_TOO_LARGE;
  for (size_t left = bytes.len; err == WR_OK && left > 0;) {
    size_t want = left < max ? left : max;
    blocks[n] = wr_slabs_alloc(slabs, want, WR_CHARGE_CLIENT);
    if (!blocks[n]) err = WR_E_POOL_FULL;
    else n++;
    left -= want;
  }
  for (size_t i = 0; i < n; i++) {
    if (err != WR_OK) {
      wr_block_unref(blocks[i]);
      continue;
    }
    size_t len = bytes.len < max ? bytes.len : max;
    memcpy(blocks[i]->data, bytes.ptr, len);
    struct wr_view v = wr_view_take(blocks[i], 0, len);
    enum wr_err put = wr_stream_append(&s->stream, &v, frames > 1 ? WR_EVENT_UNKNOWN : e->kind);
    WR_CHECK(put == WR_OK); /* there is room */
    wr_loop_stats(s->relay->loop)->copy_bytes[WR_COPY_EDIT] += len;
    bytes = wr_span_sub(bytes, len, bytes.len - len);
  }
  if (err == WR_OK) wr_view_drop(&e->view);
  return err;
}

static enum wr_err leave_whole(struct wr_session *s, struct wr_text_entry *e) {
  enum wr_err err = wr_stream_reserve(&s->stream, 1);
  if (err != WR_OK) return err;
  struct wr_view v = wr_view_move(&e->view);
  if (!e->lead) return wr_stream_append(&s->stream, &v, e->kind);
  v.ptr -= e->lead;
  v.len += e->lead + 2u;
  return wr_stream_append_framed(&s->stream, &v, e->kind, (uint8_t)(e->lead + 2u));
}

/* The first `bytes` of a window's text have left. */
static enum wr_err text_left(struct wr_text_window *w, size_t bytes, uint32_t stages,
                             bool remember) {
  WR_CHECK(bytes <= w->text.len);
  struct wr_span gone = wr_span_make(w->text.ptr, bytes);
  enum wr_err err = WR_OK;
  if (w->json) wr_window_json_pass(&w->state, gone);
  if (remember) err = wr_window_put(&w->sent, gone);
  memmove(w->text.ptr, w->text.ptr + bytes, w->text.len - bytes);
  w->text.len -= bytes;
  for (uint32_t i = 0; i < stages; i++) {
    WR_CHECK(w->clear[i] >= bytes);
    w->clear[i] -= bytes;
  }
  return err;
}

enum wr_err wr_window_flush(struct wr_session *s) {
  struct wr_windows *ws = s->at->win;
  uint32_t stages = s->route->text_count;
  bool remember = s->at->dialect == WR_DIALECT_RESPONSES;
  enum wr_err err = WR_OK;
  while (ws && err == WR_OK && ws->count) {
    struct wr_text_entry *e = wr_window_entry(ws, 0);
    if (!may_leave(ws, e, stages)) break;
    size_t bytes = e->view.len;
    bool content = e->content;
    err = is_edited(e) ? leave_edited(s, e) : leave_whole(s, e);
    if (err != WR_OK) break;
    ws->begun |= content;
    for (uint8_t k = 0; err == WR_OK && k < e->count; k++)
      err = text_left(&ws->windows[e->slots[k].window], e->slots[k].bytes, stages, remember);
    WR_CHECK(ws->bytes >= bytes);
    ws->bytes -= bytes;
    ws->head = (ws->head + 1) & (ws->cap - 1);
    ws->count--;
  }
  return err;
}

void wr_windows_free(struct wr_windows *ws) {
  if (!ws) return;
  for (uint32_t i = 0; i < ws->count; i++) wr_view_drop(&wr_window_entry(ws, i)->view);
  for (uint32_t i = 0; i < ws->window_cap; i++) {
    struct wr_text_window *w = &ws->windows[i];
    wr_heap_free(WR_HEAP_RELAY, w->text.ptr);
    wr_heap_free(WR_HEAP_RELAY, w->came.ptr);
    wr_heap_free(WR_HEAP_RELAY, w->sent.ptr);
  }
  wr_heap_free(WR_HEAP_RELAY, ws->tmp.ptr);
  wr_heap_free(WR_HEAP_RELAY, ws->windows);
  wr_heap_free(WR_HEAP_RELAY, ws->entries);
  wr_heap_free(WR_HEAP_RELAY, ws);
}

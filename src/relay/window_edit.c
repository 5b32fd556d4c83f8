/* What a verdict does to the text of a window: where it may be cut, and how the events that hold
 * it share what is left. */
#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "relay/window_priv.h"

enum wr_err wr_window_room(struct wr_window_bytes *b, size_t more) {
  WR_DCHECK(b->len <= b->cap);
  if (more <= b->cap - b->len) return WR_OK;
  size_t cap = b->cap ? b->cap : 256;
  while (cap - b->len < more) cap *= 2;
  char *p = wr_heap_realloc(WR_HEAP_RELAY, b->ptr, cap);
  if (!p) return WR_E_NOMEM;
  b->ptr = p;
  b->cap = cap;
  return WR_OK;
}

enum wr_err wr_window_put(struct wr_window_bytes *b, struct wr_span bytes) {
  enum wr_err err = wr_window_room(b, bytes.len);
  if (err != WR_OK || bytes.len == 0) return err;
  memcpy(b->ptr + b->len, bytes.ptr, bytes.len);
  b->len += bytes.len;
  return WR_OK;
}

/* Does the literal end in the first escape of a pair? */
static bool ends_in_half(struct wr_span s) {
  if (s.len < 6) return false;
  const char *p = s.ptr + s.len - 6;
  if (p[0] != '\\' || p[1] != 'u' || (p[2] | 0x20) != 'd') return false;
  char c = (char)(p[3] | 0x20);
  if (p[3] != '8' && p[3] != '9' && c != 'a' && c != 'b') return false;
  size_t slashes = 0;
  while (p - slashes > s.ptr && *(p - slashes - 1) == '\\') slashes++;
  return slashes % 2 == 0;
}

static enum wr_err decode_into(struct wr_text_window *w, struct wr_span quoted) {
  struct wr_buf out;
  enum wr_err err = wr_window_room(&w->text, quoted.len);
  if (err != WR_OK) return err;
  wr_buf_init(&out, w->text.ptr + w->text.len, w->text.cap - w->text.len);
  err = wr_json_string_decode(quoted, &out);
  w->text.len += out.len;
  return err;
}

enum wr_err wr_window_decode(struct wr_windows *ws, struct wr_text_window *w,
                             const struct wr_window_found_text *t, bool *edited) {
  struct wr_span literal = t->literal;
  bool half = !t->raw && ends_in_half(literal);
  if (!w->has_half && !half) {
    if (t->raw || !memchr(literal.ptr, '\\', literal.len)) return wr_window_put(&w->text, literal);
    return decode_into(w, wr_span_make(literal.ptr - 1, literal.len + 2)); /* with its quotes */
  }
  *edited = true;
  ws->tmp.len = 0;
  enum wr_err err = wr_window_put(&ws->tmp, WR_SPAN("\""));
  if (err == WR_OK && w->has_half) err = wr_window_put(&ws->tmp, wr_span_make(w->half, 6));
  w->has_half = half;
  if (half) {
    literal.len -= 6;
    memcpy(w->half, literal.ptr + literal.len, 6);
  }
  if (err == WR_OK) err = wr_window_put(&ws->tmp, literal);
  if (err == WR_OK) err = wr_window_put(&ws->tmp, WR_SPAN("\""));
  return err == WR_OK ? decode_into(w, wr_span_make(ws->tmp.ptr, ws->tmp.len)) : err;
}

/* The shares of the events: a to b go, n bytes come in at a. */
static void share(struct wr_windows *ws, uint32_t window, size_t a, size_t b, size_t n) {
  WR_DCHECK(a <= b);
  size_t pos = 0;
  struct wr_text_slot *taker = NULL;
  for (uint32_t i = 0; i < ws->count; i++) {
    struct wr_text_entry *e = wr_window_entry(ws, i);
    for (uint8_t k = 0; k < e->count; k++) {
      struct wr_text_slot *slot = &e->slots[k];
      if (slot->window != window) continue;
      size_t end = pos + slot->bytes;
      size_t lo = a > pos ? a : pos, hi = b < end ? b : end;
      /* The event that holds the first byte of what goes; for an insertion the one before it. */
      if (pos <= a && (a < end || (a == b && a == end)) && !(taker && a < b)) taker = slot;
      if (lo < hi) {
        slot->bytes -= (uint32_t)(hi - lo);
        slot->edited = true;
      }
      pos = end;
    }
  }
  if (n == 0) return;
  WR_CHECK(taker != NULL);
  taker->bytes += (uint32_t)n;
  taker->edited = true;
}

enum wr_err wr_window_splice(struct wr_windows *ws, uint32_t window, size_t a, size_t b,
                             struct wr_span text) {
  WR_CHECK(window < ws->window_count);
  struct wr_text_window *w = &ws->windows[window];
  WR_CHECK(a <= b && b <= w->text.len);
  enum wr_err err = wr_window_room(&w->text, text.len);
  if (err != WR_OK) return err;
  share(ws, window, a, b, text.len);
  memmove(w->text.ptr + a + text.len, w->text.ptr + b, w->text.len - b);
  if (text.len) memcpy(w->text.ptr + a, text.ptr, text.len);
  w->text.len = w->text.len - (b - a) + text.len;
  w->changed = true;
  return WR_OK;
}

/* --- where text may be cut --- */

static bool inside_char(const struct wr_text_window *w, size_t at) {
  return at < w->text.len && ((unsigned char)w->text.ptr[at] & 0xc0u) == 0x80;
}

size_t wr_window_cut(const struct wr_text_window *w, size_t from, size_t at) {
  WR_DCHECK(at <= w->text.len);
  while (at > from && inside_char(w, at)) at--;
  return at;
}

static void json_byte(struct wr_window_json *j, char c) {
  if (j->escape) {
    j->escape = j->escape == 6 ? (c == 'u' ? 4 : 0) : (uint8_t)(j->escape - 1);
  } else if (!j->in_string) {
    j->in_string = c == '"';
  } else if (c == '\\') {
    j->escape = 6;
  } else if (c == '"') {
    j->in_string = false;
  }
}

void wr_window_json_pass(struct wr_window_json *j, struct wr_span bytes) {
  for (size_t i = 0; i < bytes.len; i++) json_byte(j, bytes.ptr[i]);
}

static bool is_value_byte(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
         c == '+' || c == '.';
}

/* Outside of a string only a whole number or word can be replaced, by a string. */
static enum wr_err fit_value(const struct wr_text_window *w, size_t from, size_t *a, size_t *b,
                             struct wr_buf *out, struct wr_span text) {
  if (*a == *b) return WR_E_ARG;
  for (size_t i = *a; i < *b; i++)
    if (!is_value_byte(w->text.ptr[i])) return WR_E_ARG;
  while (*a > from && is_value_byte(w->text.ptr[*a - 1])) (*a)--;
  while (*b < w->text.len && is_value_byte(w->text.ptr[*b])) (*b)++;
  wr_buf_json_string(out, text);
  return WR_OK;
}

/* Inside of a string: whole escapes, and not beyond its end. An escape in which the range begins
 * stays. */
static enum wr_err fit_string(const struct wr_text_window *w, struct wr_window_json j, size_t *a,
                              size_t *b) {
  while (j.escape && *a < w->text.len) json_byte(&j, w->text.ptr[(*a)++]);
  if (j.escape || *a > *b) return WR_E_ARG;
  for (size_t i = *a; i < *b; i++) {
    json_byte(&j, w->text.ptr[i]);
    if (!j.in_string) return WR_E_ARG;
  }
  while (j.escape && *b < w->text.len) json_byte(&j, w->text.ptr[(*b)++]);
  return j.escape ? WR_E_ARG : WR_OK;
}

enum wr_err wr_window_fit(struct wr_windows *ws, const struct wr_text_window *w, size_t from,
                          size_t *a, size_t *b, struct wr_span *text) {
  WR_CHECK(from <= *a && *a <= *b && *b <= w->text.len);
  *a = wr_window_cut(w, from, *a);
  while (inside_char(w, *b)) (*b)++;
  if (!w->json) return WR_OK;
  struct wr_buf out;
  ws->tmp.len = 0;
  enum wr_err err = wr_window_room(&ws->tmp, text->len * 6 + 2);
  if (err != WR_OK) return err;
  wr_buf_init(&out, ws->tmp.ptr, ws->tmp.cap);
  struct wr_window_json j = w->state;
  wr_window_json_pass(&j, wr_span_make(w->text.ptr, *a));
  if (j.in_string) {
    err = fit_string(w, j, a, b);
    wr_buf_json_text(&out, *text);
  } else {
    err = fit_value(w, from, a, b, &out, *text);
  }
  WR_DCHECK(!out.overflow);
  *text = wr_buf_span(&out);
  return err;
}

/* The Responses API says each text again, whole, when it is complete: in the event that ends the
 * part, the item, and the response. Wherever one of these strings is a text that came, what was
 * sent stands in its place. */
#include "base/buf.h"
#include "base/check.h"
#include "relay/window_priv.h"

/* The window whose whole text the literal (with its quotes) is; UINT32_MAX: none. */
static uint32_t window_of(struct wr_windows *ws, struct wr_span literal) {
  WR_DCHECK(literal.len >= 2 && literal.ptr[0] == '"');
  bool escaped = memchr(literal.ptr, '\\', literal.len) != NULL;
  struct wr_span plain = wr_json_unquote(literal);
  if (escaped) {
    struct wr_buf out;
    ws->tmp.len = 0;
    if (wr_window_room(&ws->tmp, literal.len) != WR_OK) return UINT32_MAX;
    wr_buf_init(&out, ws->tmp.ptr, ws->tmp.cap);
    if (wr_json_string_decode(literal, &out) != WR_OK) return UINT32_MAX;
    plain = wr_buf_span(&out);
  }
  for (uint32_t i = 0; plain.len && i < ws->window_count; i++) {
    const struct wr_text_window *w = &ws->windows[i];
    if (wr_span_eq(plain, wr_span_make(w->came.ptr, w->came.len))) return i;
  }
  return UINT32_MAX;
}

bool wr_window_known(struct wr_windows *ws, struct wr_span literal) {
  WR_DCHECK(literal.len >= 2);
  return window_of(ws, literal) != UINT32_MAX;
}

/* Members that hold a text. */
static bool is_text_name(struct wr_span name) {
  static const char *const names[] = { "text",  "arguments", "refusal",
                                       "input", "code",      "transcript" };
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (wr_span_eq(name, wr_span_str(names[i]))) return true;
  return false;
}

/* The next string of a document at or behind `at`; false: there is none. */
static bool next_string(struct wr_span doc, size_t at, struct wr_span *out, bool *name) {
  const char *open = at < doc.len ? memchr(doc.ptr + at, '"', doc.len - at) : NULL;
  if (!open) return false;
  size_t i = (size_t)(open - doc.ptr) + 1;
  while (i < doc.len && doc.ptr[i] != '"') i += doc.ptr[i] == '\\' ? 2 : 1;
  if (i >= doc.len) return false;
  *out = wr_span_make(open, (size_t)(doc.ptr + i + 1 - open));
  i++;
  while (i < doc.len && (doc.ptr[i] == ' ' || doc.ptr[i] == '\n')) i++;
  *name = i < doc.len && doc.ptr[i] == ':';
  return true;
}

/* The next string that has to change, and the window whose text it is. */
static bool next_change(struct wr_windows *ws, struct wr_span doc, size_t *at,
                        struct wr_span *literal, uint32_t *window) {
  struct wr_span name = wr_span_make(NULL, 0);
  bool is_name;
  while (next_string(doc, *at, literal, &is_name)) {
    *at = (size_t)(literal->ptr - doc.ptr) + literal->len;
    if (is_name) {
      name = wr_json_unquote(*literal);
    } else if (is_text_name(name)) {
      *window = window_of(ws, *literal);
      if (*window != UINT32_MAX && ws->windows[*window].changed) return true;
    }
  }
  return false;
}

/* All that was and will be sent of a window, as a string. */
static enum wr_err put_sent(struct wr_windows *ws, struct wr_window_copy *c, uint32_t window) {
  struct wr_text_window *w = &ws->windows[window];
  size_t bytes = w->sent.len + w->text.len;
  WR_DCHECK(w->changed && window < ws->window_count);
  ws->tmp.len = 0;
  enum wr_err err = wr_window_room(&ws->tmp, bytes * 7 + 2);
  if (err != WR_OK) return err;
  char *plain = ws->tmp.ptr + bytes * 6 + 2;
  if (w->sent.len) memcpy(plain, w->sent.ptr, w->sent.len);
  if (w->text.len) memcpy(plain + w->sent.len, w->text.ptr, w->text.len);
  struct wr_buf out;
  wr_buf_init(&out, ws->tmp.ptr, bytes * 6 + 2);
  wr_buf_json_string(&out, wr_span_make(plain, bytes));
  WR_DCHECK(!out.overflow);
  wr_window_copy(c, wr_buf_span(&out));
  return WR_OK;
}

enum wr_err wr_window_repeat(struct wr_session *s, const struct wr_window_event *event) {
  struct wr_windows *ws = s->at->win;
  const struct wr_event *ev = event->ev;
  struct wr_span doc = event->joined ? ev->data : event->raw, literal;
  size_t at = 0, done = 0;
  uint32_t window = 0;
  if (!next_change(ws, doc, &at, &literal, &window)) return WR_E_AGAIN;
  struct wr_window_copy c = { .s = s, .kind = ev->kind };
  enum wr_err err = WR_OK;
  wr_window_copy_open(&c, event);
  do {
    size_t off = (size_t)(literal.ptr - doc.ptr);
    wr_window_copy(&c, wr_span_sub(doc, done, off - done));
    err = put_sent(ws, &c, window);
    done = off + literal.len;
  } while (err == WR_OK && next_change(ws, doc, &at, &literal, &window));
  wr_window_copy(&c, wr_span_sub(doc, done, doc.len - done));
  wr_window_copy_end(&c, event);
  return err == WR_OK ? c.err : err;
}

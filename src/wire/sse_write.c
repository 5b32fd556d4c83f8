#include "wire/sse_write.h"

#include "base/buf.h"

static enum wr_err result(const struct wr_buf *out) { return out->overflow ? WR_E_AGAIN : WR_OK; }

/* Length of the text up to the first CR or LF. */
static size_t line_len(struct wr_span s) {
  if (s.len == 0) return 0;
  const char *lf = memchr(s.ptr, '\n', s.len);
  size_t n = lf ? (size_t)(lf - s.ptr) : s.len;
  const char *cr = n ? memchr(s.ptr, '\r', n) : NULL;
  return cr ? (size_t)(cr - s.ptr) : n;
}

static void put_line(struct wr_buf *out, struct wr_span prefix, struct wr_span text) {
  wr_buf_put(out, prefix);
  wr_buf_put(out, text);
  wr_buf_char(out, '\n');
}

/* One prefixed line for each line of the text; a line end at its very end makes one more, empty. */
static void put_lines(struct wr_buf *out, struct wr_span prefix, struct wr_span text) {
  for (;;) {
    size_t n = line_len(text);
    put_line(out, prefix, wr_span_make(text.ptr, n));
    if (n == text.len) return;
    bool crlf = text.ptr[n] == '\r' && n + 1 < text.len && text.ptr[n + 1] == '\n';
    n += crlf ? 2 : 1;
    text = wr_span_sub(text, n, text.len - n);
  }
}

static bool is_one_line_text(struct wr_span s) {
  return line_len(s) == s.len && (s.len == 0 || !memchr(s.ptr, '\0', s.len));
}

bool wr_sse_is_one_line(struct wr_span data) { return line_len(data) == data.len; }

enum wr_err wr_sse_write_name(struct wr_buf *out, struct wr_span name) {
  if (!is_one_line_text(name)) return WR_E_ARG;
  if (name.len) put_line(out, WR_SSE_EVENT_PREFIX, name);
  return result(out);
}

enum wr_err wr_sse_write_id(struct wr_buf *out, struct wr_span id) {
  if (!is_one_line_text(id)) return WR_E_ARG;
  put_line(out, WR_SPAN("id: "), id);
  return result(out);
}

enum wr_err wr_sse_write_data(struct wr_buf *out, struct wr_span data) {
  put_lines(out, WR_SSE_DATA_PREFIX, data);
  return result(out);
}

enum wr_err wr_sse_write_comment(struct wr_buf *out, struct wr_span text) {
  put_lines(out, text.len ? WR_SPAN(": ") : WR_SPAN(":"), text);
  return result(out);
}

enum wr_err wr_sse_write_end(struct wr_buf *out) {
  wr_buf_char(out, '\n');
  return result(out);
}

enum wr_err wr_sse_write_event(struct wr_buf *out, struct wr_span name, struct wr_span data) {
  enum wr_err err = wr_sse_write_name(out, name);
  if (err == WR_OK) err = wr_sse_write_data(out, data);
  if (err == WR_OK) err = wr_sse_write_end(out);
  return err;
}

#include "wire/json_patch.h"

#include "base/buf.h"

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static bool is_within(struct wr_span doc, struct wr_extent e) {
  return (size_t)e.off + e.len <= doc.len;
}

enum wr_err wr_json_patch_insert(struct wr_span doc, struct wr_extent object,
                                 struct wr_span member, struct wr_json_edit *out) {
  if (object.len < 2 || !is_within(doc, object) || doc.ptr[object.off] != '{') return WR_E_ARG;
  const char *p = doc.ptr + object.off + 1;
  const char *end = doc.ptr + object.off + object.len;
  while (p < end && is_space(*p)) p++;
  if (p == end) return WR_E_ARG;
  out->at.off = object.off + 1;
  out->at.len = 0;
  out->text = member;
  out->comma = *p != '}';
  return WR_OK;
}

void wr_json_patch_sort(struct wr_json_edit *edits, size_t n) {
  for (size_t i = 1; i < n; i++) {
    struct wr_json_edit e = edits[i];
    size_t j = i;
    for (; j > 0 && edits[j - 1].at.off > e.at.off; j--) edits[j] = edits[j - 1];
    edits[j] = e;
  }
}

static void add_piece(struct wr_span *out, size_t *n_out, size_t *total, struct wr_span piece) {
  if (piece.len == 0) return;
  out[(*n_out)++] = piece;
  *total += piece.len;
}

enum wr_err wr_json_patch(struct wr_span doc, const struct wr_json_edit *edits, size_t n,
                          struct wr_span *out, size_t *n_out, size_t *bytes) {
  size_t at = 0;
  size_t total = 0;
  *n_out = 0;
  for (size_t i = 0; i < n; i++) {
    const struct wr_json_edit *e = &edits[i];
    if (e->at.off < at || !is_within(doc, e->at)) return WR_E_ARG;
    add_piece(out, n_out, &total, wr_span_sub(doc, at, e->at.off - at));
    add_piece(out, n_out, &total, e->text);
    if (e->comma) add_piece(out, n_out, &total, WR_SPAN(","));
    at = (size_t)e->at.off + e->at.len;
  }
  add_piece(out, n_out, &total, wr_span_sub(doc, at, doc.len - at));
  if (bytes) *bytes = total;
  return WR_OK;
}

enum wr_err wr_json_patch_write(struct wr_buf *out, struct wr_span doc,
                                const struct wr_json_edit *edits, size_t n) {
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    const struct wr_json_edit *e = &edits[i];
    if (e->at.off < at || !is_within(doc, e->at)) return WR_E_ARG;
    wr_buf_put(out, wr_span_sub(doc, at, e->at.off - at));
    wr_buf_put(out, e->text);
    if (e->comma) wr_buf_char(out, ',');
    at = (size_t)e->at.off + e->at.len;
  }
  wr_buf_put(out, wr_span_sub(doc, at, doc.len - at));
  return out->overflow ? WR_E_AGAIN : WR_OK;
}

/* json_patch.h: changes JSON text by splicing: the document stays where it is and new literals go
 * between its parts.
 *
 * Edits are made from extents that json_scan.h found; the pieces borrow from the document and from
 * the literals, nothing is copied or validated: a literal must be JSON (wr_buf_json_string of
 * base/buf.h writes strings). Pure functions. */
#ifndef WR_WIRE_JSON_PATCH_H
#define WR_WIRE_JSON_PATCH_H

#include "base/err.h"
#include "base/span.h"

/* `text`, and a comma if asked for, in place of `at` (len 0: in front of the byte at `at.off`). */
struct wr_json_edit {
  struct wr_extent at;
  struct wr_span text; /* borrowed: the caller's, must outlive the pieces */
  bool comma;
};

/* Pieces that n edits make at the most. */
#define WR_JSON_PATCH_PIECES(n) (3 * (n) + 1)

/* Replaces a value. */
static inline struct wr_json_edit wr_json_patch_replace(struct wr_extent raw,
                                                        struct wr_span literal) {
  struct wr_json_edit e = { raw, literal, false };
  return e;
}
/* Inserts a member (`"name":literal`) at the start of the object at extent `object`. WR_E_ARG:
 * that is no object. */
WR_MUST_USE enum wr_err wr_json_patch_insert(struct wr_span doc, struct wr_extent object,
                                             struct wr_span member, struct wr_json_edit *out);
/* Sorts a few edits by offset; edits at the same offset keep their order. */
void wr_json_patch_sort(struct wr_json_edit *edits, size_t n);
/* The new document as pieces, empty ones left out: edits sorted, not overlapping, within the
 * document (else WR_E_ARG). out has room for WR_JSON_PATCH_PIECES(n); *bytes, if not NULL, is the
 * new length. */
WR_MUST_USE enum wr_err wr_json_patch(struct wr_span doc, const struct wr_json_edit *edits,
                                      size_t n, struct wr_span *out, size_t *n_out, size_t *bytes);

struct wr_buf;
/* The same, appended to a buffer. WR_E_ARG; WR_E_AGAIN: `out` is full. */
WR_MUST_USE enum wr_err wr_json_patch_write(struct wr_buf *out, struct wr_span doc,
                                            const struct wr_json_edit *edits, size_t n);

#endif

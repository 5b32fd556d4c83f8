/* Patches: a valid document stays valid, and its values become what was asked for. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "wire/json_patch.h"
#include "wire/json_scan.h"

static const char *const PATHS[] = { "a", "b.c", "[0]" };
enum { N = sizeof PATHS / sizeof PATHS[0], EDITS = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool overlaps(const struct wr_json_edit *edits, size_t n, struct wr_extent e) {
  for (size_t i = 0; i < n; i++) {
    struct wr_extent o = edits[i].at;
    if (e.off < o.off + o.len && o.off < e.off + e.len) return true;
  }
  return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct wr_json_prog prog;
  if (prog.n_paths == 0) WR_CHECK(wr_json_compile(&prog, PATHS, N) == WR_OK);
  struct wr_span doc = wr_span_make(data, size);
  struct wr_json_value v[N];
  if (wr_json_scan(&prog, doc, v) != WR_OK) return 0;
  struct wr_json_edit edits[EDITS];
  size_t n = 0;
  uint32_t changed = 0;
  for (size_t i = 0; i < N; i++) {
    if (v[i].type == WR_JSON_MISSING || overlaps(edits, n, v[i].raw)) continue;
    edits[n++] = wr_json_patch_replace(v[i].raw, WR_SPAN("{\"new\":[1]}"));
    changed |= 1u << i;
  }
  struct wr_extent whole = { 0, (uint32_t)size };
  if (wr_json_patch_insert(doc, whole, WR_SPAN("\"z\":0"), &edits[n]) == WR_OK) n++;
  wr_json_patch_sort(edits, n);
  struct wr_span pieces[WR_JSON_PATCH_PIECES(EDITS)];
  size_t count;
  size_t bytes;
  WR_CHECK(wr_json_patch(doc, edits, n, pieces, &count, &bytes) == WR_OK);
  WR_CHECK(count <= WR_JSON_PATCH_PIECES(n));
  char *room = malloc(bytes + 1);
  WR_CHECK(room != NULL);
  struct wr_buf out;
  wr_buf_init(&out, room, bytes);
  WR_CHECK(wr_json_patch_write(&out, doc, edits, n) == WR_OK && out.len == bytes);
  size_t at = 0;
  for (size_t i = 0; i < count; at += pieces[i++].len) {
    WR_CHECK(memcmp(out.ptr + at, pieces[i].ptr, pieces[i].len) == 0);
  }
  WR_CHECK(at == bytes);
  WR_CHECK(wr_json_scan(&prog, wr_buf_span(&out), v) == WR_OK);
  for (size_t i = 0; i < N; i++) {
    if (!(changed >> i & 1)) continue;
    WR_CHECK(wr_span_eq(wr_json_raw(wr_buf_span(&out), &v[i]), WR_SPAN("{\"new\":[1]}")));
  }
  free(room);
  return 0;
}

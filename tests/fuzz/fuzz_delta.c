/* Deltas: two events that may be joined become one that is a delta too, with both texts in it. The
 * first byte of the input chooses the dialect; a byte 0 stands between the two events. */
#include <stdlib.h>

#include "base/buf.h"
#include "fuzz/fuzz.h"
#include "relay/delta.h"

static void check_pair(const struct wr_deltas *deltas, enum wr_dialect dialect, struct wr_span a,
                       struct wr_span b) {
  bool lines = dialect == WR_DIALECT_OLLAMA;
  struct wr_delta first, second, joined;
  if (!wr_delta_read(deltas, dialect, lines, a, &first)) return;
  WR_CHECK(fuzz_inside(first.text, a.len) && first.text.len > 0);
  WR_CHECK(fuzz_inside(first.number, a.len) && fuzz_inside(first.noise, a.len));
  struct wr_span text, number;
  WR_CHECK(wr_delta_same(&first, a, &text, &number)); /* itself */
  WR_CHECK(text.ptr == a.ptr + first.text.off && text.len == first.text.len);
  if (!wr_delta_same(&first, b, &text, &number)) return;
  if (!wr_delta_read(deltas, dialect, lines, b, &second)) return; /* not JSON, or no text in it */
  WR_CHECK(second.kind == first.kind && second.index == first.index);
  WR_CHECK(wr_span_eq(text, wr_span_at(b.ptr, second.text)));
  size_t both = first.text.len + text.len;
  char *sum = malloc(both), *room = malloc(a.len + b.len);
  WR_CHECK(sum != NULL && room != NULL);
  memcpy(sum, a.ptr + first.text.off, first.text.len);
  memcpy(sum + first.text.len, text.ptr, text.len);
  struct wr_buf out;
  wr_buf_init(&out, room, a.len + b.len);
  WR_CHECK(wr_delta_write(&first, wr_span_make(sum, both), number, &out) == WR_OK);
  struct wr_span whole = wr_buf_span(&out);
  WR_CHECK(wr_delta_read(deltas, dialect, lines, whole, &joined));
  WR_CHECK(joined.kind == first.kind && joined.index == first.index);
  WR_CHECK(wr_span_eq(wr_span_at(whole.ptr, joined.text), wr_span_make(sum, both)));
  if (number.len) WR_CHECK(wr_span_eq(wr_span_at(whole.ptr, joined.number), number));
  free(sum);
  free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct wr_deltas deltas;
  static bool made;
  if (!made) WR_CHECK(wr_deltas_init(&deltas) == WR_OK);
  made = true;
  if (size < 2) return 0;
  enum wr_dialect dialect = (enum wr_dialect)(data[0] % WR_DIALECTS);
  const uint8_t *in = data + 1, *cut = memchr(in, 0, size - 1);
  size_t n = cut ? (size_t)(cut - in) : size - 1;
  struct wr_span a = wr_span_make(in, n);
  struct wr_span b = cut ? wr_span_make(cut + 1, size - 2 - n) : a;
  check_pair(&deltas, dialect, a, b);
  check_pair(&deltas, dialect, b, a);
  return 0;
}

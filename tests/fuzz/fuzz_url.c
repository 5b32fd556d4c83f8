#include <string.h>

#include "base/buf.h"
#include "fuzz/fuzz.h"
#include "wire/url.h"

static char joined[2 * 65536];

static void check_url(struct wr_span text) {
  struct wr_url u;
  struct wr_authority a;
  if (wr_url_parse(text, &u) != WR_OK) return;
  struct wr_span authority = wr_span_at(text.ptr, u.authority);
  WR_CHECK(fuzz_inside(u.authority, text.len) && fuzz_inside(u.host, text.len));
  WR_CHECK(u.host.len > 0 && u.port > 0 && u.path.off + u.path.len == text.len);
  WR_CHECK(memchr(authority.ptr, '@', authority.len) == NULL);
  WR_CHECK(wr_authority_parse(authority, &a) == WR_OK);
  WR_CHECK(a.host.len == u.host.len && a.kind == u.kind && (a.port == 0 || a.port == u.port));
}

/* A path that was checked can be joined below a base, and stays checked there; and it matches
 * itself. */
static void check_path(struct wr_span path) {
  struct wr_buf out;
  if (!wr_path_check(path)) return;
  for (size_t i = 0; i < path.len; i++) WR_CHECK(path.ptr[i] > 0x20 && path.ptr[i] != '?');
  WR_CHECK(wr_path_matches(path, WR_SPAN("/"), WR_PATH_PREFIX));
  wr_buf_init(&out, joined, sizeof joined);
  WR_CHECK(wr_path_join(&out, WR_SPAN("/base/"), path) == WR_OK);
  WR_CHECK(wr_path_check(wr_buf_span(&out)));
  WR_CHECK(wr_path_matches(wr_buf_span(&out), WR_SPAN("/base"), WR_PATH_PREFIX));
  bool plain = memchr(path.ptr, '%', path.len) == NULL;
  for (size_t i = 1; i < path.len; i++)
    plain = plain && (path.ptr[i] != '/' || path.ptr[i - 1] != '/');
  if (plain) WR_CHECK(wr_path_matches(path, path, WR_PATH_EXACT));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct wr_span text = wr_span_make(data, size);
  struct wr_authority a;
  if (size > 60000) return 0;
  check_url(text);
  check_path(text);
  if (wr_authority_parse(text, &a) == WR_OK) WR_CHECK(fuzz_inside(a.host, size) && a.host.len > 0);
  (void)wr_query_check(text);
  size_t cut = fuzz_cut(data, size, 1);
  (void)wr_path_matches(wr_span_sub(text, 0, cut), wr_span_sub(text, cut, size - cut),
                        WR_PATH_PREFIX);
  return 0;
}

#include "base/span.h"

static unsigned char lower(unsigned char c) {
  return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

bool wr_span_ieq(struct wr_span a, struct wr_span b) {
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++)
    if (lower((unsigned char)a.ptr[i]) != lower((unsigned char)b.ptr[i])) return false;
  return true;
}

bool wr_span_starts(struct wr_span s, struct wr_span prefix) {
  return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static bool blank(char c) { return c == ' ' || c == '\t'; }

struct wr_span wr_span_trim(struct wr_span s) {
  while (s.len && blank(s.ptr[0])) s = wr_span_sub(s, 1, s.len - 1);
  while (s.len && blank(s.ptr[s.len - 1])) s.len--;
  return s;
}

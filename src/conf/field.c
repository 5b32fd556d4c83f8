#include "conf/field.h"

#include <string.h>

#include "base/check.h"
#include "base/text.h"

uint64_t wr_field_uint(const void *at, size_t width) {
  uint32_t small;
  uint64_t wide;
  if (width == sizeof wide) {
    memcpy(&wide, at, sizeof wide);
    return wide;
  }
  memcpy(&small, at, sizeof small);
  return small;
}

const void *wr_field_pointer(const void *at) {
  const void *ptr;
  memcpy(&ptr, at, sizeof ptr);
  return ptr;
}

size_t wr_field_count(const struct wr_option *f, const void *base) {
  size_t n;
  memcpy(&n, (const char *)base + f->count_offset, sizeof n);
  return n;
}

void wr_field_put_number(struct wr_buf *b, const struct wr_option *f, const void *at) {
  uint64_t v = wr_field_uint(at, f->type == WR_OPT_SIZE ? 8 : 4);
  if (f->zero && v == 0) {
    wr_buf_printf(b, "\"%s\"", f->zero);
  } else if (f->type == WR_OPT_INTEGER) {
    wr_buf_u64(b, v);
  } else if (f->type == WR_OPT_SHARE) {
    wr_buf_printf(b, "%g", (double)v / 1000);
  } else {
    wr_buf_char(b, '"');
    if (f->type == WR_OPT_DURATION) {
      wr_text_put_duration(b, v * 1000);
    } else {
      wr_text_put_size(b, v);
    }
    wr_buf_char(b, '"');
  }
  WR_DCHECK(!b->overflow);
}

static bool contains(const char *name, const char *word) {
  size_t n = strlen(name), w = strlen(word);
  for (size_t i = 0; i + w <= n; i++)
    if (wr_span_ieq(wr_span_make(name + i, w), wr_span_make(word, w))) return true;
  return false;
}

bool wr_field_is_secret(const char *name) {
  static const char *const words[] = { "auth", "key", "token", "secret", "cookie", "passw", NULL };
  if (strcmp(name, "tokens") == 0 || contains(name, "-token-") || contains(name, "_token_"))
    return false; /* the mock's counts */
  for (size_t i = 0; words[i]; i++)
    if (contains(name, words[i])) return true;
  return false;
}

#include "relay/kept.h"

#include <string.h>

#include "base/buf.h"
#include "base/check.h"

#define REPLACEMENT 0xfffdu

void wr_kept_unit_read(struct wr_span literal, struct wr_kept_unit *out) {
  static const char letters[] = "bfnrt", codes[] = "\b\f\n\r\t";
  WR_DCHECK(literal.len > 0);
  const char *p = literal.ptr;
  *out = (struct wr_kept_unit){ .used = 1, .code = (unsigned char)p[0] };
  if (p[0] != '\\' || literal.len < 2) return;
  out->escaped = true;
  out->used = 2;
  const char *letter = memchr(letters, p[1], sizeof letters - 1);
  out->code = (unsigned char)(letter ? codes[letter - letters] : p[1]);
  if (p[1] != 'u' || literal.len < 6) return;
  out->used = 6;
  out->code = 0;
  for (unsigned i = 2; i < 6; i++) {
    unsigned digit = (unsigned char)p[i] - (unsigned)'0';
    if (digit > 9) digit = ((unsigned char)p[i] | 0x20u) - (unsigned)'a' + 10u;
    out->code = (uint16_t)((unsigned)out->code << 4 | (digit & 15u));
  }
}

size_t wr_kept_utf8(uint16_t high, uint16_t code, char out[static 4]) {
  uint32_t c = code;
  if (high) c = 0x10000u + ((high & 0x3ffu) << 10 | (code & 0x3ffu));
  else if (wr_kept_is_high(c) || wr_kept_is_low(c)) c = REPLACEMENT;
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const unsigned char leads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
  for (size_t i = n; i-- > 1; c >>= 6) out[i] = (char)(0x80u | (c & 0x3fu));
  out[0] = (char)(leads[n] | c);
  return n;
}

/* The last block with room, or a new one. */
static enum wr_err room(struct wr_kept *k, struct wr_slabs *slabs, size_t used,
                        struct wr_block **out) {
  struct wr_block *last = k->count ? k->blocks[k->count - 1] : NULL;
  if (last && used < last->cap) {
    *out = last;
    return WR_OK;
  }
  size_t bytes = last ? (size_t)last->cap * 4 : WR_KEPT_FIRST_BYTES;
  if (bytes > wr_slabs_max_block(slabs)) bytes = wr_slabs_max_block(slabs);
  if (k->count == WR_KEPT_BLOCKS) return WR_E_BODY_TOO_LARGE;
  struct wr_block *b = wr_slabs_alloc(slabs, bytes, WR_CHARGE_KEPT_LOG);
  if (!b) return WR_E_POOL_FULL;
  k->blocks[k->count++] = b;
  *out = b;
  return WR_OK;
}

static size_t full_bytes(const struct wr_kept *k) {
  size_t n = 0;
  for (uint32_t i = 0; i + 1 < k->count; i++) n += k->blocks[i]->cap;
  WR_DCHECK(n <= k->len);
  return n;
}

static enum wr_err put(struct wr_kept *k, struct wr_slabs *slabs, const char *bytes, size_t len,
                       size_t most) {
  if (len > most || k->len > most - len) return WR_E_BODY_TOO_LARGE;
  while (len) {
    struct wr_block *b;
    enum wr_err err = room(k, slabs, k->len - full_bytes(k), &b);
    if (err != WR_OK) return err;
    size_t used = k->len - full_bytes(k);
    WR_CHECK(used < b->cap);
    size_t n = len < b->cap - used ? len : b->cap - used;
    memcpy(b->data + used, bytes, n);
    k->len += n;
    bytes += n;
    len -= n;
  }
  return WR_OK;
}

/* A half that stays alone. */
static enum wr_err put_half(struct wr_kept *k, struct wr_slabs *slabs, size_t most) {
  if (!k->high) return WR_OK;
  k->high = 0;
  return put(k, slabs, "\xef\xbf\xbd", 3, most);
}

enum wr_err wr_kept_put(struct wr_kept *k, struct wr_slabs *slabs, struct wr_span text,
                        bool escaped, size_t most) {
  enum wr_err err = WR_OK;
  while (err == WR_OK && text.len) {
    const char *slash = escaped ? memchr(text.ptr, '\\', text.len) : NULL;
    size_t plain = slash ? (size_t)(slash - text.ptr) : text.len;
    if (plain) {
      err = put_half(k, slabs, most);
      if (err == WR_OK) err = put(k, slabs, text.ptr, plain, most);
      text = wr_span_sub(text, plain, text.len - plain);
      continue;
    }
    struct wr_kept_unit u;
    char utf8[4];
    wr_kept_unit_read(text, &u);
    text = wr_span_sub(text, u.used, text.len - u.used);
    uint16_t high = wr_kept_is_low(u.code) ? k->high : 0;
    if (high) k->high = 0;
    else err = put_half(k, slabs, most);
    if (err == WR_OK && wr_kept_is_high(u.code)) k->high = u.code;
    else if (err == WR_OK) err = put(k, slabs, utf8, wr_kept_utf8(high, u.code, utf8), most);
  }
  return err;
}

struct wr_span wr_kept_piece(const struct wr_kept *k, size_t at) {
  WR_DCHECK(at <= k->len);
  size_t from = 0;
  for (uint32_t i = 0; i < k->count && at < k->len; i++) {
    const struct wr_block *b = k->blocks[i];
    if (at < from + b->cap) {
      size_t end = from + b->cap < k->len ? from + b->cap : k->len;
      return wr_span_make(b->data + (at - from), end - at);
    }
    from += b->cap;
  }
  return wr_span_make(NULL, 0);
}

static unsigned char byte_at(const struct wr_kept *k, size_t at) {
  struct wr_span s = wr_kept_piece(k, at);
  WR_CHECK(s.len > 0);
  return (unsigned char)s.ptr[0];
}

/* Where a character begins that `end` cuts; `end` when it cuts none. */
static size_t whole_chars(const struct wr_kept *k, size_t end) {
  for (size_t back = 1; back <= 3 && back <= end; back++) {
    unsigned char c = byte_at(k, end - back);
    if ((c & 0xc0u) == 0x80u) continue;
    size_t need = c >= 0xf0u ? 4 : c >= 0xe0u ? 3 : c >= 0xc0u ? 2 : 1;
    return need > back ? end - back : end;
  }
  return end;
}

size_t wr_kept_body(const struct wr_kept *k) {
  size_t n = whole_chars(k, k->len);
  while (n > 0) {
    unsigned char c = byte_at(k, n - 1);
    if (c != ' ' && c != '\n' && c != '\t' && c != '\r') break;
    n--;
  }
  return n;
}

size_t wr_kept_json(const struct wr_kept *k, size_t at, size_t end, size_t most,
                    struct wr_buf *out) {
  char plain[512];
  size_t from = at;
  WR_DCHECK(at <= end && end <= k->len);
  while (at < end) {
    size_t left = end - at, n = sizeof plain;
    if (n > left) n = left;
    if (n > most - (at - from)) n = most - (at - from);
    if (n > wr_buf_room(out) / 6) n = wr_buf_room(out) / 6;
    if (n < left) n = whole_chars(k, at + n) - at;
    if (n == 0) break;
    for (size_t got = 0; got < n;) {
      struct wr_span piece = wr_kept_piece(k, at + got);
      size_t take = piece.len < n - got ? piece.len : n - got;
      memcpy(plain + got, piece.ptr, take);
      got += take;
    }
    wr_buf_json_text(out, wr_span_make(plain, n));
    at += n;
  }
  WR_DCHECK(!out->overflow);
  return at - from;
}

void wr_kept_clear(struct wr_kept *k) {
  for (uint32_t i = 0; i < k->count; i++) wr_block_unref(k->blocks[i]);
  memset(k, 0, sizeof *k);
}

#include "wire/http1_body.h"

#include "base/check.h"
#include "wire/http1_chars.h"

enum {
  SIZE,    /* hex digits of a chunk size */
  EXT,     /* chunk extension, up to its CR */
  SIZE_LF, /* the LF behind a chunk size */
  DATA,
  DATA_CR, /* the line end behind a chunk's data */
  DATA_LF,
  TRAILER, /* the first byte of a trailer line, or the CR of the empty one */
  NAME,    /* in a trailer's name */
  VALUE,   /* in a trailer's value */
  TRAILER_LF,
  END_LF, /* the LF of the empty line */
  ENDED
};

/* 16 digits are 64 bits: more can't be told from an overflow. */
#define SIZE_MAX_DIGITS 16

void wr_http1_body_init(struct wr_http1_body *b, enum wr_framing framing, uint64_t content_length) {
  memset(b, 0, sizeof *b);
  b->framing = (uint8_t)framing;
  b->state = framing == WR_FRAMING_CHUNKED ? SIZE : DATA;
  if (framing == WR_FRAMING_LENGTH) b->left = content_length;
  if (framing == WR_FRAMING_UNTIL_CLOSE) b->left = UINT64_MAX;
  if (b->state == DATA && b->left == 0) b->state = ENDED;
}

/* ---- chunk sizes */

static enum wr_err size_ended(struct wr_http1_body *b, char c) {
  if (b->digits == 0) return WR_E_HTTP_CHUNK;
  if (c == '\r') b->state = SIZE_LF;
  else if (c == ';') b->state = EXT;
  else return WR_E_HTTP_CHUNK;
  return WR_OK;
}

static enum wr_err step_size(struct wr_http1_body *b, char c) {
  if (!wr_char_is(c, WR_CHAR_HEX)) return size_ended(b, c);
  if (++b->digits > SIZE_MAX_DIGITS) return WR_E_HTTP_CHUNK;
  b->left = b->left << 4 | wr_char_hex(c);
  return b->left > INT64_MAX ? WR_E_HTTP_CHUNK : WR_OK;
}

static enum wr_err step_ext(struct wr_http1_body *b, char c) {
  if (c == '\r') b->state = SIZE_LF;
  else if (!wr_char_is(c, WR_CHAR_VALUE)) return WR_E_HTTP_CHUNK;
  else if (++b->ext_bytes > WR_HTTP1_EXTENSION_MAX_BYTES) return WR_E_HTTP_CHUNK;
  return WR_OK;
}

static enum wr_err step_size_lf(struct wr_http1_body *b, char c) {
  if (c != '\n') return WR_E_HTTP_CHUNK;
  b->digits = 0;
  b->state = b->left > 0 ? DATA : TRAILER;
  return WR_OK;
}

/* ---- trailers */

/* Would a reader that merges trailers into the head come to another length or another host? */
static bool trailer_is_framing(const struct wr_http1_body *b) {
  char plain[sizeof b->name];
  if (b->name_len > sizeof b->name) return false;
  for (size_t i = 0; i < b->name_len; i++) plain[i] = b->name[i] == '_' ? '-' : b->name[i];
  enum wr_field_id id = wr_field_id_of(wr_span_make(plain, b->name_len));
  return id == WR_FIELD_CONTENT_LENGTH || id == WR_FIELD_TRANSFER_ENCODING || id == WR_FIELD_HOST;
}

static enum wr_err step_name(struct wr_http1_body *b, char c) {
  if (c == ':') {
    b->state = VALUE;
    return trailer_is_framing(b) ? WR_E_HTTP_FRAMING : WR_OK;
  }
  if (!wr_char_is(c, WR_CHAR_TOKEN)) return WR_E_HTTP_CHUNK;
  if (b->name_len < sizeof b->name) b->name[b->name_len] = c;
  if (b->name_len < UINT8_MAX) b->name_len++;
  return WR_OK;
}

static enum wr_err step_trailer(struct wr_http1_body *b, char c) {
  if (c == '\r') {
    b->state = END_LF;
    return WR_OK;
  }
  b->state = NAME;
  b->name_len = 0;
  return c == ':' ? WR_E_HTTP_CHUNK : step_name(b, c);
}

static enum wr_err step_value(struct wr_http1_body *b, char c) {
  if (c == '\r') b->state = TRAILER_LF;
  else if (!wr_char_is(c, WR_CHAR_VALUE)) return WR_E_HTTP_CHUNK;
  return WR_OK;
}

static enum wr_err step_expect(struct wr_http1_body *b, char c, char want, uint8_t next) {
  if (c != want) return WR_E_HTTP_CHUNK;
  b->state = next;
  return WR_OK;
}

/* One byte that is not data. */
static enum wr_err step(struct wr_http1_body *b, char c) {
  if (b->state >= TRAILER && ++b->trailer_bytes > WR_HTTP1_TRAILER_MAX_BYTES)
    return WR_E_HTTP_CHUNK;
  switch (b->state) {
    case SIZE: return step_size(b, c);
    case EXT: return step_ext(b, c);
    case SIZE_LF: return step_size_lf(b, c);
    case DATA_CR: return step_expect(b, c, '\r', DATA_LF);
    case DATA_LF: return step_expect(b, c, '\n', SIZE);
    case TRAILER: return step_trailer(b, c);
    case NAME: return step_name(b, c);
    case VALUE: return step_value(b, c);
    case TRAILER_LF: return step_expect(b, c, '\n', TRAILER);
    case END_LF: return step_expect(b, c, '\n', ENDED);
    default: return WR_E_INTERNAL;
  }
}

/* ---- the common case, where a line lies whole in the input: the same answers in a few
 * instructions */

static size_t quick_line_end(struct wr_http1_body *b, struct wr_span in, size_t at) {
  if (in.len - at < 2 || in.ptr[at] != '\r' || in.ptr[at + 1] != '\n') return at;
  b->state = SIZE;
  return at + 2;
}

/* A size of up to 15 digits and its line end, with data to follow; anything else is left to
 * step. */
static size_t quick_size(struct wr_http1_body *b, struct wr_span in, size_t at) {
  size_t i = at;
  uint64_t size = 0;
  while (i < in.len && i - at < SIZE_MAX_DIGITS - 1 && wr_char_is(in.ptr[i], WR_CHAR_HEX))
    size = size << 4 | wr_char_hex(in.ptr[i++]);
  if (size == 0 || in.len - i < 2 || in.ptr[i] != '\r' || in.ptr[i + 1] != '\n') return at;
  b->left = size;
  b->state = DATA;
  return i + 2;
}

/* ---- the whole */

/* Gives out what of in[at..] is data. */
static void give(struct wr_http1_body *b, struct wr_span in, size_t at, size_t *consumed,
                 struct wr_span *data) {
  size_t n = in.len - at;
  if (n > b->left) n = (size_t)b->left;
  *data = wr_span_sub(in, at, n);
  *consumed = at + n;
  b->total += n;
  if (b->framing == WR_FRAMING_UNTIL_CLOSE) return;
  b->left -= n;
  if (b->left > 0) return;
  b->state = b->framing == WR_FRAMING_CHUNKED ? DATA_CR : ENDED;
  if (b->state == DATA_CR) *consumed = quick_line_end(b, in, *consumed);
}

enum wr_err wr_http1_body_next(struct wr_http1_body *b, struct wr_span in, size_t *consumed,
                               struct wr_span *data) {
  size_t at = 0;
  *consumed = 0;
  *data = wr_span_make(NULL, 0);
  if (b->error) return (enum wr_err)b->error;
  if (b->state == DATA_CR) at = quick_line_end(b, in, at);
  if (b->state == SIZE && b->digits == 0) at = quick_size(b, in, at);
  while (at < in.len && b->state != DATA && b->state != ENDED) {
    enum wr_err err = step(b, in.ptr[at++]);
    if (err == WR_OK) continue;
    b->error = (uint8_t)err;
    *consumed = at;
    return err;
  }
  *consumed = at;
  if (b->state == DATA && at < in.len) give(b, in, at, consumed, data);
  if (b->state == ENDED) return WR_E_END;
  return *consumed < in.len ? WR_OK : WR_E_AGAIN;
}

enum wr_err wr_http1_body_eof(struct wr_http1_body *b) {
  if (b->error) return WR_E_UPSTREAM_FRAMING;
  if (b->framing == WR_FRAMING_UNTIL_CLOSE) b->state = ENDED;
  return b->state == ENDED ? WR_OK : WR_E_UPSTREAM_FRAMING;
}

bool wr_http1_body_ended(const struct wr_http1_body *b) {
  return b->state == ENDED && !b->error;
}

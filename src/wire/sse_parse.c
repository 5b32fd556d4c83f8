#include "wire/sse_parse.h"

#include "base/buf.h"
#include "base/check.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { FLAG_ID = 1, FLAG_RETRY = 2, FLAG_COMMENT = 4, FLAG_FIELD = 8 };
enum { START_DONE = 3 };

static const uint8_t BOM[START_DONE] = { 0xef, 0xbb, 0xbf };

static inline bool is_eol(char c) { return c == '\n' || c == '\r'; }

#if defined(__SSE2__)
static inline __m128i load16(const char *p) {
  return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline unsigned eol_mask(const char *p) {
  __m128i v = load16(p);
  __m128i lf = _mm_cmpeq_epi8(v, _mm_set1_epi8('\n'));
  __m128i cr = _mm_cmpeq_epi8(v, _mm_set1_epi8('\r'));
  return (unsigned)_mm_movemask_epi8(_mm_or_si128(lf, cr));
}

/* Skips blocks of 64 bytes without any byte up to CR: a superset of the line ends that costs one
 * comparison a block. */
static inline const char *skip_text(const char *p, const char *end) {
  const __m128i cr = _mm_set1_epi8('\r');
  for (; end - p >= 64; p += 64) {
    __m128i a = _mm_min_epu8(load16(p), load16(p + 16));
    __m128i b = _mm_min_epu8(load16(p + 32), load16(p + 48));
    __m128i m = _mm_min_epu8(a, b);
    if (_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(m, cr), m)) != 0) break;
  }
  return p;
}
#endif

/* The first CR or LF in p .. end, or end. */
static const char *find_eol(const char *p, const char *end) {
#if defined(__SSE2__)
  if (end - p >= 16) {
    const char *last = end - 16;
    p = skip_text(p, end);
    for (; p <= last; p += 16) {
      unsigned m = eol_mask(p);
      if (m) return p + __builtin_ctz(m);
    }
    /* The tail is read once more from its end backwards: what it shares with the block before
     * has no line end. */
    unsigned m = eol_mask(last);
    return m ? last + __builtin_ctz(m) : end;
  }
#endif
  while (p < end && !is_eol(*p)) p++;
  return p;
}

void wr_sse_init(struct wr_sse_parser *p, uint32_t max_event_bytes) {
  memset(p, 0, sizeof *p);
  p->max_bytes = max_event_bytes ? max_event_bytes : WR_SSE_MAX_EVENT_BYTES;
  if (p->max_bytes > (1u << 30)) p->max_bytes = 1u << 30;
}

/* Offset of a field's value in its line when the line has that field, else 0. `h` holds the
 * line's first bytes, at least those up to name_len + 2 that the line has. */
static inline uint32_t value_off(const char *h, uint32_t len, const char *name, uint32_t name_len) {
  if (len < name_len || memcmp(h, name, name_len) != 0) return 0;
  if (len == name_len) return name_len;
  if (h[name_len] != ':') return 0;
  return name_len + 1 + (len > name_len + 1 && h[name_len + 1] == ' ');
}

/* Takes one whole line that isn't blank; `h` holds its first bytes, `line` and `len` say where
 * it stands in the event. */
static void take_line(struct wr_sse_parser *p, const char *h, uint32_t line, uint32_t len) {
  uint32_t off = 0;
  if (h[0] == ':') {
    p->flags |= FLAG_COMMENT;
    return;
  }
  p->flags |= FLAG_FIELD;
  if (h[0] == 'd') {
    off = value_off(h, len, "data", 4);
    if (!off) return;
    if (p->data_lines == 0) p->data_off = line + off;
    p->data_end = line + len;
    if (p->data_lines < 2) p->data_lines++;
  } else if (h[0] == 'e') {
    off = value_off(h, len, "event", 5);
    if (!off) return;
    p->name_off = line + off;
    p->name_len = len - off;
  } else if (value_off(h, len, "id", 2)) {
    p->flags |= FLAG_ID;
  } else if (value_off(h, len, "retry", 5)) {
    p->flags |= FLAG_RETRY;
  }
}

static void dispatch(struct wr_sse_parser *p, uint32_t bytes, struct wr_sse_event *ev) {
  ev->bytes = bytes;
  ev->name.off = p->name_off;
  ev->name.len = p->name_len;
  ev->data.off = p->data_off;
  ev->data.len = p->data_end - p->data_off;
  ev->kind = WR_SSE_EMPTY;
  if (p->data_lines) {
    ev->kind = WR_SSE_EVENT;
  } else if (p->flags == FLAG_COMMENT) {
    ev->kind = WR_SSE_COMMENT_ONLY;
  }
  ev->multi_data = p->data_lines > 1;
  ev->has_id = (p->flags & FLAG_ID) != 0;
  ev->has_retry = (p->flags & FLAG_RETRY) != 0;
  p->pos = 0;
  p->line = 0;
  p->name_off = 0;
  p->name_len = 0;
  p->data_off = 0;
  p->data_end = 0;
  p->data_lines = 0;
  p->flags = 0;
}

/* Bytes of a line that began in an earlier call: those kept then, and up to eight from `in`. */
static void fill_head(struct wr_sse_parser *p, const char *in, size_t len) {
  size_t have = p->pos - p->line;
  if (have >= sizeof p->head) return;
  size_t n = sizeof p->head - have;
  memcpy(p->head + have, in, n < len ? n : len);
}

/* The mark at the stream's start, which may come in pieces; gives how many bytes of `in` belong
 * to it. */
static size_t take_bom(struct wr_sse_parser *p, const char *in, size_t len) {
  size_t i = 0;
  while (i < len && p->start < START_DONE && (uint8_t)in[i] == BOM[p->start]) {
    p->start++;
    i++;
  }
  if (p->start == START_DONE) {
    p->line = START_DONE;
  } else if (i < len) {
    /* No mark after all: what looked like one is the start of the first line. */
    p->start = START_DONE;
    memcpy(p->head, BOM, p->pos);
    i = 0;
  }
  return i;
}

/* What goes before the lines: the mark, and the LF of a CR that ended the last input. */
static size_t take_start(struct wr_sse_parser *p, const char *in, size_t len) {
  size_t i = 0;
  if (p->start < START_DONE) i = take_bom(p, in, len);
  if (p->after_cr && len > 0) {
    p->after_cr = 0;
    if (in[0] == '\n') {
      i = 1;
      p->line = p->pos + 1;
    }
  }
  return i;
}

static enum wr_err take_rest(struct wr_sse_parser *p, struct wr_span in, size_t limit,
                             size_t *consumed) {
  if (limit < in.len) {
    p->failed = true;
    return WR_E_EVENT_TOO_LARGE;
  }
  if (p->line >= p->pos) {
    size_t at = p->line - p->pos;
    size_t n = limit - at;
    memcpy(p->head, in.ptr + at, n < sizeof p->head ? n : sizeof p->head);
  } else {
    fill_head(p, in.ptr, limit);
  }
  p->pos += (uint32_t)limit;
  *consumed = limit;
  return WR_E_AGAIN;
}

/* The common case, one line of data and the blank line in one piece: the same answer in a few
 * instructions. False: anything else, which is left to the lines. */
static bool quick_event(const char *base, size_t limit, size_t *consumed, struct wr_sse_event *ev) {
  if (limit < 7 || memcmp(base, "data:", 5) != 0) return false;
  size_t e = (size_t)(find_eol(base + 5, base + limit) - base);
  if (limit - e < 2 || base[e] != '\n' || base[e + 1] != '\n') return false;
  uint32_t off = 5u + (base[5] == ' ');
  *ev = (struct wr_sse_event){ .kind = WR_SSE_EVENT,
                               .bytes = (uint32_t)e + 2u,
                               .data = { off, (uint32_t)e - off } };
  *consumed = e + 2;
  return true;
}

enum wr_err wr_sse_next(struct wr_sse_parser *p, struct wr_span in, size_t *consumed,
                        struct wr_sse_event *ev) {
  *consumed = 0;
  if (p->failed) return WR_E_EVENT_TOO_LARGE;
  if (in.len == 0) return WR_E_AGAIN;
  const char *base = in.ptr;
  uint32_t pos = p->pos;
  size_t limit = in.len < p->max_bytes - pos ? in.len : p->max_bytes - pos;
  size_t i = 0;
  if (p->start < START_DONE || p->after_cr) i = take_start(p, base, limit);
  else if (pos == 0 && quick_event(base, limit, consumed, ev)) return WR_OK;
  while (i < limit) {
    size_t e = i;
    if (!is_eol(base[i])) e = (size_t)(find_eol(base + i, base + limit) - base);
    if (e == limit) break;
    size_t next = e + 1;
    if (base[e] == '\r') {
      if (next == limit) {
        p->after_cr = 1;
      } else if (base[next] == '\n') {
        next++;
      }
    }
    uint32_t line = p->line;
    uint32_t len = pos + (uint32_t)e - line;
    if (len == 0) {
      *consumed = next;
      dispatch(p, pos + (uint32_t)next, ev);
      return WR_OK;
    }
    const char *h = base + i;
    if (line < pos) {
      fill_head(p, base, e);
      h = (const char *)p->head;
    }
    take_line(p, h, line, len);
    p->line = pos + (uint32_t)next;
    i = next;
  }
  return take_rest(p, in, limit, consumed);
}

enum wr_err wr_sse_finish(const struct wr_sse_parser *p) {
  if (p->failed) return WR_E_EVENT_TOO_LARGE;
  return p->pos > p->line || p->flags ? WR_E_TRUNCATED : WR_OK;
}

enum wr_err wr_sse_join_data(struct wr_span raw, const struct wr_sse_event *ev,
                              struct wr_buf *out) {
  if ((size_t)ev->data.off + ev->data.len > raw.len) return WR_E_ARG;
  const char *p = raw.ptr + ev->data.off;
  const char *end = p + ev->data.len;
  const char *eol = find_eol(p, end);
  wr_buf_put(out, wr_span_make(p, (size_t)(eol - p)));
  while (eol < end) {
    p = eol + 1;
    if (*eol == '\r' && p < end && *p == '\n') p++;
    eol = find_eol(p, end);
    uint32_t off = value_off(p, (uint32_t)(eol - p), "data", 4);
    if (!off) continue;
    wr_buf_char(out, '\n');
    wr_buf_put(out, wr_span_make(p + off, (size_t)(eol - p) - off));
  }
  return out->overflow ? WR_E_AGAIN : WR_OK;
}

#include "obs/line.h"

#include <string.h>

#include "base/check.h"

void wr_line_begin(struct wr_line *line, struct wr_buf *buf, enum wr_log_style style) {
  line->buf = buf;
  line->group = NULL;
  line->style = style;
  line->first = true;
  if (style == WR_LOG_STYLE_JSON) wr_buf_char(buf, '{');
}

void wr_line_end(struct wr_line *line) {
  WR_DCHECK(line->group == NULL);
  if (line->style == WR_LOG_STYLE_JSON) wr_buf_char(line->buf, '}');
}

/* A member's name, in one piece or not at all. */
static void put_json_key(struct wr_buf *buf, const char *key, bool first) {
  size_t len = strlen(key);
  if (wr_buf_room(buf) < len + 4) {
    buf->overflow = true;
    return;
  }
  char *p = buf->ptr + buf->len;
  if (!first) *p++ = ',';
  *p++ = '"';
  memcpy(p, key, len);
  p += len;
  *p++ = '"';
  *p++ = ':';
  buf->len = (size_t)(p - buf->ptr);
}

static void put_key(struct wr_line *line, const char *key) {
  struct wr_buf *buf = line->buf;
  if (line->style == WR_LOG_STYLE_JSON) {
    put_json_key(buf, key, line->first);
  } else {
    if (!line->first) wr_buf_char(buf, ' ');
    if (line->group) {
      wr_buf_put(buf, wr_span_str(line->group));
      wr_buf_char(buf, '.');
    }
    wr_buf_put(buf, wr_span_str(key));
    wr_buf_char(buf, '=');
  }
  line->first = false;
}

void wr_line_open(struct wr_line *line, const char *group) {
  WR_DCHECK(line->group == NULL);
  if (line->style == WR_LOG_STYLE_JSON) {
    put_key(line, group);
    wr_buf_char(line->buf, '{');
    line->first = true;
  }
  line->group = group;
}

void wr_line_close(struct wr_line *line) {
  WR_DCHECK(line->group != NULL);
  line->group = NULL;
  if (line->style != WR_LOG_STYLE_JSON) return;
  wr_buf_char(line->buf, '}');
  line->first = false;
}

/* Bare words are what every logfmt reader takes: nothing but visible ASCII without quote,
 * backslash and equals sign. */
static bool is_bare(struct wr_span text) {
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.ptr[i];
    if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '=') return false;
  }
  return text.len > 0;
}

void wr_line_text(struct wr_line *line, const char *key, struct wr_span text, size_t max_bytes) {
  if (text.len > max_bytes) {
    text.len = max_bytes;
    while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80) text.len--;
  }
  put_key(line, key);
  if (line->style == WR_LOG_STYLE_LOGFMT && is_bare(text))
    wr_buf_put(line->buf, text);
  else
    wr_buf_json_string(line->buf, text);
}

void wr_line_u64(struct wr_line *line, const char *key, uint64_t value) {
  put_key(line, key);
  wr_buf_u64(line->buf, value);
}

void wr_line_i64(struct wr_line *line, const char *key, int64_t value) {
  put_key(line, key);
  if (value < 0) wr_buf_char(line->buf, '-');
  wr_buf_u64(line->buf, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void wr_line_bool(struct wr_line *line, const char *key, bool value) {
  put_key(line, key);
  wr_buf_put(line->buf, value ? WR_SPAN("true") : WR_SPAN("false"));
}

/* value with leading zeros, in n digits. */
static char *put_digits(char *p, uint64_t value, unsigned n) {
  for (unsigned i = n; i-- > 0; value /= 10) p[i] = (char)('0' + value % 10);
  return p + n;
}

void wr_line_ms(struct wr_line *line, const char *key, uint64_t value_us) {
  char fraction[4] = { '.' };
  put_key(line, key);
  wr_buf_u64(line->buf, value_us / 1000);
  put_digits(fraction + 1, value_us % 1000, 3);
  wr_buf_put(line->buf, wr_span_make(fraction, 4));
}

/* Days since 1970 as a date of the Gregorian calendar; years are counted from March, so that the
 * leap day is the last of its year. */
static void civil_from_days(uint64_t days, unsigned *year, unsigned *month, unsigned *day) {
  uint64_t z = days + 719468;
  uint64_t era = z / 146097, doe = z % 146097;
  uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  uint64_t mp = (5 * doy + 2) / 153;
  *day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
  *month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
  *year = (unsigned)(yoe + era * 400 + (*month <= 2 ? 1 : 0));
}

void wr_line_time(struct wr_line *line, const char *key, uint64_t unix_us) {
  unsigned year, month, day;
  uint64_t seconds = unix_us / 1000000;
  unsigned of_day = (unsigned)(seconds % 86400);
  civil_from_days(seconds / 86400, &year, &month, &day);
  char text[32], *p = text;
  *p++ = '"';
  p = put_digits(p, year, 4);
  *p++ = '-';
  p = put_digits(p, month, 2);
  *p++ = '-';
  p = put_digits(p, day, 2);
  *p++ = 'T';
  p = put_digits(p, of_day / 3600, 2);
  *p++ = ':';
  p = put_digits(p, of_day / 60 % 60, 2);
  *p++ = ':';
  p = put_digits(p, of_day % 60, 2);
  *p++ = '.';
  p = put_digits(p, unix_us % 1000000, 6);
  *p++ = 'Z';
  *p++ = '"';
  put_key(line, key);
  size_t len = (size_t)(p - text);
  bool quoted = line->style == WR_LOG_STYLE_JSON;
  wr_buf_put(line->buf, quoted ? wr_span_make(text, len) : wr_span_make(text + 1, len - 2));
}

#include "wire/http_date.h"

#include "base/check.h"
#include "base/text.h"

#define DATE_LEN 29u /* "Sun, 06 Nov 1994 08:49:37 GMT" */

/* A number at an offset; UINT32_MAX where there is none. */
static uint32_t digits(struct wr_span text, size_t at, size_t len, uint32_t max) {
  uint64_t n = 0;
  WR_DCHECK(at + len <= text.len);
  return wr_text_u64(wr_span_make(text.ptr + at, len), max, &n) == WR_OK ? (uint32_t)n : UINT32_MAX;
}

/* 0 to 11; 12: none. */
static uint32_t month_of(const char *name) {
  static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  uint32_t m = 0;
  while (m < 12 && !wr_span_eq(wr_span_make(names + 3 * m, 3), wr_span_make(name, 3))) m++;
  return m;
}

/* Days from 1970 to the first of a year. */
static uint64_t days_before(uint32_t year) {
  uint64_t y = year - 1u;
  return y * 365 + y / 4 - y / 100 + y / 400 - 719162;
}

static bool is_leap(uint32_t year) {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

enum wr_err wr_http_date_s(struct wr_span text, uint64_t *out) {
  static const uint16_t before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365 };
  WR_CHECK(out != NULL);
  if (text.len != DATE_LEN || text.ptr[3] != ',' || text.ptr[4] != ' ' || text.ptr[7] != ' ' ||
      text.ptr[11] != ' ' || text.ptr[16] != ' ' || text.ptr[19] != ':' || text.ptr[22] != ':' ||
      !wr_span_eq(wr_span_make(text.ptr + 25, 4), WR_SPAN(" GMT")))
    return WR_E_TEXT_SYNTAX;
  uint32_t day = digits(text, 5, 2, 31), month = month_of(text.ptr + 8);
  uint32_t year = digits(text, 12, 4, 9999), hour = digits(text, 17, 2, 23);
  uint32_t minute = digits(text, 20, 2, 59), second = digits(text, 23, 2, 60);
  if (year < 1970 || year == UINT32_MAX || month > 11 || hour == UINT32_MAX ||
      minute == UINT32_MAX || second == UINT32_MAX || day == 0)
    return WR_E_TEXT_SYNTAX;
  uint32_t leap = is_leap(year) ? 1u : 0u;
  uint32_t length = before[month + 1] - before[month] + (month == 1 ? leap : 0u);
  if (day > length) return WR_E_TEXT_SYNTAX;
  uint64_t days = days_before(year) + before[month] + (month > 1 ? leap : 0u) + day - 1u;
  *out = days * 86400 + hour * 3600u + minute * 60u + second;
  return WR_OK;
}

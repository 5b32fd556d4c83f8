#include "base/text.h"

#include "base/check.h"

struct unit {
  const char *name; /* borrowed: a literal */
  uint64_t scale;
};

/* Largest first within a family: the writers take the first unit that divides the value. */
static const struct unit binary_units[] = {
  { "GiB", UINT64_C(1) << 30 }, { "MiB", UINT64_C(1) << 20 }, { "KiB", UINT64_C(1) << 10 },
  { "B", 1 },                   { NULL, 0 },
};
static const struct unit decimal_units[] = {
  { "GB", UINT64_C(1000000000) }, { "MB", 1000000 }, { "KB", 1000 }, { NULL, 0 },
};
static const struct unit time_units[] = {
  { "d", UINT64_C(86400000000) }, { "h", UINT64_C(3600000000) }, { "m", 60000000 },
  { "s", 1000000 },               { "ms", 1000 },                { "us", 1 },
  { NULL, 0 },
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

int wr_text_hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

enum wr_err wr_text_u64(struct wr_span text, uint64_t max, uint64_t *out) {
  if (text.len == 0) return WR_E_TEXT_SYNTAX;
  uint64_t value = 0;
  bool over = false; /* a bad byte behind too many digits is still bad syntax */
  for (size_t i = 0; i < text.len; i++) {
    if (!is_digit(text.ptr[i])) return WR_E_TEXT_SYNTAX;
    unsigned digit = (unsigned)(text.ptr[i] - '0');
    if (value > (UINT64_MAX - digit) / 10) over = true;
    if (!over) value = value * 10 + digit;
  }
  if (over || value > max) return WR_E_TEXT_RANGE;
  *out = value;
  return WR_OK;
}

enum wr_err wr_text_hex(struct wr_span text, uint64_t max, uint64_t *out) {
  if (text.len == 0) return WR_E_TEXT_SYNTAX;
  uint64_t value = 0;
  bool over = false;
  for (size_t i = 0; i < text.len; i++) {
    int digit = wr_text_hex_digit(text.ptr[i]);
    if (digit < 0) return WR_E_TEXT_SYNTAX;
    if (value >> 60) over = true;
    if (!over) value = value << 4 | (uint64_t)digit;
  }
  if (over || value > max) return WR_E_TEXT_RANGE;
  *out = value;
  return WR_OK;
}

static const struct unit *unit_find(const struct unit *units, struct wr_span name) {
  for (; units->name; units++)
    if (wr_span_eq(name, wr_span_str(units->name))) return units;
  return NULL;
}

static enum wr_err quantity(struct wr_span text, const struct unit *units,
                            const struct unit *more, uint64_t *out) {
  size_t digits = 0;
  while (digits < text.len && is_digit(text.ptr[digits])) digits++;
  if (digits == 0) return WR_E_TEXT_SYNTAX;
  struct wr_span name = wr_span_sub(text, digits, text.len - digits);
  const struct unit *unit = unit_find(units, name);
  if (!unit && more) unit = unit_find(more, name);
  if (!unit) return WR_E_TEXT_UNIT;
  WR_DCHECK(unit->scale > 0);
  uint64_t count;
  enum wr_err err = wr_text_u64(wr_span_sub(text, 0, digits), UINT64_MAX / unit->scale, &count);
  if (err != WR_OK) return err;
  *out = count * unit->scale;
  return WR_OK;
}

enum wr_err wr_text_size_bytes(struct wr_span text, uint64_t *out) {
  return quantity(text, binary_units, decimal_units, out);
}

enum wr_err wr_text_duration_us(struct wr_span text, uint64_t *out) {
  return quantity(text, time_units, NULL, out);
}

static void put_quantity(struct wr_buf *buf, uint64_t value, const struct unit *units,
                         const char *zero) {
  if (value == 0) {
    wr_buf_put(buf, wr_span_str(zero));
    return;
  }
  while (value % units->scale != 0) units++; /* ends at the unit of scale 1 */
  char text[WR_TEXT_UNIT_MAX_BYTES];
  struct wr_buf whole; /* so that number and unit fit together or not at all */
  wr_buf_init(&whole, text, sizeof text);
  wr_buf_u64(&whole, value / units->scale);
  wr_buf_put(&whole, wr_span_str(units->name));
  WR_CHECK(!whole.overflow);
  wr_buf_put(buf, wr_buf_span(&whole));
}

void wr_text_put_size(struct wr_buf *buf, uint64_t bytes) {
  put_quantity(buf, bytes, binary_units, "0B");
}

void wr_text_put_duration(struct wr_buf *buf, uint64_t duration_us) {
  put_quantity(buf, duration_us, time_units, "0s");
}

/* text.h: numbers, sizes and durations, read strictly and written shortly.
 *
 * Strict: no sign, no blanks, no leading '+', nothing behind the value, no overflow. A size or a
 * duration needs its unit, because "30" means seconds to one reader and milliseconds to another.
 * Pure functions, any thread.
 *
 * Errors: WR_E_TEXT_SYNTAX (no such value), WR_E_TEXT_RANGE (above max or 64 bits),
 * WR_E_TEXT_UNIT (the unit is missing or unknown). *out is untouched on an error. */
#ifndef WR_BASE_TEXT_H
#define WR_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

/* Decimal digits, 0..max; leading zeros are taken. */
WR_MUST_USE enum wr_err wr_text_u64(struct wr_span text, uint64_t max, uint64_t *out);
/* Hex digits of either case without a prefix, 0..max. */
WR_MUST_USE enum wr_err wr_text_hex(struct wr_span text, uint64_t max, uint64_t *out);
/* 0..15, or -1 for a byte that isn't a hex digit. */
int wr_text_hex_digit(char c);

/* Whole number and unit: B, KB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024), in
 * exactly this case. Result in bytes. */
WR_MUST_USE enum wr_err wr_text_size_bytes(struct wr_span text, uint64_t *out);
/* Whole number and unit: us, ms, s, m, h, d. Result in microseconds. */
WR_MUST_USE enum wr_err wr_text_duration_us(struct wr_span text, uint64_t *out);

/* The largest unit that says the value exactly: 65536 is "64KiB", 1500000 us is "1500ms". What
 * they write is read back to the same value; a size takes at most 21 bytes, a duration 22. */
void wr_text_put_size(struct wr_buf *buf, uint64_t bytes);
void wr_text_put_duration(struct wr_buf *buf, uint64_t duration_us);
#define WR_TEXT_UNIT_MAX_BYTES 24

#endif

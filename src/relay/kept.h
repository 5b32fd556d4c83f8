/* kept.h: the text of an answer as it has been sent so far, decoded, for somebody else to go on
 * with it.
 *
 * It comes in pieces of JSON literals, cut anywhere: inside of a UTF-8 character, between the two
 * escapes of a surrogate pair. It lies in blocks of the pool (class `kept_log`), the first of them
 * small, each next one four times as large. One thread. Internal to relay/. */
#ifndef WR_RELAY_KEPT_H
#define WR_RELAY_KEPT_H

#include "base/span.h"
#include "mem/slab.h"

#define WR_KEPT_BLOCKS 40u
#define WR_KEPT_FIRST_BYTES 1024u

struct wr_kept {
  struct wr_block *blocks[WR_KEPT_BLOCKS]; /* owned; all but the last are full */
  uint32_t count;
  uint16_t high; /* a high surrogate whose other half hasn't come; 0: none */
  size_t len;
};

/* One character of a JSON literal, or what there is of it. */
struct wr_kept_unit {
  uint8_t used;  /* bytes of the literal */
  bool escaped;  /* `code` is a UTF-16 unit; else `code` is a byte of UTF-8 */
  uint16_t code;
};
/* The first of a literal, which is not empty and valid JSON. */
void wr_kept_unit_read(struct wr_span literal, struct wr_kept_unit *out);
static inline bool wr_kept_is_high(uint32_t code) { return (code & 0xfc00u) == 0xd800u; }
static inline bool wr_kept_is_low(uint32_t code) { return (code & 0xfc00u) == 0xdc00u; }
/* Two surrogates, or one unit (a lone surrogate is U+FFFD), as UTF-8: its length. */
size_t wr_kept_utf8(uint16_t high, uint16_t code, char out[static 4]);

/* A zeroed struct is empty. literal: without quotes. WR_E_BODY_TOO_LARGE: it would be more than
 * `most` bytes. WR_E_POOL_FULL. After an error the text is not to be used any more. */
WR_MUST_USE enum wr_err wr_kept_put(struct wr_kept *kept, struct wr_slabs *slabs,
                                    struct wr_span literal, bool escaped, size_t most);
/* The bytes from `at` on that lie in one piece; empty at the end. Borrowed until the next put. */
struct wr_span wr_kept_piece(const struct wr_kept *kept, size_t at);
/* How much of it may be said to a server again: without an unfinished character at its end, nor the
 * white space in front of that, which some refuse. */
size_t wr_kept_body(const struct wr_kept *kept);
/* Appends up to `most` bytes of it from `at` on, up to `end`, as JSON text; never more than
 * out has room for, six for each, and only whole characters unless `end` cuts one. Returns the
 * bytes of text. */
struct wr_buf;
size_t wr_kept_json(const struct wr_kept *kept, size_t at, size_t end, size_t most,
                    struct wr_buf *out);
/* Empty again; its blocks go back. */
void wr_kept_clear(struct wr_kept *kept);

#endif

/* http1_body.h: the body of an HTTP/1.1 message, decoded into spans of the input; nothing is
 * copied.
 *
 * The decoder is 48 bytes, lives in its caller and owns nothing. The work is O(1) a chunk: data
 * bytes are never looked at. Chunk extensions are skipped (256 bytes a body, then refused);
 * trailers are dropped (8 KiB), but a framing field, Host or a malformed line in them is
 * refused: a reader that merged them would disagree with us. */
#ifndef WR_WIRE_HTTP1_BODY_H
#define WR_WIRE_HTTP1_BODY_H

#include "base/err.h"
#include "base/span.h"
#include "wire/head.h"

#define WR_HTTP1_EXTENSION_MAX_BYTES 256
#define WR_HTTP1_TRAILER_MAX_BYTES 8192

struct wr_http1_body {
  uint64_t left;          /* data bytes to come: of the body (LENGTH) or of this chunk */
  uint64_t total;         /* data bytes given out */
  uint16_t ext_bytes;     /* chunk extension bytes so far */
  uint16_t trailer_bytes; /* trailer bytes so far */
  uint8_t framing;        /* enum wr_framing */
  uint8_t state;
  uint8_t digits;   /* hex digits of this chunk size */
  uint8_t name_len; /* bytes of the trailer's name; 255: 255 or more */
  uint8_t error;    /* enum wr_err, once it is broken */
  char name[17];    /* the trailer's name, as far as it can matter */
};

/* content_length: with WR_FRAMING_LENGTH only. */
void wr_http1_body_init(struct wr_http1_body *b, enum wr_framing framing, uint64_t content_length);

/* Takes some of `in`: *consumed bytes of it (0..in.len), and *data is what is body among them, a
 * part of `in`, maybe empty. WR_OK: call again with the rest (something was consumed).
 * WR_E_AGAIN: all was consumed, more is needed; *data may hold bytes. WR_E_END: the body ended
 * with the last consumed byte; *data may hold bytes; what follows in `in` is the next message.
 * HTTP_CHUNK, HTTP_FRAMING: broken, and stays so; *data is empty. */
WR_MUST_USE enum wr_err wr_http1_body_next(struct wr_http1_body *b, struct wr_span in,
                                           size_t *consumed, struct wr_span *data);

/* The connection ended. WR_OK where that is a legal end (UNTIL_CLOSE, or the body had ended),
 * else UPSTREAM_FRAMING. */
WR_MUST_USE enum wr_err wr_http1_body_eof(struct wr_http1_body *b);

/* Did the body end by its own framing? False for UNTIL_CLOSE before wr_http1_body_eof. */
bool wr_http1_body_ended(const struct wr_http1_body *b);

#endif

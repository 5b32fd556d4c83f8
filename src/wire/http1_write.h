/* http1_write.h: heads and chunk frames, written anew. Nothing that upstream or a script says
 * can inject a line: each line is checked before its first byte is written. No state, no owner;
 * one thread for a buffer. */
#ifndef WR_WIRE_HTTP1_WRITE_H
#define WR_WIRE_HTTP1_WRITE_H

#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct wr_buf;

/* Errors of all: WR_E_ARG (a part is not legal there; the buffer is as it was) and WR_E_AGAIN
 * (the buffer has no room for the whole line; its overflow flag is set, and what it holds must
 * not be sent). */

/* "HTTP/1.1 200 OK". status 100..599. An empty reason gives the standard one. */
WR_MUST_USE enum wr_err wr_http1_put_status(struct wr_buf *out, unsigned status,
                                            struct wr_span reason);
/* "POST /v1/x HTTP/1.1". The method is a token; the target has no blank, control or non-ASCII
 * byte. */
WR_MUST_USE enum wr_err wr_http1_put_request(struct wr_buf *out, struct wr_span method,
                                             struct wr_span target);
/* The name is a token; the value has no CR, LF, NUL or other control character but HTAB. Blanks
 * around it are cut off. */
WR_MUST_USE enum wr_err wr_http1_put_field(struct wr_buf *out, struct wr_span name,
                                           struct wr_span value);
WR_MUST_USE enum wr_err wr_http1_put_field_u64(struct wr_buf *out, struct wr_span name,
                                               uint64_t value);
/* The empty line. */
WR_MUST_USE enum wr_err wr_http1_put_end(struct wr_buf *out);

/* "OK" for 200 and so on; "Unknown" where there is no standard reason. Static. */
struct wr_span wr_http1_reason(unsigned status);

#define WR_HTTP1_CHUNK_HEAD_BYTES 12
/* Writes "1f\r\n" for a chunk of len bytes (1 .. 2^40-1; 0 would end the body), returns its
 * length. The chunk's data is followed by WR_HTTP1_CRLF, or CRLF and the next chunk's head. */
size_t wr_http1_chunk_head(char out[static WR_HTTP1_CHUNK_HEAD_BYTES], size_t len);
#define WR_HTTP1_CRLF WR_SPAN("\r\n")
/* The last chunk with an empty trailer. Written only when the body truly ended. */
#define WR_HTTP1_LAST_CHUNK WR_SPAN("0\r\n\r\n")

#endif

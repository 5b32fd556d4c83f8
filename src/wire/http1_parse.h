/* http1_parse.h: strict reading of HTTP/1.x heads. Pure functions of bytes; nothing is owned or
 * kept.
 *
 * First find where the head ends (wr_http1_head_end, incremental and linear), then parse it
 * whole. Ambiguity is refused, never repaired: what weir takes, every other careful reader takes
 * the same way. After any error of a request the connection must be closed: its bytes can't be
 * trusted to be in step. See docs for the list of what is refused. */
#ifndef WR_WIRE_HTTP1_PARSE_H
#define WR_WIRE_HTTP1_PARSE_H

#include "base/err.h"
#include "base/span.h"
#include "wire/head.h"

struct wr_http1_limits {
  uint32_t max_head_bytes; /* with start line and empty line; 1 .. 1 MiB */
  uint16_t max_fields;     /* 1 .. WR_HEAD_MAX_FIELDS */
};
#define WR_HTTP1_LIMITS ((struct wr_http1_limits){ 16384, WR_HEAD_MAX_FIELDS })

/* Finds the end of a head in bytes that grow: `bytes` always starts at the same first byte.
 * *resume is 0 at first and is kept by the caller between calls: no byte is looked at twice.
 * WR_OK: the head is bytes[*head_off .. *head_off + *head_len), its empty line included.
 * WR_E_AGAIN: more is needed. WR_E_HEAD_TOO_LARGE: no end within max_bytes. WR_E_HTTP_SYNTAX: as
 * soon as a bare CR or LF, a NUL or another control character (but HTAB) is seen, or the head is
 * empty. head_off: one empty line before the head is skipped, *head_off is then 2. NULL
 * (responses): that is an error. */
WR_MUST_USE enum wr_err wr_http1_head_end(struct wr_span bytes, size_t *resume, size_t max_bytes,
                                          size_t *head_off, size_t *head_len);

/* `head` is exactly one head, as wr_http1_head_end found it (it is checked again: any bytes are
 * safe). On an error *out is not to be used. limits: NULL for WR_HTTP1_LIMITS. HTTP_SYNTAX,
 * HTTP_VERSION, HTTP_HOST, HTTP_FRAMING, HTTP_TARGET, EXPECTATION, METHOD (CONNECT, TRACE),
 * HEAD_TOO_LARGE. */
WR_MUST_USE enum wr_err wr_http1_parse_request(struct wr_span head,
                                               const struct wr_http1_limits *limits,
                                               struct wr_head *out);

/* request_method decides whether a body follows (HEAD). 1xx, 204, 304 and answers to HEAD have
 * none. An answer that is delimited by close has keep_alive false. UPSTREAM_SYNTAX,
 * UPSTREAM_FRAMING. */
WR_MUST_USE enum wr_err wr_http1_parse_response(struct wr_span head,
                                                enum wr_method request_method,
                                                const struct wr_http1_limits *limits,
                                                struct wr_head *out);

/* The same error when an upstream made it: HTTP_SYNTAX, HTTP_VERSION and HEAD_TOO_LARGE become
 * UPSTREAM_SYNTAX, HTTP_CHUNK and HTTP_FRAMING become UPSTREAM_FRAMING; others stay. For
 * wr_http1_head_end and wr_http1_body_next. */
enum wr_err wr_http1_as_upstream(enum wr_err err);

/* RFC 9110 token characters, one or more. */
bool wr_http1_is_token(struct wr_span s);
/* No control character but HTAB. Bytes above 0x7f are legal (obs-text). */
bool wr_http1_is_field_value(struct wr_span s);

#endif

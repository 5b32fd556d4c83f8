/* head.h: the head of an HTTP/1.1 message as a table of extents.
 *
 * The parser (wire/http1_parse.h) fills the table; every offset counts from the first byte of
 * the head, so the table stays true when the head's bytes move. The struct is about 2 KB: parse
 * into one scratch a worker (or the stack), take from it what must live on, and keep the bytes.
 * It owns nothing and has no _fini; any thread, one at a time. */
#ifndef WR_WIRE_HEAD_H
#define WR_WIRE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

#define WR_HEAD_MAX_FIELDS 100

enum wr_method {
  WR_METHOD_OTHER, /* a valid token; its bytes are head->method_text */
  WR_METHOD_GET,
  WR_METHOD_HEAD,
  WR_METHOD_POST,
  WR_METHOD_PUT,
  WR_METHOD_DELETE,
  WR_METHOD_OPTIONS,
  WR_METHOD_PATCH,
  WR_METHODS
};

/* Known names: X(ID, name in lower case, first byte, last byte but two). The look-up is a switch
 * over these two bytes and the length, so the compiler refuses a clash. At most 63. */
#define WR_FIELD_LIST(X)                                  \
  X(HOST, "host", 'h', 'o')                               \
  X(CONTENT_LENGTH, "content-length", 'c', 'g')           \
  X(TRANSFER_ENCODING, "transfer-encoding", 't', 'i')     \
  X(CONNECTION, "connection", 'c', 'i')                   \
  X(KEEP_ALIVE, "keep-alive", 'k', 'i')                   \
  X(PROXY_CONNECTION, "proxy-connection", 'p', 'i')       \
  X(PROXY_AUTHENTICATE, "proxy-authenticate", 'p', 'a')   \
  X(PROXY_AUTHORIZATION, "proxy-authorization", 'p', 'i') \
  X(TE, "te", 't', 't')                                   \
  X(TRAILER, "trailer", 't', 'l')                         \
  X(UPGRADE, "upgrade", 'u', 'a')                         \
  X(HTTP2_SETTINGS, "http2-settings", 'h', 'n')           \
  X(EXPECT, "expect", 'e', 'e')                           \
  X(CONTENT_TYPE, "content-type", 'c', 'y')               \
  X(CONTENT_ENCODING, "content-encoding", 'c', 'i')       \
  X(ACCEPT, "accept", 'a', 'e')                           \
  X(ACCEPT_ENCODING, "accept-encoding", 'a', 'i')         \
  X(AUTHORIZATION, "authorization", 'a', 'i')             \
  X(X_API_KEY, "x-api-key", 'x', 'k')                     \
  X(API_KEY, "api-key", 'a', 'k')                         \
  X(X_GOOG_API_KEY, "x-goog-api-key", 'x', 'k')           \
  X(ANTHROPIC_VERSION, "anthropic-version", 'a', 'i')     \
  X(ANTHROPIC_BETA, "anthropic-beta", 'a', 'e')           \
  X(OPENAI_ORGANIZATION, "openai-organization", 'o', 'i') \
  X(OPENAI_PROJECT, "openai-project", 'o', 'e')           \
  X(USER_AGENT, "user-agent", 'u', 'e')                   \
  X(TRACEPARENT, "traceparent", 't', 'e')                 \
  X(TRACESTATE, "tracestate", 't', 'a')                   \
  X(X_REQUEST_ID, "x-request-id", 'x', '-')               \
  X(REQUEST_ID, "request-id", 'r', '-')                   \
  X(IDEMPOTENCY_KEY, "idempotency-key", 'i', 'k')         \
  X(LAST_EVENT_ID, "last-event-id", 'l', '-')             \
  X(FORWARDED, "forwarded", 'f', 'd')                     \
  X(X_FORWARDED_FOR, "x-forwarded-for", 'x', 'f')         \
  X(X_FORWARDED_PROTO, "x-forwarded-proto", 'x', 'o')     \
  X(X_FORWARDED_HOST, "x-forwarded-host", 'x', 'o')       \
  X(VIA, "via", 'v', 'v')                                 \
  X(COOKIE, "cookie", 'c', 'k')                           \
  X(ORIGIN, "origin", 'o', 'g')                           \
  X(X_GRPC_WEB, "x-grpc-web", 'x', 'w')                   \
  X(GRPC_TIMEOUT, "grpc-timeout", 'g', 'o')               \
  X(RETRY_AFTER, "retry-after", 'r', 't')                 \
  X(RETRY_AFTER_MS, "retry-after-ms", 'r', '-')           \
  X(X_SHOULD_RETRY, "x-should-retry", 'x', 't')           \
  X(DATE, "date", 'd', 'a')                               \
  X(SERVER, "server", 's', 'v')                           \
  X(CACHE_CONTROL, "cache-control", 'c', 'r')             \
  X(LOCATION, "location", 'l', 'i')                       \
  X(SET_COOKIE, "set-cookie", 's', 'k')                   \
  X(VARY, "vary", 'v', 'a')                               \
  X(ALT_SVC, "alt-svc", 'a', 's')                         \
  X(WWW_AUTHENTICATE, "www-authenticate", 'w', 'a')       \
  X(X_ACCEL_BUFFERING, "x-accel-buffering", 'x', 'i')

enum wr_field_id {
  WR_FIELD_OTHER, /* a name that is not in the list */
#define X(id, name, first, third) WR_FIELD_##id,
  WR_FIELD_LIST(X)
#undef X
  WR_FIELD_IDS
};

/* How the length of the body is known. */
enum wr_framing {
  WR_FRAMING_NONE,        /* no body */
  WR_FRAMING_LENGTH,      /* content_length bytes; may be 0 */
  WR_FRAMING_CHUNKED,
  WR_FRAMING_UNTIL_CLOSE, /* responses only */
};

struct wr_field {
  struct wr_extent name;  /* as it came: case is kept */
  struct wr_extent value; /* without blanks around it; may be empty */
  uint8_t id;             /* enum wr_field_id */
};

struct wr_head {
  /* Requests. */
  struct wr_extent method_text;
  struct wr_extent target; /* whole: origin-form, absolute-form or "*" */
  struct wr_extent path;   /* begins with "/" (an absolute-form without a path has "/"); or "*" */
  struct wr_extent query;  /* without "?"; empty when there is none */
  struct wr_extent host;   /* the value of Host, host[:port], checked */
  /* Responses. */
  struct wr_extent reason;
  uint16_t status;        /* 100..599; 0 in a request */
  uint8_t method;         /* enum wr_method */
  uint8_t version_minor;  /* 0 or 1 */
  /* Derived by the parser. */
  uint8_t framing;        /* enum wr_framing */
  bool keep_alive;        /* the sender is willing (version, Connection); not with UNTIL_CLOSE */
  bool expect_continue;   /* "Expect: 100-continue" of an HTTP/1.1 request */
  bool has_upgrade;       /* Upgrade is present; weir never follows it */
  bool has_query;         /* tells "/x?" from "/x" */
  bool connection_names;  /* Connection lists names of fields, not only close and keep-alive */
  uint16_t field_count;   /* 0..WR_HEAD_MAX_FIELDS */
  uint32_t head_len;      /* bytes, with the empty line: the body starts here */
  uint64_t content_length; /* bytes; of responses without a body: what was announced, or 0 */
  uint64_t seen;          /* bit n: id n (1..63) occurs */
  struct wr_field fields[WR_HEAD_MAX_FIELDS]; /* in order; only the first field_count are set */
};

/* The id of a name, whatever its case; WR_FIELD_OTHER when it isn't known. */
enum wr_field_id wr_field_id_of(struct wr_span name);
/* The name in lower case; empty for OTHER. Static. */
struct wr_span wr_field_name(enum wr_field_id id);
enum wr_method wr_method_of(struct wr_span name);
/* "GET" and so on; "" for OTHER. Static. */
struct wr_span wr_method_name(enum wr_method method);

static inline bool wr_head_has(const struct wr_head *h, enum wr_field_id id) {
  return (h->seen >> (unsigned)id & 1u) != 0;
}

/* The first field of that id or name (any case), or NULL; borrowed from the head. `base` is the
 * first byte of the head. With `after` (a field of this head) the search goes on behind it: how
 * repeated fields are read. */
const struct wr_field *wr_head_find(const struct wr_head *h, enum wr_field_id id,
                                    const struct wr_field *after);
const struct wr_field *wr_head_find_name(const struct wr_head *h, const char *base,
                                         struct wr_span name, const struct wr_field *after);
/* The value of the first such field, or the empty span. */
struct wr_span wr_head_value(const struct wr_head *h, const char *base, enum wr_field_id id);

/* May this field not pass to the other side? True for the connection's own fields (Connection,
 * Keep-Alive, TE, Trailer, Transfer-Encoding, Upgrade, Proxy-*, HTTP2-Settings) and for all that
 * Connection names. Content-Length, Host and Expect are end-to-end by this test, but the writer
 * of the new head makes its own: see wr_head_is_rewritten. */
bool wr_head_is_hop_by_hop(const struct wr_head *h, const char *base, const struct wr_field *f);
/* Content-Length, Host, Expect: the sender of the new message writes these itself. */
bool wr_head_is_rewritten(const struct wr_field *f);

/* Is `token` (any case) an element of a comma-separated list value? */
bool wr_list_has(struct wr_span list, struct wr_span token);
/* Takes the next element, without blanks, off the front of *list; empty elements are skipped.
 * False at the end. */
bool wr_list_next(struct wr_span *list, struct wr_span *element);

#endif

/* url.h: upstream URLs, authorities, and the paths of routes. Pure; extents count from the first
 * byte of what was parsed. */
#ifndef WR_WIRE_URL_H
#define WR_WIRE_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct wr_buf;

enum wr_host_kind { WR_HOST_NAME, WR_HOST_IPV4, WR_HOST_IPV6 };

struct wr_authority {
  struct wr_extent host; /* without the brackets of an IPv6 address; never empty */
  uint16_t port;         /* 1..65535, 0 when there is none */
  uint8_t kind;          /* enum wr_host_kind */
};

struct wr_url {
  struct wr_extent authority; /* host[:port] as written: the value for a Host field */
  struct wr_extent host;      /* without brackets: what to resolve, or SNI for names */
  struct wr_extent path;      /* "/base/path" as written, or empty */
  uint16_t port;              /* 80 or 443 when it isn't written */
  uint8_t kind;               /* enum wr_host_kind */
  bool tls;                   /* https */
};

/* host[:port]. Names are letters, digits, "-", ".", "_" and "~": no user, no percent-encoding,
 * no list, no blank; a name whose last label is all digits must be a dotted IPv4 address. An
 * empty port is refused. TEXT_SYNTAX, TEXT_RANGE (port). */
WR_MUST_USE enum wr_err wr_authority_parse(struct wr_span text, struct wr_authority *out);

/* http://host[:port][/base/path] or https://…; the scheme in any case. No user, query, fragment
 * or dot segment. TEXT_SYNTAX, TEXT_RANGE. */
WR_MUST_USE enum wr_err wr_url_parse(struct wr_span text, struct wr_url *out);

/* Is this a path that cannot be read in two ways? It begins with "/" but not with "//", holds
 * only pchar and "/", each "%" has two hex digits, no %00, and no dot segment, where "%2e"
 * counts as a dot and "%2f" and "%5c" as separators, and parameters (";x") do not hide one.
 * Request parsing refuses all else as HTTP_TARGET. */
bool wr_path_check(struct wr_span path);
/* pchar, "/", "?", and "[" "]" (which SDKs send bare); each "%" has two hex digits. */
bool wr_query_check(struct wr_span query);

enum wr_path_match {
  WR_PATH_EXACT,  /* the whole path */
  WR_PATH_PREFIX, /* whole segments: "/v1" matches "/v1" and "/v1/x", not "/v1x"; "/" matches all */
};
/* Does a checked path match a route's pattern? The path is read with encoded unreserved
 * characters decoded (once) and runs of "/" as one; "%2F" is not a separator. The pattern is
 * plain text, taken literally; case matters. */
bool wr_path_matches(struct wr_span path, struct wr_span pattern, enum wr_path_match how);

/* Appends base + target (a path, with its query if any) with exactly one "/" between: "/base/"
 * and "/v1/x?y" give "/base/v1/x?y". An empty base gives the target. WR_E_ARG when the target
 * doesn't begin with "/"; WR_E_AGAIN when the buffer is full. */
WR_MUST_USE enum wr_err wr_path_join(struct wr_buf *out, struct wr_span base,
                                      struct wr_span target);

#endif

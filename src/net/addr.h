/* addr.h: one socket address as plain data: IPv4, IPv6 or a Unix socket's path. */
#ifndef WR_NET_ADDR_H
#define WR_NET_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct wr_addr {
  uint16_t len;              /* bytes of raw in use */
  _Alignas(8) char raw[112]; /* a struct sockaddr_in, _in6 or _un */
};

/* "127.0.0.1:8080", "[::1]:8080", ":8080" (every address, IPv6 and IPv4), "unix:/run/weir.sock"; no
 * names. WR_E_TEXT_SYNTAX. Port 0 lets the system choose. */
WR_MUST_USE enum wr_err wr_addr_parse(struct wr_span text, struct wr_addr *out);
/* Writes the text form with a NUL, at most cap bytes; returns out. 128 bytes hold any. */
const char *wr_addr_format(const struct wr_addr *addr, char *out, size_t cap);
/* An IP literal ("10.0.0.1", "::1") with a port; WR_E_TEXT_SYNTAX when host is a name. */
WR_MUST_USE enum wr_err wr_addr_literal(struct wr_span host, uint16_t port, struct wr_addr *out);
/* The bytes that tell one client's network from another's: an IPv4 address (also one in IPv6's
 * clothes), or the first half of an IPv6 address, as its owner has all of a /64. Returns how many,
 * at most 16; 0: of a Unix socket there is none. */
size_t wr_addr_network(const struct wr_addr *addr, char out[static 16]);
/* Does the system know a way there? Nothing is sent; two system calls or three. */
bool wr_addr_has_route(const struct wr_addr *addr);
bool wr_addr_is_loopback(const struct wr_addr *addr);
bool wr_addr_is_unix(const struct wr_addr *addr);
uint16_t wr_addr_port(const struct wr_addr *addr);

#endif

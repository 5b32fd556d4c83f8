/* resolve.h: names to addresses with c-ares on the worker's own loop, with a cache that follows the
 * records' TTL (at least 1 s, at most 5 min; failures 1 s). One resolver a worker; loop thread
 * only. */
#ifndef WR_NET_RESOLVE_H
#define WR_NET_RESOLVE_H

#include "net/addr.h"
#include "net/loop.h"

struct wr_resolver;
struct wr_resolve; /* one look-up under way */

#define WR_RESOLVE_MAX 16

/* addrs is borrowed for the call; n is 0 when err is not WR_OK (WR_E_RESOLVE). IPv6 and IPv4
 * alternate. why is one sentence. It may ask again and cancel others, but not free the resolver. */
typedef void (*wr_resolve_fn)(void *ctx, enum wr_err err, const struct wr_addr *addrs, size_t n,
                              const char *why);

WR_MUST_USE enum wr_err wr_resolver_new(struct wr_loop *loop, struct wr_resolver **out);
void wr_resolver_free(struct wr_resolver *resolver); /* cancels what is under way */

/* Asks these servers instead of the system's: "127.0.0.1:5353,[::1]:53". WR_E_ARG. */
WR_MUST_USE enum wr_err wr_resolver_set_servers(struct wr_resolver *resolver, const char *servers);

/* host: a name or an IP literal. When the answer is known at once (literal, cache), it is put into
 * addrs (room for WR_RESOLVE_MAX) with *n > 0 and fn is not called; otherwise *n is 0, *out is the
 * look-up and fn is called later, once, unless cancelled. WR_E_RESOLVE at once when the name is
 * known not to resolve; then fn isn't called either. */
WR_MUST_USE enum wr_err wr_resolve_start(struct wr_resolver *resolver, const char *host,
                                         uint16_t port, wr_resolve_fn fn, void *ctx,
                                         struct wr_addr *addrs, size_t *n, struct wr_resolve **out);
/* The last answer there was for a name, however long ago: 0 to WR_RESOLVE_MAX addresses. Asks
 * nobody. */
size_t wr_resolve_last(struct wr_resolver *resolver, const char *host, uint16_t port,
                       struct wr_addr *addrs);
void wr_resolve_cancel(struct wr_resolve *resolve);

/* The name library that runs. */
const char *wr_resolve_library_version(void);

#endif

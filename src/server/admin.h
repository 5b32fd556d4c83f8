/* admin.h: the operator's listener: HTTP/1.1 on a Unix socket or loopback.
 *
 *   GET  /healthz   200 "ok" while the loop turns
 *   GET  /readyz    200 "ready", or 503 with the reason (draining, no memory)
 *   GET  /metrics   Prometheus text
 *   GET  /streams   JSON: what runs now
 *   GET  /upstreams JSON: how each URL of the upstreams stands
 *   GET  /status    JSON: the process, its workers, and what policies are put aside
 *   GET  /flags     JSON: the switches of policies
 *   POST /flags/NAME/on, /flags/NAME/off   200, or 404: no policy has such a flag
 *   GET  /pressure  JSON: what is short, and what is done about it
 *   GET  /version   JSON
 *   POST /reload    JSON: what came of it: 200, 409 (not now), 422 (the configuration is not valid)
 *   GET  /trace     JSON: what the workers did in the last `seconds` (default 5), for Perfetto;
 *                   409 while none keeps it
 *   POST /trace/on  JSON: the workers begin to keep it; /trace/off: they end
 *   POST /drain     202; all of these where the server offers them
 *
 * It trusts who can reach the socket, so it guards against browsers: over TCP a request whose Host
 * is neither localhost nor a literal IP address is refused (DNS rebinding needs a name), and one
 * with an Origin is refused everywhere. At most 64 connections; a request must arrive, and its
 * answer be taken, within 10 seconds each; a kept connection may idle as long.
 * Everything happens on the loop's thread. */
#ifndef WR_SERVER_ADMIN_H
#define WR_SERVER_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "net/listen.h"
#include "obs/prom.h"
#include "server/tracing.h"

struct wr_admin;

#define WR_ADMIN_MAX_CONNS 64
#define WR_ADMIN_DEADLINE_MS 10000

/* All on the loop's thread. */
struct wr_admin_ops {
  void *ctx; /* borrowed: the server, outlives the admin */
  const char *version; /* borrowed: static; of the program */
  /* False: the reason goes into why; true: what else there is to say, or nothing. NULL: always
   * ready. */
  bool (*ready)(void *ctx, struct wr_buf *why);
  /* NULL: 404, as for all below. */
  void (*metrics)(void *ctx, struct wr_prom *out);
  /* Writes JSON. */
  void (*upstreams)(void *ctx, wr_prom_sink_fn sink, void *sink_ctx);
  /* Begins to collect; the answer is given by wr_admin_done with this token, at once or
   * later. A token whose client is gone is ignored. */
  void (*streams)(void *ctx, struct wr_admin *admin, uint64_t token);
  /* The same for /status. */
  void (*status)(void *ctx, struct wr_admin *admin, uint64_t token);
  /* Writes JSON. */
  void (*flags)(void *ctx, wr_prom_sink_fn sink, void *sink_ctx);
  /* False: there is no such flag. */
  bool (*flag)(void *ctx, struct wr_span name, bool on);
  /* A JSON document on what is short. */
  void (*pressure)(void *ctx, wr_prom_sink_fn sink, void *sink_ctx);
  /* Begins a reload; the answer comes in the same way. */
  void (*reload)(void *ctx, struct wr_admin *admin, uint64_t token);
  /* last_ms: for WR_TRACING_TAKE. The answer comes in the same way. */
  void (*trace)(void *ctx, struct wr_admin *admin, enum wr_tracing_what what, uint64_t last_ms,
                uint64_t token);
  /* Begins a drain. An error is answered with 500 (409 for WR_E_DRAINING) and why. */
  enum wr_err (*drain)(void *ctx, struct wr_buf *why);
};

/* ops is copied; the loop outlives the admin. */
WR_MUST_USE enum wr_err wr_admin_new(struct wr_loop *loop, const struct wr_admin_ops *ops,
                                     struct wr_admin **out);
/* A wr_listen_fn: pass it with the admin to wr_listen_open. */
void wr_admin_accept(void *admin, struct wr_conn *take_conn);
/* json is copied; it is the whole body. Never blocks. */
void wr_admin_done(struct wr_admin *admin, uint64_t token, unsigned status, struct wr_span json);
/* Closes its connections; its listener must be closed before. */
void wr_admin_free(struct wr_admin *admin);

#endif

#include "upstream/dial.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/heap.h"

static void fail(struct wr_dial *d, enum wr_err err, const char *why) {
  d->err = (uint8_t)err;
  snprintf(d->why, sizeof d->why, "%s", why ? why : wr_err_text(err));
}

static void connect_next(struct wr_dial *d) {
  WR_DCHECK(d->conn == NULL && d->addr_next < d->addr_count);
  const struct wr_conf_upstream *up = d->peer->up;
  const char *name = up->tls.server_name ? up->tls.server_name
                     : d->peer->url      ? d->peer->url->host
                                         : "localhost";
  const struct wr_addr *addr = &d->addrs[d->addr_next++];
  enum wr_err err =
      wr_conn_dial(wr_upstreams_loop(d->set), addr, d->peer->tls, name, d->owner, &d->conn);
  if (err != WR_OK) {
    d->conn = NULL;
    fail(d, err, NULL);
  }
}

static void take_addrs(struct wr_dial *d, const struct wr_addr *addrs, size_t n) {
  WR_DCHECK(d->addrs == NULL && n > 0);
  d->addrs = wr_heap_alloc(WR_HEAP_UPSTREAM, n * sizeof *addrs);
  if (!d->addrs) {
    fail(d, WR_E_NOMEM, NULL);
    return;
  }
  memcpy(d->addrs, addrs, n * sizeof *addrs);
  d->addr_count = (uint8_t)n;
  connect_next(d);
}

static void resolve_done(void *ctx, enum wr_err err, const struct wr_addr *addrs, size_t n,
                         const char *why) {
  struct wr_dial *d = ctx;
  d->lookup = NULL;
  if (err != WR_OK || n == 0)
    fail(d, WR_E_RESOLVE, why);
  else
    take_addrs(d, addrs, n);
  wr_loop_mark(wr_upstreams_loop(d->set), d->owner);
}

void wr_dial_start(struct wr_dial *d, struct wr_upstreams *set, struct wr_peer *peer,
                   struct wr_task *owner, bool fresh) {
  *d = (struct wr_dial){ .set = set, .peer = peer, .owner = owner };
  if (!fresh && (d->conn = wr_shelf_take(&peer->shelf)) != NULL) {
    d->reused = true;
    wr_conn_set_owner(d->conn, owner);
    return;
  }
  if (peer->addr.len) {
    take_addrs(d, &peer->addr, 1);
    return;
  }
  struct wr_addr addrs[WR_RESOLVE_MAX];
  size_t n = 0;
  enum wr_err err = wr_resolve_start(wr_upstreams_resolver(set), peer->url->host, peer->url->port,
                                     resolve_done, d, addrs, &n, &d->lookup);
  if (err != WR_OK)
    fail(d, err, NULL);
  else if (n > 0)
    take_addrs(d, addrs, n);
}

enum wr_err wr_dial_poll(struct wr_dial *d, struct wr_conn **out) {
  for (;;) {
    if (d->lookup) return WR_E_AGAIN;
    if (!d->conn) return d->err ? (enum wr_err)d->err : WR_E_CONNECT;
    switch (wr_conn_state(d->conn)) {
      case WR_CONN_OPEN:
        *out = d->conn;
        d->conn = NULL;
        wr_heap_free(WR_HEAP_UPSTREAM, d->addrs);
        d->addrs = NULL;
        return WR_OK;
      case WR_CONN_FAILED:
        fail(d, wr_conn_err(d->conn) == WR_E_RESET ? WR_E_CONNECT : wr_conn_err(d->conn),
             wr_conn_why(d->conn));
        wr_conn_abort(d->conn);
        d->conn = NULL;
        if (d->addr_next < d->addr_count) connect_next(d);
        continue;
      case WR_CONN_CONNECTING:
      case WR_CONN_HANDSHAKE:
        return WR_E_AGAIN;
    }
  }
}

bool wr_dial_in_handshake(const struct wr_dial *d) {
  return d->conn && wr_conn_state(d->conn) == WR_CONN_HANDSHAKE;
}

void wr_dial_cancel(struct wr_dial *d) {
  if (d->lookup) wr_resolve_cancel(d->lookup);
  if (d->conn) wr_conn_abort(d->conn);
  wr_heap_free(WR_HEAP_UPSTREAM, d->addrs);
  d->lookup = NULL;
  d->conn = NULL;
  d->addrs = NULL;
}

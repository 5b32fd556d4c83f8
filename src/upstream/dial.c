#include "upstream/dial.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"

/* How long an address that failed is tried last. */
#define BAD_ADDR_MS 30000u
/* Who waited so long for a connection may blame the address. */
#define SILENT_ADDR_MS 1000u

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
  d->since_ms = wr_loop_now_ms(wr_upstreams_loop(d->set));
  enum wr_err err =
      wr_conn_dial(wr_upstreams_loop(d->set), addr, d->peer->tls, name, d->owner, &d->conn);
  if (err != WR_OK) {
    d->conn = NULL;
    fail(d, err, NULL);
  }
}

static uint64_t addr_hash(const struct wr_addr *addr) {
  static const uint8_t key[16];
  return wr_siphash(key, wr_span_make(addr->raw, addr->len)) | 1;
}

static void addr_failed(struct wr_peer *peer, const struct wr_addr *addr, uint64_t now) {
  uint64_t hash = addr_hash(addr);
  struct wr_bad_addr *at = &peer->bad[0];
  for (unsigned i = 0; i < WR_PEER_BAD_ADDRS; i++) {
    struct wr_bad_addr *b = &peer->bad[i];
    if (b->hash == hash || (at->hash != hash && b->until_ms < at->until_ms)) at = b;
  }
  *at = (struct wr_bad_addr){ .hash = hash, .until_ms = now + BAD_ADDR_MS };
}

static bool addr_is_bad(const struct wr_peer *peer, const struct wr_addr *addr, uint64_t now) {
  for (unsigned i = 0; i < WR_PEER_BAD_ADDRS; i++)
    if (peer->bad[i].until_ms > now && peer->bad[i].hash == addr_hash(addr)) return true;
  return false;
}

/* Each connection begins with another address of the name; those that failed lately come last. */
static void addrs_order(struct wr_dial *d, const struct wr_addr *addrs, size_t n) {
  uint64_t now = wr_loop_now_ms(wr_upstreams_loop(d->set));
  size_t first = d->peer->addr_turn++ % n, at = 0;
  for (unsigned bad = 0; bad < 2; bad++)
    for (size_t i = 0; i < n; i++) {
      const struct wr_addr *a = &addrs[(first + i) % n];
      if (addr_is_bad(d->peer, a, now) == (bad == 1)) d->addrs[at++] = *a;
    }
  WR_DCHECK(at == n);
}

static void take_addrs(struct wr_dial *d, const struct wr_addr *addrs, size_t n) {
  WR_DCHECK(d->addrs == NULL && n > 0);
  d->addrs = wr_heap_alloc(WR_HEAP_UPSTREAM, n * sizeof *addrs);
  if (!d->addrs) {
    fail(d, WR_E_NOMEM, NULL);
    return;
  }
  if (n == 1) d->addrs[0] = addrs[0];
  else addrs_order(d, addrs, n);
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
        if (d->addr_count > 1 && d->addr_next > 0)
          addr_failed(d->peer, &d->addrs[d->addr_next - 1],
                      wr_loop_now_ms(wr_upstreams_loop(d->set)));
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

/* An address that swallows what is sent to it is never said to have failed. */
static void blame(struct wr_dial *d) {
  uint64_t now = wr_loop_now_ms(wr_upstreams_loop(d->set));
  if (d->conn && d->addr_count > 1 && wr_conn_state(d->conn) == WR_CONN_CONNECTING &&
      now - d->since_ms >= SILENT_ADDR_MS)
    addr_failed(d->peer, &d->addrs[d->addr_next - 1], now);
}

void wr_dial_cancel(struct wr_dial *d) {
  blame(d);
  if (d->lookup) wr_resolve_cancel(d->lookup);
  if (d->conn) wr_conn_abort(d->conn);
  wr_heap_free(WR_HEAP_UPSTREAM, d->addrs);
  d->lookup = NULL;
  d->conn = NULL;
  d->addrs = NULL;
}

#include "upstream/group.h"

#include <stdio.h>

#include "base/check.h"
#include "base/heap.h"
#include "upstream/pick.h"

#define SET_MAGIC 0x5e7u

struct wr_upstreams {
  uint32_t magic;
  struct wr_loop *loop;         /* borrowed: the worker's */
  struct wr_resolver *resolver; /* borrowed: the worker's */
  const struct wr_conf *conf;   /* borrowed: the generation's */
  struct wr_peer *peers;        /* owned */
  size_t peer_count;
  struct wr_pick_set *sets;     /* owned: one an upstream */
  uint32_t *turns;              /* owned: one a group, whose turn it is among its members */
  struct wr_tls_ctx **tls;      /* owned: one an upstream, or NULL */
};

const char *wr_peer_authority(const struct wr_peer *peer) {
  return peer->url ? peer->url->authority : "mock";
}

static size_t peers_of(const struct wr_conf_upstream *up) {
  return up->kind == WR_KIND_MOCK ? 1 : up->url_count;
}

static enum wr_err tls_make(const struct wr_conf_upstream *up, const struct wr_loop *loop,
                            struct wr_tls_ctx **out, char *why, size_t why_bytes) {
  bool wanted = false;
  for (size_t i = 0; i < up->url_count; i++) wanted |= up->urls[i].tls;
  if (!wanted) return WR_OK;
  struct wr_tls_options options = { .server = false,
                                    .cert_file = up->tls.cert,
                                    .key_file = up->tls.key,
                                    .ca_file = up->tls.ca,
                                    .verify = up->tls.verify,
                                    .share = loop };
  char detail[256] = "";
  enum wr_err err = wr_tls_ctx_new(&options, out, detail, sizeof detail);
  if (err != WR_OK) snprintf(why, why_bytes, "upstream '%s': %s", up->name, detail);
  return err;
}

static void peers_fill(struct wr_upstreams *set, size_t u, size_t *at, const struct wr_addr *mock) {
  const struct wr_conf_upstream *up = &set->conf->upstreams[u];
  set->sets[u].peers = &set->peers[*at];
  set->sets[u].count = peers_of(up);
  for (size_t i = 0; i < peers_of(up); i++, (*at)++) {
    struct wr_peer *p = &set->peers[*at];
    p->up = up;
    p->index = (uint32_t)*at;
    if (up->kind == WR_KIND_MOCK) {
      p->addr = *mock;
    } else {
      p->url = &up->urls[i];
      p->tls = p->url->tls ? set->tls[u] : NULL;
    }
    wr_shelf_init(&p->shelf, set->loop, up->keep_idle, up->keep_idle_ms);
  }
}

static enum wr_err arrays_make(struct wr_upstreams *set, char *why, size_t why_bytes) {
  const struct wr_conf *conf = set->conf;
  for (size_t u = 0; u < conf->upstream_count; u++)
    set->peer_count += peers_of(&conf->upstreams[u]);
  if (set->peer_count > WR_UPSTREAM_MAX_PEERS) {
    snprintf(why, why_bytes, "%zu addresses of upstreams; at most %d are possible", set->peer_count,
             WR_UPSTREAM_MAX_PEERS);
    set->peer_count = 0;
    return WR_E_CONFIG;
  }
  set->peers = wr_heap_zalloc(WR_HEAP_UPSTREAM, set->peer_count * sizeof *set->peers + 1);
  set->sets = wr_heap_zalloc(WR_HEAP_UPSTREAM, conf->upstream_count * sizeof *set->sets + 1);
  set->turns = wr_heap_zalloc(WR_HEAP_UPSTREAM, conf->group_count * sizeof *set->turns + 1);
  set->tls = wr_heap_zalloc(WR_HEAP_UPSTREAM, conf->upstream_count * sizeof *set->tls + 1);
  if (!set->peers || !set->sets || !set->turns || !set->tls) {
    set->peer_count = 0;
    return WR_E_NOMEM;
  }
  return WR_OK;
}

enum wr_err wr_upstreams_new(struct wr_loop *loop, struct wr_resolver *resolver,
                             const struct wr_conf *conf, const struct wr_addr *mocks,
                             struct wr_upstreams **out, char *why, size_t why_bytes) {
  struct wr_upstreams *set = wr_heap_zalloc(WR_HEAP_UPSTREAM, sizeof *set);
  if (!set) return WR_E_NOMEM;
  set->magic = SET_MAGIC;
  set->loop = loop;
  set->resolver = resolver;
  set->conf = conf;
  enum wr_err err = arrays_make(set, why, why_bytes);
  size_t at = 0;
  for (size_t u = 0; err == WR_OK && u < conf->upstream_count; u++) {
    err = tls_make(&conf->upstreams[u], loop, &set->tls[u], why, why_bytes);
    if (err == WR_OK) peers_fill(set, u, &at, mocks);
    if (conf->upstreams[u].kind == WR_KIND_MOCK) mocks++;
  }
  if (err != WR_OK) {
    set->peer_count = at;
    wr_upstreams_free(set);
    return err;
  }
  *out = set;
  return WR_OK;
}

void wr_upstreams_free(struct wr_upstreams *set) {
  if (!set) return;
  WR_MAGIC_CHECK(set, SET_MAGIC);
  for (size_t i = 0; i < set->peer_count; i++) {
    WR_CHECK(set->peers[i].streams == 0);
    wr_shelf_fini(&set->peers[i].shelf);
  }
  for (size_t u = 0; set->tls && u < set->conf->upstream_count; u++)
    if (set->tls[u]) wr_tls_ctx_free(set->tls[u]);
  wr_heap_free(WR_HEAP_UPSTREAM, set->peers);
  wr_heap_free(WR_HEAP_UPSTREAM, set->sets);
  wr_heap_free(WR_HEAP_UPSTREAM, set->turns);
  wr_heap_free(WR_HEAP_UPSTREAM, set->tls);
  set->magic = 0;
  wr_heap_free(WR_HEAP_UPSTREAM, set);
}

struct wr_peer *wr_group_pick(struct wr_upstreams *set, uint32_t group, uint64_t tried) {
  WR_MAGIC_CHECK(set, SET_MAGIC);
  if (!WR_EXPECT(group < set->conf->group_count)) return NULL;
  const struct wr_conf_group *g = &set->conf->groups[group];
  for (size_t n = 0; n < g->member_count; n++) {
    uint32_t turn = (uint32_t)((set->turns[group] + n) % g->member_count);
    struct wr_peer *peer = wr_pick_round_robin.pick(&set->sets[g->members[turn]], tried);
    if (!peer) continue;
    set->turns[group] = (uint32_t)((turn + 1) % g->member_count);
    peer->streams++;
    return peer;
  }
  return NULL;
}

void wr_peer_put(struct wr_peer *peer) {
  WR_CHECK(peer->streams > 0);
  peer->streams--;
}

void wr_upstreams_redirect(struct wr_upstreams *set, size_t upstream, const struct wr_addr *addr) {
  WR_MAGIC_CHECK(set, SET_MAGIC);
  WR_CHECK(upstream < set->conf->upstream_count && addr->len > 0);
  for (size_t i = 0; i < set->peer_count; i++)
    if (set->peers[i].up == &set->conf->upstreams[upstream]) set->peers[i].addr = *addr;
}

struct wr_loop *wr_upstreams_loop(struct wr_upstreams *set) { return set->loop; }
struct wr_resolver *wr_upstreams_resolver(struct wr_upstreams *set) { return set->resolver; }
size_t wr_upstreams_peer_count(const struct wr_upstreams *set) { return set->peer_count; }

void wr_upstreams_tls_counts(const struct wr_upstreams *set, unsigned long *handshakes,
                             unsigned long *resumed) {
  *handshakes = *resumed = 0;
  for (size_t u = 0; u < set->conf->upstream_count; u++) {
    if (!set->tls[u]) continue;
    unsigned long h = 0, r = 0;
    wr_tls_ctx_counts(set->tls[u], &h, &r);
    *handshakes += h;
    *resumed += r;
  }
}

void wr_upstreams_retire(struct wr_upstreams *set) {
  WR_MAGIC_CHECK(set, SET_MAGIC);
  for (size_t i = 0; i < set->peer_count; i++) {
    set->peers[i].shelf.max = 0;
    wr_shelf_clear(&set->peers[i].shelf);
  }
}

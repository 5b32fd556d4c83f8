#include "upstream/group.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"
#include "obs/log.h"
#include "upstream/set_priv.h"
#include "upstream/hedge.h"
#include "upstream/retry.h"

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

/* The same on every worker, in every generation and after a restart. */
static uint64_t id_of(const char *upstream, const char *url) {
  static const uint8_t key[16] = "upstream and url";
  return wr_siphash(key, wr_span_str(upstream)) ^ wr_hash_mix64(wr_siphash(key, wr_span_str(url)));
}

static const char *url_of(const struct wr_peer *peer) {
  return peer->url ? peer->url->text : "mock";
}

static enum wr_err peers_fill(struct wr_upstreams *set, size_t u, size_t *at,
                              const struct wr_addr *mock) {
  const struct wr_conf_upstream *up = &set->conf->upstreams[u];
  set->ranges[u].first = *at;
  set->ranges[u].count = peers_of(up);
  for (size_t i = 0; i < peers_of(up); i++, (*at)++) {
    struct wr_peer *p = &set->peers[*at];
    p->set = set;
    p->up = up;
    p->index = (uint32_t)*at;
    p->weight = up->weights && up->weights[i] ? up->weights[i] : 1;
    if (up->kind == WR_KIND_MOCK) {
      p->addr = *mock;
    } else {
      p->url = &up->urls[i];
      p->tls = p->url->tls ? set->tls[u] : NULL;
    }
    p->id = id_of(up->name, url_of(p));
    wr_shelf_init(&p->shelf, set->loop, up->keep_idle, up->keep_idle_ms);
    enum wr_err err = wr_peer_state_take(NULL, up->name, url_of(p), &p->state);
    if (err != WR_OK) return err;
  }
  return WR_OK;
}

/* Algorithms that need a number for each item get it from one array. */
static void credits_deal(struct wr_upstreams *set) {
  int32_t *next = set->credits;
  for (size_t u = 0; u < set->conf->upstream_count; u++) {
    set->ranges[u].memory.credits = next;
    next += peers_of(&set->conf->upstreams[u]);
  }
  for (size_t g = 0; g < set->conf->group_count; g++) {
    set->groups[g].credits = next;
    next += set->conf->groups[g].member_count;
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
  size_t credits = set->peer_count;
  for (size_t g = 0; g < conf->group_count; g++) credits += conf->groups[g].member_count;
  set->peers = wr_heap_zalloc(WR_HEAP_UPSTREAM, set->peer_count * sizeof *set->peers + 1);
  set->ranges = wr_heap_zalloc(WR_HEAP_UPSTREAM, conf->upstream_count * sizeof *set->ranges + 1);
  set->groups = wr_heap_zalloc(WR_HEAP_UPSTREAM, conf->group_count * sizeof *set->groups + 1);
  set->credits = wr_heap_zalloc(WR_HEAP_UPSTREAM, credits * sizeof *set->credits + 1);
  set->tls = wr_heap_zalloc(WR_HEAP_UPSTREAM, conf->upstream_count * sizeof *set->tls + 1);
  set->probes = wr_heap_zalloc(WR_HEAP_UPSTREAM, set->peer_count * sizeof *set->probes + 1);
  set->budgets = wr_heap_zalloc(WR_HEAP_UPSTREAM, conf->group_count * sizeof *set->budgets + 1);
  bool hedges = false;
  for (size_t r = 0; r < conf->route_count; r++) hedges |= conf->routes[r].hedge.on;
  if (hedges)
    set->hedgings = wr_heap_zalloc(WR_HEAP_UPSTREAM, conf->route_count * sizeof *set->hedgings);
  if ((hedges && !set->hedgings) || !set->peers || !set->ranges || !set->groups || !set->credits ||
      !set->tls || !set->probes ||
      !set->budgets) {
    set->peer_count = 0;
    return WR_E_NOMEM;
  }
  credits_deal(set);
  return WR_OK;
}

enum wr_err wr_upstreams_new(struct wr_loop *loop, struct wr_resolver *resolver,
                             const struct wr_conf *conf, const struct wr_addr *mocks,
                             struct wr_upstreams **out, char *why, size_t why_bytes) {
  struct wr_upstreams *set = wr_heap_zalloc(WR_HEAP_UPSTREAM, sizeof *set);
  if (!set) return WR_E_NOMEM;
  set->magic = WR_SET_MAGIC;
  set->loop = loop;
  set->resolver = resolver;
  set->conf = conf;
  enum wr_err err = wr_rand_init_system(&set->rand);
  if (err == WR_OK) err = arrays_make(set, why, why_bytes);
  size_t at = 0;
  for (size_t u = 0; err == WR_OK && u < conf->upstream_count; u++) {
    err = tls_make(&conf->upstreams[u], loop, &set->tls[u], why, why_bytes);
    if (err == WR_OK) err = peers_fill(set, u, &at, mocks);
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

static void probes_cancel(struct wr_upstreams *set) {
  for (size_t i = 0; i < set->peer_count; i++)
    if (set->probes[i]) wr_probe_cancel(set->probes[i]);
}

void wr_upstreams_free(struct wr_upstreams *set) {
  if (!set) return;
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  probes_cancel(set);
  for (size_t i = 0; i < set->peer_count; i++) {
    WR_CHECK(set->peers[i].streams == 0);
    wr_shelf_fini(&set->peers[i].shelf);
    wr_peer_state_give(set->book, set->peers[i].state);
  }
  for (size_t u = 0; set->tls && u < set->conf->upstream_count; u++)
    if (set->tls[u]) wr_tls_ctx_free(set->tls[u]);
  wr_heap_free(WR_HEAP_UPSTREAM, set->peers);
  wr_heap_free(WR_HEAP_UPSTREAM, set->ranges);
  wr_heap_free(WR_HEAP_UPSTREAM, set->groups);
  wr_heap_free(WR_HEAP_UPSTREAM, set->credits);
  wr_heap_free(WR_HEAP_UPSTREAM, set->probes);
  wr_heap_free(WR_HEAP_UPSTREAM, set->tls);
  wr_heap_free(WR_HEAP_UPSTREAM, set->budgets);
  wr_heap_free(WR_HEAP_UPSTREAM, set->hedgings);
  set->magic = 0;
  wr_heap_free(WR_HEAP_UPSTREAM, set);
}

enum wr_err wr_upstreams_join(struct wr_upstreams *set, struct wr_peer_book *book,
                              struct wr_logger *logger) {
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  WR_CHECK(!set->book && book);
  set->logger = logger;
  struct wr_peer_state *shared[WR_UPSTREAM_MAX_PEERS];
  size_t n = 0;
  enum wr_err err = WR_OK;
  for (; err == WR_OK && n < set->peer_count; n++) {
    const struct wr_peer *p = &set->peers[n];
    WR_CHECK(p->streams == 0);
    err = wr_peer_state_take(book, p->up->name, url_of(p), &shared[n]);
  }
  if (err != WR_OK) {
    for (size_t i = 0; i + 1 < n; i++) wr_peer_state_give(book, shared[i]);
    return err;
  }
  for (size_t i = 0; i < n; i++) {
    wr_peer_state_give(NULL, set->peers[i].state);
    set->peers[i].state = shared[i];
  }
  set->book = book;
  return WR_OK;
}

void wr_set_log(struct wr_upstreams *set, const struct wr_peer *peer,
                const struct wr_standing_change *change, const char *why) {
  if (change->from == change->to) return;
  static struct wr_log_site site;
  bool worse = change->to > change->from && change->to != WR_STANDING_HALF_OPEN;
  const struct wr_log_field fields[] = {
    WR_LOG_STR("upstream", peer->up->name),
    WR_LOG_STR("url", url_of(peer)),
    WR_LOG_STR("from", wr_standing_name(change->from)),
    WR_LOG_STR("to", wr_standing_name(change->to)),
    WR_LOG_STR("why", why),
    WR_LOG_U64("for_ms", change->for_ms),
  };
  wr_log_event(set->logger, worse ? WR_LOG_WARN : WR_LOG_INFO, &site, "upstream_state", fields,
               sizeof fields / sizeof fields[0] - (change->for_ms ? 0 : 1));
}

static const struct wr_peer *first_of(const struct wr_peer *peer) {
  const struct wr_upstreams *set = peer->set;
  return &set->peers[set->ranges[peer->up - set->conf->upstreams].first];
}

/* One limit an upstream, whichever of its peers a stream was at. */
static void limit_note(struct wr_peer *peer, enum wr_note what, uint32_t first_token_us,
                       uint64_t now_ms) {
  const struct wr_conf_upstream *up = peer->up;
  const struct wr_peer *first = first_of(peer);
  uint32_t running = 0;
  for (size_t i = 0; i < peers_of(up); i++)
    running += atomic_load_explicit(&first[i].state->streams, memory_order_relaxed);
  wr_peer_state_limit(first->state, up->limit_min, up->max_streams, what, first_token_us, running,
                      now_ms);
}

void wr_peer_note(struct wr_peer *peer, uint32_t epoch, enum wr_note what, uint32_t first_token_us,
                  uint64_t retry_after_ms, uint64_t now_ms) {
  static const char *const why[] = { "answered", "answered", "connect", "failed", "busy", "left" };
  struct wr_standing_change change;
  WR_CHECK((unsigned)what < sizeof why / sizeof why[0]);
  peer->failures += what == WR_NOTE_CONNECT || what == WR_NOTE_FAILED;
  wr_peer_state_note(peer->state, &peer->up->breaker, epoch, what, first_token_us, retry_after_ms,
                     now_ms, &peer->set->rand, &change);
  wr_set_log(peer->set, peer, &change, why[what]);
  if (peer->up->limit_min) limit_note(peer, what, first_token_us, now_ms);
}

uint32_t wr_peer_limit(const struct wr_peer *peer) {
  const struct wr_conf_upstream *up = peer->up;
  if (!up->limit_min) return up->max_streams;
  const struct wr_peer_state *s = first_of(peer)->state;
  uint32_t now = atomic_load_explicit(&s->limit_now, memory_order_relaxed);
  if (now < up->limit_min) return up->limit_min;
  return now < up->max_streams ? now : up->max_streams;
}

uint32_t wr_peer_epoch(const struct wr_peer *peer) {
  return atomic_load_explicit(&peer->state->epoch, memory_order_relaxed);
}

void wr_upstreams_view(const struct wr_upstreams *set, uint32_t index,
                       struct wr_upstream_view *out) {
  *out = (struct wr_upstream_view){ .conf = NULL };
  if (!WR_EXPECT(index < set->conf->upstream_count)) return;
  uint64_t now = wr_loop_now_ms(set->loop);
  out->conf = &set->conf->upstreams[index];
  out->limit = wr_peer_limit(&set->peers[set->ranges[index].first]);
  for (size_t i = 0; i < set->ranges[index].count; i++) {
    const struct wr_peer_state *s = set->peers[set->ranges[index].first + i].state;
    out->streams += atomic_load_explicit(&s->streams, memory_order_relaxed);
    if (!wr_peer_state_free(s, now)) continue;
    out->healthy = true;
    uint32_t us = wr_peer_state_first_token_us(s, now);
    if (us && (!out->first_token_us || us < out->first_token_us)) out->first_token_us = us;
  }
}

void wr_upstreams_redirect(struct wr_upstreams *set, size_t upstream, const struct wr_addr *addr) {
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  WR_CHECK(upstream < set->conf->upstream_count && addr->len > 0);
  for (size_t i = 0; i < set->peer_count; i++)
    if (set->peers[i].up == &set->conf->upstreams[upstream]) set->peers[i].addr = *addr;
}

struct wr_retry_budget *wr_upstreams_retry_budget(struct wr_upstreams *set, uint32_t group) {
  WR_CHECK(group < set->conf->group_count);
  return &set->budgets[group];
}

struct wr_hedging *wr_upstreams_hedging(struct wr_upstreams *set, size_t route) {
  WR_CHECK(set->hedgings != NULL && route < set->conf->route_count);
  return &set->hedgings[route];
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
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  set->retired = true;
  probes_cancel(set);
  for (size_t i = 0; i < set->peer_count; i++) {
    set->peers[i].shelf.max = 0;
    wr_shelf_clear(&set->peers[i].shelf);
  }
}

size_t wr_upstreams_empty(struct wr_upstreams *set) {
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  size_t n = 0;
  for (size_t i = 0; i < set->peer_count; i++) {
    n += set->peers[i].shelf.count;
    wr_shelf_clear(&set->peers[i].shelf);
  }
  return n;
}

#include "upstream/group.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"
#include "obs/log.h"
#include "upstream/names.h"
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

/* Of an address only: the same whatever else the name has, so that only its own share moves. */
static uint64_t id_of_address(const struct wr_peer *peer) {
  uint64_t id = id_of(peer->up->name, url_of(peer));
  if (!peer->state->address[0]) return id;
  return wr_hash_mix64(id) ^ id_of(peer->up->name, peer->state->address);
}

static void log_address(const struct wr_peer *peer, const char *change) {
  static struct wr_log_site site;
  const struct wr_log_field fields[] = {
    WR_LOG_STR("upstream", peer->up->name),
    WR_LOG_STR("url", url_of(peer)),
    WR_LOG_STR("address", peer->state->address),
    WR_LOG_STR("change", change),
  };
  if (peer->state->address[0])
    wr_log_event(peer->set->logger, WR_LOG_INFO, &site, "upstream_address", fields,
                 sizeof fields / sizeof fields[0]);
}

static uint64_t *live_of(struct wr_peer *peer) {
  struct wr_upstreams *set = peer->set;
  return &set->ranges[peer->up - set->conf->upstreams].live;
}

enum wr_err wr_slot_open(struct wr_peer *peer, const struct wr_addr *addr, bool *news) {
  struct wr_upstreams *set = peer->set;
  WR_CHECK(!peer->live);
  if (!peer->state) {
    char text[128] = "";
    /* The port of a mock is nobody's name. */
    if (addr && addr->len && peer->url) (void)wr_addr_format(addr, text, sizeof text);
    enum wr_err err =
        wr_peer_state_take(set->book, peer->up->name, url_of(peer), text, &peer->state);
    if (err != WR_OK) return err;
    if (addr) peer->addr = *addr;
    peer->id = id_of_address(peer);
    wr_shelf_init(&peer->shelf, set->loop, peer->up->keep_idle, peer->up->keep_idle_ms);
  }
  peer->shelf.max = peer->up->keep_idle;
  peer->live = true;
  peer->since_ms = peer->addr.len ? WR_PEER_JUST : 0;
  *live_of(peer) |= UINT64_C(1) << peer->index;
  *news = atomic_fetch_add(&peer->state->live, 1) == 0 && peer->addr.len;
  if (*news) log_address(peer, "added");
  return WR_OK;
}

bool wr_slot_shut(struct wr_peer *peer) {
  WR_CHECK(peer->live && peer->state);
  if (peer->set->probes[peer->index]) wr_probe_cancel(peer->set->probes[peer->index]);
  peer->live = false;
  *live_of(peer) &= ~(UINT64_C(1) << peer->index);
  peer->shelf.max = 0;
  wr_shelf_clear(&peer->shelf);
  bool last = atomic_fetch_sub(&peer->state->live, 1) == 1 && peer->addr.len;
  if (last) log_address(peer, "gone");
  return last;
}

void wr_slot_free(struct wr_peer *peer) {
  WR_CHECK(!peer->live && peer->state && peer->streams == 0);
  WR_CHECK(!peer->set->probes[peer->index]);
  wr_shelf_fini(&peer->shelf);
  wr_peer_state_give(peer->set->book, peer->state);
  peer->state = NULL;
  peer->attempts = peer->failures = 0;
  memset(&peer->addr, 0, sizeof peer->addr);
  memset(peer->bad, 0, sizeof peer->bad);
}

/* The slots of one URL; the first stands for it until more is known. */
static enum wr_err slots_fill(struct wr_upstreams *set, size_t u, size_t url, size_t *at,
                              const struct wr_addr *mock) {
  const struct wr_conf_upstream *up = &set->conf->upstreams[u];
  bool is_mock = up->kind == WR_KIND_MOCK, news = false;
  size_t n = is_mock ? 1 : wr_name_slots(&up->urls[url], set->names_all, set->slots_left);
  for (size_t i = 0; i < n; i++) {
    struct wr_peer *p = &set->peers[*at + i];
    p->set = set;
    p->up = up;
    p->index = (uint32_t)(*at + i);
    p->weight = up->weights && up->weights[url] ? up->weights[url] : 1;
    if (is_mock) continue;
    p->url = &up->urls[url];
    p->tls = p->url->tls ? set->tls[u] : NULL;
  }
  struct wr_peer *first = &set->peers[*at];
  *at += n;
  enum wr_err err = wr_slot_open(first, is_mock ? mock : NULL, &news);
  first->since_ms = 0;
  return err;
}

static enum wr_err peers_fill(struct wr_upstreams *set, size_t u, size_t *at,
                              const struct wr_addr *mock) {
  const struct wr_conf_upstream *up = &set->conf->upstreams[u];
  struct wr_peer_range *r = &set->ranges[u];
  enum wr_err err = WR_OK;
  size_t next = *at;
  r->first = *at;
  for (size_t i = 0; err == WR_OK && i < peers_of(up); i++)
    err = slots_fill(set, u, i, &next, mock);
  r->count = next - *at;
  r->id = set->peers[*at].id;
  *at = next;
  if (err == WR_OK && up->limit_min) err = wr_peer_state_take(NULL, up->name, "", "", &r->limit);
  return err;
}

static size_t slots_of(const struct wr_upstreams *set, const struct wr_conf_upstream *up) {
  if (up->kind == WR_KIND_MOCK) return 1;
  size_t n = 0;
  for (size_t i = 0; i < up->url_count; i++)
    n += wr_name_slots(&up->urls[i], set->names_all, set->slots_left);
  return n;
}

/* How many slots all upstreams need: what is left over belongs to the names. */
static void slots_count(struct wr_upstreams *set) {
  const struct wr_conf *conf = set->conf;
  for (size_t u = 0; u < conf->upstream_count; u++) {
    const struct wr_conf_upstream *up = &conf->upstreams[u];
    set->peer_count += peers_of(up);
    for (size_t i = 0; up->kind != WR_KIND_MOCK && i < up->url_count; i++)
      set->names_all += wr_name_is_one(&up->urls[i]);
  }
  if (set->peer_count > WR_UPSTREAM_MAX_PEERS) return;
  set->slots_left = WR_UPSTREAM_MAX_PEERS - set->peer_count;
  set->peer_count = 0;
  for (size_t u = 0; u < conf->upstream_count; u++)
    set->peer_count += slots_of(set, &conf->upstreams[u]);
  WR_CHECK(set->peer_count <= WR_UPSTREAM_MAX_PEERS);
}

/* Algorithms that need a number for each item get it from one array. */
static void credits_deal(struct wr_upstreams *set) {
  int32_t *next = set->credits;
  for (size_t u = 0; u < set->conf->upstream_count; u++) {
    set->ranges[u].memory.credits = next;
    next += slots_of(set, &set->conf->upstreams[u]);
  }
  for (size_t g = 0; g < set->conf->group_count; g++) {
    set->groups[g].credits = next;
    next += set->conf->groups[g].member_count;
  }
}

static enum wr_err arrays_make(struct wr_upstreams *set, char *why, size_t why_bytes) {
  const struct wr_conf *conf = set->conf;
  slots_count(set);
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
  wr_names_free(set);
  for (size_t i = 0; i < set->peer_count; i++) {
    struct wr_peer *p = &set->peers[i];
    WR_CHECK(p->streams == 0);
    if (p->live) (void)wr_slot_shut(p);
    if (p->state) wr_slot_free(p);
  }
  for (size_t u = 0; set->ranges && u < set->conf->upstream_count; u++)
    wr_peer_state_give(set->book, set->ranges[u].limit);
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

/* The book's in place of one that nobody shares, which is alone and so harmless to the book. */
static enum wr_err state_share(struct wr_upstreams *set, struct wr_peer_state **at) {
  struct wr_peer_state *own = *at, *shared = NULL;
  enum wr_err err =
      wr_peer_state_take(set->book, own->upstream, own->url, own->address, &shared);
  if (err != WR_OK) return err;
  atomic_fetch_add(&shared->live, atomic_load(&own->live));
  wr_peer_state_give(set->book, own);
  *at = shared;
  return WR_OK;
}

enum wr_err wr_upstreams_join(struct wr_upstreams *set, struct wr_peer_book *book,
                              struct wr_logger *logger) {
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  WR_CHECK(!set->book && book);
  set->logger = logger;
  set->book = book;
  enum wr_err err = WR_OK;
  for (size_t i = 0; err == WR_OK && i < set->peer_count; i++) {
    WR_CHECK(set->peers[i].streams == 0);
    if (set->peers[i].state) err = state_share(set, &set->peers[i].state);
  }
  for (size_t u = 0; err == WR_OK && u < set->conf->upstream_count; u++)
    if (set->ranges[u].limit) err = state_share(set, &set->ranges[u].limit);
  return err == WR_OK ? wr_names_start(set) : err;
}

void wr_set_log(struct wr_upstreams *set, const struct wr_peer *peer,
                const struct wr_standing_change *change, const char *why) {
  if (change->from == change->to) return;
  static struct wr_log_site site;
  bool worse = change->to > change->from && change->to != WR_STANDING_HALF_OPEN;
  const struct wr_log_field fields[] = {
    WR_LOG_STR("upstream", peer->up->name),
    WR_LOG_STR("url", url_of(peer)),
    WR_LOG_STR("address", peer->state->address),
    WR_LOG_STR("from", wr_standing_name(change->from)),
    WR_LOG_STR("to", wr_standing_name(change->to)),
    WR_LOG_STR("why", why),
    WR_LOG_U64("for_ms", change->for_ms),
  };
  wr_log_event(set->logger, worse ? WR_LOG_WARN : WR_LOG_INFO, &site, "upstream_state", fields,
               sizeof fields / sizeof fields[0] - (change->for_ms ? 0 : 1));
}

static const struct wr_peer_range *range_of(const struct wr_peer *peer) {
  return &peer->set->ranges[peer->up - peer->set->conf->upstreams];
}

static uint32_t streams_at(const struct wr_peer *peer) {
  return peer->state ? atomic_load_explicit(&peer->state->streams, memory_order_relaxed) : 0;
}

/* One limit an upstream, whichever of its peers a stream was at. */
static void limit_note(struct wr_peer *peer, enum wr_note what, uint32_t first_token_us,
                       uint64_t now_ms) {
  const struct wr_conf_upstream *up = peer->up;
  const struct wr_peer_range *r = range_of(peer);
  uint32_t running = 0;
  for (size_t i = 0; i < r->count; i++) running += streams_at(&peer->set->peers[r->first + i]);
  wr_peer_state_limit(r->limit, up->limit_min, up->max_streams, what, first_token_us, running,
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
  const struct wr_peer_state *s = range_of(peer)->limit;
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
    const struct wr_peer *peer = &set->peers[set->ranges[index].first + i];
    const struct wr_peer_state *s = peer->state;
    out->streams += streams_at(peer);
    if (!peer->live || !wr_peer_state_free(s, now)) continue;
    out->healthy = true;
    out->ready |= wr_peer_state_standing(s, now) == WR_STANDING_READY;
    uint32_t us = wr_peer_state_first_token_us(s, now);
    if (us && (!out->first_token_us || us < out->first_token_us)) out->first_token_us = us;
  }
}

void wr_upstreams_redirect(struct wr_upstreams *set, size_t upstream, const struct wr_addr *addr) {
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  WR_CHECK(upstream < set->conf->upstream_count && addr->len > 0);
  for (size_t i = 0; i < set->peer_count; i++)
    if (set->peers[i].state && set->peers[i].up == &set->conf->upstreams[upstream])
      set->peers[i].addr = *addr;
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
  wr_names_stop(set);
  for (size_t i = 0; i < set->peer_count; i++) {
    if (!set->peers[i].state) continue;
    set->peers[i].shelf.max = 0;
    wr_shelf_clear(&set->peers[i].shelf);
  }
}

size_t wr_upstreams_empty(struct wr_upstreams *set) {
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  size_t n = 0;
  for (size_t i = 0; i < set->peer_count; i++) {
    if (!set->peers[i].state) continue;
    n += set->peers[i].shelf.count;
    wr_shelf_clear(&set->peers[i].shelf);
  }
  return n;
}

#include "upstream/names.h"

#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"
#include "upstream/set_priv.h"

/* For so long after a name was known last its addresses are used. */
#define KEEP_MS 600000u
/* Between look-ups that fail: from the first to the second. */
#define AGAIN_MS 1000u
#define AGAIN_MAX_MS 8000u

struct wr_name {
  struct wr_upstreams *set;       /* borrowed: holds us */
  const struct wr_conf_url *url;  /* borrowed: the generation's */
  struct wr_peer *slots;          /* borrowed: the set's, `room` of them */
  struct wr_peer_state *state;    /* ref: that of the name itself, for what is counted */
  struct wr_resolve *lookup;      /* owned while under way */
  size_t room;
  uint64_t seen;     /* a hash of the answer that the slots stand for; 0: of none, or not of all */
  uint64_t known_ms; /* when there was an answer last */
  uint64_t again_ms; /* not before */
  uint32_t fails;    /* in a row */
};

bool wr_name_is_one(const struct wr_conf_url *url) {
  struct wr_addr addr;
  return wr_addr_literal(wr_span_str(url->host), url->port, &addr) != WR_OK;
}

size_t wr_name_slots(const struct wr_conf_url *url, size_t names, size_t left) {
  if (!names || !wr_name_is_one(url)) return 1;
  size_t n = 1 + left / names;
  if (n < WR_NAME_SLOTS_MIN) return 1;
  return n < WR_NAME_SLOTS ? n : WR_NAME_SLOTS;
}

static uint64_t hash_of(const struct wr_addr *addr) {
  static const uint8_t key[16] = "weir's addresses";
  return wr_siphash(key, wr_span_make(addr->raw, addr->len));
}

static bool is_same(const struct wr_addr *a, const struct wr_addr *b) {
  return a->len == b->len && memcmp(a->raw, b->raw, a->len) == 0;
}

static bool is_idle(const struct wr_name *name, const struct wr_peer *p) {
  return !p->live && p->streams == 0 && !name->set->probes[p->index];
}

/* A slot for an address: its own, whether or not it still is in use, or a free one. */
static struct wr_peer *slot_for(struct wr_name *name, const struct wr_addr *addr) {
  struct wr_peer *free_one = NULL;
  for (size_t i = 0; i < name->room; i++) {
    struct wr_peer *p = &name->slots[i];
    if (p->state && is_same(&p->addr, addr)) return p;
    if (!free_one && (!p->state || is_idle(name, p))) free_one = p;
  }
  if (free_one && free_one->state) wr_slot_free(free_one);
  return free_one;
}

static void changed(struct wr_name *name, bool news) {
  if (news) atomic_fetch_add_explicit(&name->state->name_changes, 1, memory_order_relaxed);
}

/* These addresses and no others. False: not all of them found a slot. */
static bool settle(struct wr_name *name, const struct wr_addr *addrs, size_t n) {
  uint64_t keep = 0;
  bool whole = true;
  for (size_t i = 0; i < n; i++) {
    struct wr_peer *p = slot_for(name, &addrs[i]);
    bool news = false;
    if (!p || (!p->live && wr_slot_open(p, &addrs[i], &news) != WR_OK)) {
      whole = false;
      continue;
    }
    changed(name, news);
    keep |= UINT64_C(1) << p->index;
  }
  if (!keep) return false; /* whoever there is goes on */
  for (size_t i = 0; i < name->room; i++) {
    struct wr_peer *p = &name->slots[i];
    if (p->live && !(keep >> p->index & 1u)) changed(name, wr_slot_shut(p));
    if (p->state && is_idle(name, p)) wr_slot_free(p);
  }
  return whole;
}

/* Without those that the machine has no way to, unless that is all; of too many those that every
 * worker would take. Returns how many are left. */
static size_t useful(const struct wr_name *name, struct wr_addr *addrs, size_t n) {
  size_t kept = 0;
  for (size_t i = 0; i < n; i++) {
    if (!wr_addr_has_route(&addrs[i])) continue;
    struct wr_addr here = addrs[kept];
    addrs[kept++] = addrs[i];
    addrs[i] = here;
  }
  if (kept) n = kept;
  size_t most = name->room - 1;
  for (size_t i = 0; n > most && i < most; i++) {
    size_t least = i;
    for (size_t k = i + 1; k < n; k++)
      if (hash_of(&addrs[k]) < hash_of(&addrs[least])) least = k;
    struct wr_addr here = addrs[i];
    addrs[i] = addrs[least];
    addrs[least] = here;
  }
  return n < most ? n : most;
}

static void apply(struct wr_name *name, struct wr_addr *addrs, size_t n, uint64_t now) {
  uint64_t hash = 1;
  for (size_t i = 0; i < n; i++) hash += wr_hash_mix64(hash_of(&addrs[i])); /* in any order */
  if (!hash) hash = 1;
  name->known_ms = now;
  name->fails = 0;
  if (hash == name->seen) return;
  n = useful(name, addrs, n);
  name->seen = settle(name, addrs, n) ? hash : 0;
}

static void failed(struct wr_name *name, uint64_t now) {
  static const struct wr_addr nowhere;
  uint64_t wait = (uint64_t)AGAIN_MS << (name->fails < 3 ? name->fails : 3);
  name->again_ms = now + (wait < AGAIN_MAX_MS ? wait : AGAIN_MAX_MS);
  name->fails++;
  atomic_fetch_add_explicit(&name->state->name_failures, 1, memory_order_relaxed);
  if (now - name->known_ms < KEEP_MS) return;
  name->seen = 0;
  (void)settle(name, &nowhere, 1);
}

/* Peers don't change here: a session may be in the middle of something. The tick finds the answer
 * in the resolver's cache. */
static void told(void *ctx, enum wr_err err, const struct wr_addr *addrs, size_t n,
                 const char *why) {
  struct wr_name *name = ctx;
  (void)addrs, (void)why;
  WR_CHECK(name->lookup != NULL);
  uint64_t now = wr_loop_now_ms(name->set->loop);
  name->lookup = NULL;
  name->again_ms = 0;
  if (err == WR_OK && n > 0) name->known_ms = now;
  else failed(name, now);
}

static void look_up(struct wr_name *name, uint64_t now) {
  if (name->lookup || now < name->again_ms) return;
  struct wr_addr addrs[WR_RESOLVE_MAX];
  size_t n = 0;
  enum wr_err err = wr_resolve_start(name->set->resolver, name->url->host, name->url->port, told,
                                     name, addrs, &n, &name->lookup);
  if (err == WR_E_NOMEM) return;
  if (err != WR_OK) failed(name, now);
  else if (n) apply(name, addrs, n, now);
}

static enum wr_err name_start(struct wr_name *name, uint64_t now) {
  const struct wr_peer *p = &name->slots[0];
  enum wr_err err = wr_peer_state_take(name->set->book, p->up->name, name->url->text, "",
                                       &name->state);
  if (err != WR_OK) return err;
  name->known_ms = now;
  look_up(name, now);
  if (name->seen) return WR_OK;
  /* After a reload the addresses of before count on, though their time may be over. */
  struct wr_addr addrs[WR_RESOLVE_MAX];
  size_t n = wr_resolve_last(name->set->resolver, name->url->host, name->url->port, addrs);
  if (n) apply(name, addrs, n, now);
  return WR_OK;
}

enum wr_err wr_names_start(struct wr_upstreams *set) {
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  size_t most = 0;
  for (size_t i = 1; i < set->peer_count; i++)
    most += set->peers[i].url && set->peers[i].url == set->peers[i - 1].url;
  if (!most) return WR_OK;
  set->names = wr_heap_zalloc(WR_HEAP_UPSTREAM, most * sizeof *set->names);
  if (!set->names) return WR_E_NOMEM;
  uint64_t now = wr_loop_now_ms(set->loop);
  enum wr_err err = WR_OK;
  for (size_t i = 0; err == WR_OK && i < set->peer_count;) {
    struct wr_peer *first = &set->peers[i];
    size_t room = 1;
    while (i + room < set->peer_count && first->url && set->peers[i + room].url == first->url)
      room++;
    i += room;
    if (room == 1) continue;
    struct wr_name *name = &set->names[set->name_count++];
    *name = (struct wr_name){ .set = set, .url = first->url, .slots = first, .room = room };
    err = name_start(name, now);
  }
  return err;
}

void wr_names_tick(struct wr_upstreams *set) {
  uint64_t now = wr_loop_now_ms(set->loop);
  for (size_t i = 0; i < set->name_count; i++) {
    struct wr_name *name = &set->names[i];
    look_up(name, now);
    for (size_t k = 0; k < name->room; k++)
      if (name->slots[k].state && is_idle(name, &name->slots[k])) wr_slot_free(&name->slots[k]);
  }
}

void wr_names_stop(struct wr_upstreams *set) {
  for (size_t i = 0; i < set->name_count; i++) {
    if (set->names[i].lookup) wr_resolve_cancel(set->names[i].lookup);
    set->names[i].lookup = NULL;
  }
}

void wr_names_free(struct wr_upstreams *set) {
  wr_names_stop(set);
  for (size_t i = 0; i < set->name_count; i++)
    wr_peer_state_give(set->book, set->names[i].state);
  wr_heap_free(WR_HEAP_UPSTREAM, set->names);
  set->names = NULL;
  set->name_count = 0;
}

/* Who gets a request: which peers may be asked, and which of those is. */
#include <string.h>

#include "base/check.h"
#include "upstream/note.h"
#include "upstream/set_priv.h"

#define BIT(i) (UINT64_C(1) << (i))

static uint64_t bits_of(const struct wr_peer_range *r) { return r->live; }

static unsigned count_of(uint64_t bits) {
  unsigned n = 0;
  for (; bits; bits &= bits - 1) n++;
  return n;
}

static uint64_t shut_until(const struct wr_peer *peer) {
  return atomic_load_explicit(&peer->state->shut_until_ms, memory_order_relaxed);
}

/* Those of `all` that nobody is kept from. */
static uint64_t free_of(const struct wr_upstreams *set, uint64_t all, uint64_t now) {
  uint64_t bits = 0;
  for (uint64_t left = all; left; left &= left - 1) {
    size_t i = (size_t)__builtin_ctzll(left);
    if (wr_peer_state_free(set->peers[i].state, now)) bits |= BIT(i);
  }
  return bits;
}

/* Of those that are left alone, the one that comes back first. */
static uint64_t soonest(const struct wr_upstreams *set, uint64_t of) {
  uint64_t best = 0, least = UINT64_MAX;
  for (uint64_t left = of; left; left &= left - 1) {
    size_t i = (size_t)__builtin_ctzll(left);
    uint64_t until = shut_until(&set->peers[i]);
    if (best && until >= least) continue;
    best = BIT(i);
    least = until;
  }
  return best;
}

/* What a request of a group may choose from. */
struct field {
  uint64_t open;   /* may be asked */
  uint64_t forced; /* of them those that should be left alone, but the floor keeps them in use */
};

/* At least so many of the group's peers stay in use. */
static unsigned floor_of(const struct wr_upstreams *set, const struct wr_conf_group *g,
                         unsigned peers) {
  uint32_t most = 0;
  for (size_t m = 0; m < g->member_count; m++) {
    uint32_t permille = set->conf->upstreams[g->members[m]].breaker.floor_permille;
    if (permille > most) most = permille;
  }
  unsigned n = (unsigned)((peers * (uint64_t)most + 999) / 1000);
  return n ? n : 1;
}

static struct field field_of(const struct wr_upstreams *set, const struct wr_conf_group *g,
                             const struct wr_choice *choice, uint64_t now) {
  uint64_t all = 0, last = 0;
  for (size_t m = 0; m < g->member_count; m++) {
    uint64_t bits = bits_of(&set->ranges[g->members[m]]);
    if (g->last && m + 1 == g->member_count) last = bits;
    else all |= bits;
  }
  struct field f = { .open = free_of(set, all, now), .forced = 0 };
  uint64_t last_open = free_of(set, last, now);
  if (f.open != all && !last_open) {
    unsigned need = floor_of(set, g, count_of(all)), have = count_of(f.open);
    for (; have < need; have++) f.forced |= soonest(set, all & ~f.open & ~f.forced);
  }
  /* Who comes with a second attempt has been at one that fails; while another is well it isn't sent
   * to the next of those. */
  if (!choice->any && f.open & ~choice->tried) f.forced = 0;
  f.open = (f.open | f.forced) & ~choice->tried;
  if (!f.open) f.open = last_open & ~choice->tried;
  if (!f.open && choice->any) f.open = f.forced = soonest(set, (all | last) & ~choice->tried);
  return f;
}

static struct wr_pick_item item_of_peer(const struct wr_peer *peer, const struct wr_pick_ops *ops,
                                        uint64_t now) {
  struct wr_pick_item it = { .id = peer->id, .weight = peer->weight };
  if (!peer->live) return it; /* nobody looks at it */
  if (ops->loads) it.streams = atomic_load_explicit(&peer->state->streams, memory_order_relaxed);
  if (ops->times) it.first_token_us = wr_peer_state_first_token_us(peer->state, now);
  return it;
}

/* Whose turn it is moves on with each request, not with what is done beside one: else every first
 * attempt would be at the same peer. */
static struct wr_pick_memory *memory_for(struct wr_pick_memory *memory, bool beside,
                                         struct wr_pick_memory *once) {
  *once = (struct wr_pick_memory){ .next = memory->next, .credits = NULL };
  return beside ? once : memory;
}

/* An address that has just come has no streams: not to get all that come now, it counts as if it
 * had as many as the others on average, for a while. */
#define NEW_MS 10000u

static bool is_new(struct wr_peer *peer, uint64_t now) {
  if (peer->since_ms == WR_PEER_JUST) peer->since_ms = now;
  return peer->since_ms && now - peer->since_ms < NEW_MS;
}

static void hold_back_new(const struct wr_upstreams *set, const struct wr_peer_range *r,
                          struct wr_pick_item *items, uint64_t now) {
  uint32_t streams = 0, old = 0;
  for (size_t i = 0; i < r->count; i++) {
    struct wr_peer *peer = &set->peers[r->first + i];
    if (!peer->live || is_new(peer, now)) continue;
    streams += items[i].streams;
    old++;
  }
  if (!old) return;
  for (size_t i = 0; i < r->count; i++)
    if (is_new(&set->peers[r->first + i], now) && items[i].streams < streams / old)
      items[i].streams = streams / old;
}

static size_t pick_peer(struct wr_upstreams *set, size_t upstream, uint64_t open,
                        const struct wr_choice *choice, uint64_t now) {
  struct wr_peer_range *r = &set->ranges[upstream];
  if (r->count == 1) return r->first;
  const struct wr_pick_ops *ops = wr_pick_ops_of(set->conf->upstreams[upstream].balance);
  struct wr_pick_item items[WR_PICK_MAX];
  for (size_t i = 0; i < r->count; i++)
    items[i] = item_of_peer(&set->peers[r->first + i], ops, now);
  if (ops->loads && set->name_count) hold_back_new(set, r, items, now);
  struct wr_pick_want want = { .items = items,
                               .count = r->count,
                               .usable = (open & bits_of(r)) >> r->first,
                               .hash = choice->hash,
                               .rand = &set->rand };
  struct wr_pick_memory once;
  WR_CHECK(want.usable != 0);
  return r->first + ops->pick(memory_for(&r->memory, choice->beside, &once), &want);
}

/* A member counts as the peers of it that may be asked: their streams together, the shortest of
 * their times. */
static struct wr_pick_item item_of_member(const struct wr_upstreams *set, uint32_t member,
                                          uint64_t open, const struct wr_pick_ops *ops,
                                          uint64_t now) {
  struct wr_pick_item sum = { .weight = 1 };
  for (uint64_t left = open; left; left &= left - 1) {
    const struct wr_peer *peer = &set->peers[__builtin_ctzll(left)];
    struct wr_pick_item it = item_of_peer(peer, ops, now);
    sum.streams += it.streams;
    bool faster = it.first_token_us && it.first_token_us < sum.first_token_us;
    if (!sum.first_token_us || faster) sum.first_token_us = it.first_token_us;
  }
  sum.id = set->ranges[member].id;
  return sum;
}

static size_t pick_member(struct wr_upstreams *set, uint32_t group, uint64_t open,
                          const struct wr_choice *choice, uint64_t now) {
  const struct wr_conf_group *g = &set->conf->groups[group];
  if (g->member_count == 1) return g->members[0];
  const struct wr_pick_ops *ops = wr_pick_ops_of(g->balance);
  struct wr_pick_item items[WR_PICK_MAX];
  struct wr_pick_want want = { .items = items, .hash = choice->hash, .rand = &set->rand };
  want.count = g->member_count < WR_PICK_MAX ? g->member_count : WR_PICK_MAX;
  for (size_t m = 0; m < want.count; m++) {
    uint64_t bits = open & bits_of(&set->ranges[g->members[m]]);
    items[m] = item_of_member(set, g->members[m], bits, ops, now);
    if (g->weights && g->weights[m]) items[m].weight = g->weights[m];
    if (bits) want.usable |= BIT(m);
  }
  WR_CHECK(want.usable != 0);
  struct wr_pick_memory once;
  return g->members[ops->pick(memory_for(&set->groups[group], choice->beside, &once), &want)];
}

uint64_t wr_upstreams_mask(const struct wr_upstreams *set, uint32_t upstream) {
  if (!WR_EXPECT(upstream < set->conf->upstream_count)) return 0;
  return bits_of(&set->ranges[upstream]);
}

void wr_peer_hold(struct wr_peer *peer) {
  peer->streams++;
  atomic_fetch_add_explicit(&peer->state->streams, 1, memory_order_relaxed);
}

uint64_t wr_group_open(const struct wr_upstreams *set, uint32_t group,
                       const struct wr_choice *choice) {
  if (!WR_EXPECT(group < set->conf->group_count)) return 0;
  return field_of(set, &set->conf->groups[group], choice, wr_loop_now_ms(set->loop)).open;
}

struct wr_peer *wr_group_choose(struct wr_upstreams *set, uint32_t group,
                                const struct wr_choice *choice) {
  WR_MAGIC_CHECK(set, WR_SET_MAGIC);
  if (!WR_EXPECT(group < set->conf->group_count)) return NULL;
  uint64_t now = wr_loop_now_ms(set->loop);
  struct field f = field_of(set, &set->conf->groups[group], choice, now);
  struct wr_choice rest = *choice;
  while (f.open) {
    size_t member = pick_member(set, group, f.open, choice, now);
    size_t i = pick_peer(set, member, f.open, choice, now);
    struct wr_peer *peer = &set->peers[i];
    struct wr_standing_change change;
    bool in = f.forced & BIT(i);
    peer->probing = false;
    if (!in) {
      in = wr_peer_state_enter(peer->state, now, &change);
      peer->probing = in && change.to == WR_STANDING_HALF_OPEN;
      wr_set_log(set, peer, &change, "probe");
    }
    if (in) {
      wr_peer_hold(peer);
      return peer;
    }
    /* Another request finds out already. If that leaves nobody, the floor may still let this one
     * in. */
    f.open &= ~BIT(i);
    if (!f.open && rest.any && !(rest.tried & BIT(i))) {
      rest.tried |= BIT(i);
      f = field_of(set, &set->conf->groups[group], choice, now);
    }
  }
  return NULL;
}

struct wr_peer *wr_peer_sibling(const struct wr_peer *peer, uint64_t tried) {
  struct wr_upstreams *set = peer->set;
  const struct wr_peer_range *r = &set->ranges[peer->up - set->conf->upstreams];
  uint64_t now = wr_loop_now_ms(set->loop);
  for (size_t i = 1; peer->url && i < r->count; i++) {
    struct wr_peer *p = &set->peers[r->first + (peer->index - r->first + i) % r->count];
    struct wr_standing_change change;
    if (!p->live || p->url != peer->url || tried & BIT(p->index)) continue;
    if (!wr_peer_state_free(p->state, now)) continue;
    if (!wr_peer_state_enter(p->state, now, &change)) continue;
    wr_set_log(set, p, &change, "probe");
    wr_peer_hold(p);
    return p;
  }
  return NULL;
}

void wr_peer_put(struct wr_peer *peer) {
  WR_CHECK(peer->streams > 0);
  peer->streams--;
  atomic_fetch_sub_explicit(&peer->state->streams, 1, memory_order_relaxed);
}

void wr_peer_unpick(struct wr_peer *peer) {
  if (peer->probing)
    wr_peer_note(peer, wr_peer_epoch(peer), WR_NOTE_NOTHING, 0, 0,
                 wr_loop_now_ms(peer->set->loop));
  peer->probing = false;
  wr_peer_put(peer);
}

const struct wr_conf_hash *wr_group_hash(const struct wr_upstreams *set, uint32_t group) {
  const struct wr_conf_group *g = &set->conf->groups[group];
  if (g->balance == WR_BALANCE_HASH && g->member_count > 1) return &g->hash;
  for (size_t m = 0; m < g->member_count; m++) {
    const struct wr_conf_upstream *up = &set->conf->upstreams[g->members[m]];
    if (up->balance == WR_BALANCE_HASH && set->ranges[g->members[m]].count > 1) return &up->hash;
  }
  return NULL;
}

/* stop_largest: when nothing else helps, one stream ends so that the others go on.
 *
 * Which one is settled over all workers: each says at its tick what its largest stream holds, and
 * which of its streams it would end: of those that hold half as much as the largest of all, the one
 * that drains slowest. The worker whose choice is the best of all takes the sample's ticket; the
 * others leave it to that worker's tick. What the others said is a tick old at the most. */
#include "base/check.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "relay/slow.h"

/* What the end of a stream would give back, about: blocks are shared, so nobody knows exactly. */
static size_t held_bytes(const struct wr_session *s) {
  return wr_session_held_bytes(s) + (s->rq ? s->rq->body.bytes : 0);
}

struct choice {
  struct wr_session *s; /* borrowed: the relay's */
  size_t bytes;
  uint32_t taken; /* by its client since the last tick */
};

static size_t largest_of(struct wr_relay *relay) {
  size_t most = 0;
  for (struct wr_list *l = relay->sessions.next; l != &relay->sessions; l = l->next) {
    const struct wr_session *s = WR_CONTAINER(l, struct wr_session, link);
    size_t bytes = s->active ? held_bytes(s) : 0;
    if (bytes > most) most = bytes;
  }
  return most;
}

/* Of those that hold at least so much, the one that drains slowest. */
static struct choice choose(struct wr_relay *relay, size_t least) {
  struct choice best = { NULL, 0, 0 };
  for (struct wr_list *l = relay->sessions.next; l != &relay->sessions; l = l->next) {
    struct wr_session *s = WR_CONTAINER(l, struct wr_session, link);
    uint32_t out = (uint32_t)wr_conn_bytes_out(s->client);
    struct choice c = { s, s->active ? held_bytes(s) : 0, out - s->taken };
    s->taken = out;
    if (c.bytes == 0 || c.bytes < least) continue;
    if (!best.s || c.taken < best.taken || (c.taken == best.taken && c.bytes > best.bytes))
      best = c;
  }
  return best;
}

/* --- what workers tell each other: the low bits of the sample's number above a value --- */

#define STAMP_SHIFT 48
#define VALUE_MASK ((1ull << STAMP_SHIFT) - 1)
#define HALF_MASK ((1u << 24) - 1)
#define STALE_SAMPLES 2u

static uint64_t now_of(const struct wr_degrade *d) {
  return atomic_load_explicit(&d->shared->samples, memory_order_relaxed) & 0xffff;
}

static void tell(const struct wr_degrade *d, _Atomic uint64_t *row, uint64_t value) {
  WR_DCHECK(value <= VALUE_MASK);
  atomic_store_explicit(row, now_of(d) << STAMP_SHIFT | value, memory_order_relaxed);
}

/* A worker that has said nothing for long can't act either: it doesn't count. */
static uint64_t told(const struct wr_degrade *d, const _Atomic uint64_t *row) {
  uint64_t v = atomic_load_explicit(row, memory_order_relaxed);
  uint64_t age = (now_of(d) - (v >> STAMP_SHIFT)) & 0xffff;
  return age <= STALE_SAMPLES ? v & VALUE_MASK : 0;
}

static uint64_t cap(uint64_t n, uint64_t most) { return n < most ? n : most; }

/* The better of two choices has the greater number: what drains slower, then what holds more. 0 is
 * none. In pieces of 16 bytes and of 1 KiB: nobody knows better than that what a stream holds. */
static uint64_t rank(const struct choice *c) {
  if (!c->s) return 0;
  return (HALF_MASK - cap(c->taken >> 4, HALF_MASK)) << 24 | cap((c->bytes >> 10) + 1, HALF_MASK);
}

static size_t rank_bytes(uint64_t rank) { return (size_t)(rank & HALF_MASK) << 10; }

/* The most that any stream holds, on any worker. */
static size_t most_of(const struct wr_degrade *d) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < WR_DEGRADE_WORKERS; i++) {
    uint64_t n = told(d, &d->shared->largest[i]);
    if (n > most) most = n;
  }
  return (size_t)most;
}

/* Of two alike, the one of the first worker. What another worker chose when the largest was
 * smaller doesn't count any more. */
static bool is_first(const struct wr_degrade *d, uint64_t mine, size_t least) {
  for (uint32_t i = 0; i < WR_DEGRADE_WORKERS; i++) {
    uint64_t theirs = i == d->worker ? 0 : told(d, &d->shared->worst[i]);
    if (rank_bytes(theirs) < least) continue;
    if (theirs > mine || (theirs == mine && i < d->worker)) return false;
  }
  return true;
}

static bool ticket_take(struct wr_degrade *d) {
  if (d->forced == WR_DEGRADE_FREE && wr_ladder_stops(&d->lag)) return true; /* its own trouble */
  uint32_t n = atomic_load_explicit(&d->shared->tickets, memory_order_relaxed);
  while (n > 0)
    if (atomic_compare_exchange_weak(&d->shared->tickets, &n, n - 1)) return true;
  return false;
}

static void fall_silent(struct wr_degrade *d) {
  if (atomic_load_explicit(&d->shared->largest[d->worker], memory_order_relaxed) == 0) return;
  atomic_store_explicit(&d->shared->largest[d->worker], 0, memory_order_relaxed);
  atomic_store_explicit(&d->shared->worst[d->worker], 0, memory_order_relaxed);
}

void wr_degrade_stop(struct wr_relay *relay) {
  struct wr_degrade *d = &relay->degrade;
  WR_DCHECK(d->worker < WR_DEGRADE_WORKERS);
  if (!(d->actions >> WR_ACTION_STOP_LARGEST & 1u)) {
    fall_silent(d);
    return;
  }
  tell(d, &d->shared->largest[d->worker], cap(largest_of(relay), VALUE_MASK));
  size_t least = most_of(d) / 2;
  struct choice c = choose(relay, least);
  WR_DCHECK(c.s == NULL || c.s->relay == relay);
  tell(d, &d->shared->worst[d->worker], rank(&c));
  if (!c.s || !is_first(d, rank(&c), least) || !ticket_take(d)) return;
  c.s->shed = true; /* its next turn ends it */
  c.s->deaf = c.taken == 0;
  atomic_store_explicit(&d->shared->worst[d->worker], 0, memory_order_relaxed);
  wr_degrade_count(relay, WR_ACTION_STOP_LARGEST, 1);
  wr_session_mark(c.s);
}

/* stop_largest: when nothing else helps, one stream ends so that the others go on. */
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

/* Of those that hold at least half as much as the largest, the one that drains slowest. */
static bool is_better(const struct choice *a, const struct choice *b) {
  if (!b->s || a->bytes / 2 > b->bytes) return true;
  if (a->bytes < b->bytes / 2) return false;
  return a->taken != b->taken ? a->taken < b->taken : a->bytes > b->bytes;
}

static struct choice choose(struct wr_relay *relay) {
  struct choice best = { NULL, 0, 0 };
  for (struct wr_list *l = relay->sessions.next; l != &relay->sessions; l = l->next) {
    struct wr_session *s = WR_CONTAINER(l, struct wr_session, link);
    uint32_t out = (uint32_t)wr_conn_bytes_out(s->client);
    struct choice c = { s, s->active ? held_bytes(s) : 0, out - s->taken };
    s->taken = out;
    if (c.bytes > 0 && is_better(&c, &best)) best = c;
  }
  return best;
}

/* Another worker's stream may be larger; what it said last stands for it. */
static bool is_largest(const struct wr_degrade *d, size_t bytes) {
  for (uint32_t i = 0; i < WR_DEGRADE_WORKERS; i++)
    if (i != d->worker &&
        atomic_load_explicit(&d->shared->largest[i], memory_order_relaxed) > bytes)
      return false;
  return true;
}

static bool ticket_take(struct wr_degrade *d) {
  if (d->forced == WR_DEGRADE_FREE && wr_ladder_stops(&d->lag)) return true; /* its own trouble */
  uint32_t n = atomic_load_explicit(&d->shared->tickets, memory_order_relaxed);
  while (n > 0)
    if (atomic_compare_exchange_weak(&d->shared->tickets, &n, n - 1)) return true;
  return false;
}

void wr_degrade_stop(struct wr_relay *relay) {
  struct wr_degrade *d = &relay->degrade;
  _Atomic uint64_t *mine = &d->shared->largest[d->worker];
  if (!(d->actions >> WR_ACTION_STOP_LARGEST & 1u)) {
    if (atomic_load_explicit(mine, memory_order_relaxed))
      atomic_store_explicit(mine, 0, memory_order_relaxed);
    return;
  }
  struct choice c = choose(relay);
  WR_DCHECK(c.s == NULL || c.s->relay == relay);
  atomic_store_explicit(mine, c.bytes, memory_order_relaxed);
  if (!c.s || !is_largest(d, c.bytes) || !ticket_take(d)) return;
  c.s->shed = true; /* its next turn ends it */
  c.s->deaf = c.taken == 0;
  wr_degrade_count(relay, WR_ACTION_STOP_LARGEST, 1);
  wr_session_mark(c.s);
}

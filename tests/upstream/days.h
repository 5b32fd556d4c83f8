/* days.h: days of traffic in a moment. The set, the breakers, the budgets, the hedges and the
 * limits are the real ones; the clock, the clients and the servers are made up. Events stand in a
 * heap, so an idle hour costs nothing; the same seed gives the same days on every machine.
 *
 * A server serves `capacity` streams at a time, the others wait there in turn. The time to the
 * first token and the rest of a stream are log-normal. What the relay does with a request (pick,
 * place, line, retry, hedge) is done in days_run.h in the same order and with the same calls. */
#ifndef TESTS_UPSTREAM_DAYS_H
#define TESTS_UPSTREAM_DAYS_H

#include "net/world.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "upstream/hedge.h"
#include "upstream/note.h"
#include "upstream/retry.h"
#include "upstream/set_priv.h"

#define DAYS_PEERS 10u
#define DAYS_TRIES 8192u
#define DAYS_HEAP 65536u
#define DAYS_FAULTS 32u
#define DAYS_HOUR_MS 3600000u
#define DAYS_NONE UINT32_MAX
#define DAYS_TIMEOUT_MS 10000u /* of a first token */

enum days_how {
  DAYS_WELL,
  DAYS_CRASH, /* no connection, and its streams break */
  DAYS_HANG,  /* answers nothing */
  DAYS_BROWN, /* `arg` of a thousand answers are a 500 */
  DAYS_SLOW,  /* a first token takes `arg` times as long */
  DAYS_FLAP,  /* CRASH for `arg` ms, then well for as long */
  DAYS_BUSY,  /* 429, come back after `arg` ms */
  DAYS_SIZE   /* `arg` thousandths of its capacity */
};

struct days_fault {
  enum days_how how;
  uint32_t peers; /* bits */
  double from_h, until_h;
  uint32_t arg;
};

/* What was seen of a fault, by its first peer. */
struct days_seen {
  uint64_t opens_from, opens_until, opens_after; /* when it began, ended, and an hour later */
  uint64_t asked, well;                          /* attempts while it lasted */
  uint64_t again_ms;    /* from its end to the first good answer; 0: none */
  uint64_t closed_ms;   /* and until the last of its peers had given one */
  uint32_t used, back;  /* peers that were asked while it lasted, that are back; bits */
};

struct days;
struct days_plan {
  unsigned peers, workers, hours;
  bool apart;             /* an upstream each; else all are peers of one */
  double per_s, swing;    /* requests on average; share that the time of day adds or takes */
  double first_ms, spread; /* median, and the deviation of its logarithm */
  double rest_ms;
  unsigned capacity;
  unsigned bad_permille;  /* answers that fail on a good day */
  uint32_t limit_min, limit_max;
  unsigned line, line_ms; /* places in the group's line, and how long */
  unsigned attempts, budget_permille;
  bool again, hedge;
  unsigned hedge_permille, hedge_after_ms;
  uint32_t slow_ms;       /* of the breaker */
  enum wr_balance balance;
  const struct days_fault *faults;
  size_t fault_count;
  void (*minute)(struct days *d); /* called at each, or NULL */
};

struct days_second { uint16_t requests, attempts, paid, free, hedges; };

enum days_kind {
  EV_ARRIVE, EV_REFUSED, EV_TOKEN, EV_END, EV_TIMEOUT, EV_HEDGE, EV_RETRY, EV_LINE, EV_TICK,
  EV_MINUTE, EV_FROM, EV_UNTIL, EV_AFTER
};

struct days_event { uint64_t at_ms, turn; uint32_t index, serial; uint8_t kind; };

/* A request, or one of its attempts. */
struct days_try {
  uint32_t serial;     /* events of who was here before are void */
  bool live;
  /* An attempt. */
  uint32_t request, peer, epoch;
  uint64_t began_ms;
  bool serves, waits, heard;
  uint32_t next;       /* in its server's line */
  /* A request. */
  uint64_t came_ms, tried;
  uint32_t at, rival, attempts, worker;
  bool in_line;
};

struct days_server { uint32_t serving, head, tail, waiting; };

struct days {
  struct world w;
  struct wr_resolver *resolver;
  struct wr_peer_book *book;
  struct wr_upstreams *set[2];
  struct wr_conf conf;
  struct wr_conf_upstream ups[DAYS_PEERS];
  struct wr_conf_url urls[DAYS_PEERS];
  struct wr_conf_group group;
  struct wr_conf_route route;
  uint32_t members[DAYS_PEERS];
  char names[DAYS_PEERS][16];
  struct days_plan own;
  const struct days_plan *plan; /* of `own` */
  struct wr_rand rand;
  uint64_t begin_ms, now_ms, end_ms, turn;
  struct days_event *heap;
  size_t heap_count;
  struct days_try *tries;
  uint32_t free, running[DAYS_PEERS]; /* of each upstream: what the limit counts */
  uint32_t *line;
  size_t line_head, line_count;
  struct days_server servers[DAYS_PEERS];
  struct days_seen seen[DAYS_FAULTS];
  struct days_second *seconds;
  uint32_t *lasted;      /* when each peer was asked last, ms of the run */
  bool ticking;
  /* In all. */
  uint64_t requests, served, failed, shed, timeouts, attempts, paid, unpaid, gratis, hedges, won,
      late, broken;
  uint64_t waited_ms, waits, waited_most_ms; /* in the line */
  uint64_t first_sum_ms, first_count;        /* what clients saw */
  uint64_t gap_most_ms[DAYS_PEERS];          /* longest that a peer wasn't asked while some came */
};

/* ---- numbers */

/* One will do where each costs ten times as much, and finds nothing: it is one thread. */
static inline uint64_t days_seeds(uint64_t seeds) {
#ifdef __SANITIZE_THREAD__
  return seeds ? 1 : 0;
#else
  return seeds;
#endif
}

static inline double days_unit(struct wr_rand *r) {
  return (double)(wr_rand_u64(r) >> 11) / 9007199254740992.0;
}
static inline double days_normal(struct wr_rand *r) {
  return sqrt(-2 * log(1 - days_unit(r))) * cos(6.283185307179586 * days_unit(r));
}
static inline uint64_t days_about(struct days *d, double median, double spread) {
  double ms = median * exp(spread * days_normal(&d->rand));
  return ms < 1 ? 1 : (uint64_t)ms;
}

/* ---- events */

static inline bool days_before(const struct days_event *a, const struct days_event *b) {
  return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->turn < b->turn);
}

static inline void days_at(struct days *d, uint64_t at_ms, enum days_kind kind, uint32_t index) {
  assert_true(d->heap_count < DAYS_HEAP);
  uint32_t serial = kind <= EV_LINE && kind != EV_ARRIVE ? d->tries[index].serial : 0;
  struct days_event e = { at_ms, d->turn++, index, serial, (uint8_t)kind };
  size_t i = d->heap_count++;
  for (; i && days_before(&e, &d->heap[(i - 1) / 2]); i = (i - 1) / 2)
    d->heap[i] = d->heap[(i - 1) / 2];
  d->heap[i] = e;
}

static inline struct days_event days_next(struct days *d) {
  struct days_event top = d->heap[0], last = d->heap[--d->heap_count];
  size_t i = 0;
  for (;;) {
    size_t k = 2 * i + 1;
    if (k >= d->heap_count) break;
    if (k + 1 < d->heap_count && days_before(&d->heap[k + 1], &d->heap[k])) k++;
    if (!days_before(&d->heap[k], &last)) break;
    d->heap[i] = d->heap[k];
    i = k;
  }
  d->heap[i] = last;
  return top;
}

static inline uint32_t days_take(struct days *d) {
  uint32_t i = d->free;
  assert_true(i != DAYS_NONE);
  d->free = d->tries[i].next;
  d->tries[i] = (struct days_try){ .serial = d->tries[i].serial + 1, .live = true,
                                   .at = DAYS_NONE, .rival = DAYS_NONE, .next = DAYS_NONE };
  return i;
}

static inline void days_give(struct days *d, uint32_t i) {
  assert_true(d->tries[i].live);
  d->tries[i].live = false;
  d->tries[i].serial++;
  d->tries[i].next = d->free;
  d->free = i;
}

/* ---- faults */

static inline const struct days_fault *days_fault_at(const struct days *d, uint32_t peer,
                                                     uint64_t now_ms, size_t *index) {
  double h = (double)(now_ms - d->begin_ms) / DAYS_HOUR_MS;
  for (size_t i = 0; i < d->plan->fault_count; i++) {
    const struct days_fault *f = &d->plan->faults[i];
    if (!(f->peers >> peer & 1u) || h < f->from_h || h >= f->until_h) continue;
    if (index) *index = i;
    return f;
  }
  return NULL;
}

static inline enum days_how days_how_now(const struct days *d, uint32_t peer, uint32_t *arg) {
  const struct days_fault *f = days_fault_at(d, peer, d->now_ms, NULL);
  if (!f) return DAYS_WELL;
  *arg = f->arg;
  if (f->how != DAYS_FLAP) return f->how;
  return (d->now_ms - d->begin_ms) / f->arg % 2 ? DAYS_WELL : DAYS_CRASH;
}

static inline uint32_t days_capacity(const struct days *d, uint32_t peer) {
  uint32_t arg = 0;
  if (days_how_now(d, peer, &arg) != DAYS_SIZE) return d->plan->capacity;
  return d->plan->capacity * arg / 1000;
}

/* ---- servers */

static inline struct wr_peer *days_peer(struct days *d, const struct days_try *t) {
  return &d->set[d->tries[t->request].worker]->peers[t->peer];
}
static inline uint32_t days_upstream(const struct days *d, uint32_t peer) {
  return d->plan->apart ? peer : 0;
}
static inline struct wr_peer_state *days_state(const struct days *d, uint32_t peer) {
  return d->set[0]->peers[peer].state;
}

static inline void days_serve(struct days *d, uint32_t i) {
  struct days_try *t = &d->tries[i];
  uint32_t arg = 1;
  double median = d->plan->first_ms;
  if (days_how_now(d, t->peer, &arg) == DAYS_SLOW) median *= arg;
  t->serves = true;
  d->servers[t->peer].serving++;
  days_at(d, d->now_ms + days_about(d, median, d->plan->spread), EV_TOKEN, i);
}

static inline void days_server_next(struct days *d, uint32_t peer) {
  struct days_server *s = &d->servers[peer];
  while (s->waiting && s->serving < days_capacity(d, peer)) {
    uint32_t i = s->head;
    s->head = d->tries[i].next;
    s->waiting--;
    d->tries[i].waits = false;
    d->tries[i].next = DAYS_NONE;
    days_serve(d, i);
  }
}

/* The server is asked. */
static inline void days_send(struct days *d, uint32_t i) {
  struct days_try *t = &d->tries[i];
  struct days_server *s = &d->servers[t->peer];
  uint32_t arg = 0;
  size_t fault = 0;
  if (days_fault_at(d, t->peer, d->now_ms, &fault)) {
    d->seen[fault].asked++;
    d->seen[fault].used |= 1u << t->peer;
  }
  enum days_how how = days_how_now(d, t->peer, &arg);
  bool bad = wr_rand_below(&d->rand, 1000) < d->plan->bad_permille ||
             (how == DAYS_BROWN && wr_rand_below(&d->rand, 1000) < arg);
  if (how == DAYS_CRASH || how == DAYS_BUSY || bad) {
    days_at(d, d->now_ms + (how == DAYS_CRASH ? 1 : 20), EV_REFUSED, i);
    return;
  }
  days_at(d, d->now_ms + DAYS_TIMEOUT_MS, EV_TIMEOUT, i);
  if (how == DAYS_HANG) return;
  if (s->serving < days_capacity(d, t->peer)) {
    days_serve(d, i);
    return;
  }
  t->waits = true;
  if (s->waiting++) d->tries[s->tail].next = i;
  else s->head = i;
  s->tail = i;
}

static inline void days_server_leave(struct days *d, uint32_t i) {
  struct days_try *t = &d->tries[i];
  struct days_server *s = &d->servers[t->peer];
  if (t->serves) {
    s->serving--;
  } else if (t->waits) {
    uint32_t before = DAYS_NONE;
    for (uint32_t k = s->head; k != i; k = d->tries[k].next) before = k;
    if (before == DAYS_NONE) s->head = t->next;
    else d->tries[before].next = t->next;
    if (s->tail == i) s->tail = before;
    s->waiting--;
  }
  days_server_next(d, t->peer);
}

#endif

/* days_run.h: what the relay does with each request of days.h, the life of a simulation, and what
 * is asked of it afterwards. */
#ifndef TESTS_UPSTREAM_DAYS_RUN_H
#define TESTS_UPSTREAM_DAYS_RUN_H

#include "upstream/days.h"

/* ---- the relay's part */

static inline void days_pick(struct days *d, uint32_t r);
static inline void days_tick_on(struct days *d);

static inline void days_note(struct days *d, uint32_t i, enum wr_note what, uint32_t first_us,
                             uint64_t after_ms) {
  const struct days_try *t = &d->tries[i];
  wr_peer_note(days_peer(d, t), t->epoch, what, first_us, after_ms, d->now_ms);
  if (what == WR_NOTE_CONNECT || what == WR_NOTE_FAILED) days_tick_on(d);
}

static inline void days_line_next(struct days *d) {
  while (d->line_count) {
    uint32_t r = d->line[d->line_head % DAYS_TRIES];
    d->line_head++;
    d->line_count--;
    if (r == DAYS_NONE) continue;
    d->tries[r].in_line = false;
    days_pick(d, r);
    if (d->tries[r].in_line) return; /* it stands in front again */
  }
}

/* An attempt is over: its server and its place are free. */
static inline void days_over(struct days *d, uint32_t i) {
  struct days_try *t = &d->tries[i];
  days_server_leave(d, i);
  d->running[days_upstream(d, t->peer)]--;
  wr_peer_put(days_peer(d, t));
  days_give(d, i);
}

static inline uint32_t days_begin(struct days *d, uint32_t r, struct wr_peer *peer) {
  uint32_t i = days_take(d);
  struct days_try *t = &d->tries[i];
  struct days_second *s = &d->seconds[(d->now_ms - d->begin_ms) / 1000];
  t->request = r;
  t->peer = peer->index;
  t->epoch = wr_peer_epoch(peer);
  t->began_ms = d->now_ms;
  d->running[days_upstream(d, t->peer)]++;
  d->attempts++;
  s->attempts++;
  uint32_t at = (uint32_t)(d->now_ms - d->begin_ms);
  if (at - d->lasted[t->peer] > d->gap_most_ms[t->peer])
    d->gap_most_ms[t->peer] = at - d->lasted[t->peer];
  d->lasted[t->peer] = at;
  days_send(d, i);
  return i;
}

static inline void days_end(struct days *d, uint32_t r, uint64_t *count) {
  (*count)++;
  days_give(d, r);
}

/* A peer with room; *full: there are some without. */
static inline struct wr_peer *days_choose(struct days *d, uint32_t r, bool beside, bool *full) {
  struct days_try *q = &d->tries[r];
  struct wr_upstreams *set = d->set[q->worker];
  struct wr_choice choice = { .tried = q->tried, .beside = beside, .any = !q->attempts };
  for (;;) {
    struct wr_peer *peer = wr_group_choose(set, 0, &choice);
    if (!peer) return NULL;
    uint32_t most = wr_peer_limit(peer);
    if (!most || d->running[days_upstream(d, peer->index)] < most) return peer;
    if (full) *full = true;
    choice.any = false; /* rather the line than one that is left alone */
    wr_peer_unpick(peer);
    choice.tried |= UINT64_C(1) << peer->index;
  }
}

static inline void days_stand(struct days *d, uint32_t r) {
  struct days_try *q = &d->tries[r];
  bool again = q->came_ms != d->now_ms || q->tried; /* it stood in front */
  if (!again && d->line_count >= d->plan->line) {
    days_end(d, r, &d->shed);
    return;
  }
  q->in_line = true;
  if (again && d->line_head) {
    d->line[--d->line_head % DAYS_TRIES] = r;
  } else {
    d->line[(d->line_head + d->line_count) % DAYS_TRIES] = r;
    days_at(d, d->now_ms + d->plan->line_ms, EV_LINE, r);
  }
  d->line_count++;
}

static inline void days_pick(struct days *d, uint32_t r) {
  struct days_try *q = &d->tries[r];
  bool full = false;
  struct wr_peer *peer = days_choose(d, r, false, &full);
  if (!peer && full && d->plan->line && !q->attempts) {
    days_stand(d, r);
    return;
  }
  if (!peer) {
    days_end(d, r, q->attempts ? &d->failed : &d->shed);
    return;
  }
  if (d->plan->line && !q->attempts) {
    uint64_t ms = d->now_ms - q->came_ms;
    d->waited_ms += ms;
    d->waits++;
    if (ms > d->waited_most_ms) d->waited_most_ms = ms;
  }
  q->tried |= UINT64_C(1) << peer->index;
  q->attempts++;
  q->at = days_begin(d, r, peer);
  if (!d->plan->hedge || q->attempts != 1) return;
  struct wr_hedging *h = wr_upstreams_hedging(d->set[q->worker], 0);
  wr_hedging_request(h, d->plan->hedge_permille);
  uint64_t late = d->plan->hedge_after_ms ? d->plan->hedge_after_ms : wr_hedging_late_ms(h);
  if (late) days_at(d, d->now_ms + late, EV_HEDGE, r);
}

static inline void days_arrive(struct days *d) {
  double day = (double)(d->now_ms - d->begin_ms) / (24.0 * DAYS_HOUR_MS);
  double per_s = d->plan->per_s * (1 + d->plan->swing * sin(6.283185307179586 * day));
  double gap = -log(1 - days_unit(&d->rand)) / per_s * 1000;
  days_at(d, d->now_ms + 1 + (uint64_t)gap, EV_ARRIVE, 0);
  uint32_t r = days_take(d);
  d->tries[r].came_ms = d->now_ms;
  d->tries[r].worker = (uint32_t)wr_rand_below(&d->rand, d->plan->workers);
  d->requests++;
  d->seconds[(d->now_ms - d->begin_ms) / 1000].requests++;
  wr_retry_budget_request(wr_upstreams_retry_budget(d->set[d->tries[r].worker], 0), d->now_ms);
  days_pick(d, r);
}

static inline void days_hedge(struct days *d, uint32_t r) {
  struct days_try *q = &d->tries[r];
  if (q->at == DAYS_NONE || q->rival != DAYS_NONE || q->attempts != 1) return;
  if (d->tries[q->at].heard) return;
  d->late++;
  struct wr_peer *peer = days_choose(d, r, true, NULL);
  if (!peer) return;
  if (!wr_hedging_take(wr_upstreams_hedging(d->set[q->worker], 0))) {
    wr_peer_unpick(peer);
    return;
  }
  d->hedges++;
  d->seconds[(d->now_ms - d->begin_ms) / 1000].hedges++;
  q->tried |= UINT64_C(1) << peer->index;
  q->rival = days_begin(d, r, peer);
}

/* By the group's rules: true when another attempt follows. */
static inline bool days_again(struct days *d, uint32_t r, bool connect) {
  struct days_try *q = &d->tries[r];
  uint64_t all = (UINT64_C(1) << d->plan->peers) - 1, delay = 0, tried = q->tried;
  if (q->attempts >= d->plan->attempts) return false;
  struct wr_choice choice = { .tried = tried };
  if (!(wr_group_open(d->set[q->worker], 0, &choice) & all)) {
    if (!d->plan->again) return false;
    tried = 0;
    delay = wr_retry_backoff_ms(&d->rand, 100, q->attempts + 1);
  }
  struct days_second *s = &d->seconds[(d->now_ms - d->begin_ms) / 1000];
  if (connect) {
    d->gratis++;
    s->free++;
  } else if (!wr_retry_budget_take(wr_upstreams_retry_budget(d->set[q->worker], 0),
                                   d->plan->budget_permille, d->now_ms)) {
    d->unpaid++;
    return false;
  } else {
    d->paid++;
    s->paid++;
  }
  q->tried = tried;
  days_at(d, d->now_ms + delay, EV_RETRY, r);
  return true;
}

/* An attempt failed before its first token. */
static inline void days_failed(struct days *d, uint32_t i, bool connect) {
  uint32_t r = d->tries[i].request;
  struct days_try *q = &d->tries[r];
  bool rival = q->rival == i;
  days_over(d, i);
  if (rival) {
    q->rival = DAYS_NONE;
  } else {
    q->at = q->rival; /* the rival takes its place, if there is one */
    q->rival = DAYS_NONE;
    if (q->at == DAYS_NONE && !days_again(d, r, connect)) days_end(d, r, &d->failed);
  }
  days_line_next(d);
}

static inline void days_refused(struct days *d, uint32_t i) {
  uint32_t arg = 0;
  enum days_how how = days_how_now(d, d->tries[i].peer, &arg);
  bool connect = how == DAYS_CRASH;
  if (how == DAYS_BUSY) days_note(d, i, WR_NOTE_BUSY, 0, arg);
  else days_note(d, i, connect ? WR_NOTE_CONNECT : WR_NOTE_FAILED, 0, 0);
  days_failed(d, i, connect);
}

static inline void days_token(struct days *d, uint32_t i) {
  struct days_try *t = &d->tries[i];
  struct days_try *q = &d->tries[t->request];
  uint64_t us = (d->now_ms - t->began_ms) * 1000;
  size_t fault = 0;
  if (t->heard) return;
  t->heard = true;
  days_note(d, i, WR_NOTE_FIRST, (uint32_t)us, 0);
  if (days_fault_at(d, t->peer, d->now_ms, &fault)) d->seen[fault].well++;
  for (size_t k = 0; k < d->plan->fault_count; k++) { /* who is back? */
    const struct days_fault *f = &d->plan->faults[k];
    uint64_t until = d->begin_ms + (uint64_t)(f->until_h * DAYS_HOUR_MS);
    if (!(f->peers >> t->peer & 1u) || t->began_ms < until) continue;
    if (!d->seen[k].again_ms) d->seen[k].again_ms = d->now_ms - until + 1;
    if (d->seen[k].back >> t->peer & 1u) continue;
    d->seen[k].back |= 1u << t->peer;
    d->seen[k].closed_ms = d->now_ms - until;
  }
  uint32_t other = q->at == i ? q->rival : q->at;
  if (d->plan->hedge && q->attempts == 1)
    wr_hedging_sample(wr_upstreams_hedging(d->set[q->worker], 0), d->now_ms - q->came_ms,
                      d->now_ms);
  d->won += q->rival == i;
  if (other != DAYS_NONE) {
    days_note(d, other, WR_NOTE_NOTHING, (uint32_t)(d->now_ms - d->tries[other].began_ms) * 1000,
              0);
    days_over(d, other);
  }
  q->at = i;
  q->rival = DAYS_NONE;
  d->first_sum_ms += d->now_ms - q->came_ms;
  d->first_count++;
  days_at(d, d->now_ms + days_about(d, d->plan->rest_ms, 0.4), EV_END, i);
}

static inline void days_stream_end(struct days *d, uint32_t i) {
  uint32_t r = d->tries[i].request, arg = 0;
  bool broken = days_how_now(d, d->tries[i].peer, &arg) == DAYS_CRASH;
  if (broken) days_note(d, i, WR_NOTE_FAILED, 0, 0);
  days_over(d, i);
  days_end(d, r, broken ? &d->broken : &d->served);
  days_line_next(d);
}

/* What a worker's timer does for peers that could not be connected to. */
static inline void days_tick(struct days *d) {
  bool more = false;
  for (uint32_t i = 0; i < d->plan->peers; i++) {
    struct wr_peer_state *s = days_state(d, i);
    struct wr_standing_change change;
    uint32_t arg = 0;
    if (wr_peer_state_standing(s, d->now_ms) != WR_STANDING_OPEN) continue;
    more = true;
    if (!wr_peer_state_claim_probe(s, d->now_ms, 500)) continue;
    wr_peer_state_probed(s, NULL, days_how_now(d, i, &arg) != DAYS_CRASH, d->now_ms, &change);
  }
  d->ticking = more;
  if (more) days_at(d, d->now_ms + 250, EV_TICK, 0);
}

static inline void days_tick_on(struct days *d) {
  if (d->ticking) return;
  d->ticking = true;
  days_at(d, d->now_ms + 250, EV_TICK, 0);
}

static inline uint64_t days_opens(const struct days *d, uint32_t peers) {
  uint64_t n = 0;
  for (uint32_t i = 0; i < d->plan->peers; i++)
    if (peers >> i & 1u) n += atomic_load(&days_state(d, i)->opens);
  return n;
}

static inline void days_mark(struct days *d, uint32_t k, enum days_kind kind) {
  uint64_t opens = days_opens(d, d->plan->faults[k].peers);
  if (kind == EV_FROM) d->seen[k].opens_from = opens;
  else if (kind == EV_UNTIL) d->seen[k].opens_until = opens;
  else d->seen[k].opens_after = opens;
  for (uint32_t i = 0; kind == EV_UNTIL && i < d->plan->peers; i++) days_server_next(d, i);
}

static inline void days_handle(struct days *d, const struct days_event *e) {
  if (e->kind <= EV_LINE && e->kind != EV_ARRIVE && d->tries[e->index].serial != e->serial) return;
  switch ((enum days_kind)e->kind) {
    case EV_ARRIVE: days_arrive(d); break;
    case EV_REFUSED: days_refused(d, e->index); break;
    case EV_TOKEN: days_token(d, e->index); break;
    case EV_END: days_stream_end(d, e->index); break;
    case EV_TIMEOUT:
      if (d->tries[e->index].heard) break;
      days_note(d, e->index, WR_NOTE_FAILED, DAYS_TIMEOUT_MS * 1000, 0);
      days_failed(d, e->index, false);
      break;
    case EV_HEDGE: days_hedge(d, e->index); break;
    case EV_RETRY: days_pick(d, e->index); break;
    case EV_LINE:
      if (!d->tries[e->index].in_line) break;
      for (size_t i = 0; i < d->line_count; i++)
        if (d->line[(d->line_head + i) % DAYS_TRIES] == e->index)
          d->line[(d->line_head + i) % DAYS_TRIES] = DAYS_NONE;
      days_end(d, e->index, &d->timeouts);
      break;
    case EV_TICK: days_tick(d); break;
    case EV_MINUTE:
      days_line_next(d); /* what a limit that grew by itself opened */
      if (d->plan->minute) d->plan->minute(d);
      days_at(d, d->now_ms + 60000, EV_MINUTE, 0);
      break;
    case EV_FROM:
    case EV_UNTIL:
    case EV_AFTER: days_mark(d, e->index, (enum days_kind)e->kind); break;
  }
}

/* ---- a life */

static inline void days_configure(struct days *d) {
  const struct days_plan *p = d->plan;
  const struct wr_conf_breaker breaker = { .failures = 5, .rate_permille = 500, .least = 20,
                                           .window_ms = 10000, .open_ms = 5000,
                                           .open_max_ms = 60000, .slow_ms = p->slow_ms,
                                           .busy_max_ms = 60000, .floor_permille = 500 };
  size_t ups = p->apart ? p->peers : 1;
  for (uint32_t i = 0; i < p->peers; i++) {
    snprintf(d->names[i], sizeof d->names[i], "p%u", i);
    d->urls[i] = (struct wr_conf_url){ .text = d->names[i], .host = "127.0.0.1",
                                       .authority = d->names[i], .base_path = "", .port = 1 };
  }
  for (uint32_t i = 0; i < ups; i++) {
    d->members[i] = i;
    d->ups[i] = (struct wr_conf_upstream){ .name = d->names[i], .urls = &d->urls[i],
                                           .url_count = p->apart ? 1 : p->peers,
                                           .breaker = breaker, .balance = p->balance,
                                           .limit_min = p->limit_min,
                                           .max_streams = p->limit_max };
  }
  d->group = (struct wr_conf_group){ .name = "g", .members = d->members, .member_count = ups,
                                     .balance = p->balance };
  d->route = (struct wr_conf_route){ .hedge = { .on = p->hedge } };
  d->conf = (struct wr_conf){ .upstreams = d->ups, .upstream_count = ups, .groups = &d->group,
                              .group_count = 1, .routes = &d->route, .route_count = 1 };
}

static inline void days_open(struct days *d, const struct days_plan *plan, uint64_t seed) {
  char why[128] = "";
  memset(d, 0, sizeof *d);
  d->own = *plan;
  d->plan = &d->own;
  days_configure(d);
  wr_rand_init(&d->rand, seed);
  world_open(&d->w, 4u << 20);
  assert_int_equal(wr_resolver_new(d->w.loop, &d->resolver), WR_OK);
  assert_int_equal(wr_peer_book_new(&d->book), WR_OK);
  for (unsigned i = 0; i < plan->workers; i++) {
    assert_int_equal(wr_upstreams_new(d->w.loop, d->resolver, &d->conf, NULL, &d->set[i], why,
                                      sizeof why), WR_OK);
    assert_int_equal(wr_upstreams_join(d->set[i], d->book, NULL), WR_OK);
    wr_rand_init(&d->set[i]->rand, seed + i + 1);
  }
  d->heap = test_calloc(DAYS_HEAP, sizeof *d->heap);
  d->tries = test_calloc(DAYS_TRIES, sizeof *d->tries);
  d->line = test_calloc(DAYS_TRIES, sizeof *d->line);
  d->seconds = test_calloc(plan->hours * 3600u + 1, sizeof *d->seconds);
  d->lasted = test_calloc(DAYS_PEERS, sizeof *d->lasted);
  for (uint32_t i = 0; i < DAYS_TRIES; i++)
    d->tries[i].next = i + 1 < DAYS_TRIES ? i + 1 : DAYS_NONE;
  /* The same beginning on every machine. */
  wr_loop_hold_clock(d->w.loop);
  d->begin_ms = d->now_ms = UINT64_C(4400000000000);
  assert_true(wr_loop_now_us(d->w.loop) < d->begin_ms * 1000);
  wr_loop_advance(d->w.loop, d->begin_ms * 1000 - wr_loop_now_us(d->w.loop));
  d->end_ms = d->begin_ms + (uint64_t)plan->hours * DAYS_HOUR_MS;
  days_at(d, d->now_ms, EV_ARRIVE, 0);
  days_at(d, d->now_ms + 60000, EV_MINUTE, 0);
  assert_true(plan->fault_count <= DAYS_FAULTS && plan->peers <= DAYS_PEERS);
  for (uint32_t i = 0; i < plan->fault_count; i++) {
    const struct days_fault *f = &plan->faults[i];
    days_at(d, d->begin_ms + (uint64_t)(f->from_h * DAYS_HOUR_MS), EV_FROM, i);
    days_at(d, d->begin_ms + (uint64_t)(f->until_h * DAYS_HOUR_MS), EV_UNTIL, i);
    days_at(d, d->begin_ms + (uint64_t)((f->until_h + 1) * DAYS_HOUR_MS), EV_AFTER, i);
  }
}

static inline void days_run(struct days *d) {
  while (d->heap[0].at_ms < d->end_ms) {
    struct days_event e = days_next(d);
    if (e.at_ms > d->now_ms) wr_loop_advance(d->w.loop, (e.at_ms - d->now_ms) * 1000);
    d->now_ms = e.at_ms;
    days_handle(d, &e);
  }
}

static inline void days_close(struct days *d) {
  for (uint32_t i = 0; i < DAYS_TRIES; i++)
    if (d->tries[i].live && d->tries[i].epoch + d->tries[i].began_ms)
      wr_peer_put(days_peer(d, &d->tries[i]));
  for (unsigned i = 0; i < d->plan->workers; i++) wr_upstreams_free(d->set[i]);
  for (unsigned i = 0; i < 4; i++) wr_loop_turn(d->w.loop, 0);
  wr_peer_book_free(d->book);
  wr_resolver_free(d->resolver);
  world_close(&d->w);
  test_free(d->heap);
  test_free(d->tries);
  test_free(d->line);
  test_free(d->seconds);
  test_free(d->lasted);
}

/* WEIR_DAYS=1 shows what happened. */
static inline void days_show(const struct days *d, const char *what) {
  if (!getenv("WEIR_DAYS")) return;
  printf("%s: %" PRIu64 " requests: served %" PRIu64 ", failed %" PRIu64 ", shed %" PRIu64
         ", waited in vain %" PRIu64 ", broken %" PRIu64 "\n", what, d->requests, d->served,
         d->failed, d->shed, d->timeouts, d->broken);
  printf("  attempts %" PRIu64 ": retries paid %" PRIu64 ", refused %" PRIu64 ", free %" PRIu64
         "; hedges %" PRIu64 " of %" PRIu64 " late, won %" PRIu64 "\n", d->attempts, d->paid,
         d->unpaid, d->gratis, d->hedges, d->late, d->won);
  printf("  line %.0f ms, at most %" PRIu64 "; first content %.0f ms; openings %" PRIu64 "\n",
         d->waits ? (double)d->waited_ms / (double)d->waits : 0.0, d->waited_most_ms,
         d->first_count ? (double)d->first_sum_ms / (double)d->first_count : 0.0,
         days_opens(d, UINT32_MAX));
  for (size_t i = 0; i < d->plan->fault_count; i++) {
    const struct days_seen *s = &d->seen[i];
    printf("  fault %zu: openings %" PRIu64 ", %" PRIu64 " in the hour after; asked %" PRIu64
           ", well %" PRIu64 "; back after %" PRIu64 " ms, last %" PRIu64 "; peers %x\n", i,
           s->opens_until - s->opens_from, s->opens_after - s->opens_until, s->asked, s->well,
           s->again_ms, s->closed_ms, s->used);
  }
}

/* By how much, in thousandths, what `of` counts of a second goes beyond this share of the requests
 * in any window of so many seconds, and `lead` before it. */
static inline int64_t days_beyond(const struct days *d, unsigned (*of)(const struct days_second *),
                                  unsigned permille, unsigned window_s, unsigned lead_s) {
  int64_t most = INT64_MIN, extra = 0, requests = 0;
  for (size_t i = 0; i < d->plan->hours * 3600u; i++) {
    extra += of(&d->seconds[i]);
    requests += d->seconds[i].requests;
    if (i >= window_s) extra -= of(&d->seconds[i - window_s]);
    if (i >= window_s + lead_s) requests -= d->seconds[i - window_s - lead_s].requests;
    int64_t beyond = extra * 1000 - requests * permille;
    if (beyond > most) most = beyond;
  }
  return most;
}
static inline unsigned days_paid(const struct days_second *s) { return s->paid; }
static inline unsigned days_hedges(const struct days_second *s) { return s->hedges; }

#endif

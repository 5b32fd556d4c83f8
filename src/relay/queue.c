#include "relay/queue.h"

#include <pthread.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/heap.h"
#include "relay/relay_priv.h"
#include "relay/session.h"

#define LINES 64u
#define RANKS (WR_CONF_QUEUE_CLASSES + 1u) /* who isn't named stands last */
#define WORDS (WR_RELAY_UPSTREAMS / 64u)

enum state { STATE_WAITS, STATE_GRANTED, STATE_PUSHED };

struct line {
  uint64_t name;              /* a hash of the group's */
  uint32_t count;
  uint64_t served_us, gap_us; /* when the last one got a place; the average between two */
  struct wr_list ranks[RANKS];
};

struct wr_queues {
  pthread_mutex_t lock;
  uint64_t turn; /* of arrival */
  struct line lines[LINES];
};

struct wr_waiter {
  struct wr_list link;     /* in its line, or among the relay's that are to be told */
  struct wr_relay *relay;  /* borrowed: outlives its sessions */
  struct wr_task *task;    /* borrowed: the session's, which holds us */
  struct line *line;       /* borrowed: the process's */
  uint64_t turn, since_us;
  uint64_t wants[WORDS];   /* bit a number of an upstream */
  uint32_t granted;        /* such a number, with GRANTED */
  uint8_t rank;
  _Atomic uint8_t state;   /* enum state; behind WAITS it doesn't change */
};

static struct wr_queues *table(struct wr_relay_shared *shared, bool make) {
  struct wr_queues *q = atomic_load_explicit(&shared->queues, memory_order_acquire);
  if (q || !make) return q;
  struct wr_queues *made = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *made);
  if (!made) return NULL;
  WR_CHECK(pthread_mutex_init(&made->lock, NULL) == 0);
  for (size_t i = 0; i < LINES; i++)
    for (size_t r = 0; r < RANKS; r++) wr_list_init(&made->lines[i].ranks[r]);
  if (atomic_compare_exchange_strong(&shared->queues, &q, made)) return made;
  wr_queues_free(made);
  return q;
}

void wr_queues_free(struct wr_queues *q) {
  if (!q) return;
  for (size_t i = 0; i < LINES; i++) WR_CHECK(q->lines[i].count == 0);
  pthread_mutex_destroy(&q->lock);
  wr_heap_free(WR_HEAP_RELAY, q);
}

static const struct wr_conf_queue *conf_of(const struct wr_session *s) {
  return &s->gen->conf->groups[s->group].queue;
}

bool wr_queue_is_declared(const struct wr_session *s) { return conf_of(s)->length > 0; }

static uint32_t number_of(const struct wr_session *s, const struct wr_peer *peer) {
  return wr_relay_upstream_number(s->gen, peer->up);
}

/* Counts one more below `most`; 0: there is no limit. */
static bool count_in(_Atomic uint32_t *running, uint32_t most) {
  uint32_t now = atomic_load(running);
  do {
    if (most && now >= most) return false;
  } while (!atomic_compare_exchange_weak(running, &now, now + 1));
  return true;
}

bool wr_room_enter(const struct wr_session *s, const struct wr_peer *peer) {
  struct wr_relay_shared *shared = s->relay->shared;
  uint32_t number = number_of(s, peer), most = wr_peer_limit(peer);
  if (most && atomic_load(&shared->waiting[number]) && wr_queue_is_declared(s)) return false;
  return count_in(&shared->upstreams[number], most);
}

/* A waiter has left its line. Locked. */
static void taken_out(struct wr_relay_shared *shared, struct wr_waiter *w) {
  wr_list_remove(&w->link);
  WR_CHECK(w->line->count > 0);
  w->line->count--;
  for (uint32_t n = 0; n < WR_RELAY_UPSTREAMS; n++)
    if (w->wants[n / 64] >> (n % 64) & 1u) atomic_fetch_sub(&shared->waiting[n], 1);
}

/* What became of it. Locked: the loop that is woken outlives the waiter, which needs the lock to
 * go. */
static void tell(struct wr_relay *from, struct wr_waiter *w, enum state state) {
  WR_DCHECK(state != STATE_WAITS);
  atomic_store(&w->state, (uint8_t)state);
  if (w->relay == from) {
    wr_loop_mark(from->loop, w->task);
    return;
  }
  wr_list_push_back(&w->relay->woken, &w->link);
  wr_loop_wake(w->relay->loop);
}

static bool has(const uint64_t *set, uint32_t number) {
  return set[number / 64] >> (number % 64) & 1u;
}

/* The first of a line that waits for this upstream, and for none of `better`. */
static struct wr_waiter *first_of(struct line *line, uint32_t number, const uint64_t *better) {
  for (size_t r = 0; r < RANKS && line->count; r++)
    for (struct wr_list *l = line->ranks[r].next; l != &line->ranks[r]; l = l->next) {
      struct wr_waiter *w = WR_CONTAINER(l, struct wr_waiter, link);
      bool waits = false;
      for (size_t i = 0; i < WORDS; i++) waits |= (w->wants[i] & better[i]) != 0;
      if (!waits && has(w->wants, number)) return w;
    }
  return NULL;
}

static struct wr_waiter *next(struct wr_queues *q, uint32_t number, const uint64_t *better) {
  struct wr_waiter *best = NULL;
  for (size_t i = 0; i < LINES; i++) {
    struct wr_waiter *w = first_of(&q->lines[i], number, better);
    if (!w) continue;
    if (!best || w->rank < best->rank || (w->rank == best->rank && w->turn < best->turn)) best = w;
  }
  return best;
}

static void note_served(struct line *line, uint64_t now_us) {
  if (line->served_us && now_us > line->served_us) {
    uint64_t gap = now_us - line->served_us;
    line->gap_us = line->gap_us ? (line->gap_us * 7 + gap) / 8 : gap;
  }
  line->served_us = now_us;
}

/* The upstreams that may be asked. */
static void healthy_now(const struct wr_relay_gen *gen, uint64_t *out) {
  for (size_t i = 0; i < gen->conf->upstream_count; i++) {
    struct wr_upstream_view v;
    wr_upstreams_view(gen->upstreams, (uint32_t)i, &v);
    uint32_t n = wr_relay_upstream_number(gen, v.conf);
    if (v.healthy) out[n / 64] |= UINT64_C(1) << (n % 64);
  }
}

/* Hands out what room an upstream has. One that should be left alone is for those who wait for no
 * other; one that may be well again gets one request that finds out. */
static void hand_out(struct wr_relay *relay, const struct wr_relay_gen *gen, size_t upstream) {
  struct wr_relay_shared *shared = relay->shared;
  struct wr_queues *q = table(shared, false);
  WR_DCHECK(upstream < gen->conf->upstream_count);
  uint32_t number = wr_relay_upstream_number(gen, &gen->conf->upstreams[upstream]);
  if (!q || !atomic_load(&shared->waiting[number])) return;
  uint64_t now_us = wr_loop_now_us(relay->loop), better[WORDS] = { 0 };
  struct wr_upstream_view v;
  wr_upstreams_view(gen->upstreams, (uint32_t)upstream, &v);
  if (!v.healthy) healthy_now(gen, better);
  pthread_mutex_lock(&q->lock);
  struct wr_waiter *w;
  while ((w = next(q, number, better)) != NULL &&
         count_in(&shared->upstreams[number], v.limit)) {
    taken_out(shared, w);
    w->granted = number;
    note_served(w->line, now_us);
    tell(relay, w, STATE_GRANTED);
    if (v.healthy && !v.ready) break;
  }
  pthread_mutex_unlock(&q->lock);
}

void wr_room_leave(struct wr_session *s, const struct wr_peer *peer) {
  struct wr_relay_shared *shared = s->relay->shared;
  WR_CHECK(atomic_fetch_sub(&shared->upstreams[number_of(s, peer)], 1) > 0);
  wr_queue_hear(s, peer);
}

void wr_queue_hear(struct wr_session *s, const struct wr_peer *peer) {
  if (atomic_load(&s->relay->shared->waiting[number_of(s, peer)]))
    hand_out(s->relay, s->gen, (size_t)(peer->up - s->gen->conf->upstreams));
}

static struct line *line_of(struct wr_queues *q, const char *group) {
  static const uint8_t key[16] = "a line of groups";
  uint64_t name = wr_siphash(key, wr_span_str(group));
  struct line *idle = NULL;
  for (size_t i = 0; i < LINES; i++) {
    if (q->lines[i].name == name) return &q->lines[i];
    if (!q->lines[i].count && !idle) idle = &q->lines[i];
  }
  if (!idle) return NULL;
  idle->name = name;
  idle->served_us = idle->gap_us = 0;
  return idle;
}

static uint8_t rank_of(const struct wr_session *s) {
  const struct wr_conf_queue *c = conf_of(s);
  const char *class_name = s->key ? s->key->class_name : "";
  for (size_t i = 0; i < c->class_count && i < WR_CONF_QUEUE_CLASSES; i++)
    if (strcmp(c->classes[i], class_name) == 0) return (uint8_t)i;
  return WR_CONF_QUEUE_CLASSES;
}

/* When it may be worth while to come back: when those in front have gone, as fast as they did
 * lately, and not faster than nobody has since. Before the first has gone: when they must have. */
static uint32_t come_back_ms(const struct wr_session *s, const struct line *line) {
  uint64_t now_us = wr_loop_now_us(s->relay->loop), gap_us = line->gap_us;
  if (!gap_us) return wr_relay_wait_ms(s->relay, conf_of(s)->wait_ms);
  uint64_t since_us = now_us > line->served_us ? now_us - line->served_us : 0;
  if (since_us > gap_us) gap_us = (gap_us * 7 + since_us) / 8;
  return wr_relay_wait_ms(s->relay, gap_us * line->count / 1000);
}

/* A place in a line that is full, at the cost of the last one of the lowest class below. */
static bool push_out(struct wr_relay *relay, struct line *line, uint8_t rank) {
  for (size_t r = RANKS; r-- > (size_t)rank + 1;) {
    if (wr_list_empty(&line->ranks[r])) continue;
    struct wr_waiter *w = WR_CONTAINER(line->ranks[r].prev, struct wr_waiter, link);
    taken_out(relay->shared, w);
    tell(relay, w, STATE_PUSHED);
    return true;
  }
  return false;
}

/* Locked. */
static enum wr_err stand(struct wr_session *s, struct wr_queues *q, struct wr_waiter *w) {
  const struct wr_conf_group *g = &s->gen->conf->groups[s->group];
  w->line = line_of(q, g->name);
  if (!w->line) return WR_E_QUEUE_FULL;
  s->retry_after_ms = come_back_ms(s, w->line);
  if (w->line->count >= g->queue.length && !push_out(s->relay, w->line, w->rank))
    return WR_E_QUEUE_FULL;
  if (!w->line->count) w->line->served_us = w->since_us; /* no gap while nobody waited */
  w->turn = ++q->turn;
  w->line->count++;
  wr_list_push_back(&w->line->ranks[w->rank], &w->link);
  for (uint32_t n = 0; n < WR_RELAY_UPSTREAMS; n++)
    if (w->wants[n / 64] >> (n % 64) & 1u) atomic_fetch_add(&s->relay->shared->waiting[n], 1);
  return WR_OK;
}

/* What became free before it stood in the line is nobody's to hand over. */
static void look_around(struct wr_session *s, uint64_t peers) {
  for (size_t i = 0; i < s->gen->conf->upstream_count; i++)
    if (wr_upstreams_mask(s->gen->upstreams, (uint32_t)i) & peers) hand_out(s->relay, s->gen, i);
}

enum wr_err wr_queue_join(struct wr_session *s, uint64_t peers) {
  WR_CHECK(s->rq != NULL && s->rq->wait == NULL && peers != 0);
  struct wr_queues *q = table(s->relay->shared, true);
  struct wr_waiter *w = q ? wr_heap_zalloc(WR_HEAP_RELAY, sizeof *w) : NULL;
  if (!w) return WR_E_NOMEM;
  wr_list_init(&w->link);
  w->relay = s->relay;
  w->task = &s->task;
  w->since_us = wr_loop_now_us(s->relay->loop);
  w->rank = rank_of(s);
  for (size_t i = 0; i < s->gen->conf->upstream_count; i++) {
    if (!(wr_upstreams_mask(s->gen->upstreams, (uint32_t)i) & peers)) continue;
    uint32_t n = wr_relay_upstream_number(s->gen, &s->gen->conf->upstreams[i]);
    w->wants[n / 64] |= UINT64_C(1) << (n % 64);
  }
  pthread_mutex_lock(&q->lock);
  enum wr_err err = stand(s, q, w);
  pthread_mutex_unlock(&q->lock);
  if (err != WR_OK) {
    wr_heap_free(WR_HEAP_RELAY, w);
    WR_RELAY_COUNT(s->relay, queue_ends[WR_QUEUE_FULL], 1);
    return err;
  }
  s->rq->wait = w;
  WR_RELAY_COUNT(s->relay, queue_waiting, 1);
  look_around(s, peers);
  return WR_OK;
}

uint64_t wr_queue_granted(const struct wr_session *s) {
  const struct wr_waiter *w = s->rq->wait;
  if (!w || atomic_load(&w->state) != STATE_GRANTED) return 0;
  for (size_t i = 0; i < s->gen->conf->upstream_count; i++)
    if (wr_relay_upstream_number(s->gen, &s->gen->conf->upstreams[i]) == w->granted)
      return wr_upstreams_mask(s->gen->upstreams, (uint32_t)i);
  return 0;
}

/* It stands nowhere any more. */
static void end(struct wr_session *s, enum wr_queue_end how) {
  struct wr_waiter *w = s->rq->wait;
  uint64_t us = wr_loop_now_us(s->relay->loop) - w->since_us;
  s->queued_us = us < UINT32_MAX - s->queued_us ? s->queued_us + (uint32_t)us : UINT32_MAX;
  WR_RELAY_COUNT(s->relay, queue_ends[how], 1);
  WR_RELAY_COUNT(s->relay, queue_us, us);
  WR_RELAY_COUNT(s->relay, queue_waiting, -1);
  wr_heap_free(WR_HEAP_RELAY, w);
  s->rq->wait = NULL;
}

/* Off whichever list it is on. Returns what had become of it until then. */
static enum state detach(struct wr_session *s) {
  struct wr_queues *q = table(s->relay->shared, false);
  struct wr_waiter *w = s->rq->wait;
  WR_CHECK(q != NULL && w->task == &s->task);
  pthread_mutex_lock(&q->lock);
  enum state state = (enum state)atomic_load(&w->state);
  if (state == STATE_WAITS) taken_out(s->relay->shared, w);
  else if (wr_list_linked(&w->link)) wr_list_remove(&w->link);
  s->retry_after_ms = come_back_ms(s, w->line);
  pthread_mutex_unlock(&q->lock);
  return state;
}

void wr_queue_use(struct wr_session *s) {
  WR_CHECK(s->rq->wait != NULL && detach(s) == STATE_GRANTED);
  s->retry_after_ms = 0;
  end(s, WR_QUEUE_SERVED);
}

void wr_queue_leave(struct wr_session *s) {
  if (!s->rq || !s->rq->wait) return;
  struct wr_waiter *w = s->rq->wait;
  enum state state = detach(s);
  if (state == STATE_GRANTED) {
    WR_CHECK(atomic_fetch_sub(&s->relay->shared->upstreams[w->granted], 1) > 0);
    for (size_t i = 0; i < s->gen->conf->upstream_count; i++)
      if (wr_relay_upstream_number(s->gen, &s->gen->conf->upstreams[i]) == w->granted)
        hand_out(s->relay, s->gen, i);
  }
  end(s, state == STATE_PUSHED                ? WR_QUEUE_PUSHED
         : s->err == WR_E_QUEUE_TIMEOUT ? WR_QUEUE_TIMEOUT
                                              : WR_QUEUE_LEFT);
}

void wr_queue_woken(struct wr_relay *relay) {
  struct wr_queues *q = table(relay->shared, false);
  if (!q) return;
  pthread_mutex_lock(&q->lock);
  struct wr_list *l;
  while ((l = wr_list_pop_front(&relay->woken)) != NULL)
    wr_loop_mark(relay->loop, WR_CONTAINER(l, struct wr_waiter, link)->task);
  pthread_mutex_unlock(&q->lock);
}

void wr_queue_tick(struct wr_relay *relay) {
  if (!table(relay->shared, false)) return;
  for (size_t i = 0; i < relay->gen->conf->upstream_count; i++) hand_out(relay, relay->gen, i);
}

enum wr_step wr_step_queue(struct wr_session *s) {
  WR_CHECK(s->rq != NULL && s->rq->wait != NULL && s->at == NULL);
  switch ((enum state)atomic_load(&s->rq->wait->state)) {
    case STATE_WAITS: return WR_STEP_WAIT;
    case STATE_PUSHED: return wr_session_fail(s, WR_E_QUEUE_FULL, wr_span_make(NULL, 0));
    case STATE_GRANTED: break;
  }
  wr_session_due_step(s, 0, WR_OK);
  return WR_STEP_PICK;
}

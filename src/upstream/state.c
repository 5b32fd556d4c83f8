#include "upstream/state.h"

#include <string.h>

#include "base/check.h"
#include "base/heap.h"

struct wr_peer_book {
  pthread_mutex_t lock;
  struct wr_list states;
};

const char *wr_standing_name(enum wr_standing standing) {
  static const char *const names[WR_STANDINGS] = { "ready", "busy", "half_open", "open", "down" };
  return (unsigned)standing < WR_STANDINGS ? names[standing] : names[0];
}

/* ---- the book */

enum wr_err wr_peer_book_new(struct wr_peer_book **out) {
  struct wr_peer_book *book = wr_heap_zalloc(WR_HEAP_UPSTREAM, sizeof *book);
  if (!book) return WR_E_NOMEM;
  pthread_mutex_init(&book->lock, NULL);
  wr_list_init(&book->states);
  *out = book;
  return WR_OK;
}

void wr_peer_book_free(struct wr_peer_book *book) {
  if (!book) return;
  WR_CHECK(wr_list_empty(&book->states));
  pthread_mutex_destroy(&book->lock);
  wr_heap_free(WR_HEAP_UPSTREAM, book);
}

static struct wr_peer_state *state_new(const char *upstream, const char *url,
                                       const char *address) {
  size_t a = strlen(upstream) + 1, b = strlen(url) + 1, c = strlen(address) + 1;
  struct wr_peer_state *s = wr_heap_zalloc(WR_HEAP_UPSTREAM, sizeof *s + a + b + c);
  if (!s) return NULL;
  char *text = (char *)(s + 1);
  memcpy(text, upstream, a);
  memcpy(text + a, url, b);
  memcpy(text + a + b, address, c);
  s->upstream = text;
  s->url = text + a;
  s->address = text + a + b;
  s->refs = 1;
  wr_list_init(&s->link);
  pthread_mutex_init(&s->lock, NULL);
  return s;
}

static struct wr_peer_state *find(struct wr_peer_book *book, const char *upstream,
                                  const char *url, const char *address) {
  for (struct wr_list *l = book->states.next; l != &book->states; l = l->next) {
    struct wr_peer_state *s = WR_CONTAINER(l, struct wr_peer_state, link);
    if (strcmp(s->upstream, upstream) == 0 && strcmp(s->url, url) == 0 &&
        strcmp(s->address, address) == 0)
      return s;
  }
  return NULL;
}

enum wr_err wr_peer_state_take(struct wr_peer_book *book, const char *upstream, const char *url,
                               const char *address, struct wr_peer_state **out) {
  if (book) pthread_mutex_lock(&book->lock);
  struct wr_peer_state *s = book ? find(book, upstream, url, address) : NULL;
  if (s) {
    s->refs++;
  } else {
    s = state_new(upstream, url, address);
    if (s && book) wr_list_push_back(&book->states, &s->link);
  }
  if (book) pthread_mutex_unlock(&book->lock);
  *out = s;
  return s ? WR_OK : WR_E_NOMEM;
}

void wr_peer_state_give(struct wr_peer_book *book, struct wr_peer_state *s) {
  if (!s) return;
  if (book) pthread_mutex_lock(&book->lock);
  WR_CHECK(s->refs > 0);
  bool last = --s->refs == 0;
  if (last) wr_list_remove(&s->link);
  if (book) pthread_mutex_unlock(&book->lock);
  if (!last) return;
  WR_CHECK(atomic_load(&s->streams) == 0);
  pthread_mutex_destroy(&s->lock);
  wr_heap_free(WR_HEAP_UPSTREAM, s);
}

void wr_peer_book_each(struct wr_peer_book *book,
                       void (*fn)(void *ctx, const struct wr_peer_state *state), void *ctx) {
  pthread_mutex_lock(&book->lock);
  for (struct wr_list *l = book->states.next; l != &book->states; l = l->next)
    fn(ctx, WR_CONTAINER(l, struct wr_peer_state, link));
  pthread_mutex_unlock(&book->lock);
}

/* ---- one state */

static enum wr_standing standing_of(const struct wr_peer_state *s, uint64_t now) {
  if (s->health.down) return WR_STANDING_DOWN;
  if (s->breaker.state == WR_BREAKER_OPEN) return WR_STANDING_OPEN;
  if (s->breaker.state == WR_BREAKER_HALF_OPEN) return WR_STANDING_HALF_OPEN;
  return s->busy_until_ms > now ? WR_STANDING_BUSY : WR_STANDING_READY;
}

/* What others may know of the state, after any change to it. */
static void publish(struct wr_peer_state *s, uint64_t now, struct wr_standing_change *out) {
  enum wr_standing to = standing_of(s, now);
  uint64_t until = s->breaker.state != WR_BREAKER_CLOSED ? s->breaker.until_ms : 0;
  if (s->breaker.state != WR_BREAKER_CLOSED && until == 0) until = 1;
  if (s->busy_until_ms > now && s->busy_until_ms > until) until = s->busy_until_ms;
  if (s->health.down) until = UINT64_MAX;
  out->from = (enum wr_standing)atomic_load_explicit(&s->standing, memory_order_relaxed);
  out->to = to;
  out->for_ms = until > now && until != UINT64_MAX ? until - now : 0;
  bool was_in = out->from == WR_STANDING_READY || out->from == WR_STANDING_HALF_OPEN;
  bool is_in = to == WR_STANDING_READY || to == WR_STANDING_HALF_OPEN;
  if (was_in && !is_in) atomic_fetch_add(&s->ejections, 1);
  atomic_store_explicit(&s->standing, to, memory_order_relaxed);
  atomic_store_explicit(&s->epoch, s->breaker.epoch, memory_order_relaxed);
  atomic_store_explicit(&s->shut_until_ms, until, memory_order_relaxed);
}

bool wr_peer_state_enter(struct wr_peer_state *s, uint64_t now, struct wr_standing_change *out) {
  *out = (struct wr_standing_change){ .from = WR_STANDING_READY, .to = WR_STANDING_READY };
  if (atomic_load_explicit(&s->shut_until_ms, memory_order_relaxed) == 0) return true;
  pthread_mutex_lock(&s->lock);
  bool may = !s->health.down && s->busy_until_ms <= now;
  if (may && s->breaker.state != WR_BREAKER_CLOSED) {
    may = wr_breaker_may_probe(&s->breaker, now);
    if (may) wr_breaker_probe(&s->breaker, now);
  }
  publish(s, now, out);
  pthread_mutex_unlock(&s->lock);
  return may;
}

static enum wr_result result_of(const struct wr_conf_breaker *conf, enum wr_note what,
                                uint32_t first_token_us) {
  switch (what) {
    case WR_NOTE_FIRST:
      return conf->slow_ms && first_token_us / 1000 >= conf->slow_ms ? WR_RESULT_BAD
                                                                      : WR_RESULT_GOOD;
    case WR_NOTE_GOOD: return WR_RESULT_GOOD;
    case WR_NOTE_CONNECT:
    case WR_NOTE_FAILED: return WR_RESULT_BAD;
    default: return WR_RESULT_NONE;
  }
}

void wr_peer_state_note(struct wr_peer_state *s, const struct wr_conf_breaker *conf, uint32_t epoch,
                        enum wr_note what, uint32_t first_token_us, uint64_t retry_after_ms,
                        uint64_t now, struct wr_rand *rand, struct wr_standing_change *out) {
  enum wr_result result = result_of(conf, what, first_token_us);
  if (what == WR_NOTE_CONNECT || what == WR_NOTE_FAILED) atomic_fetch_add(&s->failures, 1);
  pthread_mutex_lock(&s->lock);
  if (what == WR_NOTE_FIRST || first_token_us > wr_peer_state_first_token_us(s, now)) {
    wr_ewma_add(&s->ewma, first_token_us, now);
    atomic_store_explicit(&s->first_token_us, s->ewma.us, memory_order_relaxed);
    atomic_store_explicit(&s->first_token_ms, now, memory_order_relaxed);
  }
  if (what == WR_NOTE_BUSY && conf->busy_max_ms) {
    uint64_t ms = retry_after_ms < conf->busy_max_ms ? retry_after_ms : conf->busy_max_ms;
    if (now + ms > s->busy_until_ms) s->busy_until_ms = now + ms;
  }
  bool changed = wr_breaker_note(&s->breaker, conf, epoch, result, now, rand);
  if (changed && s->breaker.state == WR_BREAKER_OPEN && result == WR_RESULT_BAD) {
    s->no_connection = what == WR_NOTE_CONNECT;
    atomic_fetch_add(&s->opens, 1);
  }
  publish(s, now, out);
  pthread_mutex_unlock(&s->lock);
}

void wr_peer_state_limit(struct wr_peer_state *s, uint32_t min, uint32_t max, enum wr_note what,
                         uint32_t first_token_us, uint32_t running, uint64_t now) {
  if (what != WR_NOTE_FIRST && what != WR_NOTE_BUSY && !first_token_us) return;
  pthread_mutex_lock(&s->lock);
  if (what == WR_NOTE_FIRST)
    (void)wr_limit_sample(&s->limit, min, max, first_token_us, running, now);
  else if (what == WR_NOTE_BUSY)
    (void)wr_limit_refused(&s->limit, min, now);
  else
    (void)wr_limit_late(&s->limit, min, max, first_token_us, running, now);
  atomic_store_explicit(&s->limit_now, wr_limit_streams(&s->limit, min), memory_order_relaxed);
  pthread_mutex_unlock(&s->lock);
}

bool wr_peer_state_claim_probe(struct wr_peer_state *s, uint64_t now, uint64_t every_ms) {
  uint64_t due = atomic_load_explicit(&s->probe_ms, memory_order_relaxed);
  if (now < due) return false;
  if (!atomic_compare_exchange_strong(&s->probe_ms, &due, now + every_ms)) return false;
  atomic_fetch_add(&s->probes, 1);
  return true;
}

void wr_peer_state_hurry(struct wr_peer_state *s, uint64_t now, uint64_t within_ms) {
  uint64_t due = atomic_load_explicit(&s->probe_ms, memory_order_relaxed);
  if (due > now + within_ms) atomic_compare_exchange_strong(&s->probe_ms, &due, now + within_ms);
}

void wr_peer_state_probed(struct wr_peer_state *s, const struct wr_conf_health *conf, bool ok,
                          uint64_t now, struct wr_standing_change *out) {
  if (!ok) atomic_fetch_add(&s->probe_failures, 1);
  pthread_mutex_lock(&s->lock);
  bool risen = conf && wr_health_note(&s->health, conf, ok) && !s->health.down;
  /* Whatever opened it: now it can't be reached, so that it can is news. A process that dies breaks
   * its streams first. */
  if (!ok && !conf && s->breaker.state == WR_BREAKER_OPEN) s->no_connection = true;
  /* That a peer can be reached says something only where it could not be. */
  if (risen || (ok && s->no_connection && !s->health.down)) (void)wr_breaker_hint(&s->breaker, now);
  publish(s, now, out);
  pthread_mutex_unlock(&s->lock);
}

enum wr_standing wr_peer_state_standing(const struct wr_peer_state *s, uint64_t now) {
  enum wr_standing is = (enum wr_standing)atomic_load_explicit(&s->standing, memory_order_relaxed);
  return is == WR_STANDING_BUSY && wr_peer_state_free(s, now) ? WR_STANDING_READY : is;
}

uint32_t wr_peer_state_first_token_us(const struct wr_peer_state *s, uint64_t now) {
  uint64_t at = atomic_load_explicit(&s->first_token_ms, memory_order_relaxed);
  uint32_t us = atomic_load_explicit(&s->first_token_us, memory_order_relaxed);
  return wr_ewma_faded(us, now > at ? now - at : 0);
}

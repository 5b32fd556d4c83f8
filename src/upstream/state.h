/* state.h: how a peer stands, for all workers and generations together.
 *
 * One struct a peer in the process's book, by its name (upstream, URL, address),
 * counted by the sets that use it, so that what one worker sees fail, every worker leaves alone
 * at once, and a reload forgets nothing. What a pick reads are atomics; what a result changes
 * stands behind a lock that is held for a few nanoseconds, once or twice a request, never for an
 * event. Any thread. */
#ifndef WR_UPSTREAM_STATE_H
#define WR_UPSTREAM_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "upstream/breaker.h"
#include "upstream/ewma.h"
#include "upstream/health.h"
#include "upstream/limit.h"
#include "upstream/note.h"

enum wr_standing {
  WR_STANDING_READY,
  WR_STANDING_BUSY,      /* it asked to be left alone for a while */
  WR_STANDING_HALF_OPEN, /* one request finds out */
  WR_STANDING_OPEN,      /* its breaker is open */
  WR_STANDING_DOWN,      /* its health checks fail */
  WR_STANDINGS
};
const char *wr_standing_name(enum wr_standing standing); /* "ready" … */

struct wr_peer_state {
  pthread_mutex_t lock;
  struct wr_list link; /* in the book, or alone */
  uint32_t refs;       /* of the book's */
  /* Behind the lock. */
  struct wr_breaker breaker;
  struct wr_health health;
  struct wr_ewma ewma;
  struct wr_limit limit; /* of the whole upstream, in a state of its own */
  uint64_t busy_until_ms;
  bool no_connection; /* why it was opened: it could not be reached */
  /* Read without it. */
  _Atomic uint32_t standing;       /* enum wr_standing */
  _Atomic uint64_t shut_until_ms;  /* 0: may be asked; else not before */
  _Atomic uint32_t epoch;
  _Atomic uint32_t streams;        /* attempts that run, over all workers */
  _Atomic uint32_t first_token_us; /* the average when it was taken; 0: not known */
  _Atomic uint64_t first_token_ms; /* and when that was */
  _Atomic uint32_t limit_now;      /* what the limit is; 0: there is none, or nothing is known */
  _Atomic uint64_t probe_ms;       /* when the next check is due */
  _Atomic uint64_t opens, ejections, probes, probe_failures, failures;
  _Atomic uint32_t live; /* sets in which requests may get to it; with none it isn't shown */
  /* Of a name's own state: look-ups that failed, addresses that came or went. */
  _Atomic uint64_t name_failures, name_changes;
  const char *upstream; /* borrowed: behind the struct, in the same allocation, as the next */
  const char *url;      /* borrowed: as above; "": of the upstream as a whole, for its limit */
  const char *address;  /* borrowed: as above; "": wherever the URL leads */
};

/* What changed by a call, for the log. */
struct wr_standing_change {
  enum wr_standing from, to; /* equal: nothing changed */
  uint64_t for_ms;           /* how long it is left alone; 0: not known */
};

struct wr_peer_book;
WR_MUST_USE enum wr_err wr_peer_book_new(struct wr_peer_book **out);
/* Every state must have been given back. */
void wr_peer_book_free(struct wr_peer_book *book);
/* book may be NULL: a state of its own, that nobody shares. */
WR_MUST_USE enum wr_err wr_peer_state_take(struct wr_peer_book *book, const char *upstream,
                                           const char *url, const char *address,
                                           struct wr_peer_state **out);
void wr_peer_state_give(struct wr_peer_book *book, struct wr_peer_state *state);
/* In the order in which they were made; the book is locked meanwhile. */
void wr_peer_book_each(struct wr_peer_book *book,
                       void (*fn)(void *ctx, const struct wr_peer_state *state), void *ctx);

/* Without the lock: nobody is kept from it. */
static inline bool wr_peer_state_free(const struct wr_peer_state *s, uint64_t now_ms) {
  return now_ms >= atomic_load_explicit(&s->shut_until_ms, memory_order_relaxed);
}
/* One request goes there: false when the peer is half open and another is the probe already. */
bool wr_peer_state_enter(struct wr_peer_state *s, uint64_t now_ms, struct wr_standing_change *out);
void wr_peer_state_note(struct wr_peer_state *s, const struct wr_conf_breaker *conf, uint32_t epoch,
                        enum wr_note what, uint32_t first_token_us, uint64_t retry_after_ms,
                        uint64_t now_ms, struct wr_rand *rand, struct wr_standing_change *out);
/* The same for the adaptive limit of the upstream whose state this is. Only FIRST, BUSY and a time
 * without content say something. */
void wr_peer_state_limit(struct wr_peer_state *s, uint32_t min, uint32_t max, enum wr_note what,
                         uint32_t first_token_us, uint32_t running, uint64_t now_ms);
/* A check is due and the caller makes it; the next is due after every_ms. One of all workers gets
 * true. */
bool wr_peer_state_claim_probe(struct wr_peer_state *s, uint64_t now_ms, uint64_t every_ms);
/* The next check is due within so long, at the latest. */
void wr_peer_state_hurry(struct wr_peer_state *s, uint64_t now_ms, uint64_t within_ms);
/* How a check went. conf NULL: only whether it can be reached, which counts for one that could not
 * be. */
void wr_peer_state_probed(struct wr_peer_state *s, const struct wr_conf_health *conf, bool ok,
                          uint64_t now_ms, struct wr_standing_change *out);
enum wr_standing wr_peer_state_standing(const struct wr_peer_state *s, uint64_t now_ms);
/* The moving average now; 0: not known. */
uint32_t wr_peer_state_first_token_us(const struct wr_peer_state *s, uint64_t now_ms);

#endif

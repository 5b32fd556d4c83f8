/* breaker.h: when a peer is left alone because it fails, and when it is asked again.
 *
 * A pure state machine: clock and randomness are the caller's, so tests run days of traffic in a
 * moment. Closed: results are counted, in a row and in a window of ten slots. Open: nobody asks.
 * Half open: one request asks, under a lease; its result closes or opens again, for longer.
 *
 * A result counts only if its attempt began in the epoch that still runs: what a peer did before it
 * was opened says nothing of how it is after. Caller's storage, one thread at a time. */
#ifndef WR_UPSTREAM_BREAKER_H
#define WR_UPSTREAM_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rand.h"
#include "conf/conf.h"

#define WR_BREAKER_SLOTS 10u
/* Who probes says how it went within this time, or another may. */
#define WR_BREAKER_LEASE_MS 30000u

enum wr_breaker_state { WR_BREAKER_CLOSED, WR_BREAKER_OPEN, WR_BREAKER_HALF_OPEN };
enum wr_result { WR_RESULT_GOOD, WR_RESULT_BAD, WR_RESULT_NONE /* says nothing of the peer */ };

struct wr_breaker {
  uint8_t state;      /* enum wr_breaker_state */
  uint8_t level;      /* openings in a row without a calm time between them */
  uint8_t slot;       /* the current one */
  uint32_t streak;    /* failures in a row */
  uint32_t epoch;     /* grows with each change of state */
  uint64_t slot_ms;   /* when the current slot began */
  uint64_t until_ms;  /* open: when a probe may go; half open: when its lease ends */
  uint64_t closed_ms; /* when it closed last */
  struct { uint32_t good, bad; } slots[WR_BREAKER_SLOTS];
};

/* Zeroed storage is a closed breaker. True when the state changed. */
bool wr_breaker_note(struct wr_breaker *b, const struct wr_conf_breaker *conf, uint32_t epoch,
                     enum wr_result result, uint64_t now_ms, struct wr_rand *rand);
/* Open for long enough, or half open with a lease that ran out. */
bool wr_breaker_may_probe(const struct wr_breaker *b, uint64_t now_ms);
/* The caller's request is the probe. */
void wr_breaker_probe(struct wr_breaker *b, uint64_t now_ms);
/* Something else says that the peer is well again: the probe may go now. True: that is news. */
bool wr_breaker_hint(struct wr_breaker *b, uint64_t now_ms);

#endif

/* limit.h: how many streams an upstream gets at a time, learnt from the time to its first tokens.
 *
 * Pure; caller's storage, one thread at a time. Only the time to the first token is looked at: how
 * long a stream takes in all is the client's wish, when it begins is the server's load. In each
 * window the median of the samples is held against the time of an idle server. Where it takes half
 * as long again the limit falls; where it doesn't and the limit is in the way it grows by its root.
 * The idle time is measured, never guessed: while the limit isn't in the way, and at its minimum.
 * Streams are counted by whoever holds them. */
#ifndef WR_UPSTREAM_LIMIT_H
#define WR_UPSTREAM_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define WR_LIMIT_SAMPLES 32u
#define WR_LIMIT_WINDOW_MS 1000u

struct wr_limit {
  uint32_t now_milli;  /* the limit, in thousandths */
  uint32_t base_us;    /* first token of an idle server; 0: not known */
  uint32_t peak;       /* most streams at a time in this window */
  uint8_t look;        /* 0, or it steps back to see an idle server, stands there, goes forward */
  uint32_t looks_milli; /* what it was before that */
  uint32_t judged;     /* windows since it saw one */
  bool settles;        /* it fell, and streams above it may still run */
  uint32_t count;      /* samples of it, the last WR_LIMIT_SAMPLES of them kept */
  uint64_t window_ms;  /* when it began */
  uint64_t refused_ms; /* when it was cut for a refusal last */
  uint32_t samples_us[WR_LIMIT_SAMPLES];
};

/* Zeroed storage begins at `min`, which is at least 1. A stream has heard its first token, and
 * `running` streams run with it. True when the whole number changed. */
bool wr_limit_sample(struct wr_limit *l, uint32_t min, uint32_t max, uint32_t first_token_us,
                     uint32_t running, uint64_t now_ms);
/* A stream had heard nothing after so long, and was given up. Counts where an idle server would
 * have answered: else the slowest were never seen. */
bool wr_limit_late(struct wr_limit *l, uint32_t min, uint32_t max, uint32_t so_far_us,
                   uint32_t running, uint64_t now_ms);
/* The upstream said that it is too much (429, 503): at once, but once in a window. */
bool wr_limit_refused(struct wr_limit *l, uint32_t min, uint64_t now_ms);
static inline uint32_t wr_limit_streams(const struct wr_limit *l, uint32_t min) {
  return l->now_milli > min * 1000u ? l->now_milli / 1000u : min;
}

#endif

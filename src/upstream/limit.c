#include "upstream/limit.h"

#include <math.h>
#include <string.h>

#include "base/check.h"

#define TOLERANCE 1.5 /* times the idle time; prompts differ, so less would follow noise */
#define STEEPEST 0.5  /* what one window may ask for */
#define SMOOTH 0.3    /* and how much of it is done */
#define REFUSED 0.8
#define ENOUGH 8u     /* samples for a window */
#define LONGEST_MS 10000u

static double median(const struct wr_limit *l) {
  uint32_t sorted[WR_LIMIT_SAMPLES];
  uint32_t n = l->count < WR_LIMIT_SAMPLES ? l->count : WR_LIMIT_SAMPLES;
  WR_DCHECK(n > 0);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t k = i;
    for (; k > 0 && sorted[k - 1] > l->samples_us[i]; k--) sorted[k] = sorted[k - 1];
    sorted[k] = l->samples_us[i];
  }
  return sorted[n / 2];
}

static void begin(struct wr_limit *l, uint64_t now) {
  l->count = l->peak = 0;
  l->window_ms = now;
}

static void store(struct wr_limit *l, double limit, uint32_t min, uint32_t max) {
  if (limit < min) limit = min;
  if (limit > max) limit = max;
  l->now_milli = (uint32_t)(limit * 1000);
}

/* What an idle server takes: a shorter time always counts, a longer one only where it can't be the
 * limit's doing. */
static void learn(struct wr_limit *l, double took_us, bool idle) {
  double base = l->base_us;
  if (base <= 0) base = took_us;
  else if (took_us < base) base += (took_us - base) * 0.3;
  else if (idle) base += (took_us - base) * 0.1;
  l->base_us = base < 1 ? 1 : (uint32_t)base;
}

static void window_end(struct wr_limit *l, uint32_t min, uint32_t max) {
  double limit = l->now_milli / 1000.0, took_us = median(l);
  bool in_the_way = l->peak >= limit * 0.9;
  learn(l, took_us, l->peak < limit * 0.7 || limit <= min);
  double gradient = TOLERANCE * l->base_us / took_us;
  if (gradient > 1) gradient = 1;
  if (gradient < STEEPEST) gradient = STEEPEST;
  double want = limit * gradient + (in_the_way ? sqrt(limit) : 0);
  if (gradient < 1 || in_the_way) store(l, limit + (want - limit) * SMOOTH, min, max);
}

bool wr_limit_sample(struct wr_limit *l, uint32_t min, uint32_t max, uint32_t first_token_us,
                     uint32_t running, uint64_t now) {
  WR_CHECK(min >= 1 && max >= min);
  uint32_t before = wr_limit_streams(l, min);
  if (l->now_milli < min * 1000u || l->now_milli > max * 1000u) {
    store(l, l->now_milli / 1000.0, min, max); /* the beginning, or other bounds than before */
    begin(l, now);
  }
  l->samples_us[l->count++ % WR_LIMIT_SAMPLES] = first_token_us ? first_token_us : 1;
  if (running > l->peak) l->peak = running;
  uint64_t age = now > l->window_ms ? now - l->window_ms : 0;
  if (age >= WR_LIMIT_WINDOW_MS && (l->count >= ENOUGH || age >= LONGEST_MS)) {
    window_end(l, min, max);
    begin(l, now);
  }
  return wr_limit_streams(l, min) != before;
}

bool wr_limit_refused(struct wr_limit *l, uint32_t min, uint64_t now) {
  uint32_t before = wr_limit_streams(l, min);
  if (l->refused_ms && now < l->refused_ms + WR_LIMIT_WINDOW_MS) return false;
  l->refused_ms = now ? now : 1;
  store(l, before * REFUSED, min, before);
  return wr_limit_streams(l, min) != before;
}

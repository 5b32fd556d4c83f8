#include "upstream/limit.h"

#include <math.h>
#include <string.h>

#include "base/check.h"

#define TOLERANCE 1.5 /* times the idle time; prompts differ, so less would follow noise */
#define STEEPEST 0.5  /* what one window may ask for */
#define SMOOTH 0.3    /* and how much of it is done */
#define LEAST_CUT 8
#define REFUSED 0.8
#define CHANCE 2.0    /* standard deviations of a median that mean nothing */
#define ENOUGH 16u    /* samples for a window */
#define LOOK 0.6
#define LOOK_EVERY 100u /* windows */
#define LONGEST_MS 60000u
#define FEWEST 4u     /* and then */

/* The median, and how far chance moves it: its standard deviation, from the quartiles. */
static double median(const struct wr_limit *l, double *chance) {
  uint32_t sorted[WR_LIMIT_SAMPLES];
  uint32_t n = l->count < WR_LIMIT_SAMPLES ? l->count : WR_LIMIT_SAMPLES;
  WR_DCHECK(n > 0);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t k = i;
    for (; k > 0 && sorted[k - 1] > l->samples_us[i]; k--) sorted[k] = sorted[k - 1];
    sorted[k] = l->samples_us[i];
  }
  *chance = 0.93 * ((double)sorted[n * 3 / 4] - sorted[n / 4]) / sqrt(n);
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

/* What an idle server takes. Any time counts where it can't be the limit's doing. Elsewhere only a
 * shorter one does, as far as it is shorter than chance would have it: else the base became the
 * luckiest window of all, and the limit followed it down. */
static void learn(struct wr_limit *l, double took_us, double chance, bool idle) {
  double base = l->base_us;
  if (base <= 0) base = took_us;
  else if (idle) base += (took_us - base) * 0.1;
  else if (took_us + CHANCE * chance < base) base += (took_us + CHANCE * chance - base) * 0.3;
  l->base_us = base < 1 ? 1 : (uint32_t)base;
}

/* A limit that is in the way for long never sees the server idle, and the base can't rise with the
 * prompts. So now and then it steps back for a window, and forward again: by one a first token, so
 * that half of the places that become free are given away on the way down, and two for each on the
 * way up. Nobody is shut out, and no crowd let in. */
enum look { LOOK_NONE, LOOK_DOWN, LOOK_THERE, LOOK_UP };

static void look_begin(struct wr_limit *l) {
  l->look = LOOK_DOWN;
  l->looks_milli = l->now_milli;
  l->judged = 0;
  l->settles = true;
}

/* What is slow there may be load still, so it counts for no more than is tolerated. */
static void look_judge(struct wr_limit *l, double took_us) {
  double base = l->base_us, most = base * TOLERANCE;
  l->base_us = (uint32_t)(base + ((took_us < most ? took_us : most) - base) * 0.3);
  l->look = LOOK_UP;
}

static void look_step(struct wr_limit *l, uint32_t min, uint32_t max) {
  double now = l->now_milli / 1000.0, from = l->looks_milli / 1000.0;
  if (l->look == LOOK_DOWN) {
    store(l, now - 1 > from * LOOK ? now - 1 : from * LOOK, min, max);
    if (now - 1 <= from * LOOK || now <= min) l->look = LOOK_THERE;
  } else if (l->look == LOOK_UP) {
    store(l, now + 1 < from ? now + 1 : from, min, max);
    if (now + 1 >= from || now >= max) l->look = LOOK_NONE;
  }
}

static void window_end(struct wr_limit *l, uint32_t min, uint32_t max) {
  double limit = l->now_milli / 1000.0, chance, took_us = median(l, &chance);
  if (l->look != LOOK_NONE) {
    look_judge(l, took_us);
    return;
  }
  uint32_t whole = wr_limit_streams(l, min);
  bool in_the_way = l->peak >= whole * 0.9, idle = l->peak < whole * 0.7 || whole <= min;
  learn(l, took_us, chance, idle);
  double gradient = TOLERANCE * l->base_us / took_us;
  if (gradient > 1) gradient = 1;
  if (gradient < STEEPEST) gradient = STEEPEST;
  /* A small limit's root is most of it, and would never let it fall. */
  double more = in_the_way ? sqrt(limit) : 0, most = gradient < 1 ? limit / LEAST_CUT : more;
  double want = limit * gradient + (more < most ? more : most);
  if (gradient < 1 || in_the_way) store(l, limit + (want - limit) * SMOOTH, min, max);
  l->settles = want < limit;
  if (idle) l->judged = 0;
  else if (++l->judged >= LOOK_EVERY) look_begin(l);
}

/* A cut is seen when the streams above it have ended, and in the window behind that. */
static bool settles(struct wr_limit *l, uint32_t running) {
  if (l->look == LOOK_DOWN || l->look == LOOK_UP) return true;
  if (!l->settles) return false;
  l->settles = running > l->now_milli / 1000 + 1;
  return true;
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
  look_step(l, min, max);
  uint64_t age = now > l->window_ms ? now - l->window_ms : 0;
  if (age >= WR_LIMIT_WINDOW_MS &&
      (l->count >= ENOUGH || (age >= LONGEST_MS && l->count >= FEWEST))) {
    if (!settles(l, running)) window_end(l, min, max);
    begin(l, now);
  }
  return wr_limit_streams(l, min) != before;
}

bool wr_limit_late(struct wr_limit *l, uint32_t min, uint32_t max, uint32_t so_far_us,
                   uint32_t running, uint64_t now) {
  return l->base_us && so_far_us > l->base_us &&
         wr_limit_sample(l, min, max, so_far_us, running, now);
}

bool wr_limit_refused(struct wr_limit *l, uint32_t min, uint64_t now) {
  uint32_t before = wr_limit_streams(l, min);
  if (l->refused_ms && now < l->refused_ms + WR_LIMIT_WINDOW_MS) return false;
  l->refused_ms = now ? now : 1;
  l->look = LOOK_NONE;
  store(l, before * REFUSED, min, before);
  return wr_limit_streams(l, min) != before;
}

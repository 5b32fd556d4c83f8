#include "upstream/breaker.h"

#include <string.h>

#include "base/check.h"

#define LEVEL_MAX 16u

static void forget(struct wr_breaker *b, uint64_t now) {
  memset(b->slots, 0, sizeof b->slots);
  b->streak = 0;
  b->slot = 0;
  b->slot_ms = now;
}

static void open_now(struct wr_breaker *b, const struct wr_conf_breaker *conf, uint64_t now,
                     struct wr_rand *rand) {
  uint64_t calm = 2 * (uint64_t)conf->open_max_ms;
  bool again = b->state == WR_BREAKER_HALF_OPEN || (b->closed_ms && now - b->closed_ms < calm);
  if (!again) b->level = 0;
  uint64_t ms = conf->open_ms;
  for (unsigned i = 0; i < b->level && ms < conf->open_max_ms; i++) ms *= 2;
  if (ms > conf->open_max_ms) ms = conf->open_max_ms;
  if (b->level < LEVEL_MAX) b->level++;
  /* Peers that fell together don't come back together. */
  ms = ms * 4 / 5 + wr_rand_below(rand, ms * 2 / 5 + 1);
  b->state = WR_BREAKER_OPEN;
  b->epoch++;
  b->until_ms = now + (ms ? ms : 1);
  forget(b, now);
}

static void close_now(struct wr_breaker *b, uint64_t now) {
  b->state = WR_BREAKER_CLOSED;
  b->epoch++;
  b->until_ms = 0;
  b->closed_ms = now ? now : 1;
  forget(b, now);
}

static void advance(struct wr_breaker *b, const struct wr_conf_breaker *conf, uint64_t now) {
  uint64_t width = conf->window_ms / WR_BREAKER_SLOTS;
  if (width == 0) width = 1;
  if (now < b->slot_ms) return; /* another worker's clock is a little ahead */
  if (now - b->slot_ms >= width * WR_BREAKER_SLOTS) {
    memset(b->slots, 0, sizeof b->slots);
    b->slot_ms = now;
    return;
  }
  while (now - b->slot_ms >= width) {
    b->slot = (uint8_t)((b->slot + 1) % WR_BREAKER_SLOTS);
    b->slots[b->slot].good = b->slots[b->slot].bad = 0;
    b->slot_ms += width;
  }
}

static bool too_many(const struct wr_breaker *b, const struct wr_conf_breaker *conf) {
  uint64_t good = 0, bad = 0;
  if (conf->failures && b->streak >= conf->failures) return true;
  if (!conf->rate_permille) return false;
  for (unsigned i = 0; i < WR_BREAKER_SLOTS; i++) {
    good += b->slots[i].good;
    bad += b->slots[i].bad;
  }
  return good + bad >= conf->least && bad * 1000 >= (good + bad) * conf->rate_permille;
}

static bool note_closed(struct wr_breaker *b, const struct wr_conf_breaker *conf, bool good,
                        uint64_t now, struct wr_rand *rand) {
  advance(b, conf, now);
  if (good) {
    b->streak = 0;
    b->slots[b->slot].good++;
    return false;
  }
  b->streak++;
  b->slots[b->slot].bad++;
  if (!too_many(b, conf)) return false;
  open_now(b, conf, now, rand);
  return true;
}

bool wr_breaker_note(struct wr_breaker *b, const struct wr_conf_breaker *conf, uint32_t epoch,
                     enum wr_result result, uint64_t now, struct wr_rand *rand) {
  WR_DCHECK(b->state <= WR_BREAKER_HALF_OPEN && conf != NULL);
  if (epoch != b->epoch) return false;
  switch (b->state) {
    case WR_BREAKER_CLOSED:
      if (result == WR_RESULT_NONE) return false;
      return note_closed(b, conf, result == WR_RESULT_GOOD, now, rand);
    case WR_BREAKER_HALF_OPEN:
      if (result == WR_RESULT_GOOD) {
        close_now(b, now);
      } else if (result == WR_RESULT_BAD) {
        open_now(b, conf, now, rand);
      } else { /* the probe ended without a result: another may go at once */
        b->state = WR_BREAKER_OPEN;
        b->until_ms = now;
      }
      return true;
    default: return false; /* the floor let it in: that isn't a probe */
  }
}

bool wr_breaker_may_probe(const struct wr_breaker *b, uint64_t now) {
  return b->state != WR_BREAKER_CLOSED && now >= b->until_ms;
}

void wr_breaker_probe(struct wr_breaker *b, uint64_t now) {
  WR_DCHECK(wr_breaker_may_probe(b, now));
  b->state = WR_BREAKER_HALF_OPEN;
  b->epoch++;
  b->until_ms = now + WR_BREAKER_LEASE_MS;
}

bool wr_breaker_hint(struct wr_breaker *b, uint64_t now) {
  if (b->state != WR_BREAKER_OPEN || b->until_ms <= now) return false;
  b->until_ms = now;
  return true;
}

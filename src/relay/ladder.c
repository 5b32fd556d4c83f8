#include "relay/ladder.h"

#include "base/check.h"

static uint32_t peek(const _Atomic uint32_t *word) {
  return atomic_load_explicit(word, memory_order_relaxed);
}

static void put(_Atomic uint32_t *word, uint32_t value) {
  atomic_store_explicit(word, value, memory_order_relaxed);
}

void wr_ladder_set(struct wr_ladder *l, const struct wr_conf_ladder *conf) {
  WR_CHECK(conf->count <= WR_LADDER_STEPS && (conf->count == 0 || conf->steps != NULL));
  put(&l->count, 0); /* nobody climbs meanwhile */
  uint32_t stop_at = UINT32_MAX;
  for (uint32_t i = 0; i < conf->count; i++) {
    WR_DCHECK(conf->steps[i].off < conf->steps[i].at);
    WR_DCHECK(i == 0 || conf->steps[i].at > conf->steps[i - 1].at);
    put(&l->at[i], conf->steps[i].at);
    put(&l->off[i], conf->steps[i].off);
    if (stop_at == UINT32_MAX && conf->steps[i].actions >> WR_ACTION_STOP_LARGEST & 1u)
      stop_at = conf->steps[i].at;
  }
  put(&l->stop_at, stop_at);
  put(&l->count, conf->count);
  l->calm = 0;
  uint32_t level = peek(&l->level);
  while (level > conf->count && !atomic_compare_exchange_weak(&l->level, &level, conf->count)) {
  }
}

static bool climb(struct wr_ladder *l, uint32_t value) {
  uint32_t count = peek(&l->count), want = 0;
  WR_DCHECK(count <= WR_LADDER_STEPS);
  while (want < count && value >= peek(&l->at[want])) want++;
  uint32_t level = peek(&l->level);
  while (want > level) {
    if (!atomic_compare_exchange_weak(&l->level, &level, want)) continue;
    atomic_fetch_add_explicit(&l->ups, want - level, memory_order_relaxed);
    return true;
  }
  return false;
}

bool wr_ladder_raise(struct wr_ladder *l, uint32_t value) {
  bool higher = climb(l, value);
  if (higher) put(&l->value, value);
  return higher;
}

bool wr_ladder_sample(struct wr_ladder *l, uint32_t value) {
  put(&l->value, value);
  if (climb(l, value)) {
    l->calm = 0;
    return true;
  }
  uint32_t level = peek(&l->level);
  if (level != l->calm_level) l->calm = 0; /* somebody has raised it since */
  l->calm_level = level;
  if (level == 0 || value >= peek(&l->off[level - 1])) {
    l->calm = 0;
    return false;
  }
  if (++l->calm < WR_LADDER_CALM_SAMPLES) return false;
  l->calm = 0;
  if (!atomic_compare_exchange_strong(&l->level, &level, level - 1)) return false;
  l->calm_level = level - 1;
  atomic_fetch_add_explicit(&l->downs, 1, memory_order_relaxed);
  return true;
}

bool wr_ladder_stops(const struct wr_ladder *l) {
  return wr_ladder_level(l) > 0 && peek(&l->value) >= peek(&l->stop_at);
}

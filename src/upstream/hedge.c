#include "upstream/hedge.h"

#include "base/check.h"

#define HALVE_COUNT 1024u
#define HALVE_MS 60000u
#define OCTAVE 8u

void wr_hedging_request(struct wr_hedging *h, uint32_t permille) {
  WR_DCHECK(permille <= 1000);
  h->saved_permille += permille;
  if (h->saved_permille > WR_HEDGE_BURST * 1000) h->saved_permille = WR_HEDGE_BURST * 1000;
}

bool wr_hedging_take(struct wr_hedging *h) {
  if (h->saved_permille < 1000) return false;
  h->saved_permille -= 1000;
  return true;
}

/* The octave, and the eighth of it. */
static uint32_t bucket_of(uint64_t ms) {
  uint32_t octave = 0;
  uint64_t v = ms ? ms : 1;
  while (v >> (octave + 1) && octave < WR_HEDGE_BUCKETS / OCTAVE - 1) octave++;
  uint64_t base = UINT64_C(1) << octave, eighth = (v - base) * OCTAVE / base;
  return octave * OCTAVE + (uint32_t)(eighth < OCTAVE ? eighth : OCTAVE - 1);
}

/* So far from the end of a bucket, in shares of its samples. */
static uint64_t time_of(uint32_t bucket, uint32_t from_end, uint32_t samples) {
  WR_DCHECK(samples > 0 && from_end <= samples);
  uint64_t base = UINT64_C(1) << (bucket / OCTAVE);
  uint64_t end = base + (base * (bucket % OCTAVE + 1) + OCTAVE - 1) / OCTAVE;
  return end - base * from_end / OCTAVE / samples;
}

/* The late ones stand far apart: what a half leaves over goes on to the next bucket, else they
 * would be forgotten first, and the percentile fall. */
static void halve(struct wr_hedging *h, uint64_t now_ms) {
  uint32_t over = 0;
  h->count = 0;
  for (uint32_t i = 0; i < WR_HEDGE_BUCKETS; i++) {
    over += h->buckets[i];
    h->buckets[i] = (uint16_t)(over / 2);
    over %= 2;
    h->count += h->buckets[i];
  }
  h->halved_ms = now_ms;
}

void wr_hedging_sample(struct wr_hedging *h, uint64_t first_token_ms, uint64_t now_ms) {
  bool old = h->count > WR_HEDGE_SAMPLES * 4 && now_ms > h->halved_ms + HALVE_MS;
  if (!h->count) h->halved_ms = now_ms;
  if (old || h->count >= HALVE_COUNT) halve(h, now_ms);
  h->buckets[bucket_of(first_token_ms)]++;
  h->count++;
  WR_DCHECK(h->count <= HALVE_COUNT);
}

uint64_t wr_hedging_late_ms(const struct wr_hedging *h) {
  if (h->count < WR_HEDGE_SAMPLES) return 0;
  uint32_t above = h->count / 20, seen = 0, i = WR_HEDGE_BUCKETS - 1;
  for (; i > 0; i--) {
    if (seen + h->buckets[i] > above) break;
    seen += h->buckets[i];
  }
  return time_of(i, above - seen, h->buckets[i]);
}

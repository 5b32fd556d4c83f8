/* hash.h: two hashes, for two needs.
 *
 * SipHash-2-4 is for tables whose keys come from outside (header names, API keys, prompts): with
 * a secret key nobody can aim at one bucket. The mixer is for placing things that nobody
 * chooses. Neither is a signature. Pure functions, any thread. */
#ifndef WR_BASE_HASH_H
#define WR_BASE_HASH_H

#include <stdint.h>

#include "base/span.h"

uint64_t wr_siphash(const uint8_t key[16], struct wr_span bytes);

/* A bijection of 64 bits in which every input bit reaches every output bit. */
static inline uint64_t wr_hash_mix64(uint64_t x) {
  x ^= x >> 30;
  x *= UINT64_C(0xbf58476d1ce4e5b9);
  x ^= x >> 27;
  x *= UINT64_C(0x94d049bb133111eb);
  x ^= x >> 31;
  return x;
}

#endif

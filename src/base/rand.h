/* rand.h: random numbers for balancing, jitter and tests; not for secrets.
 *
 * The state is the caller's (one a worker, one a test): there is no global. xoshiro256**, seeded
 * through splitmix64. One thread a state. */
#ifndef WR_BASE_RAND_H
#define WR_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct wr_rand {
  uint64_t s[4];
};

/* The same seed gives the same numbers on every machine. */
void wr_rand_init(struct wr_rand *r, uint64_t seed);
/* A seed from the kernel. WR_E_IO when it has none. */
WR_MUST_USE enum wr_err wr_rand_init_system(struct wr_rand *r);
/* Bytes from the kernel, good for keys; WR_E_IO. */
WR_MUST_USE enum wr_err wr_rand_system_bytes(void *out, size_t len);

uint64_t wr_rand_u64(struct wr_rand *r);
/* Uniform in 0 .. n-1, without bias; n >= 1. */
uint64_t wr_rand_below(struct wr_rand *r, uint64_t n);
/* Uniform in lo .. hi, both included; lo <= hi. */
uint64_t wr_rand_range(struct wr_rand *r, uint64_t lo, uint64_t hi);

#endif

#include "base/rand.h"

#include <errno.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/hash.h"

static uint64_t rotl(uint64_t x, unsigned n) { return x << n | x >> (64 - n); }

void wr_rand_init(struct wr_rand *r, uint64_t seed) {
  for (unsigned i = 0; i < 4; i++) {
    seed += UINT64_C(0x9e3779b97f4a7c15);
    r->s[i] = wr_hash_mix64(seed);
  }
}

enum wr_err wr_rand_system_bytes(void *out, size_t len) {
  char *p = out;
  while (len) {
    ssize_t n = getrandom(p, len, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return WR_E_IO;
    p += n;
    len -= (size_t)n;
  }
  return WR_OK;
}

enum wr_err wr_rand_init_system(struct wr_rand *r) {
  uint64_t seed = 0;
  enum wr_err err = wr_rand_system_bytes(&seed, sizeof seed);
  if (err == WR_OK) wr_rand_init(r, seed);
  return err;
}

uint64_t wr_rand_u64(struct wr_rand *r) {
  uint64_t *s = r->s;
  uint64_t result = rotl(s[1] * 5, 7) * 9;
  uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotl(s[3], 45);
  return result;
}

uint64_t wr_rand_below(struct wr_rand *r, uint64_t n) {
  WR_CHECK(n > 0);
  /* Values below 2^64 mod n would make the first residues more likely than the rest. */
  uint64_t reject = (UINT64_MAX - n + 1) % n;
  uint64_t x;
  do x = wr_rand_u64(r);
  while (x < reject);
  return x % n;
}

uint64_t wr_rand_range(struct wr_rand *r, uint64_t lo, uint64_t hi) {
  WR_CHECK(lo <= hi);
  if (hi - lo == UINT64_MAX) return wr_rand_u64(r);
  return lo + wr_rand_below(r, hi - lo + 1);
}

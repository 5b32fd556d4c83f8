#include "base/hash.h"

struct state {
  uint64_t v0, v1, v2, v3;
};

/* Byte by byte, so that the result is the same on either byte order; compilers make one load of
 * it. */
static uint64_t load_le64(const uint8_t *p) {
  uint64_t x = 0;
  for (unsigned i = 0; i < 8; i++) x |= (uint64_t)p[i] << (8 * i);
  return x;
}

static uint64_t rotl(uint64_t x, unsigned n) { return x << n | x >> (64 - n); }

static inline void round_one(struct state *s) {
  s->v0 += s->v1;
  s->v2 += s->v3;
  s->v1 = rotl(s->v1, 13) ^ s->v0;
  s->v3 = rotl(s->v3, 16) ^ s->v2;
  s->v0 = rotl(s->v0, 32);
  s->v2 += s->v1;
  s->v0 += s->v3;
  s->v1 = rotl(s->v1, 17) ^ s->v2;
  s->v3 = rotl(s->v3, 21) ^ s->v0;
  s->v2 = rotl(s->v2, 32);
}

static inline void absorb(struct state *s, uint64_t word) {
  s->v3 ^= word;
  round_one(s);
  round_one(s);
  s->v0 ^= word;
}

uint64_t wr_siphash(const uint8_t key[16], struct wr_span bytes) {
  uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);
  struct state s = { k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
                     k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573) };
  const uint8_t *p = (const uint8_t *)bytes.ptr;
  size_t words = bytes.len / 8;
  for (size_t i = 0; i < words; i++) absorb(&s, load_le64(p + 8 * i));
  uint64_t last = (uint64_t)bytes.len << 56;
  for (size_t i = 0; i < (bytes.len & 7); i++) last |= (uint64_t)p[8 * words + i] << (8 * i);
  absorb(&s, last);
  s.v2 ^= 0xff;
  for (unsigned i = 0; i < 4; i++) round_one(&s);
  return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* fuzz.h: what the fuzz targets share. */
#ifndef WR_FUZZ_FUZZ_H
#define WR_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/span.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A number that follows from the input, so that a run can be repeated from the input alone. */
static inline uint64_t fuzz_number(const uint8_t *data, size_t size, uint64_t salt) {
  uint64_t h = UINT64_C(0xcbf29ce484222325) ^ salt;
  for (size_t i = 0; i < size; i++) h = (h ^ data[i]) * UINT64_C(0x100000001b3);
  return h ^ h >> 29;
}

/* 0..size: where to cut. */
static inline size_t fuzz_cut(const uint8_t *data, size_t size, uint64_t salt) {
  return (size_t)(fuzz_number(data, size, salt) % (size + 1));
}

static inline bool fuzz_inside(struct wr_extent e, size_t len) {
  return e.off <= len && e.len <= len - e.off;
}

#endif

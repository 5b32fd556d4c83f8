#include "base/check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic uint64_t failures;

void wr_check_failed(const char *cond, const char *file, int line) {
  fprintf(stderr, "weir: check failed: %s (%s:%d)\n", cond, file, line);
  abort();
}

bool wr_expect_failed(const char *cond, const char *file, int line) {
  if (atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed) == 0)
    fprintf(stderr, "weir: expectation failed: %s (%s:%d)\n", cond, file, line);
  return false;
}

uint64_t wr_expect_failures(void) { return atomic_load_explicit(&failures, memory_order_relaxed); }

/* harness.h: what the tests of mem and of everything left of it share.
 *
 * t_pool_open makes a depot, a ledger and one slab set; t_pool_close frees them and asserts a
 * clean end: no live block, nothing charged, and the heap as it was at the beginning. Open it
 * before and close it after everything else a test makes. */
#ifndef WR_TESTS_HARNESS_H
#define WR_TESTS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/heap.h"
#include "base/span.h"
#include "mem/depot.h"
#include "mem/ledger.h"
#include "mem/slab.h"

#define T_OK(call) assert_int_equal((call), WR_OK)

/* Bytes that must equal a span; prints both on a difference. */
static inline void t_span_is(struct wr_span got, const char *want) {
  if (got.len != strlen(want) || (got.len && memcmp(got.ptr, want, got.len) != 0))
    fail_msg("got \"%.*s\", want \"%s\"", (int)got.len, got.ptr ? got.ptr : "", want);
}

struct t_heap {
  size_t bytes[WR_HEAP_TAGS];
  size_t count[WR_HEAP_TAGS];
};

static inline void t_heap_mark(struct t_heap *h) {
  for (int i = 0; i < WR_HEAP_TAGS; i++) {
    h->bytes[i] = wr_heap_live_bytes((enum wr_heap_tag)i);
    h->count[i] = wr_heap_live_count((enum wr_heap_tag)i);
  }
}

static inline void t_heap_check(const struct t_heap *h) {
  for (int i = 0; i < WR_HEAP_TAGS; i++) {
    enum wr_heap_tag tag = (enum wr_heap_tag)i;
    if (wr_heap_live_count(tag) != h->count[i] || wr_heap_live_bytes(tag) != h->bytes[i])
      fail_msg("heap tag %s: %zu allocations of %zu bytes, at the start %zu of %zu",
               wr_heap_tag_name(tag), wr_heap_live_count(tag), wr_heap_live_bytes(tag),
               h->count[i], h->bytes[i]);
  }
}

struct t_pool {
  struct wr_depot *depot;   /* owned */
  struct wr_ledger *ledger; /* owned */
  struct wr_slabs *slabs;   /* owned */
  struct t_heap start;
};

static inline void t_pool_open(struct t_pool *p, size_t memory_bytes) {
  t_heap_mark(&p->start);
  T_OK(wr_depot_new(memory_bytes, &p->depot));
  T_OK(wr_ledger_new(wr_depot_memory_bytes(p->depot), NULL, &p->ledger));
  T_OK(wr_slabs_new(p->depot, p->ledger, &p->slabs));
}

static inline void t_report_line(void *ctx, const char *line) {
  (void)ctx;
  print_error("still held: %s\n", line);
}

static inline void t_pool_close(struct t_pool *p) {
  wr_slabs_tick(p->slabs);
  if (wr_slabs_live_blocks(p->slabs)) wr_slabs_report(p->slabs, t_report_line, NULL);
  assert_int_equal(wr_slabs_free(p->slabs), 0);
  for (int c = 0; c < WR_CHARGES; c++)
    assert_int_equal(wr_ledger_bytes(p->ledger, (enum wr_charge)c), 0);
  assert_int_equal(wr_ledger_used_bytes(p->ledger), 0);
  assert_int_equal(wr_depot_free_slabs(p->depot), wr_depot_slab_count(p->depot));
  wr_ledger_free(p->ledger);
  wr_depot_free(p->depot);
  t_heap_check(&p->start);
}

/* One recorded stream, a payload a line. */
struct t_stream {
  FILE *file;      /* owned */
  char *line;      /* owned: by getline */
  size_t line_cap; /* bytes */
};

/* Skips the running test, with a message, where the recordings are absent. */
static inline void t_stream_open(struct t_stream *s, const char *name) {
  const char *shared = getenv("WEIR_SHARED");
  char path[512];
  snprintf(path, sizeof path, "%s/streams/%s", shared ? shared : "../shared", name);
  *s = (struct t_stream){ fopen(path, "r"), NULL, 0 };
  if (!s->file) {
    print_message("no %s: set WEIR_SHARED to read recorded streams\n", path);
    skip();
  }
}

/* The next line without its LF, borrowed until the next call; false at the end. */
static inline bool t_stream_next(struct t_stream *s, struct wr_span *out) {
  ssize_t n = getline(&s->line, &s->line_cap, s->file);
  if (n < 0) return false;
  if (n > 0 && s->line[n - 1] == '\n') n--;
  *out = wr_span_make(s->line, (size_t)n);
  return true;
}

static inline void t_stream_close(struct t_stream *s) {
  free(s->line);
  fclose(s->file);
}

#endif

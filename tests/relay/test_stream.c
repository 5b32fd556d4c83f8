/* The log and its readers: order, numbers, drops, growth, compaction. */
#include "harness.h"

#include "relay/stream.h"

static struct wr_view bytes_of(struct t_pool *p, const char *text, size_t cap) {
  struct wr_block *b = wr_slabs_alloc(p->slabs, cap, WR_CHARGE_UPSTREAM);
  assert_non_null(b);
  memcpy(b->data, text, strlen(text));
  return wr_view_take(b, 0, strlen(text));
}

static void put(struct t_pool *p, struct wr_stream *s, unsigned i) {
  char text[16];
  snprintf(text, sizeof text, "frame %u", i);
  struct wr_view v = bytes_of(p, text, 256);
  T_OK(wr_stream_append(s, &v, (uint8_t)i));
  assert_null(v.block);
}

static void is_frame(const struct wr_reader *r, size_t at, unsigned i) {
  char text[16];
  snprintf(text, sizeof text, "frame %u", i);
  const struct wr_frame *f = wr_reader_peek(r, at);
  assert_non_null(f);
  t_span_is(wr_view_span(&f->view), text);
  assert_int_equal(f->kind, (uint8_t)i);
}

static void several_readers(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 4u << 20);
  struct wr_stream s;
  struct wr_reader a, b;
  wr_stream_init(&s, p.slabs);
  wr_reader_init(&a, &s);
  wr_reader_init(&b, &s);
  assert_null(wr_reader_peek(&a, 0));
  for (unsigned i = 0; i < 100; i++) put(&p, &s, i);
  assert_int_equal(wr_reader_left(&a), 100);
  for (unsigned i = 0; i < 100; i++) is_frame(&a, i, i);
  wr_reader_next(&a, 60);
  assert_int_equal(s.count, 100); /* b needs them still */
  wr_reader_next(&b, 40);
  assert_int_equal(s.count, 60);
  assert_int_equal(s.first, 40);
  is_frame(&a, 0, 60);
  is_frame(&b, 0, 40);
  for (unsigned i = 100; i < 200; i++) put(&p, &s, i); /* the ring wraps and grows */
  is_frame(&b, 159, 199);
  assert_null(wr_reader_peek(&b, 160));
  wr_reader_next(&a, wr_reader_left(&a));
  wr_reader_next(&b, wr_reader_left(&b));
  assert_int_equal(s.count, 0);
  assert_int_equal(s.bytes, 0);
  assert_null(s.ring); /* an empty log holds nothing */
  assert_int_equal(wr_slabs_live_blocks(p.slabs), 0);
  put(&p, &s, 7);
  struct wr_reader late;
  wr_reader_init(&late, &s);
  is_frame(&late, 0, 7);
  assert_int_equal(late.next, 200);
  wr_reader_fini(&a);
  wr_reader_fini(&late);
  wr_reader_next(&b, 1);
  assert_int_equal(s.count, 0);
  wr_reader_fini(&b);
  wr_stream_fini(&s);
  t_pool_close(&p);
}

static void cleared(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 4u << 20);
  struct wr_stream s;
  struct wr_reader r;
  wr_stream_init(&s, p.slabs);
  wr_reader_init(&r, &s);
  for (unsigned i = 0; i < 9; i++) put(&p, &s, i);
  wr_stream_clear(&s);
  assert_int_equal(wr_reader_left(&r), 0);
  assert_int_equal(s.first, 9); /* numbers never come twice */
  assert_int_equal(wr_slabs_live_blocks(p.slabs), 0);
  put(&p, &s, 9);
  is_frame(&r, 0, 9);
  struct wr_view none = WR_VIEW_NONE;
  T_OK(wr_stream_append(&s, &none, 0));
  assert_int_equal(s.count, 1);
  wr_reader_fini(&r);
  wr_stream_fini(&s);
  t_pool_close(&p);
}

/* What was reserved is had, even from an empty pool; what isn't drops the view. */
static void reserved(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 4u << 20);
  struct wr_stream s;
  wr_stream_init(&s, p.slabs);
  struct wr_mem_debug d = { .poison = true, .owners = true };
  T_OK(wr_stream_reserve(&s, 20));
  struct wr_view views[64];
  for (unsigned i = 0; i < 64; i++) views[i] = bytes_of(&p, "x", 256);
  d.fail_nth = 1;
  d.fail_every = true;
  wr_mem_debug_set(&d);
  unsigned n = 0;
  while (n < 64 && wr_stream_append(&s, &views[n], 0) == WR_OK) n++;
  assert_in_range(n, 20, 63);
  assert_null(views[n].block);
  assert_int_equal(wr_stream_reserve(&s, 1), WR_E_POOL_FULL);
  assert_int_equal(s.count, n);
  d.fail_nth = 0;
  wr_mem_debug_set(&d);
  for (n++; n < 64; n++) wr_view_drop(&views[n]);
  assert_int_equal(wr_stream_reserve(&s, wr_stream_max(&s) + 1), WR_E_POOL_FULL);
  T_OK(wr_stream_reserve(&s, wr_stream_max(&s) - s.count));
  wr_stream_fini(&s);
  t_pool_close(&p);
}

/* Small frames leave big blocks; what is large enough stays. */
static void compacted(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 4u << 20);
  struct wr_stream s;
  struct wr_reader r;
  wr_stream_init(&s, p.slabs);
  wr_reader_init(&r, &s);
  struct wr_block *big = wr_slabs_alloc(p.slabs, 65536, WR_CHARGE_UPSTREAM);
  assert_non_null(big);
  memset(big->data, 'b', 65536);
  for (unsigned i = 0; i < 40; i++) {
    struct wr_view v = wr_view_take(wr_block_ref(big), i * 100, 90);
    T_OK(wr_stream_append(&s, &v, 1));
  }
  struct wr_view v = wr_view_take(big, 10000, 40000);
  T_OK(wr_stream_append(&s, &v, 2));
  uint64_t copied = 0;
  wr_stream_compact(&s, WR_CHARGE_CLIENT, &copied);
  assert_int_equal(copied, 3600);
  assert_int_equal(s.bytes, 3600 + 40000);
  wr_stream_compact(&s, WR_CHARGE_CLIENT, &copied);
  assert_int_equal(copied, 3600); /* once is enough */
  wr_reader_next(&r, 20);
  for (unsigned i = 0; i < 20; i++) assert_int_equal(wr_reader_peek(&r, i)->view.len, 90);
  assert_int_equal(wr_reader_peek(&r, 20)->view.len, 40000);
  wr_reader_next(&r, 21);
  assert_int_equal(wr_slabs_live_blocks(p.slabs), 0);
  wr_reader_fini(&r);
  wr_stream_fini(&s);
  t_pool_close(&p);
}

/* One event that waits alone takes a block of its own size, not one for many. */
static void compacted_alone(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 4u << 20);
  struct wr_stream s;
  wr_stream_init(&s, p.slabs);
  struct wr_block *big = wr_slabs_alloc(p.slabs, 65536, WR_CHARGE_UPSTREAM);
  assert_non_null(big);
  memset(big->data, 'b', 65536);
  struct wr_view v = wr_view_take(big, 100, 240);
  T_OK(wr_stream_append(&s, &v, 1));
  uint64_t copied = 0;
  wr_stream_compact(&s, WR_CHARGE_CLIENT, &copied);
  assert_int_equal(copied, 240);
  assert_int_equal(wr_slabs_live_bytes(p.slabs), 256);
  assert_int_equal(wr_stream_frame(&s, 0)->view.ptr[239], 'b');
  wr_stream_fini(&s);
  t_pool_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(several_readers),
    cmocka_unit_test(cleared),
    cmocka_unit_test(reserved),
    cmocka_unit_test(compacted),
    cmocka_unit_test(compacted_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

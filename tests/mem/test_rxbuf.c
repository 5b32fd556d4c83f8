#include "base/rand.h"
#include "harness.h"
#include "mem/rxbuf.h"

static struct wr_view read_in(struct wr_rxbuf *rx, const char *text) {
  struct wr_room room;
  T_OK(wr_rxbuf_room(rx, strlen(text), &room));
  assert_true(room.len >= strlen(text));
  memcpy(room.ptr, text, strlen(text));
  return wr_rxbuf_take(rx, strlen(text));
}

static void reads_share_a_block(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_rxbuf rx;
  wr_rxbuf_init(&rx, p.slabs, 4096, WR_CHARGE_UPSTREAM);
  assert_int_equal(wr_slabs_live_blocks(p.slabs), 0); /* nothing before the first read */
  struct wr_view a = read_in(&rx, "first"), b = read_in(&rx, "second");
  assert_ptr_equal(a.block, b.block);
  assert_ptr_equal(a.ptr + a.len, b.ptr);
  struct wr_room room;
  T_OK(wr_rxbuf_room(&rx, 1, &room));
  assert_int_equal(room.len, 4096 - 11); /* the whole rest */
  struct wr_view none = wr_rxbuf_take(&rx, 0);
  assert_null(none.block);
  /* More than the rest: a new block; the old one lives as long as its views. */
  T_OK(wr_rxbuf_room(&rx, 4096, &room));
  assert_int_equal(wr_slabs_live_blocks(p.slabs), 2);
  t_span_is(wr_view_span(&a), "first");
  wr_view_drop(&a);
  t_span_is(wr_view_span(&b), "second");
  wr_view_drop(&b);
  assert_int_equal(wr_slabs_live_blocks(p.slabs), 1);
  wr_rxbuf_fini(&rx);
  t_pool_close(&p);
}

static void a_block_nobody_holds_starts_anew(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_rxbuf rx;
  wr_rxbuf_init(&rx, p.slabs, 4096, WR_CHARGE_UPSTREAM);
  struct wr_view v = read_in(&rx, "x");
  const char *start = v.ptr;
  wr_view_drop(&v);
  for (int i = 0; i < 10000; i++) {
    v = read_in(&rx, "an event that is used up within its turn");
    assert_ptr_equal(v.ptr, start);
    wr_view_drop(&v);
  }
  wr_rxbuf_fini(&rx);
  t_pool_close(&p);
}

/* Views with random lives; each keeps its bytes until it is dropped. */
static void model(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 4u << 20);
  struct wr_rand r;
  wr_rand_init(&r, 5);
  struct wr_rxbuf rx;
  wr_rxbuf_init(&rx, p.slabs, 16384, WR_CHARGE_UPSTREAM);
  struct { struct wr_view view; char seed; } held[40] = { { WR_VIEW_NONE, 0 } };
  for (int op = 0; op < 20000; op++) {
    size_t at = wr_rand_below(&r, 40);
    for (uint32_t i = 0; i < held[at].view.len; i++)
      assert_int_equal(held[at].view.ptr[i], held[at].seed);
    wr_view_drop(&held[at].view);
    size_t len = 1 + wr_rand_below(&r, 700);
    held[at].seed = (char)op;
    if (op & 1) {
      char bytes[700];
      memset(bytes, held[at].seed, len);
      T_OK(wr_rxbuf_append(&rx, wr_span_make(bytes, len), &held[at].view));
    } else {
      struct wr_room room;
      T_OK(wr_rxbuf_room(&rx, len, &room));
      memset(room.ptr, held[at].seed, len);
      held[at].view = wr_rxbuf_take(&rx, len);
    }
    assert_int_equal(held[at].view.len, len);
  }
  for (int i = 0; i < 40; i++) wr_view_drop(&held[i].view);
  wr_rxbuf_fini(&rx);
  t_pool_close(&p);
}

static void a_full_pool_is_survived(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 64u << 10);
  struct wr_rxbuf rx;
  wr_rxbuf_init(&rx, p.slabs, 65536, WR_CHARGE_CLIENT); /* more than a slab: cut to it */
  struct wr_room room;
  struct wr_block *held[17];
  size_t n = 0;
  while ((held[n] = wr_slabs_alloc(p.slabs, 4096, WR_CHARGE_CLIENT))) n++;
  assert_int_equal(wr_rxbuf_room(&rx, 1, &room), WR_E_POOL_FULL);
  struct wr_view v;
  assert_int_equal(wr_rxbuf_append(&rx, WR_SPAN("abc"), &v), WR_E_POOL_FULL);
  assert_null(v.block);
  wr_block_unref(held[--n]);
  struct wr_block *small = wr_slabs_alloc(p.slabs, 2048, WR_CHARGE_CLIENT);
  assert_non_null(small);
  T_OK(wr_rxbuf_room(&rx, 100, &room)); /* a smaller block than asked for, but a read */
  assert_int_equal(room.len, 256 <= room.len && room.len <= 2048 ? room.len : 0);
  wr_block_unref(small);
  while (n) wr_block_unref(held[--n]);
  wr_rxbuf_fini(&rx);
  t_pool_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(reads_share_a_block),
    cmocka_unit_test(a_block_nobody_holds_starts_anew),
    cmocka_unit_test(model),
    cmocka_unit_test(a_full_pool_is_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

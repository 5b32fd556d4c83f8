#include "base/rand.h"
#include "harness.h"
#include "mem/viewq.h"

static struct wr_view view_of(struct t_pool *p, const char *text, size_t block_bytes) {
  struct wr_block *b = wr_slabs_alloc(p->slabs, block_bytes, WR_CHARGE_CLIENT);
  assert_non_null(b);
  memcpy(b->data, text, strlen(text));
  return wr_view_take(b, 0, strlen(text));
}

static void queue_is(const struct wr_viewq *q, const char *want) {
  char text[64 * 260];
  size_t at = 0;
  for (size_t i = 0; i < q->count; i++) {
    struct wr_span s = wr_view_span(wr_viewq_peek(q, i));
    assert_true(at + s.len < sizeof text);
    memcpy(text + at, s.ptr, s.len);
    at += s.len;
  }
  assert_int_equal(q->bytes, at);
  t_span_is(wr_span_make(text, at), want);
}

static void neighbours_are_joined(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_view all = view_of(&p, "abcdefghij", 256);
  struct wr_viewq q;
  wr_viewq_init(&q);
  static const size_t cut[] = { 0, 3, 4, 4, 9, 10 }; /* one piece is empty */
  for (int i = 0; i < 5; i++) {
    struct wr_view v = wr_view_sub(&all, cut[i], cut[i + 1] - cut[i]);
    T_OK(wr_viewq_push(&q, p.slabs, &v));
    assert_null(v.block);
  }
  assert_int_equal(q.count, 1);
  assert_int_equal(all.block->refs, 2);
  queue_is(&q, "abcdefghij");
  wr_viewq_consume(&q, 4);
  struct wr_view back = wr_view_sub(&all, 1, 3);
  T_OK(wr_viewq_unshift(&q, p.slabs, &back)); /* touches in front */
  assert_int_equal(q.count, 1);
  queue_is(&q, "bcdefghij");
  back = wr_view_sub(&all, 0, 2); /* overlaps: not a neighbour */
  T_OK(wr_viewq_unshift(&q, p.slabs, &back));
  assert_int_equal(q.count, 2);
  queue_is(&q, "abbcdefghij");
  struct wr_view fixed = wr_view_static(WR_SPAN("!"));
  T_OK(wr_viewq_push(&q, p.slabs, &fixed));
  assert_int_equal(q.count, 3);
  assert_non_null(q.more);
  queue_is(&q, "abbcdefghij!");
  static const char two[] = "?.";
  for (size_t i = 0; i < 2; i++) { /* static bytes may touch by chance: never joined */
    fixed = wr_view_static(wr_span_make(two + i, 1));
    T_OK(wr_viewq_push(&q, p.slabs, &fixed));
  }
  assert_int_equal(q.count, 5);
  wr_viewq_consume(&q, q.bytes);
  assert_true(wr_viewq_empty(&q));
  assert_null(q.more);
  assert_int_equal(all.block->refs, 1);
  wr_view_drop(&all);
  wr_viewq_fini(&q);
  t_pool_close(&p);
}

static void gather_and_shift(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_viewq q;
  wr_viewq_init(&q);
  const char *text[] = { "one", "two", "three", "four" };
  for (int i = 0; i < 4; i++) {
    struct wr_view v = view_of(&p, text[i], 256);
    T_OK(wr_viewq_push(&q, p.slabs, &v));
  }
  struct wr_span spans[8];
  assert_int_equal(wr_viewq_gather(&q, spans, 2), 2);
  assert_int_equal(wr_viewq_gather(&q, spans, 8), 4);
  for (int i = 0; i < 4; i++) t_span_is(spans[i], text[i]);
  struct wr_view v;
  for (int i = 0; i < 4; i++) {
    assert_true(wr_viewq_shift(&q, &v));
    t_span_is(wr_view_span(&v), text[i]);
    wr_view_drop(&v);
  }
  assert_false(wr_viewq_shift(&q, &v));
  assert_null(v.block);
  wr_viewq_fini(&q);
  t_pool_close(&p);
}

/* Views of a few blocks, in random pieces, against a flat copy of the bytes. */
#define FLAT (1u << 20)

static void model(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 4u << 20);
  struct wr_rand r;
  wr_rand_init(&r, 3);
  static char flat[FLAT];
  size_t head = FLAT / 2, tail = FLAT / 2;
  struct wr_viewq q;
  wr_viewq_init(&q);
  struct wr_view src[4];
  for (size_t i = 0; i < 4; i++) {
    struct wr_block *b = wr_slabs_alloc(p.slabs, 16384, WR_CHARGE_UPSTREAM);
    assert_non_null(b);
    for (uint32_t k = 0; k < b->cap; k++) b->data[k] = (char)wr_rand_u64(&r);
    src[i] = wr_view_take(b, 0, b->cap);
  }
  size_t copied = 0, most = 0;
  for (int op = 0; op < 8000; op++) {
    const struct wr_view *from = &src[wr_rand_below(&r, 4)];
    size_t len = wr_rand_below(&r, wr_rand_below(&r, 8) ? 200 : 9000);
    struct wr_view v = wr_view_sub(from, wr_rand_below(&r, from->len - len), len);
    uint64_t what = wr_rand_below(&r, 100);
    bool back = q.bytes > 100000 || op / 1000 % 2; /* phases that grow and that drain */
    if (what < (back ? 25 : 60)) {
      assert_true(tail + len <= FLAT);
      memcpy(flat + tail, v.ptr, len);
      tail += len;
      T_OK(wr_viewq_push(&q, p.slabs, &v));
    } else if (what < (back ? 28 : 66)) {
      assert_true(head >= len);
      memcpy(flat + (head -= len), v.ptr, len);
      T_OK(wr_viewq_unshift(&q, p.slabs, &v));
    } else {
      wr_view_drop(&v);
      size_t n = wr_rand_below(&r, q.bytes + 1);
      if (!wr_rand_below(&r, 4)) T_OK(wr_viewq_compact(&q, p.slabs, WR_CHARGE_CLIENT, &copied));
      if (!wr_rand_below(&r, 4)) T_OK(wr_viewq_pack(&q, p.slabs, WR_CHARGE_CLIENT, &copied));
      wr_viewq_consume(&q, n > 5000 ? 5000 : n);
      head += n > 5000 ? 5000 : n;
    }
    most = q.count > most ? q.count : most;
    assert_int_equal(q.bytes, tail - head);
    size_t at = head;
    for (size_t i = 0; i < q.count; i++) {
      struct wr_span s = wr_view_span(wr_viewq_peek(&q, i));
      assert_memory_equal(s.ptr, flat + at, s.len);
      at += s.len;
    }
    assert_int_equal(at, tail);
    if (q.bytes == 0) {
      assert_null(q.more);
      head = tail = FLAT / 2;
    } else if (tail + 20000 > FLAT || head < 20000) {
      memmove(flat + FLAT / 2, flat + head, q.bytes);
      head = FLAT / 2;
      tail = head + q.bytes;
    }
  }
  assert_true(most > 20 && copied > 0);
  wr_viewq_fini(&q);
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(src[i].block->refs, 1);
    wr_view_drop(&src[i]);
  }
  t_pool_close(&p);
}

static void compaction_frees_what_a_slow_reader_pins(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_viewq q;
  wr_viewq_init(&q);
  for (int i = 0; i < 6; i++) {
    struct wr_view v = view_of(&p, i % 2 ? "odd " : "even ", 16384);
    T_OK(wr_viewq_push(&q, p.slabs, &v));
  }
  struct wr_view small = view_of(&p, "fits", 256);
  T_OK(wr_viewq_push(&q, p.slabs, &small));
  size_t before = wr_slabs_live_bytes(p.slabs), copied = 0;
  T_OK(wr_viewq_compact(&q, p.slabs, WR_CHARGE_CLIENT, &copied));
  assert_int_equal(copied, 3 * 9);
  assert_int_equal(q.count, 2); /* the run in one block, and what fitted before */
  queue_is(&q, "even odd even odd even odd fits");
  assert_true(before >= 6 * 16384);
  assert_true(wr_slabs_live_bytes(p.slabs) <= 3 * 256);
  T_OK(wr_viewq_compact(&q, p.slabs, WR_CHARGE_CLIENT, &copied));
  assert_int_equal(copied, 3 * 9); /* the second time there is nothing to do */
  wr_viewq_fini(&q);
  t_pool_close(&p);
}

/* Whatever the pieces, what is packed takes an eighth more than its bytes, and a ring. */
static void packing_leaves_an_eighth(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  for (size_t pieces = 1; pieces <= 60; pieces++) {
    struct wr_viewq q;
    wr_viewq_init(&q);
    char text[64 * 260 + 1];
    size_t len = 0, copied = 0;
    for (size_t i = 0; i < pieces; i++) {
      char one[260];
      size_t n = 1 + (i * 97 + pieces) % 250;
      memset(one, (int)('a' + i % 26), n);
      one[n] = 0;
      struct wr_view v = view_of(&p, one, 4096);
      memcpy(text + len, one, n + 1);
      len += n;
      T_OK(wr_viewq_push(&q, p.slabs, &v));
    }
    T_OK(wr_viewq_pack(&q, p.slabs, WR_CHARGE_CLIENT, &copied));
    assert_int_equal(copied, len);
    queue_is(&q, text);
    size_t ring = q.more ? q.more->cap : 0;
    assert_in_range(wr_slabs_live_bytes(p.slabs) - ring, len, len + len / 8 + 256);
    T_OK(wr_viewq_pack(&q, p.slabs, WR_CHARGE_CLIENT, &copied));
    assert_true(copied == len || ring); /* a large ring may be worth another try */
    queue_is(&q, text);
    wr_viewq_fini(&q);
  }
  t_pool_close(&p);
}

static void a_full_pool_loses_nothing_but_the_new_piece(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_viewq q;
  wr_viewq_init(&q);
  struct wr_view v = view_of(&p, "a", 16384);
  T_OK(wr_viewq_push(&q, p.slabs, &v));
  struct wr_view c = view_of(&p, "c", 256), d = wr_view_keep(&c);
  struct wr_mem_debug fail = { .fail_nth = 1, .fail_every = true };
  wr_mem_debug_set(&fail);
  size_t copied = 0;
  assert_int_equal(wr_viewq_push(&q, p.slabs, &c), WR_E_POOL_FULL);
  assert_null(c.block);
  assert_int_equal(d.block->refs, 1);
  assert_int_equal(wr_viewq_unshift(&q, p.slabs, &d), WR_E_POOL_FULL);
  assert_null(d.block);
  assert_int_equal(wr_viewq_compact(&q, p.slabs, WR_CHARGE_CLIENT, &copied), WR_E_POOL_FULL);
  assert_int_equal(wr_viewq_pack(&q, p.slabs, WR_CHARGE_CLIENT, &copied), WR_E_POOL_FULL);
  assert_int_equal(copied, 0);
  queue_is(&q, "a");
  wr_mem_debug_set(&(struct wr_mem_debug){ .owners = true });
  wr_viewq_fini(&q);
  t_pool_close(&p);
}

static void the_ring_has_an_end(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_viewq q;
  wr_viewq_init(&q);
  size_t n = 0;
  enum wr_err err;
  for (;; n++) {
    struct wr_view v = wr_view_static(WR_SPAN("x"));
    err = wr_viewq_push(&q, p.slabs, &v);
    if (err != WR_OK) break;
  }
  assert_int_equal(err, WR_E_POOL_FULL);
  assert_int_equal(n, 65536 / sizeof(struct wr_view));
  assert_int_equal(q.bytes, n);
  wr_viewq_fini(&q);
  t_pool_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(neighbours_are_joined),
    cmocka_unit_test(gather_and_shift),
    cmocka_unit_test(model),
    cmocka_unit_test(compaction_frees_what_a_slow_reader_pins),
    cmocka_unit_test(packing_leaves_an_eighth),
    cmocka_unit_test(a_full_pool_loses_nothing_but_the_new_piece),
    cmocka_unit_test(the_ring_has_an_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

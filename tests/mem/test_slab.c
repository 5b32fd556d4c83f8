#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rand.h"
#include "harness.h"

static void classes(void **state) {
  (void)state;
  for (size_t n = 1; n <= 65536; n++) {
    unsigned c = wr_slab_class(n);
    assert_true((size_t)256 << c >= n);
    assert_true(c == 0 || (size_t)256 << (c - 1) < n);
  }
}

#define HELD 300

struct shadow {
  struct wr_block *block;
  size_t len;
  uint32_t refs;
  unsigned char seed;
};

static void fill(struct shadow *s, struct wr_rand *r) {
  s->seed = (unsigned char)wr_rand_u64(r);
  for (size_t i = 0; i < s->len; i++) s->block->data[i] = (char)(s->seed + i * 7);
}

static void same(const struct shadow *s) {
  assert_int_equal(s->block->refs, s->refs);
  for (size_t i = 0; i < s->len; i++)
    if ((unsigned char)s->block->data[i] != (unsigned char)(s->seed + i * 7))
      fail_msg("byte %zu of a block of %zu changed", i, s->len);
}

/* Random allocations, references, recharges and frees against a shadow that knows every byte. */
static void model(size_t memory_bytes, uint64_t seed, int ops) {
  struct t_pool p;
  t_pool_open(&p, memory_bytes);
  struct wr_rand r;
  wr_rand_init(&r, seed);
  static struct shadow held[HELD];
  size_t n = 0, by_charge[WR_CHARGES] = { 0 }, refused = 0;
  for (int op = 0; op < ops; op++) {
    enum wr_charge charge = (enum wr_charge)wr_rand_below(&r, WR_CHARGES);
    if (charge == WR_CHARGE_LUA) charge = WR_CHARGE_CLIENT;
    uint64_t what = wr_rand_below(&r, 100);
    size_t at = n ? wr_rand_below(&r, n) : 0;
    if (what < 50 && n < HELD) {
      size_t max = wr_slabs_max_block(p.slabs);
      struct shadow s = { NULL, 1 + wr_rand_below(&r, max >> wr_rand_below(&r, 8)), 1, 0 };
      s.block = wr_slabs_alloc(p.slabs, s.len, charge);
      if (!s.block) {
        refused++;
        continue;
      }
      assert_true(s.block->cap >= s.len);
      fill(&s, &r);
      by_charge[charge] += s.block->cap;
      held[n++] = s;
    } else if (what < 60 && n) {
      wr_block_ref(held[at].block);
      held[at].refs++;
    } else if (what < 65 && n) {
      by_charge[held[at].block->charge] -= held[at].block->cap;
      by_charge[charge] += held[at].block->cap;
      wr_block_recharge(held[at].block, charge);
    } else if (n) {
      same(&held[at]);
      if (held[at].refs == 1) by_charge[held[at].block->charge] -= held[at].block->cap;
      wr_block_unref(held[at].block);
      if (--held[at].refs == 0) held[at] = held[--n];
    }
    if (op % 64 == 0) {
      wr_slabs_tick(p.slabs);
      assert_int_equal(wr_slabs_live_blocks(p.slabs), n);
      for (int c = 0; c < WR_CHARGES; c++)
        assert_int_equal(wr_ledger_bytes(p.ledger, (enum wr_charge)c), by_charge[c]);
    }
  }
  if (memory_bytes <= 256u << 10) assert_true(refused > 0); /* a small pool must have been full */
  while (n) {
    same(&held[--n]);
    while (held[n].refs--) wr_block_unref(held[n].block);
  }
  t_pool_close(&p);
}

/* Both ways to a block: the short one, and the one that debug switches take. */
static void model_both(size_t memory_bytes, uint64_t seed) {
  wr_mem_debug_set(&(struct wr_mem_debug){ .poison = true });
  model(memory_bytes, seed, 5000);
  wr_mem_debug_set(&(struct wr_mem_debug){ .poison = false });
  model(memory_bytes, seed, 5000);
}

static void model_small(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 4; seed++) model_both(64u << 10, seed);
}
static void model_middle(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 2; seed++) model_both(256u << 10, seed);
}
static void model_large(void **state) {
  (void)state;
  model_both(16u << 20, 9);
}

static void exhaustion_and_recovery(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 64u << 10);
  static struct wr_block *held[1024];
  for (int round = 0; round < 3; round++) {
    /* The class that drains gets the whole pool, to the last byte. */
    size_t n = 0;
    while ((held[n] = wr_slabs_alloc(p.slabs, 256, WR_CHARGE_CLIENT))) n++;
    assert_int_equal(n, 256);
    assert_int_equal(wr_slabs_live_bytes(p.slabs), 64u << 10);
    assert_null(wr_slabs_alloc(p.slabs, 4096, WR_CHARGE_CLIENT));
    while (n) wr_block_unref(held[--n]);
    /* All of it can be had in another size: the spare slabs of the small class come back. */
    while ((held[n] = wr_slabs_alloc(p.slabs, 4096, WR_CHARGE_CLIENT))) n++;
    assert_int_equal(n, 16);
    wr_block_unref(held[--n]);
    struct wr_block *last = wr_slabs_alloc(p.slabs, 4096, WR_CHARGE_CLIENT);
    assert_non_null(last);
    wr_block_unref(last);
    while (n) wr_block_unref(held[--n]);
    assert_int_equal(wr_depot_free_slabs(p.depot), 15); /* one spare */
  }
  t_pool_close(&p);
}

static void the_least_needed_fail_first(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  static struct wr_block *held[64];
  size_t n = 0;
  static const struct { enum wr_charge charge; size_t slabs; } steps[] = {
    { WR_CHARGE_IDLE, 11 }, { WR_CHARGE_HEAD, 14 }, { WR_CHARGE_UPSTREAM, 15 },
    { WR_CHARGE_CLIENT, 16 },
  };
  for (size_t i = 0; i < 4; i++) {
    struct wr_block *b;
    while ((b = wr_slabs_alloc(p.slabs, 64u << 10, steps[i].charge))) held[n++] = b;
    assert_int_equal(n, steps[i].slabs);
    assert_int_equal(wr_ledger_refusals(p.ledger, steps[i].charge), 1);
  }
  while (n) wr_block_unref(held[--n]);
  /* Slabs that are broken into are kept from them as well, though hardly a byte is in use. */
  for (unsigned c = 0; c < 8; c++) held[n++] = wr_slabs_alloc(p.slabs, 256u << c, WR_CHARGE_CLIENT);
  while ((held[n] = wr_slabs_alloc(p.slabs, 64u << 10, WR_CHARGE_IDLE))) n++;
  assert_true(wr_depot_free_slabs(p.depot) >= 4);
  while (n) wr_block_unref(held[--n]);
  t_pool_close(&p);
}

/* The owner needn't wait for its tick when the pool is full. */
static void a_full_pool_looks_at_what_came_back(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 64u << 10);
  static struct wr_block *held[17];
  size_t n = 0;
  while ((held[n] = wr_slabs_alloc(p.slabs, 4096, WR_CHARGE_CLIENT))) n++;
  wr_block_give_remote(held[--n]);
  wr_block_give_remote(held[--n]);
  assert_int_equal(wr_slabs_live_blocks(p.slabs), 16);
  held[n] = wr_slabs_alloc(p.slabs, 4096, WR_CHARGE_CLIENT);
  assert_non_null(held[n]);
  assert_int_equal(wr_slabs_live_blocks(p.slabs), 15);
  n++;
  while (n) wr_block_unref(held[--n]);
  t_pool_close(&p);
}

/* The last slab of the depot is broken into by the small class: a larger free block serves then. */
static void a_larger_block_serves(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 64u << 10);
  static struct wr_block *held[64];
  size_t n = 0;
  while ((held[n] = wr_slabs_alloc(p.slabs, 2048, WR_CHARGE_CLIENT))) n++;
  assert_int_equal(n, 32);
  wr_block_unref(held[--n]);
  struct wr_block *b = wr_slabs_alloc(p.slabs, 100, WR_CHARGE_CLIENT);
  assert_non_null(b);
  assert_int_equal(b->cap, 2048);
  wr_block_unref(b);
  while (n) wr_block_unref(held[--n]);
  t_pool_close(&p);
}

static void no_thrash_at_a_slab_edge(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 64u << 10);
  size_t least = SIZE_MAX, most = 0;
  for (int i = 0; i < 100; i++) {
    struct wr_block *b = wr_slabs_alloc(p.slabs, 4096, WR_CHARGE_CLIENT);
    assert_non_null(b);
    wr_block_unref(b);
    size_t left = wr_depot_free_slabs(p.depot);
    least = left < least ? left : least;
    most = left > most ? left : most;
  }
  assert_int_equal(least, 15);
  assert_int_equal(most, 15);
  t_pool_close(&p);
}

/* What nobody uses goes all the way back: no class keeps a slab. */
static void trimming_keeps_no_spare(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 4u << 20);
  size_t all = wr_depot_free_slabs(p.depot);
  for (size_t bytes = 256; bytes <= wr_slabs_max_block(p.slabs); bytes *= 2) {
    struct wr_block *b = wr_slabs_alloc(p.slabs, bytes, WR_CHARGE_CLIENT);
    assert_non_null(b);
    wr_block_unref(b);
  }
  assert_true(wr_depot_free_slabs(p.depot) < all);
  (void)wr_slabs_trim(p.slabs);
  assert_int_equal(wr_depot_free_slabs(p.depot), all);
  for (int i = 0; i < 300; i++) { /* descriptors whose pages are gone are made anew */
    struct wr_block *b = wr_slabs_alloc(p.slabs, 256, WR_CHARGE_CLIENT);
    assert_non_null(b);
    memset(b->data, i, b->cap);
    wr_block_unref(b);
  }
  t_pool_close(&p);
}

static void the_nth_allocation_fails(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_mem_debug d = { .poison = false, .fail_nth = 3, .fail_every = true, .owners = true };
  wr_mem_debug_set(&d);
  for (int i = 1; i <= 12; i++) {
    struct wr_block *b = wr_slabs_alloc(p.slabs, 256, WR_CHARGE_HEAD);
    assert_int_equal(b == NULL, i % 3 == 0);
    if (b) wr_block_unref(b);
  }
  d.fail_every = false;
  wr_mem_debug_set(&d);
  for (int i = 1; i <= 12; i++) {
    struct wr_block *b = wr_slabs_alloc(p.slabs, 256, WR_CHARGE_HEAD);
    assert_int_equal(b == NULL, i == 3);
    if (b) wr_block_unref(b);
  }
  d = (struct wr_mem_debug){ .owners = true };
  wr_mem_debug_set(&d);
  t_pool_close(&p);
  wr_heap_fail_at(1, false);
  struct wr_slabs *s;
  struct wr_depot *depot;
  struct wr_ledger *ledger;
  assert_int_equal(wr_ledger_new(1, NULL, &ledger), WR_E_NOMEM);
  T_OK(wr_depot_new(64u << 10, &depot));
  T_OK(wr_ledger_new(64u << 10, NULL, &ledger));
  wr_heap_fail_at(1, false);
  assert_int_equal(wr_slabs_new(depot, ledger, &s), WR_E_NOMEM);
  wr_heap_fail_at(0, false);
  wr_ledger_free(ledger);
  wr_depot_free(depot);
}

struct lines {
  char text[512];
};

static void lines_add(void *ctx, const char *line) {
  struct lines *l = ctx;
  size_t at = strlen(l->text);
  snprintf(l->text + at, sizeof l->text - at, "%s\n", line);
}

/* One place in the program, however the compiler unrolls the loop around it. */
__attribute__((noinline)) static struct wr_block *take_here(struct t_pool *p) {
  struct wr_block *b = wr_slabs_alloc(p->slabs, 300, WR_CHARGE_KEPT_VIEW);
  assert_non_null(b);
  return b;
}

static void the_report_names_holders(void **state) {
  (void)state;
  struct wr_mem_debug d = { .owners = true };
  wr_mem_debug_set(&d);
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  struct wr_block *b[3];
  for (int i = 0; i < 2; i++) b[i] = take_here(&p);
  b[2] = wr_slabs_alloc(p.slabs, 300, WR_CHARGE_KEPT_VIEW); /* another place in the program */
  assert_non_null(b[2]);
  struct lines l = { "" };
  wr_slabs_report(p.slabs, lines_add, &l);
  unsigned at[2] = { 0, 0 };
  size_t blocks[2] = { 0, 0 }, bytes[2] = { 0, 0 };
  assert_int_equal(sscanf(l.text,
                          "charge=kept_view at=0x%x blocks=%zu bytes=%zu\n"
                          "charge=kept_view at=0x%x blocks=%zu bytes=%zu\n",
                          &at[0], &blocks[0], &bytes[0], &at[1], &blocks[1], &bytes[1]),
                   6);
  assert_true(at[0] != 0 && at[1] != 0 && at[0] != at[1]);
  assert_int_equal(blocks[0] + blocks[1], 3);
  assert_int_equal(bytes[0] + bytes[1], 1536);
  for (int i = 0; i < 3; i++) wr_block_unref(b[i]);
  t_pool_close(&p);
}

static void leaks_are_counted(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  for (int i = 0; i < 5; i++) assert_non_null(wr_slabs_alloc(p.slabs, 256, WR_CHARGE_HEAD));
  assert_int_equal(wr_slabs_free(p.slabs), 5);
  assert_int_equal(wr_ledger_used_bytes(p.ledger), 0);
  T_OK(wr_slabs_new(p.depot, p.ledger, &p.slabs));
  t_pool_close(&p);
}

/* A child writes into a freed block; the next allocation must end it (the sanitizer ends it
 * sooner). */
static int child_status(void (*run)(void)) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    if (!freopen("/dev/null", "w", stderr)) _exit(0);
    run();
    _exit(0);
  }
  assert_true(pid > 0);
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

static struct wr_slabs *child_slabs(void) {
  struct wr_mem_debug d = { .poison = true };
  wr_mem_debug_set(&d);
  struct wr_depot *depot;
  struct wr_ledger *ledger;
  struct wr_slabs *s;
  if (wr_depot_new(1u << 20, &depot) || wr_ledger_new(1u << 20, NULL, &ledger) ||
      wr_slabs_new(depot, ledger, &s))
    _exit(0);
  return s;
}

static void use_after_free(void) {
  struct wr_slabs *s = child_slabs();
  struct wr_block *b = wr_slabs_alloc(s, 256, WR_CHARGE_HEAD);
  if (!b) _exit(0);
  char *data = b->data;
  wr_block_unref(b);
  *(volatile char *)(data + 100) = 'x';
  b = wr_slabs_alloc(s, 256, WR_CHARGE_HEAD);
  (void)b;
}

static void double_free(void) {
  struct wr_slabs *s = child_slabs();
  struct wr_block *b = wr_slabs_alloc(s, 256, WR_CHARGE_HEAD);
  if (!b) _exit(0);
  wr_block_unref(b);
  b->refs = 1;
  wr_block_unref(b);
}

static void no_fault(void) {
  struct wr_slabs *s = child_slabs();
  for (int i = 0; i < 3; i++) {
    struct wr_block *b = wr_slabs_alloc(s, 256, WR_CHARGE_HEAD);
    if (!b) _exit(1);
    memset(b->data, i, b->cap);
    wr_block_unref(b);
  }
}

static void poison_finds_late_writers(void **state) {
  (void)state;
  assert_int_equal(child_status(no_fault), 0);
  assert_int_not_equal(child_status(use_after_free), 0);
  assert_int_not_equal(child_status(double_free), 0);
}

/* --- Four workers; each frees what its neighbour allocated. */

#define WORKERS 4
#define MAILBOX 64

struct mailbox {
  _Atomic(struct wr_block *) slot[MAILBOX];
};

struct worker {
  struct wr_depot *depot;
  struct wr_ledger *ledger;
  struct mailbox *in;
  struct mailbox *out;
  uint32_t id;
  size_t remote;
  size_t left;
};

static pthread_barrier_t barrier;

static void remote_free(struct worker *w, struct wr_block *b) {
  WR_CHECK(b->data[0] == b->data[b->cap - 1]);
  w->remote++;
  wr_block_give_remote(b);
}

static void *worker_run(void *arg) {
  struct worker *w = arg;
  struct wr_slabs *s;
  struct wr_rand r;
  wr_rand_init(&r, w->id);
  WR_CHECK(wr_slabs_new(w->depot, w->ledger, &s) == WR_OK);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 8000; i++) {
    size_t at = wr_rand_below(&r, MAILBOX);
    struct wr_block *got = atomic_exchange_explicit(&w->in->slot[at], NULL, memory_order_acq_rel);
    if (got) remote_free(w, got);
    struct wr_block *b = wr_slabs_alloc(s, 1 + wr_rand_below(&r, 4096), WR_CHARGE_CLIENT);
    if (b) {
      b->data[0] = b->data[b->cap - 1] = (char)i;
      struct wr_block *none = NULL;
      if (!atomic_compare_exchange_strong_explicit(&w->out->slot[at], &none, b,
                                                   memory_order_acq_rel, memory_order_relaxed))
        wr_block_unref(b);
    }
    if (i % 50 == 0) wr_slabs_tick(s);
  }
  pthread_barrier_wait(&barrier);
  for (size_t i = 0; i < MAILBOX; i++) {
    struct wr_block *got = atomic_exchange(&w->in->slot[i], NULL);
    if (got) remote_free(w, got);
  }
  pthread_barrier_wait(&barrier);
  w->left = wr_slabs_free(s);
  return NULL;
}

static void remote_frees_come_home(void **state) {
  (void)state;
  struct wr_mem_debug d = { .poison = false };
  wr_mem_debug_set(&d);
  struct t_heap heap;
  t_heap_mark(&heap);
  struct wr_depot *depot;
  struct wr_ledger *ledger;
  T_OK(wr_depot_new(2u << 20, &depot));
  T_OK(wr_ledger_new(2u << 20, NULL, &ledger));
  static struct mailbox boxes[WORKERS];
  struct worker w[WORKERS];
  pthread_t t[WORKERS];
  assert_int_equal(pthread_barrier_init(&barrier, NULL, WORKERS), 0);
  for (uint32_t i = 0; i < WORKERS; i++) {
    w[i] = (struct worker){ depot, ledger, &boxes[i], &boxes[(i + 1) % WORKERS], i + 1, 0, 0 };
    assert_int_equal(pthread_create(&t[i], NULL, worker_run, &w[i]), 0);
  }
  for (int i = 0; i < WORKERS; i++) {
    pthread_join(t[i], NULL);
    assert_int_equal(w[i].left, 0);
    assert_true(w[i].remote > 0);
  }
  pthread_barrier_destroy(&barrier);
  assert_int_equal(wr_ledger_used_bytes(ledger), 0);
  assert_int_equal(wr_depot_free_slabs(depot), wr_depot_slab_count(depot));
  wr_ledger_free(ledger);
  wr_depot_free(depot);
  t_heap_check(&heap);
}

static void an_allocation_calls_no_malloc(void **state) {
  (void)state;
  struct t_pool p;
  t_pool_open(&p, 1u << 20);
  uint64_t calls = wr_heap_calls();
  for (int i = 0; i < 1000; i++) {
    struct wr_block *b = wr_slabs_alloc(p.slabs, 256u << (i % 9), WR_CHARGE_CLIENT);
    assert_non_null(b);
    wr_block_unref(b);
    wr_slabs_tick(p.slabs);
  }
  assert_int_equal(wr_heap_calls(), calls);
  t_pool_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(classes),
    cmocka_unit_test(model_small),
    cmocka_unit_test(model_middle),
    cmocka_unit_test(model_large),
    cmocka_unit_test(exhaustion_and_recovery),
    cmocka_unit_test(the_least_needed_fail_first),
    cmocka_unit_test(a_full_pool_looks_at_what_came_back),
    cmocka_unit_test(a_larger_block_serves),
    cmocka_unit_test(no_thrash_at_a_slab_edge),
    cmocka_unit_test(poison_finds_late_writers),
    cmocka_unit_test(trimming_keeps_no_spare),
    cmocka_unit_test(the_nth_allocation_fails),
    cmocka_unit_test(the_report_names_holders),
    cmocka_unit_test(leaks_are_counted),
    cmocka_unit_test(remote_frees_come_home),
    cmocka_unit_test(an_allocation_calls_no_malloc),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The adaptive limit against a made-up server that serves so many streams at a time without delay,
 * for hours with a made-up clock. */
#include "harness.h"

#include "base/rand.h"
#include "upstream/limit.h"

#define MIN 8u
#define MAX 256u
#define STREAMS 512u
#define STEP_MS 20u
#define MINUTE (60u * 1000u)

struct stream {
  uint64_t began_ms, token_ms, end_ms; /* end 0: free; token 0: was heard */
};

/* The first token takes base_ms while no more than `fits` streams run, then in proportion; prompts
 * differ by a factor of four. */
struct sim {
  struct wr_limit limit;
  struct wr_rand rand;
  double base_ms, fits, per_s;
  uint32_t running, low, high; /* of the limit, since `watch` */
  uint64_t now_ms, served, refused, waited_ms;
  struct stream streams[STREAMS];
};

/* Uniform in [0, 1). */
static double unit(struct wr_rand *r) { return (double)(wr_rand_u64(r) >> 11) * 0x1.0p-53; }

static void open_sim(struct sim *s, double base_ms, double fits, double per_s) {
  memset(s, 0, sizeof *s);
  s->base_ms = base_ms;
  s->fits = fits;
  s->per_s = per_s;
  s->now_ms = 1;
  wr_rand_init(&s->rand, 42);
}

static void arrive(struct sim *s) {
  if (s->running >= wr_limit_streams(&s->limit, MIN)) {
    s->refused++;
    return;
  }
  for (unsigned i = 0; i < STREAMS; i++) {
    struct stream *t = &s->streams[i];
    if (t->end_ms) continue;
    s->running++;
    s->served++;
    double load = s->running > s->fits ? s->running / s->fits : 1;
    double took = s->base_ms * load * (0.5 + 1.5 * unit(&s->rand));
    t->began_ms = s->now_ms;
    t->token_ms = s->now_ms + (uint64_t)took + 1;
    t->end_ms = t->token_ms + 1000 + wr_rand_below(&s->rand, 4000);
    return;
  }
}

static void step(struct sim *s) {
  s->now_ms += STEP_MS;
  for (unsigned i = 0; i < STREAMS; i++) {
    struct stream *t = &s->streams[i];
    if (!t->end_ms) continue;
    if (t->token_ms && t->token_ms <= s->now_ms) {
      uint64_t took = t->token_ms - t->began_ms;
      s->waited_ms += took;
      t->token_ms = 0;
      (void)wr_limit_sample(&s->limit, MIN, MAX, (uint32_t)took * 1000, s->running, s->now_ms);
    }
    if (t->end_ms <= s->now_ms) {
      t->end_ms = 0;
      s->running--;
    }
  }
  double due = s->per_s * STEP_MS / 1000;
  for (; due >= 1; due--) arrive(s);
  if (unit(&s->rand) < due) arrive(s);
  if (s->limit.look) return; /* it has stepped back for a moment */
  uint32_t is = wr_limit_streams(&s->limit, MIN);
  if (is < s->low) s->low = is;
  if (is > s->high) s->high = is;
}

static void run(struct sim *s, uint64_t ms) {
  for (uint64_t end = s->now_ms + ms; s->now_ms < end;) step(s);
}

static void watch(struct sim *s) {
  s->low = UINT32_MAX;
  s->high = 0;
  s->served = s->refused = s->waited_ms = 0;
}

/* Far too much comes: the limit finds what the server can do and stays there. */
static void finds_and_stays(void **state) {
  (void)state;
  static struct sim s;
  open_sim(&s, 200, 60, 100);
  run(&s, 10 * MINUTE);
  watch(&s);
  run(&s, 3 * 60 * MINUTE);
  assert_in_range(s.low, 45, 120);
  assert_in_range(s.high, 60, 140);
  assert_true(s.high < s.low * 2); /* it doesn't swing */
  assert_true(s.waited_ms / s.served < 600);
}

/* The server gets half as strong, then well again. */
static void follows(void **state) {
  (void)state;
  static struct sim s;
  open_sim(&s, 200, 80, 120);
  run(&s, 10 * MINUTE);
  s.fits = 20;
  run(&s, 10 * MINUTE);
  watch(&s);
  run(&s, 10 * MINUTE);
  assert_in_range(s.high, MIN, 60);
  s.fits = 80;
  run(&s, 10 * MINUTE);
  watch(&s);
  run(&s, 10 * MINUTE);
  assert_in_range(s.low, 55, 160);
}

/* Prompts get three times as long for good: that is no load, and the limit comes back. */
static void learns_longer_prompts(void **state) {
  (void)state;
  static struct sim s;
  open_sim(&s, 100, 60, 100);
  run(&s, 10 * MINUTE);
  s.base_ms = 300;
  run(&s, 30 * MINUTE);
  watch(&s);
  run(&s, 10 * MINUTE);
  assert_true(s.low >= 30);
}

/* Little comes: the limit doesn't wander, and only a rare burst at the beginning meets it. */
static void little_traffic(void **state) {
  (void)state;
  static struct sim s;
  open_sim(&s, 200, 60, 1);
  watch(&s);
  run(&s, 12 * 60 * MINUTE);
  assert_true(s.refused < 20);
  assert_in_range(s.high, MIN, 24);
}

static void refusals(void **state) {
  (void)state;
  struct wr_limit l = { 0 };
  for (unsigned i = 0; i < 4000 || l.look; i++)
    (void)wr_limit_sample(&l, 4, 100, 1000, i < 4000 ? 200 : 1, i * 50);
  assert_int_equal(wr_limit_streams(&l, 4), 100); /* never above */
  assert_true(wr_limit_refused(&l, 4, 200000));
  assert_int_equal(wr_limit_streams(&l, 4), 80);
  assert_false(wr_limit_refused(&l, 4, 200500)); /* the same wave */
  for (unsigned i = 0; i < 50; i++) (void)wr_limit_refused(&l, 4, 210000 + i * 2000);
  assert_int_equal(wr_limit_streams(&l, 4), 4); /* never below */
  (void)wr_limit_sample(&l, 10, 20, 1000, 1, 400000); /* other bounds after a reload */
  assert_in_range(wr_limit_streams(&l, 10), 10, 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(finds_and_stays), cmocka_unit_test(follows),
    cmocka_unit_test(learns_longer_prompts), cmocka_unit_test(little_traffic),
    cmocka_unit_test(refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

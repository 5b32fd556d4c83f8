#include "net/world.h"

#include "base/rand.h"
#include "net/wheel.h"

struct shot {
  struct wr_timer timer;
  uint64_t want_ms; /* 0: must not fire */
  uint64_t fired_ms;
};

static struct wr_wheel wheel;
static uint64_t last_due_ms;
static unsigned fired;

static void shot_fire(struct wr_timer *timer) {
  struct shot *s = WR_CONTAINER(timer, struct shot, timer);
  assert_int_not_equal(s->want_ms, 0);
  assert_int_equal(s->fired_ms, 0);
  assert_true(timer->due_ms >= last_due_ms); /* in the order of their due times */
  last_due_ms = timer->due_ms;
  s->fired_ms = wheel.now_ms;
  fired++;
}

/* Thousands of timers over all levels, some taken away, some moved; time goes on in steps of every
 * size. */
static void order(void **state) {
  (void)state;
  enum { N = 5000 };
  static struct shot shots[N];
  struct wr_rand r;
  for (uint64_t seed = 1; seed <= 6; seed++) {
    wr_rand_init(&r, seed);
    uint64_t now = wr_rand_below(&r, UINT64_C(1) << 40);
    wr_wheel_init(&wheel, now);
    last_due_ms = 0;
    fired = 0;
    unsigned want = 0;
    uint64_t end = now;
    for (unsigned i = 0; i < N; i++) {
      wr_timer_init(&shots[i].timer, shot_fire);
      uint64_t delay = wr_rand_below(&r, UINT64_C(1) << wr_rand_range(&r, 1, 26));
      shots[i].want_ms = now + (delay ? delay : 1);
      shots[i].fired_ms = 0;
      wr_wheel_add(&wheel, &shots[i].timer, now + delay);
    }
    for (unsigned i = 0; i < N; i += 3) { /* moved */
      uint64_t delay = 1 + wr_rand_below(&r, 100000);
      wr_timer_clear(&shots[i].timer);
      shots[i].want_ms = now + delay;
      wr_wheel_add(&wheel, &shots[i].timer, now + delay);
    }
    for (unsigned i = 1; i < N; i += 7) { /* taken away */
      wr_timer_clear(&shots[i].timer);
      shots[i].want_ms = 0;
    }
    for (unsigned i = 0; i < N; i++) {
      want += shots[i].want_ms != 0;
      if (shots[i].want_ms > end) end = shots[i].want_ms;
    }
    while (now < end) {
      uint64_t next = wr_wheel_next_ms(&wheel);
      assert_true(next > now && next <= end);
      now = wr_rand_below(&r, 4) ? next : now + wr_rand_below(&r, 1 << 20);
      wr_wheel_advance(&wheel, now);
    }
    assert_int_equal(fired, want);
    assert_int_equal(wr_wheel_next_ms(&wheel), UINT64_MAX);
    for (unsigned i = 0; i < N; i++) assert_int_equal(shots[i].fired_ms, shots[i].want_ms);
  }
}

static struct shot again_shot, victim;
static unsigned rounds;
static void again_fire(struct wr_timer *timer) {
  if (++rounds < 10)
    wr_wheel_add(&wheel, timer, wheel.now_ms); /* due at once is due the next millisecond */
  wr_timer_clear(&victim.timer); /* waits in the same slot */
}

static void set_and_clear_while_firing(void **state) {
  (void)state;
  wr_wheel_init(&wheel, 63);
  wr_timer_init(&again_shot.timer, again_fire);
  wr_timer_init(&victim.timer, shot_fire);
  victim.want_ms = 0;
  wr_wheel_add(&wheel, &again_shot.timer, 64);
  wr_wheel_add(&wheel, &victim.timer, 64);
  wr_wheel_advance(&wheel, 70);
  assert_int_equal(rounds, 7);
  wr_wheel_advance(&wheel, 1000);
  assert_int_equal(rounds, 10);
  assert_int_equal(wr_wheel_clear(&wheel), 0);
}

/* ---- on a loop */

struct late {
  struct wr_timer timer;
  struct wr_task task;
  struct wr_loop *loop;
  uint64_t set_us, fired_us;
  unsigned runs;
};

static uint64_t clock_us(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void late_fire(struct wr_timer *timer) {
  struct late *l = WR_CONTAINER(timer, struct late, timer);
  l->fired_us = clock_us();
  wr_loop_mark(l->loop, &l->task);
}
static void late_run(struct wr_task *task) { WR_CONTAINER(task, struct late, task)->runs++; }

static void on_a_loop(void **state) {
  (void)state;
  enum { N = 40 };
  static struct late l[N];
  struct world w;
  world_open(&w, 1 << 20);
  for (unsigned i = 0; i < N; i++) {
    wr_timer_init(&l[i].timer, late_fire);
    wr_task_init(&l[i].task, late_run);
    l[i].loop = w.loop;
    l[i].runs = 0;
    l[i].fired_us = 0;
    l[i].set_us = wr_loop_now_us(w.loop);
    wr_timer_set(w.loop, &l[i].timer, i);
    wr_timer_set(w.loop, &l[i].timer, (uint64_t)i * 2); /* moves it */
  }
  wr_timer_clear(&l[7].timer);
  assert_false(wr_timer_is_set(&l[7].timer));
  TURN_UNTIL(&w, l[N - 1].runs == 1);
  for (unsigned i = 0; i < N; i++) {
    assert_int_equal(l[i].runs, i != 7);
    if (i != 7) assert_true(l[i].fired_us >= l[i].set_us + i * 2000u);
  }
  /* What is left is counted as not clean. */
  wr_timer_set(w.loop, &l[0].timer, 1000);
  wr_timer_set(w.loop, &l[1].timer, 100000);
  assert_int_equal(wr_loop_free(w.loop), 2);
  assert_int_equal(wr_loop_new(w.slabs, &w.loop), WR_OK);
  world_close(&w);
}

static uint64_t held_at_ms[2];
static struct wr_loop *held_loop;
static void held_fire(struct wr_timer *timer) {
  held_at_ms[0] = wr_loop_now_ms(held_loop);
  wr_timer_clear(timer);
}
static void held_fire_again(struct wr_timer *timer) {
  held_at_ms[1] = wr_loop_now_ms(held_loop);
  wr_timer_set(held_loop, timer, 1000);
}

/* A clock that is held moves when it is told to, and timers fire at their own times. */
static void held_clock(void **state) {
  (void)state;
  struct world w;
  struct wr_timer one, often;
  world_open(&w, 1 << 20);
  held_loop = w.loop;
  wr_timer_init(&one, held_fire);
  wr_timer_init(&often, held_fire_again);
  wr_loop_hold_clock(w.loop);
  uint64_t start_us = wr_loop_now_us(w.loop);
  wr_timer_set(w.loop, &one, 5000);
  wr_timer_set(w.loop, &often, 1000);
  wr_loop_turn(w.loop, 5);
  assert_int_equal(wr_loop_now_us(w.loop), start_us);
  assert_int_equal(held_at_ms[0] + held_at_ms[1], 0);
  assert_true(wr_loop_next_timer_ms(w.loop) <= start_us / 1000 + 1001);
  wr_loop_advance(w.loop, 3600u * 1000000u);
  assert_int_equal(wr_loop_now_us(w.loop), start_us + 3600u * UINT64_C(1000000));
  assert_in_range(held_at_ms[0] - start_us / 1000, 5000, 5001);
  assert_in_range(held_at_ms[1] - start_us / 1000, 3590000, 3600000);
  wr_timer_clear(&often);
  wr_loop_turn(w.loop, 0);
  world_close(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(order),
    cmocka_unit_test(set_and_clear_while_firing),
    cmocka_unit_test(on_a_loop),
    cmocka_unit_test(held_clock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

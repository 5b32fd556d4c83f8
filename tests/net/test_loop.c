#include "net/world.h"

#include <pthread.h>

struct job {
  struct wr_task task;
  struct wr_loop *loop;
  struct job *other;
  unsigned runs, again;
  uint64_t turn;
};

static void job_run(struct wr_task *task) {
  struct job *j = WR_CONTAINER(task, struct job, task);
  uint64_t turn = wr_loop_stats(j->loop)->turns;
  assert_true(turn > j->turn); /* never twice a turn */
  j->turn = turn;
  j->runs++;
  if (j->other) wr_loop_mark(j->loop, &j->other->task);
  if (j->again > 0) {
    j->again--;
    wr_loop_mark(j->loop, &j->task);
  }
}

static void job_init(struct job *j, struct wr_loop *loop) {
  memset(j, 0, sizeof *j);
  wr_task_init(&j->task, job_run);
  j->loop = loop;
}

static void once_a_turn(void **state) {
  (void)state;
  struct world w;
  struct job a, b;
  world_open(&w, 1 << 20);
  job_init(&a, w.loop);
  job_init(&b, w.loop);
  wr_loop_mark(w.loop, &a.task);
  wr_loop_mark(w.loop, &a.task);
  wr_loop_mark(w.loop, &a.task);
  wr_loop_turn(w.loop, -1); /* work waits: it doesn't */
  assert_int_equal(a.runs, 1);
  a.other = &b; /* has not run in this turn: runs in it */
  wr_loop_mark(w.loop, &a.task);
  wr_loop_turn(w.loop, -1);
  assert_int_equal(b.runs, 1);
  assert_int_equal(a.turn, b.turn);
  a.other = NULL;
  a.again = 3; /* marks itself: once a turn, and no turn waits */
  wr_loop_mark(w.loop, &a.task);
  for (unsigned i = 3; i <= 6; i++) {
    wr_loop_turn(w.loop, -1);
    assert_int_equal(a.runs, i);
  }
  wr_loop_turn(w.loop, 0);
  uint64_t from_ms = clock_ms();
  wr_loop_turn(w.loop, 20); /* nothing is left: this one waits */
  assert_true(clock_ms() - from_ms >= 15);
  assert_int_equal(a.runs, 6);
  wr_loop_mark(w.loop, &a.task);
  wr_loop_unmark(&a.task);
  wr_loop_turn(w.loop, 0);
  assert_int_equal(a.runs, 6);
  world_close(&w);
}

static void ping_pong(void **state) {
  (void)state;
  struct world w;
  struct job a, b;
  world_open(&w, 1 << 20);
  job_init(&a, w.loop);
  job_init(&b, w.loop);
  a.other = &b;
  b.other = &a;
  wr_loop_mark(w.loop, &a.task);
  for (unsigned i = 1; i <= 100; i++) {
    wr_loop_turn(w.loop, -1);
    assert_int_equal(a.runs, i);
    assert_int_equal(b.runs, i);
  }
  wr_loop_unmark(&a.task);
  wr_loop_unmark(&b.task);
  world_close(&w);
}

static void time_stands_in_a_turn(void **state) {
  (void)state;
  struct world w;
  world_open(&w, 1 << 20);
  uint64_t now = wr_loop_now_us(w.loop), from_ms = clock_ms();
  while (clock_ms() < from_ms + 3) {}
  assert_int_equal(wr_loop_now_us(w.loop), now);
  wr_loop_turn(w.loop, 0);
  assert_true(wr_loop_now_us(w.loop) >= now + 2000);
  assert_int_equal(wr_loop_now_ms(w.loop), wr_loop_now_us(w.loop) / 1000);
  world_close(&w);
}

static unsigned wakes;
static void *waker(void *ctx) {
  for (int i = 0; i < 3; i++) {
    unsigned before = __atomic_load_n(&wakes, __ATOMIC_ACQUIRE);
    wr_loop_wake(ctx);
    while (__atomic_load_n(&wakes, __ATOMIC_ACQUIRE) == before) sched_yield();
  }
  return NULL;
}
static void woken(void *ctx) {
  unsigned n = __atomic_add_fetch(&wakes, 1, __ATOMIC_ACQ_REL);
  if (n >= 3) wr_loop_stop(ctx);
}

static void wake_and_stop(void **state) {
  (void)state;
  struct world w;
  pthread_t thread;
  world_open(&w, 1 << 20);
  wr_loop_on_wake(w.loop, woken, w.loop);
  assert_int_equal(pthread_create(&thread, NULL, waker, w.loop), 0);
  wr_loop_run(w.loop);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_int_equal(wakes, 3);
  wr_loop_stop(w.loop); /* before it runs */
  wr_loop_run(w.loop);
  world_close(&w);
}

static void no_memory(void **state) {
  (void)state;
  struct world w;
  world_open(&w, 1 << 20);
  struct wr_loop *loop;
  wr_heap_fail_at(1, false); /* only ours: libuv ends the process when it can't have its tables */
  assert_int_equal(wr_loop_new(w.slabs, &loop), WR_E_NOMEM);
  wr_heap_fail_at(0, false);
  assert_null(loop);
  world_close(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(once_a_turn),           cmocka_unit_test(ping_pong),
    cmocka_unit_test(time_stands_in_a_turn), cmocka_unit_test(wake_and_stop),
    cmocka_unit_test(no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

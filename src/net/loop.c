#include "net/loop.h"

#include <pthread.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heap.h"
#include "net/loop_priv.h"

#define OWN_HANDLES 6

/* ---- libuv's own memory */

static void *uv_take(size_t size) { return wr_heap_alloc(WR_HEAP_NET, size); }
/* The loop of this thread whose table of descriptors may grow next. */
static _Thread_local struct wr_loop *growing;

static void spare_free(struct wr_loop *loop) {
  wr_heap_free(WR_HEAP_NET, loop->spare);
  loop->spare = NULL;
  loop->spare_bytes = 0;
}

/* libuv ends the process when its table of descriptors can't grow: then the spare one steps in. */
static void *uv_change(void *ptr, size_t size) {
  void *changed = wr_heap_realloc(WR_HEAP_NET, ptr, size);
  struct wr_loop *loop = growing;
  if (!loop || !loop->spare || size > loop->spare_bytes) return changed;
  if (!changed) {
    changed = loop->spare;
    loop->spare = NULL;
    if (ptr) memcpy(changed, ptr, wr_heap_size(ptr));
    if (ptr) wr_heap_free(WR_HEAP_NET, ptr);
    loop->spare_bytes = 0;
  } else if (size == loop->spare_bytes) {
    spare_free(loop);
  }
  return changed;
}

enum wr_err wr_loop_expect_fd(struct wr_loop *loop, int fd) {
  WR_DCHECK(loop->magic == WR_LOOP_MAGIC && fd >= 0);
  if (fd < loop->fd_room) return WR_OK;
  size_t entries = 64; /* as libuv counts: a power of two that has room for two more */
  while (entries < (size_t)fd + 3) entries *= 2;
  spare_free(loop);
  loop->spare = wr_heap_alloc(WR_HEAP_NET, entries * sizeof(void *));
  if (!loop->spare) return WR_E_NOMEM;
  loop->spare_bytes = entries * sizeof(void *);
  loop->fd_room = (int)(entries - 2);
  growing = loop;
  return WR_OK;
}

static void *uv_zeroed(size_t count, size_t size) {
  if (size && count > SIZE_MAX / size) return NULL;
  return wr_heap_zalloc(WR_HEAP_NET, count * size);
}
static void uv_give(void *ptr) {
  if (ptr) wr_heap_free(WR_HEAP_NET, ptr);
}

static pthread_once_t allocator_once = PTHREAD_ONCE_INIT;
static void route_allocator(void) {
  int rc = uv_replace_allocator(uv_take, uv_change, uv_zeroed, uv_give);
  WR_CHECK(rc == 0);
}

/* ---- the turn */

static void idle_nothing(uv_idle_t *handle) { (void)handle; }

/* Before the loop waits: work that is left means that it must not. */
static void before_poll(uv_prepare_t *handle) {
  struct wr_loop *loop = handle->data;
  loop->now_known = false;
  bool need = !wr_list_empty(&loop->ready);
  if (need == loop->idle_on) return;
  loop->idle_on = need;
  if (need) uv_idle_start(&loop->idle, idle_nothing);
  else uv_idle_stop(&loop->idle);
}

/* The turn may be over before it waits, on a machine that is busy: then it must not wait. */
static void limit_reached(uv_timer_t *handle) { uv_stop(handle->loop); }

static void after_poll(uv_check_t *handle) {
  struct wr_loop *loop = handle->data;
  WR_DCHECK(loop->magic == WR_LOOP_MAGIC && wr_list_empty(&loop->next));
  uint32_t turn = (uint32_t)++loop->stats.turns;
  loop->in_phase = true;
  struct wr_list *n;
  while ((n = wr_list_pop_front(&loop->ready)) != NULL) {
    if (loop->ending) continue;
    struct wr_task *task = WR_CONTAINER(n, struct wr_task, link);
    task->turn = turn;
    task->run(task); /* may free the task */
  }
  loop->in_phase = false;
  wr_list_splice(&loop->ready, &loop->next);
}

void wr_loop_mark(struct wr_loop *loop, struct wr_task *task) {
  WR_DCHECK(loop->magic == WR_LOOP_MAGIC);
  if (wr_list_linked(&task->link)) return;
  bool ran = loop->in_phase && task->turn == (uint32_t)loop->stats.turns;
  wr_list_push_back(ran ? &loop->next : &loop->ready, &task->link);
}

void wr_loop_unmark(struct wr_task *task) { wr_list_remove(&task->link); }

static void woken(uv_async_t *handle) {
  struct wr_loop *loop = handle->data;
  if (atomic_exchange(&loop->wake, false) && loop->wake_fn) loop->wake_fn(loop->wake_ctx);
  if (atomic_exchange(&loop->stop, false)) uv_stop(&loop->uv);
}

/* ---- life */

/* The two that may fail. */
static enum wr_err init_sources(struct wr_loop *loop) {
  enum wr_err err = wr_loop_expect_fd(loop, loop->tick_fd);
  if (err) return err;
  if (uv_async_init(&loop->uv, &loop->async, woken) != 0) return WR_E_IO;
  if (uv_poll_init(&loop->uv, &loop->tick, loop->tick_fd) == 0) return WR_OK;
  uv_close((uv_handle_t *)(void *)&loop->async, NULL);
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  return WR_E_IO;
}

static enum wr_err init_handles(struct wr_loop *loop) {
  loop->tick_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (loop->tick_fd < 0) return WR_E_IO;
  enum wr_err err = uv_loop_init(&loop->uv) == 0 ? WR_OK : WR_E_NOMEM;
  if (!err) {
    err = init_sources(loop);
    if (err) WR_CHECK(uv_loop_close(&loop->uv) == 0);
  }
  if (err) {
    close(loop->tick_fd);
    return err;
  }
  uv_prepare_init(&loop->uv, &loop->prepare);
  uv_check_init(&loop->uv, &loop->check);
  uv_idle_init(&loop->uv, &loop->idle);
  uv_timer_init(&loop->uv, &loop->limit);
  loop->async.data = loop->prepare.data = loop->check.data = loop->tick.data = loop;
  uv_prepare_start(&loop->prepare, before_poll);
  uv_check_start(&loop->check, after_poll);
  uv_poll_start(&loop->tick, UV_READABLE, wr_loop_tick);
  return WR_OK;
}

enum wr_err wr_loop_new(struct wr_slabs *slabs, struct wr_loop **out) {
  *out = NULL;
  pthread_once(&allocator_once, route_allocator);
  struct wr_loop *loop = wr_heap_zalloc(WR_HEAP_NET, sizeof *loop);
  if (!loop) return WR_E_NOMEM;
  loop->magic = WR_LOOP_MAGIC;
  enum wr_err err = init_handles(loop);
  if (err) {
    spare_free(loop);
    if (growing == loop) growing = NULL;
    wr_heap_free(WR_HEAP_NET, loop);
    return err;
  }
  loop->slabs = slabs;
  size_t block_bytes = wr_slabs_max_block(slabs) < 65536 ? wr_slabs_max_block(slabs) : 65536;
  loop->credit_bytes = block_bytes;
  wr_rxbuf_init(&loop->rx, slabs, block_bytes, WR_CHARGE_UPSTREAM);
  wr_rxbuf_init(&loop->tx, slabs, block_bytes < 4096 ? block_bytes : 4096, WR_CHARGE_CLIENT);
  wr_rxbuf_init(&loop->cipher, slabs, block_bytes < 32768 ? block_bytes : 32768, WR_CHARGE_TLS);
  wr_list_init(&loop->ready);
  wr_list_init(&loop->next);
  wr_list_init(&loop->dying);
  wr_list_init(&loop->starved);
  wr_timer_init(&loop->dying_timer, wr_loop_dying_due);
  wr_timer_init(&loop->starved_timer, wr_loop_starved_due);
  loop->armed_ms = UINT64_MAX;
  wr_wheel_init(&loop->wheel, wr_loop_now_ms(loop));
  *out = loop;
  return WR_OK;
}

static void count_open(uv_handle_t *handle, void *arg) {
  unsigned *open = arg;
  if (!uv_is_closing(handle)) ++*open;
}

static void close_any(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

unsigned wr_loop_free(struct wr_loop *loop) {
  WR_MAGIC_CHECK(loop, WR_LOOP_MAGIC);
  WR_CHECK(!loop->in_phase);
  loop->ending = true;
  wr_loop_end_dying(loop);
  wr_timer_clear(&loop->dying_timer);
  wr_timer_clear(&loop->starved_timer);
  uv_poll_stop(&loop->tick);
  uv_run(&loop->uv, UV_RUN_NOWAIT); /* the close callbacks that wait */
  unsigned open = 0;
  uv_walk(&loop->uv, count_open, &open);
  WR_CHECK(open >= OWN_HANDLES);
  unsigned left = open - OWN_HANDLES + wr_wheel_clear(&loop->wheel);
  uv_walk(&loop->uv, close_any, NULL);
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  int rc = uv_loop_close(&loop->uv);
  WR_CHECK(rc == 0);
  close(loop->tick_fd);
  wr_rxbuf_fini(&loop->rx);
  wr_rxbuf_fini(&loop->tx);
  wr_rxbuf_fini(&loop->cipher);
  wr_loop_free_reqs(loop);
  spare_free(loop);
  if (growing == loop) growing = NULL;
  loop->magic = 0;
  wr_heap_free(WR_HEAP_NET, loop);
  return left;
}

void wr_loop_run(struct wr_loop *loop) {
  WR_MAGIC_CHECK(loop, WR_LOOP_MAGIC);
  growing = loop; /* who made the loops of other threads may have been about them */
  uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void wr_loop_turn(struct wr_loop *loop, int max_wait_ms) {
  WR_MAGIC_CHECK(loop, WR_LOOP_MAGIC);
  if (max_wait_ms > 0) {
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->limit, limit_reached, (uint64_t)max_wait_ms, 0);
  }
  uv_run(&loop->uv, max_wait_ms == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
  if (max_wait_ms > 0) uv_timer_stop(&loop->limit);
}

void wr_loop_stop(struct wr_loop *loop) {
  atomic_store(&loop->stop, true);
  uv_async_send(&loop->async);
}

void wr_loop_on_wake(struct wr_loop *loop, void (*fn)(void *ctx), void *ctx) {
  loop->wake_fn = fn;
  loop->wake_ctx = ctx;
}

void wr_loop_wake(struct wr_loop *loop) {
  atomic_store(&loop->wake, true);
  uv_async_send(&loop->async);
}

void wr_loop_limit_accepted(struct wr_loop *loop, uint32_t most) {
  WR_MAGIC_CHECK(loop, WR_LOOP_MAGIC);
  loop->accepted_most = most;
}

/* ---- what a loop knows */

static void read_clock(struct wr_loop *loop) {
  struct timespec ts;
  loop->now_known = true;
  if (loop->held) return;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  loop->now_us = (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
  loop->now_ms = loop->now_us / 1000;
}

uint64_t wr_loop_now_us(struct wr_loop *loop) {
  if (!loop->now_known) read_clock(loop);
  return loop->now_us;
}

uint64_t wr_loop_now_ms(struct wr_loop *loop) {
  if (!loop->now_known) read_clock(loop);
  return loop->now_ms;
}

void wr_loop_hold_clock(struct wr_loop *loop) {
  WR_MAGIC_CHECK(loop, WR_LOOP_MAGIC);
  loop->now_known = false;
  read_clock(loop);
  loop->held = true;
}

void wr_loop_advance(struct wr_loop *loop, uint64_t us) {
  WR_CHECK(loop->held && !loop->in_phase);
  uint64_t until_us = loop->now_us + us;
  uint64_t next_ms;
  while ((next_ms = wr_wheel_next_ms(&loop->wheel)) <= until_us / 1000) {
    if (next_ms > loop->now_ms) {
      loop->now_ms = next_ms;
      loop->now_us = next_ms * 1000;
    }
    wr_wheel_advance(&loop->wheel, loop->now_ms);
  }
  loop->now_us = until_us;
  loop->now_ms = until_us / 1000;
}

uint64_t wr_loop_next_timer_ms(struct wr_loop *loop) { return wr_wheel_next_ms(&loop->wheel); }

struct wr_slabs *wr_loop_slabs(struct wr_loop *loop) { return loop->slabs; }

#define SMALL_BLOCK_BYTES 8192u

void wr_loop_shrink(struct wr_loop *loop, bool small) {
  WR_DCHECK(loop->magic == WR_LOOP_MAGIC);
  size_t most = wr_slabs_max_block(loop->slabs), want = small ? SMALL_BLOCK_BYTES : 65536;
  loop->rx.block_bytes = (uint32_t)(want < most ? want : most);
  loop->credit_bytes = loop->rx.block_bytes;
}

struct wr_loop_stats *wr_loop_stats(struct wr_loop *loop) { return &loop->stats; }

const char *wr_loop_library_version(void) { return uv_version_string(); }

#include "net/timer.h"

#include <sys/timerfd.h>

#include "base/check.h"
#include "net/loop_priv.h"
#include "net/wheel.h"

/* Half a century; a longer delay would never be waited for, and sums stay far from overflow. */
#define MAX_DELAY_MS (UINT64_C(1) << 40)

void wr_wheel_init(struct wr_wheel *wheel, uint64_t now_ms) {
  wheel->now_ms = now_ms;
  for (unsigned level = 0; level < WR_WHEEL_LEVELS; level++) {
    wheel->used[level] = 0;
    for (unsigned slot = 0; slot < WR_WHEEL_SLOTS; slot++)
      wr_list_init(&wheel->slots[level][slot]);
  }
}

static void place(struct wr_wheel *wheel, struct wr_timer *timer) {
  uint64_t differ = timer->due_ms ^ wheel->now_ms;
  unsigned level = differ ? (63u - (unsigned)__builtin_clzll(differ)) / 6u : 0;
  WR_CHECK(level < WR_WHEEL_LEVELS);
  unsigned slot = (unsigned)(timer->due_ms >> (6 * level)) & 63u;
  wheel->used[level] |= UINT64_C(1) << slot;
  wr_list_push_back(&wheel->slots[level][slot], &timer->link);
}

void wr_wheel_add(struct wr_wheel *wheel, struct wr_timer *timer, uint64_t due_ms) {
  WR_DCHECK(!wr_list_linked(&timer->link));
  timer->due_ms = due_ms > wheel->now_ms ? due_ms : wheel->now_ms + 1;
  place(wheel, timer);
}

/* The first slot in use, looking upwards from the wheel's position; clears stale bits on its way.
 */
static bool first_slot(struct wr_wheel *wheel, unsigned *level_out, unsigned *slot_out) {
  for (unsigned level = 0; level < WR_WHEEL_LEVELS; level++) {
    while (wheel->used[level]) {
      unsigned slot = (unsigned)__builtin_ctzll(wheel->used[level]);
      if (!wr_list_empty(&wheel->slots[level][slot])) {
        *level_out = level;
        *slot_out = slot;
        return true;
      }
      wheel->used[level] &= ~(UINT64_C(1) << slot);
    }
  }
  return false;
}

/* The time at which a slot begins, given that it lies in the wheel's present round of that level.
 */
static uint64_t slot_ms(const struct wr_wheel *wheel, unsigned level, unsigned slot) {
  uint64_t round = wheel->now_ms >> (6 * (level + 1)) << (6 * (level + 1));
  return round | ((uint64_t)slot << (6 * level));
}

uint64_t wr_wheel_next_ms(struct wr_wheel *wheel) {
  unsigned level, slot;
  if (!first_slot(wheel, &level, &slot)) return UINT64_MAX;
  return slot_ms(wheel, level, slot);
}

static void spread(struct wr_wheel *wheel, struct wr_list *slot) {
  struct wr_list moving;
  wr_list_init(&moving);
  wr_list_splice(&moving, slot);
  struct wr_list *n;
  while ((n = wr_list_pop_front(&moving)) != NULL)
    place(wheel, WR_CONTAINER(n, struct wr_timer, link));
}

static void fire_slot(struct wr_wheel *wheel) {
  /* What fires may set or clear any timer, also one that waits in this list. A timer that is set
   * anew is due later than now, so it doesn't come back here. */
  struct wr_list due;
  wr_list_init(&due);
  wr_list_splice(&due, &wheel->slots[0][wheel->now_ms & 63u]);
  struct wr_list *n;
  while ((n = wr_list_pop_front(&due)) != NULL) {
    struct wr_timer *timer = WR_CONTAINER(n, struct wr_timer, link);
    WR_DCHECK(timer->due_ms == wheel->now_ms);
    timer->fire(timer);
  }
}

void wr_wheel_advance(struct wr_wheel *wheel, uint64_t now_ms) {
  unsigned level, slot;
  while (first_slot(wheel, &level, &slot)) {
    uint64_t at = slot_ms(wheel, level, slot);
    if (at > now_ms) break;
    WR_DCHECK(at >= wheel->now_ms);
    wheel->now_ms = at;
    wheel->used[level] &= ~(UINT64_C(1) << slot);
    if (level > 0) spread(wheel, &wheel->slots[level][slot]);
    fire_slot(wheel);
  }
  if (now_ms > wheel->now_ms) wheel->now_ms = now_ms;
}

unsigned wr_wheel_clear(struct wr_wheel *wheel) {
  unsigned n = 0;
  for (unsigned level = 0; level < WR_WHEEL_LEVELS; level++)
    for (unsigned slot = 0; slot < WR_WHEEL_SLOTS; slot++)
      while (wr_list_pop_front(&wheel->slots[level][slot]) != NULL) n++;
  return n;
}

/* ---- the wheel of a loop */

/* Sets the kernel's timer, which also takes back that it is due. UINT64_MAX: it rests. */
static void set_tick(struct wr_loop *loop, uint64_t due_ms) {
  struct itimerspec at = { 0 };
  loop->armed_ms = due_ms;
  if (due_ms != UINT64_MAX) {
    uint64_t now_ms = wr_loop_now_ms(loop), delay_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    at.it_value.tv_sec = (time_t)(delay_ms / 1000);
    at.it_value.tv_nsec = delay_ms ? (long)(delay_ms % 1000) * 1000000 : 1; /* 0 would be never */
  }
  int rc = timerfd_settime(loop->tick_fd, 0, &at, NULL);
  WR_CHECK(rc == 0);
}

/* The wheel's work is earlier than what the kernel's timer waits for. */
static void arm(struct wr_loop *loop, uint64_t due_ms) {
  if (due_ms < loop->armed_ms) set_tick(loop, due_ms);
}

void wr_loop_tick(uv_poll_t *handle, int status, int events) {
  struct wr_loop *loop = handle->data;
  (void)events;
  WR_DCHECK(loop->magic == WR_LOOP_MAGIC && !loop->ending);
  if (!WR_EXPECT(status == 0)) return;
  loop->now_known = false; /* it was due while the loop waited: what was read is older */
  loop->armed_ms = 0;      /* what fires sets no timer of the kernel's; that follows, once */
  wr_wheel_advance(&loop->wheel, wr_loop_now_ms(loop));
  set_tick(loop, wr_wheel_next_ms(&loop->wheel));
}

void wr_timer_set(struct wr_loop *loop, struct wr_timer *timer, uint64_t delay_ms) {
  WR_DCHECK(timer->fire != NULL);
  if (delay_ms > MAX_DELAY_MS) delay_ms = MAX_DELAY_MS;
  wr_list_remove(&timer->link);
  /* Rounded up, so that it never fires early. */
  wr_wheel_add(&loop->wheel, timer, (wr_loop_now_us(loop) + 999) / 1000 + delay_ms);
  arm(loop, timer->due_ms);
}

void wr_timer_clear(struct wr_timer *timer) { wr_list_remove(&timer->link); }

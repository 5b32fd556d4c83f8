#include "server/strain.h"

#include "base/check.h"
#include "base/heap.h"
#include "net/timer.h"
#include "server/memstat.h"

#define STRAIN_MAGIC 0x57a14u

struct wr_strain {
  uint32_t magic;
  uint32_t sample_ms;
  struct wr_loop *loop;                /* borrowed: the main loop */
  struct wr_ledger *ledger;            /* borrowed: the process's */
  struct wr_degrade_shared *shared;    /* borrowed: the process's */
  struct wr_timer timer;
  struct wr_memstat memstat;
};

static void moved(struct wr_degrade_shared *shared) {
  atomic_fetch_add_explicit(&shared->version, 1, memory_order_release);
}

static uint32_t pool_share(const struct wr_ledger *ledger, size_t used) {
  double share = (double)used / (double)wr_ledger_pool_bytes(ledger);
  return share < 1.0 ? (uint32_t)(share * WR_LADDER_FULL) : WR_LADDER_FULL;
}

/* On the thread of whoever allocated. */
static void alarmed(void *ctx, size_t used) {
  struct wr_strain *s = ctx;
  if (wr_ladder_raise(&s->shared->ladders[WR_METER_MEMORY], pool_share(s->ledger, used)))
    moved(s->shared);
}

static void sample(struct wr_strain *s) {
  const uint32_t values[WR_METER_LOOP_LAG] = {
    [WR_METER_MEMORY] = pool_share(s->ledger, wr_ledger_used_bytes(s->ledger)),
    [WR_METER_PROCESS] = wr_memstat_share(&s->memstat),
    [WR_METER_STALL] = wr_memstat_stall(&s->memstat),
  };
  bool any = false, stop = false;
  for (int m = 0; m < WR_METER_LOOP_LAG; m++) {
    any |= wr_ladder_sample(&s->shared->ladders[m], values[m]);
    stop |= wr_ladder_stops(&s->shared->ladders[m]);
  }
  if (any) moved(s->shared);
  atomic_fetch_add_explicit(&s->shared->samples, 1, memory_order_relaxed);
  atomic_store_explicit(&s->shared->tickets, stop ? 1 : 0, memory_order_relaxed);
}

static void fire(struct wr_timer *timer) {
  struct wr_strain *s = WR_CONTAINER(timer, struct wr_strain, timer);
  WR_MAGIC_CHECK(s, STRAIN_MAGIC);
  sample(s);
  wr_timer_set(s->loop, &s->timer, s->sample_ms);
}

enum wr_err wr_strain_new(const struct wr_strain_options *o, struct wr_strain **out) {
  struct wr_strain *s = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *s);
  if (!s) return WR_E_NOMEM;
  s->magic = STRAIN_MAGIC;
  s->loop = o->loop;
  s->ledger = o->ledger;
  s->shared = &o->shared->degrade;
  s->sample_ms = o->server->sample_ms;
  wr_memstat_init(&s->memstat, "", o->server->process_bytes);
  wr_timer_init(&s->timer, fire);
  wr_ledger_on_alarm(s->ledger, alarmed, s);
  wr_timer_set(s->loop, &s->timer, s->sample_ms);
  *out = s;
  return WR_OK;
}

void wr_strain_free(struct wr_strain *s) {
  if (!s) return;
  WR_MAGIC_CHECK(s, STRAIN_MAGIC);
  wr_ledger_set_alarm(s->ledger, SIZE_MAX);
  wr_timer_clear(&s->timer);
  s->magic = 0;
  wr_heap_free(WR_HEAP_SERVER, s);
}

void wr_strain_take(struct wr_strain *s, const struct wr_conf *conf) {
  WR_MAGIC_CHECK(s, STRAIN_MAGIC);
  for (int m = 0; m < WR_METER_LOOP_LAG; m++)
    wr_ladder_set(&s->shared->ladders[m], &conf->ladders[m]);
  const struct wr_conf_ladder *memory = &conf->ladders[WR_METER_MEMORY];
  size_t at = SIZE_MAX;
  if (memory->count)
    at = (size_t)((double)wr_ledger_pool_bytes(s->ledger) * memory->steps[0].at / WR_LADDER_FULL);
  wr_ledger_set_alarm(s->ledger, at);
  moved(s->shared);
}

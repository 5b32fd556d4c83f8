#include "server/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/heap.h"
#include "policy/load.h"
#include "policy/vm.h"
#include "relay/relay.h"
#include "server/mocks.h"

#define PLAN_MAGIC 0x91a70a7u

enum wr_err wr_plans_init(struct wr_plans *plans, struct wr_loop *loop) {
  *plans = (struct wr_plans){ .loop = loop };
  enum wr_err err = wr_slots_new(WR_RELAY_UPSTREAMS, &plans->upstreams);
  if (err == WR_OK) err = wr_slots_new(WR_RELAY_KEYS, &plans->keys);
  if (err == WR_OK) err = wr_slots_new(WR_PLAN_LISTENS_MAX, &plans->listens);
  if (err != WR_OK) return err;
  plans->places = wr_heap_zalloc(WR_HEAP_SERVER, WR_PLAN_LISTENS_MAX * sizeof *plans->places);
  return plans->places ? WR_OK : WR_E_NOMEM;
}

void wr_plans_fini(struct wr_plans *plans) {
  WR_CHECK(plans->live == 0);
  wr_slots_free(plans->upstreams);
  wr_slots_free(plans->keys);
  wr_slots_free(plans->listens);
  wr_heap_free(WR_HEAP_SERVER, plans->places);
  *plans = (struct wr_plans){ .loop = NULL };
}

static enum wr_err load(struct wr_plan *plan, const char *file, struct wr_span source,
                        struct wr_diag *diag) {
  if (source.ptr) {
    plan->source = wr_heap_strndup(WR_HEAP_CONF, source.ptr, source.len);
    plan->source_len = source.len;
    if (!plan->source) return WR_E_NOMEM;
  } else if (wr_conf_read_source(file, &plan->source, &plan->source_len) != WR_OK) {
    wr_diag_error(diag, file, 0, "can't be read");
    return WR_E_CONFIG;
  }
  struct wr_vm *vm = NULL;
  enum wr_err err = wr_vm_new(NULL, &vm);
  if (err != WR_OK) return err;
  struct wr_span text = wr_span_make(plan->source, plan->source_len);
  err = wr_conf_load(vm, file, text, &plan->conf, diag);
  wr_vm_free(vm);
  return err;
}

enum wr_err wr_plan_load(const char *file, struct wr_span source, struct wr_plan **out,
                         struct wr_diag *diag) {
  struct wr_plan *plan = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *plan);
  if (!plan) return WR_E_NOMEM;
  plan->magic = PLAN_MAGIC;
  plan->refs = 1;
  enum wr_err err = load(plan, file, source, diag);
  if (err != WR_OK) {
    wr_plan_unref(plan);
    return err;
  }
  *out = plan;
  return WR_OK;
}

static enum wr_err numbers_take(struct wr_plan *plan, char *why, size_t why_bytes) {
  const struct wr_conf *conf = plan->conf;
  struct wr_plans *all = plan->plans;
  const size_t size = sizeof(uint32_t);
  plan->upstream_numbers = wr_heap_zalloc(WR_HEAP_SERVER, conf->upstream_count * size + 1);
  plan->key_numbers = wr_heap_zalloc(WR_HEAP_SERVER, conf->key_count * size + 1);
  plan->listen_numbers = wr_heap_zalloc(WR_HEAP_SERVER, conf->listen_count * size + 1);
  if (!plan->upstream_numbers || !plan->key_numbers || !plan->listen_numbers) return WR_E_NOMEM;
  enum wr_err err = WR_OK;
  for (; err == WR_OK && plan->upstreams < conf->upstream_count; plan->upstreams++) {
    const char *name = conf->upstreams[plan->upstreams].name;
    err = wr_slots_take(all->upstreams, name, &plan->upstream_numbers[plan->upstreams]);
  }
  for (; err == WR_OK && plan->keys < conf->key_count; plan->keys++) {
    const char *name = conf->keys[plan->keys].name;
    err = wr_slots_take(all->keys, name, &plan->key_numbers[plan->keys]);
  }
  for (; err == WR_OK && plan->listens < conf->listen_count; plan->listens++) {
    if (wr_slots_used(all->listens) == WR_PLAN_LISTENS_MAX) {
      snprintf(why, why_bytes, "more than %u addresses were listened on since the start",
               WR_PLAN_LISTENS_MAX - 1);
      return WR_E_CONFIG;
    }
    const char *name = conf->listens[plan->listens].address;
    err = wr_slots_take(all->listens, name, &plan->listen_numbers[plan->listens]);
  }
  return err;
}

enum wr_err wr_plan_open(struct wr_plan *plan, struct wr_plans *plans, char *why,
                         size_t why_bytes) {
  WR_MAGIC_CHECK(plan, PLAN_MAGIC);
  WR_CHECK(!plan->plans);
  plan->plans = plans;
  plan->number = plans->last + 1;
  plans->live++;
  enum wr_err err = numbers_take(plan, why, why_bytes);
  if (err == WR_OK) err = wr_mocks_new(plans->loop, plan->conf, &plan->mocks, why, why_bytes);
  return err;
}

struct wr_plan *wr_plan_ref(struct wr_plan *plan) {
  WR_MAGIC_CHECK(plan, PLAN_MAGIC);
  plan->refs++;
  return plan;
}

/* What was taken before an error. A listener's number stays its own: connections that it accepted
 * may outlive it. */
static void numbers_give(struct wr_plan *plan) {
  const struct wr_conf *conf = plan->conf;
  for (size_t i = 0; i < plan->upstreams; i++)
    wr_slots_give(plan->plans->upstreams, conf->upstreams[i].name, plan->upstream_numbers[i]);
  for (size_t i = 0; i < plan->keys; i++)
    wr_slots_give(plan->plans->keys, conf->keys[i].name, plan->key_numbers[i]);
}

void wr_plan_unref(struct wr_plan *plan) {
  if (!plan) return;
  WR_MAGIC_CHECK(plan, PLAN_MAGIC);
  WR_CHECK(plan->refs > 0);
  if (--plan->refs > 0) return;
  if (plan->plans) {
    numbers_give(plan);
    WR_CHECK(plan->plans->live > 0);
    plan->plans->live--;
  }
  wr_mocks_free(plan->mocks);
  wr_heap_free(WR_HEAP_SERVER, plan->upstream_numbers);
  wr_heap_free(WR_HEAP_SERVER, plan->key_numbers);
  wr_heap_free(WR_HEAP_SERVER, plan->listen_numbers);
  if (plan->conf) wr_conf_free(plan->conf);
  if (plan->source) memset(plan->source, 0, plan->source_len);
  wr_heap_free(WR_HEAP_CONF, plan->source);
  plan->magic = 0;
  wr_heap_free(WR_HEAP_SERVER, plan);
}

bool wr_plan_has_listen(const struct wr_plan *plan, uint32_t number) {
  for (size_t i = 0; i < plan->listens; i++)
    if (plan->listen_numbers[i] == number) return true;
  return false;
}

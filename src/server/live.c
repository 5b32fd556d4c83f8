#include "server/live.h"

#include "base/check.h"
#include "server/gen.h"
#include "server/worker.h"

static void upstream(void *ctx, uint32_t index, struct wr_live_upstream *out) {
  const struct wr_gen *g = ctx;
  const struct wr_conf_upstream *up = &g->relay.conf->upstreams[index];
  WR_CHECK(index < g->relay.conf->upstream_count);
  uint32_t number = g->plan->upstream_numbers[index] % WR_RELAY_UPSTREAMS;
  uint32_t streams = atomic_load_explicit(&g->shared->upstreams[number], memory_order_relaxed);
  struct wr_upstream_view view = { .healthy = true };
  if (g->upstreams) wr_upstreams_view(g->upstreams, index, &view);
  *out = (struct wr_live_upstream){ .healthy = view.healthy,
                                    .room = INT64_MAX,
                                    .streams = streams,
                                    .first_token_s = view.first_token_us / 1e6,
                                    .conf = up };
  uint32_t most = g->upstreams ? view.limit : up->max_streams;
  if (most) out->room = (int64_t)most - (int64_t)streams;
}

static void pressure(void *ctx, struct wr_hook_pressure *out) {
  const struct wr_gen *g = ctx;
  struct wr_relay *relay = wr_worker_relay(g->worker);
  *out = (struct wr_hook_pressure){ .step = 0 };
  if (relay) wr_relay_pressure(relay, out); /* none yet: the process begins */
}

void wr_live_init(struct wr_live *live, struct wr_gen *gen) {
  *live = (struct wr_live){ .ctx = gen, .upstream = upstream, .pressure = pressure };
}

/* metric_priv.h: what a shard holds; for metric.c and metric_print.c. */
#ifndef WR_OBS_METRIC_PRIV_H
#define WR_OBS_METRIC_PRIV_H

#include "obs/hist.h"
#include "obs/metric.h"
#include "obs/series.h"

#define WR_METRICS_MAGIC 0x3e791c55u

/* One table for all families that have the same labels. */
enum metric_group {
  GROUP_REQUEST,   /* route, upstream, status, outcome */
  GROUP_TRAFFIC,   /* route, upstream */
  GROUP_TOKENS,    /* upstream, model */
  GROUP_OPERATION, /* operation, provider, model, error */
  GROUP_MODEL,     /* operation, provider, model */
  GROUP_HOOK,       /* plugin, hook */
  GROUP_HOOK_ERROR, /* plugin, hook, kind */
  GROUPS
};

/* Values of GROUP_TRAFFIC, GROUP_TOKENS. */
enum { TRAFFIC_ATTEMPTS, TRAFFIC_REUSED, TRAFFIC_EVENTS, TRAFFIC_IN, TRAFFIC_OUT, TRAFFIC_COPIED,
       TRAFFICS };
enum { TOKENS_INPUT, TOKENS_OUTPUT, TOKENS_CACHED, TOKENS_REASONING, TOKENS };

/* Values that are histograms: where each begins. */
#define HIST_VALUES (sizeof(struct wr_hist) / sizeof(uint64_t))
enum { OPERATION_CLIENT, OPERATION_SERVER, OPERATIONS };
enum { MODEL_FIRST_TOKEN, MODEL_INPUT, MODEL_OUTPUT, MODELS };

struct wr_metrics {
  uint32_t magic;
  _Atomic uint64_t scalars[WR_METRICS]; /* families without labels */
  _Atomic uint64_t errors[WR_E_COUNT];
  struct wr_series_table groups[GROUPS];
  struct wr_series_table models; /* names that an upstream has answered for */
};

/* A histogram inside a series. */
static inline struct wr_hist *series_hist(const struct wr_series *series, size_t i) {
  return (struct wr_hist *)(uintptr_t)&series->values[i * HIST_VALUES];
}

#endif

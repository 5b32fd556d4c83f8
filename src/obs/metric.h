/* metric.h: what one worker counts.
 *
 * One shard a worker: its thread alone writes, with relaxed stores; any thread may read it.
 * Label sets that come from traffic are bounded: at most WR_METRIC_SERIES_MAX a family and shard,
 * after which everything new is counted under the label "other"; a model is named only once an
 * upstream answered for it, so that clients can't fill the table with names that they make up. A
 * series, once seen, stays until the shard is freed: only a new label set allocates.
 *
 * To add a metric: a row in metric.def; then wr_metrics_add (no labels), a member of a series
 * (metric.c), or a line in server/metrics.c (what other parts count themselves). */
#ifndef WR_OBS_METRIC_H
#define WR_OBS_METRIC_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "obs/record.h"

enum wr_metric {
#define X(name, prom, type, unit, labels, help) WR_METRIC_##name,
#include "obs/metric.def"
#undef X
  WR_METRICS
};

enum wr_metric_type { WR_METRIC_COUNTER, WR_METRIC_GAUGE, WR_METRIC_HISTOGRAM };

struct wr_metric_info {
  const char *name;   /* borrowed: static, as are the rest */
  const char *unit;   /* borrowed: static; "" when the name says it all */
  const char *labels; /* borrowed: static; names with commas between them */
  const char *help;   /* borrowed: static */
  enum wr_metric_type type;
};
const struct wr_metric_info *wr_metric_info(enum wr_metric metric);

#define WR_METRIC_SERIES_MAX 256
#define WR_METRIC_MODELS_MAX 128
/* A label value is cut to this many bytes (at a character's start). */
#define WR_METRIC_LABEL_MAX_BYTES 96

struct wr_metrics;
struct wr_prom;

WR_MUST_USE enum wr_err wr_metrics_new(struct wr_metrics **out);
void wr_metrics_free(struct wr_metrics *metrics);

/* Owner's thread. Counts a finished exchange. Never fails: when memory for a new label set is
 * short, the set is counted under "other". */
void wr_metrics_observe(struct wr_metrics *metrics, const struct wr_record *record);
/* Owner's thread. n calls more of a policy's hook; n of them failed in that way. */
void wr_metrics_hook_calls(struct wr_metrics *metrics, struct wr_span plugin, struct wr_span hook,
                           uint64_t n);
void wr_metrics_hook_errors(struct wr_metrics *metrics, struct wr_span plugin, struct wr_span hook,
                            struct wr_span kind, uint64_t n);
/* Owner's thread. A family without labels, of type COUNTER. */
void wr_metrics_add(struct wr_metrics *metrics, enum wr_metric metric, uint64_t n);
/* Any thread. */
uint64_t wr_metrics_get(const struct wr_metrics *metrics, enum wr_metric metric);

/* Any thread. Prints what the shards hold (not what other parts count), one family after the other,
 * series summed over the shards. */
void wr_metrics_print(struct wr_metrics *const *shards, size_t n, struct wr_prom *out);

#endif

#include <string.h>

#include "base/check.h"
#include "obs/metric.h"
#include "obs/metric_priv.h"
#include "obs/prom.h"

struct shards {
  struct wr_metrics *const *list; /* borrowed: the caller's */
  size_t n;
};

/* Calls fn for every label set that any shard has, once. first: the first shard that has it. */
typedef void (*set_fn)(const struct shards *shards, enum metric_group group, size_t first,
                       const struct wr_series_key *key, struct wr_prom_label *labels, size_t n,
                       size_t value, struct wr_prom *out);

static bool earlier_has(const struct shards *shards, enum metric_group group, size_t first,
                        const struct wr_series_key *key) {
  for (size_t s = 0; s < first; s++)
    if (wr_series_find(&shards->list[s]->groups[group], key)) return true;
  return false;
}

/* The names in the table, a span each. */
static size_t split_names(enum wr_metric metric, char *names, size_t cap,
                          struct wr_prom_label *labels, size_t max) {
  size_t n = 0, len = strlen(wr_metric_info(metric)->labels);
  WR_CHECK(len < cap);
  memcpy(names, wr_metric_info(metric)->labels, len + 1);
  for (char *p = names; p && *p && n < max; n++) {
    char *comma = strchr(p, ',');
    if (comma) *comma++ = '\0';
    labels[n].name = p;
    p = comma;
  }
  return n;
}

static void each_set(const struct shards *shards, enum metric_group group, enum wr_metric metric,
                     set_fn fn, size_t value, struct wr_prom *out) {
  char names[128];
  struct wr_prom_label labels[WR_SERIES_MAX_LABELS];
  struct wr_span values[WR_SERIES_MAX_LABELS];
  struct wr_series_key key;
  size_t n = split_names(metric, names, sizeof names, labels, WR_SERIES_MAX_LABELS);
  wr_prom_family(out, metric);
  for (size_t s = 0; s < shards->n; s++) {
    const struct wr_series_table *table = &shards->list[s]->groups[group];
    size_t count = wr_series_count(table);
    for (size_t i = 0; i < count; i++) {
      const struct wr_series *series = wr_series_at(table, i);
      wr_series_key_of(series, &key);
      if (earlier_has(shards, group, s, &key)) continue;
      wr_series_labels(series, values, table->labels);
      for (size_t l = 0; l < table->labels && l < n; l++) labels[l].value = values[l];
      fn(shards, group, s, &key, labels, n, value, out);
    }
  }
}

static uint64_t sum_value(const struct shards *shards, enum metric_group group, size_t first,
                          const struct wr_series_key *key, size_t value) {
  uint64_t sum = 0;
  for (size_t s = first; s < shards->n; s++) {
    const struct wr_series *series = wr_series_find(&shards->list[s]->groups[group], key);
    if (series) sum += wr_counter_read(&series->values[value]);
  }
  return sum;
}

/* Entry 0 stands in every table; it shows only once something was folded into it. */
static bool is_other(const struct wr_prom_label *labels, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!wr_span_eq(labels[i].value, WR_SPAN("other"))) return false;
  return true;
}

static void print_counter(const struct shards *shards, enum metric_group group, size_t first,
                          const struct wr_series_key *key, struct wr_prom_label *labels, size_t n,
                          size_t value, struct wr_prom *out) {
  uint64_t sum = sum_value(shards, group, first, key, value);
  if (sum > 0 || !is_other(labels, n)) wr_prom_u64(out, labels, n, sum);
}

static void print_tokens(const struct shards *shards, enum metric_group group, size_t first,
                         const struct wr_series_key *key, struct wr_prom_label *labels, size_t n,
                         size_t value, struct wr_prom *out) {
  (void)value;
  static const char *const types[TOKENS] = { "input", "output", "cached", "reasoning" };
  for (size_t t = 0; t < TOKENS; t++) {
    uint64_t sum = sum_value(shards, group, first, key, t);
    labels[n - 1].value = wr_span_str(types[t]);
    if (sum > 0 || !is_other(labels, n - 1)) wr_prom_u64(out, labels, n, sum);
  }
}

static void print_hist(const struct shards *shards, enum metric_group group, size_t first,
                       const struct wr_series_key *key, const struct wr_prom_label *labels,
                       size_t n, size_t value, enum wr_hist_kind kind, struct wr_prom *out) {
  const struct wr_hist_shape *shape = wr_hist_shape(kind);
  uint64_t counts[WR_HIST_MAX_BOUNDS + 1] = { 0 }, sum = 0, total = 0;
  for (size_t s = first; s < shards->n; s++) {
    const struct wr_series *series = wr_series_find(&shards->list[s]->groups[group], key);
    if (series) wr_hist_collect(series_hist(series, value), kind, counts, &sum);
  }
  for (size_t i = 0; i <= shape->count; i++) total += counts[i];
  if (total > 0)
    wr_prom_hist(out, labels, n, shape->bounds, shape->count, counts,
                 (double)sum / (double)shape->scale);
}

static void print_duration(const struct shards *shards, enum metric_group group, size_t first,
                           const struct wr_series_key *key, struct wr_prom_label *labels, size_t n,
                           size_t value, struct wr_prom *out) {
  print_hist(shards, group, first, key, labels, n, value, WR_HIST_DURATION, out);
}

static void print_first_token(const struct shards *shards, enum metric_group group, size_t first,
                              const struct wr_series_key *key, struct wr_prom_label *labels,
                              size_t n, size_t value, struct wr_prom *out) {
  print_hist(shards, group, first, key, labels, n, value, WR_HIST_FIRST_TOKEN, out);
}

static void print_usage(const struct shards *shards, enum metric_group group, size_t first,
                        const struct wr_series_key *key, struct wr_prom_label *labels, size_t n,
                        size_t value, struct wr_prom *out) {
  (void)value;
  labels[n - 1].value = WR_SPAN("input");
  print_hist(shards, group, first, key, labels, n, MODEL_INPUT, WR_HIST_TOKENS, out);
  labels[n - 1].value = WR_SPAN("output");
  print_hist(shards, group, first, key, labels, n, MODEL_OUTPUT, WR_HIST_TOKENS, out);
}

static uint64_t sum_scalar(const struct shards *shards, enum wr_metric metric) {
  uint64_t sum = 0;
  for (size_t s = 0; s < shards->n; s++) sum += wr_metrics_get(shards->list[s], metric);
  return sum;
}

static void print_errors(const struct shards *shards, struct wr_prom *out) {
  wr_prom_family(out, WR_METRIC_ERRORS);
  for (unsigned e = 1; e < WR_E_COUNT; e++) {
    uint64_t sum = 0;
    for (size_t s = 0; s < shards->n; s++) sum += wr_counter_read(&shards->list[s]->errors[e]);
    if (sum > 0) wr_prom_one(out, "error", wr_err_label((enum wr_err)e), sum);
  }
}

void wr_metrics_print(struct wr_metrics *const *list, size_t n, struct wr_prom *out) {
  static const struct {
    enum wr_metric metric;
    enum metric_group group;
    set_fn fn;
    size_t value;
  } families[] = {
    { WR_METRIC_REQUESTS, GROUP_REQUEST, print_counter, 0 },
    { WR_METRIC_ATTEMPTS, GROUP_TRAFFIC, print_counter, TRAFFIC_ATTEMPTS },
    { WR_METRIC_REUSED, GROUP_TRAFFIC, print_counter, TRAFFIC_REUSED },
    { WR_METRIC_REQUEST_EVENTS, GROUP_TRAFFIC, print_counter, TRAFFIC_EVENTS },
    { WR_METRIC_REQUEST_BYTES_IN, GROUP_TRAFFIC, print_counter, TRAFFIC_IN },
    { WR_METRIC_REQUEST_BYTES_OUT, GROUP_TRAFFIC, print_counter, TRAFFIC_OUT },
    { WR_METRIC_REQUEST_COPIED, GROUP_TRAFFIC, print_counter, TRAFFIC_COPIED },
    { WR_METRIC_TOKENS, GROUP_TOKENS, print_tokens, 0 },
    { WR_METRIC_HOOK_CALLS, GROUP_HOOK, print_counter, 0 },
    { WR_METRIC_HOOK_ERRORS, GROUP_HOOK_ERROR, print_counter, 0 },
    { WR_METRIC_OPERATION_DURATION, GROUP_OPERATION, print_duration, OPERATION_CLIENT },
    { WR_METRIC_TOKEN_USAGE, GROUP_MODEL, print_usage, 0 },
    { WR_METRIC_REQUEST_DURATION, GROUP_OPERATION, print_duration, OPERATION_SERVER },
    { WR_METRIC_FIRST_TOKEN, GROUP_MODEL, print_first_token, MODEL_FIRST_TOKEN },
  };
  static const enum wr_metric scalars[] = { WR_METRIC_CONNECTIONS_UNUSED, WR_METRIC_TLS_HANDSHAKES,
                                            WR_METRIC_TLS_RESUMED,
                                            WR_METRIC_VIEWS_RETAINED,
                                            WR_METRIC_VIEWS_LEAKED, WR_METRIC_LABELS_FOLDED };
  const struct shards shards = { list, n };
  for (size_t i = 0; i < sizeof scalars / sizeof scalars[0]; i++)
    wr_prom_scalar(out, scalars[i], sum_scalar(&shards, scalars[i]));
  print_errors(&shards, out);
  for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
    each_set(&shards, families[i].group, families[i].metric, families[i].fn, families[i].value,
             out);
}

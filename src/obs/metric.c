#include "obs/metric.h"

#include "base/check.h"
#include "base/heap.h"
#include "obs/metric_priv.h"

static const struct wr_metric_info infos[WR_METRICS] = {
#define X(name, prom, type, unit, labels, help) { prom, unit, labels, help, WR_METRIC_##type },
#include "obs/metric.def"
#undef X
};

static const struct {
  uint8_t labels;
  uint8_t values;
} shapes[GROUPS] = {
  [GROUP_REQUEST] = { 4, 1 },
  [GROUP_TRAFFIC] = { 2, TRAFFICS },
  [GROUP_TOKENS] = { 2, TOKENS },
  [GROUP_OPERATION] = { 4, OPERATIONS * HIST_VALUES },
  [GROUP_MODEL] = { 3, MODELS * HIST_VALUES },
  [GROUP_HOOK] = { 2, 1 },
  [GROUP_HOOK_ERROR] = { 3, 1 },
};

const struct wr_metric_info *wr_metric_info(enum wr_metric metric) {
  WR_CHECK(metric < WR_METRICS);
  return &infos[metric];
}

enum wr_err wr_metrics_new(struct wr_metrics **out) {
  struct wr_metrics *metrics = wr_heap_zalloc(WR_HEAP_OBS, sizeof *metrics);
  if (!metrics) return WR_E_NOMEM;
  metrics->magic = WR_METRICS_MAGIC;
  enum wr_err err = wr_series_init(&metrics->models, 1, 0, WR_METRIC_MODELS_MAX);
  for (unsigned g = 0; g < GROUPS && !err; g++)
    err = wr_series_init(&metrics->groups[g], shapes[g].labels, shapes[g].values,
                         WR_METRIC_SERIES_MAX);
  if (err) {
    wr_metrics_free(metrics); /* tables that were not begun are zero, and so empty */
    return err;
  }
  *out = metrics;
  return WR_OK;
}

void wr_metrics_free(struct wr_metrics *metrics) {
  if (!metrics) return;
  WR_MAGIC_CHECK(metrics, WR_METRICS_MAGIC);
  for (unsigned g = 0; g < GROUPS; g++) wr_series_fini(&metrics->groups[g]);
  wr_series_fini(&metrics->models);
  metrics->magic = 0;
  wr_heap_free(WR_HEAP_OBS, metrics);
}

void wr_metrics_add(struct wr_metrics *metrics, enum wr_metric metric, uint64_t n) {
  WR_DCHECK(wr_metric_info(metric)->labels[0] == '\0');
  WR_DCHECK(wr_metric_info(metric)->type == WR_METRIC_COUNTER);
  wr_counter_add(&metrics->scalars[metric], n);
}

uint64_t wr_metrics_get(const struct wr_metrics *metrics, enum wr_metric metric) {
  WR_CHECK(metric < WR_METRICS);
  return wr_counter_read(&metrics->scalars[metric]);
}

static struct wr_series *series_of(struct wr_metrics *metrics, enum metric_group group,
                                   const struct wr_span *labels) {
  struct wr_series_key key;
  bool folded;
  wr_series_key_make(&key, labels, shapes[group].labels);
  struct wr_series *series = wr_series_get(&metrics->groups[group], &key, &folded);
  if (folded) wr_metrics_add(metrics, WR_METRIC_LABELS_FOLDED, 1);
  return series;
}

/* A client may name any model; only what an upstream served becomes a label. */
static struct wr_span model_label(struct wr_metrics *metrics, const struct wr_record *record) {
  struct wr_series_key key;
  bool folded = false;
  if (record->model.len == 0) return record->model;
  wr_series_key_make(&key, &record->model, 1);
  bool served = record->upstream_status >= 200 && record->upstream_status < 300;
  struct wr_series *known = served ? wr_series_get(&metrics->models, &key, &folded)
                                   : wr_series_find(&metrics->models, &key);
  return known && !folded ? record->model : WR_SPAN("other");
}

static struct wr_span status_label(const struct wr_record *record) {
  static const char classes[] = "1xx2xx3xx4xx5xx";
  unsigned c = record->status / 100u;
  return c >= 1 && c <= 5 ? wr_span_make(classes + 3 * (c - 1), 3) : WR_SPAN("none");
}

/* error.type: weir's own label, or the status of an answer that says it failed. */
static struct wr_span error_label(const struct wr_record *record, char digits[3]) {
  if (record->err) return wr_span_str(wr_err_label(record->err));
  unsigned status = record->status;
  if (status < 400 || status > 999) return wr_span_make(NULL, 0);
  digits[0] = (char)('0' + status / 100);
  digits[1] = (char)('0' + status / 10 % 10);
  digits[2] = (char)('0' + status % 10);
  return wr_span_make(digits, 3);
}

static void count_traffic(struct wr_metrics *metrics, const struct wr_record *record) {
  struct wr_span labels[] = { record->route, record->upstream, status_label(record),
                              record->outcome };
  wr_counter_add(&series_of(metrics, GROUP_REQUEST, labels)->values[0], 1);
  struct wr_series *traffic = series_of(metrics, GROUP_TRAFFIC, labels);
  wr_counter_add(&traffic->values[TRAFFIC_ATTEMPTS], record->attempts);
  wr_counter_add(&traffic->values[TRAFFIC_REUSED], record->reused ? 1 : 0);
  wr_counter_add(&traffic->values[TRAFFIC_EVENTS], record->events);
  wr_counter_add(&traffic->values[TRAFFIC_IN], record->bytes_in);
  wr_counter_add(&traffic->values[TRAFFIC_OUT], record->bytes_out);
  wr_counter_add(&traffic->values[TRAFFIC_COPIED], record->copied_bytes);
}

static void count_tokens(struct wr_metrics *metrics, const struct wr_record *record,
                         struct wr_span model) {
  const int64_t tokens[TOKENS] = { [TOKENS_INPUT] = record->input_tokens,
                                   [TOKENS_OUTPUT] = record->output_tokens,
                                   [TOKENS_CACHED] = record->cached_tokens,
                                   [TOKENS_REASONING] = record->reasoning_tokens };
  const struct wr_span labels[] = { record->upstream, model };
  struct wr_series *series = NULL;
  for (unsigned i = 0; i < TOKENS; i++) {
    if (tokens[i] < 0) continue;
    if (!series) series = series_of(metrics, GROUP_TOKENS, labels);
    wr_counter_add(&series->values[i], (uint64_t)tokens[i]);
  }
}

static void observe(const struct wr_series *series, size_t i, enum wr_hist_kind kind,
                    int64_t value) {
  if (value >= 0) wr_hist_observe(series_hist(series, i), kind, (uint64_t)value);
}

static void count_operation(struct wr_metrics *metrics, const struct wr_record *record,
                            struct wr_span model) {
  char digits[3];
  struct wr_span labels[] = { record->operation, record->provider, model,
                              error_label(record, digits) };
  const struct wr_series *operation = series_of(metrics, GROUP_OPERATION, labels);
  int64_t duration_us = (int64_t)record->duration_us;
  observe(operation, OPERATION_SERVER, WR_HIST_DURATION, duration_us);
  /* What never went to a provider is no operation of a client. */
  if (record->attempts > 0) observe(operation, OPERATION_CLIENT, WR_HIST_DURATION, duration_us);
  bool good_stream = record->streamed && labels[3].len == 0;
  if (!good_stream && record->input_tokens < 0 && record->output_tokens < 0) return;
  const struct wr_series *of_model = series_of(metrics, GROUP_MODEL, labels);
  if (good_stream)
    observe(of_model, MODEL_FIRST_TOKEN, WR_HIST_FIRST_TOKEN, record->first_token_us);
  observe(of_model, MODEL_INPUT, WR_HIST_TOKENS, record->input_tokens);
  observe(of_model, MODEL_OUTPUT, WR_HIST_TOKENS, record->output_tokens);
}

void wr_metrics_observe(struct wr_metrics *metrics, const struct wr_record *record) {
  WR_MAGIC_CHECK(metrics, WR_METRICS_MAGIC);
  if (record->err && (unsigned)record->err < WR_E_COUNT)
    wr_counter_add(&metrics->errors[record->err], 1);
  if (record->kind == WR_RECORD_CONNECTION) {
    wr_metrics_add(metrics, WR_METRIC_CONNECTIONS_UNUSED, 1);
    return;
  }
  struct wr_span model = model_label(metrics, record);
  count_traffic(metrics, record);
  count_tokens(metrics, record, model);
  if (record->operation.len > 0) count_operation(metrics, record, model);
}

/* Names of plugins are those of the configuration; only reloads without end could bring many. */
static void count_hook(struct wr_metrics *metrics, enum metric_group group,
                       const struct wr_span *labels, uint64_t n) {
  WR_MAGIC_CHECK(metrics, WR_METRICS_MAGIC);
  if (n > 0) wr_counter_add(&series_of(metrics, group, labels)->values[0], n);
}

void wr_metrics_hook_calls(struct wr_metrics *metrics, struct wr_span plugin, struct wr_span hook,
                           uint64_t n) {
  const struct wr_span labels[] = { plugin, hook };
  count_hook(metrics, GROUP_HOOK, labels, n);
}

void wr_metrics_hook_errors(struct wr_metrics *metrics, struct wr_span plugin, struct wr_span hook,
                            struct wr_span kind, uint64_t n) {
  const struct wr_span labels[] = { plugin, hook, kind };
  count_hook(metrics, GROUP_HOOK_ERROR, labels, n);
}

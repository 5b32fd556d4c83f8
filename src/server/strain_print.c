/* What the admin pages say of pressure. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "server/strain.h"

static uint64_t load(const _Atomic uint64_t *counter) {
  return atomic_load_explicit(counter, memory_order_relaxed);
}

static const struct wr_ladder *ladder_of(const struct wr_relay_shared *shared, int meter) {
  return &shared->degrade.ladders[meter];
}

static double value_of(const struct wr_ladder *l) {
  return (double)atomic_load_explicit(&l->value, memory_order_relaxed) / WR_LADDER_FULL;
}

uint32_t wr_strain_step(const struct wr_strain_worker *workers, size_t n) {
  uint64_t most = 0;
  for (size_t i = 0; i < n; i++) {
    uint64_t step = load(&workers[i].stats->pressure_step);
    if (step > most) most = step;
  }
  return (uint32_t)most;
}

const char *wr_strain_cause(const struct wr_relay_shared *shared) {
  int best = -1;
  uint32_t most = 0;
  for (int m = 0; m < WR_METER_LOOP_LAG; m++) {
    uint32_t level = wr_ladder_level(ladder_of(shared, m));
    if (level > most) best = m;
    if (level > most) most = level;
  }
  return best < 0 ? NULL : wr_meter_name((enum wr_meter)best);
}

/* A row at a time, so that no number of workers is too many. */
struct rows {
  wr_prom_sink_fn sink;
  void *ctx; /* borrowed: the sink's */
};

#define ROW_BYTES 256u

static void WR_PRINTF(2, 3) put_row(const struct rows *rows, const char *format, ...) {
  char text[ROW_BYTES];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  WR_CHECK(n >= 0 && (size_t)n < sizeof text);
  rows->sink(rows->ctx, wr_span_make(text, (size_t)n));
}

static void put_meters(const struct wr_relay_shared *shared, const struct rows *rows) {
  for (int m = 0; m < WR_METER_LOOP_LAG; m++) {
    const struct wr_ladder *l = ladder_of(shared, m);
    put_row(rows, "%s\"%s\":{\"value\":%.4f,\"step\":%u,\"steps\":%u,\"ups\":%" PRIu64
                  ",\"downs\":%" PRIu64 "}",
            m ? "," : "", wr_meter_name((enum wr_meter)m), value_of(l), wr_ladder_level(l),
            atomic_load_explicit(&l->count, memory_order_relaxed), load(&l->ups), load(&l->downs));
  }
}

void wr_strain_json(const struct wr_relay_shared *shared, const struct wr_strain_worker *workers,
                    size_t n, wr_prom_sink_fn sink, void *ctx) {
  struct rows rows = { sink, ctx };
  uint32_t step = wr_strain_step(workers, n);
  const char *cause = wr_strain_cause(shared);
  put_row(&rows, "{\"step\":%u,\"degraded\":%s,\"cause\":\"%s\",\"meters\":{", step,
          step ? "true" : "false", step ? cause ? cause : "worker" : "");
  put_meters(shared, &rows);
  put_row(&rows, "},\"workers\":[");
  for (size_t i = 0; i < n; i++)
    put_row(&rows, "%s{\"worker\":%u,\"step\":%" PRIu64 ",\"loop_lag_ms\":%.1f}", i ? "," : "",
            workers[i].worker, load(&workers[i].stats->pressure_step),
            (double)load(&workers[i].stats->loop_lag_us) / 1000.0);
  put_row(&rows, "],\"actions\":{");
  for (unsigned a = 0; a < WR_ACTIONS; a++)
    put_row(&rows, "%s\"%s%s\":%" PRIu64, a ? "," : "", wr_action_name((enum wr_action)a),
            a == WR_ACTION_SHED_ALL ? ":all" : "", load(&shared->degrade.acts[a]));
  put_row(&rows, "}}\n");
}

static void print_changes(const struct wr_relay_shared *shared,
                          const struct wr_strain_worker *workers, size_t n, struct wr_prom *out) {
  wr_prom_family(out, WR_METRIC_PRESSURE_CHANGES);
  for (int m = 0; m < WR_METERS; m++) {
    uint64_t ups = load(&ladder_of(shared, m)->ups), downs = load(&ladder_of(shared, m)->downs);
    for (size_t i = 0; i < n && m == WR_METER_LOOP_LAG; i++) {
      ups += load(&workers[i].stats->lag_ups);
      downs += load(&workers[i].stats->lag_downs);
    }
    struct wr_prom_label labels[2] = { { "meter", wr_span_str(wr_meter_name((enum wr_meter)m)) },
                                       { "direction", WR_SPAN("up") } };
    wr_prom_u64(out, labels, 2, ups);
    labels[1].value = WR_SPAN("down");
    wr_prom_u64(out, labels, 2, downs);
  }
}

static struct wr_span digits(uint64_t number, char store[static 24]) {
  struct wr_buf b;
  wr_buf_init(&b, store, 24);
  wr_buf_u64(&b, number);
  return wr_buf_span(&b);
}

void wr_strain_metrics(const struct wr_relay_shared *shared, const struct wr_strain_worker *workers,
                       size_t n, struct wr_prom *out) {
  char store[24];
  wr_prom_family(out, WR_METRIC_PRESSURE_STEP);
  for (size_t i = 0; i < n; i++) {
    struct wr_prom_label label = { "worker", digits(workers[i].worker, store) };
    wr_prom_u64(out, &label, 1, load(&workers[i].stats->pressure_step));
  }
  wr_prom_family(out, WR_METRIC_LOOP_LAG);
  for (size_t i = 0; i < n; i++) {
    struct wr_prom_label label = { "worker", digits(workers[i].worker, store) };
    wr_prom_double(out, &label, 1, (double)load(&workers[i].stats->loop_lag_us) / 1e6);
  }
  wr_prom_family(out, WR_METRIC_PRESSURE_VALUE);
  for (int m = 0; m < WR_METER_LOOP_LAG; m++) {
    struct wr_prom_label label = { "meter", wr_span_str(wr_meter_name((enum wr_meter)m)) };
    wr_prom_double(out, &label, 1, value_of(ladder_of(shared, m)));
  }
  print_changes(shared, workers, n, out);
  wr_prom_family(out, WR_METRIC_PRESSURE_ACTIONS);
  for (unsigned a = 0; a < WR_ACTIONS; a++)
    wr_prom_one(out, "action",
                a == WR_ACTION_SHED_ALL ? "shed:all" : wr_action_name((enum wr_action)a),
                load(&shared->degrade.acts[a]));
  wr_prom_family(out, WR_METRIC_PRESSURE_SECONDS);
  for (uint64_t step = 0; step <= WR_LADDER_STEPS; step++) {
    uint64_t us = 0;
    for (size_t i = 0; i < n; i++) us += load(&workers[i].stats->pressure_us[step]);
    struct wr_prom_label label = { "step", digits(step, store) };
    wr_prom_double(out, &label, 1, (double)us / 1e6);
  }
}

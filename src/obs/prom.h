/* prom.h: writes Prometheus's text format (version 0.0.4).
 *
 * The caller begins a family (HELP and TYPE, once), then writes its samples. The text gathers in a
 * buffer inside the writer and goes to the sink whenever that is full, and at wr_prom_flush. The
 * holder owns the struct (often on the stack: it is 4 KiB); nothing to free. One thread. */
#ifndef WR_OBS_PROM_H
#define WR_OBS_PROM_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "obs/metric.h"

typedef void (*wr_prom_sink_fn)(void *ctx, struct wr_span text);

#define WR_PROM_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct wr_prom {
  wr_prom_sink_fn sink;
  void *ctx; /* borrowed: the sink's; outlives the writer */
  enum wr_metric family;
  struct wr_buf buf;
  char bytes[4096];
};

struct wr_prom_label {
  const char *name;     /* borrowed: static */
  struct wr_span value; /* any bytes; escaped, and what isn't UTF-8 is replaced */
};

void wr_prom_init(struct wr_prom *out, wr_prom_sink_fn sink, void *ctx);
/* Hands what is left to the sink. */
void wr_prom_flush(struct wr_prom *out);

void wr_prom_family(struct wr_prom *out, enum wr_metric metric);
/* A sample of the family that was begun last. labels may be NULL when n is 0; a label without a
 * value is printed all the same, so that the series of a family agree. */
void wr_prom_u64(struct wr_prom *out, const struct wr_prom_label *labels, size_t n, uint64_t value);
void wr_prom_double(struct wr_prom *out, const struct wr_prom_label *labels, size_t n,
                    double value);
/* Family and its only sample, without labels. */
void wr_prom_scalar(struct wr_prom *out, enum wr_metric metric, uint64_t value);
/* A sample with one label: wr_prom_one(out, "class", "head", 5). */
void wr_prom_one(struct wr_prom *out, const char *label, const char *value, uint64_t n);
/* The sample lines of a histogram: name_bucket with le, name_sum, name_count. counts has one entry
 * a bound and one for what lies above; not cumulative. */
void wr_prom_hist(struct wr_prom *out, const struct wr_prom_label *labels, size_t n,
                  const double *bounds, size_t bound_count, const uint64_t *counts, double sum);

#endif

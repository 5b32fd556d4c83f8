#include "obs/prom.h"

#include <math.h>

#include "base/check.h"

#define LABEL_MAX_BYTES 256

void wr_prom_init(struct wr_prom *out, wr_prom_sink_fn sink, void *ctx) {
  out->sink = sink;
  out->ctx = ctx;
  out->family = WR_METRICS;
  wr_buf_init(&out->buf, out->bytes, sizeof out->bytes);
}

void wr_prom_flush(struct wr_prom *out) {
  if (out->buf.len > 0) out->sink(out->ctx, wr_buf_span(&out->buf));
  wr_buf_init(&out->buf, out->bytes, sizeof out->bytes);
}

/* A run of bytes above ASCII passes if it is UTF-8; otherwise one replacement character stands for
 * it, because scrapers refuse the whole page for a single bad byte. */
static void put_high(struct wr_buf *buf, struct wr_span run) {
  char scratch[6 * LABEL_MAX_BYTES];
  struct wr_buf escaped;
  wr_buf_init(&escaped, scratch, sizeof scratch);
  wr_buf_json_text(&escaped, run);
  wr_buf_put(buf, wr_span_eq(wr_buf_span(&escaped), run) ? run : WR_SPAN("\xef\xbf\xbd"));
}

static void put_value(struct wr_buf *buf, struct wr_span value) {
  size_t n = value.len;
  if (n > LABEL_MAX_BYTES) {
    n = LABEL_MAX_BYTES;
    while (n > 0 && ((unsigned char)value.ptr[n] & 0xc0) == 0x80) n--;
  }
  for (size_t i = 0; i < n;) {
    unsigned char c = (unsigned char)value.ptr[i];
    size_t start = i++;
    if (c == '\n') {
      wr_buf_put(buf, WR_SPAN("\\n"));
    } else if (c == '"' || c == '\\') {
      wr_buf_char(buf, '\\');
      wr_buf_char(buf, (char)c);
    } else if (c < 0x20 || c == 0x7f) {
      wr_buf_put(buf, WR_SPAN("\xef\xbf\xbd"));
    } else if (c < 0x80) {
      wr_buf_char(buf, (char)c);
    } else {
      while (i < n && (unsigned char)value.ptr[i] >= 0x80) i++;
      put_high(buf, wr_span_sub(value, start, i - start));
    }
  }
}

static void put_double(struct wr_buf *buf, double value) {
  if (isnan(value))
    wr_buf_put(buf, WR_SPAN("NaN"));
  else if (isinf(value))
    wr_buf_put(buf, value > 0 ? WR_SPAN("+Inf") : WR_SPAN("-Inf"));
  else
    wr_buf_printf(buf, "%.15g", value);
}

/* le: NAN for none. */
static void put_name(struct wr_prom *out, const char *suffix, const struct wr_prom_label *labels,
                     size_t n, double le) {
  struct wr_buf *buf = &out->buf;
  wr_buf_put(buf, wr_span_str(wr_metric_info(out->family)->name));
  wr_buf_put(buf, wr_span_str(suffix));
  if (n == 0 && isnan(le)) return;
  wr_buf_char(buf, '{');
  for (size_t i = 0; i < n; i++) {
    if (i > 0) wr_buf_char(buf, ',');
    wr_buf_put(buf, wr_span_str(labels[i].name));
    wr_buf_put(buf, WR_SPAN("=\""));
    put_value(buf, labels[i].value);
    wr_buf_char(buf, '"');
  }
  if (!isnan(le)) {
    wr_buf_put(buf, n > 0 ? WR_SPAN(",le=\"") : WR_SPAN("le=\""));
    put_double(buf, le);
    wr_buf_char(buf, '"');
  }
  wr_buf_char(buf, '}');
}

struct sample {
  const char *suffix; /* borrowed: static */
  double le;          /* NAN: none */
  bool whole;         /* u64, else number */
  uint64_t u64;
  double number;
};

static bool try_sample(struct wr_prom *out, const struct wr_prom_label *labels, size_t n,
                       const struct sample *sample) {
  size_t start = out->buf.len;
  put_name(out, sample->suffix, labels, n, sample->le);
  wr_buf_char(&out->buf, ' ');
  if (sample->whole)
    wr_buf_u64(&out->buf, sample->u64);
  else
    put_double(&out->buf, sample->number);
  wr_buf_char(&out->buf, '\n');
  if (!out->buf.overflow) return true;
  out->buf.len = start;
  out->buf.overflow = false;
  return false;
}

static void put_sample(struct wr_prom *out, const struct wr_prom_label *labels, size_t n,
                       const struct sample *sample) {
  WR_CHECK(out->family < WR_METRICS);
  if (try_sample(out, labels, n, sample)) return;
  wr_prom_flush(out);
  (void)WR_EXPECT(try_sample(out, labels, n, sample));
}

static bool try_family(struct wr_prom *out, const struct wr_metric_info *info) {
  static const char *const types[] = { "counter", "gauge", "histogram" };
  size_t start = out->buf.len;
  wr_buf_printf(&out->buf, "# HELP %s %s\n# TYPE %s %s\n", info->name, info->help, info->name,
                types[info->type]);
  if (!out->buf.overflow) return true;
  out->buf.len = start;
  out->buf.overflow = false;
  return false;
}

void wr_prom_family(struct wr_prom *out, enum wr_metric metric) {
  const struct wr_metric_info *info = wr_metric_info(metric);
  out->family = metric;
  if (try_family(out, info)) return;
  wr_prom_flush(out);
  (void)WR_EXPECT(try_family(out, info));
}

void wr_prom_u64(struct wr_prom *out, const struct wr_prom_label *labels, size_t n,
                 uint64_t value) {
  put_sample(out, labels, n, &(struct sample){ "", (double)NAN, true, value, 0 });
}

void wr_prom_double(struct wr_prom *out, const struct wr_prom_label *labels, size_t n,
                    double value) {
  put_sample(out, labels, n, &(struct sample){ "", (double)NAN, false, 0, value });
}

void wr_prom_scalar(struct wr_prom *out, enum wr_metric metric, uint64_t value) {
  wr_prom_family(out, metric);
  wr_prom_u64(out, NULL, 0, value);
}

void wr_prom_one(struct wr_prom *out, const char *label, const char *value, uint64_t n) {
  wr_prom_u64(out, &(struct wr_prom_label){ label, wr_span_str(value) }, 1, n);
}

void wr_prom_hist(struct wr_prom *out, const struct wr_prom_label *labels, size_t n,
                  const double *bounds, size_t bound_count, const uint64_t *counts, double sum) {
  uint64_t total = 0;
  for (size_t i = 0; i <= bound_count; i++) {
    total += counts[i];
    double le = i < bound_count ? bounds[i] : (double)INFINITY;
    put_sample(out, labels, n, &(struct sample){ "_bucket", le, true, total, 0 });
  }
  put_sample(out, labels, n, &(struct sample){ "_sum", (double)NAN, false, 0, sum });
  put_sample(out, labels, n, &(struct sample){ "_count", (double)NAN, true, total, 0 });
}

/* docs/metrics.md says what metric.def says. `WEIR_WRITE_DOCS=1` writes it anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "obs/metric.h"

#define FILE_NAME "docs/metrics.md"

static char made[65536];

static void put_type(struct wr_buf *out, enum wr_metric_type type) {
  static const char *const names[] = { "counter", "gauge", "histogram" };
  wr_buf_put(out, wr_span_str(names[type]));
}

static void put_labels(struct wr_buf *out, const char *labels) {
  for (const char *p = labels; *p; p++) {
    if (p == labels) wr_buf_char(out, '`');
    if (*p == ',')
      wr_buf_put(out, WR_SPAN("` `"));
    else
      wr_buf_char(out, *p);
    if (p[1] == '\0') wr_buf_char(out, '`');
  }
}

static struct wr_span make_page(void) {
  struct wr_buf out;
  wr_buf_init(&out, made, sizeof made);
  wr_buf_put(&out, WR_SPAN(
    "# Metrics\n\n"
    "What `GET /metrics` of the admin listener prints, in Prometheus's text format. This page is\n"
    "made from `src/obs/metric.def` by `tests/obs/test_metric_docs.c`, which keeps the two the\n"
    "same; with `WEIR_WRITE_DOCS=1` in its environment it writes the page anew.\n\n"
    "Names that begin with `gen_ai_` are OpenTelemetry's generative AI conventions in Prometheus\n"
    "spelling, with the bucket bounds that they recommend. Label sets that come from traffic are\n"
    "bounded: at most 256 a family and worker; what comes later is counted under `other`. A model\n"
    "is named only once an upstream answered for it with 2xx.\n\n"
    "| name | type | unit | labels | help |\n|---|---|---|---|---|\n"));
  for (unsigned m = 0; m < WR_METRICS; m++) {
    const struct wr_metric_info *info = wr_metric_info((enum wr_metric)m);
    wr_buf_put(&out, WR_SPAN("| `"));
    wr_buf_put(&out, wr_span_str(info->name));
    wr_buf_put(&out, WR_SPAN("` | "));
    put_type(&out, info->type);
    wr_buf_printf(&out, " | %s | ", info->unit);
    put_labels(&out, info->labels);
    wr_buf_printf(&out, " | %s |\n", info->help);
  }
  assert_false(out.overflow);
  return wr_buf_span(&out);
}

static void docs_match(void **state) {
  (void)state;
  static char found[65536];
  struct wr_span page = make_page();
  if (getenv("WEIR_WRITE_DOCS")) {
    FILE *f = fopen(FILE_NAME, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(page.ptr, 1, page.len, f), page.len);
    assert_int_equal(fclose(f), 0);
  }
  FILE *f = fopen(FILE_NAME, "r");
  if (!f) fail_msg("%s is missing; run with WEIR_WRITE_DOCS=1 in the project's folder", FILE_NAME);
  size_t n = fread(found, 1, sizeof found, f);
  fclose(f);
  if (n != page.len || memcmp(found, page.ptr, n) != 0)
    fail_msg("%s is not what metric.def says; run with WEIR_WRITE_DOCS=1", FILE_NAME);
}

static void names_are_good(void **state) {
  (void)state;
  for (unsigned m = 0; m < WR_METRICS; m++) {
    const struct wr_metric_info *info = wr_metric_info((enum wr_metric)m);
    assert_true(strncmp(info->name, "weir_", 5) == 0 || strncmp(info->name, "gen_ai_", 7) == 0);
    assert_int_equal(strspn(info->name, "abcdefghijklmnopqrstuvwxyz_"), strlen(info->name));
    const char *total = strstr(info->name, "_total");
    bool ends_total = total && strlen(total) == 6;
    assert_int_equal(ends_total, info->type == WR_METRIC_COUNTER);
    assert_null(strchr(info->help, '|'));
    assert_null(strchr(info->help, '\n'));
    for (unsigned other = 0; other < m; other++)
      assert_string_not_equal(info->name, wr_metric_info((enum wr_metric)other)->name);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(docs_match),
                                      cmocka_unit_test(names_are_good) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

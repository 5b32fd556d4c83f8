/* Shards: what is counted, what becomes a label, and what the page says of several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/heap.h"
#include "obs/hist.h"
#include "obs/metric.h"
#include "obs/prom.h"

static char page[4 << 20];
static size_t page_len;

static void to_page(void *ctx, struct wr_span text) {
  (void)ctx;
  assert_true(page_len + text.len < sizeof page);
  memcpy(page + page_len, text.ptr, text.len);
  page_len += text.len;
  page[page_len] = '\0';
}

static void print(struct wr_metrics *const *shards, size_t n) {
  struct wr_prom out;
  page_len = 0;
  wr_prom_init(&out, to_page, NULL);
  wr_metrics_print(shards, n, &out);
  wr_prom_flush(&out);
}

static size_t times(const char *needle) {
  size_t n = 0;
  for (const char *p = page; (p = strstr(p, needle)) != NULL; p += strlen(needle)) n++;
  return n;
}

static void assert_line(const char *line) {
  size_t n = times(line);
  if (n != 1) fail_msg("%zu times: %s\n%s", n, line, page);
}
#define ASSERT_LINE(text) assert_line("\n" text "\n")

#define DURATION "gen_ai_client_operation_duration_seconds"
#define USAGE "gen_ai_client_token_usage"

static struct wr_record good(void) {
  struct wr_record r = { .kind = WR_RECORD_REQUEST, .streamed = true, .status = 200,
    .upstream_status = 200, .attempts = 1, .duration_us = 1500000, .first_byte_us = 20000,
    .first_token_us = 30000, .events = 12, .bytes_in = 100, .bytes_out = 900,
    .input_tokens = 10, .output_tokens = 300, .cached_tokens = 4, .reasoning_tokens = -1 };
  r.route = WR_SPAN("chat");
  r.model = WR_SPAN("m1");
  r.upstream = WR_SPAN("up");
  r.outcome = WR_SPAN("complete");
  r.operation = WR_SPAN("chat");
  r.provider = WR_SPAN("openai");
  return r;
}

static void counts_a_request(void **state) {
  (void)state;
  struct wr_metrics *m;
  struct wr_record r = good();
  assert_int_equal(wr_metrics_new(&m), WR_OK);
  wr_metrics_observe(m, &r);
  wr_metrics_observe(m, &r);
  wr_metrics_hook_calls(m, WR_SPAN("pii"), WR_SPAN("on_text"), 5);
  wr_metrics_hook_errors(m, WR_SPAN("pii"), WR_SPAN("on_text"), WR_SPAN("time"), 3);
  wr_metrics_hook_errors(m, WR_SPAN("pii"), WR_SPAN("on_text"), WR_SPAN("memory"), 0);
  print(&m, 1);
  ASSERT_LINE("weir_requests_total{route=\"chat\",upstream=\"up\",status=\"2xx\","
              "outcome=\"complete\"} 2");
  ASSERT_LINE("weir_request_events_total{route=\"chat\",upstream=\"up\"} 24");
  ASSERT_LINE("weir_response_body_bytes_total{route=\"chat\",upstream=\"up\"} 1800");
  ASSERT_LINE("weir_tokens_total{upstream=\"up\",model=\"m1\",type=\"cached\"} 8");
  ASSERT_LINE("weir_tokens_total{upstream=\"up\",model=\"m1\",type=\"reasoning\"} 0");
  ASSERT_LINE("weir_hook_calls_total{plugin=\"pii\",hook=\"on_text\"} 5");
  ASSERT_LINE("weir_hook_errors_total{plugin=\"pii\",hook=\"on_text\",kind=\"time\"} 3");
  assert_null(strstr(page, "kind=\"memory\""));
#define WHO                                                              \
  "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\","         \
  "gen_ai_request_model=\"m1\""
  ASSERT_LINE(DURATION "_bucket{" WHO ",error_type=\"\",le=\"1.28\"} 0");
  ASSERT_LINE(DURATION "_bucket{" WHO ",error_type=\"\",le=\"2.56\"} 2");
  ASSERT_LINE(DURATION "_bucket{" WHO ",error_type=\"\",le=\"+Inf\"} 2");
  ASSERT_LINE(DURATION "_sum{" WHO ",error_type=\"\"} 3");
  ASSERT_LINE(DURATION "_count{" WHO ",error_type=\"\"} 2");
  ASSERT_LINE("gen_ai_server_time_to_first_token_seconds_bucket{" WHO ",le=\"0.04\"} 2");
  ASSERT_LINE("gen_ai_server_time_to_first_token_seconds_bucket{" WHO ",le=\"0.02\"} 0");
  ASSERT_LINE(USAGE "_bucket{" WHO ",gen_ai_token_type=\"output\",le=\"67108864\"} 2");
  ASSERT_LINE(USAGE "_bucket{" WHO ",gen_ai_token_type=\"output\",le=\"256\"} 0");
  ASSERT_LINE(USAGE "_sum{" WHO ",gen_ai_token_type=\"input\"} 20");
  assert_int_equal(times("other"), 0 + 1); /* in a HELP only */
  assert_int_equal(times("# TYPE weir_requests_total counter\n"), 1);
  assert_int_equal(times("# TYPE gen_ai_client_token_usage histogram\n"), 1);
  wr_metrics_free(m);
  assert_int_equal(wr_heap_live_count(WR_HEAP_OBS), 0);
}

static void sums_shards(void **state) {
  (void)state;
  struct wr_metrics *m[3];
  struct wr_record r = good(), s = good();
  s.route = WR_SPAN("late");
  for (int i = 0; i < 3; i++) assert_int_equal(wr_metrics_new(&m[i]), WR_OK);
  wr_metrics_observe(m[0], &r);
  wr_metrics_observe(m[2], &s);
  wr_metrics_observe(m[2], &r);
  wr_metrics_observe(m[1], &s);
  print(m, 3);
  ASSERT_LINE("weir_attempts_total{route=\"chat\",upstream=\"up\"} 2");
  ASSERT_LINE("weir_attempts_total{route=\"late\",upstream=\"up\"} 2");
  assert_int_equal(times("weir_attempts_total{"), 2);
  ASSERT_LINE(DURATION "_count{" WHO ",error_type=\"\"} 4");
  for (int i = 0; i < 3; i++) wr_metrics_free(m[i]);
}

static void counts_failures(void **state) {
  (void)state;
  struct wr_metrics *m;
  struct wr_record r = good();
  assert_int_equal(wr_metrics_new(&m), WR_OK);
  r.err = WR_E_IDLE_TIMEOUT;
  r.outcome = WR_SPAN("stalled");
  wr_metrics_observe(m, &r);
  struct wr_record quota = good();
  quota.status = quota.upstream_status = 429;
  quota.streamed = false;
  wr_metrics_observe(m, &quota);
  struct wr_record refused = good();
  refused.err = WR_E_NO_ROUTE;
  refused.status = 404;
  refused.upstream_status = refused.attempts = 0;
  refused.operation = wr_span_make(NULL, 0);
  wr_metrics_observe(m, &refused);
  struct wr_record unused = { .kind = WR_RECORD_CONNECTION, .err = WR_E_TLS };
  wr_metrics_observe(m, &unused);
  print(&m, 1);
  ASSERT_LINE("weir_errors_total{error=\"idle_timeout\"} 1");
  ASSERT_LINE("weir_errors_total{error=\"no_route\"} 1");
  ASSERT_LINE("weir_errors_total{error=\"tls\"} 1");
  ASSERT_LINE("weir_connections_unused_total 1");
  ASSERT_LINE(DURATION "_count{" WHO ",error_type=\"idle_timeout\"} 1");
  ASSERT_LINE("gen_ai_server_request_duration_seconds_count{" WHO ",error_type=\"429\"} 1");
  assert_int_equal(times("gen_ai_server_time_to_first_token_seconds_count"), 0);
  wr_metrics_free(m);
}

static void made_up_models_have_no_name(void **state) {
  (void)state;
  struct wr_metrics *m;
  assert_int_equal(wr_metrics_new(&m), WR_OK);
  char name[32];
  for (int i = 0; i < 1000; i++) {
    struct wr_record r = good();
    r.status = r.upstream_status = 404;
    r.model = wr_span_make(name, (size_t)snprintf(name, sizeof name, "made-up-%d", i));
    wr_metrics_observe(m, &r);
  }
  print(&m, 1);
  assert_int_equal(times("made-up"), 0);
  assert_true(times("gen_ai_request_model=\"other\",error_type=\"404\"") > 0);
  assert_int_equal(wr_metrics_get(m, WR_METRIC_LABELS_FOLDED), 0);
  wr_metrics_free(m);
}

static void families_are_bounded(void **state) {
  (void)state;
  struct wr_metrics *m;
  assert_int_equal(wr_metrics_new(&m), WR_OK);
  char name[300];
  memset(name, 'x', sizeof name);
  for (int i = 0; i < 1000; i++) {
    struct wr_record r = good();
    snprintf(name, sizeof name, "route-%d", i);
    r.route = r.model = wr_span_str(name);
    wr_metrics_observe(m, &r);
  }
  print(&m, 1);
  assert_int_equal(times("\nweir_attempts_total{"), WR_METRIC_SERIES_MAX);
  ASSERT_LINE("weir_attempts_total{route=\"other\",upstream=\"other\"} 745");
  assert_int_equal(times("\nweir_tokens_total{"), WR_METRIC_MODELS_MAX * 4);
  size_t calls = wr_heap_calls();
  struct wr_record r = good();
  r.route = WR_SPAN("route-3");
  r.model = WR_SPAN("route-3");
  wr_metrics_observe(m, &r);
  r.route = WR_SPAN("route-999999");
  wr_metrics_observe(m, &r);
  assert_int_equal(wr_heap_calls(), calls);
  wr_metrics_free(m);
}

static void survives_without_memory(void **state) {
  (void)state;
  struct wr_metrics *m;
  for (unsigned n = 1;; n++) {
    wr_heap_fail_at(n, false);
    enum wr_err err = wr_metrics_new(&m);
    wr_heap_fail_at(0, false);
    if (!err) break;
    assert_int_equal(err, WR_E_NOMEM);
    assert_int_equal(wr_heap_live_count(WR_HEAP_OBS), 0);
  }
  struct wr_record r = good();
  wr_heap_fail_at(1, true);
  wr_metrics_observe(m, &r);
  wr_heap_fail_at(0, false);
  print(&m, 1);
  ASSERT_LINE("weir_attempts_total{route=\"other\",upstream=\"other\"} 1");
  assert_true(wr_metrics_get(m, WR_METRIC_LABELS_FOLDED) > 0);
  wr_metrics_free(m);
}

static void bounds_are_inclusive(void **state) {
  (void)state;
  for (unsigned k = 0; k < WR_HIST_KINDS; k++) {
    const struct wr_hist_shape *shape = wr_hist_shape((enum wr_hist_kind)k);
    for (size_t i = 0; i < shape->count; i++) {
      double raw = shape->bounds[i] * (double)shape->scale;
      assert_true(raw > (double)shape->raw_bounds[i] - 0.5);
      assert_true(raw < (double)shape->raw_bounds[i] + 0.5);
      assert_true(i == 0 || shape->raw_bounds[i] > shape->raw_bounds[i - 1]);
      struct wr_hist hist = { 0 };
      uint64_t counts[WR_HIST_MAX_BOUNDS + 1] = { 0 }, sum = 0;
      wr_hist_observe(&hist, (enum wr_hist_kind)k, shape->raw_bounds[i]);
      wr_hist_observe(&hist, (enum wr_hist_kind)k, shape->raw_bounds[i] + 1);
      wr_hist_collect(&hist, (enum wr_hist_kind)k, counts, &sum);
      assert_int_equal(counts[i], 1);
      assert_int_equal(counts[i + 1], 1);
      assert_int_equal(sum, 2 * shape->raw_bounds[i] + 1);
    }
  }
}

static void *write_shard(void *ctx) {
  char name[32];
  for (int i = 0; i < 20000; i++) {
    struct wr_record r = good();
    r.route = wr_span_make(name, (size_t)snprintf(name, sizeof name, "r%d", i % 300));
    wr_metrics_observe(ctx, &r);
  }
  return NULL;
}

static void reads_while_written(void **state) {
  (void)state;
  struct wr_metrics *m[2];
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) {
    assert_int_equal(wr_metrics_new(&m[i]), WR_OK);
    assert_int_equal(pthread_create(&threads[i], NULL, write_shard, m[i]), 0);
  }
  for (int i = 0; i < 20; i++) print(m, 2);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  print(m, 2);
  ASSERT_LINE(DURATION "_count{" WHO ",error_type=\"\"} 40000");
  for (int i = 0; i < 2; i++) wr_metrics_free(m[i]);
}

static void labels_are_escaped(void **state) {
  (void)state;
  struct wr_prom out;
  page_len = 0;
  wr_prom_init(&out, to_page, NULL);
  wr_prom_family(&out, WR_METRIC_ERRORS);
  wr_prom_one(&out, "a", "q\"b\\n\nl\x01 \xc3\xa9\xff!", 7);
  char longest[1000];
  memset(longest, 'y', sizeof longest);
  wr_prom_u64(&out, &(struct wr_prom_label){ "b", wr_span_make(longest, sizeof longest) }, 1, 1);
  wr_prom_double(&out, NULL, 0, 0.25);
  wr_prom_flush(&out);
  ASSERT_LINE("weir_errors_total{a=\"q\\\"b\\\\n\\nl\xef\xbf\xbd \xef\xbf\xbd!\"} 7");
  ASSERT_LINE("weir_errors_total 0.25");
  assert_int_equal(times("y"), 256 + 1); /* and one in "by its label" */
}

static void flushes_in_whole_lines(void **state) {
  (void)state;
  struct wr_prom out;
  page_len = 0;
  wr_prom_init(&out, to_page, NULL);
  wr_prom_family(&out, WR_METRIC_ERRORS);
  for (uint64_t i = 0; i < 5000; i++) wr_prom_one(&out, "error", "x", i);
  wr_prom_flush(&out);
  assert_int_equal(times("\nweir_errors_total{error=\"x\"} "), 5000);
  ASSERT_LINE("weir_errors_total{error=\"x\"} 4999");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(counts_a_request),      cmocka_unit_test(sums_shards),
    cmocka_unit_test(counts_failures),       cmocka_unit_test(made_up_models_have_no_name),
    cmocka_unit_test(families_are_bounded),  cmocka_unit_test(survives_without_memory),
    cmocka_unit_test(bounds_are_inclusive),  cmocka_unit_test(reads_while_written),
    cmocka_unit_test(labels_are_escaped),    cmocka_unit_test(flushes_in_whole_lines),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The whole page: every family of metric.def once, with the values that its owners counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/metrics.h"
#include "server/peers.h"
#include "upstream/state.h"

static char page[1 << 20];
static size_t page_len;

static void to_page(void *ctx, struct wr_span text) {
  (void)ctx;
  assert_true(page_len + text.len < sizeof page);
  memcpy(page + page_len, text.ptr, text.len);
  page_len += text.len;
  page[page_len] = '\0';
}

static size_t times(const char *needle) {
  size_t n = 0;
  for (const char *p = page; (p = strstr(p, needle)) != NULL; p += strlen(needle)) n++;
  return n;
}

static struct wr_relay_shared shared;
static struct wr_relay_stats relay[2];
static struct wr_loop_stats loop[2];

static void press(void) {
  atomic_store(&relay[1].pressure_step, 3);
  atomic_store(&relay[1].pressure_us[3], 2500000);
  atomic_store(&relay[1].loop_lag_us, 40000);
  atomic_store(&relay[1].lag_ups, 3);
  atomic_store(&shared.degrade.acts[WR_ACTION_SHED_ALL], 12);
  atomic_store(&shared.degrade.ladders[WR_METER_MEMORY].downs, 2);
  atomic_store(&shared.degrade.ladders[WR_METER_MEMORY].value, 250000);
}

/* What pressure says. */
static const char *const pressed[] = {
  "\nweir_pressure_step{worker=\"1\"} 3\n",
  "\nweir_loop_lag_seconds{worker=\"1\"} 0.04\n",
  "\nweir_pressure_step_seconds_total{step=\"3\"} 2.5\n",
  "\nweir_pressure_changes_total{meter=\"memory\",direction=\"down\"} 2\n",
  "\nweir_pressure_changes_total{meter=\"loop_lag\",direction=\"up\"} 3\n",
  "\nweir_pressure_actions_total{action=\"shed:all\"} 12\n",
  "\nweir_pressure_meter_ratio{meter=\"memory\"} 0.25\n",
};

static void find_pressed(void) {
  for (size_t i = 0; i < sizeof pressed / sizeof pressed[0]; i++)
    if (!strstr(page, pressed[i])) fail_msg("missing %s", pressed[i]);
}

static void find_peer(struct wr_peer_book *book) {
  page_len = 0;
  wr_server_peers_json(book, 1000, to_page, NULL);
  static const char row[] = "[{\"upstream\":\"up\",\"url\":\"http://a\",\"state\":\"open\",";
  assert_memory_equal(page, row, sizeof row - 1);
  assert_non_null(strstr(page, "\"first_token_ms\":250.000,\"failures\":1,\"opens\":1,"));
}

static void whole_page(void **state) {
  (void)state;
  struct wr_server_shard shards[2] = { { 0 } };
  struct wr_ledger *ledger;
  struct wr_prom out;
  assert_int_equal(wr_ledger_new(1 << 20, NULL, &ledger), WR_OK);
  wr_ledger_add(ledger, WR_CHARGE_TLS, 777);
  for (unsigned i = 0; i < 2; i++) {
    assert_int_equal(wr_metrics_new(&shards[i].metrics), WR_OK);
    shards[i].relay = &relay[i];
    shards[i].loop = &loop[i];
    shards[i].worker = i;
    atomic_store(&relay[i].events, 100 + i);
    loop[i].turns = 40 + i;
    loop[i].copy_bytes[WR_COPY_TLS] = 5;
  }
  struct wr_peer_book *book;
  struct wr_peer_state *peer;
  struct wr_standing_change change;
  struct wr_rand rand;
  const struct wr_conf_breaker conf = { .failures = 1, .open_ms = 60000, .open_max_ms = 60000 };
  wr_rand_init(&rand, 1);
  assert_int_equal(wr_peer_book_new(&book), WR_OK);
  assert_int_equal(wr_peer_state_take(book, "up", "http://a", "", &peer), WR_OK);
  peer->live = 1;
  wr_peer_state_note(peer, &conf, 0, WR_NOTE_FIRST, 250000, 0, 1000, &rand, &change);
  wr_peer_state_note(peer, &conf, 0, WR_NOTE_FAILED, 0, 0, 1000, &rand, &change);
  press();
  struct wr_server_gauges gauges = { .ledger = ledger,
                                     .shared = &shared,
                                     .book = book,
                                     .now_ms = 1000,
                                     .started_unix_s = 99,
                                     .draining = true,
                                     .generation = 7,
                                     .generations_live = 2,
                                     .reloads = { 6, 1, 3 } };
  wr_prom_init(&out, to_page, NULL);
  wr_server_metrics_print(shards, 2, &gauges, &out);
  wr_prom_flush(&out);
  for (unsigned m = 0; m < WR_METRICS; m++) {
    char type[160];
    snprintf(type, sizeof type, "# TYPE %s ", wr_metric_info((enum wr_metric)m)->name);
    if (times(type) != 1) fail_msg("%zu times: %s", times(type), type);
  }
  static const char *const lines[] = {
    "\nweir_peer_state{upstream=\"up\",url=\"http://a\"} 3\n",
    "\nweir_peer_first_token_seconds{upstream=\"up\",url=\"http://a\"} 0.25\n",
    "\nweir_peer_breaker_opens_total{upstream=\"up\",url=\"http://a\"} 1\n",
    "\nweir_events_total 201\n", "\nweir_loop_turns_total{worker=\"1\"} 41\n",
    "\nweir_copied_bytes_total{why=\"tls\"} 10\n", "\nweir_pool_bytes{class=\"tls\"} 777\n",
    "\nweir_config_generation 7\n", "\nweir_generations_live 2\n",
    "\nweir_reloads_total{result=\"ok\"} 6\n", "\nweir_reloads_total{result=\"refused\"} 1\n",
    "\nweir_reloads_total{result=\"error\"} 3\n",
    "\nweir_workers 2\n", "\nweir_draining 1\n", "\nweir_start_time_seconds 99\n",
    "\nweir_log_dropped_lines_total 0\n", "\nweir_heap_live_allocations{tag=\"",
  };
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
    if (!strstr(page, lines[i])) fail_msg("missing %s", lines[i]);
  find_pressed();
  for (unsigned i = 0; i < 2; i++) wr_metrics_free(shards[i].metrics);
  wr_ledger_sub(ledger, WR_CHARGE_TLS, 777);
  wr_ledger_free(ledger);
  find_peer(book);
  wr_peer_state_give(book, peer);
  wr_peer_book_free(book);
}

int main(void) {
  const struct CMUnitTest tests[] = { cmocka_unit_test(whole_page) };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

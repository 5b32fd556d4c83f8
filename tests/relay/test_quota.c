/* Limits that all workers share: buckets, streams, a hostile crowd, and what a refused client
 * reads. */
#include <pthread.h>

#include "relay/quota.h"
#include "relay/rig.h"

static uint64_t name_of(struct wr_quotas *q, uint32_t whom) {
  return wr_quotas_name(q, 'l', WR_SPAN(":8080"), wr_span_make(&whom, sizeof whom));
}

/* A burst of a second's worth, then one for each that comes back. */
static void buckets(void **state) {
  (void)state;
  struct wr_quotas *q = wr_quotas_new();
  assert_non_null(q);
  uint64_t now = 5000000, retry = 0, a = name_of(q, 1), b = name_of(q, 2);
  for (unsigned i = 0; i < 10; i++)
    assert_true(wr_quotas_take(q, a, 10, now, &retry));
  assert_false(wr_quotas_take(q, a, 10, now, &retry));
  assert_int_equal(retry, 100);
  assert_true(wr_quotas_take(q, b, 10, now, &retry));
  assert_false(wr_quotas_take(q, a, 10, now + 99000, &retry));
  assert_int_equal(retry, 1);
  assert_true(wr_quotas_take(q, a, 10, now + 100000, &retry));
  assert_false(wr_quotas_take(q, a, 10, now + 100000, &retry));
  /* A day of asking twice as often as allowed: half of it. */
  unsigned taken = 0;
  for (unsigned i = 0; i < 86400 * 2; i++)
    taken += wr_quotas_take(q, a, 1, now + 10000000 + i * 500000ull, &retry);
  assert_in_range(taken, 86399, 86402);
  assert_int_equal(wr_quotas_evicted(q), 0);
  wr_quotas_free(q);
}

static void streams(void **state) {
  (void)state;
  struct wr_quotas *q = wr_quotas_new();
  uint32_t e[4];
  uint64_t a = name_of(q, 1);
  assert_true(wr_quotas_enter(q, a, 2, 1, &e[0]));
  assert_true(wr_quotas_enter(q, a, 2, 1, &e[1]));
  assert_int_equal(e[0], e[1]);
  assert_false(wr_quotas_enter(q, a, 2, 1, &e[2]));
  assert_int_equal(e[2], WR_QUOTA_NONE);
  wr_quotas_leave(q, e[0]);
  assert_true(wr_quotas_enter(q, a, 2, 1, &e[2]));
  wr_quotas_leave(q, WR_QUOTA_NONE);
  wr_quotas_free(q);
}

/* A million addresses: who has open streams keeps its place, whoever else comes. */
static void crowd(void **state) {
  (void)state;
  struct wr_quotas *q = wr_quotas_new();
  uint32_t mine[64], other;
  uint64_t retry, now = 1000000;
  for (unsigned i = 0; i < 64; i++)
    assert_true(wr_quotas_enter(q, name_of(q, i), 1, now, &mine[i]));
  for (uint32_t i = 1000; i < 1000000; i++) {
    (void)wr_quotas_take(q, name_of(q, i), 1, now + i / 100, &retry);
    if (i % 10000 == 0)
      assert_false(wr_quotas_enter(q, name_of(q, i % 64), 1, now, &other));
  }
  assert_true(wr_quotas_evicted(q) > 900000);
  for (unsigned i = 0; i < 64; i++) {
    assert_false(wr_quotas_enter(q, name_of(q, i), 1, now, &other));
    wr_quotas_leave(q, mine[i]);
    assert_true(wr_quotas_enter(q, name_of(q, i), 1, now, &other));
  }
  /* So many streams that there is no place left: nobody is turned away for it. */
  uint32_t *held = calloc(20000, sizeof *held);
  assert_non_null(held);
  for (uint32_t i = 0; i < 20000; i++)
    assert_true(wr_quotas_enter(q, name_of(q, 5000000 + i), 1, now, &held[i]));
  for (uint32_t i = 0; i < 20000; i++)
    wr_quotas_leave(q, held[i]);
  free(held);
  wr_quotas_free(q);
}

/* Four threads, few names: the sum of what they get is what the limit says. */
struct racer {
  struct wr_quotas *q; /* borrowed: the test's */
  unsigned taken, high;
  _Atomic int *open; /* borrowed: the test's */
};
static void *race(void *arg) {
  struct racer *r = arg;
  uint64_t retry;
  uint32_t e;
  for (unsigned i = 0; i < 20000; i++) {
    r->taken += wr_quotas_take(r->q, name_of(r->q, i % 4), 100, 1000000, &retry);
    if (!wr_quotas_enter(r->q, name_of(r->q, 100 + i % 4), 2, 1, &e))
      continue;
    int open = atomic_fetch_add(&r->open[i % 4], 1) + 1;
    if ((unsigned)open > r->high)
      r->high = (unsigned)open;
    atomic_fetch_sub(&r->open[i % 4], 1);
    wr_quotas_leave(r->q, e);
  }
  return NULL;
}
static void threads(void **state) {
  (void)state;
  struct wr_quotas *q = wr_quotas_new();
  _Atomic int open[4] = { 0, 0, 0, 0 };
  pthread_t t[4];
  struct racer r[4];
  unsigned taken = 0;
  for (unsigned i = 0; i < 4; i++) {
    r[i] = (struct racer){ .q = q, .open = open };
    assert_int_equal(pthread_create(&t[i], NULL, race, &r[i]), 0);
  }
  for (unsigned i = 0; i < 4; i++) {
    pthread_join(t[i], NULL);
    taken += r[i].taken;
    assert_in_range(r[i].high, 1, 2);
  }
  assert_in_range(taken, 400, 401); /* a name that two threads brought at once, at the most */
  wr_quotas_free(q);
}

/* Which bytes of an address count. */
static void networks(void **state) {
  (void)state;
  struct wr_addr addr;
  char a[16], b[16];
  assert_int_equal(wr_addr_parse(WR_SPAN("10.1.2.3:80"), &addr), WR_OK);
  assert_int_equal(wr_addr_network(&addr, a), 4);
  assert_int_equal(wr_addr_parse(WR_SPAN("[::ffff:10.1.2.3]:80"), &addr), WR_OK);
  assert_int_equal(wr_addr_network(&addr, b), 4);
  assert_memory_equal(a, b, 4);
  assert_int_equal(wr_addr_parse(WR_SPAN("[2001:db8:1:2:3::4]:80"), &addr), WR_OK);
  assert_int_equal(wr_addr_network(&addr, a), 8);
  assert_int_equal(wr_addr_parse(WR_SPAN("[2001:db8:1:2::5]:81"), &addr), WR_OK);
  assert_int_equal(wr_addr_network(&addr, b), 8);
  assert_memory_equal(a, b, 8);
  assert_int_equal(wr_addr_parse(WR_SPAN("unix:/tmp/x"), &addr), WR_OK);
  assert_int_equal(wr_addr_network(&addr, a), 0);
}

/* --- through the relay --- */

static void ask(struct rig *r, const char *path, const char *key) {
  char text[512];
  snprintf(text, sizeof text,
           "POST %s HTTP/1.1\r\nHost: h\r\nauthorization: Bearer %s\r\nconnection: close\r\n"
           "content-type: application/json\r\ncontent-length: 27\r\n\r\n" BODY,
           path, key);
  unsigned before = r->records;
  assert_true(rig_dial(r));
  rig_send(r, text);
  TURN_UNTIL(&r->w, r->client_end && r->records > before);
}

static void setup(struct rig *r) {
  rig_init(r);
  r->answer = WR_SPAN("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
  r->answer_bytes = r->answer.len;
  r->listens[0].address = "127.0.0.1:0";
}

static void refused_by_rate(void **state) {
  (void)state;
  struct rig r;
  static const struct {
    const char *path, *says;
  } dialects[] = {
    { "/v1/chat/completions", "\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"rate_lim" },
    { "/v1/messages", "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\"," },
    { "/v1/responses", "\"code\":\"rate_limited\"" },
    { "/api/chat", "{\"error\":\"too many requests" },
  };
  for (unsigned i = 0; i < 4; i++) {
    setup(&r);
    r.listens[0].requests_per_second_per_address = i % 2 ? 2 : 0;
    r.listens[0].requests_per_second = i % 2 ? 0 : 2;
    rig_open(&r);
    for (unsigned n = 0; n < 20 && !strstr(r.got, " 429 "); n++)
      ask(&r, dialects[i].path, "k");
    assert_non_null(strstr(r.got, "HTTP/1.1 429 "));
    assert_non_null(strstr(r.got, dialects[i].says));
    assert_non_null(strstr(r.got, "\r\nretry-after: 1\r\n"));
    const char *ms = strstr(r.got, "\r\nretry-after-ms: ");
    assert_non_null(ms);
    assert_in_range(strtol(ms + 18, NULL, 10), 1, 500);
    assert_string_equal(r.outcome, "refused");
    enum wr_quota by = i % 2 ? WR_QUOTA_ADDRESS_RATE : WR_QUOTA_LISTEN_RATE;
    assert_int_equal(wr_relay_stats(r.relay)->limited[by], 1);
    assert_int_equal(wr_relay_stats(r.relay)->refused, 0); /* those are for want of room */
    rig_close(&r);
  }
}

/* One stream at a time an address; its end makes room. */
static void refused_by_streams(void **state) {
  (void)state;
  for (unsigned on_route = 0; on_route < 2; on_route++) {
    struct rig r;
    setup(&r);
    r.answer_bytes = 0; /* the first one hangs */
    *(on_route ? &r.routes[0].streams_per_address : &r.listens[0].streams_per_address) = 1;
    rig_open(&r);
    assert_true(rig_dial(&r));
    rig_send(&r, ASK_CLOSE);
    TURN_UNTIL(&r.w, r.up_count == 1 && r.ups[0]->answered == 1);
    struct wr_conn *first = r.client;
    wr_conn_set_owner(first, NULL);
    r.client = NULL;
    r.answer_bytes = r.answer.len;
    ask(&r, "/v1/chat/completions", "k");
    assert_non_null(strstr(r.got, "HTTP/1.1 429 "));
    assert_non_null(strstr(r.got, "\"code\":\"too_many_address\""));
    wr_conn_abort(first);
    TURN_UNTIL(&r.w, r.records == 2);
    ask(&r, "/v1/chat/completions", "k");
    assert_non_null(strstr(r.got, "HTTP/1.1 200 "));
    rig_close(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(buckets),
    cmocka_unit_test(streams),
    cmocka_unit_test(crowd),
    cmocka_unit_test(threads),
    cmocka_unit_test(networks),
    cmocka_unit_test(refused_by_rate),
    cmocka_unit_test(refused_by_streams),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

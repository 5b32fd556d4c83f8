/* Lines: whole, in order, never waited for, and counted where they are lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/heap.h"
#include "obs/log.h"

static char dir[] = "/tmp/weir-log-XXXXXX";
static char path[64], moved[64];
static char text[4 << 20];

static int begin(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/weir-log-XXXXXX");
  if (!mkdtemp(dir)) return -1;
  snprintf(path, sizeof path, "%s/log", dir);
  snprintf(moved, sizeof moved, "%s/log.1", dir);
  return 0;
}

static int end(void **state) {
  (void)state;
  unlink(path);
  unlink(moved);
  rmdir(dir);
  return wr_heap_live_count(WR_HEAP_OBS) == 0 ? 0 : -1;
}

static size_t slurp(const char *name) {
  int fd = open(name, O_RDONLY);
  assert_true(fd >= 0);
  size_t len = 0;
  ssize_t n;
  while ((n = read(fd, text + len, sizeof text - 1 - len)) > 0) len += (size_t)n;
  close(fd);
  text[len] = '\0';
  return len;
}

static size_t times(const char *needle) {
  size_t n = 0;
  for (const char *p = text; (p = strstr(p, needle)) != NULL; p += strlen(needle)) n++;
  return n;
}

struct place {
  struct wr_log *log;
  struct wr_logger *logger;
};

static void place_open(struct place *p, const char *target, enum wr_log_style style) {
  char why[128] = "";
  if (wr_log_open(target, style, &p->log, why, sizeof why)) fail_msg("%s", why);
  assert_int_equal(wr_logger_new(p->log, 2, &p->logger), WR_OK);
}

static void place_close(struct place *p) {
  wr_logger_free(p->logger);
  wr_log_close(p->log);
}

static void one_event(struct wr_logger *logger) {
  WR_LOG(logger, WARN, "peer_down", WR_LOG_STR("peer", "a b\"c\n"), WR_LOG_U64("failures", 3),
         WR_LOG_I64("delta", -5), WR_LOG_BOOL("last", true), WR_LOG_STR("host", "10.0.0.1:80"));
}

static void json_event(void **state) {
  (void)state;
  struct place p;
  place_open(&p, path, WR_LOG_STYLE_JSON);
  one_event(p.logger);
  WR_LOG(p.logger, DEBUG, "unseen", WR_LOG_U64("n", 1));
  assert_true(wr_logger_pending(p.logger));
  assert_int_equal(slurp(path), 0);
  wr_logger_flush(p.logger);
  assert_false(wr_logger_pending(p.logger));
  slurp(path);
  assert_memory_equal(text, "{\"ts\":\"20", 9);
  assert_non_null(strstr(text, "Z\",\"level\":\"warn\",\"event\":\"peer_down\",\"worker\":2,"
                               "\"peer\":\"a b\\\"c\\n\",\"failures\":3,\"delta\":-5,\"last\":true,"
                               "\"host\":\"10.0.0.1:80\"}\n"));
  assert_int_equal(times("\n"), 1);
  place_close(&p);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 07, 0);
}

static void logfmt_event(void **state) {
  (void)state;
  struct place p;
  place_open(&p, path, WR_LOG_STYLE_LOGFMT);
  one_event(p.logger);
  wr_log_set_level(p.log, WR_LOG_DEBUG);
  WR_LOG(p.logger, DEBUG, "seen", WR_LOG_STR("empty", ""));
  place_close(&p);
  slurp(path);
  assert_memory_equal(text, "ts=20", 5);
  assert_non_null(strstr(text, "Z level=warn event=peer_down worker=2 peer=\"a b\\\"c\\n\" "
                               "failures=3 "
                               "delta=-5 last=true host=10.0.0.1:80\n"));
  assert_non_null(strstr(text, " level=debug event=seen worker=2 empty=\"\"\n"));
}

static void a_site_is_limited(void **state) {
  (void)state;
  struct place p;
  struct wr_log_site site = { 0 };
  place_open(&p, path, WR_LOG_STYLE_JSON);
  for (int i = 0; i < 1000; i++) wr_log_event(p.logger, WR_LOG_ERROR, &site, "storm", NULL, 0);
  uint64_t suppressed = atomic_load(&site.suppressed);
  assert_true(suppressed >= 970 && suppressed <= 980);
  atomic_store(&site.full_at_us, 0); /* as after a quiet time */
  wr_log_event(p.logger, WR_LOG_ERROR, &site, "storm", NULL, 0);
  assert_int_equal(atomic_load(&site.suppressed), 0);
  place_close(&p);
  slurp(path);
  assert_int_equal(times("\n"), 1000 - suppressed + 1);
  char expected[64];
  snprintf(expected, sizeof expected, "\"suppressed\":%llu}", (unsigned long long)suppressed);
  assert_int_equal(times(expected), 1);
}

static void huge_fields_are_cut(void **state) {
  (void)state;
  static char many[3000];
  struct place p;
  struct wr_log_field fields[40];
  struct wr_log_site site = { 0 };
  memset(many, '\x01', sizeof many);
  place_open(&p, path, WR_LOG_STYLE_JSON);
  for (int i = 0; i < 40; i++) fields[i] = WR_LOG_SPAN("k", wr_span_make(many, sizeof many));
  wr_log_event(p.logger, WR_LOG_WARN, &site, "all", fields, 40);
  wr_log_event(p.logger, WR_LOG_WARN, &site, "some", fields, 10);
  wr_log_event(p.logger, WR_LOG_WARN, &site, "one", fields, 1);
  place_close(&p);
  slurp(path);
  assert_int_equal(times("\n"), 3);
  assert_int_equal(times("\\u0001"), 10 * 32 + 512);
}

static void reopen_after_rotation(void **state) {
  (void)state;
  struct place p;
  place_open(&p, path, WR_LOG_STYLE_JSON);
  wr_logger_put_line(p.logger, WR_SPAN("before"));
  wr_logger_flush(p.logger);
  assert_int_equal(rename(path, moved), 0);
  wr_logger_put_line(p.logger, WR_SPAN("between"));
  wr_logger_flush(p.logger);
  assert_int_equal(wr_log_reopen(p.log, NULL, 0), WR_OK);
  wr_logger_put_line(p.logger, WR_SPAN("after"));
  place_close(&p);
  slurp(moved);
  assert_string_equal(text, "before\nbetween\n");
  slurp(path);
  assert_string_equal(text, "after\n");
}

static void bad_targets(void **state) {
  (void)state;
  struct wr_log *log;
  char why[128] = "";
  assert_int_equal(wr_log_open("/no/such/folder/x", WR_LOG_STYLE_JSON, &log, why, sizeof why),
                   WR_E_IO);
  assert_non_null(strstr(why, "/no/such/folder/x"));
  struct place p;
  place_open(&p, "off", WR_LOG_STYLE_JSON);
  assert_true(wr_logger_off(p.logger));
  wr_logger_put_line(p.logger, WR_SPAN("nowhere"));
  assert_false(wr_logger_pending(p.logger));
  WR_LOG((struct wr_logger *)NULL, ERROR, "no_logger", WR_LOG_U64("n", 1));
  place_close(&p);
}

/* A pipe that nobody reads: nothing waits, lines are lost and counted, and the loss is told. */
static void full_pipe(void **state) {
  (void)state;
  struct place p;
  assert_int_equal(mkfifo(path, 0600), 0);
  int fd = open(path, O_RDONLY | O_NONBLOCK);
  assert_true(fd >= 0);
  place_open(&p, path, WR_LOG_STYLE_LOGFMT);
  char line[100];
  for (int i = 0; i < 20000; i++) {
    snprintf(line, sizeof line, "line=%05d filling=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", i);
    wr_logger_put_line(p.logger, wr_span_str(line));
  }
  uint64_t dropped = wr_logger_dropped(p.logger);
  assert_true(dropped > 10000 && dropped < 20000);
  size_t len = 0;
  for (;;) {
    ssize_t n = read(fd, text + len, sizeof text - 1 - len);
    if (n > 0) len += (size_t)n;
    else if (wr_logger_pending(p.logger)) wr_logger_flush(p.logger);
    else break;
  }
  wr_logger_put_line(p.logger, WR_SPAN("again"));
  wr_logger_put_line(p.logger, WR_SPAN("and again"));
  place_close(&p);
  ssize_t n;
  while ((n = read(fd, text + len, sizeof text - 1 - len)) > 0) len += (size_t)n;
  text[len] = '\0';
  close(fd);
  assert_int_equal(times("line="), 20000 - dropped);
  char expected[64];
  snprintf(expected, sizeof expected, "event=log_lines_dropped worker=2 lines=%llu\nagain\n",
           (unsigned long long)dropped);
  assert_int_equal(times(expected), 1);
  assert_int_equal(times("log_lines_dropped"), 1);
  int next = 0, i;
  for (const char *l = text; sscanf(l, "line=%5d", &i) == 1; l = strchr(l, '\n') + 1)
    assert_int_equal(i, next++);
}

/* Standard error is often a pipe in blocking mode, and shared, so that can't be changed. */
static void blocking_pipe(void **state) {
  (void)state;
  int ends[2], saved = dup(STDERR_FILENO);
  struct place p;
  char line[1000];
  memset(line, 'b', sizeof line);
  assert_int_equal(pipe(ends), 0);
  assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
  place_open(&p, "stderr", WR_LOG_STYLE_JSON);
  alarm(20); /* would wait for ever */
  for (int i = 0; i < 1000; i++) wr_logger_put_line(p.logger, wr_span_make(line, sizeof line));
  alarm(0);
  uint64_t dropped = wr_logger_dropped(p.logger);
  place_close(&p);
  assert_true(dup2(saved, STDERR_FILENO) >= 0);
  close(saved);
  close(ends[0]);
  close(ends[1]);
  assert_true(dropped > 500 && dropped < 1000);
}

struct writer {
  struct wr_log *log;
  char letter;
};

static void *write_lines(void *ctx) {
  struct writer *w = ctx;
  struct wr_logger *logger;
  char line[200];
  if (wr_logger_new(w->log, -1, &logger)) return NULL;
  for (int i = 0; i < 5000; i++) {
    size_t n = 1 + (size_t)(i * 7 % 190);
    memset(line, w->letter, n);
    wr_logger_put_line(logger, wr_span_make(line, n));
    if (i % 50 == 0) wr_logger_flush(logger);
  }
  wr_logger_free(logger);
  return NULL;
}

static void lines_do_not_mix(void **state) {
  (void)state;
  struct wr_log *log;
  struct writer w[4];
  pthread_t threads[4];
  assert_int_equal(wr_log_open(path, WR_LOG_STYLE_JSON, &log, NULL, 0), WR_OK);
  for (int i = 0; i < 4; i++) {
    w[i] = (struct writer){ log, (char)('a' + i) };
    assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &w[i]), 0);
  }
  for (int i = 0; i < 20; i++) assert_int_equal(wr_log_reopen(log, NULL, 0), WR_OK);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  wr_log_close(log);
  slurp(path);
  assert_int_equal(times("\n"), 20000);
  for (char *l = text; *l; l = strchr(l, '\n') + 1)
    for (char *c = l; *c != '\n'; c++) assert_int_equal(*c, *l);
}

/* A device that is always full. */
static void no_space(void **state) {
  (void)state;
  if (access("/dev/full", W_OK) != 0) skip();
  struct place p;
  place_open(&p, "/dev/full", WR_LOG_STYLE_JSON);
  char line[1000];
  memset(line, 'z', sizeof line);
  for (int i = 0; i < 100; i++) wr_logger_put_line(p.logger, wr_span_make(line, sizeof line));
  assert_int_equal(wr_logger_dropped(p.logger), 100 - WR_LOG_BUFFER_BYTES / 1001);
  place_close(&p);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
    TEST(json_event), TEST(logfmt_event), TEST(a_site_is_limited), TEST(huge_fields_are_cut),
    TEST(reopen_after_rotation), TEST(bad_targets), TEST(full_pipe), TEST(lines_do_not_mix),
    TEST(no_space), TEST(blocking_pipe),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <time.h>

#include "base/check.h"
#include "obs/line.h"
#include "obs/log.h"
#include "obs/log_priv.h"

#define TEXT_MAX_BYTES 512
#define SHORT_TEXT_MAX_BYTES 32

#define BUCKET_LINES UINT64_C(20)
#define REFILL_US UINT64_C(500000) /* a line */

static uint64_t clock_us(clockid_t id) {
  struct timespec ts;
  WR_CHECK(clock_gettime(id, &ts) == 0);
  return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void put_field(struct wr_line *line, const struct wr_log_field *field, size_t max_bytes) {
  switch (field->kind) {
    case WR_LOG_KIND_SPAN: wr_line_text(line, field->key, field->text, max_bytes); break;
    case WR_LOG_KIND_U64: wr_line_u64(line, field->key, field->number); break;
    case WR_LOG_KIND_I64: wr_line_i64(line, field->key, (int64_t)field->number); break;
    case WR_LOG_KIND_BOOL: wr_line_bool(line, field->key, field->number != 0); break;
  }
}

struct event {
  uint64_t unix_us;
  enum wr_log_level level;
  int worker;
  const char *name; /* borrowed: static */
  uint64_t suppressed;
};

static bool try_format(struct wr_buf *out, enum wr_log_style style, const struct event *event,
                       const struct wr_log_field *fields, size_t n, size_t max_bytes) {
  static const char *const levels[] = { "debug", "info", "warn", "error" };
  struct wr_line line;
  size_t start = out->len;
  wr_line_begin(&line, out, style);
  wr_line_time(&line, "ts", event->unix_us);
  wr_line_text(&line, "level", wr_span_str(levels[event->level]), max_bytes);
  wr_line_text(&line, "event", wr_span_str(event->name), 64);
  if (event->worker >= 0) wr_line_i64(&line, "worker", event->worker);
  if (event->suppressed > 0) wr_line_u64(&line, "suppressed", event->suppressed);
  for (size_t i = 0; i < n; i++) put_field(&line, &fields[i], max_bytes);
  wr_line_end(&line);
  if (!out->overflow) return true;
  out->len = start;
  out->overflow = false;
  return false;
}

void wr_log_format(struct wr_buf *out, const struct wr_logger *logger, enum wr_log_level level,
                   const char *event, const struct wr_log_field *fields, size_t n,
                   uint64_t suppressed) {
  struct event e = { clock_us(CLOCK_REALTIME), level, logger->worker, event, suppressed };
  enum wr_log_style style = logger->log->style;
  if (try_format(out, style, &e, fields, n, TEXT_MAX_BYTES)) return;
  if (try_format(out, style, &e, fields, n, SHORT_TEXT_MAX_BYTES)) return;
  (void)WR_EXPECT(try_format(out, style, &e, NULL, 0, SHORT_TEXT_MAX_BYTES));
}

/* The bucket as one number, the time at which it is full again: no lock, and zero is full. */
static bool site_takes(struct wr_log_site *site) {
  uint64_t now = clock_us(CLOCK_MONOTONIC);
  uint64_t old = atomic_load_explicit(&site->full_at_us, memory_order_relaxed);
  uint64_t next;
  do {
    next = (old > now ? old : now) + REFILL_US;
    if (next - now > BUCKET_LINES * REFILL_US) return false;
  } while (!atomic_compare_exchange_weak_explicit(&site->full_at_us, &old, next,
                                                  memory_order_relaxed, memory_order_relaxed));
  return true;
}

void wr_log_event(struct wr_logger *logger, enum wr_log_level level, struct wr_log_site *site,
                  const char *event, const struct wr_log_field *fields, size_t n) {
  if (!logger || logger->log->off) return;
  if ((int)level < atomic_load_explicit(&logger->log->level, memory_order_relaxed)) return;
  if (!site_takes(site)) {
    atomic_fetch_add_explicit(&site->suppressed, 1, memory_order_relaxed);
    return;
  }
  uint64_t suppressed = atomic_exchange_explicit(&site->suppressed, 0, memory_order_relaxed);
  char bytes[WR_LOG_LINE_MAX_BYTES];
  struct wr_buf line;
  wr_buf_init(&line, bytes, sizeof bytes - 1);
  wr_log_format(&line, logger, level, event, fields, n, suppressed);
  wr_logger_put_line(logger, wr_buf_span(&line));
}

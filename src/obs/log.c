#include "obs/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"
#include "obs/log_priv.h"

static bool is_file(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* O_NONBLOCK is for a target that is a FIFO without a reader: it fails instead of waiting. */
static int open_path(const char *path, char *why, size_t why_bytes) {
  int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
  if (fd < 0 && why) snprintf(why, why_bytes, "can't open log %s: %s", path, strerror(errno));
  return fd;
}

static enum wr_err open_file(struct wr_log *log, const char *path, char *why, size_t why_bytes) {
  log->path = wr_heap_strndup(WR_HEAP_OBS, path, strlen(path));
  if (!log->path) return WR_E_NOMEM;
  log->fd = open_path(path, why, why_bytes);
  return log->fd < 0 ? WR_E_IO : WR_OK;
}

enum wr_err wr_log_open(const char *target, enum wr_log_style style, struct wr_log **out, char *why,
                        size_t why_bytes) {
  struct wr_log *log = wr_heap_zalloc(WR_HEAP_OBS, sizeof *log);
  if (!log) return WR_E_NOMEM;
  log->magic = WR_LOG_MAGIC;
  log->style = style;
  log->fd = -1;
  atomic_init(&log->level, WR_LOG_INFO);
  enum wr_err err = WR_OK;
  if (strcmp(target, "off") == 0)
    log->off = true;
  else if (strcmp(target, "stderr") == 0)
    log->fd = STDERR_FILENO;
  else if (strcmp(target, "stdout") == 0)
    log->fd = STDOUT_FILENO;
  else
    err = open_file(log, target, why, why_bytes);
  if (err) {
    wr_log_close(log);
    return err;
  }
  log->file = !log->off && is_file(log->fd);
  *out = log;
  return WR_OK;
}

void wr_log_close(struct wr_log *log) {
  if (!log) return;
  WR_MAGIC_CHECK(log, WR_LOG_MAGIC);
  WR_CHECK(atomic_load(&log->loggers) == 0);
  if (log->path && log->fd >= 0) close(log->fd);
  wr_heap_free(WR_HEAP_OBS, log->path);
  log->magic = 0;
  wr_heap_free(WR_HEAP_OBS, log);
}

enum wr_err wr_log_reopen(struct wr_log *log, char *why, size_t why_bytes) {
  WR_MAGIC_CHECK(log, WR_LOG_MAGIC);
  if (!log->path) return WR_OK;
  int fd = open_path(log->path, why, why_bytes);
  if (fd < 0) return WR_E_IO;
  /* The number stays, so a write of another thread meets either the old file or the new. */
  int moved = dup3(fd, log->fd, O_CLOEXEC);
  if (moved < 0 && why) snprintf(why, why_bytes, "can't reopen log: %s", strerror(errno));
  close(fd);
  return moved < 0 ? WR_E_IO : WR_OK;
}

void wr_log_set_level(struct wr_log *log, enum wr_log_level level) {
  atomic_store_explicit(&log->level, level, memory_order_relaxed);
}

enum wr_log_style wr_log_style(const struct wr_log *log) { return log->style; }

enum wr_err wr_logger_new(struct wr_log *log, int worker, struct wr_logger **out) {
  WR_MAGIC_CHECK(log, WR_LOG_MAGIC);
  struct wr_logger *logger = wr_heap_zalloc(WR_HEAP_OBS, sizeof *logger);
  if (!logger) return WR_E_NOMEM;
  logger->magic = WR_LOGGER_MAGIC;
  logger->log = log;
  logger->worker = worker;
  if (!log->off) {
    logger->bytes = wr_heap_alloc(WR_HEAP_OBS, WR_LOG_BUFFER_BYTES);
    if (!logger->bytes) {
      wr_heap_free(WR_HEAP_OBS, logger);
      return WR_E_NOMEM;
    }
  }
  atomic_fetch_add(&log->loggers, 1);
  *out = logger;
  return WR_OK;
}

void wr_logger_free(struct wr_logger *logger) {
  if (!logger) return;
  WR_MAGIC_CHECK(logger, WR_LOGGER_MAGIC);
  wr_logger_flush(logger);
  atomic_fetch_sub(&logger->log->loggers, 1);
  wr_heap_free(WR_HEAP_OBS, logger->bytes);
  logger->magic = 0;
  wr_heap_free(WR_HEAP_OBS, logger);
}

bool wr_logger_pending(const struct wr_logger *logger) { return logger->len > 0; }
bool wr_logger_off(const struct wr_logger *logger) { return logger->log->off; }
enum wr_log_style wr_logger_style(const struct wr_logger *logger) { return logger->log->style; }

uint64_t wr_logger_dropped(const struct wr_logger *logger) {
  return atomic_load_explicit(&logger->dropped, memory_order_relaxed);
}

/* Whole lines of at most PIPE_BUF bytes: a pipe takes them in one piece, unmixed. What is left of a
 * line that was cut goes first. */
static size_t batch_bytes(const struct wr_logger *logger) {
  size_t n = logger->len < PIPE_BUF ? logger->len : PIPE_BUF;
  const char *start = logger->bytes + logger->start;
  const char *end = memrchr(start, '\n', n);
  return end ? (size_t)(end - start) + 1 : n;
}

static bool is_writable(int fd) {
  struct pollfd p = { .fd = fd, .events = POLLOUT };
  return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

/* One write; false when nothing more goes now. */
static bool write_some(struct wr_logger *logger) {
  const struct wr_log *log = logger->log;
  size_t n = logger->len;
  if (!log->file) {
    n = batch_bytes(logger);
    if (!log->path && !is_writable(log->fd)) return false; /* what we opened doesn't block */
  }
  ssize_t done = write(log->fd, logger->bytes + logger->start, n);
  if (done < 0) return errno == EINTR;
  WR_CHECK((size_t)done <= n);
  logger->start += (size_t)done;
  logger->len -= (size_t)done;
  return done > 0;
}

void wr_logger_flush(struct wr_logger *logger) {
  WR_DCHECK(logger->magic == WR_LOGGER_MAGIC);
  if (logger->len == 0) return;
  while (logger->len > 0 && write_some(logger)) continue;
  logger->stuck = logger->len > 0;
  if (logger->len == 0) logger->start = 0;
}

/* Room for n bytes behind what is there. */
static bool make_room(struct wr_logger *logger, size_t n) {
  if (logger->start + logger->len + n <= WR_LOG_BUFFER_BYTES) return true;
  /* A destination that is stuck is tried again by the next flush, not by every line. */
  if (!logger->stuck) wr_logger_flush(logger);
  if (logger->len + n > WR_LOG_BUFFER_BYTES) return false;
  memmove(logger->bytes, logger->bytes + logger->start, logger->len);
  logger->start = 0;
  return true;
}

static bool append(struct wr_logger *logger, struct wr_span line) {
  if (!make_room(logger, line.len + 1)) return false;
  char *end = logger->bytes + logger->start + logger->len;
  memcpy(end, line.ptr, line.len);
  end[line.len] = '\n';
  logger->len += line.len + 1;
  return true;
}

/* How many were lost is said before the first line that finds room again. */
static bool report_dropped(struct wr_logger *logger) {
  uint64_t dropped = wr_logger_dropped(logger);
  if (dropped == logger->reported) return true;
  char bytes[256];
  struct wr_buf line;
  wr_buf_init(&line, bytes, sizeof bytes);
  struct wr_log_field field = WR_LOG_U64("lines", dropped - logger->reported);
  wr_log_format(&line, logger, WR_LOG_WARN, "log_lines_dropped", &field, 1, 0);
  /* A line of 4 KiB must fit behind it, or reports would take the last room again and again. */
  if (!make_room(logger, line.len + 1 + WR_LOG_LINE_MAX_BYTES)) return false;
  if (!append(logger, wr_buf_span(&line))) return false;
  logger->reported = dropped;
  return true;
}

void wr_logger_put_line(struct wr_logger *logger, struct wr_span line) {
  WR_DCHECK(logger->magic == WR_LOGGER_MAGIC);
  WR_DCHECK(line.len < WR_LOG_LINE_MAX_BYTES);
  if (logger->log->off) return;
  if (report_dropped(logger) && append(logger, line)) return;
  uint64_t dropped = wr_logger_dropped(logger);
  atomic_store_explicit(&logger->dropped, dropped + 1, memory_order_relaxed);
}

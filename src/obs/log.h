/* log.h: where lines go, for the operational log and the access log alike.
 *
 * struct wr_log is the process's destination: made once before the workers, freed after them. Each
 * thread that logs has a struct wr_logger of its own on it: a buffer of 64 KiB that whole lines are
 * put into and that is written out by wr_logger_flush (call it when a turn ends or from a timer, at
 * least every second) or when it is full.
 *
 * A line never makes the loop wait: to a pipe, socket or terminal only what it takes at once is
 * written, in batches of whole lines of at most PIPE_BUF bytes, so that lines of several threads
 * don't mix; to a file a batch is one write with O_APPEND. What can't be written stays in the
 * buffer, and when that is full, lines are dropped and counted; the count is reported in a line of
 * its own when there is room again.
 *
 * An event is a constant name and fields; never a body, never a credential. */
#ifndef WR_OBS_LOG_H
#define WR_OBS_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct wr_log;
struct wr_logger;

enum wr_log_style { WR_LOG_STYLE_JSON, WR_LOG_STYLE_LOGFMT }; /* as conf's enum wr_log_format */
enum wr_log_level { WR_LOG_DEBUG, WR_LOG_INFO, WR_LOG_WARN, WR_LOG_ERROR };

#define WR_LOG_LINE_MAX_BYTES 4096
#define WR_LOG_BUFFER_BYTES 65536

/* target: "stderr", "stdout", "off" or the name of a file, which is created (mode 0640) or appended
 * to. WR_E_IO with why; WR_E_NOMEM. Lines below INFO are left out until wr_log_set_level. */
WR_MUST_USE enum wr_err wr_log_open(const char *target, enum wr_log_style style,
                                    struct wr_log **out, char *why, size_t why_bytes);
/* Every logger on it must be gone. */
void wr_log_close(struct wr_log *log);
/* Any thread: opens the file again by its name, after logrotate moved it; loggers go on
 * undisturbed. On an error the old file stays in use. Does nothing for other targets. */
WR_MUST_USE enum wr_err wr_log_reopen(struct wr_log *log, char *why, size_t why_bytes);
/* Any thread. */
void wr_log_set_level(struct wr_log *log, enum wr_log_level level);
enum wr_log_style wr_log_style(const struct wr_log *log);

/* worker: printed with each operational line; -1: not a worker. The log outlives the logger. */
WR_MUST_USE enum wr_err wr_logger_new(struct wr_log *log, int worker, struct wr_logger **out);
/* Writes what it can, then frees. */
void wr_logger_free(struct wr_logger *logger);
/* Writes out what is buffered, as far as the destination takes it. Costs a load when nothing is. */
void wr_logger_flush(struct wr_logger *logger);
bool wr_logger_pending(const struct wr_logger *logger);
/* True when lines would go nowhere ("off"): the caller may save the work. */
bool wr_logger_off(const struct wr_logger *logger);
enum wr_log_style wr_logger_style(const struct wr_logger *logger);
/* Lines lost so far; any thread. */
uint64_t wr_logger_dropped(const struct wr_logger *logger);
/* One whole line without its newline, at most WR_LOG_LINE_MAX_BYTES - 1 bytes; for writers of lines
 * such as access.h. */
void wr_logger_put_line(struct wr_logger *logger, struct wr_span line);

/* A field of an operational line. key: constant, lower case, no blanks. */
enum wr_log_kind { WR_LOG_KIND_SPAN, WR_LOG_KIND_U64, WR_LOG_KIND_I64, WR_LOG_KIND_BOOL };
struct wr_log_field {
  const char *key;     /* borrowed: static */
  enum wr_log_kind kind;
  struct wr_span text; /* cut to 512 bytes */
  uint64_t number;
};
#define WR_LOG_SPAN(k, s) ((struct wr_log_field){ (k), WR_LOG_KIND_SPAN, (s), 0 })
#define WR_LOG_STR(k, s) WR_LOG_SPAN((k), wr_span_str(s))
#define WR_LOG_U64(k, n) ((struct wr_log_field){ (k), WR_LOG_KIND_U64, { NULL, 0 }, (n) })
#define WR_LOG_I64(k, n) \
  ((struct wr_log_field){ (k), WR_LOG_KIND_I64, { NULL, 0 }, (uint64_t)(int64_t)(n) })
#define WR_LOG_BOOL(k, b) \
  ((struct wr_log_field){ (k), WR_LOG_KIND_BOOL, { NULL, 0 }, (uint64_t)((b) ? 1 : 0) })

/* A place in the program that logs: a token bucket of 20 lines and 2 more a second, over all
 * threads. Zeroed is ready. */
struct wr_log_site {
  _Atomic uint64_t full_at_us; /* when the bucket will be full again */
  _Atomic uint64_t suppressed; /* lines since the last that passed; printed with the next */
};

/* logger may be NULL: nothing happens. */
void wr_log_event(struct wr_logger *logger, enum wr_log_level level, struct wr_log_site *site,
                  const char *event, const struct wr_log_field *fields, size_t n);

/* WR_LOG(logger, WARN, "peer_down", WR_LOG_STR("peer", name), WR_LOG_U64("failures", n)); the
 * fields may be left out, the comma behind the event stays. */
#define WR_LOG(logger, level, event, ...)                                                 \
  do {                                                                                    \
    static struct wr_log_site log_site_;                                                  \
    const struct wr_log_field log_fields_[] = { WR_LOG_U64("", 0), __VA_ARGS__ };         \
    wr_log_event((logger), WR_LOG_##level, &log_site_, "" event, log_fields_ + 1,         \
                 sizeof log_fields_ / sizeof log_fields_[0] - 1);                         \
  } while (0)

#endif

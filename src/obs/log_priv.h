/* log_priv.h: what log.c and log_event.c share, and nobody else. */
#ifndef WR_OBS_LOG_PRIV_H
#define WR_OBS_LOG_PRIV_H

#include "base/buf.h"
#include "obs/log.h"

#define WR_LOG_MAGIC 0x10910910u
#define WR_LOGGER_MAGIC 0x10996e12u

struct wr_log {
  uint32_t magic;
  enum wr_log_style style;
  bool off;
  bool file;   /* a regular file: takes everything at once */
  int fd;      /* closed at the end if path is set */
  char *path;  /* owned; NULL for stderr, stdout and off */
  _Atomic int level;
  _Atomic unsigned loggers;
};

struct wr_logger {
  uint32_t magic;
  int worker;
  struct wr_log *log; /* borrowed: outlives its loggers */
  char *bytes;        /* owned: WR_LOG_BUFFER_BYTES; NULL when the log is off */
  size_t start;       /* of what isn't written yet */
  size_t len;
  bool stuck;         /* the destination took not all at the last flush */
  uint64_t reported;  /* dropped lines that were told of */
  _Atomic uint64_t dropped;
};

/* An operational line, cut until it fits. */
void wr_log_format(struct wr_buf *out, const struct wr_logger *logger, enum wr_log_level level,
                   const char *event, const struct wr_log_field *fields, size_t n,
                   uint64_t suppressed);

#endif

/* line.h: one log line as JSON or logfmt; for log.c and access.c. */
#ifndef WR_OBS_LINE_H
#define WR_OBS_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "obs/log.h"

/* Keys are constants that need no quoting, "group.key" in logfmt. */
struct wr_line {
  struct wr_buf *buf; /* borrowed: the caller's */
  const char *group;  /* borrowed: static; NULL outside of a group */
  enum wr_log_style style;
  bool first;
};

void wr_line_begin(struct wr_line *line, struct wr_buf *buf, enum wr_log_style style);
void wr_line_end(struct wr_line *line);
/* Members between these stand in an object of their own (JSON) or get a prefix (logfmt). */
void wr_line_open(struct wr_line *line, const char *group);
void wr_line_close(struct wr_line *line);

/* RFC 3339 in UTC with microseconds. */
void wr_line_time(struct wr_line *line, const char *key, uint64_t unix_us);
/* At most max_bytes of text, cut at a character's start. */
void wr_line_text(struct wr_line *line, const char *key, struct wr_span text, size_t max_bytes);
void wr_line_u64(struct wr_line *line, const char *key, uint64_t value);
void wr_line_i64(struct wr_line *line, const char *key, int64_t value);
void wr_line_bool(struct wr_line *line, const char *key, bool value);
/* Microseconds as milliseconds with three decimals. */
void wr_line_ms(struct wr_line *line, const char *key, uint64_t value_us);

#endif

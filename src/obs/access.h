/* access.h: one line for each finished exchange, as JSON or logfmt as its log says. */
#ifndef WR_OBS_ACCESS_H
#define WR_OBS_ACCESS_H

#include "base/buf.h"
#include "obs/log.h"
#include "obs/record.h"

/* The logger's thread. Puts the line into the logger's buffer. */
void wr_access_write(struct wr_logger *logger, const struct wr_record *record);
/* The line without its newline. Texts from outside are cut to 1,024 bytes, or where the line would
 * then be longer than WR_LOG_LINE_MAX_BYTES, to 96 or 16; the room must be at least that. The
 * query of a path is left out: some providers take keys there. */
void wr_access_format(struct wr_buf *out, enum wr_log_style style, const struct wr_record *record);

#endif

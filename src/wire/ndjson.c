#include "wire/ndjson.h"

void wr_ndjson_init(struct wr_ndjson *p, uint32_t max_line_bytes) {
  memset(p, 0, sizeof *p);
  p->max_bytes = max_line_bytes ? max_line_bytes : WR_NDJSON_MAX_LINE_BYTES;
  if (p->max_bytes > (1u << 30)) p->max_bytes = 1u << 30;
}

enum wr_err wr_ndjson_next(struct wr_ndjson *p, struct wr_span in, size_t *consumed,
                           struct wr_ndjson_line *line) {
  *consumed = 0;
  if (p->failed) return WR_E_EVENT_TOO_LARGE;
  if (in.len == 0) return WR_E_AGAIN;
  uint32_t room = p->max_bytes - p->pos;
  size_t limit = in.len < room ? in.len : room;
  const char *lf = limit ? memchr(in.ptr, '\n', limit) : NULL;
  if (!lf && limit < in.len) {
    p->failed = true;
    return WR_E_EVENT_TOO_LARGE;
  }
  if (!lf) {
    p->pos += (uint32_t)limit;
    p->last_cr = in.ptr[limit - 1] == '\r';
    *consumed = limit;
    return WR_E_AGAIN;
  }
  size_t n = (size_t)(lf - in.ptr);
  bool cr = n ? lf[-1] == '\r' : p->last_cr;
  line->bytes = p->pos + (uint32_t)n + 1;
  line->text.off = 0;
  line->text.len = line->bytes - 1 - cr;
  *consumed = n + 1;
  p->pos = 0;
  p->last_cr = false;
  return WR_OK;
}

enum wr_err wr_ndjson_finish(struct wr_ndjson *p, struct wr_ndjson_line *line) {
  if (p->failed) return WR_E_EVENT_TOO_LARGE;
  if (p->pos == 0) return WR_E_END;
  line->bytes = p->pos;
  line->text.off = 0;
  line->text.len = p->pos - p->last_cr;
  p->pos = 0;
  p->last_cr = false;
  return WR_OK;
}

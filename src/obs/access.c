#include "obs/access.h"

#include <string.h>

#include "base/check.h"
#include "obs/line.h"

#define TEXT_MAX_BYTES 1024
#define SHORT_TEXT_MAX_BYTES 96

/* What stands behind "?" may be a key (some providers take it there), so it never gets here. */
static struct wr_span without_query(struct wr_span path) {
  const char *mark = path.len > 0 ? memchr(path.ptr, '?', path.len) : NULL;
  return mark ? wr_span_make(path.ptr, (size_t)(mark - path.ptr)) : path;
}

static void put_text(struct wr_line *line, const char *key, struct wr_span text, size_t max_bytes) {
  if (text.len > 0) wr_line_text(line, key, text, max_bytes);
}

static void put_error(struct wr_line *line, const struct wr_record *record, size_t max_bytes) {
  if (record->err) wr_line_text(line, "error", wr_span_str(wr_err_label(record->err)), max_bytes);
  put_text(line, "why", record->why, max_bytes);
}

static void put_usage(struct wr_line *line, const struct wr_record *record) {
  if (record->input_tokens < 0 && record->output_tokens < 0 && record->cached_tokens < 0 &&
      record->reasoning_tokens < 0)
    return;
  wr_line_open(line, "usage");
  if (record->input_tokens >= 0) wr_line_i64(line, "input", record->input_tokens);
  if (record->output_tokens >= 0) wr_line_i64(line, "output", record->output_tokens);
  if (record->cached_tokens >= 0) wr_line_i64(line, "cached", record->cached_tokens);
  if (record->reasoning_tokens >= 0) wr_line_i64(line, "reasoning", record->reasoning_tokens);
  wr_line_close(line);
}

static void put_request(struct wr_line *line, const struct wr_record *record, size_t max_bytes) {
  put_text(line, "method", record->method, max_bytes);
  put_text(line, "path", without_query(record->path), max_bytes);
  put_text(line, "route", record->route, max_bytes);
  put_text(line, "key", record->key, max_bytes);
  put_text(line, "model", record->model, max_bytes);
  put_text(line, "upstream", record->upstream, max_bytes);
  put_text(line, "peer", record->peer, max_bytes);
  wr_line_u64(line, "status", record->status);
  if (record->upstream_status > 0) wr_line_u64(line, "upstream_status", record->upstream_status);
  put_text(line, "outcome", record->outcome, max_bytes);
  put_error(line, record, max_bytes);
  wr_line_bool(line, "stream", record->streamed);
  if (record->first_byte_us >= 0) wr_line_ms(line, "ttfb_ms", (uint64_t)record->first_byte_us);
  if (record->first_token_us >= 0) wr_line_ms(line, "ttft_ms", (uint64_t)record->first_token_us);
  wr_line_ms(line, "duration_ms", record->duration_us);
  if (record->queued_us) wr_line_ms(line, "queued_ms", record->queued_us);
  wr_line_u64(line, "events", record->events);
  wr_line_u64(line, "bytes_in", record->bytes_in);
  wr_line_u64(line, "bytes_out", record->bytes_out);
  wr_line_u64(line, "copied_bytes", record->copied_bytes);
  if (record->joined_events) wr_line_u64(line, "joined", record->joined_events);
  wr_line_u64(line, "attempts", record->attempts);
  put_text(line, "tried", record->tried, max_bytes);
  if (record->retried)
    wr_line_text(line, "retried", wr_span_str(wr_err_label(record->retried)), max_bytes);
  if (record->continued) {
    wr_line_u64(line, "continued", record->continued);
    wr_line_u64(line, "continued_bytes", record->continued_bytes);
  }
  put_text(line, "hedge", record->hedge, max_bytes);
  wr_line_bool(line, "reused", record->reused);
  put_usage(line, record);
}

static void put_record(struct wr_buf *out, enum wr_log_style style, const struct wr_record *record,
                       size_t max_bytes) {
  struct wr_line line;
  wr_line_begin(&line, out, style);
  wr_line_time(&line, "ts", record->started_unix_us);
  if (record->kind == WR_RECORD_CONNECTION) {
    wr_line_text(&line, "kind", WR_SPAN("connection"), max_bytes);
    put_text(&line, "client", record->client, max_bytes);
    put_error(&line, record, max_bytes);
    wr_line_ms(&line, "duration_ms", record->duration_us);
  } else {
    wr_line_u64(&line, "id", record->id);
    put_text(&line, "client", record->client, max_bytes);
    put_request(&line, record, max_bytes);
  }
  wr_line_end(&line);
}

void wr_access_format(struct wr_buf *out, enum wr_log_style style,
                      const struct wr_record *record) {
  size_t start = out->len;
  put_record(out, style, record, TEXT_MAX_BYTES);
  if (!out->overflow && out->len - start < WR_LOG_LINE_MAX_BYTES) return;
  /* Shorter, and if need be so short that it fits even when each byte takes six. */
  out->len = start;
  out->overflow = false;
  put_record(out, style, record, SHORT_TEXT_MAX_BYTES);
  if (!out->overflow && out->len - start < WR_LOG_LINE_MAX_BYTES) return;
  out->len = start;
  out->overflow = false;
  put_record(out, style, record, SHORT_TEXT_MAX_BYTES / 6);
}

void wr_access_write(struct wr_logger *logger, const struct wr_record *record) {
  if (wr_logger_off(logger)) return;
  char bytes[WR_LOG_LINE_MAX_BYTES];
  struct wr_buf line;
  wr_buf_init(&line, bytes, sizeof bytes - 1);
  wr_access_format(&line, wr_logger_style(logger), record);
  if (WR_EXPECT(!line.overflow)) wr_logger_put_line(logger, wr_buf_span(&line));
}

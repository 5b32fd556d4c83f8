#include "wire/http1_write.h"

#include "base/buf.h"
#include "base/check.h"
#include "wire/http1_parse.h"

struct wr_span wr_http1_reason(unsigned status) {
  switch (status) {
#define R(code, text) \
  case code: return WR_SPAN(text)
    R(100, "Continue");
    R(200, "OK");
    R(201, "Created");
    R(202, "Accepted");
    R(203, "Non-Authoritative Information");
    R(204, "No Content");
    R(205, "Reset Content");
    R(206, "Partial Content");
    R(301, "Moved Permanently");
    R(302, "Found");
    R(303, "See Other");
    R(304, "Not Modified");
    R(307, "Temporary Redirect");
    R(308, "Permanent Redirect");
    R(400, "Bad Request");
    R(401, "Unauthorized");
    R(402, "Payment Required");
    R(403, "Forbidden");
    R(404, "Not Found");
    R(405, "Method Not Allowed");
    R(406, "Not Acceptable");
    R(408, "Request Timeout");
    R(409, "Conflict");
    R(410, "Gone");
    R(411, "Length Required");
    R(412, "Precondition Failed");
    R(413, "Content Too Large");
    R(414, "URI Too Long");
    R(415, "Unsupported Media Type");
    R(416, "Range Not Satisfiable");
    R(417, "Expectation Failed");
    R(421, "Misdirected Request");
    R(422, "Unprocessable Content");
    R(425, "Too Early");
    R(426, "Upgrade Required");
    R(428, "Precondition Required");
    R(429, "Too Many Requests");
    R(431, "Request Header Fields Too Large");
    R(451, "Unavailable For Legal Reasons");
    R(500, "Internal Server Error");
    R(501, "Not Implemented");
    R(502, "Bad Gateway");
    R(503, "Service Unavailable");
    R(504, "Gateway Timeout");
    R(505, "HTTP Version Not Supported");
    R(507, "Insufficient Storage");
    R(529, "Overloaded");
#undef R
    default: return WR_SPAN("Unknown");
  }
}

/* Room for the whole line or for none of it: half a line must never stand in the buffer. */
static enum wr_err reserve(struct wr_buf *out, size_t bytes) {
  if (wr_buf_room(out) >= bytes) return WR_OK;
  out->overflow = true;
  return WR_E_AGAIN;
}

enum wr_err wr_http1_put_status(struct wr_buf *out, unsigned status, struct wr_span reason) {
  if (status < 100 || status > 599 || !wr_http1_is_field_value(reason)) return WR_E_ARG;
  if (reason.len == 0) reason = wr_http1_reason(status);
  enum wr_err err = reserve(out, sizeof "HTTP/1.1 200 \r\n" - 1 + reason.len);
  if (err) return err;
  wr_buf_put(out, WR_SPAN("HTTP/1.1 "));
  wr_buf_u64(out, status);
  wr_buf_char(out, ' ');
  wr_buf_put(out, reason);
  wr_buf_put(out, WR_HTTP1_CRLF);
  return WR_OK;
}

static bool is_target(struct wr_span s) {
  for (size_t i = 0; i < s.len; i++)
    if ((unsigned char)s.ptr[i] <= 0x20 || (unsigned char)s.ptr[i] >= 0x7f) return false;
  return s.len > 0;
}

enum wr_err wr_http1_put_request(struct wr_buf *out, struct wr_span method, struct wr_span target) {
  if (!wr_http1_is_token(method) || !is_target(target)) return WR_E_ARG;
  enum wr_err err = reserve(out, method.len + target.len + sizeof "  HTTP/1.1\r\n" - 1);
  if (err) return err;
  wr_buf_put(out, method);
  wr_buf_char(out, ' ');
  wr_buf_put(out, target);
  wr_buf_put(out, WR_SPAN(" HTTP/1.1\r\n"));
  return WR_OK;
}

enum wr_err wr_http1_put_field(struct wr_buf *out, struct wr_span name, struct wr_span value) {
  if (!wr_http1_is_token(name) || !wr_http1_is_field_value(value)) return WR_E_ARG;
  value = wr_span_trim(value);
  enum wr_err err = reserve(out, name.len + value.len + sizeof ": \r\n" - 1);
  if (err) return err;
  wr_buf_put(out, name);
  wr_buf_put(out, WR_SPAN(": "));
  wr_buf_put(out, value);
  wr_buf_put(out, WR_HTTP1_CRLF);
  return WR_OK;
}

enum wr_err wr_http1_put_field_u64(struct wr_buf *out, struct wr_span name, uint64_t value) {
  char digits[20];
  size_t at = sizeof digits;
  do {
    digits[--at] = (char)('0' + value % 10);
    value /= 10;
  } while (value > 0);
  return wr_http1_put_field(out, name, wr_span_make(digits + at, sizeof digits - at));
}

enum wr_err wr_http1_put_end(struct wr_buf *out) {
  enum wr_err err = reserve(out, 2);
  if (!err) wr_buf_put(out, WR_HTTP1_CRLF);
  return err;
}

size_t wr_http1_chunk_head(char out[static WR_HTTP1_CHUNK_HEAD_BYTES], size_t len) {
  WR_DCHECK(len > 0 && (uint64_t)len >> 40 == 0);
  size_t digits = 1;
  while (len >> (4 * digits) != 0) digits++;
  for (size_t i = digits; i-- > 0; len >>= 4) out[i] = "0123456789abcdef"[len & 15];
  out[digits] = '\r';
  out[digits + 1] = '\n';
  return digits + 2;
}

#include "wire/http1_parse.h"

#include "base/check.h"
#include "wire/http1_chars.h"
#include "wire/url.h"

/* What is being read: `p` moves over the head, `base` stays. */
struct reader {
  const char *base; /* borrowed: the caller's head */
  const char *p;    /* borrowed: as above */
  const char *end;  /* borrowed: as above */
};

static struct wr_extent extent(const char *base, const char *from, const char *to) {
  return (struct wr_extent){ (uint32_t)(from - base), (uint32_t)(to - from) };
}

static bool take(struct reader *r, struct wr_span literal) {
  if ((size_t)(r->end - r->p) < literal.len || memcmp(r->p, literal.ptr, literal.len) != 0)
    return false;
  r->p += literal.len;
  return true;
}

/* ---- where the head ends */

/* A control character at i. WR_OK: a line ends there. WR_E_AGAIN: its LF hasn't come yet. */
static enum wr_err line_end(struct wr_span s, size_t i) {
  if (s.ptr[i] != '\r') return WR_E_HTTP_SYNTAX;
  if (i + 1 == s.len) return WR_E_AGAIN;
  return s.ptr[i + 1] == '\n' ? WR_OK : WR_E_HTTP_SYNTAX;
}

enum wr_err wr_http1_head_end(struct wr_span bytes, size_t *resume, size_t max_bytes,
                              size_t *head_off, size_t *head_len) {
  size_t start = 0;
  if (head_off && bytes.len >= 2 && bytes.ptr[0] == '\r' && bytes.ptr[1] == '\n') start = 2;
  /* Bytes past the limit are not looked at, so that the verdict doesn't depend on how the bytes
   * arrive. */
  bool full = bytes.len - start >= max_bytes;
  if (full) bytes.len = start + max_bytes;
  size_t i = *resume > start ? *resume : start;
  while (i < bytes.len) {
    i = (size_t)(wr_http1_skip_plain(bytes.ptr + i, bytes.ptr + bytes.len) - bytes.ptr);
    if (i == bytes.len) break;
    if (bytes.ptr[i] == '\t') {
      i++;
      continue;
    }
    enum wr_err err = line_end(bytes, i);
    if (err == WR_E_AGAIN) break;
    if (err) return err;
    if (i == start) return WR_E_HTTP_SYNTAX;
    if (bytes.ptr[i - 1] == '\n') {
      if (head_off) *head_off = start;
      *head_len = i + 2 - start;
      return WR_OK;
    }
    i += 2;
  }
  *resume = i;
  return full ? WR_E_HEAD_TOO_LARGE : WR_E_AGAIN;
}

/* ---- start lines */

/* "HTTP/1.0" or "HTTP/1.1". */
static enum wr_err parse_version(struct reader *r, struct wr_head *out) {
  if (!take(r, WR_SPAN("HTTP/"))) return WR_E_HTTP_SYNTAX;
  if (r->end - r->p < 3 || !wr_char_is(r->p[0], WR_CHAR_DIGIT)) return WR_E_HTTP_SYNTAX;
  if (r->p[1] != '.' || !wr_char_is(r->p[2], WR_CHAR_DIGIT)) return WR_E_HTTP_SYNTAX;
  if (r->p[0] != '1' || r->p[2] > '1') return WR_E_HTTP_VERSION;
  out->version_minor = (uint8_t)(r->p[2] - '0');
  r->p += 3;
  return WR_OK;
}

/* Path and query, from `from` to `to`. An absolute-form may have no path: the slash before its
 * authority then stands for it, because an extent can only point at bytes that are there. */
static enum wr_err parse_path(const char *base, const char *from, const char *to,
                              const char *stand_in, struct wr_head *out) {
  const char *mark = memchr(from, '?', (size_t)(to - from));
  const char *path_end = mark ? mark : to;
  out->path = path_end == from && stand_in ? extent(base, stand_in, stand_in + 1)
                                           : extent(base, from, path_end);
  if (!wr_path_check(wr_span_at(base, out->path))) return WR_E_HTTP_TARGET;
  if (!mark) return WR_OK;
  out->has_query = true;
  out->query = extent(base, mark + 1, to);
  return wr_query_check(wr_span_at(base, out->query)) ? WR_OK : WR_E_HTTP_TARGET;
}

/* The authority of an absolute-form; *authority is compared with Host once the fields are known. */
static enum wr_err parse_absolute(const char *base, const char *from, const char *to,
                                  struct wr_span *authority, struct wr_head *out) {
  struct wr_span t = wr_span_make(from, (size_t)(to - from));
  size_t scheme = 0;
  if (t.len >= 7 && wr_span_ieq(wr_span_sub(t, 0, 7), WR_SPAN("http://"))) scheme = 7;
  if (t.len >= 8 && wr_span_ieq(wr_span_sub(t, 0, 8), WR_SPAN("https://"))) scheme = 8;
  if (scheme == 0) return WR_E_HTTP_TARGET;
  const char *host = from + scheme, *p = host;
  while (p < to && *p != '/' && *p != '?') p++;
  *authority = wr_span_make(host, (size_t)(p - host));
  if (authority->len == 0) return WR_E_HTTP_TARGET;
  return parse_path(base, p, to, host - 1, out);
}

static enum wr_err parse_target(struct reader *r, struct wr_span *authority, struct wr_head *out) {
  const char *from = r->p;
  while (r->p < r->end && (unsigned char)*r->p > 0x20 && *r->p != 0x7f) r->p++;
  const char *to = r->p;
  if (to == from) return WR_E_HTTP_SYNTAX;
  out->target = extent(r->base, from, to);
  if (*from == '/') return parse_path(r->base, from, to, NULL, out);
  if (to - from == 1 && *from == '*' && out->method == WR_METHOD_OPTIONS) {
    out->path = out->target;
    return WR_OK;
  }
  return parse_absolute(r->base, from, to, authority, out);
}

static enum wr_err parse_request_line(struct reader *r, struct wr_span *authority,
                                      struct wr_head *out) {
  const char *from = r->p;
  while (r->p < r->end && wr_char_is(*r->p, WR_CHAR_TOKEN)) r->p++;
  if (r->p == from) return WR_E_HTTP_SYNTAX;
  out->method_text = extent(r->base, from, r->p);
  struct wr_span method = wr_span_at(r->base, out->method_text);
  out->method = (uint8_t)wr_method_of(method);
  if (!take(r, WR_SPAN(" "))) return WR_E_HTTP_SYNTAX;
  if (wr_span_eq(method, WR_SPAN("CONNECT")) || wr_span_eq(method, WR_SPAN("TRACE")))
    return WR_E_METHOD;
  enum wr_err target = parse_target(r, authority, out);
  if (target == WR_E_HTTP_SYNTAX) return target;
  if (!take(r, WR_SPAN(" "))) return WR_E_HTTP_SYNTAX;
  enum wr_err err = parse_version(r, out);
  if (err) return err;
  return take(r, WR_SPAN("\r\n")) ? target : WR_E_HTTP_SYNTAX;
}

static enum wr_err parse_status_line(struct reader *r, struct wr_head *out) {
  enum wr_err err = parse_version(r, out);
  if (err) return err;
  if (r->end - r->p < 4 || *r->p != ' ') return WR_E_HTTP_SYNTAX;
  if (!wr_chars_all(wr_span_make(r->p + 1, 3), WR_CHAR_DIGIT)) return WR_E_HTTP_SYNTAX;
  out->status = (uint16_t)((r->p[1] - '0') * 100 + (r->p[2] - '0') * 10 + (r->p[3] - '0'));
  if (out->status < 100 || out->status > 599) return WR_E_HTTP_SYNTAX;
  r->p += 4;
  if (take(r, WR_SPAN(" "))) {
    const char *from = r->p;
    while (r->p < r->end && wr_char_is(*r->p, WR_CHAR_VALUE)) r->p++;
    out->reason = extent(r->base, from, r->p);
  }
  return take(r, WR_SPAN("\r\n")) ? WR_OK : WR_E_HTTP_SYNTAX;
}

/* ---- fields */

/* Digits only, no superfluous zero (somebody reads those as octal), at most 2^63-1. */
static enum wr_err parse_length(struct wr_span v, uint64_t *out) {
  uint64_t n = 0;
  if (v.len == 0 || v.len > 19 || (v.len > 1 && v.ptr[0] == '0')) return WR_E_HTTP_FRAMING;
  if (!wr_chars_all(v, WR_CHAR_DIGIT)) return WR_E_HTTP_FRAMING;
  for (size_t i = 0; i < v.len; i++) n = n * 10 + (uint64_t)(v.ptr[i] - '0');
  if (n > INT64_MAX) return WR_E_HTTP_FRAMING;
  *out = n;
  return WR_OK;
}

/* "close" wins over "keep-alive" wherever it stands. */
static enum wr_err parse_connection(struct wr_span v, bool *close, bool *keep,
                                    struct wr_head *out) {
  struct wr_span token;
  while (wr_list_next(&v, &token)) {
    if (!wr_chars_all(token, WR_CHAR_TOKEN)) return WR_E_HTTP_SYNTAX;
    if (wr_span_ieq(token, WR_SPAN("close"))) *close = true;
    else if (wr_span_ieq(token, WR_SPAN("keep-alive"))) *keep = true;
    else out->connection_names = true;
  }
  return WR_OK;
}

/* Names that are unknown to us but the real ones to some readers: "Content_Length" to CGI-like
 * ones, and what merely begins with "Transfer-Encoding" to a widespread parser, which then
 * forgets that the body is chunked. */
static bool is_framing_twin(struct wr_span name) {
  char plain[17]; /* as long as "transfer-encoding" */
  size_t n = name.len < sizeof plain ? name.len : sizeof plain;
  if (n < 14 || (n == name.len && !memchr(name.ptr, '_', n))) return false;
  for (size_t i = 0; i < n; i++) plain[i] = name.ptr[i] == '_' ? '-' : name.ptr[i];
  enum wr_field_id id = wr_field_id_of(wr_span_make(plain, n));
  return id == WR_FIELD_CONTENT_LENGTH || id == WR_FIELD_TRANSFER_ENCODING;
}

/* A tab before, or a blank behind, the value of a framing field is legal and never sent in good
 * faith: it is there because some readers then don't know the value. */
static bool has_odd_blanks(const struct wr_field *f, const char *base) {
  const char *value = base + f->value.off;
  for (const char *p = base + f->name.off + f->name.len + 1; p < value; p++)
    if (*p != ' ') return true;
  return value[f->value.len] != '\r';
}

struct facts {
  bool request;
  bool close;
  bool keep;
};

static enum wr_err note_content_length(const struct wr_field *f, const char *base,
                                       struct wr_head *out) {
  if (wr_head_has(out, WR_FIELD_CONTENT_LENGTH)) return WR_E_HTTP_FRAMING;
  if (has_odd_blanks(f, base)) return WR_E_HTTP_FRAMING;
  return parse_length(wr_span_at(base, f->value), &out->content_length);
}

static enum wr_err note_transfer_encoding(const struct wr_field *f, const char *base,
                                          const struct wr_head *out) {
  if (wr_head_has(out, WR_FIELD_TRANSFER_ENCODING)) return WR_E_HTTP_FRAMING;
  if (out->version_minor == 0 || has_odd_blanks(f, base)) return WR_E_HTTP_FRAMING;
  return wr_span_ieq(wr_span_at(base, f->value), WR_SPAN("chunked")) ? WR_OK : WR_E_HTTP_FRAMING;
}

static enum wr_err note_host(const struct wr_field *f, const char *base, struct wr_head *out) {
  struct wr_authority authority;
  if (wr_head_has(out, WR_FIELD_HOST)) return WR_E_HTTP_HOST;
  out->host = f->value;
  return wr_authority_parse(wr_span_at(base, f->value), &authority) ? WR_E_HTTP_HOST : WR_OK;
}

/* What a field means to the connection itself. */
static enum wr_err note_field(const struct wr_field *f, const char *base, struct facts *facts,
                              struct wr_head *out) {
  struct wr_span value = wr_span_at(base, f->value);
  switch (f->id) {
    case WR_FIELD_HOST: return facts->request ? note_host(f, base, out) : WR_OK;
    case WR_FIELD_CONTENT_LENGTH: return note_content_length(f, base, out);
    case WR_FIELD_TRANSFER_ENCODING: return note_transfer_encoding(f, base, out);
    case WR_FIELD_CONNECTION: return parse_connection(value, &facts->close, &facts->keep, out);
    case WR_FIELD_EXPECT:
      if (!facts->request || out->version_minor == 0) return WR_OK;
      if (!wr_span_ieq(value, WR_SPAN("100-continue"))) return WR_E_EXPECTATION;
      out->expect_continue = true;
      return WR_OK;
    case WR_FIELD_UPGRADE: out->has_upgrade = true; return WR_OK;
    case WR_FIELD_OTHER:
      return is_framing_twin(wr_span_at(base, f->name)) ? WR_E_HTTP_FRAMING : WR_OK;
    default: return WR_OK;
  }
}

/* One "name: value CRLF" into *f. A line that starts with a blank (a folded one) has no name,
 * and so is refused. */
static enum wr_err parse_field(struct reader *r, struct wr_field *f) {
  const char *from = r->p, *p = from, *end = r->end;
  while (p < end && wr_char_is(*p, WR_CHAR_TOKEN)) p++;
  if (p == from || p == end || *p != ':') return WR_E_HTTP_SYNTAX;
  f->name = extent(r->base, from, p);
  p++;
  while (p < end && (*p == ' ' || *p == '\t')) p++;
  from = p;
  while ((p = wr_http1_skip_plain(p, end)) < end && *p == '\t') p++;
  if (end - p < 2 || p[0] != '\r' || p[1] != '\n') return WR_E_HTTP_SYNTAX;
  r->p = p + 2;
  while (p > from && (p[-1] == ' ' || p[-1] == '\t')) p--;
  f->value = extent(r->base, from, p);
  return WR_OK;
}

static enum wr_err parse_fields(struct reader *r, unsigned max_fields, struct facts *facts,
                                struct wr_head *out) {
  while (r->p < r->end && *r->p != '\r') {
    if (out->field_count >= max_fields) return WR_E_HEAD_TOO_LARGE;
    struct wr_field *f = &out->fields[out->field_count];
    enum wr_err err = parse_field(r, f);
    if (err) return err;
    f->id = (uint8_t)wr_field_id_of(wr_span_at(r->base, f->name));
    err = note_field(f, r->base, facts, out);
    if (err) return err;
    out->seen |= UINT64_C(1) << f->id;
    out->field_count++;
  }
  if (!take(r, WR_SPAN("\r\n")) || r->p != r->end) return WR_E_HTTP_SYNTAX;
  if (wr_head_has(out, WR_FIELD_CONTENT_LENGTH) && wr_head_has(out, WR_FIELD_TRANSFER_ENCODING))
    return WR_E_HTTP_FRAMING;
  out->keep_alive = !facts->close && (out->version_minor > 0 || facts->keep);
  out->head_len = (uint32_t)(r->end - r->base);
  return WR_OK;
}

/* ---- whole heads */

static void head_reset(struct wr_head *out) {
  memset(out, 0, offsetof(struct wr_head, fields));
}

static enum wr_err check_limits(struct wr_span head, const struct wr_http1_limits *limits) {
  if (limits->max_fields > WR_HEAD_MAX_FIELDS) return WR_E_ARG;
  return head.len > limits->max_head_bytes ? WR_E_HEAD_TOO_LARGE : WR_OK;
}

enum wr_err wr_http1_parse_request(struct wr_span head, const struct wr_http1_limits *limits,
                                   struct wr_head *out) {
  struct wr_http1_limits l = limits ? *limits : WR_HTTP1_LIMITS;
  struct reader r = { head.ptr, head.ptr, head.ptr + head.len };
  struct facts facts = { true, false, false };
  struct wr_span authority = { NULL, 0 };
  head_reset(out);
  enum wr_err err = check_limits(head, &l);
  if (!err) err = parse_request_line(&r, &authority, out);
  if (!err) err = parse_fields(&r, l.max_fields, &facts, out);
  if (err) return err;
  if (!wr_head_has(out, WR_FIELD_HOST)) return WR_E_HTTP_HOST;
  if (authority.ptr && !wr_span_ieq(authority, wr_span_at(head.ptr, out->host)))
    return WR_E_HTTP_HOST;
  if (wr_head_has(out, WR_FIELD_TRANSFER_ENCODING)) out->framing = WR_FRAMING_CHUNKED;
  else if (wr_head_has(out, WR_FIELD_CONTENT_LENGTH)) out->framing = WR_FRAMING_LENGTH;
  return WR_OK;
}

/* 1xx and 204 promise that nothing follows; one that announces a body all the same can't be
 * trusted to send none. */
static enum wr_err response_framing(enum wr_method request_method, struct wr_head *out) {
  bool chunked = wr_head_has(out, WR_FIELD_TRANSFER_ENCODING);
  bool empty = out->status < 200 || out->status == 204;
  if (empty && (chunked || out->content_length > 0)) return WR_E_UPSTREAM_FRAMING;
  if (empty || out->status == 304 || request_method == WR_METHOD_HEAD) return WR_OK;
  if (chunked) {
    out->framing = WR_FRAMING_CHUNKED;
  } else if (wr_head_has(out, WR_FIELD_CONTENT_LENGTH)) {
    out->framing = WR_FRAMING_LENGTH;
  } else {
    out->framing = WR_FRAMING_UNTIL_CLOSE;
    out->keep_alive = false;
  }
  return WR_OK;
}

enum wr_err wr_http1_parse_response(struct wr_span head, enum wr_method request_method,
                                    const struct wr_http1_limits *limits, struct wr_head *out) {
  struct wr_http1_limits l = limits ? *limits : WR_HTTP1_LIMITS;
  struct reader r = { head.ptr, head.ptr, head.ptr + head.len };
  struct facts facts = { false, false, false };
  head_reset(out);
  enum wr_err err = check_limits(head, &l);
  if (!err) err = parse_status_line(&r, out);
  if (!err) err = parse_fields(&r, l.max_fields, &facts, out);
  if (err) return wr_http1_as_upstream(err);
  /* weir never asks to switch, so what follows a 101 is nothing that it could read. */
  if (out->status == 101) return WR_E_UPSTREAM_SYNTAX;
  return response_framing(request_method, out);
}

enum wr_err wr_http1_as_upstream(enum wr_err err) {
  switch (err) {
    case WR_E_HTTP_SYNTAX:
    case WR_E_HTTP_VERSION:
    case WR_E_HEAD_TOO_LARGE: return WR_E_UPSTREAM_SYNTAX;
    case WR_E_HTTP_CHUNK:
    case WR_E_HTTP_FRAMING: return WR_E_UPSTREAM_FRAMING;
    default: return err;
  }
}

bool wr_http1_is_token(struct wr_span s) {
  return s.len > 0 && wr_chars_all(s, WR_CHAR_TOKEN);
}

bool wr_http1_is_field_value(struct wr_span s) {
  return wr_chars_all(s, WR_CHAR_VALUE);
}

#include "wire/url.h"

#include "base/buf.h"
#include "wire/http1_chars.h"

/* ---- authorities */

/* ":port" or nothing. */
static enum wr_err parse_port(struct wr_span s, uint16_t *out) {
  unsigned port = 0;
  *out = 0;
  if (s.len == 0) return WR_OK;
  if (s.ptr[0] != ':' || s.len == 1) return WR_E_TEXT_SYNTAX;
  if (!wr_chars_all(wr_span_sub(s, 1, s.len - 1), WR_CHAR_DIGIT)) return WR_E_TEXT_SYNTAX;
  if (s.len > 6) return WR_E_TEXT_RANGE;
  for (size_t i = 1; i < s.len; i++) port = port * 10 + (unsigned)(s.ptr[i] - '0');
  if (port == 0 || port > 65535) return WR_E_TEXT_RANGE;
  *out = (uint16_t)port;
  return WR_OK;
}

/* Exactly four numbers 0..255 without superfluous zeros. */
static bool is_ipv4(struct wr_span s) {
  size_t i = 0;
  for (int part = 0; part < 4; part++) {
    unsigned n = 0;
    size_t from = i;
    while (i < s.len && i - from < 3 && wr_char_is(s.ptr[i], WR_CHAR_DIGIT))
      n = n * 10 + (unsigned)(s.ptr[i++] - '0');
    if (i == from || n > 255 || (s.ptr[from] == '0' && i - from > 1)) return false;
    if (part < 3 && (i == s.len || s.ptr[i++] != '.')) return false;
  }
  return i == s.len;
}

/* Groups of one to four hex digits, at most one "::", a dotted IPv4 address at the end. No zone. */
static bool is_ipv6(struct wr_span s) {
  int groups = 0;
  bool gap = false;
  size_t i = 0;
  if (s.len < 2 || (s.ptr[0] == ':' && s.ptr[1] != ':')) return false;
  while (i < s.len) {
    if (i + 1 < s.len && s.ptr[i] == ':' && s.ptr[i + 1] == ':') {
      if (gap) return false;
      gap = true;
      i += 2;
      continue;
    }
    if (i > 0 && s.ptr[i] == ':' && s.ptr[i - 1] != ':') i++;
    size_t from = i;
    while (i < s.len && wr_char_is(s.ptr[i], WR_CHAR_HEX)) i++;
    if (i < s.len && s.ptr[i] == '.') {
      groups += 2;
      if (!is_ipv4(wr_span_sub(s, from, s.len - from))) return false;
      break;
    }
    if (i == from || i - from > 4) return false;
    groups++;
  }
  return gap ? groups < 8 : groups == 8;
}

/* A last label of digits only would be read as an IPv4 address by some and as a name by others
 * ("0x7f.1" and its like have no reader here either: a label of digits and a leading "0x" is
 * refused with it). */
static bool name_is_clear(struct wr_span host) {
  size_t end = host.len;
  if (end > 1 && host.ptr[end - 1] == '.') end--;
  size_t from = end;
  while (from > 0 && host.ptr[from - 1] != '.') from--;
  struct wr_span label = wr_span_sub(host, from, end - from);
  if (label.len == 0 || wr_chars_all(label, WR_CHAR_DIGIT)) return false;
  bool hex = label.len >= 2 && label.ptr[0] == '0' && wr_char_lower(label.ptr[1]) == 'x';
  return !hex || !wr_chars_all(wr_span_sub(label, 2, label.len - 2), WR_CHAR_HEX);
}

static enum wr_err parse_bracketed(struct wr_span text, struct wr_authority *out) {
  const char *close = memchr(text.ptr, ']', text.len);
  if (!close) return WR_E_TEXT_SYNTAX;
  size_t n = (size_t)(close - text.ptr) - 1;
  if (!is_ipv6(wr_span_sub(text, 1, n))) return WR_E_TEXT_SYNTAX;
  out->host = (struct wr_extent){ 1, (uint32_t)n };
  out->kind = WR_HOST_IPV6;
  return parse_port(wr_span_sub(text, n + 2, text.len - n - 2), &out->port);
}

enum wr_err wr_authority_parse(struct wr_span text, struct wr_authority *out) {
  size_t n = 0;
  if (text.len > 0 && text.ptr[0] == '[') return parse_bracketed(text, out);
  while (n < text.len && wr_char_is(text.ptr[n], WR_CHAR_HOST)) n++;
  if (n == 0 || n > 255) return WR_E_TEXT_SYNTAX;
  struct wr_span host = wr_span_sub(text, 0, n);
  out->host = (struct wr_extent){ 0, (uint32_t)n };
  out->kind = is_ipv4(host) ? WR_HOST_IPV4 : WR_HOST_NAME;
  if (out->kind == WR_HOST_NAME && !name_is_clear(host)) return WR_E_TEXT_SYNTAX;
  return parse_port(wr_span_sub(text, n, text.len - n), &out->port);
}

/* ---- upstream URLs */

enum wr_err wr_url_parse(struct wr_span text, struct wr_url *out) {
  struct wr_authority authority;
  uint32_t off = 0;
  if (text.len > 4096) return WR_E_TEXT_RANGE;
  if (text.len >= 7 && wr_span_ieq(wr_span_sub(text, 0, 7), WR_SPAN("http://"))) off = 7;
  if (text.len >= 8 && wr_span_ieq(wr_span_sub(text, 0, 8), WR_SPAN("https://"))) off = 8;
  if (off == 0) return WR_E_TEXT_SYNTAX;
  uint32_t to = off;
  while (to < text.len && text.ptr[to] != '/') to++;
  out->authority = (struct wr_extent){ off, to - off };
  out->path = (struct wr_extent){ to, (uint32_t)text.len - to };
  enum wr_err err = wr_authority_parse(wr_span_at(text.ptr, out->authority), &authority);
  if (err) return err;
  if (out->path.len > 0 && !wr_path_check(wr_span_at(text.ptr, out->path))) return WR_E_TEXT_SYNTAX;
  out->host = (struct wr_extent){ off + authority.host.off, authority.host.len };
  out->tls = off == 8;
  out->port = authority.port ? authority.port : out->tls ? 443 : 80;
  out->kind = authority.kind;
  return WR_OK;
}

/* ---- paths */

/* The byte at *i, an encoded one decoded once; *i moves behind it. -1: a "%" without two hex
 * digits. */
static int decode(struct wr_span s, size_t *i, bool *encoded) {
  *encoded = s.ptr[*i] == '%';
  if (!*encoded) return (unsigned char)s.ptr[(*i)++];
  if (s.len - *i < 3) return -1;
  char high = s.ptr[*i + 1], low = s.ptr[*i + 2];
  if (!wr_char_is(high, WR_CHAR_HEX) || !wr_char_is(low, WR_CHAR_HEX)) return -1;
  *i += 3;
  return (int)(wr_char_hex(high) << 4 | wr_char_hex(low));
}

/* Follows one segment as it grows: is it "." or "..", perhaps with parameters? */
struct dots {
  unsigned count;  /* dots so far */
  bool other;      /* something else stood there */
  bool parameters; /* a ";" was seen: the rest doesn't count */
};

static bool dots_end(struct dots *d) {
  bool found = !d->other && (d->count == 1 || d->count == 2);
  *d = (struct dots){ 0, false, false };
  return found;
}

static void dots_add(struct dots *d, int c) {
  if (d->parameters) return;
  if (c == ';') d->parameters = true;
  else if (c == '.') d->count++;
  else d->other = true;
}

bool wr_path_check(struct wr_span path) {
  struct dots dots = { 0, false, false };
  if (path.len == 0 || path.ptr[0] != '/') return false;
  if (path.len > 1 && path.ptr[1] == '/') return false;
  for (size_t i = 1; i < path.len;) {
    bool encoded, literal = wr_char_is(path.ptr[i], WR_CHAR_PATH);
    int c = decode(path, &i, &encoded);
    if (c <= 0 || (!encoded && !literal)) return false;
    if (c != '/' && c != '\\') dots_add(&dots, c);
    else if (dots_end(&dots)) return false;
  }
  return !dots_end(&dots);
}

bool wr_query_check(struct wr_span query) {
  for (size_t i = 0; i < query.len;) {
    bool encoded, literal = wr_char_is(query.ptr[i], WR_CHAR_QUERY);
    int c = decode(query, &i, &encoded);
    if (c < 0 || (!encoded && !literal)) return false;
  }
  return true;
}

/* The next byte of a path as the matcher sees it: encoded unreserved bytes are what they stand
 * for, a run of "/" is one. An encoded byte of any other kind is no byte of a pattern (256), so
 * it matches nothing. */
static int path_next(struct wr_span path, size_t *i) {
  bool encoded;
  bool slash = path.ptr[*i] == '/';
  int c = decode(path, i, &encoded);
  if (slash)
    while (*i < path.len && path.ptr[*i] == '/') ++*i;
  if (encoded && (c < 0 || !wr_char_is((char)c, WR_CHAR_HOST))) return 256;
  return c;
}

static bool ends_in_slash(struct wr_span s) {
  return s.len > 0 && s.ptr[s.len - 1] == '/';
}

bool wr_path_matches(struct wr_span path, struct wr_span pattern, enum wr_path_match how) {
  size_t i = 0, k = 0;
  if (how == WR_PATH_PREFIX && ends_in_slash(pattern)) pattern.len--;
  while (k < pattern.len) {
    if (i >= path.len || path_next(path, &i) != (unsigned char)pattern.ptr[k++]) return false;
  }
  if (how == WR_PATH_EXACT) return i == path.len;
  return i == path.len || path.ptr[i] == '/' || (k > 0 && pattern.ptr[k - 1] == '/');
}

enum wr_err wr_path_join(struct wr_buf *out, struct wr_span base, struct wr_span target) {
  if (target.len == 0 || target.ptr[0] != '/') return WR_E_ARG;
  while (ends_in_slash(base)) base.len--;
  if (wr_buf_room(out) < base.len + target.len) {
    out->overflow = true;
    return WR_E_AGAIN;
  }
  wr_buf_put(out, base);
  wr_buf_put(out, target);
  return WR_OK;
}

#include "api/header.h"

static bool is_name(struct wr_span s) {
  if (s.len == 0 || s.len > 128) return false;
  for (size_t i = 0; i < s.len; i++) {
    char ch = s.ptr[i];
    bool alnum = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
    if (!alnum && !(ch && strchr("!#$%&'*+-.^_`|~", ch))) return false;
  }
  return true;
}

static bool is_value(struct wr_span s) {
  if (s.len > 1024) return false;
  for (size_t i = 0; i < s.len; i++) {
    unsigned char ch = (unsigned char)s.ptr[i];
    if ((ch < 0x20 && ch != '\t') || ch == 0x7f) return false;
  }
  return true;
}

/* The length and the connection are weir's to say. */
static bool is_reserved(struct wr_span name) {
  static const char *const names[] = {
    "content-length", "transfer-encoding", "connection", "content-type", "date", "server",
    "keep-alive",     "upgrade",           "trailer",    "te",           "proxy-connection"
  };
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (wr_span_ieq(name, wr_span_str(names[i]))) return true;
  }
  return false;
}

bool wr_header_allowed(struct wr_span name, struct wr_span value) {
  return is_name(name) && is_value(value) && !is_reserved(name);
}

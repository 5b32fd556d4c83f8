#include "net/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/text.h"

_Static_assert(sizeof(struct sockaddr_un) <= sizeof((struct wr_addr *)0)->raw, "a path must fit");

/* Copies, because the bytes of raw have no type of their own. */
static struct sockaddr_in in_of(const struct wr_addr *addr) {
  struct sockaddr_in in;
  memcpy(&in, addr->raw, sizeof in);
  return in;
}

static struct sockaddr_in6 in6_of(const struct wr_addr *addr) {
  struct sockaddr_in6 in6;
  memcpy(&in6, addr->raw, sizeof in6);
  return in6;
}

static int family_of(const struct wr_addr *addr) {
  sa_family_t family = AF_UNSPEC;
  if (addr->len >= sizeof family)
    memcpy(&family, addr->raw + offsetof(struct sockaddr, sa_family), sizeof family);
  return family;
}

static void set_raw(struct wr_addr *out, const void *raw, size_t len) {
  WR_CHECK(len <= sizeof out->raw);
  memset(out, 0, sizeof *out);
  memcpy(out->raw, raw, len);
  out->len = (uint16_t)len;
}

static enum wr_err parse_unix(struct wr_span path, struct wr_addr *out) {
  struct sockaddr_un un = { .sun_family = AF_UNIX };
  if (path.len == 0 || path.len >= sizeof un.sun_path) return WR_E_TEXT_SYNTAX;
  if (memchr(path.ptr, '\0', path.len)) return WR_E_TEXT_SYNTAX;
  memcpy(un.sun_path, path.ptr, path.len);
  set_raw(out, &un, offsetof(struct sockaddr_un, sun_path) + path.len + 1);
  return WR_OK;
}

enum wr_err wr_addr_literal(struct wr_span host, uint16_t port, struct wr_addr *out) {
  char text[INET6_ADDRSTRLEN];
  if (host.len == 0 || host.len >= sizeof text || memchr(host.ptr, '\0', host.len))
    return WR_E_TEXT_SYNTAX;
  memcpy(text, host.ptr, host.len);
  text[host.len] = '\0';
  struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
  struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
  if (inet_pton(AF_INET, text, &in.sin_addr) == 1) set_raw(out, &in, sizeof in);
  else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1) set_raw(out, &in6, sizeof in6);
  else return WR_E_TEXT_SYNTAX;
  return WR_OK;
}

/* The last colon parts host and port; brackets keep the colons of IPv6 apart. */
static enum wr_err split(struct wr_span text, struct wr_span *host, uint16_t *port) {
  const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
  if (!colon) return WR_E_TEXT_SYNTAX;
  size_t at = (size_t)(colon - text.ptr);
  uint64_t number;
  if (wr_text_u64(wr_span_sub(text, at + 1, text.len - at - 1), 65535, &number) != WR_OK)
    return WR_E_TEXT_SYNTAX;
  *port = (uint16_t)number;
  *host = wr_span_sub(text, 0, at);
  if (at >= 2 && text.ptr[0] == '[' && text.ptr[at - 1] == ']') {
    *host = wr_span_sub(text, 1, at - 2);
    if (!memchr(host->ptr, ':', host->len)) return WR_E_TEXT_SYNTAX;
  } else if (at && memchr(text.ptr, ':', at)) {
    return WR_E_TEXT_SYNTAX;
  }
  return WR_OK;
}

enum wr_err wr_addr_parse(struct wr_span text, struct wr_addr *out) {
  if (wr_span_starts(text, WR_SPAN("unix:")))
    return parse_unix(wr_span_sub(text, 5, text.len - 5), out);
  struct wr_span host;
  uint16_t port;
  enum wr_err err = split(text, &host, &port);
  if (err) return err;
  if (host.len == 0 && text.ptr[0] == ':') host = WR_SPAN("::");
  return wr_addr_literal(host, port, out);
}

/* Every line of the access log has one. */
static void format_in(const struct wr_addr *addr, char *out, size_t cap) {
  struct sockaddr_in in = in_of(addr);
  uint32_t ip = ntohl(in.sin_addr.s_addr);
  struct wr_buf buf;
  wr_buf_init(&buf, out, cap - 1);
  for (unsigned shift = 32; shift > 0; shift -= 8) {
    if (shift < 32) wr_buf_char(&buf, '.');
    wr_buf_u64(&buf, ip >> (shift - 8) & 255);
  }
  wr_buf_char(&buf, ':');
  wr_buf_u64(&buf, ntohs(in.sin_port));
  out[buf.len] = '\0';
}

const char *wr_addr_format(const struct wr_addr *addr, char *out, size_t cap) {
  char text[INET6_ADDRSTRLEN] = "?";
  if (cap == 0) return out;
  switch (family_of(addr)) {
  case AF_INET: {
    format_in(addr, out, cap);
    break;
  }
  case AF_INET6: {
    struct sockaddr_in6 in6 = in6_of(addr);
    inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
    snprintf(out, cap, "[%s]:%u", text, ntohs(in6.sin6_port));
    break;
  }
  case AF_UNIX: {
    size_t off = offsetof(struct sockaddr_un, sun_path);
    int len = addr->len > off ? (int)strnlen(addr->raw + off, addr->len - off) : 0;
    snprintf(out, cap, "unix:%.*s", len, addr->raw + off);
    break;
  }
  default:
    snprintf(out, cap, "?");
  }
  return out;
}

size_t wr_addr_network(const struct wr_addr *addr, char out[static 16]) {
  int family = family_of(addr);
  if (family == AF_INET) {
    struct sockaddr_in in = in_of(addr);
    memcpy(out, &in.sin_addr, 4);
    return 4;
  }
  if (family != AF_INET6) return 0;
  struct sockaddr_in6 in6 = in6_of(addr);
  bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
  memcpy(out, in6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 8);
  return mapped ? 4 : 8;
}

bool wr_addr_is_loopback(const struct wr_addr *addr) {
  int family = family_of(addr);
  if (family == AF_INET) {
    struct sockaddr_in in = in_of(addr);
    return ntohl(in.sin_addr.s_addr) >> 24 == 127;
  }
  if (family != AF_INET6) return family == AF_UNIX;
  struct sockaddr_in6 in6 = in6_of(addr);
  if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) return in6.sin6_addr.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
}

bool wr_addr_is_unix(const struct wr_addr *addr) { return family_of(addr) == AF_UNIX; }

uint16_t wr_addr_port(const struct wr_addr *addr) {
  int family = family_of(addr);
  if (family == AF_INET) return ntohs(in_of(addr).sin_port);
  if (family == AF_INET6) return ntohs(in6_of(addr).sin6_port);
  return 0;
}

bool wr_addr_has_route(const struct wr_addr *addr) {
  struct sockaddr_storage to;
  WR_CHECK(addr->len <= sizeof to);
  memcpy(&to, addr->raw, addr->len);
  if (wr_addr_is_unix(addr)) return true;
  int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  bool has = connect(fd, (const struct sockaddr *)&to, addr->len) == 0;
  close(fd);
  return has;
}

#include "server/inherit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/span.h"
#include "base/text.h"

#define FIRST_FD 3
#define MOST_FDS 64u

static size_t offered(void) {
  const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
  uint64_t n = 0, p = 0;
  if (!fds || wr_text_u64(wr_span_str(fds), MOST_FDS, &n) != WR_OK) return 0;
  if (pid && (wr_text_u64(wr_span_str(pid), UINT32_MAX, &p) != WR_OK || p != (uint64_t)getpid()))
    return 0;
  return (size_t)n;
}

static int is_listening(int fd, struct wr_addr *addr) {
  int on = 0;
  socklen_t len = sizeof on;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) != 0 || !on) return 0;
  len = sizeof addr->raw;
  if (getsockname(fd, (struct sockaddr *)(void *)addr->raw, &len) != 0) return 0;
  addr->len = (uint16_t)len;
  return 1;
}

size_t wr_inherit_match(const struct wr_addr *want, size_t count, int *fds) {
  for (size_t i = 0; i < count; i++) fds[i] = -1;
  size_t n = offered(), taken = 0;
  int rest[MOST_FDS];
  size_t rest_count = 0;
  for (size_t k = 0; k < n; k++) {
    int fd = FIRST_FD + (int)k;
    struct wr_addr addr;
    memset(&addr, 0, sizeof addr);
    if (!is_listening(fd, &addr)) continue;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    size_t i = 0;
    while (i < count &&
           (fds[i] >= 0 || addr.len != want[i].len || memcmp(addr.raw, want[i].raw, addr.len) != 0))
      i++;
    if (i < count) {
      fds[i] = fd;
      taken++;
    } else {
      rest[rest_count++] = fd;
    }
  }
  for (size_t i = 0, k = 0; i < count && k < rest_count; i++) {
    if (fds[i] >= 0) continue;
    fds[i] = rest[k++];
    taken++;
  }
  return taken;
}

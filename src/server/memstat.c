#include "server/memstat.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/text.h"

#define FILE_BYTES 8192u
#define FULL 1000000u
/* Version 1 says a number near 2^63 where there is no limit. */
#define NO_LIMIT (UINT64_C(1) << 60)

/* The file's text, or the empty span. */
static struct wr_span slurp(const char *root, const char *dir, const char *name,
                            char store[static FILE_BYTES]) {
  char path[1024];
  int len = snprintf(path, sizeof path, "%s%s%s", root, dir, name);
  if (len < 0 || (size_t)len >= sizeof path) return wr_span_make(store, 0);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return wr_span_make(store, 0);
  ssize_t n = read(fd, store, FILE_BYTES - 1);
  close(fd);
  store[n > 0 ? n : 0] = '\0';
  return wr_span_make(store, n > 0 ? (size_t)n : 0);
}

/* The number behind a line's first word; without a word, the file's first. */
static bool number(struct wr_span text, const char *word, uint64_t *out) {
  size_t skip = strlen(word);
  const char *p = text.ptr, *end = text.ptr + text.len;
  while (p < end) {
    const char *eol = memchr(p, '\n', (size_t)(end - p));
    if (!eol) eol = end;
    size_t n = (size_t)(eol - p);
    if (n > skip && memcmp(p, word, skip) == 0 && (skip == 0 || p[skip] == ' ')) {
      p += skip;
      while (p < eol && *p == ' ') p++;
      const char *last = p;
      while (last < eol && *last >= '0' && *last <= '9') last++;
      return wr_text_u64(wr_span_make(p, (size_t)(last - p)), UINT64_MAX, out) == WR_OK;
    }
    p = eol + 1;
  }
  return false;
}

static bool limit_of(const struct wr_memstat *m, const char *dir, bool v1, uint64_t *out) {
  char store[FILE_BYTES];
  struct wr_span text =
      slurp(m->root, dir, v1 ? "/memory.limit_in_bytes" : "/memory.max", store);
  return number(text, "", out) && *out > 0 && *out < NO_LIMIT; /* "max" is no number */
}

/* From the process's group up to the root: the tightest limit. */
static void find_group(struct wr_memstat *m, const char *mount, struct wr_span path, bool v1) {
  char dir[WR_MEMSTAT_PATH_BYTES];
  int len = snprintf(dir, sizeof dir, "%s%.*s", mount, (int)path.len, path.ptr);
  if (len < 0 || (size_t)len >= sizeof dir) return;
  for (;;) {
    uint64_t limit = 0;
    size_t n = strlen(dir);
    while (n > strlen(mount) && dir[n - 1] == '/') dir[--n] = '\0';
    if (limit_of(m, dir, v1, &limit) && limit < m->limit_bytes) {
      m->limit_bytes = limit;
      m->v1 = v1;
      memcpy(m->group, dir, n + 1);
    }
    if (n <= strlen(mount)) return;
    while (n > strlen(mount) && dir[n - 1] != '/') dir[--n] = '\0';
  }
}

/* Lines such as "0::/a/b" and "4:cpu,memory:/a/b". */
static void find_groups(struct wr_memstat *m) {
  char store[FILE_BYTES];
  struct wr_span text = slurp(m->root, "/proc/self/cgroup", "", store);
  for (const char *p = text.ptr, *end = text.ptr + text.len; p < end;) {
    const char *eol = memchr(p, '\n', (size_t)(end - p));
    if (!eol) eol = end;
    const char *a = memchr(p, ':', (size_t)(eol - p));
    const char *b = a ? memchr(a + 1, ':', (size_t)(eol - a - 1)) : NULL;
    if (b) {
      struct wr_span names = wr_span_make(a + 1, (size_t)(b - a - 1));
      struct wr_span path = wr_span_make(b + 1, (size_t)(eol - b - 1));
      if (names.len == 0) find_group(m, "/sys/fs/cgroup", path, false);
      if (names.len == 0) find_group(m, "/sys/fs/cgroup/unified", path, false);
      if (memmem(names.ptr, names.len, "memory", 6))
        find_group(m, "/sys/fs/cgroup/memory", path, true);
    }
    p = eol + 1;
  }
}

static bool readable(const struct wr_memstat *m, const char *dir, const char *name) {
  char store[FILE_BYTES];
  return slurp(m->root, dir, name, store).len > 0;
}

void wr_memstat_init(struct wr_memstat *m, const char *root, uint64_t limit_bytes) {
  memset(m, 0, sizeof *m);
  snprintf(m->root, sizeof m->root, "%s", root);
  char store[FILE_BYTES];
  uint64_t kib = 0;
  m->limit_bytes = NO_LIMIT;
  if (limit_bytes) {
    m->limit_bytes = limit_bytes;
  } else {
    if (number(slurp(m->root, "/proc/meminfo", "", store), "MemTotal:", &kib) && kib > 0)
      m->limit_bytes = kib * 1024;
    find_groups(m);
  }
  if (m->group[0] && !m->v1 && readable(m, m->group, "/memory.pressure"))
    snprintf(m->psi, sizeof m->psi, "%s/memory.pressure", m->group);
  else if (readable(m, "/proc/pressure/memory", ""))
    snprintf(m->psi, sizeof m->psi, "/proc/pressure/memory");
}

/* What the group can't give back: all but the pages of files. */
static uint64_t group_bytes(const struct wr_memstat *m) {
  char store[FILE_BYTES];
  uint64_t used = 0, active = 0, inactive = 0;
  struct wr_span text =
      slurp(m->root, m->group, m->v1 ? "/memory.usage_in_bytes" : "/memory.current", store);
  if (!number(text, "", &used)) return 0;
  text = slurp(m->root, m->group, "/memory.stat", store);
  (void)number(text, m->v1 ? "total_active_file" : "active_file", &active);
  (void)number(text, m->v1 ? "total_inactive_file" : "inactive_file", &inactive);
  uint64_t file = active + inactive;
  return file < used ? used - file : 0;
}

static uint64_t process_bytes(const struct wr_memstat *m) {
  char store[FILE_BYTES];
  uint64_t kib = 0;
  char *rss = NULL;
  if (slurp(m->root, "/proc/self/status", "", store).len) rss = strstr(store, "\nVmRSS:");
  if (!rss || !number(wr_span_str(rss + 7 + strspn(rss + 7, "\t ")), "", &kib)) return 0;
  return kib * 1024;
}

uint32_t wr_memstat_share(const struct wr_memstat *m) {
  WR_DCHECK(m->limit_bytes > 0);
  if (m->limit_bytes >= NO_LIMIT) return 0;
  uint64_t used = m->group[0] ? group_bytes(m) : process_bytes(m);
  double share = (double)used / (double)m->limit_bytes;
  return share < 1.0 ? (uint32_t)(share * FULL) : FULL;
}

uint32_t wr_memstat_stall(const struct wr_memstat *m) {
  char store[FILE_BYTES];
  if (!m->psi[0]) return 0;
  struct wr_span text = slurp(m->root, m->psi, "", store);
  const char *some = text.len ? strstr(store, "some avg10=") : NULL;
  uint32_t value = 0, places = 0;
  if (!some) return 0;
  bool dot = false;
  for (some += 11; places < 4 && value <= FULL; some++) { /* hundredths of a percent */
    if (*some == '.') {
      dot = true;
      continue;
    }
    if (*some < '0' || *some > '9') break;
    value = value * 10 + (uint32_t)(*some - '0');
    places += dot;
  }
  for (; places < 4; places++) value *= 10;
  return value < FULL ? value : FULL;
}

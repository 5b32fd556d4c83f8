#include "mock/replay.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/heap.h"
#include "wire/json_scan.h"

struct wr_mock_recording {
  struct wr_mock_recording *next; /* owned: the chain */
  char *path;                     /* owned */
  char *bytes;                    /* owned */
  size_t len;
};

void wr_mock_recordings_init(struct wr_mock_recordings *set) {
  set->first = NULL;
  set->count = 0;
}

static void recording_free(struct wr_mock_recording *r) {
  wr_heap_free(WR_HEAP_MOCK, r->path);
  wr_heap_free(WR_HEAP_MOCK, r->bytes);
  wr_heap_free(WR_HEAP_MOCK, r);
}

void wr_mock_recordings_fini(struct wr_mock_recordings *set) {
  while (set->first != NULL) {
    struct wr_mock_recording *r = set->first;
    set->first = r->next;
    recording_free(r);
  }
  set->count = 0;
}

static enum wr_err read_all(int fd, struct wr_mock_recording *r) {
  struct stat st;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return WR_E_IO;
  if (st.st_size <= 0 || (uint64_t)st.st_size > WR_MOCK_RECORDING_MAX_BYTES) return WR_E_IO;
  size_t size = (size_t)st.st_size;
  r->bytes = wr_heap_alloc(WR_HEAP_MOCK, size);
  if (r->bytes == NULL) return WR_E_NOMEM;
  while (r->len < size) {
    ssize_t n = read(fd, r->bytes + r->len, size - r->len);
    if (n < 0) return WR_E_IO;
    if (n == 0)
      break; /* it became shorter meanwhile: what was read is whole lines or a last part */
    r->len += (size_t)n;
  }
  return WR_OK;
}

static enum wr_err load(const char *path, struct wr_mock_recording **out) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return WR_E_IO;
  enum wr_err err = WR_E_NOMEM;
  struct wr_mock_recording *r = wr_heap_zalloc(WR_HEAP_MOCK, sizeof *r);
  if (r != NULL) {
    r->path = wr_heap_strndup(WR_HEAP_MOCK, path, strlen(path));
    if (r->path != NULL) err = read_all(fd, r);
    size_t off = 0;
    struct wr_span line;
    if (err == WR_OK && !wr_mock_recording_next(r, &off, &line)) err = WR_E_IO;
    if (err != WR_OK) recording_free(r);
  }
  (void)close(fd);
  if (err == WR_OK) *out = r;
  return err;
}

enum wr_err wr_mock_recordings_open(struct wr_mock_recordings *set, const char *path,
                                    const struct wr_mock_recording **out) {
  for (struct wr_mock_recording *r = set->first; r != NULL; r = r->next) {
    if (strcmp(r->path, path) != 0) continue;
    *out = r;
    return WR_OK;
  }
  if (set->count >= WR_MOCK_RECORDINGS_MAX) return WR_E_NOMEM;
  struct wr_mock_recording *r = NULL;
  enum wr_err err = load(path, &r);
  if (err != WR_OK) return err;
  r->next = set->first;
  set->first = r;
  set->count++;
  *out = r;
  return WR_OK;
}

enum wr_err wr_mock_recordings_open_in(struct wr_mock_recordings *set, const char *dir,
                                       struct wr_span name, const struct wr_mock_recording **out) {
  char path[1024];
  if (dir[0] == 0 || name.len == 0 || name.ptr[0] == '.') return WR_E_ARG;
  if (memchr(name.ptr, '/', name.len) != NULL || memchr(name.ptr, 0, name.len) != NULL)
    return WR_E_ARG;
  int n =
      snprintf(path, sizeof path, "%s/%.*s", dir, (int)(name.len < 256 ? name.len : 256), name.ptr);
  if (n < 0 || (size_t)n >= sizeof path) return WR_E_ARG;
  return wr_mock_recordings_open(set, path, out);
}

bool wr_mock_recording_next(const struct wr_mock_recording *recording, size_t *off,
                            struct wr_span *line) {
  while (*off < recording->len) {
    const char *at = recording->bytes + *off;
    size_t left = recording->len - *off;
    const char *end = memchr(at, '\n', left);
    size_t len = end != NULL ? (size_t)(end - at) : left;
    *off += end != NULL ? len + 1 : len;
    if (len > 0 && at[len - 1] == '\r') len--;
    if (len == 0) continue;
    *line = wr_span_make(at, len);
    return true;
  }
  return false;
}

struct wr_span wr_mock_recording_type(struct wr_span line) {
  static const char *const paths[] = { "type" };
  static _Thread_local struct wr_json_prog prog;
  static _Thread_local bool compiled;
  struct wr_json_value value;
  if (!compiled && wr_json_compile(&prog, paths, 1) != WR_OK) return wr_span_make(NULL, 0);
  compiled = true;
  enum wr_err err = wr_json_scan_with(&prog, line, WR_JSON_SKIP_FAST, &value);
  if (err != WR_OK || value.type != WR_JSON_STRING || value.escaped) return wr_span_make(NULL, 0);
  return wr_json_unquote(wr_json_raw(line, &value));
}

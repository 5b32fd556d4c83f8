#include "cli/bench_probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/heap.h"
#include "base/text.h"
#include "cli/admin_call.h"

#define FILE_BYTES 8192
#define METRICS_BYTES (1u << 20)

bool wr_bench_probe_pids(struct wr_bench_probe *p, struct wr_span text) {
  while (text.len > 0) {
    uint64_t pid;
    size_t n = 0;
    while (n < text.len && text.ptr[n] != ',') n++;
    if (p->count == WR_BENCH_MAX_PIDS) return false;
    if (wr_text_u64(wr_span_sub(text, 0, n), INT32_MAX, &pid) != WR_OK || pid == 0) return false;
    p->pids[p->count++] = (int)pid;
    text = wr_span_sub(text, n, text.len - n);
    if (text.len > 0) text = wr_span_sub(text, 1, text.len - 1);
  }
  return p->count > 0;
}

static struct wr_span read_file(const char *path, char room[static FILE_BYTES]) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return wr_span_make(NULL, 0);
  ssize_t n = read(fd, room, FILE_BYTES);
  close(fd);
  return wr_span_make(room, n > 0 ? (size_t)n : 0);
}

/* The number behind a name and blanks; the first one of the text when the name is "". */
static uint64_t number_behind(struct wr_span text, const char *name) {
  const char *at = text.len > 0 ? memmem(text.ptr, text.len, name, strlen(name)) : NULL;
  if (at == NULL) return 0;
  const char *end = text.ptr + text.len;
  uint64_t value = 0;
  at += strlen(name);
  while (at < end && (*at == ' ' || *at == '\t')) at++;
  const char *from = at;
  while (at < end && *at >= '0' && *at <= '9') at++;
  bool ok = wr_text_u64(wr_span_make(from, (size_t)(at - from)), UINT64_MAX, &value) == WR_OK;
  return ok ? value : 0;
}

/* Adds up what the threads of one process have used. False: it is gone. */
static bool add_threads(int pid, uint64_t *cpu_ns, uint64_t *switches) {
  char path[300], room[FILE_BYTES];
  (void)snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *dir = opendir(path);
  if (dir == NULL) return false;
  for (struct dirent *e; (e = readdir(dir)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", pid, e->d_name);
    *cpu_ns += number_behind(read_file(path, room), "");
    if (switches == NULL) continue;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", pid, e->d_name);
    struct wr_span status = read_file(path, room);
    *switches += number_behind(status, "\nvoluntary_ctxt_switches:") +
                 number_behind(status, "nonvoluntary_ctxt_switches:");
  }
  closedir(dir);
  return true;
}

uint64_t wr_bench_probe_cpu_ns(const struct wr_bench_probe *p) {
  uint64_t cpu_ns = 0;
  for (size_t i = 0; i < p->count; i++) (void)add_threads(p->pids[i], &cpu_ns, NULL);
  return cpu_ns;
}

static bool read_allocations(const struct wr_addr *admin, uint64_t *out) {
  struct wr_buf answer;
  char *room = wr_heap_alloc(WR_HEAP_CLI, METRICS_BYTES);
  wr_buf_init(&answer, room, room != NULL ? METRICS_BYTES : 0);
  bool ok = room != NULL && wr_admin_call(admin, "GET /metrics", &answer);
  struct wr_span body = wr_admin_body(wr_buf_span(&answer));
  static const char name[] = "\nweir_heap_calls_total ";
  ok = ok && body.len > 0 && memmem(body.ptr, body.len, name, sizeof name - 1) != NULL;
  if (ok) *out = number_behind(body, name);
  wr_heap_free(WR_HEAP_CLI, room);
  return ok;
}

bool wr_bench_probe_read(const struct wr_bench_probe *p, struct wr_bench_usage *out) {
  char path[64], room[FILE_BYTES];
  bool ok = true;
  *out = (struct wr_bench_usage){ 0 };
  for (size_t i = 0; i < p->count; i++) {
    ok = add_threads(p->pids[i], &out->cpu_ns, &out->switches) && ok;
    (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", p->pids[i]);
    struct wr_span maps = read_file(path, room);
    out->rss_kb += number_behind(maps, "\nRss:");
    out->own_kb += number_behind(maps, "\nPss_Anon:") + number_behind(maps, "\nPss_Shmem:");
  }
  if (p->has_admin) out->has_allocations = read_allocations(&p->admin, &out->allocations);
  return ok && (!p->has_admin || out->has_allocations);
}

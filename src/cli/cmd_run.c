#include "cli/cmd_run.h"

#include <stdio.h>
#include <string.h>

#include "base/heap.h"
#include "base/text.h"
#include "mem/slab.h"
#include "server/process.h"

static const char help[] =
    "usage: weir run [-c conf.lua] [options]\n"
    "\n"
    "Starts the relay and serves until SIGTERM (drains: streams that run finish) or SIGINT "
    "(stops).\n"
    "SIGHUP reads the configuration again and opens the log file anew.\n"
    "\n"
    "  -c, --conf FILE        the configuration (default: conf.lua)\n"
    "  -w, --workers N        worker threads (default: as the configuration says, else one a "
    "core)\n"
    "  -q, --quiet            don't say what listens where\n"
    "\n"
    "Debug switches of the memory pool, for finding faults:\n"
    "      --debug-poison     fill freed blocks and check the fill before they are used again\n"
    "      --debug-owners     remember who took which block, for what is left at the end\n"
    "      --debug-fail-block N   the N-th block allocation fails (with 5/every: each fifth)\n"
    "      --debug-fail-heap N    the N-th heap allocation fails (with 5/every: each fifth)\n";

struct args {
  const char *file;
  uint64_t workers;
  bool quiet;
  struct wr_mem_debug debug;
  bool debug_set;
  uint64_t fail_heap;
  bool fail_heap_every;
};

static bool take_nth(const char *text, uint64_t *n, bool *every) {
  const char *slash = strchr(text, '/');
  size_t len = slash ? (size_t)(slash - text) : strlen(text);
  *every = slash && strcmp(slash, "/every") == 0;
  return (!slash || *every) && wr_text_u64(wr_span_make(text, len), UINT64_MAX, n) == WR_OK;
}

/* 1: taken with its value, 0: taken, -1: wrong. */
static int take_arg(struct args *a, const char *arg, const char *value) {
  if (!strcmp(arg, "-q") || !strcmp(arg, "--quiet")) {
    a->quiet = true;
    return 0;
  }
  if (!strcmp(arg, "--debug-poison")) {
    a->debug.poison = a->debug_set = true;
    return 0;
  }
  if (!strcmp(arg, "--debug-owners")) {
    a->debug.owners = a->debug_set = true;
    return 0;
  }
  if (!value) return -1;
  if (!strcmp(arg, "-c") || !strcmp(arg, "--conf")) {
    a->file = value;
    return 1;
  }
  if (!strcmp(arg, "-w") || !strcmp(arg, "--workers"))
    return wr_text_u64(wr_span_str(value), 64, &a->workers) == WR_OK ? 1 : -1;
  if (!strcmp(arg, "--debug-fail-block")) {
    a->debug_set = true;
    return take_nth(value, &a->debug.fail_nth, &a->debug.fail_every) ? 1 : -1;
  }
  if (!strcmp(arg, "--debug-fail-heap"))
    return take_nth(value, &a->fail_heap, &a->fail_heap_every) ? 1 : -1;
  return -1;
}

static void print_line(void *ctx, struct wr_span line) {
  fprintf(ctx, "%.*s\n", (int)line.len, line.ptr);
}

int wr_cmd_run(int argc, char **argv) {
  struct args a = { .file = "conf.lua" };
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
      fputs(help, stdout);
      return 0;
    }
    int used = take_arg(&a, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
    if (used < 0) {
      fprintf(stderr, "weir run: '%s' is not understood here; see weir run --help\n", argv[i]);
      return 2;
    }
    i += used;
  }
  if (a.debug_set) wr_mem_debug_set(&a.debug);
  struct wr_process_options o = { .file = a.file, .workers = (uint32_t)a.workers, .signals = true,
                                  .inherit = true, .quiet = a.quiet };
  struct wr_process *p = NULL;
  struct wr_diag diag;
  char why[400];
  wr_diag_init(&diag);
  enum wr_err err = wr_process_new(&o, &p, &diag, why, sizeof why);
  if (!a.quiet || err != WR_OK) wr_diag_print(&diag, print_line, stderr);
  if (err != WR_OK && err != WR_E_CONFIG) fprintf(stderr, "weir: %s\n", why);
  if (err == WR_E_CONFIG && diag.errors == 0) fprintf(stderr, "weir: %s\n", why);
  wr_diag_fini(&diag);
  if (err != WR_OK) return 1;
  if (a.fail_heap) wr_heap_fail_at(a.fail_heap, a.fail_heap_every);
  int code = wr_process_run(p);
  wr_heap_fail_at(0, false);
  wr_process_free(p);
  return code;
}

#include "cli/cmd_trace.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/heap.h"
#include "base/text.h"
#include "cli/admin_call.h"

#define ANSWER_BYTES (64u << 20) /* as the listener gives at most; touched as far as it is needed */

static const char usage[] =
    "usage: weir trace [-c conf.lua | --admin ADDR] [-s SECONDS] [-o FILE]\n"
    "\n"
    "Watches a running weir for a while and writes what its workers did: steps of sessions,\n"
    "blocks of the pool, calls into Lua, writes. Perfetto (ui.perfetto.dev) and chrome://tracing\n"
    "open the file. A worker keeps its last 32,768 records.\n"
    "\n"
    "  -c, --conf FILE   the configuration that names the admin listener (default: conf.lua)\n"
    "      --admin ADDR  the admin listener itself: 127.0.0.1:9901, unix:/run/weir.sock\n"
    "  -s, --seconds N   how long, 1 to 600 (default: 5)\n"
    "  -o, --output FILE default: weir-trace.json\n";

/* An interrupt ends the watching, not the command: what was seen is written, and the workers stop
 * keeping it. */
static volatile sig_atomic_t enough;
static void interrupted(int signal) {
  (void)signal;
  enough = 1;
}

struct options {
  const char *file, *admin, *output; /* borrowed: argv */
  uint64_t seconds;
  bool help;
};

static bool is(const char *arg, const char *brief, const char *name) {
  return !strcmp(arg, brief) || !strcmp(arg, name);
}

static bool parse(int argc, char **argv, struct options *o) {
  *o = (struct options){ .file = "conf.lua", .output = "weir-trace.json", .seconds = 5 };
  for (int i = 1; i < argc; i++) {
    bool more = i + 1 < argc;
    if (is(argv[i], "-h", "--help")) {
      o->help = true;
    } else if (more && is(argv[i], "-c", "--conf")) {
      o->file = argv[++i];
    } else if (more && is(argv[i], "--admin", "--admin")) {
      o->admin = argv[++i];
    } else if (more && is(argv[i], "-o", "--output")) {
      o->output = argv[++i];
    } else if (more && is(argv[i], "-s", "--seconds")) {
      if (wr_text_u64(wr_span_str(argv[++i]), 600, &o->seconds) == WR_OK && o->seconds) continue;
      fprintf(stderr, "weir trace: '%s' is no number from 1 to 600\n", argv[i]);
      return false;
    } else {
      fprintf(stderr, "weir trace: '%s' is not understood here; see weir trace --help\n", argv[i]);
      return false;
    }
  }
  return true;
}

/* The body of a good answer; otherwise says what came. */
static bool ask(const struct wr_addr *addr, const char *request, struct wr_buf *answer,
                struct wr_span *body) {
  char name[128];
  answer->len = 0;
  if (!wr_admin_call(addr, request, answer)) {
    fprintf(stderr, "weir trace: %s: %s\n", wr_addr_format(addr, name, sizeof name),
            strerror(errno));
    return false;
  }
  struct wr_span all = wr_buf_span(answer);
  *body = wr_admin_body(all);
  if (body->ptr && all.len > 12 && memcmp(all.ptr, "HTTP/1.1 200", 12) == 0) return true;
  fprintf(stderr, "weir trace: %s: %.*s\n", request, (int)body->len, body->ptr ? body->ptr : "");
  return false;
}

static bool store(const char *path, struct wr_span text) {
  FILE *f = fopen(path, "w");
  bool ok = f && fwrite(text.ptr, 1, text.len, f) == text.len;
  if (f && fclose(f) != 0) ok = false;
  if (ok)
    printf("%s: %zu bytes\n", path, text.len);
  else
    fprintf(stderr, "weir trace: %s: %s\n", path, strerror(errno));
  return ok;
}

static int trace(const struct wr_addr *addr, const struct options *o) {
  char request[64];
  struct wr_buf answer;
  struct wr_span body;
  char *room = wr_heap_alloc(WR_HEAP_CLI, ANSWER_BYTES);
  wr_buf_init(&answer, room, room ? ANSWER_BYTES : 0);
  bool ok = ask(addr, "POST /trace/on", &answer, &body);
  if (ok) {
    struct timespec left = { .tv_sec = (time_t)o->seconds };
    signal(SIGINT, interrupted);
    while (nanosleep(&left, &left) != 0 && errno == EINTR && !enough) continue;
    snprintf(request, sizeof request, "GET /trace?seconds=%u", (unsigned)o->seconds);
    ok = ask(addr, request, &answer, &body) && store(o->output, body);
    if (!ask(addr, "POST /trace/off", &answer, &body)) ok = false;
  }
  wr_heap_free(WR_HEAP_CLI, room);
  return ok ? 0 : 1;
}

int wr_cmd_trace(int argc, char **argv) {
  struct options o;
  struct wr_addr addr;
  if (!parse(argc, argv, &o)) return 2;
  if (o.help) {
    fputs(usage, stdout);
    return 0;
  }
  int code = wr_admin_find("trace", o.file, o.admin, &addr);
  return code ? code : trace(&addr, &o);
}

#include "server/reload.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/heap.h"

#define RELOAD_MAGIC 0x4e10adu
#define WHY_BYTES 512u

/* Who waits for an answer. */
struct askers {
  uint64_t tokens[WR_RELOAD_ASKERS_MAX];
  uint32_t count;
  bool asked;
};

struct wr_reload {
  uint32_t magic;
  bool running;
  struct wr_reload_options o;
  struct wr_logger *logger; /* owned */
  struct wr_task task;
  struct askers now, next;  /* of the reload that runs, and of the one that waits */
  struct wr_diag diag;      /* of the one that runs */
  struct wr_conf_server server; /* its strings are below */
  char *admin, *log;        /* owned */
  uint64_t counts[WR_RELOAD_RESULTS];
};

const char *wr_reload_result_name(enum wr_reload_result result) {
  static const char *const names[WR_RELOAD_RESULTS] = { "ok", "refused", "error" };
  return names[result];
}

static void answer(struct wr_reload *r, unsigned status, struct wr_span json) {
  struct askers to = r->now;
  r->now = (struct askers){ .count = 0 };
  for (uint32_t i = 0; i < to.count; i++) r->o.answer(r->o.ctx, to.tokens[i], status, json);
}

/* Room for every finding, however much of it has to be escaped. */
static char *room_make(const struct wr_reload *r, struct wr_buf *b) {
  size_t bytes = 8192;
  for (size_t i = 0; i < r->diag.count; i++)
    bytes += 128 + 12 * (strlen(r->diag.entries[i].text) + strlen(r->diag.entries[i].file));
  char *room = wr_heap_alloc(WR_HEAP_SERVER, bytes);
  wr_buf_init(b, room, room ? bytes : 0);
  return room;
}

static void put_finding(struct wr_buf *b, const struct wr_diag_entry *e) {
  wr_buf_put(b, WR_SPAN("{\"file\":"));
  wr_buf_json_string(b, wr_span_str(e->file));
  wr_buf_printf(b, ",\"line\":%d,\"grade\":\"%s\",\"text\":", e->line,
                e->grade == WR_DIAG_WARNING ? "warning" : "error");
  wr_buf_json_string(b, wr_span_str(e->text));
  wr_buf_char(b, '}');
}

static void put_findings(const struct wr_reload *r, struct wr_buf *b) {
  wr_buf_put(b, WR_SPAN(",\"findings\":["));
  for (size_t i = 0; i < r->diag.count; i++) {
    if (i) wr_buf_char(b, ',');
    put_finding(b, &r->diag.entries[i]);
  }
  wr_buf_char(b, ']');
}

static void put_line(void *ctx, struct wr_span line) {
  wr_buf_json_text(ctx, line);
  wr_buf_put(ctx, WR_SPAN("\\n"));
}

static void print_line(void *ctx, struct wr_span line) {
  (void)ctx;
  fprintf(stderr, "weir: reload: %.*s\n", (int)line.len, line.ptr);
}

/* Ends the reload that runs without any change. why: "" where the findings say it all. */
static void end_badly(struct wr_reload *r, enum wr_reload_result result, unsigned status,
                      const char *code, const char *why) {
  struct wr_buf b;
  r->counts[result]++;
  char *room = room_make(r, &b);
  wr_buf_printf(&b, "{\"error\":{\"code\":\"%s\",\"message\":\"", code);
  wr_diag_print(&r->diag, put_line, &b);
  wr_buf_json_text(&b, wr_span_str(why));
  wr_buf_put(&b, WR_SPAN("\"}"));
  put_findings(r, &b);
  wr_buf_put(&b, WR_SPAN("}\n"));
  wr_diag_print(&r->diag, print_line, NULL);
  if (why[0]) print_line(NULL, wr_span_str(why));
  const char *first = why[0] || r->diag.count == 0 ? why : r->diag.entries[0].text;
  WR_LOG(r->logger, WARN, "reload_failed", WR_LOG_STR("code", code), WR_LOG_STR("why", first),
         WR_LOG_U64("findings", r->diag.count));
  wr_logger_flush(r->logger);
  bool fits = room && !b.overflow;
  answer(r, fits ? status : 503,
         fits ? wr_buf_span(&b) : WR_SPAN("{\"error\":{\"code\":\"no_memory\"}}\n"));
  wr_heap_free(WR_HEAP_SERVER, room);
  wr_diag_fini(&r->diag);
  r->running = false;
}

static bool same(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

/* The names of what changed and can't be changed while the process runs. */
static size_t restarts(const struct wr_reload *r, const char *names[5]) {
  const struct wr_conf_server *now = &r->o.rollout->current->conf->server, *was = &r->server;
  size_t n = 0;
  if (now->workers != was->workers) names[n++] = "server.workers";
  if (now->memory_bytes != was->memory_bytes) names[n++] = "server.memory";
  if (!same(now->admin, was->admin)) names[n++] = "server.admin";
  if (!same(now->log, was->log)) names[n++] = "server.log";
  if (now->log_format != was->log_format) names[n++] = "server.log_format";
  return n;
}

static void put_restarts(struct wr_buf *b, const char *const *names, size_t n) {
  wr_buf_put(b, WR_SPAN(",\"restart\":["));
  for (size_t i = 0; i < n; i++) wr_buf_printf(b, "%s\"%s\"", i ? "," : "", names[i]);
  wr_buf_char(b, ']');
}

static void end_well(void *ctx) {
  struct wr_reload *r = ctx;
  WR_MAGIC_CHECK(r, RELOAD_MAGIC);
  struct wr_buf b;
  const char *names[5];
  size_t n = restarts(r, names);
  unsigned long long number = r->o.rollout->current->number;
  r->counts[WR_RELOAD_OK]++;
  char *room = room_make(r, &b);
  wr_buf_printf(&b,
                "{\"reloaded\":true,\"generation\":%llu,\"message\":\"generation %llu: reloaded\\n",
                number, number);
  for (size_t i = 0; i < n; i++) wr_buf_printf(&b, "needs a restart: %s\\n", names[i]);
  wr_diag_print(&r->diag, put_line, &b);
  wr_buf_char(&b, '"');
  put_restarts(&b, names, n);
  put_findings(r, &b);
  wr_buf_put(&b, WR_SPAN("}\n"));
  if (!r->o.quiet) {
    fprintf(stderr, "weir: generation %llu: reloaded\n", number);
    for (size_t i = 0; i < n; i++) fprintf(stderr, "weir: reload: needs a restart: %s\n", names[i]);
    wr_diag_print(&r->diag, print_line, NULL);
  }
  WR_LOG(r->logger, INFO, "reloaded", WR_LOG_U64("generation", number), WR_LOG_U64("restart", n));
  wr_logger_flush(r->logger);
  bool fits = room && !b.overflow;
  answer(r, 200, fits ? wr_buf_span(&b) : WR_SPAN("{\"reloaded\":true}\n"));
  wr_heap_free(WR_HEAP_SERVER, room);
  wr_diag_fini(&r->diag);
  r->running = false;
  if (r->next.asked) wr_loop_mark(r->o.loop, &r->task);
}

/* False: it can't be now, and that was said. */
static bool possible(struct wr_reload *r) {
  char why[WHY_BYTES];
  if (atomic_load(&r->o.shared->draining)) {
    end_badly(r, WR_RELOAD_REFUSED, 409, "draining", "the process is draining");
    return false;
  }
  if (r->o.fixed) {
    end_badly(r, WR_RELOAD_REFUSED, 409, "fixed", "the configuration didn't come from a file");
    return false;
  }
  if (r->o.rollout->plans.live < WR_PLANS_LIVE_MAX) return true;
  snprintf(why, sizeof why,
           "%u configurations are live, because requests that run keep the one that "
           "they began with; try again when some have ended",
           WR_PLANS_LIVE_MAX);
  end_badly(r, WR_RELOAD_REFUSED, 409, "generations", why);
  return false;
}

static void run(struct wr_task *task) {
  struct wr_reload *r = WR_CONTAINER(task, struct wr_reload, task);
  WR_MAGIC_CHECK(r, RELOAD_MAGIC);
  if (r->running || !r->next.asked) return;
  r->running = true;
  r->now = r->next;
  r->next = (struct askers){ .count = 0 };
  wr_diag_init(&r->diag);
  if (!possible(r)) return;
  char why[WHY_BYTES] = "";
  struct wr_plan *plan = NULL;
  enum wr_err err = wr_plan_load(r->o.file, wr_span_make(NULL, 0), &plan, &r->diag);
  if (err == WR_OK) err = wr_rollout_prepare(r->o.rollout, plan, why, sizeof why);
  if (err != WR_OK) {
    if (!why[0] && r->diag.errors == 0) snprintf(why, sizeof why, "%s", wr_err_text(err));
    bool memory = err == WR_E_NOMEM;
    end_badly(r, WR_RELOAD_ERROR, memory ? 503 : 422, memory ? wr_err_label(err) : "config", why);
    return;
  }
  wr_rollout_commit(r->o.rollout);
}

static enum wr_err server_keep(struct wr_reload *r, const struct wr_conf_server *server) {
  r->server = *server;
  if (server->admin)
    r->admin = wr_heap_strndup(WR_HEAP_SERVER, server->admin, strlen(server->admin));
  if (server->log) r->log = wr_heap_strndup(WR_HEAP_SERVER, server->log, strlen(server->log));
  if ((server->admin && !r->admin) || (server->log && !r->log)) return WR_E_NOMEM;
  r->server.admin = r->admin;
  r->server.log = r->log;
  return WR_OK;
}

enum wr_err wr_reload_new(const struct wr_reload_options *options, struct wr_reload **out) {
  struct wr_reload *r = wr_heap_zalloc(WR_HEAP_SERVER, sizeof *r);
  if (!r) return WR_E_NOMEM;
  r->magic = RELOAD_MAGIC;
  r->o = *options;
  wr_task_init(&r->task, run);
  wr_diag_init(&r->diag);
  enum wr_err err = server_keep(r, options->server);
  if (err == WR_OK) err = wr_logger_new(options->log, -1, &r->logger);
  if (err != WR_OK) {
    wr_reload_free(r);
    return err;
  }
  r->o.server = &r->server;
  r->o.rollout->done = end_well;
  r->o.rollout->ctx = r;
  *out = r;
  return WR_OK;
}

void wr_reload_free(struct wr_reload *r) {
  if (!r) return;
  WR_MAGIC_CHECK(r, RELOAD_MAGIC);
  wr_loop_unmark(&r->task);
  r->o.rollout->done = NULL;
  wr_diag_fini(&r->diag);
  if (r->logger) wr_logger_free(r->logger);
  wr_heap_free(WR_HEAP_SERVER, r->admin);
  wr_heap_free(WR_HEAP_SERVER, r->log);
  r->magic = 0;
  wr_heap_free(WR_HEAP_SERVER, r);
}

void wr_reload_ask(struct wr_reload *r, uint64_t token) {
  WR_MAGIC_CHECK(r, RELOAD_MAGIC);
  r->next.asked = true;
  if (token && r->next.count == WR_RELOAD_ASKERS_MAX)
    r->o.answer(
        r->o.ctx, token, 503,
        WR_SPAN("{\"error\":{\"code\":\"busy\",\"message\":\"too many wait for a reload\"}}\n"));
  else if (token)
    r->next.tokens[r->next.count++] = token;
  if (!r->running) wr_loop_mark(r->o.loop, &r->task);
}

uint64_t wr_reload_count(const struct wr_reload *r, enum wr_reload_result result) {
  return r->counts[result];
}

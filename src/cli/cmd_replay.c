#include "cli/cmd_replay.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/heap.h"
#include "cli/trial_open.h"
#include "trial/events.h"
#include "trial/recording.h"

static const char usage[] =
    "usage: weir replay CONF RECORDING [options]\n"
    "\n"
    "Sends a recorded stream through a configuration's policy, without a network, and prints the\n"
    "events that come out otherwise than they went in. A recording is a captured event stream, or\n"
    "one payload a line.\n"
    "  --kind KIND    openai, responses, anthropic or ollama; default: by the file's name,\n"
    "                 or by what is in it\n"
    "  --route NAME   the route that the request takes; default: that of the dialect's path\n"
    "  --path PATH    the request's path\n"
    "  --key NAME     the key that asks\n"
    "  --model NAME   the model it asks for; default: one that the route's upstream has\n"
    "  --out FILE     writes what the client gets\n"
    "  --quiet        only the last line\n"
    "\n"
    "Exit code: 0: byte for byte the same; 1: not; 2: it could not be tried, or a hook failed.\n";

struct options {
  const char *conf, *recording, *kind, *route, *path, *key, *model, *out; /* borrowed: argv */
  bool quiet, help;
};

static bool parse(int argc, char **argv, struct options *o) {
  const struct {
    const char *name;
    const char **value;
  } named[] = { { "--kind", &o->kind }, { "--route", &o->route }, { "--path", &o->path },
                { "--key", &o->key },   { "--model", &o->model },
                { "--out", &o->out } };
  for (int i = 1; i < argc; i++) {
    size_t n = 0;
    while (n < 6 && strcmp(argv[i], named[n].name) != 0) n++;
    if (n < 6 && i + 1 < argc) *named[n].value = argv[++i];
    else if (!strcmp(argv[i], "--quiet")) o->quiet = true;
    else if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) o->help = true;
    else if (argv[i][0] != '-' && !o->conf) o->conf = argv[i];
    else if (argv[i][0] != '-' && !o->recording) o->recording = argv[i];
    else {
      fprintf(stderr, "weir replay: %s: not understood\n%s", argv[i], usage);
      return false;
    }
  }
  if (o->help || o->recording) return true;
  fprintf(stderr, "weir replay: a configuration and a recording are needed\n%s", usage);
  return false;
}

static enum wr_dialect dialect_of(const struct options *o, struct wr_span text) {
  enum wr_dialect d = WR_DIALECT_NONE;
  if (o->kind) {
    d = wr_trial_dialect_named(wr_span_str(o->kind));
    if (d == WR_DIALECT_NONE) fprintf(stderr, "weir replay: no dialect '%s'\n", o->kind);
    return d;
  }
  if (o->path) d = wr_dialect_of(wr_span_str(o->path), false);
  if (d == WR_DIALECT_NONE) d = wr_trial_recording_dialect(o->recording);
  if (d == WR_DIALECT_NONE) d = wr_trial_recording_guess(text);
  if (d == WR_DIALECT_NONE)
    fprintf(stderr, "weir replay: which dialect is %s? Say --kind\n", o->recording);
  return d;
}

/* A path that the route takes, or NULL after a sentence. */
static const char *path_of(const struct options *o, const struct wr_conf *conf, enum wr_dialect d,
                           char *room, size_t room_bytes) {
  const char *usual = wr_trial_dialect_path(d);
  if (o->path) return o->path;
  if (!o->route) return usual;
  for (size_t i = 0; i < conf->route_count; i++) {
    const struct wr_conf_route *r = &conf->routes[i];
    if (strcmp(r->name, o->route) != 0) continue;
    size_t n = strlen(r->path);
    if (n == 0 || r->path[n - 1] != '*') return r->path;
    if (strncmp(usual, r->path, n - 1) == 0) return usual;
    snprintf(room, room_bytes, "%.*s%s", (int)(n - 1), r->path,
             usual + (n > 1 && r->path[n - 2] == '/'));
    return room;
  }
  fprintf(stderr, "weir replay: no route '%s'\n", o->route);
  return NULL;
}

/* A name that the upstream serves which the route asks first. */
static const char *model_of(const struct options *o, const struct wr_conf *conf) {
  const struct wr_conf_route *r = &conf->routes[0];
  if (o->model) return o->model;
  for (size_t i = 0; o->route && i < conf->route_count; i++)
    if (strcmp(conf->routes[i].name, o->route) == 0) r = &conf->routes[i];
  const struct wr_conf_upstream *up = &conf->upstreams[conf->groups[r->to].members[0]];
  for (size_t i = 0; i < up->model_count; i++)
    if (strcmp(up->models[i].client, "*") != 0) return up->models[i].client;
  return "replay";
}

struct counts {
  size_t events[4]; /* by enum wr_trial_change */
  bool quiet;
};

static void print_side(char mark, size_t place, struct wr_span raw) {
  while (raw.len && (raw.ptr[raw.len - 1] == '\n' || raw.ptr[raw.len - 1] == '\r')) raw.len--;
  const char *at = raw.ptr, *end = raw.ptr + raw.len;
  while (at < end) {
    const char *line = memchr(at, '\n', (size_t)(end - at));
    size_t n = line ? (size_t)(line - at) : (size_t)(end - at);
    printf("%c %zu: %.*s\n", mark, place, (int)n, at);
    at += n + 1;
  }
}

static void print_change(void *ctx, enum wr_trial_change change, size_t place,
                         struct wr_span before, struct wr_span after) {
  struct counts *c = ctx;
  c->events[change]++;
  if (change == WR_TRIAL_SAME || c->quiet) return;
  if (before.len) print_side('-', place, before);
  if (after.len) print_side('+', place, after);
}

static bool write_out(const char *file, struct wr_span bytes) {
  FILE *f = fopen(file, "wb");
  bool ok = f && fwrite(bytes.ptr, 1, bytes.len, f) == bytes.len;
  if (f && fclose(f) != 0) ok = false;
  if (!ok) fprintf(stderr, "weir replay: %s: can't be written\n", file);
  return ok;
}

static int report(const struct options *o, enum wr_dialect d, struct wr_span body,
                  const struct wr_trial_result *r) {
  struct counts c = { .quiet = o->quiet };
  if (r->sent_count == 0) {
    fprintf(stderr, "weir replay: no upstream was asked: status %u, %s: %.*s\n", r->status, r->err,
            (int)r->body.len, r->body.ptr);
    return 2;
  }
  if (wr_trial_diff(d, body, r->body, print_change, &c) != WR_OK) return 2;
  if (!o->quiet && r->log.len) printf("%.*s", (int)r->log.len, r->log.ptr);
  size_t failed = 0;
  for (size_t i = 0; i < r->note_count; i++) failed += r->notes[i].fail != NULL;
  printf("%zu events: %zu the same, %zu changed, %zu removed, %zu added; route %s, status %u, "
         "%s%s%s",
         c.events[WR_TRIAL_SAME] + c.events[WR_TRIAL_CHANGED] + c.events[WR_TRIAL_REMOVED],
         c.events[WR_TRIAL_SAME], c.events[WR_TRIAL_CHANGED], c.events[WR_TRIAL_REMOVED],
         c.events[WR_TRIAL_ADDED], *r->route ? r->route : "none", r->status, r->outcome,
         strcmp(r->err, "ok") == 0 ? "" : ": ", strcmp(r->err, "ok") == 0 ? "" : r->err);
  if (failed) printf("; %zu failures of hooks", failed);
  putchar('\n');
  if (o->out && !write_out(o->out, r->body)) return 2;
  if (failed) return 2;
  return wr_span_eq(body, r->body) ? 0 : 1;
}

static int replay(struct wr_trial *t, const struct options *o, enum wr_dialect d,
                  struct wr_span body) {
  char room[256];
  const char *path = path_of(o, wr_trial_conf(t), d, room, sizeof room);
  if (!path) return 2;
  struct wr_trial_answer answer = { .parts = &body, .part_count = 1 };
  if (d == WR_DIALECT_OLLAMA) answer.type = WR_SPAN("application/x-ndjson");
  char question[512];
  struct wr_buf b;
  wr_buf_init(&b, question, sizeof question);
  wr_buf_put(&b, WR_SPAN("{\"stream\":true,\"model\":"));
  wr_buf_json_string(&b, wr_span_str(model_of(o, wr_trial_conf(t))));
  wr_buf_put(&b, WR_SPAN("}"));
  struct wr_trial_ask ask = { .path = path, .answer = &answer, .key = o->key,
                              .body = wr_buf_span(&b) };
  if (d == WR_DIALECT_ANTHROPIC) ask.headers = WR_SPAN("anthropic-version: 2023-06-01\r\n");
  struct wr_trial_result r;
  enum wr_err err = wr_trial_run(t, &ask, &r);
  if (err == WR_OK) return report(o, d, body, &r);
  if (err == WR_E_ARG) fprintf(stderr, "weir replay: no key '%s'\n", o->key ? o->key : "");
  else fprintf(stderr, "weir replay: %s\n", wr_err_text(err));
  return 2;
}

int wr_cmd_replay(int argc, char **argv) {
  struct options o = { .quiet = false };
  if (!parse(argc, argv, &o)) return 2;
  if (o.help) {
    fputs(usage, stdout);
    return 0;
  }
  size_t len = 0, body_len = 0;
  char *text = NULL, *body = NULL;
  struct wr_trial *t = NULL;
  int rc = 2;
  text = wr_cli_file("replay", o.recording, &len);
  enum wr_dialect d = text ? dialect_of(&o, wr_span_make(text, len)) : WR_DIALECT_NONE;
  if (d != WR_DIALECT_NONE) t = wr_cli_trial_open("replay", o.conf);
  if (t) {
    enum wr_err err = wr_trial_recording(d, wr_span_make(text, len), &body, &body_len);
    if (err != WR_OK) fprintf(stderr, "weir replay: %s: nothing in it\n", o.recording);
    else rc = replay(t, &o, d, wr_span_make(body, body_len));
  }
  wr_trial_free(t);
  wr_heap_free(WR_HEAP_CLI, body);
  wr_heap_free(WR_HEAP_CONF, text);
  return rc;
}

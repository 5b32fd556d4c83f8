#include "cli/cmd_explain.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/heap.h"
#include "cli/trial_open.h"
#include "wire/json_doc.h"

static const char usage[] =
    "usage: weir explain CONF REQUEST.json [options]\n"
    "\n"
    "Says what becomes of a request, without a network: which route it takes, what each hook\n"
    "says, which upstream would get it, with which model and cap. The file is a body, or\n"
    "  { \"method\", \"path\", \"headers\": {…}, \"key\": NAME, \"body\": {…} }\n"
    "  --path PATH    default: /v1/chat/completions\n"
    "  --key NAME     the key that asks\n"
    "\n"
    "Exit code: 0: an upstream or a hook answers it; 1: it is refused; 2: it could not be tried.\n";

struct request {
  const char *conf, *file;        /* borrowed: argv */
  const char *path, *key, *given_method; /* borrowed: argv or the document */
  struct wr_json_doc *doc;        /* owned */
  char *text, *body, *headers;    /* owned */
  size_t text_len, body_len, headers_len;
  bool help;
};

static bool parse(int argc, char **argv, struct request *rq) {
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--path") && i + 1 < argc) rq->path = argv[++i];
    else if (!strcmp(argv[i], "--key") && i + 1 < argc) rq->key = argv[++i];
    else if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) rq->help = true;
    else if (argv[i][0] != '-' && !rq->conf) rq->conf = argv[i];
    else if (argv[i][0] != '-' && !rq->file) rq->file = argv[i];
    else {
      fprintf(stderr, "weir explain: %s: not understood\n%s", argv[i], usage);
      return false;
    }
  }
  if (rq->help || rq->file) return true;
  fprintf(stderr, "weir explain: a configuration and a request are needed\n%s", usage);
  return false;
}

static const char *member(const struct wr_json_item *root, const char *name, const char *other) {
  struct wr_span s = wr_json_item_str(wr_json_item_at(root, name));
  return s.len ? s.ptr : other;
}

/* "name: value" lines; a line end in a value is no header. */
static bool read_headers(struct request *rq, const struct wr_json_item *headers) {
  struct wr_buf b;
  rq->headers = wr_heap_alloc(WR_HEAP_CLI, rq->text_len + 4096);
  if (!rq->headers) return false;
  wr_buf_init(&b, rq->headers, rq->text_len + 4096);
  const struct wr_json_item *i = headers ? wr_json_item_first(headers) : NULL;
  for (; i; i = wr_json_item_next(i)) {
    struct wr_span value = wr_json_item_str(i);
    if (!value.ptr || memchr(value.ptr, '\n', value.len)) continue;
    wr_buf_put(&b, wr_json_item_name(i));
    wr_buf_put(&b, WR_SPAN(": "));
    wr_buf_put(&b, value);
    wr_buf_put(&b, WR_SPAN("\r\n"));
  }
  rq->headers_len = b.len;
  return !b.overflow;
}

/* A document with a member "body" says more than that. */
static bool read_envelope(struct request *rq, const struct wr_json_item *root) {
  const struct wr_json_item *body = wr_json_item_at(root, "body");
  struct wr_buf b;
  if (wr_json_item_type(body) != WR_JSON_OBJECT) return true;
  rq->path = rq->path ? rq->path : member(root, "path", NULL);
  rq->key = rq->key ? rq->key : member(root, "key", NULL);
  rq->given_method = member(root, "method", NULL);
  if (!read_headers(rq, wr_json_item_at(root, "headers"))) return false;
  size_t room = rq->text_len * 6 + 64; /* every byte escaped */
  rq->body = wr_heap_alloc(WR_HEAP_CLI, room);
  if (!rq->body) return false;
  wr_buf_init(&b, rq->body, room);
  enum wr_err err = wr_json_item_print(body, false, &b);
  rq->body_len = b.len;
  return err == WR_OK;
}

static bool read_request(struct request *rq) {
  rq->text = wr_cli_file("explain", rq->file, &rq->text_len);
  if (!rq->text) return false;
  enum wr_err err = wr_json_doc_parse(wr_span_make(rq->text, rq->text_len), 0, &rq->doc);
  if (err != WR_OK) {
    fprintf(stderr, "weir explain: %s: %s\n", rq->file, wr_err_text(err));
    return false;
  }
  if (!read_envelope(rq, wr_json_doc_root(rq->doc))) {
    fprintf(stderr, "weir explain: %s: not enough memory\n", rq->file);
    return false;
  }
  if (!rq->path) rq->path = "/v1/chat/completions";
  return true;
}

static void print_route(const struct wr_conf *conf, const struct wr_trial_result *r) {
  for (size_t i = 0; i < conf->route_count; i++)
    if (strcmp(conf->routes[i].name, r->route) == 0)
      printf("%-18s %s (%s:%d)\n", "route", r->route, conf->file, conf->routes[i].line);
  if (!*r->route) printf("%-18s none\n", "route");
}

static void print_member(const struct wr_json_item *root, const char *name) {
  char room[256];
  struct wr_buf b;
  const struct wr_json_item *item = wr_json_item_at(root, name);
  wr_buf_init(&b, room, sizeof room);
  if (!item || wr_json_item_print(item, false, &b) != WR_OK) return;
  printf(", %s %.*s", name, (int)b.len, room);
}

/* The request as the upstream would get it. */
static void print_sent(const struct wr_trial_sent *sent) {
  struct wr_json_doc *doc = NULL;
  printf("%-18s %s", "upstream", sent->upstream);
  if (wr_json_doc_parse(sent->body, 0, &doc) == WR_OK) {
    static const char *const names[] = { "model", "max_tokens", "max_completion_tokens",
                                         "max_output_tokens" };
    for (size_t i = 0; i < 4; i++) print_member(wr_json_doc_root(doc), names[i]);
    wr_json_doc_free(doc);
  }
  putchar('\n');
}

/* Is the line the failure of a hook, which stands beside its verdict already? */
static bool is_told(const struct wr_trial_result *r, struct wr_span line) {
  const struct wr_span head = WR_SPAN("error: ");
  if (!wr_span_starts(line, head)) return false;
  line = wr_span_sub(line, head.len, line.len - head.len);
  for (size_t i = 0; i < r->note_count; i++)
    if (r->notes[i].fail && wr_span_eq(r->notes[i].error, line)) return true;
  return false;
}

/* What policies logged. */
static void print_log(const struct wr_trial_result *r) {
  struct wr_span log = r->log;
  while (log.len) {
    const char *end = memchr(log.ptr, '\n', log.len);
    size_t n = end ? (size_t)(end - log.ptr) : log.len;
    if (!is_told(r, wr_span_make(log.ptr, n))) printf("%.*s\n", (int)n, log.ptr);
    n += end != NULL;
    log = wr_span_make(log.ptr + n, log.len - n);
  }
}

static int report(const struct wr_conf *conf, const struct wr_trial_result *r) {
  print_route(conf, r);
  (void)wr_cli_print_notes(r, "on_request");
  print_log(r);
  if (r->sent_count > 0) {
    print_sent(&r->sent[0]);
    return 0;
  }
  bool answered = r->status >= 200 && r->status < 300;
  printf("%-18s %u, %s", answered ? "answered" : "refused", r->status, r->outcome);
  if (strcmp(r->err, "ok") != 0) printf(", %s", r->err);
  printf("\n%.*s\n", (int)r->body.len, r->body.ptr);
  return answered ? 0 : 1;
}

static int explain(struct wr_trial *t, const struct request *rq) {
  static const struct wr_span empty = { .ptr = "{}", .len = 2 };
  const struct wr_trial_answer answer = { .parts = &empty, .part_count = 1,
                                          .type = WR_SPAN("application/json") };
  struct wr_trial_ask ask = {
    .method = rq->given_method,
    .path = rq->path,
    .headers = wr_span_make(rq->headers, rq->headers_len),
    .body = rq->body ? wr_span_make(rq->body, rq->body_len) : wr_span_make(rq->text, rq->text_len),
    .key = rq->key,
    .answer = &answer,
  };
  struct wr_trial_result r;
  enum wr_err err = wr_trial_run(t, &ask, &r);
  if (err == WR_OK) return report(wr_trial_conf(t), &r);
  if (err == WR_E_ARG) fprintf(stderr, "weir explain: no key '%s'\n", rq->key ? rq->key : "");
  else fprintf(stderr, "weir explain: %s\n", wr_err_text(err));
  return 2;
}

int wr_cmd_explain(int argc, char **argv) {
  struct request rq = { .help = false };
  if (!parse(argc, argv, &rq)) return 2;
  if (rq.help) {
    fputs(usage, stdout);
    return 0;
  }
  int rc = 2;
  struct wr_trial *t = read_request(&rq) ? wr_cli_trial_open("explain", rq.conf) : NULL;
  if (t) rc = explain(t, &rq);
  wr_trial_free(t);
  if (rq.doc) wr_json_doc_free(rq.doc);
  wr_heap_free(WR_HEAP_CLI, rq.body);
  wr_heap_free(WR_HEAP_CLI, rq.headers);
  wr_heap_free(WR_HEAP_CONF, rq.text);
  return rc;
}

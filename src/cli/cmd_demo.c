#include "cli/cmd_demo.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/heap.h"
#include "base/text.h"
#include "cli/demo_client.h"
#include "obs/record.h"
#include "server/process.h"

static const char help[] = "usage: weir demo [--rate TOKENS_PER_SECOND] [--tokens N]\n"
                           "\n"
                           "Runs a stand-in LLM server, the relay and a client in this process, "
                           "prints a streamed answer token by\n"
                           "token as it arrives, then what the relay saw. Needs no configuration, "
                           "no key and no network.\n";

/* What the worker saw; its thread fills it, the main thread reads it. */
struct seen {
  pthread_mutex_t lock;
  bool have;
  struct wr_record r;
  char outcome[32];
};

static void seen(void *ctx, const struct wr_record *r) {
  struct seen *s = ctx;
  pthread_mutex_lock(&s->lock);
  s->r = *r;
  snprintf(s->outcome, sizeof s->outcome, "%.*s", (int)r->outcome.len, r->outcome.ptr);
  s->have = true;
  pthread_mutex_unlock(&s->lock);
}

struct screen {
  unsigned column;
  unsigned tokens;
  uint64_t heap_from, heap_to, heap_last; /* allocations of the process at some tokens */
};

/* Words wrap at 78 columns. */
static void print_token(void *ctx, struct wr_span text) {
  struct screen *s = ctx;
  s->tokens++;
  s->heap_to = s->heap_last; /* at the token before: the last one's turn also ends the exchange */
  s->heap_last = wr_heap_calls();
  if (s->tokens == 3) s->heap_from = s->heap_last;
  if (s->column + text.len > 78) {
    fputs("\n  ", stdout);
    s->column = 2;
    while (text.len && *text.ptr == ' ') text = wr_span_sub(text, 1, text.len - 1);
  }
  s->column += (unsigned)text.len;
  fwrite(text.ptr, 1, text.len, stdout);
  fflush(stdout);
}

static const char conf_text[] = "weir.server { workers = 1, memory = \"4MiB\", admin = \"off\", "
                                "log = \"off\" }\n"
                                "weir.listen \"127.0.0.1:0\" {}\n"
                                "weir.upstream \"mock\" { kind = \"mock\", mock = { rate = %u, "
                                "tokens = %u, first_token_ms = 150 } }\n"
                                "weir.route \"chat\" { match = { path = \"/v1/chat/completions\" "
                                "}, to = \"mock\" }\n";

static void print_summary(const struct seen *s, const struct screen *screen) {
  const struct wr_record *r = &s->r;
  printf("\n\n  What the relay saw\n");
  printf("    outcome               %s\n", s->outcome);
  printf("    time to first token   %.1f ms\n", (double)r->first_token_us / 1000);
  printf("    duration              %.1f ms\n", (double)r->duration_us / 1000);
  printf("    events                %llu\n", (unsigned long long)r->events);
  printf("    bytes relayed         %llu\n", (unsigned long long)r->bytes_out);
  printf("    bytes copied          %llu (the start of an answer is held until its first token)\n",
         (unsigned long long)r->copied_bytes);
  printf("    allocations           %llu from the third token to the last but one\n",
         (unsigned long long)(screen->heap_to - screen->heap_from));
}

static void print_next(void) {
  printf("\n  Try next\n"
         "    weir run -c conf.lua &\n"
         "    curl -N http://127.0.0.1:8080/v1/chat/completions -H 'content-type: "
         "application/json' \\\n"
         "      -d "
         "'{\"model\":\"mock\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":"
         "\"hello\"}]}'\n\n");
}

static bool have(struct seen *s) {
  pthread_mutex_lock(&s->lock);
  bool yes = s->have;
  pthread_mutex_unlock(&s->lock);
  return yes;
}

static int serve(struct wr_process *p, struct seen *s) {
  struct wr_demo_client client = { 0 };
  struct screen screen = { .column = 2 };
  struct wr_loop *loop = wr_process_loop(p);
  client.token = print_token;
  client.ctx = &screen;
  char text[128];
  printf("\n  weir demo: client -> weir on %s -> mock LLM\n\n  ",
         wr_addr_format(wr_process_listen_addr(p, 0), text, sizeof text));
  fflush(stdout);
  enum wr_err err = wr_process_start(p);
  if (err == WR_OK)
    err = wr_demo_client_start(&client, loop, wr_process_listen_addr(p, 0), WR_SPAN("mock"));
  while (err == WR_OK && !client.done) wr_loop_turn(loop, 100);
  while (err == WR_OK && !client.failed && !have(s)) wr_loop_turn(loop, 10);
  wr_demo_client_end(&client);
  wr_process_stop(p);
  if (err != WR_OK || client.failed || !client.terminated || client.status != 200) {
    fprintf(stderr, "\nweir demo: the stream did not come through whole (status %u)\n",
            client.status);
    return 1;
  }
  print_summary(s, &screen);
  print_next();
  return 0;
}

int wr_cmd_demo(int argc, char **argv) {
  uint64_t rate = 30, tokens = 60;
  for (int i = 1; i < argc; i += 2) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
      fputs(help, stdout);
      return 0;
    }
    uint64_t *to = !strcmp(argv[i], "--rate")     ? &rate
                   : !strcmp(argv[i], "--tokens") ? &tokens
                                                  : NULL;
    if (!to || wr_text_u64(wr_span_str(value), 100000, to) != WR_OK) {
      fprintf(stderr, "weir demo: '%s' is not understood here; see weir demo --help\n", argv[i]);
      return 2;
    }
  }
  char conf[1024], why[400] = "";
  int n = snprintf(conf, sizeof conf, conf_text, (unsigned)rate, (unsigned)tokens);
  struct seen s = { .have = false };
  pthread_mutex_init(&s.lock, NULL);
  struct wr_process_options o = { .file = "demo.lua",
                                  .source = wr_span_make(conf, (size_t)n),
                                  .quiet = true,
                                  .seen = seen,
                                  .ctx = &s };
  struct wr_process *p = NULL;
  struct wr_diag diag;
  wr_diag_init(&diag);
  enum wr_err err = wr_process_new(&o, &p, &diag, why, sizeof why);
  if (err != WR_OK) fprintf(stderr, "weir demo: %s\n", diag.count ? diag.entries[0].text : why);
  wr_diag_fini(&diag);
  int code = err == WR_OK ? serve(p, &s) : 1;
  wr_process_free(p);
  return code;
}

#include "cli/trial_open.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "policy/load.h"

static void print_line(void *ctx, struct wr_span line) {
  fprintf(ctx, "%.*s\n", (int)line.len, line.ptr);
}

struct wr_trial *wr_cli_trial_open(const char *command, const char *file) {
  struct wr_trial *t = NULL;
  struct wr_diag diag;
  struct wr_trial_options o = { .file = file, .seed = 1,
                                .unix_us = (uint64_t)time(NULL) * 1000000u };
  wr_diag_init(&diag);
  enum wr_err err = wr_trial_new(&o, &t, &diag);
  if (err != WR_OK) wr_diag_print(&diag, print_line, stderr);
  if (err != WR_OK && diag.count == 0) fprintf(stderr, "weir %s: %s\n", command, wr_err_text(err));
  wr_diag_fini(&diag);
  return err == WR_OK ? t : NULL;
}

char *wr_cli_file(const char *command, const char *file, size_t *len) {
  char *bytes = NULL;
  enum wr_err err = wr_conf_read_source(file, &bytes, len);
  if (err == WR_OK) return bytes;
  fprintf(stderr, "weir %s: %s: %s\n", command, file,
          err == WR_E_IO ? strerror(errno) : wr_err_text(err));
  return NULL;
}

static void print_verdict(const struct wr_trial_note *n) {
  if (!n->verdict) {
    fputs("nothing", stdout);
    return;
  }
  fputs(n->verdict, stdout);
  if (n->group) printf(" \"%s\"", n->group);
  if (n->status) printf(" %u", n->status);
  if (n->text.len) printf(" \"%.*s\"", (int)n->text.len, n->text.ptr);
  if (n->model.len) printf(", model \"%.*s\"", (int)n->model.len, n->model.ptr);
  if (n->max_tokens >= 0) printf(", max_tokens %lld", (long long)n->max_tokens);
  if (n->deadline_ms >= 0) printf(", deadline %.3g s", (double)n->deadline_ms / 1000);
  if (n->delay_ms >= 0) printf(" after %.3g s", (double)n->delay_ms / 1000);
}

size_t wr_cli_print_notes(const struct wr_trial_result *r, const char *only) {
  size_t failed = 0;
  for (size_t i = 0; i < r->note_count; i++) {
    const struct wr_trial_note *n = &r->notes[i];
    failed += n->fail != NULL;
    if (only && strcmp(n->hook, only) != 0 && !n->fail) continue;
    printf("%-18s %-12s ", n->hook, n->plugin);
    print_verdict(n);
    if (n->fail) printf(" (failed: %.*s)", (int)n->error.len, n->error.ptr);
    putchar('\n');
  }
  return failed;
}

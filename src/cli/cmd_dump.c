#include "cli/cmd_dump.h"

#include <stdio.h>
#include <string.h>

#include "conf/dump.h"
#include "policy/load.h"

static const char usage[] =
    "usage: weir dump [-c FILE]\n"
    "\n"
    "Prints the checked configuration as JSON: every option as it will be, defaults too, secrets\n"
    "hidden.\n"
    "  -c FILE    the configuration; default: conf.lua\n";

static void print_line(void *ctx, struct wr_span line) {
  fprintf(ctx, "%.*s\n", (int)line.len, line.ptr);
}

static void print_text(void *ctx, struct wr_span text) { fwrite(text.ptr, 1, text.len, ctx); }

int wr_cmd_dump(int argc, char **argv) {
  const char *file = "conf.lua";
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
      fputs(usage, stdout);
      return 0;
    }
    bool named = !strcmp(argv[i], "-c") || !strcmp(argv[i], "--config");
    if (named && i + 1 < argc) {
      file = argv[++i];
    } else if (argv[i][0] != '-' && argc == 2) {
      file = argv[i]; /* weir dump conf.lua */
    } else {
      fprintf(stderr, "weir dump: %s: not understood\n%s", argv[i], usage);
      return 2;
    }
  }
  struct wr_diag diag;
  struct wr_conf *conf = NULL;
  wr_diag_init(&diag);
  enum wr_err err = wr_conf_load_file(file, &conf, &diag);
  wr_diag_print(&diag, print_line, stderr);
  if (err == WR_OK) {
    wr_conf_dump(conf, print_text, stdout);
    wr_conf_free(conf);
  } else if (diag.errors == 0) {
    fprintf(stderr, "%s: %s\n", file, wr_err_text(err));
  }
  wr_diag_fini(&diag);
  return err == WR_OK ? 0 : 1;
}

#include "cli/cmd_check.h"

#include <stdio.h>
#include <string.h>

#include "conf/explain.h"
#include "policy/load.h"

static const char usage[] =
    "usage: weir check [-c FILE] [--explain]\n"
    "\n"
    "Checks a configuration (conf.lua) without starting anything: all errors, each with its line.\n"
    "  -c FILE    the configuration; default: conf.lua\n"
    "  --explain  print every option as it will be, defaults too, secrets hidden\n";

struct options {
  const char *file; /* borrowed: argv */
  bool explain;
  bool help;
};

static bool parse(int argc, char **argv, struct options *out) {
  *out = (struct options){ .file = "conf.lua" };
  bool named = false;
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i];
    if ((strcmp(arg, "-c") == 0 || strcmp(arg, "--config") == 0) && i + 1 < argc) {
      out->file = argv[++i];
    } else if (strcmp(arg, "--explain") == 0) {
      out->explain = true;
    } else if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
      out->help = true;
    } else if (arg[0] != '-' && !named) {
      out->file = arg; /* weir check conf.lua */
      named = true;
    } else {
      fprintf(stderr, "weir check: %s: not understood\n%s", arg, usage);
      return false;
    }
  }
  return true;
}

static void print_line(void *ctx, struct wr_span line) {
  fprintf(ctx, "%.*s\n", (int)line.len, line.ptr);
}

static void print_text(void *ctx, struct wr_span text) { fwrite(text.ptr, 1, text.len, ctx); }

static const char *plural(size_t n) { return n == 1 ? "" : "s"; }

static void print_hooks(const struct wr_conf *conf) {
  for (size_t i = 0; i < conf->route_count; i++) {
    const struct wr_conf_route *r = &conf->routes[i];
    printf("route %s", r->name);
    for (unsigned h = 0; h < WR_HOOKS; h++)
      if (r->hook_names[h]) printf("  %s: %s", wr_hook_word(h), r->hook_names[h]);
      else if (1u << h == WR_HOOK_SLOW_CLIENT && r->hooks) printf("  %s: C", wr_hook_word(h));
    printf("%s\n", r->hooks ? "" : "  no hooks");
  }
  if (conf->pressure_hooks) printf("weir.use  on_pressure: %s\n", conf->pressure_hooks);
}

static void print_right(const struct wr_conf *conf, const struct options *opts) {
  printf("%s: ok (%zu listener%s, %zu upstream%s, %zu route%s)\n", opts->file, conf->listen_count,
         plural(conf->listen_count), conf->upstream_count, plural(conf->upstream_count),
         conf->route_count, plural(conf->route_count));
  print_hooks(conf);
  if (!opts->explain) return;
  printf("\n");
  wr_conf_explain(conf, print_text, stdout);
}

int wr_cmd_check(int argc, char **argv) {
  struct options opts;
  if (!parse(argc, argv, &opts)) return 2;
  if (opts.help) {
    fputs(usage, stdout);
    return 0;
  }
  struct wr_diag diag;
  wr_diag_init(&diag);
  struct wr_conf *conf = NULL;
  enum wr_err err = wr_conf_load_file(opts.file, &conf, &diag);
  wr_diag_print(&diag, print_line, stderr);
  if (err == WR_OK) {
    print_right(conf, &opts);
    wr_conf_free(conf);
  } else if (diag.errors == 0) {
    fprintf(stderr, "%s: %s\n", opts.file, wr_err_text(err));
  }
  wr_diag_fini(&diag);
  return err == WR_OK ? 0 : 1;
}

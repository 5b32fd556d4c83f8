#include "cli/cmd_status.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/buf.h"
#include "cli/admin_find.h"

static const char usage[] =
    "usage: weir status [-c conf.lua | --admin ADDR]\n"
    "\n"
    "Prints what a running weir does: its workers, what they run, what is short, which policies "
    "are\n"
    "put aside after failures, how flags and upstreams stand.\n"
    "\n"
    "  -c, --conf FILE  the configuration that names the admin listener (default: conf.lua)\n"
    "      --admin ADDR the admin listener itself: 127.0.0.1:9901, [::1]:9901, "
    "unix:/run/weir.sock\n";

static double number(const struct wr_json_item *item, const char *path) {
  double n = 0;
  (void)wr_json_item_num(wr_json_item_at(item, path), &n);
  return n;
}

static bool is_on(const struct wr_json_item *item, const char *path) {
  bool on = false;
  (void)wr_json_item_bool(wr_json_item_at(item, path), &on);
  return on;
}

static void print_text(const struct wr_json_item *item) {
  struct wr_span s = wr_json_item_str(item);
  printf("%.*s", (int)s.len, s.ptr ? s.ptr : "");
}

static void print_up(double seconds) {
  static const struct {
    double length;
    const char *word; /* borrowed: static */
  } units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
  size_t i = 0;
  while (i < 3 && seconds < 2 * units[i].length) i++;
  printf("%.0f %s", seconds / units[i].length, units[i].word);
}

static void print_process(const struct wr_json_item *root) {
  printf("weir ");
  print_text(wr_json_item_at(root, "version"));
  printf(", up ");
  print_up(number(root, "now") - number(root, "started"));
  printf(", configuration %.0f", number(root, "generation"));
  if (number(root, "generations_live") > 1)
    printf(" (%.0f in memory)", number(root, "generations_live"));
  double level = number(root, "memory_level");
  if (level > 0) printf(", memory is short: %.0f of 4", level);
  printf("%s\n", is_on(root, "draining") ? ", draining" : "");
}

static void print_worker(const struct wr_json_item *w) {
  printf("worker %.0f: %.0f connections, %.0f requests", number(w, "worker"),
         number(w, "connections"), number(w, "requests"));
  if (number(w, "lua_limit_bytes") > 0)
    printf(", Lua %.1f of %.1f MiB", number(w, "lua_bytes") / 1048576,
           number(w, "lua_limit_bytes") / 1048576);
  if (number(w, "retired") > 0) printf(", %.0f retired", number(w, "retired"));
  printf("\n");
  const struct wr_json_item *name = wr_json_item_first(wr_json_item_at(w, "aside"));
  if (name) printf("  put aside after failures:");
  for (; name; name = wr_json_item_next(name)) {
    printf(" ");
    print_text(name);
  }
  if (number(w, "aside_count") > 0) printf("\n");
}

static void print_flag(const struct wr_json_item *f) {
  printf("flag ");
  print_text(wr_json_item_at(f, "name"));
  printf(": %s\n", is_on(f, "on") ? "on" : "off");
}

static void print_peer(const struct wr_json_item *p) {
  printf("upstream ");
  print_text(wr_json_item_at(p, "upstream"));
  printf(" ");
  print_text(wr_json_item_at(p, "url"));
  printf(": ");
  print_text(wr_json_item_at(p, "state"));
  printf(", %.0f streams\n", number(p, "streams"));
}

static void each(const struct wr_json_item *list, void (*print)(const struct wr_json_item *)) {
  const struct wr_json_item *i = wr_json_item_first(list);
  for (; i; i = wr_json_item_next(i)) print(i);
}

/* Pages that this weir may not have say nothing. */
static void print_page(const struct wr_admin_args *args, const char *request,
                       void (*print)(const struct wr_json_item *)) {
  struct wr_json_doc *doc = NULL;
  if (wr_admin_ask(args, request, &doc) == 200 && doc) {
    const struct wr_json_item *root = wr_json_doc_root(doc);
    if (wr_json_item_type(root) == WR_JSON_ARRAY) each(root, print);
    else print(root);
  }
  wr_json_doc_free(doc);
}

static void print_pressure(const struct wr_json_item *root) {
  if (number(root, "step") == 0) return;
  printf("pressure: step %.0f, ", number(root, "step"));
  print_text(wr_json_item_at(root, "cause"));
  printf("\n");
}

int wr_cmd_status(int argc, char **argv) {
  struct wr_admin_args args = { .command = "status", .usage = usage };
  int code = wr_admin_args(&args, argc, argv);
  if (code >= 0) return code;
  struct wr_json_doc *doc = NULL;
  unsigned status = wr_admin_ask(&args, "GET /status", &doc);
  code = status == 200 && doc ? 0 : 1;
  if (code == 0) {
    const struct wr_json_item *root = wr_json_doc_root(doc);
    print_process(root);
    each(wr_json_item_at(root, "workers"), print_worker);
    print_page(&args, "GET /pressure", print_pressure);
    print_page(&args, "GET /flags", print_flag);
    print_page(&args, "GET /upstreams", print_peer);
  } else if (status) {
    fprintf(stderr, "weir status: the admin listener answered with %u\n", status);
  }
  wr_json_doc_free(doc);
  return code;
}

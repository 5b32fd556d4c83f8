#include "cli/cmd_reload.h"

#include <stdio.h>

#include "cli/admin_find.h"

static const char usage[] =
    "usage: weir reload [-c conf.lua | --admin ADDR]\n"
    "\n"
    "Asks a running weir to read its configuration again, and prints what came of it. Requests "
    "that\n"
    "run keep the configuration that they began with. Exit code 1: nothing has changed, and why.\n"
    "\n"
    "  -c, --conf FILE  the configuration that names the admin listener (default: conf.lua)\n"
    "      --admin ADDR the admin listener itself: 127.0.0.1:9901, [::1]:9901, "
    "unix:/run/weir.sock\n";

int wr_cmd_reload(int argc, char **argv) {
  struct wr_admin_args args = { .command = "reload", .usage = usage };
  int code = wr_admin_args(&args, argc, argv);
  if (code == 1) fprintf(stderr, "weir reload: nothing has changed\n");
  if (code >= 0) return code;
  struct wr_json_doc *doc = NULL;
  unsigned status = wr_admin_ask(&args, "POST /reload", &doc);
  bool ok = status == 200;
  const struct wr_json_item *root = doc ? wr_json_doc_root(doc) : NULL;
  struct wr_span said = wr_json_item_str(wr_json_item_at(root, ok ? "message" : "error.message"));
  while (said.len > 0 && said.ptr[said.len - 1] == '\n') said.len--;
  if (status) fprintf(ok ? stdout : stderr, "%.*s\n", (int)said.len, said.ptr ? said.ptr : "");
  if (!ok) fprintf(stderr, "weir reload: nothing has changed\n");
  wr_json_doc_free(doc);
  return ok ? 0 : 1;
}

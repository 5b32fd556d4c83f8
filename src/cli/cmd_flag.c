#include "cli/cmd_flag.h"

#include <stdio.h>
#include <string.h>

#include "cli/admin_find.h"

static const char usage[] =
    "usage: weir flag NAME on|off [-c conf.lua | --admin ADDR]\n"
    "\n"
    "Switches a flag of a running weir's policies (weir.flag), for all workers at once. It stays\n"
    "so over reloads, until the process ends.\n"
    "\n"
    "  -c, --conf FILE  the configuration that names the admin listener (default: conf.lua)\n"
    "      --admin ADDR the admin listener itself: 127.0.0.1:9901, [::1]:9901, "
    "unix:/run/weir.sock\n";

int wr_cmd_flag(int argc, char **argv) {
  struct wr_admin_args args = { .command = "flag", .usage = usage, .most_words = 2 };
  int code = wr_admin_args(&args, argc, argv);
  if (code == 0 || code == 2) return code;
  const char *name = args.words[0], *to = args.words[1];
  bool known = to && (!strcmp(to, "on") || !strcmp(to, "off"));
  if (!known || strlen(name) > 64 || strpbrk(name, " \t\r\n?#%")) {
    fputs(usage, stderr);
    return 2;
  }
  if (code > 0) return code;
  char request[128];
  snprintf(request, sizeof request, "POST /flags/%s/%s", name, to);
  struct wr_json_doc *doc = NULL;
  unsigned status = wr_admin_ask(&args, request, &doc);
  if (status == 200) {
    printf("%s is %s\n", name, to);
  } else if (status) {
    const struct wr_json_item *root = doc ? wr_json_doc_root(doc) : NULL;
    struct wr_span why = root ? wr_json_item_str(wr_json_item_at(root, "error.message"))
                              : wr_span_make("", 0);
    fprintf(stderr, "weir flag: %s: %.*s\n", name, (int)why.len, why.ptr ? why.ptr : "");
  }
  wr_json_doc_free(doc);
  return status == 200 ? 0 : 1;
}

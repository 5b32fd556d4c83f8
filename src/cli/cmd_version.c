#include "cli/cmd_version.h"

#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "net/loop.h"
#include "net/resolve.h"
#include "net/tls_ctx.h"
#include "policy/vm.h"
#include "wire/json_doc.h"

static const char help[] =
    "usage: weir version\n\n"
    "Prints the version of weir and, below it, those of the libraries, a line each.\n";

int wr_cmd_version(int argc, char **argv) {
  if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
    fputs(help, stdout);
    return 0;
  }
  if (argc > 1) {
    fprintf(stderr, "weir version: '%s' is not understood here; see --help\n",
            argv[1]);
    return 2;
  }
  printf("weir %s\n", WR_VERSION);
  printf("libuv %s\n", wr_loop_library_version());
  printf("mbedTLS %s\n", wr_tls_library_version());
  printf("c-ares %s\n", wr_resolve_library_version());
  printf("Lua %s\n", wr_vm_lua_version());
  printf("cJSON %s\n", wr_json_library_version());
  return 0;
}

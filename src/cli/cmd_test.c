#include "cli/cmd_test.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/beside.h"

static const char usage[] =
    "usage: weir test [FILES and options of busted]\n"
    "\n"
    "Runs the specs of policies with busted, in a Lua 5.4 that finds weir.test.\n"
    "  FILES      specs, or folders with *_spec.lua; default: spec\n"
    "Options go to busted as they are: weir test --filter=cuts spec/hello_spec.lua\n";

#define ARGS_MAX 64

/* Is this command along PATH? */
static bool in_path(const char *name, char out[static WR_CLI_PATH_BYTES]) {
  const char *at = getenv("PATH");
  while (at && *at) {
    size_t len = strcspn(at, ":");
    int n = snprintf(out, WR_CLI_PATH_BYTES, "%.*s/%s", (int)(len < 4096 ? len : 0), at, name);
    if (n > 0 && n < WR_CLI_PATH_BYTES && access(out, X_OK) == 0) return true;
    at += len + (at[len] == ':');
  }
  return false;
}

/* In front of what the variable says already: a folder of modules beside this binary. Without one
 * a stock Lua looks in its own places, which is right for an installed module. */
static bool add_to(const char *variable, const char *const *folders, const char *pattern) {
  char folder[WR_CLI_PATH_BYTES], value[8192];
  const char *old = getenv(variable);
  if (!wr_cli_beside(folders, folder)) return true;
  int n = snprintf(value, sizeof value, "%s/%s;%s%s", folder, pattern, old ? old : "",
                   old ? "" : ";");
  return n > 0 && (size_t)n < sizeof value && setenv(variable, value, 1) == 0;
}

static bool set_paths(void) {
  static const char *const lua[] = { "../share/lua/5.4", "../../lua", NULL };
  static const char *const modules[] = { "../lib/lua/5.4", "lua", NULL };
  /* busted's own modules for 5.4 stand where Lua looks by itself: ";;" at the end. */
  return add_to("LUA_PATH", lua, "?.lua") && add_to("LUA_CPATH", modules, "?.so");
}

/* In a tree of sources whose module nobody has made; busted would say so in twenty lines. */
static bool not_built(void) {
  static const char *const tree[] = { "../../lua/weir/test.lua", NULL };
  static const char *const module[] = { "lua/weir/test/core.so", NULL };
  char path[WR_CLI_PATH_BYTES];
  if (getenv("LUA_CPATH") || getenv("LUA_CPATH_5_4")) return false;
  return wr_cli_beside(tree, path) && !wr_cli_beside(module, path);
}

int wr_cmd_test(int argc, char **argv) {
  char busted[WR_CLI_PATH_BYTES], lua[WR_CLI_PATH_BYTES], which[WR_CLI_PATH_BYTES + 8];
  char *args[ARGS_MAX];
  int n = 0, named = 0;
  if (argc > 1 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"))) {
    fputs(usage, stdout);
    return 0;
  }
  if (argc > ARGS_MAX - 8) {
    fprintf(stderr, "weir test: more than %d arguments; name a folder\n", ARGS_MAX - 8);
    return 2;
  }
  if (!in_path("busted", busted)) {
    fputs("weir test: busted is not installed: apt-get install lua-busted, or luarocks install "
          "busted\n",
          stderr);
    return 127;
  }
  if (!in_path("lua5.4", lua) && !in_path("lua", lua)) {
    fputs("weir test: there is no lua5.4 to run busted with: apt-get install lua5.4\n", stderr);
    return 127;
  }
  snprintf(which, sizeof which, "--lua=%s", lua);
  args[n++] = busted;
  args[n++] = which;
  for (int i = 1; i < argc; i++) {
    named += argv[i][0] != '-';
    args[n++] = argv[i];
  }
  static char pattern[] = "--pattern=_spec", folder[] = "spec";
  args[n++] = pattern;
  if (!named) args[n++] = folder;
  args[n] = NULL;
  fflush(NULL);
  if (not_built()) {
    fputs("weir test: the module weir.test isn't built: make lua-test, where this weir was built\n",
          stderr);
    return 127;
  }
  if (set_paths()) execv(busted, args);
  perror("weir test: busted");
  return 127;
}

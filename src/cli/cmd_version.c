#include "cli/cmd_version.h"

#include <stdio.h>

#include "base/version.h"

int wr_cmd_version(int argc, char **argv) {
  (void)argc;
  (void)argv;
  printf("weir %s\n", WR_VERSION);
  return 0;
}

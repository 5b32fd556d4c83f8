#include "cli/beside.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool wr_cli_beside(const char *const *names, char out[static WR_CLI_PATH_BYTES]) {
  char self[WR_CLI_PATH_BYTES], name[2 * WR_CLI_PATH_BYTES], real[PATH_MAX];
  out[0] = '\0';
  ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
  if (len <= 0) return false;
  self[len] = '\0';
  char *slash = strrchr(self, '/');
  if (!slash) return false;
  *slash = '\0';
  for (size_t i = 0; names[i]; i++) {
    snprintf(name, sizeof name, "%s/%s", self, names[i]);
    size_t bytes = realpath(name, real) ? strlen(real) + 1 : 0;
    if (bytes == 0 || bytes > WR_CLI_PATH_BYTES) continue;
    memcpy(out, real, bytes);
    return true;
  }
  return false;
}

/* beside.h: the files that belong to this binary, wherever it was installed or built. */
#ifndef WR_CLI_BESIDE_H
#define WR_CLI_BESIDE_H

#include <stdbool.h>
#include <stddef.h>

/* The longest path that is found. */
#define WR_CLI_PATH_BYTES 1024

/* The first of the names (NULL ends the list; they count from the binary's folder) that exists,
 * without "..": out holds it with a NUL. False: none does, and out is "". */
bool wr_cli_beside(const char *const *names, char out[static WR_CLI_PATH_BYTES]);

#endif

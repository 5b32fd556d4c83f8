/* admin_find.h: which admin listener a command talks to, and one JSON document from it. */
#ifndef WR_CLI_ADMIN_FIND_H
#define WR_CLI_ADMIN_FIND_H

#include <stdbool.h>

#include "net/addr.h"
#include "wire/json_doc.h"

/* What the commands that ask a running weir have in common. */
struct wr_admin_args {
  const char *command;  /* borrowed: static; "reload": for messages */
  const char *usage;    /* borrowed: static */
  const char *words[2]; /* borrowed: argv; what stands there without a dash */
  int most_words;       /* that the command takes, at most 2 */
  struct wr_addr addr;
};
/* Reads the command line. -1: go on; else the exit code. Messages are printed. */
int wr_admin_args(struct wr_admin_args *args, int argc, char **argv);
/* request: "GET /status". The answer's status, 0: there is none (printed). *out: its document, or
 * NULL when it isn't JSON. */
unsigned wr_admin_ask(const struct wr_admin_args *args, const char *request,
                      struct wr_json_doc **out);

#endif

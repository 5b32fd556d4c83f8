/* trial_open.h: what `weir explain` and `weir replay` have in common. */
#ifndef WR_CLI_TRIAL_OPEN_H
#define WR_CLI_TRIAL_OPEN_H

#include "trial/trial.h"

/* Loads a configuration to be tried; says on standard error what is wrong with it. NULL: it is. */
struct wr_trial *wr_cli_trial_open(const char *command, const char *file);
/* The bytes of a file (heap, tag CONF, a NUL behind them), or NULL after a sentence. */
char *wr_cli_file(const char *command, const char *file, size_t *len);
/* What hooks said, a line each, on standard output; failures too. only: the name of a hook, or
 * NULL. Returns how many failed. */
size_t wr_cli_print_notes(const struct wr_trial_result *r, const char *only);

#endif

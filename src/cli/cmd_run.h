/* cmd_run.h: `weir run`, the server. */
#ifndef WR_CLI_CMD_RUN_H
#define WR_CLI_CMD_RUN_H

/* argv[0] is "run". Returns the exit code: 0, 1 (could not start, or left something behind), 2
 * (wrong usage). */
int wr_cmd_run(int argc, char **argv);

#endif

/* cmd_dump.h: `weir dump`: the checked configuration as JSON. */
#ifndef WR_CLI_CMD_DUMP_H
#define WR_CLI_CMD_DUMP_H

/* The exit code: 0 printed, 1 the configuration is wrong (all errors go to standard error), 2 for
 * arguments that aren't understood. */
int wr_cmd_dump(int argc, char **argv);

#endif

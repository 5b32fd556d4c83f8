/* cmd_check.h: `weir check [-c conf.lua] [--explain]`: is this configuration right, and what does
 * it say? */
#ifndef WR_CLI_CMD_CHECK_H
#define WR_CLI_CMD_CHECK_H

/* argv[0] is "check". The exit code: 0 right (warnings go to standard error), 1 wrong (all errors
 * go there), 2 for arguments that aren't understood. */
int wr_cmd_check(int argc, char **argv);

#endif

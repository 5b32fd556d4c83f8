/* cmd_init.h: `weir init [DIR]`: the files with which one begins. */
#ifndef WR_CLI_CMD_INIT_H
#define WR_CLI_CMD_INIT_H

/* argv[0] is "init". Nothing that exists is overwritten. The exit code: 0 each file is there now,
 * 1 one could not be written, 2 for arguments that aren't understood. */
int wr_cmd_init(int argc, char **argv);

#endif

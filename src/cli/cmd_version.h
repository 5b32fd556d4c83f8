/* cmd_version.h: `weir version`. */
#ifndef WR_CLI_CMD_VERSION_H
#define WR_CLI_CMD_VERSION_H

int wr_cmd_version(int argc, char **argv);

#endif

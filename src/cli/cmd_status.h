/* cmd_status.h: weir status. */
#ifndef WR_CLI_CMD_STATUS_H
#define WR_CLI_CMD_STATUS_H

int wr_cmd_status(int argc, char **argv);

#endif

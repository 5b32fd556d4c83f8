/* cmd_flag.h: weir flag. */
#ifndef WR_CLI_CMD_FLAG_H
#define WR_CLI_CMD_FLAG_H

int wr_cmd_flag(int argc, char **argv);

#endif

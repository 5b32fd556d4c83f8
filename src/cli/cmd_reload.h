/* cmd_reload.h: `weir reload`: asks a running relay to read its configuration again. */
#ifndef WR_CLI_CMD_RELOAD_H
#define WR_CLI_CMD_RELOAD_H

/* The exit code: 0 reloaded, 1 refused or out of reach, 2 not understood. */
int wr_cmd_reload(int argc, char **argv);

#endif

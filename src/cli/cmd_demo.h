/* cmd_demo.h: `weir demo`: mock, relay and client in one process, a stream printed as it
 * arrives, and what the relay saw. */
#ifndef WR_CLI_CMD_DEMO_H
#define WR_CLI_CMD_DEMO_H

/* argv[0] is "demo". Returns the exit code: 0 when the whole stream came through, else 1; 2 for
 * wrong usage. */
int wr_cmd_demo(int argc, char **argv);

#endif

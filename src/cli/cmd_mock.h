/* cmd_mock.h: `weir mock`, the stand-in LLM server as a program. */
#ifndef WR_CLI_CMD_MOCK_H
#define WR_CLI_CMD_MOCK_H

/* argv[0] is "mock". Returns the exit code: 0, 1 (could not start), 2 (wrong usage). Main
 * thread. */
int wr_cmd_mock(int argc, char **argv);

#endif

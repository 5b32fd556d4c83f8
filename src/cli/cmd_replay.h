/* weir replay: a recorded stream through the policy, and the difference. */
#ifndef WR_CLI_CMD_REPLAY_H
#define WR_CLI_CMD_REPLAY_H

/* The exit code of the command; argv[0] is its name. */
int wr_cmd_replay(int argc, char **argv);

#endif

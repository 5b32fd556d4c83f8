/* weir explain: what becomes of a request, and which hook decided it. */
#ifndef WR_CLI_CMD_EXPLAIN_H
#define WR_CLI_CMD_EXPLAIN_H

/* The exit code of the command; argv[0] is its name. */
int wr_cmd_explain(int argc, char **argv);

#endif

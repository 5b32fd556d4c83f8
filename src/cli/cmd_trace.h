/* cmd_trace.h: weir trace. */
#ifndef WR_CLI_CMD_TRACE_H
#define WR_CLI_CMD_TRACE_H

int wr_cmd_trace(int argc, char **argv);

#endif

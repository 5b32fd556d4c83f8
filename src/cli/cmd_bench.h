/* cmd_bench.h: `weir bench`, a load generator that sees events where others see requests. */
#ifndef WR_CLI_CMD_BENCH_H
#define WR_CLI_CMD_BENCH_H

/* 0: measured, no fault; 1: faults, or it could not begin; 2: bad arguments. */
int wr_cmd_bench(int argc, char **argv);

#endif

/* cmd_test.h: `weir test [FILES]`: busted, told where weir.test is. */
#ifndef WR_CLI_CMD_TEST_H
#define WR_CLI_CMD_TEST_H

/* argv[0] is "test". Becomes busted, so its exit code is busted's; 127 without busted or a Lua 5.4
 * to run it, 2 for arguments that aren't understood. */
int wr_cmd_test(int argc, char **argv);

#endif

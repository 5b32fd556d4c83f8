/* weir: a relay for LLM token streams. One file a command; this one only finds it. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/cmd_bench.h"
#include "cli/cmd_check.h"
#include "cli/cmd_demo.h"
#include "cli/cmd_dump.h"
#include "cli/cmd_explain.h"
#include "cli/cmd_mock.h"
#include "cli/cmd_flag.h"
#include "cli/cmd_init.h"
#include "cli/cmd_reload.h"
#include "cli/cmd_replay.h"
#include "cli/cmd_run.h"
#include "cli/cmd_status.h"
#include "cli/cmd_test.h"
#include "cli/cmd_trace.h"
#include "cli/cmd_version.h"

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *help;
} commands[] = {
  { "init", wr_cmd_init, "begin: a configuration that runs, a policy, its spec" },
  { "run", wr_cmd_run, "start the relay" },
  { "reload", wr_cmd_reload, "make a running relay read its configuration again" },
  { "status", wr_cmd_status, "what a running relay does: workers, policies, upstreams" },
  { "flag", wr_cmd_flag, "switch a flag of a running relay's policies" },
  { "check", wr_cmd_check, "check a configuration; --explain prints what it comes to" },
  { "explain", wr_cmd_explain, "what becomes of a request, and which hook decided it" },
  { "replay", wr_cmd_replay, "a recorded stream through the policy, and the difference" },
  { "test", wr_cmd_test, "run the specs of policies, with busted" },
  { "dump", wr_cmd_dump, "print the checked configuration as JSON" },
  { "demo", wr_cmd_demo, "see a stream pass through, without a configuration, a key or a network" },
  { "mock", wr_cmd_mock, "a stand-in LLM server for tests and development" },
  { "bench", wr_cmd_bench, "measure a server or a relay with many token streams" },
  { "trace", wr_cmd_trace, "what the workers of a running relay do, as a file for Perfetto" },
  { "version", wr_cmd_version, "versions of weir and of what it is built with" },
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void usage(FILE *out) {
  fputs("weir: a small relay for LLM token streams, told by Lua what to do\n\nusage: weir COMMAND "
        "[options]\n\n",
        out);
  for (size_t i = 0; i < COMMANDS; i++)
    fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
  fputs("\nweir COMMAND --help says more.\n", out);
}

static int command_run(int argc, char **argv) {
  for (size_t i = 0; i < COMMANDS; i++)
    if (!strcmp(argv[0], commands[i].name)) return commands[i].run(argc, argv);
  fprintf(stderr, "weir: there is no command '%s'; see weir --help\n", argv[0]);
  return 2;
}

static bool is_help(const char *arg) { return !strcmp(arg, "-h") || !strcmp(arg, "--help"); }

int main(int argc, char **argv) {
  static char long_help[] = "--help";
  if (argc < 2) {
    usage(stderr);
    return 2;
  }
  bool word = !strcmp(argv[1], "help");
  if (is_help(argv[1]) || (word && (argc == 2 || is_help(argv[2])))) {
    usage(stdout);
    return 0;
  }
  if (!strcmp(argv[1], "--version")) return wr_cmd_version(1, argv);
  /* "weir help mock", "weir mock -h" and "weir mock --help" are one question. */
  if (word || (argc == 3 && is_help(argv[2])))
    return command_run(2, (char *[]){ argv[word ? 2 : 1], long_help, NULL });
  return command_run(argc - 1, argv + 1);
}

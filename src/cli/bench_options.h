/* bench_options.h: the command line of `weir bench` as plain data. */
#ifndef WR_CLI_BENCH_OPTIONS_H
#define WR_CLI_BENCH_OPTIONS_H

#include <stdbool.h>

#include "cli/bench_probe.h"
#include "load/load.h"
#include "wire/url.h"

#define WR_BENCH_FIELDS_BYTES 8192
#define WR_BENCH_PATH_BYTES 1024
#define WR_BENCH_HOST_BYTES 256

enum wr_bench_figure { WR_BENCH_EVENTS, WR_BENCH_STREAMS, WR_BENCH_CPU };

struct wr_bench_options {
  struct wr_load_plan plan; /* without the address and TLS */
  const char *url_text;     /* borrowed: argv */
  struct wr_url url;        /* extents of url_text */
  const char *body_file;    /* borrowed: argv; or NULL */
  const char *ca_file;      /* borrowed: argv; or NULL */
  struct wr_bench_probe probe;
  uint64_t time_us, warmup_us;
  double until; /* a share; 0: not asked for */
  enum wr_bench_figure figure;
  bool insecure, json, quiet, help, has_api, has_figure;
  char path[WR_BENCH_PATH_BYTES];
  char host[WR_BENCH_HOST_BYTES];      /* to resolve, and to verify */
  char authority[WR_BENCH_HOST_BYTES]; /* for the Host field */
  char fields[WR_BENCH_FIELDS_BYTES];
  size_t fields_len;
};

/* False: said on standard error. */
bool wr_bench_options_parse(struct wr_bench_options *o, int argc, char **argv);
void wr_bench_options_help(void);

#endif

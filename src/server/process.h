/* process.h: the whole server: configuration, pool, workers, admin listener, signals.
 *
 * The main thread makes it, runs it and frees it. The main thread has a loop of its own for
 * signals, the admin listener and the mock upstreams; streams run on the workers. */
#ifndef WR_SERVER_PROCESS_H
#define WR_SERVER_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "net/addr.h"
#include "net/loop.h"
#include "policy/diag.h"

struct wr_process;
struct wr_record;

struct wr_process_options {
  const char *file;        /* borrowed: name of conf.lua, for messages and relative names */
  struct wr_span source;   /* borrowed: its text; ptr NULL: the file is read */
  uint32_t workers;        /* 0: as the configuration says */
  bool signals;            /* SIGTERM drains, SIGINT stops, SIGHUP reopens the log and reloads */
  bool inherit;            /* LISTEN_FDS sockets are taken over */
  bool quiet;              /* no line of what listens where */
  void (*seen)(void *ctx, const struct wr_record *record); /* on a worker's thread; may be NULL */
  void *ctx;               /* borrowed: the caller */
};

/* CONFIG: diag has the findings. Others: why has a sentence. */
WR_MUST_USE enum wr_err wr_process_new(const struct wr_process_options *options,
                                       struct wr_process **out, struct wr_diag *diag, char *why,
                                       size_t why_bytes);
/* Serves until drained or stopped. Returns the exit code: 0, or 1 when something was left
 * behind. */
int wr_process_run(struct wr_process *process);
/* For a caller that drives the main loop itself (demos, tests): workers run after start; turn
 * the loop meanwhile. */
WR_MUST_USE enum wr_err wr_process_start(struct wr_process *process);
void wr_process_free(struct wr_process *process);

struct wr_loop *wr_process_loop(struct wr_process *process);
/* Address of a listener of the newest configuration as bound; borrowed until the next reload. */
const struct wr_addr *wr_process_listen_addr(const struct wr_process *process, size_t i);
/* Main thread. Accepted streams finish, up to the configured deadline. */
void wr_process_drain(struct wr_process *process);
void wr_process_stop(struct wr_process *process);

#endif

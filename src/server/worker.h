/* worker.h: one thread with all that a stream needs: slabs, loop, VM, upstreams, listeners, relay.
 *
 * The process (server/process.h) makes a worker, starts its thread and joins it. A worker shares
 * the depot, the ledger and the relay's shared counters with others, nothing else. What is asked of
 * it from elsewhere goes through its mailbox. */
#ifndef WR_SERVER_WORKER_H
#define WR_SERVER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/depot.h"
#include "mem/ledger.h"
#include "net/addr.h"
#include "relay/relay.h"
#include "server/mailbox.h"

struct wr_worker;
struct wr_log;
struct wr_logger;
struct wr_metrics;
struct wr_gen;
struct wr_plan;
struct wr_rollout;
struct wr_tallies;
struct wr_engine;

struct wr_worker_options {
  uint32_t index;
  uint32_t most_clients;          /* connections at a time; more wait in the kernel's queue */
  struct wr_depot *depot;         /* borrowed: the process's, like all below */
  struct wr_ledger *ledger;       /* borrowed: the process's */
  struct wr_relay_shared *shared; /* borrowed: the process's */
  struct wr_peer_book *book;      /* borrowed: the process's */
  struct wr_tallies *tallies;     /* borrowed: the process's */
  struct wr_log *log;             /* borrowed: the process's */
  const char *file;               /* borrowed: the process's; name of the configuration */
  uint32_t tick_ms;               /* between two looks at what runs */
  struct wr_rollout *rollout;     /* borrowed: the process's; takes back what is no more used */
  /* On the worker's thread: */
  void (*drained)(void *ctx, struct wr_worker *worker);
  void (*seen)(void *ctx, const struct wr_record *record); /* may be NULL; for demos and tests */
  void *ctx;                      /* borrowed: the process */
};

/* On the caller's thread; it serves nothing before wr_worker_begin. why names what went wrong. */
WR_MUST_USE enum wr_err wr_worker_new(const struct wr_worker_options *options,
                                      struct wr_worker **out, char *why, size_t why_bytes);
/* The main thread makes all of a generation that can fail; the worker isn't touched. before: the
 * plan that it has now, or NULL. */
WR_MUST_USE enum wr_err wr_worker_prepare(struct wr_worker *worker, struct wr_plan *plan,
                                          const struct wr_plan *before, struct wr_gen **out,
                                          char *why, size_t why_bytes);
/* The first generation, before the thread starts. The gen is the worker's, also on an error. */
WR_MUST_USE enum wr_err wr_worker_begin(struct wr_worker *worker, struct wr_gen *take_gen,
                                        char *why, size_t why_bytes);
/* On the worker's thread: new requests get this generation from now on. */
void wr_worker_take(struct wr_worker *worker, struct wr_gen *take_gen);
/* The same for the successor of a VM that is worn out: streams of the old one lose their hooks now.
 */
void wr_worker_renew(struct wr_worker *worker, struct wr_gen *take_gen);
/* The thread must have ended, or never begun. Returns what was left behind: blocks and handles, 0
 * in a clean end. */
size_t wr_worker_free(struct wr_worker *worker);
WR_MUST_USE enum wr_err wr_worker_start(struct wr_worker *worker);
void wr_worker_join(struct wr_worker *worker);

/* Any thread. */
void wr_worker_drain(struct wr_worker *worker);
/* Ends streams that run, then the thread. */
void wr_worker_stop(struct wr_worker *worker);
struct wr_mailbox *wr_worker_mailbox(struct wr_worker *worker);

/* Read by any thread. */
const struct wr_relay_stats *wr_worker_relay_stats(const struct wr_worker *worker);
const struct wr_loop_stats *wr_worker_loop_stats(const struct wr_worker *worker);
struct wr_metrics *wr_worker_metrics(const struct wr_worker *worker);
const struct wr_logger *wr_worker_logger(const struct wr_worker *worker);
uint32_t wr_worker_index(const struct wr_worker *worker);
struct wr_rollout *wr_worker_rollout(const struct wr_worker *worker);
/* On the worker's thread. */
struct wr_relay *wr_worker_relay(struct wr_worker *worker);
struct wr_worker_policy {
  uint32_t generations;  /* that requests hold, and the newest */
  uint32_t retired;      /* of these, those whose hooks are not called any more */
  size_t lua_bytes, lua_limit_bytes; /* over all of them; of one */
  const struct wr_engine *engine;    /* borrowed: the newest's; NULL: it has no hooks */
};
void wr_worker_policy(const struct wr_worker *worker, struct wr_worker_policy *out);

#endif

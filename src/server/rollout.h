/* rollout.h: a new plan for all workers or for none.
 *
 * First everything is prepared on the main thread, for each worker, while the workers go on as they
 * are; when all of it succeeded, each worker takes its part between two turns and says so. What a
 * worker has no request for any more comes back and is freed here. Main thread only, but for
 * wr_rollout_retire. */
#ifndef WR_SERVER_ROLLOUT_H
#define WR_SERVER_ROLLOUT_H

#include "server/plan.h"
#include "server/worker.h"

struct wr_gen;
struct wr_strain;

/* A worker asks for a fresh VM; the process's own, since the worker may end first. */
struct wr_renewal {
  struct wr_letter letter;
  struct wr_rollout *rollout; /* borrowed: holds this */
  uint32_t worker;
  _Atomic bool asked; /* until the worker has it, or can't get it now: the letter is under way */
  bool failed;        /* the main thread's: there is no letter, but it isn't to be asked again */
};

struct wr_rollout {
  struct wr_plans plans;
  struct wr_plan *current;    /* ref: the newest that the workers have */
  struct wr_plan *next;       /* ref: under way */
  struct wr_worker **workers; /* borrowed: the process's */
  uint32_t worker_count;
  struct wr_gen **gens;       /* owned: prepared, one a worker */
  uint32_t waiting;           /* workers that haven't taken theirs yet */
  struct wr_mailbox *mailbox; /* borrowed: the main loop's */
  struct wr_renewal *renewals; /* owned: one a worker */
  bool stopped;               /* the workers have ended */
  struct wr_strain *strain;   /* borrowed: the process's; gets the ladders; NULL: nobody does */
  void (*done)(void *ctx);    /* every worker has it */
  void *ctx;                  /* borrowed: the caller */
};

WR_MUST_USE enum wr_err wr_rollout_init(struct wr_rollout *r, struct wr_loop *loop,
                                        struct wr_mailbox *mailbox);
/* Every worker must be gone, and the mailbox empty. */
void wr_rollout_fini(struct wr_rollout *r);
/* The plan that new requests get gives up its mocks with its last reference. Before the last turns
 * of the loop, after the workers. */
void wr_rollout_close(struct wr_rollout *r);

/* Makes the parts of every worker. On an error nothing has changed, and the plan is gone.
 * why: one sentence. */
WR_MUST_USE enum wr_err wr_rollout_prepare(struct wr_rollout *r, struct wr_plan *take_plan,
                                           char *why, size_t why_bytes);
/* Hands the first plan's parts out, before the workers' threads start. */
WR_MUST_USE enum wr_err wr_rollout_begin(struct wr_rollout *r, char *why, size_t why_bytes);
/* Hands the parts out to workers that run; `done` follows. */
void wr_rollout_commit(struct wr_rollout *r);
/* Any worker's thread: the newest configuration again in a fresh VM, for that worker. */
void wr_rollout_ask_renewal(struct wr_rollout *r, uint32_t worker);
/* A worker gives back what it has closed. Its thread, or the main thread. */
void wr_rollout_retire(struct wr_rollout *r, struct wr_gen *gen);

#endif

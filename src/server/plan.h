/* plan.h: what one generation has for the whole process: the checked configuration, the text that
 * each worker's VM runs again, the mock upstreams, the numbers of its names.
 *
 * Counted: the process holds the newest, and each worker one for as long as requests run that began
 * with it. Main thread only, but for what is read from `conf` and the numbers. */
#ifndef WR_SERVER_PLAN_H
#define WR_SERVER_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "net/addr.h"
#include "net/loop.h"
#include "policy/diag.h"
#include "server/slots.h"

struct wr_mocks;

#define WR_PLANS_LIVE_MAX 4u
#define WR_PLAN_LISTENS_MAX 128u

/* Where a listener's sockets are; for each number, once its plan was opened. */
struct wr_place {
  struct wr_addr addr; /* with the port that the system chose */
  int inherited;       /* borrowed: a service manager's socket, or -1 */
  int shared;          /* owned: a Unix socket that all workers take, while they prepare, or -1 */
  bool known;
};

/* All plans of a process; outlives them. */
struct wr_plans {
  struct wr_loop *loop;       /* borrowed: the main loop */
  struct wr_slots *upstreams; /* owned */
  struct wr_slots *keys;      /* owned */
  struct wr_slots *listens;   /* owned; a number is never used again */
  struct wr_place *places;    /* owned: by number of a listener */
  uint32_t live;
  uint64_t last; /* number of the newest */
};

struct wr_plan {
  uint32_t magic;
  uint32_t refs;
  uint64_t number;              /* 1: that of the start; set when it is opened */
  struct wr_plans *plans;       /* borrowed: the process's; NULL until it is opened */
  struct wr_conf *conf;         /* owned */
  char *source;                 /* owned: text of the file */
  size_t source_len;
  struct wr_mocks *mocks;       /* owned */
  uint32_t *upstream_numbers;   /* owned: one per conf->upstreams */
  uint32_t *key_numbers;        /* owned: one per conf->keys */
  uint32_t *listen_numbers;     /* owned: one per conf->listens */
  size_t upstreams, keys, listens; /* numbers taken so far */
};

WR_MUST_USE enum wr_err wr_plans_init(struct wr_plans *plans, struct wr_loop *loop);
void wr_plans_fini(struct wr_plans *plans);

/* Reads the file, or takes the text given instead (ptr NULL: none), and checks it. CONFIG: see
 * diag. The caller has the only reference. */
WR_MUST_USE enum wr_err wr_plan_load(const char *file, struct wr_span source, struct wr_plan **out,
                                     struct wr_diag *diag);
/* Gives it numbers and starts its mock upstreams. why: one sentence. */
WR_MUST_USE enum wr_err wr_plan_open(struct wr_plan *plan, struct wr_plans *plans, char *why,
                                     size_t why_bytes);
struct wr_plan *wr_plan_ref(struct wr_plan *plan);
void wr_plan_unref(struct wr_plan *plan);
/* Does the plan listen there? */
bool wr_plan_has_listen(const struct wr_plan *plan, uint32_t number);

#endif

/* strain.h: the meters of the whole process, and who moves its ladders.
 *
 * On the main loop: every server.sample it reads the pool's use and what the system says of the
 * process's memory, and moves the ladders that workers share (relay/degrade.h). An allocation that
 * crosses a mark of "memory" moves that ladder up at once, on whatever thread. Owned by the
 * process; made before the workers, freed after them. */
#ifndef WR_SERVER_STRAIN_H
#define WR_SERVER_STRAIN_H

#include "conf/conf.h"
#include "mem/ledger.h"
#include "net/loop.h"
#include "obs/prom.h"
#include "relay/relay.h"

struct wr_strain;

struct wr_strain_options {
  struct wr_loop *loop;           /* borrowed: the main loop */
  struct wr_ledger *ledger;       /* borrowed: the process's */
  struct wr_relay_shared *shared; /* borrowed: the process's */
  const struct wr_conf_server *server; /* borrowed: for the call */
};
WR_MUST_USE enum wr_err wr_strain_new(const struct wr_strain_options *options,
                                      struct wr_strain **out);
void wr_strain_free(struct wr_strain *strain);
/* The ladders of a configuration that is taken up now; they are copied. */
void wr_strain_take(struct wr_strain *strain, const struct wr_conf *conf);

/* What the admin pages say; stats: of each worker. Main thread. */
struct wr_strain_worker {
  const struct wr_relay_stats *stats; /* borrowed: the worker's */
  uint32_t worker;
};
/* The highest step of any worker. */
uint32_t wr_strain_step(const struct wr_strain_worker *workers, size_t n);
/* The meter of the highest ladder; for words like "memory". NULL: none is above 0. */
const char *wr_strain_cause(const struct wr_relay_shared *shared);
/* A piece at a time. */
void wr_strain_json(const struct wr_relay_shared *shared, const struct wr_strain_worker *workers,
                    size_t n, wr_prom_sink_fn sink, void *ctx);
void wr_strain_metrics(const struct wr_relay_shared *shared, const struct wr_strain_worker *workers,
                       size_t n, struct wr_prom *out);

#endif

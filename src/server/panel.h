/* panel.h: the admin listener of this process: what its pages say, gathered from the workers.
 *
 * Lives on the main loop. A worker's sessions belong to its thread, so /streams asks each worker
 * by mail. */
#ifndef WR_SERVER_PANEL_H
#define WR_SERVER_PANEL_H

#include "server/worker.h"

struct wr_panel;
struct wr_reload;

struct wr_panel_options {
  struct wr_loop *loop;            /* borrowed: the main loop, outlives the panel */
  struct wr_mailbox *mailbox;      /* borrowed: the main loop's */
  const char *address;             /* borrowed: for the call */
  struct wr_worker **workers;      /* borrowed: outlive the panel */
  uint32_t worker_count;
  const struct wr_ledger *ledger;  /* borrowed: the process's */
  struct wr_relay_shared *shared;  /* borrowed: the process's */
  struct wr_tallies *tallies;      /* borrowed: the process's */
  struct wr_peer_book *book;       /* borrowed: the process's */
  const struct wr_rollout *rollout; /* borrowed: the process's; for the metrics */
  const struct wr_reload *reloads; /* borrowed: the process's; for the metrics */
  void (*drain)(void *ctx);        /* POST /drain */
  /* POST /reload: the answer follows with wr_panel_reloaded. */
  void (*reload)(void *ctx, uint64_t token);
  void *ctx;                       /* borrowed: the process */
};

WR_MUST_USE enum wr_err wr_panel_new(const struct wr_panel_options *options, struct wr_panel **out,
                                     char *why, size_t why_bytes);
/* Ends its connections. Questions that are under way at workers still come back, so free it
 * after every mailbox. */
void wr_panel_close(struct wr_panel *panel);
void wr_panel_free(struct wr_panel *panel);
/* json is copied. */
void wr_panel_reloaded(struct wr_panel *panel, uint64_t token, unsigned status,
                       struct wr_span json);
const struct wr_addr *wr_panel_addr(const struct wr_panel *panel);

#endif

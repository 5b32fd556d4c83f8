/* live.h: what weir.live tells the hooks of one generation on one worker. Its functions run on the
 * worker's thread and read what others count. */
#ifndef WR_SERVER_LIVE_H
#define WR_SERVER_LIVE_H

#include "relay/hooks.h"

struct wr_gen;

/* gen: borrowed, outlives what it fills; its plan, its relay's configuration, `shared` and `ledger`
 * are set before the first call. */
void wr_live_init(struct wr_live *live, struct wr_gen *gen);

#endif

/* health.h: what a row of active checks says of a peer. Pure; caller's storage, one thread at a
 * time. */
#ifndef WR_UPSTREAM_HEALTH_H
#define WR_UPSTREAM_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"

/* Zeroed storage is a peer that is up. */
struct wr_health {
  bool down;
  uint32_t row; /* results in a row that speak against the present state */
};

/* True when the state changed: down after `fall` failures in a row, up after `rise` successes. */
static inline bool wr_health_note(struct wr_health *h, const struct wr_conf_health *conf, bool ok) {
  uint32_t need = h->down ? conf->rise : conf->fall;
  if (ok != h->down) {
    h->row = 0;
    return false;
  }
  if (++h->row < need) return false;
  h->down = !h->down;
  h->row = 0;
  return true;
}

#endif

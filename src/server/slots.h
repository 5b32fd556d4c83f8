/* slots.h: numbers for names, so that what is counted by number goes on meaning the same while
 * configurations change.
 *
 * Each name that some live generation uses has one number below the capacity; the number is free
 * again when the last of them has gone. With more names than numbers, some names share one. Owned
 * by the process, main thread only. */
#ifndef WR_SERVER_SLOTS_H
#define WR_SERVER_SLOTS_H

#include <stdint.h>

#include "base/err.h"

struct wr_slots;

/* capacity: at least 1. */
WR_MUST_USE enum wr_err wr_slots_new(uint32_t capacity, struct wr_slots **out);
void wr_slots_free(struct wr_slots *slots);
/* One reference to the name's number. */
WR_MUST_USE enum wr_err wr_slots_take(struct wr_slots *slots, const char *name, uint32_t *number);
void wr_slots_give(struct wr_slots *slots, const char *name, uint32_t number);
/* Names that have a number now. */
uint32_t wr_slots_used(const struct wr_slots *slots);

#endif

/* quota.h: how much one key, one address or one listener may ask for, over all workers.
 *
 * A table of fixed size, made when the first limit is met and shared by all workers without a lock.
 * Each entry stands for one name in one place (a listener or a route): its open streams, and a
 * token bucket as the one number that GCRA needs: the time at which the bucket is full again. A
 * bucket that is full says nothing and may be forgotten, so the table only has to hold those who
 * ask faster than their limit lets them; entries with open streams are never forgotten. When a
 * place in the table is full of such entries, the one that waits least is forgotten (counted), and
 * if all have open streams the newcomer isn't limited (counted too): strangers can make limits
 * laxer, never stop others.
 *
 * IPv4 addresses count each, IPv6 addresses by their /64. Any thread. */
#ifndef WR_RELAY_QUOTA_H
#define WR_RELAY_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

/* Why a request was refused, as metrics count it. */
enum wr_quota {
  WR_QUOTA_LISTEN_STREAMS,
  WR_QUOTA_LISTEN_RATE,
  WR_QUOTA_ADDRESS_STREAMS,
  WR_QUOTA_ADDRESS_RATE,
  WR_QUOTA_KEY_STREAMS,
  WR_QUOTA_KEY_RATE,
  WR_QUOTAS
};
const char *wr_quota_name(enum wr_quota limit); /* "address_rate" … */

/* Entries, 16 bytes each; a power of two. */
#define WR_QUOTA_ENTRIES 16384u
#define WR_QUOTA_NONE UINT32_MAX

struct wr_quotas;

/* NULL: no memory, or no secret from the kernel. */
struct wr_quotas *wr_quotas_new(void);
void wr_quotas_free(struct wr_quotas *limits);

/* The name of an entry: what it limits, in which place, whom. Not to be guessed from outside. */
uint64_t wr_quotas_name(const struct wr_quotas *limits, char what, struct wr_span place,
                        struct wr_span whom);
/* Takes one of per_second tokens; as many may be taken at once as a second brings. False: none is
 * left, the next comes in *retry_ms (1 or more). now_us: of one clock for all threads. */
bool wr_quotas_take(struct wr_quotas *limits, uint64_t name, uint32_t per_second, uint64_t now_us,
                    uint64_t *retry_ms);
/* Counts one more stream if there are less than `most`. *entry is for wr_quotas_leave;
 * WR_QUOTA_NONE: it isn't counted. */
bool wr_quotas_enter(struct wr_quotas *limits, uint64_t name, uint32_t most, uint64_t now_us,
                     uint32_t *entry);
/* Does nothing for WR_QUOTA_NONE. */
void wr_quotas_leave(struct wr_quotas *limits, uint32_t entry);
/* Entries that were forgotten before their time, or found no place. */
uint64_t wr_quotas_evicted(const struct wr_quotas *limits);

#endif

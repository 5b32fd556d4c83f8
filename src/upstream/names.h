/* names.h: the addresses that the name of a URL has, each a peer of its own.
 *
 * A set looks each name up whenever its answer's TTL has passed. Each address gets a slot among the
 * set's peers; one that has gone gets no new requests, and its slot is free again when the last
 * stream there has ended. Until the name is known, and when it hasn't been for ten minutes, one
 * peer without an address stands for it, and each connection looks it up. Loop thread only. */
#ifndef WR_UPSTREAM_NAMES_H
#define WR_UPSTREAM_NAMES_H

#include "upstream/group.h"

/* Slots of one name at the most: WR_RESOLVE_MAX addresses, one for the name itself, and some for
 * addresses that have gone while streams run there. Below the least it isn't worth it: then the
 * name stays one peer. */
#define WR_NAME_SLOTS 20u
#define WR_NAME_SLOTS_MIN 3u

/* How many slots a URL gets when `names` of them share `left` beside one for each. */
size_t wr_name_slots(const struct wr_conf_url *url, size_t names, size_t left);
bool wr_name_is_one(const struct wr_conf_url *url);

/* Looks all names of the set up for the first time; the set has joined a book. */
WR_MUST_USE enum wr_err wr_names_start(struct wr_upstreams *set);
/* Four times a second or so. */
void wr_names_tick(struct wr_upstreams *set);
/* No more look-ups. */
void wr_names_stop(struct wr_upstreams *set);
void wr_names_free(struct wr_upstreams *set);

#endif

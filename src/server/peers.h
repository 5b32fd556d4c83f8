/* peers.h: how the upstreams' peers stand, for /metrics and /upstreams. Any thread. */
#ifndef WR_SERVER_PEERS_H
#define WR_SERVER_PEERS_H

#include "obs/prom.h"

struct wr_peer_book;

/* book NULL: the families without samples. */
void wr_server_peers_print(struct wr_peer_book *book, uint64_t now_ms, struct wr_prom *out);
/* A JSON array, an object a peer. */
void wr_server_peers_json(struct wr_peer_book *book, uint64_t now_ms, wr_prom_sink_fn sink,
                          void *ctx);

#endif

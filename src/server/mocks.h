/* mocks.h: the upstreams of kind "mock": each is weir's own stand-in server on a loopback port
 * of the main loop. */
#ifndef WR_SERVER_MOCKS_H
#define WR_SERVER_MOCKS_H

#include "conf/conf.h"
#include "net/addr.h"
#include "net/loop.h"

struct wr_mocks;

/* One server for each such upstream of the configuration; none: *out is NULL. why names the
 * upstream. */
WR_MUST_USE enum wr_err wr_mocks_new(struct wr_loop *loop, const struct wr_conf *conf,
                                     struct wr_mocks **out, char *why, size_t why_bytes);
void wr_mocks_free(struct wr_mocks *mocks);
/* In the order of conf->upstreams, those of kind mock only; NULL when there is none. */
const struct wr_addr *wr_mocks_addrs(const struct wr_mocks *mocks);

#endif

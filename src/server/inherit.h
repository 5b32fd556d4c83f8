/* inherit.h: sockets that a service manager opened for us (LISTEN_FDS, LISTEN_PID, as
 * sd_listen_fds(3) describes). */
#ifndef WR_SERVER_INHERIT_H
#define WR_SERVER_INHERIT_H

#include <stddef.h>

#include "net/addr.h"

/* fds[i] becomes the inherited socket whose address is want[i], or -1. A socket that no listener
 * asks for goes to the first listener that has none of its own address, in order. Returns how
 * many were taken. */
size_t wr_inherit_match(const struct wr_addr *want, size_t count, int *fds);

#endif

/* listen.h: sockets that accept.
 *
 * One listener a worker and address: SO_REUSEPORT spreads connections over workers; an inherited
 * socket (LISTEN_FDS) is shared by all. TCP_NODELAY is set on what is accepted. When descriptors
 * run out (EMFILE) the listener pauses for 100 ms and goes on: connections wait in the kernel's
 * queue, accepted work is not touched. Loop thread only. */
#ifndef WR_NET_LISTEN_H
#define WR_NET_LISTEN_H

#include "net/conn.h"

struct wr_listen;

/* take_conn is the callee's; its owner task is not set yet. */
typedef void (*wr_listen_fn)(void *ctx, struct wr_conn *take_conn);

/* Binds and listens. tls NULL: plain. why: one sentence for the operator. */
WR_MUST_USE enum wr_err wr_listen_open(struct wr_loop *loop, const struct wr_addr *addr,
                                       struct wr_tls_ctx *tls, wr_listen_fn fn, void *ctx,
                                       struct wr_listen **out, char *why, size_t why_bytes);
/* The same with a socket that listens already; fd is duplicated, the caller keeps its own. */
WR_MUST_USE enum wr_err wr_listen_inherit(struct wr_loop *loop, int fd, struct wr_tls_ctx *tls,
                                          wr_listen_fn fn, void *ctx, struct wr_listen **out,
                                          char *why, size_t why_bytes);
/* The same with a socket that wr_listen_bind made: take_fd is ours, also on an error. owns_path:
 * the file of a Unix socket is removed when this listener closes. */
WR_MUST_USE enum wr_err wr_listen_take(struct wr_loop *loop, int take_fd, bool owns_path,
                                       struct wr_tls_ctx *tls, wr_listen_fn fn, void *ctx,
                                       struct wr_listen **out, char *why, size_t why_bytes);
/* What is accepted from now on uses these settings; NULL: plain. */
void wr_listen_set_tls(struct wr_listen *listen, struct wr_tls_ctx *tls);
/* The address as bound (with the port that the system chose). */
const struct wr_addr *wr_listen_addr(const struct wr_listen *listen);
/* A binding without a loop: makes the socket, so that a port 0 is chosen once and every worker
 * opens the same address; wr_listen_take takes it, or close(2) it after. A Unix address can be
 * bound once only: several workers share duplicates of what this makes. */
WR_MUST_USE enum wr_err wr_listen_bind(const struct wr_addr *addr, int *fd, struct wr_addr *bound,
                                       char *why, size_t why_bytes);
/* Has another socket this address? For who wants it alone: what is opened here is shared with
 * everybody else who opens it (SO_REUSEPORT), and then gets a part of the connections only. */
bool wr_listen_is_taken(const struct wr_addr *addr);
void wr_listen_close(struct wr_listen *listen);

#endif

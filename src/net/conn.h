/* conn.h: one connection, plain or TLS, accepted or dialed.
 *
 * The owner holds the conn from accept or dial until wr_conn_close or wr_conn_abort, after which it
 * must not touch it; the memory returns in the close callback. Whatever happens (bytes, end, error,
 * room to write, connected) only changes the conn's state and marks the owner's task; the owner
 * looks in its turn. Loop thread only.
 *
 * Input stands in the conn as views until taken. Reading goes on up to a small credit
 * (WR_CONN_CREDIT_BYTES untaken), so that the end of a connection is noticed in every state; then
 * it pauses until bytes are taken. Output is queued as views and leaves with wr_conn_flush: one
 * writev a call, as much as the socket takes; the rest leaves as room appears, without help, and
 * the task is marked when the queue has drained. With TLS, flush encrypts at most one record at a
 * time from the queue (copy reason `tls`). */
#ifndef WR_NET_CONN_H
#define WR_NET_CONN_H

#include "mem/view.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/tls_ctx.h"

#define WR_CONN_CREDIT_BYTES 65536u

struct wr_conn;

enum wr_conn_state {
  WR_CONN_CONNECTING, /* TCP */
  WR_CONN_HANDSHAKE,  /* TLS */
  WR_CONN_OPEN,
  WR_CONN_FAILED      /* see wr_conn_err; the owner still has to close or abort it */
};

/* Begins to connect; the conn is made even when the address refuses at once (it is then
 * WR_CONN_FAILED soon). tls NULL: plain. server_name: SNI
 * and the name to verify, NUL-terminated, copied; may be an IP literal; WR_E_ARG without one where
 * the context verifies. owner is marked on each change. */
WR_MUST_USE enum wr_err wr_conn_dial(struct wr_loop *loop, const struct wr_addr *addr,
                                     struct wr_tls_ctx *tls, const char *server_name,
                                     struct wr_task *owner, struct wr_conn **out);
/* Takes an open, non-blocking, connected socket (for the listener and for tests); the conn owns fd
 * even on error. */
WR_MUST_USE enum wr_err wr_conn_adopt(struct wr_loop *loop, int fd, struct wr_tls_ctx *tls,
                                      struct wr_conn **out);
/* owner may be NULL: then nobody is told (an idle connection on the shelf keeps a task of the
 * shelf). */
void wr_conn_set_owner(struct wr_conn *conn, struct wr_task *owner);

enum wr_conn_state wr_conn_state(const struct wr_conn *conn);
/* WR_OK, or CONNECT, TLS, TLS_VERIFY, RESET, IO. What arrived before a failure can still be taken.
 */
enum wr_err wr_conn_err(const struct wr_conn *conn);
/* One sentence of detail for logs ("connection refused", "certificate expired"); static or inside
 * the conn. */
const char *wr_conn_why(const struct wr_conn *conn);
/* Open, with nothing to take now, and more may come. */
bool wr_conn_is_dry(const struct wr_conn *conn);
/* The other side has ended its sending and every byte of it has been taken. */
bool wr_conn_at_eof(const struct wr_conn *conn);
/* The other side has ended its sending (FIN or close_notify), whether or not bytes remain to be
 * taken. A TLS stream that ends with a FIN alone was cut: then the conn stays open, this is true as
 * well, and wr_conn_err gives WR_E_RESET. */
bool wr_conn_got_eof(const struct wr_conn *conn);

/* Input. */
size_t wr_conn_input_bytes(const struct wr_conn *conn);
/* Bytes may have come for which the pool had no room; reading is tried again every few
 * milliseconds. */
bool wr_conn_is_starved(const struct wr_conn *conn);
/* The first piece of input moves to *out. */
bool wr_conn_take(struct wr_conn *conn, struct wr_view *out);
/* Puts bytes back in front; the conn owns the view even on error. */
WR_MUST_USE enum wr_err wr_conn_unread(struct wr_conn *conn, struct wr_view *take_view);
/* How much untaken input is read at the most: 1 KiB .. WR_CONN_CREDIT_BYTES (the default), in
 * whole KiB. A small one bounds what a slow reader behind the owner makes it hold. TLS reads
 * whole records all the same. */
void wr_conn_set_credit(struct wr_conn *conn, size_t bytes);
/* Stops reading whatever the credit (backpressure); the end of the connection isn't noticed
 * meanwhile. */
void wr_conn_pause(struct wr_conn *conn);
void wr_conn_resume(struct wr_conn *conn);

/* Output. The conn owns the view even on error (POOL_FULL, RESET). */
WR_MUST_USE enum wr_err wr_conn_write(struct wr_conn *conn, struct wr_view *take_view);
/* A copy of a few bytes through the worker's txbuf. */
WR_MUST_USE enum wr_err wr_conn_write_copy(struct wr_conn *conn, struct wr_span bytes);
/* Sends what it can now. WR_OK also when bytes remain (see unsent); errors of the socket. */
WR_MUST_USE enum wr_err wr_conn_flush(struct wr_conn *conn);
/* Bytes queued and not yet taken by the kernel (for TLS: not yet encrypted, or encrypted and not
 * yet taken). */
size_t wr_conn_unsent_bytes(const struct wr_conn *conn);
/* Bytes that the kernel has taken and the other side hasn't acknowledged: a reset loses them. A
 * system call; 0 also where the kernel doesn't say. */
size_t wr_conn_unacked_bytes(const struct wr_conn *conn);
/* Sends FIN (close_notify) behind what is queued. */
void wr_conn_shutdown(struct wr_conn *conn);
/* Copies queued views out of big blocks that they would pin (copy reason `compact`). */
void wr_conn_compact(struct wr_conn *conn);
/* What is queued moves into blocks that it fills: for a peer that takes nothing for a while. */
void wr_conn_pack(struct wr_conn *conn);

/* Ends it: close sends what is queued first (for at most 5 s, with a lingering read so that the
 * kernel does not turn unread input into a reset), abort sends a reset. The conn is gone for the
 * caller. */
void wr_conn_close(struct wr_conn *conn);
void wr_conn_abort(struct wr_conn *conn);

/* What is known of it. The address is borrowed until the next call on this loop; of a Unix socket
 * only the family is known. */
const struct wr_addr *wr_conn_peer(const struct wr_conn *conn);
bool wr_conn_is_tls(const struct wr_conn *conn);
uint64_t wr_conn_bytes_in(const struct wr_conn *conn);
uint64_t wr_conn_bytes_out(const struct wr_conn *conn);
struct wr_loop *wr_conn_loop(struct wr_conn *conn);

#endif

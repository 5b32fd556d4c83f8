/* conn_priv.h: the insides of a connection, for the files of net/ only.
 *
 * conn.c keeps the state and the queues, tcp.c moves bytes between them and the socket, tls.c
 * stands between the two where a connection is encrypted. A conn's memory goes in tcp.c's close
 * callback. */
#ifndef WR_NET_CONN_PRIV_H
#define WR_NET_CONN_PRIV_H

#include <netinet/in.h>
#include <uv.h>

#include "mem/viewq.h"
#include "net/conn.h"
#include "net/loop_priv.h"

#define WR_CONN_MAGIC 0xc0227ec7u
#define WR_CONN_LINGER_MS 5000u
#define WR_CONN_STARVED_MS 10u

/* What waits for room in the socket. libuv signals writability only through a write of its own, so
 * a few bytes are copied here and given to it; the rest of the queue stays where it can be
 * compacted. */
#define WR_CONN_REQ_BYTES 64u
struct wr_conn_req {
  union {
    uv_write_t write;
    uv_connect_t connect;
  } u;
  struct wr_conn_req *next; /* owned: the loop's free ones */
  uint32_t len;
  char bytes[WR_CONN_REQ_BYTES];
};

struct wr_tls;

struct wr_conn {
  uint32_t magic;
  uint8_t state; /* enum wr_conn_state */
  uint8_t err;   /* enum wr_err */
  uint16_t credit_units; /* untaken input at the most, in 1,024 bytes */
  bool dialed : 1;
  bool reading : 1;    /* libuv reads */
  bool paused : 1;     /* by the owner */
  bool fin : 1;        /* the socket's end was read */
  bool eof : 1;        /* and all that stood before it is in the input queue */
  bool fin_wanted : 1; /* the owner has ended its sending */
  bool fin_sent : 1;
  bool dying : 1;      /* the owner has let go */
  bool closed : 1;     /* the handle closes; only the close callback is still to come */
  int fd; /* of tcp, which owns it */
  uv_tcp_t tcp;
  struct wr_loop *loop;    /* borrowed: outlives its connections */
  struct wr_task *owner;   /* borrowed: until close, abort or set_owner; may be NULL */
  struct wr_tls *tls;      /* owned; NULL when plain */
  struct wr_conn_req *req; /* owned while under way */
  const char *why;         /* borrowed: static */
  struct wr_viewq in;
  struct wr_viewq out;
  struct wr_view late; /* input without a place in the queue; nothing is read before it has one */
  uint64_t bytes_in, bytes_out;
  struct wr_list starved; /* in the loop's list while memory is waited for */
  union {
    union {
      struct sockaddr any;
      struct sockaddr_in in;
      struct sockaddr_in6 in6;
    } peer; /* of a Unix socket the family only */
    struct {
      struct wr_list link; /* in the loop's list */
      uint64_t due_ms;
    } end; /* once it is dying: nobody asks for its peer any more */
  } u;
};

/* Two a stream. With what the heap adds this fills a size class of glibc. */
_Static_assert(sizeof(struct wr_conn) <= 240 + sizeof(uv_tcp_t), "each costs a size class more");

/* ---- conn.c */

/* Takes a socket as accept4 gave it: non-blocking, TCP_NODELAY inherited from the listening one. */
WR_MUST_USE enum wr_err wr_conn_accept(struct wr_loop *loop, int fd, const struct sockaddr *peer,
                                       size_t peer_bytes, struct wr_tls_ctx *tls,
                                       struct wr_conn **out);
void wr_conn_connected(struct wr_conn *conn);
void wr_conn_opened(struct wr_conn *conn);
/* The end of the peer's sending, with every byte before it in the queue. err: WR_OK, or RESET for a
 * TLS stream that was cut. */
void wr_conn_ended(struct wr_conn *conn, enum wr_err err);
/* Bytes for the owner. */
void wr_conn_got(struct wr_conn *conn, struct wr_view *take_view);
void wr_conn_fail(struct wr_conn *conn, enum wr_err err, const char *why);
/* Room in the socket: the queue goes on. */
void wr_conn_room(struct wr_conn *conn);
/* Reads or doesn't, as state and credit say. */
void wr_conn_steer(struct wr_conn *conn);
/* True while the owner's credit lasts. */
bool wr_conn_has_credit(const struct wr_conn *conn);
/* Bytes that the next read may bring. */
size_t wr_conn_credit_left(const struct wr_conn *conn);
void wr_conn_starve(struct wr_conn *conn);
void wr_conn_tell(struct wr_conn *conn);
/* Tries to end an orderly close. */
void wr_conn_settle(struct wr_conn *conn);
void wr_conn_end(struct wr_conn *conn);

/* ---- tcp.c */

WR_MUST_USE enum wr_err wr_tcp_dial(struct wr_conn *conn, const struct wr_addr *addr);
WR_MUST_USE enum wr_err wr_tcp_open(struct wr_conn *conn, int take_fd);
void wr_tcp_read(struct wr_conn *conn, bool on);
/* Sends from the queue as much as the socket takes; an error has failed the conn already. */
WR_MUST_USE enum wr_err wr_tcp_send(struct wr_conn *conn, struct wr_viewq *queue);
/* The same for bytes that stand elsewhere: how many were taken, 0: none now, -1: failed. */
int wr_tcp_send_bytes(struct wr_conn *conn, const void *bytes, size_t len);
void wr_tcp_shutdown(struct wr_conn *conn);
void wr_tcp_close(struct wr_conn *conn, bool reset);

/* ---- tls.c */

WR_MUST_USE enum wr_err wr_tls_new(struct wr_tls_ctx *ctx, struct wr_conn *conn,
                                   const char *server_name, struct wr_tls **out);
void wr_tls_free(struct wr_tls *tls);
/* Has the handshake, or the decryption of what is there, go on in the task phase. */
void wr_tls_wake(struct wr_tls *tls);
/* Takes what was received. */
void wr_tls_feed(struct wr_tls *tls, struct wr_view *take_view);
void wr_tls_fin(struct wr_tls *tls);
/* Received bytes that aren't decrypted yet. */
size_t wr_tls_waiting_bytes(const struct wr_tls *tls);
WR_MUST_USE enum wr_err wr_tls_send(struct wr_tls *tls);
size_t wr_tls_unsent_bytes(const struct wr_tls *tls);
/* Sends close_notify; true when it has left. */
bool wr_tls_notify(struct wr_tls *tls);
/* Nothing will be received any more: gives back what waits, leaves the task list. */
void wr_tls_stop(struct wr_tls *tls);

#endif

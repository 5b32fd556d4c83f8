/* admin_priv.h: what the files of the admin listener share: admin.c (life of connections),
 * admin_http.c (requests), admin_send.c (answers). */
#ifndef WR_SERVER_ADMIN_PRIV_H
#define WR_SERVER_ADMIN_PRIV_H

#include "base/list.h"
#include "net/conn.h"
#include "net/timer.h"
#include "server/admin.h"
#include "wire/head.h"

#define WR_ADMIN_MAGIC 0xad317701u
#define WR_ADMIN_CONN_MAGIC 0xad317702u
#define WR_ADMIN_HEAD_BYTES 8192

struct wr_admin {
  uint32_t magic;
  struct wr_loop *loop; /* borrowed: outlives the admin */
  struct wr_admin_ops ops;
  struct wr_list conns; /* of struct wr_admin_conn, owned */
  unsigned count;
  uint64_t last_token;
};

/* A body that grows; `failed` when memory ran out. */
struct wr_admin_text {
  char *ptr; /* owned */
  size_t len, cap;
  bool failed;
};

enum wr_admin_state {
  WR_ADMIN_READ, /* a head arrives */
  WR_ADMIN_WAIT, /* for wr_admin_done */
  WR_ADMIN_SEND  /* an answer leaves */
};

struct wr_admin_conn {
  uint32_t magic;
  enum wr_admin_state state;
  struct wr_list link;
  struct wr_admin *admin; /* borrowed: outlives its connections */
  struct wr_conn *conn;   /* owned */
  struct wr_task task;
  struct wr_timer deadline;
  struct wr_timer retry;  /* the pool was empty: send on soon */
  uint64_t token;         /* while it waits */
  uint64_t seconds;       /* that the query asks for */
  bool keep_alive;
  bool head_only;         /* HEAD */
  bool head_sent;
  unsigned status;
  const char *type;       /* borrowed: static; content type */
  const char *allow;      /* borrowed: static; NULL but for 405 */
  struct wr_admin_text body;
  size_t body_off;        /* sent so far */
  size_t resume;          /* of wr_http1_head_end */
  size_t in_len;
  char in[WR_ADMIN_HEAD_BYTES];
};

/* admin_http.c */
/* Looks for a request in what has arrived; the state changes when there is one. */
void wr_admin_read(struct wr_admin_conn *c);

/* admin_send.c */
void wr_admin_text_put(struct wr_admin_text *text, struct wr_span bytes);
/* The answer is what c->body holds; a body that failed becomes 503. */
void wr_admin_reply(struct wr_admin_conn *c, unsigned status, const char *type);
/* {"error":{"code":"...","message":"..."}} */
void wr_admin_reply_error(struct wr_admin_conn *c, unsigned status, const char *code,
                          struct wr_span message);
/* Sends what it can. WR_OK: all has left; WR_E_AGAIN: the rest later; else the connection is
 * lost. */
WR_MUST_USE enum wr_err wr_admin_send(struct wr_admin_conn *c);

#endif

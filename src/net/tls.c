/* tls.c: what stands between a connection's queues and its socket when it is encrypted. */
#include <string.h>

#include <mbedtls/net_sockets.h>

#include "base/check.h"
#include "base/heap.h"
#include "net/conn_priv.h"
#include "net/tls_priv.h"

/* Measured: what the library allocates for one connection, mostly two record buffers. */
#define LIBRARY_BYTES 38400u
/* A handshake computes for milliseconds; this many go on in one turn, the others in the next. */
#define HANDSHAKES_A_TURN 2u
#define ROOM_MIN_BYTES 4096u

struct wr_tls {
  mbedtls_ssl_context ssl;
  struct wr_conn *conn;   /* borrowed: owns us */
  struct wr_tls_ctx *ctx; /* ref */
  struct wr_task task;
  char *name;             /* owned; NULL: no session is kept */
  struct wr_viewq cipher_in;
  struct wr_viewq cipher_out; /* a flight of the handshake, to leave in one write */
  struct wr_view late;        /* received, but the queue had no memory to grow */
  size_t record_plain;        /* plaintext bytes of the record that the library holds */
  size_t record_left;         /* bytes of it that haven't left */
  uint32_t verify_flags;
  uint8_t ip[16];             /* the name to verify, where it is an address */
  uint8_t ip_bytes;
  bool corked;
  bool fin;     /* the socket's end was read */
  bool full;    /* the handshake wasn't a resumption */
  bool stopped; /* nothing is received any more */
};

/* ---- the library's socket */

static int cork(struct wr_tls *tls, const unsigned char *bytes, size_t len) {
  struct wr_loop *loop = tls->conn->loop;
  if (len > loop->tx.block_bytes) len = loop->tx.block_bytes;
  struct wr_view v;
  if (wr_rxbuf_append(&loop->tx, wr_span_make(bytes, len), &v) != WR_OK ||
      wr_viewq_push(&tls->cipher_out, loop->slabs, &v) != WR_OK) {
    wr_conn_starve(tls->conn);
    return 0;
  }
  return (int)len;
}

static int bio_send(void *arg, const unsigned char *bytes, size_t len) {
  struct wr_tls *tls = arg;
  int n = 0;
  if (tls->corked) n = cork(tls, bytes, len);
  else if (wr_viewq_empty(&tls->cipher_out)) n = wr_tcp_send_bytes(tls->conn, bytes, len);
  tls->record_left = len - (n > 0 ? (size_t)n : 0);
  if (n < 0) return MBEDTLS_ERR_NET_CONN_RESET;
  return n > 0 ? n : MBEDTLS_ERR_SSL_WANT_WRITE;
}

static int bio_recv(void *arg, unsigned char *out, size_t len) {
  struct wr_tls *tls = arg;
  size_t done = 0;
  struct wr_span piece;
  while (done < len && wr_viewq_gather(&tls->cipher_in, &piece, 1) == 1) {
    size_t n = piece.len < len - done ? piece.len : len - done;
    memcpy(out + done, piece.ptr, n);
    wr_viewq_consume(&tls->cipher_in, n);
    done += n;
  }
  if (done > 0) return (int)done;
  return tls->fin && !tls->late.len ? 0 : MBEDTLS_ERR_SSL_WANT_READ;
}

/* ---- whom we speak to */

/* The library of 2.28 compares names only; an address is looked for among the certificate's own. */
static bool names_address(const mbedtls_x509_crt *crt, const uint8_t *ip, size_t ip_bytes) {
  const mbedtls_x509_sequence *san = &crt->subject_alt_names;
  for (; san; san = san->next) {
    bool address = (san->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) == 7 /* iPAddress */;
    if (address && san->buf.len == ip_bytes && memcmp(san->buf.p, ip, ip_bytes) == 0) return true;
  }
  return false;
}

static int check_address(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags) {
  struct wr_tls *tls = arg;
  if (depth == 0 && tls->ip_bytes && !names_address(crt, tls->ip, tls->ip_bytes))
    *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
  tls->verify_flags |= *flags;
  return 0;
}

static enum wr_err set_name(struct wr_tls *tls, const char *name) {
  if (tls->ctx->server) return WR_OK;
  if (!name) {
    if (tls->ctx->verify) return WR_E_ARG; /* a certificate for anybody proves nothing */
    return mbedtls_ssl_set_hostname(&tls->ssl, NULL) == 0 ? WR_OK : WR_E_NOMEM;
  }
  struct wr_addr addr;
  tls->name = wr_heap_strndup(WR_HEAP_TLS, name, strlen(name));
  if (!tls->name) return WR_E_NOMEM;
  if (wr_addr_literal(wr_span_str(name), 0, &addr) == WR_OK) {
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    bool v4 = addr.len == sizeof in;
    if (v4) memcpy(&in, addr.raw, sizeof in);
    else memcpy(&in6, addr.raw, sizeof in6);
    tls->ip_bytes = v4 ? 4 : 16;
    memcpy(tls->ip, v4 ? (const void *)&in.sin_addr : (const void *)&in6.sin6_addr, tls->ip_bytes);
    name = NULL; /* an address is never sent as SNI */
  }
  int rc = mbedtls_ssl_set_hostname(&tls->ssl, name);
  if (rc == MBEDTLS_ERR_SSL_BAD_INPUT_DATA) return WR_E_ARG;
  if (rc != 0) return WR_E_NOMEM;
  wr_tls_ctx_offer(tls->ctx, &tls->ssl, tls->name);
  return WR_OK;
}

/* ---- life */

static void run(struct wr_task *task);

enum wr_err wr_tls_new(struct wr_tls_ctx *ctx, struct wr_conn *conn, const char *server_name,
                       struct wr_tls **out) {
  *out = NULL;
  struct wr_tls *tls = wr_heap_zalloc(WR_HEAP_TLS, sizeof *tls);
  if (!tls) return WR_E_NOMEM;
  tls->ctx = ctx;
  tls->conn = conn;
  wr_tls_ctx_hold(ctx);
  wr_ledger_add(wr_slabs_ledger(conn->loop->slabs), WR_CHARGE_TLS, LIBRARY_BYTES);
  wr_task_init(&tls->task, run);
  wr_viewq_init(&tls->cipher_in);
  wr_viewq_init(&tls->cipher_out);
  mbedtls_ssl_init(&tls->ssl);
  enum wr_err err = mbedtls_ssl_setup(&tls->ssl, &ctx->conf) == 0 ? WR_OK : WR_E_NOMEM;
  if (!err) {
    mbedtls_ssl_set_bio(&tls->ssl, tls, bio_send, bio_recv, NULL);
    mbedtls_ssl_set_verify(&tls->ssl, check_address, tls);
    err = set_name(tls, server_name);
  }
  if (err) wr_tls_free(tls);
  else *out = tls;
  return err;
}

void wr_tls_stop(struct wr_tls *tls) {
  WR_CHECK(!tls->corked);
  tls->stopped = true;
  wr_loop_unmark(&tls->task);
  wr_viewq_fini(&tls->cipher_in);
  wr_view_drop(&tls->late);
}

void wr_tls_free(struct wr_tls *tls) {
  if (!tls) return;
  wr_tls_stop(tls);
  wr_viewq_fini(&tls->cipher_out);
  mbedtls_ssl_free(&tls->ssl);
  wr_ledger_sub(wr_slabs_ledger(tls->conn->loop->slabs), WR_CHARGE_TLS, LIBRARY_BYTES);
  wr_tls_ctx_release(tls->ctx);
  if (tls->name) wr_heap_free(WR_HEAP_TLS, tls->name);
  wr_heap_free(WR_HEAP_TLS, tls);
}

void wr_tls_wake(struct wr_tls *tls) {
  if (!tls->stopped) wr_loop_mark(tls->conn->loop, &tls->task);
}

/* ---- handshake */

static bool may_compute(struct wr_loop *loop) {
  if (loop->handshake_turn != loop->stats.turns) {
    loop->handshake_turn = loop->stats.turns;
    loop->handshake_count = 0;
  }
  return loop->handshake_count++ < HANDSHAKES_A_TURN;
}

static bool is_over(const struct wr_tls *tls) {
  return WR_TLS_STEP(&tls->ssl) == MBEDTLS_SSL_HANDSHAKE_OVER;
}

static void handshake_failed(struct wr_tls *tls, int rc) {
  if (rc == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED) {
    uint32_t flags = tls->verify_flags | mbedtls_ssl_get_verify_result(&tls->ssl);
    wr_conn_fail(tls->conn, WR_E_TLS_VERIFY, wr_tls_verify_why(flags));
  } else {
    wr_conn_fail(tls->conn, WR_E_TLS, wr_tls_why(rc));
  }
}

static void handshake_over(struct wr_tls *tls) {
  tls->ctx->handshakes++;
  if (!tls->full) tls->ctx->resumed++;
#if WR_TLS_V3
  /* In TLS 1.3 the session to resume comes later, as a ticket. */
  bool now = mbedtls_ssl_get_version_number(&tls->ssl) == MBEDTLS_SSL_VERSION_TLS1_2;
#else
  bool now = true;
#endif
  if (now && !tls->ctx->server && tls->name) wr_tls_ctx_remember(tls->ctx, &tls->ssl, tls->name);
  wr_conn_opened(tls->conn);
}

static void handshake(struct wr_tls *tls) {
  struct wr_conn *conn = tls->conn;
  WR_DCHECK(!tls->stopped && !tls->corked);
  if (!may_compute(conn->loop)) {
    wr_tls_wake(tls);
    return;
  }
  int rc = 0;
  tls->corked = true;
  while (rc == 0 && !is_over(tls)) {
    if (WR_TLS_STEP(&tls->ssl) == MBEDTLS_SSL_SERVER_CERTIFICATE) tls->full = true;
    rc = mbedtls_ssl_handshake_step(&tls->ssl);
  }
  tls->corked = false;
  /* The flight leaves whole; a failure's alert too, as far as the socket takes it. */
  if (wr_tcp_send(conn, &tls->cipher_out) != WR_OK) return;
  if (rc == 0) handshake_over(tls);
  else if (rc != MBEDTLS_ERR_SSL_WANT_READ && rc != MBEDTLS_ERR_SSL_WANT_WRITE)
    handshake_failed(tls, rc);
}

/* ---- input */

static void read_failed(struct wr_tls *tls, int rc) {
  struct wr_conn *conn = tls->conn;
  if (rc == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
    wr_viewq_fini(&tls->cipher_in); /* nothing may follow a close_notify */
    wr_conn_ended(conn, WR_OK);
  } else if (rc == MBEDTLS_ERR_SSL_CONN_EOF || rc == 0) {
    wr_conn_ended(conn, WR_E_RESET);
  } else {
    wr_conn_fail(conn, WR_E_RESET, rc == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE
                                       ? "the peer sent a fatal alert"
                                       : "the peer broke the TLS stream");
  }
}

static void decrypt(struct wr_tls *tls) {
  struct wr_conn *conn = tls->conn;
  struct wr_loop *loop = conn->loop;
  uint32_t min_bytes =
      loop->rx.block_bytes < ROOM_MIN_BYTES ? loop->rx.block_bytes : ROOM_MIN_BYTES;
  while (!tls->stopped && !conn->eof && !conn->paused && wr_conn_has_credit(conn)) {
    struct wr_room room;
    if (wr_rxbuf_room(&loop->rx, min_bytes, &room) != WR_OK) {
      wr_conn_starve(conn);
      return;
    }
    int n = mbedtls_ssl_read(&tls->ssl, (unsigned char *)room.ptr, room.len);
    if (n > 0) {
      loop->stats.copy_bytes[WR_COPY_TLS] += (uint64_t)n;
      struct wr_view v = wr_rxbuf_take(&loop->rx, (size_t)n);
      wr_conn_got(conn, &v);
      continue;
    }
    if (n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_WANT_WRITE) return;
#if WR_TLS_V3
    if (n == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
      if (tls->name) wr_tls_ctx_remember(tls->ctx, &tls->ssl, tls->name);
      continue;
    }
#endif
    read_failed(tls, n);
    return;
  }
}

static void queue_cipher(struct wr_tls *tls, struct wr_view *take_view) {
  struct wr_view v = wr_view_move(take_view), keep = wr_view_keep(&v);
  if (wr_viewq_push(&tls->cipher_in, tls->conn->loop->slabs, &v) == WR_OK) {
    wr_view_drop(&keep);
    return;
  }
  WR_DCHECK(!tls->late.len);
  tls->late = wr_view_move(&keep);
  wr_conn_starve(tls->conn);
}

static void run(struct wr_task *task) {
  struct wr_tls *tls = WR_CONTAINER(task, struct wr_tls, task);
  struct wr_conn *conn = tls->conn;
  if (tls->late.len) {
    struct wr_view v = wr_view_move(&tls->late);
    queue_cipher(tls, &v);
  }
  if (conn->state == WR_CONN_HANDSHAKE) handshake(tls);
  if (conn->state == WR_CONN_OPEN && !tls->stopped) decrypt(tls);
  if (!tls->stopped) wr_conn_steer(conn);
}

void wr_tls_feed(struct wr_tls *tls, struct wr_view *take_view) {
  WR_DCHECK(!tls->late.len);
  queue_cipher(tls, take_view);
  if (tls->conn->state == WR_CONN_OPEN) {
    decrypt(tls);
    if (!tls->stopped) wr_conn_steer(tls->conn);
  } else {
    wr_tls_wake(tls);
  }
}

void wr_tls_fin(struct wr_tls *tls) {
  tls->fin = true;
  wr_tls_wake(tls);
}

size_t wr_tls_waiting_bytes(const struct wr_tls *tls) {
  if (tls->late.len) return WR_CONN_CREDIT_BYTES; /* stops the reading, whatever there is */
  if (tls->conn->eof) return 0;
  size_t inside = tls->conn->state == WR_CONN_OPEN ? mbedtls_ssl_get_bytes_avail(&tls->ssl) : 0;
  return tls->cipher_in.bytes + inside + (tls->fin ? 1 : 0);
}

/* ---- output */

/* The bytes of the next record: the first piece, or several small ones copied together. */
static struct wr_span next_record(struct wr_tls *tls) {
  struct wr_conn *conn = tls->conn;
  struct wr_span pieces[16];
  size_t count = wr_viewq_gather(&conn->out, pieces, 16);
  int most = mbedtls_ssl_get_max_out_record_payload(&tls->ssl);
  size_t max = most > 0 ? (size_t)most : 512;
  if (count == 1 || pieces[0].len >= WR_LOOP_SCRATCH_BYTES)
    return wr_span_sub(pieces[0], 0, pieces[0].len < max ? pieces[0].len : max);
  if (max > WR_LOOP_SCRATCH_BYTES) max = WR_LOOP_SCRATCH_BYTES;
  size_t len = 0;
  for (size_t i = 0; i < count && len < max; i++) {
    size_t n = pieces[i].len < max - len ? pieces[i].len : max - len;
    memcpy(conn->loop->scratch + len, pieces[i].ptr, n);
    len += n;
  }
  return wr_span_make(conn->loop->scratch, len);
}

/* One record: WR_OK when it left whole, AGAIN when the rest waits for room. */
static enum wr_err send_record(struct wr_tls *tls) {
  struct wr_conn *conn = tls->conn;
  struct wr_span bytes = wr_span_make(conn->loop->scratch, tls->record_plain);
  if (tls->record_plain == 0) {
    bytes = next_record(tls);
    tls->record_plain = bytes.len;
    conn->loop->stats.copy_bytes[WR_COPY_TLS] += bytes.len;
  } else if (tls->record_left == 0) {
    bytes.len = 0; /* something else has pushed it out meanwhile */
  }
  /* While a part of a record waits, the library doesn't look at the bytes again, only at their
   * length. */
  if (bytes.len > 0) {
    int n = mbedtls_ssl_write(&tls->ssl, (const unsigned char *)bytes.ptr, bytes.len);
    if (n == MBEDTLS_ERR_SSL_WANT_WRITE || n == MBEDTLS_ERR_SSL_WANT_READ) return WR_E_AGAIN;
    if (n < 0) {
      wr_conn_fail(conn, WR_E_RESET, "the TLS stream can't be written");
      return conn->err ? (enum wr_err)conn->err : WR_E_RESET;
    }
    WR_CHECK((size_t)n == tls->record_plain);
  }
  conn->bytes_out += tls->record_plain;
  wr_viewq_consume(&conn->out, tls->record_plain);
  tls->record_plain = 0;
  return WR_OK;
}

enum wr_err wr_tls_send(struct wr_tls *tls) {
  struct wr_conn *conn = tls->conn;
  enum wr_err err = wr_tcp_send(conn, &tls->cipher_out);
  if (err) return err;
  while (!err && !conn->req && wr_viewq_empty(&tls->cipher_out) && !wr_viewq_empty(&conn->out))
    err = send_record(tls);
  return err == WR_E_AGAIN ? WR_OK : err;
}

size_t wr_tls_unsent_bytes(const struct wr_tls *tls) { return tls->cipher_out.bytes; }

bool wr_tls_notify(struct wr_tls *tls) {
  if (tls->conn->state != WR_CONN_OPEN) return true;
  return mbedtls_ssl_close_notify(&tls->ssl) != MBEDTLS_ERR_SSL_WANT_WRITE;
}

/* tls_priv.h: the insides of a TLS context, and what differs between mbedTLS 2.28 and 3.x. */
#ifndef WR_NET_TLS_PRIV_H
#define WR_NET_TLS_PRIV_H

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

#include "net/tls_ctx.h"

#define WR_TLS_CTX_MAGIC 0x715c7c00u
#define WR_TLS_SESSIONS 16u

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#define WR_TLS_V3 1
/* The step at which a handshake stands tells a full one from a resumed one; there is no public way
 * to ask. */
#define WR_TLS_STEP(ssl) ((ssl)->MBEDTLS_PRIVATE(state))
#else
#define WR_TLS_V3 0
#define WR_TLS_STEP(ssl) ((ssl)->state)
#endif

struct wr_tls_trust;

/* A session that a later connection to the same name may resume. */
struct wr_tls_session {
  char *name; /* owned; NULL: the slot is empty */
  uint64_t used;
  mbedtls_ssl_session session;
};

struct wr_tls_ctx {
  uint32_t magic;
  bool server;
  bool verify;
  bool freed; /* by its holder; the last connection takes the memory with it */
  mbedtls_ssl_config conf;
  mbedtls_x509_crt cert;
  struct wr_tls_trust *trust; /* ref; NULL: nothing is verified */
  mbedtls_pk_context key;
  mbedtls_entropy_context entropy;
  mbedtls_ctr_drbg_context random;
  mbedtls_ssl_ticket_context ticket;
  unsigned long handshakes;
  unsigned long resumed;
  unsigned long conns; /* connections that use us */
  uint64_t clock;      /* counts uses of sessions, for the least recent */
  struct wr_tls_session sessions[WR_TLS_SESSIONS];
};

/* Once a process, before anything else of the library. */
void wr_tls_library_init(void);
void wr_tls_ctx_hold(struct wr_tls_ctx *ctx);
void wr_tls_ctx_release(struct wr_tls_ctx *ctx);
/* What a PEM file of authorities holds; contexts with the same `share` (not NULL) and file hold the
 * same one. 0, or the library's error. */
int wr_tls_trust_get(const void *share, const char *file, struct wr_tls_trust **out);
/* NULL is nothing. */
void wr_tls_trust_put(struct wr_tls_trust *trust);
mbedtls_x509_crt *wr_tls_trust_chain(struct wr_tls_trust *trust);
/* The library's cipher suites in the order of preference, 0 at the end; static. */
const int *wr_tls_suites(void);
/* Offers the session of that name to a new connection. */
void wr_tls_ctx_offer(struct wr_tls_ctx *ctx, mbedtls_ssl_context *ssl, const char *name);
/* Remembers the session of a connection. */
void wr_tls_ctx_remember(struct wr_tls_ctx *ctx, const mbedtls_ssl_context *ssl, const char *name);
/* A sentence for the library's error code; static. */
const char *wr_tls_why(int rc);
/* A sentence for what was wrong with a certificate; static. */
const char *wr_tls_verify_why(uint32_t flags);
/* wr_tls_self_signed with a validity of one's own, in seconds from now; so that tests have expired
 * ones. */
WR_MUST_USE enum wr_err wr_tls_self_signed_span(long from_s, long to_s, char *cert_pem,
                                                size_t cert_bytes, char *key_pem,
                                                size_t key_bytes);

#endif

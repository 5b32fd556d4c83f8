/* tls_ctx.h: the TLS settings of one listener or one upstream on one worker.
 *
 * Holds the parsed certificates, the random generator and, as a client, the sessions to resume.
 * Made per worker and used by its thread only. The holder frees it once, whenever it likes:
 * connections that still use it, also those that linger after their close, keep its memory until
 * they are gone.
 * TLS 1.2 at least; TLS 1.3 where the library has it (mbedTLS 3.6). */
#ifndef WR_NET_TLS_CTX_H
#define WR_NET_TLS_CTX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct wr_tls_ctx;

struct wr_tls_options {
  bool server;
  const char *cert_file; /* borrowed: PEM chain; required for a server */
  const char *key_file;  /* borrowed: PEM; required with cert_file */
  const char *cert_pem;  /* borrowed: the same as text in memory instead of files (the mock's own
                            certificate) */
  const char *key_pem;   /* borrowed */
  const char *ca_file;   /* borrowed: PEM bundle; NULL: as a client the system's bundle */
  bool verify; /* client: check chain and name (default in conf: true). server: require a client
                  certificate from ca_file */
  const void *share; /* borrowed, only compared: contexts of one thread with the same one keep one
                        copy of a ca_file; NULL: a copy of its own */
};

/* why (why_bytes, may be NULL): one sentence for the operator that names the file. */
WR_MUST_USE enum wr_err wr_tls_ctx_new(const struct wr_tls_options *options,
                                       struct wr_tls_ctx **out, char *why, size_t why_bytes);
void wr_tls_ctx_free(struct wr_tls_ctx *ctx);
/* A certificate of one's own (EC P-256, CN and SAN localhost, 127.0.0.1, ::1; valid 30 days) as PEM
 * texts with NUL; 4 KiB each is enough. */
WR_MUST_USE enum wr_err wr_tls_self_signed(char *cert_pem, size_t cert_bytes, char *key_pem,
                                           size_t key_bytes);
/* Handshakes so far and how many of them resumed a session. */
void wr_tls_ctx_counts(const struct wr_tls_ctx *ctx, unsigned long *handshakes,
                       unsigned long *resumed);

/* The TLS library that this was built with. */
const char *wr_tls_library_version(void);

#endif

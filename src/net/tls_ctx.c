#include "net/tls_ctx.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/platform.h>

#include "base/check.h"
#include "base/heap.h"
#include "net/tls_priv.h"
#if WR_TLS_V3
#include <psa/crypto.h>
#endif

#define TICKET_SECONDS 43200u
#define SUITES_MAX 255
#define SYSTEM_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

/* ---- the library */

#if defined(MBEDTLS_PLATFORM_MEMORY) && !defined(MBEDTLS_PLATFORM_CALLOC_MACRO)
static void *tls_zeroed(size_t count, size_t size) {
  if (size && count > SIZE_MAX / size) return NULL;
  return wr_heap_zalloc(WR_HEAP_TLS, count * size);
}
static void tls_give(void *ptr) {
  if (ptr) wr_heap_free(WR_HEAP_TLS, ptr);
}
#endif

/* The library would rather have ChaCha20, which a processor with AES instructions computes several
 * times as slowly. What has no forward secrecy stays where it was. */
static bool is_quick(int suite) {
#if defined(__x86_64__) || defined(__i386__)
  const char *name = mbedtls_ssl_get_ciphersuite_name(suite);
  bool secret = strncmp(name, "TLS-ECDHE-", 10) == 0 || strncmp(name, "TLS1-3-", 7) == 0;
  return secret && __builtin_cpu_supports("aes") && strstr(name, "AES") && strstr(name, "GCM") &&
         !strstr(name, "PSK");
#else
  (void)suite;
  return false;
#endif
}

static int suites[SUITES_MAX + 1]; /* written once, before any context is made */

static void suites_sort(void) {
  const int *all = mbedtls_ssl_list_ciphersuites();
  size_t n = 0;
  for (int quick = 1; quick >= 0; quick--)
    for (size_t i = 0; all[i] != 0 && n < SUITES_MAX; i++)
      if (is_quick(all[i]) == (quick == 1)) suites[n++] = all[i];
}

const int *wr_tls_suites(void) { return suites; }

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static void library_init(void) {
#if defined(MBEDTLS_PLATFORM_MEMORY) && !defined(MBEDTLS_PLATFORM_CALLOC_MACRO)
  (void)mbedtls_platform_set_calloc_free(tls_zeroed, tls_give);
#endif
#if WR_TLS_V3
  psa_status_t status = psa_crypto_init(); /* TLS 1.3 computes with it */
  WR_CHECK(status == PSA_SUCCESS);
#endif
  suites_sort();
}

void wr_tls_library_init(void) { pthread_once(&library_once, library_init); }

/* ---- loading */

struct load {
  struct wr_tls_ctx *ctx; /* borrowed: the one that is made */
  char *why;              /* borrowed: the caller's text */
  size_t why_bytes;
};

WR_PRINTF(2, 3) static enum wr_err refuse(const struct load *load, const char *format, ...) {
  va_list args;
  va_start(args, format);
  if (load->why && load->why_bytes) vsnprintf(load->why, load->why_bytes, format, args);
  va_end(args);
  return WR_E_CONFIG;
}

static enum wr_err refuse_chain(const struct load *load, const char *file, int rc) {
  return refuse(load, "%s: no certificate can be read (mbedTLS -0x%04x)", file, (unsigned)-rc);
}

static enum wr_err load_chain(const struct load *load, mbedtls_x509_crt *to, const char *file,
                              const char *pem) {
  int rc = pem ? mbedtls_x509_crt_parse(to, (const unsigned char *)pem, strlen(pem) + 1)
               : mbedtls_x509_crt_parse_file(to, file);
  return rc < 0 ? refuse_chain(load, pem ? "certificate" : file, rc) : WR_OK;
}

static enum wr_err load_key(const struct load *load, const char *file, const char *pem) {
  struct wr_tls_ctx *ctx = load->ctx;
  const char *name = pem ? "key" : file;
  int rc;
#if WR_TLS_V3
  rc = pem ? mbedtls_pk_parse_key(&ctx->key, (const unsigned char *)pem, strlen(pem) + 1, NULL, 0,
                                  mbedtls_ctr_drbg_random, &ctx->random)
           : mbedtls_pk_parse_keyfile(&ctx->key, file, NULL, mbedtls_ctr_drbg_random, &ctx->random);
#else
  rc = pem ? mbedtls_pk_parse_key(&ctx->key, (const unsigned char *)pem, strlen(pem) + 1, NULL, 0)
           : mbedtls_pk_parse_keyfile(&ctx->key, file, NULL);
#endif
  if (rc != 0)
    return refuse(load, "%s: no private key can be read (mbedTLS -0x%04x)", name, (unsigned)-rc);
#if WR_TLS_V3
  rc = mbedtls_pk_check_pair(&ctx->cert.pk, &ctx->key, mbedtls_ctr_drbg_random, &ctx->random);
#else
  rc = mbedtls_pk_check_pair(&ctx->cert.pk, &ctx->key);
#endif
  if (rc != 0) return refuse(load, "%s: the key doesn't belong to the certificate", name);
  return WR_OK;
}

static enum wr_err load_own(const struct load *load, const struct wr_tls_options *options) {
  struct wr_tls_ctx *ctx = load->ctx;
  bool cert = options->cert_file || options->cert_pem, key = options->key_file || options->key_pem;
  if (!cert && !key)
    return options->server ? refuse(load, "a TLS server needs a certificate and a key") : WR_OK;
  if (!cert || !key)
    return refuse(load, "a certificate and its key are given together or not at all");
  enum wr_err err = load_chain(load, &ctx->cert, options->cert_file, options->cert_pem);
  if (!err) err = load_key(load, options->key_file, options->key_pem);
  if (err) return err;
  if (mbedtls_ssl_conf_own_cert(&ctx->conf, &ctx->cert, &ctx->key) != 0) return WR_E_NOMEM;
  return WR_OK;
}

static enum wr_err load_ca(const struct load *load, const struct wr_tls_options *options) {
  struct wr_tls_ctx *ctx = load->ctx;
  if (!options->verify) return WR_OK;
  const char *file = options->ca_file;
  if (!file && options->server)
    return refuse(load, "client certificates need a ca_file to be checked against");
  if (!file) file = getenv("SSL_CERT_FILE");
  if (!file || !*file) file = SYSTEM_BUNDLE;
  int rc = wr_tls_trust_get(options->share, file, &ctx->trust);
  if (rc != 0) return refuse_chain(load, file, rc);
  mbedtls_ssl_conf_ca_chain(&ctx->conf, wr_tls_trust_chain(ctx->trust), NULL);
  return WR_OK;
}

static int auth_mode(const struct wr_tls_options *options) {
  if (options->verify) return MBEDTLS_SSL_VERIFY_REQUIRED;
  /* TLS 1.3 of the library has no client that doesn't look: its findings are ignored instead. */
  if (WR_TLS_V3 && !options->server) return MBEDTLS_SSL_VERIFY_OPTIONAL;
  return MBEDTLS_SSL_VERIFY_NONE;
}

static const char *const protocols[] = { "http/1.1", NULL };

static enum wr_err configure(const struct load *load, const struct wr_tls_options *options) {
  struct wr_tls_ctx *ctx = load->ctx;
  if (mbedtls_ctr_drbg_seed(&ctx->random, mbedtls_entropy_func, &ctx->entropy, NULL, 0) != 0)
    return refuse(load, "the system gives no random numbers");
  int end = options->server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT;
  if (mbedtls_ssl_config_defaults(&ctx->conf, end, MBEDTLS_SSL_TRANSPORT_STREAM,
                                  MBEDTLS_SSL_PRESET_DEFAULT) != 0)
    return WR_E_NOMEM;
#if WR_TLS_V3
  mbedtls_ssl_conf_min_tls_version(&ctx->conf, MBEDTLS_SSL_VERSION_TLS1_2);
#else
  mbedtls_ssl_conf_min_version(&ctx->conf, MBEDTLS_SSL_MAJOR_VERSION_3,
                               MBEDTLS_SSL_MINOR_VERSION_3);
#endif
#if defined(MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED)
  mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
      &ctx->conf, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
#endif
  mbedtls_ssl_conf_ciphersuites(&ctx->conf, wr_tls_suites());
  mbedtls_ssl_conf_rng(&ctx->conf, mbedtls_ctr_drbg_random, &ctx->random);
  mbedtls_ssl_conf_authmode(&ctx->conf, auth_mode(options));
  mbedtls_ssl_conf_alpn_protocols(&ctx->conf, (const char **)(uintptr_t)protocols);
  enum wr_err err = load_own(load, options);
  if (!err) err = load_ca(load, options);
  if (err || !options->server) return err;
  if (mbedtls_ssl_ticket_setup(&ctx->ticket, mbedtls_ctr_drbg_random, &ctx->random,
                               MBEDTLS_CIPHER_AES_256_GCM, TICKET_SECONDS) != 0)
    return WR_E_NOMEM;
  mbedtls_ssl_conf_session_tickets_cb(&ctx->conf, mbedtls_ssl_ticket_write,
                                      mbedtls_ssl_ticket_parse, &ctx->ticket);
  return WR_OK;
}

enum wr_err wr_tls_ctx_new(const struct wr_tls_options *options, struct wr_tls_ctx **out, char *why,
                           size_t why_bytes) {
  *out = NULL;
  if (why && why_bytes) why[0] = '\0';
  wr_tls_library_init();
  struct wr_tls_ctx *ctx = wr_heap_zalloc(WR_HEAP_TLS, sizeof *ctx);
  if (!ctx) return WR_E_NOMEM;
  ctx->magic = WR_TLS_CTX_MAGIC;
  ctx->server = options->server;
  ctx->verify = options->verify;
  mbedtls_ssl_config_init(&ctx->conf);
  mbedtls_x509_crt_init(&ctx->cert);
  mbedtls_pk_init(&ctx->key);
  mbedtls_entropy_init(&ctx->entropy);
  mbedtls_ctr_drbg_init(&ctx->random);
  mbedtls_ssl_ticket_init(&ctx->ticket);
  struct load load = { ctx, why, why_bytes };
  enum wr_err err = configure(&load, options);
  if (err == WR_E_NOMEM) (void)refuse(&load, "%s", wr_err_text(err));
  if (err) {
    wr_tls_ctx_free(ctx);
    return err;
  }
  *out = ctx;
  return WR_OK;
}

static void forget(struct wr_tls_session *slot) {
  if (!slot->name) return;
  mbedtls_ssl_session_free(&slot->session);
  wr_heap_free(WR_HEAP_TLS, slot->name);
  slot->name = NULL;
}

static void destroy(struct wr_tls_ctx *ctx) {
  WR_CHECK(ctx->conns == 0);
  for (unsigned i = 0; i < WR_TLS_SESSIONS; i++) forget(&ctx->sessions[i]);
  mbedtls_ssl_ticket_free(&ctx->ticket);
  mbedtls_ssl_config_free(&ctx->conf);
  mbedtls_x509_crt_free(&ctx->cert);
  wr_tls_trust_put(ctx->trust);
  mbedtls_pk_free(&ctx->key);
  mbedtls_ctr_drbg_free(&ctx->random);
  mbedtls_entropy_free(&ctx->entropy);
  ctx->magic = 0;
  wr_heap_free(WR_HEAP_TLS, ctx);
}

void wr_tls_ctx_free(struct wr_tls_ctx *ctx) {
  if (!ctx) return;
  WR_MAGIC_CHECK(ctx, WR_TLS_CTX_MAGIC);
  WR_CHECK(!ctx->freed);
  ctx->freed = true;
  if (ctx->conns == 0) destroy(ctx);
}

void wr_tls_ctx_hold(struct wr_tls_ctx *ctx) {
  WR_MAGIC_CHECK(ctx, WR_TLS_CTX_MAGIC);
  WR_CHECK(!ctx->freed);
  ctx->conns++;
}

void wr_tls_ctx_release(struct wr_tls_ctx *ctx) {
  WR_MAGIC_CHECK(ctx, WR_TLS_CTX_MAGIC);
  WR_CHECK(ctx->conns > 0);
  if (--ctx->conns == 0 && ctx->freed) destroy(ctx);
}

void wr_tls_ctx_counts(const struct wr_tls_ctx *ctx, unsigned long *handshakes,
                       unsigned long *resumed) {
  WR_MAGIC_CHECK(ctx, WR_TLS_CTX_MAGIC);
  *handshakes = ctx->handshakes;
  *resumed = ctx->resumed;
}

/* ---- sessions of a client */

static struct wr_tls_session *find(struct wr_tls_ctx *ctx, const char *name) {
  for (unsigned i = 0; i < WR_TLS_SESSIONS; i++)
    if (ctx->sessions[i].name && strcmp(ctx->sessions[i].name, name) == 0) return &ctx->sessions[i];
  return NULL;
}

void wr_tls_ctx_offer(struct wr_tls_ctx *ctx, mbedtls_ssl_context *ssl, const char *name) {
  struct wr_tls_session *slot = find(ctx, name);
  if (!slot) return;
  slot->used = ++ctx->clock;
  /* A session that can't be offered costs a full handshake, nothing else. */
  if (mbedtls_ssl_set_session(ssl, &slot->session) != 0) forget(slot);
}

void wr_tls_ctx_remember(struct wr_tls_ctx *ctx, const mbedtls_ssl_context *ssl, const char *name) {
  struct wr_tls_session *slot = find(ctx, name);
  for (unsigned i = 0; !slot && i < WR_TLS_SESSIONS; i++)
    if (!ctx->sessions[i].name) slot = &ctx->sessions[i];
  if (!slot) {
    slot = &ctx->sessions[0];
    for (unsigned i = 1; i < WR_TLS_SESSIONS; i++)
      if (ctx->sessions[i].used < slot->used) slot = &ctx->sessions[i];
  }
  forget(slot);
  mbedtls_ssl_session_init(&slot->session);
  if (mbedtls_ssl_get_session(ssl, &slot->session) == 0)
    slot->name = wr_heap_strndup(WR_HEAP_TLS, name, strlen(name));
  if (!slot->name) mbedtls_ssl_session_free(&slot->session);
  else slot->used = ++ctx->clock;
}

/* ---- words */

const char *wr_tls_why(int rc) {
  switch (rc) {
  case MBEDTLS_ERR_SSL_CONN_EOF: return "the peer closed the connection during the handshake";
  case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE: return "the peer sent a fatal alert";
  case MBEDTLS_ERR_SSL_INVALID_RECORD: return "what the peer sent is not TLS";
  case MBEDTLS_ERR_SSL_INVALID_MAC: return "a record's authentication failed";
  case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY: return "the peer ended the handshake";
  case MBEDTLS_ERR_SSL_ALLOC_FAILED: return "memory is short";
  case MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE: return "the peer sent an unexpected TLS message";
#if WR_TLS_V3
  case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION: return "no common TLS version";
  case MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL:
    return "no common application protocol (http/1.1 is spoken here)";
  case MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE: return "no common TLS parameters";
#else
  case MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION: return "no common TLS version";
  case MBEDTLS_ERR_SSL_NO_CIPHER_CHOSEN: return "no common TLS cipher suite";
#endif
  case MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE: return "a client certificate is required";
  default: return "the TLS handshake failed";
  }
}

const char *wr_tls_verify_why(uint32_t flags) {
  static const struct {
    uint32_t flag;
    const char *text;
  } table[] = {
    { MBEDTLS_X509_BADCERT_EXPIRED, "the certificate has expired" },
    { MBEDTLS_X509_BADCERT_FUTURE, "the certificate is not valid yet" },
    { MBEDTLS_X509_BADCERT_REVOKED, "the certificate was revoked" },
    { MBEDTLS_X509_BADCERT_MISSING, "a certificate is required and none was sent" },
    { MBEDTLS_X509_BADCERT_NOT_TRUSTED, "the certificate was not issued by a trusted authority" },
    { MBEDTLS_X509_BADCERT_CN_MISMATCH, "the certificate is for another name" },
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    if (flags & table[i].flag) return table[i].text;
  return "the certificate is not acceptable";
}

const char *wr_tls_library_version(void) { return MBEDTLS_VERSION_STRING; }

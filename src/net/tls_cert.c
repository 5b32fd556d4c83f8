/* tls_cert.c: a certificate of one's own, for the mock and for tests. */
#include <string.h>
#include <time.h>

#include <mbedtls/oid.h>

#include "base/check.h"
#include "base/rand.h"
#include "net/tls_priv.h"

#define VALID_SECONDS (30 * 24 * 3600)
#define EARLY_SECONDS (24 * 3600) /* clocks of clients may be behind */

struct maker {
  mbedtls_x509write_cert cert;
  mbedtls_pk_context key;
  mbedtls_entropy_context entropy;
  mbedtls_ctr_drbg_context random;
};

/* SEQUENCE { dNSName localhost, iPAddress 127.0.0.1, iPAddress ::1 }; by hand, as 2.28 has no
 * writer for it. */
static const unsigned char alt_names[] = {
  0x30, 0x23, 0x82, 0x09, 'l', 'o', 'c', 'a', 'l', 'h', 'o', 's', 't', 0x87, 0x04, 127, 0, 0, 1,
  0x87, 0x10, 0,    0,    0,   0,   0,   0,   0,   0,   0,   0,   0,   0,    0,    0,   0, 1,
};
/* SEQUENCE { id-kp-serverAuth, id-kp-clientAuth } */
static const unsigned char purposes[] = {
  0x30, 0x14, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01,
  0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02,
};

static int set_validity(struct maker *m, long from_s, long to_s) {
  time_t now = time(NULL), from = now + from_s, to = now + to_s;
  struct tm from_tm, to_tm;
  char from_text[16], to_text[16];
  if (!gmtime_r(&from, &from_tm) || !gmtime_r(&to, &to_tm)) return -1;
  if (strftime(from_text, sizeof from_text, "%Y%m%d%H%M%S", &from_tm) != 14) return -1;
  if (strftime(to_text, sizeof to_text, "%Y%m%d%H%M%S", &to_tm) != 14) return -1;
  return mbedtls_x509write_crt_set_validity(&m->cert, from_text, to_text);
}

static int set_serial(struct maker *m) {
  unsigned char serial[16];
  if (wr_rand_system_bytes(serial, sizeof serial) != WR_OK) return -1;
  serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, and never short */
#if WR_TLS_V3
  return mbedtls_x509write_crt_set_serial_raw(&m->cert, serial, sizeof serial);
#else
  mbedtls_mpi number;
  mbedtls_mpi_init(&number);
  int rc = mbedtls_mpi_read_binary(&number, serial, sizeof serial);
  if (rc == 0) rc = mbedtls_x509write_crt_set_serial(&m->cert, &number);
  mbedtls_mpi_free(&number);
  return rc;
#endif
}

static int make_key(struct maker *m) {
  int rc = mbedtls_ctr_drbg_seed(&m->random, mbedtls_entropy_func, &m->entropy, NULL, 0);
  if (rc == 0) rc = mbedtls_pk_setup(&m->key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
  if (rc == 0)
    rc = mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(m->key),
                             mbedtls_ctr_drbg_random, &m->random);
  return rc;
}

static int fill(struct maker *m, long from_s, long to_s) {
  mbedtls_x509write_cert *cert = &m->cert;
  mbedtls_x509write_crt_set_version(cert, MBEDTLS_X509_CRT_VERSION_3);
  mbedtls_x509write_crt_set_md_alg(cert, MBEDTLS_MD_SHA256);
  mbedtls_x509write_crt_set_subject_key(cert, &m->key);
  mbedtls_x509write_crt_set_issuer_key(cert, &m->key);
  int rc = mbedtls_x509write_crt_set_subject_name(cert, "CN=localhost");
  if (rc == 0) rc = mbedtls_x509write_crt_set_issuer_name(cert, "CN=localhost");
  if (rc == 0) rc = set_validity(m, from_s, to_s);
  if (rc == 0) rc = set_serial(m);
  /* Clients that are given it as an authority want to see one. */
  if (rc == 0) rc = mbedtls_x509write_crt_set_basic_constraints(cert, 1, 0);
  if (rc == 0)
    rc = mbedtls_x509write_crt_set_key_usage(
        cert, MBEDTLS_X509_KU_DIGITAL_SIGNATURE | MBEDTLS_X509_KU_KEY_CERT_SIGN);
  if (rc == 0) rc = mbedtls_x509write_crt_set_subject_key_identifier(cert);
  if (rc == 0) rc = mbedtls_x509write_crt_set_authority_key_identifier(cert);
  if (rc == 0)
    rc = mbedtls_x509write_crt_set_extension(cert, MBEDTLS_OID_SUBJECT_ALT_NAME,
                                             MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0,
                                             alt_names, sizeof alt_names);
  if (rc == 0)
    rc = mbedtls_x509write_crt_set_extension(cert, MBEDTLS_OID_EXTENDED_KEY_USAGE,
                                             MBEDTLS_OID_SIZE(MBEDTLS_OID_EXTENDED_KEY_USAGE), 0,
                                             purposes, sizeof purposes);
  return rc;
}

enum wr_err wr_tls_self_signed_span(long from_s, long to_s, char *cert_pem, size_t cert_bytes,
                                    char *key_pem, size_t key_bytes) {
  struct maker m;
  _Static_assert(sizeof alt_names == 2 + 0x23, "the length in front must be right");
  _Static_assert(sizeof purposes == 2 + 0x14, "the length in front must be right");
  wr_tls_library_init();
  mbedtls_x509write_crt_init(&m.cert);
  mbedtls_pk_init(&m.key);
  mbedtls_entropy_init(&m.entropy);
  mbedtls_ctr_drbg_init(&m.random);
  int rc = make_key(&m);
  if (rc == 0) rc = fill(&m, from_s, to_s);
  if (rc == 0)
    rc = mbedtls_x509write_crt_pem(&m.cert, (unsigned char *)cert_pem, cert_bytes,
                                   mbedtls_ctr_drbg_random, &m.random);
  if (rc == 0) rc = mbedtls_pk_write_key_pem(&m.key, (unsigned char *)key_pem, key_bytes);
  mbedtls_x509write_crt_free(&m.cert);
  mbedtls_pk_free(&m.key);
  mbedtls_ctr_drbg_free(&m.random);
  mbedtls_entropy_free(&m.entropy);
  return rc == 0 ? WR_OK : WR_E_TLS;
}

enum wr_err wr_tls_self_signed(char *cert_pem, size_t cert_bytes, char *key_pem, size_t key_bytes) {
  return wr_tls_self_signed_span(-EARLY_SECONDS, VALID_SECONDS, cert_pem, cert_bytes, key_pem,
                                 key_bytes);
}

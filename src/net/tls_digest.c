#include "net/digest.h"

#include <mbedtls/sha256.h>
#include <mbedtls/version.h>

#include "base/check.h"

void wr_digest_sha256(struct wr_span bytes, uint8_t out[WR_DIGEST_BYTES]) {
  const unsigned char *ptr = (const unsigned char *)(bytes.len ? bytes.ptr : "");
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
  int rc = mbedtls_sha256(ptr, bytes.len, out, 0);
#else
  int rc = mbedtls_sha256_ret(ptr, bytes.len, out, 0);
#endif
  WR_CHECK(rc == 0);
}

bool wr_digest_equal(const uint8_t a[WR_DIGEST_BYTES], const uint8_t b[WR_DIGEST_BYTES]) {
  volatile uint8_t diff = 0; /* volatile: the compiler must not stop at the first difference */
  for (unsigned i = 0; i < WR_DIGEST_BYTES; i++) diff = (uint8_t)(diff | (a[i] ^ b[i]));
  return diff == 0;
}

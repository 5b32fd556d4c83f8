/* digest.h: SHA-256 and a comparison that takes the same time whatever differs, for API keys.
 *
 * A key is kept and compared as its digest only. Pure functions, any thread. */
#ifndef WR_NET_DIGEST_H
#define WR_NET_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define WR_DIGEST_BYTES 32

void wr_digest_sha256(struct wr_span bytes, uint8_t out[WR_DIGEST_BYTES]);
bool wr_digest_equal(const uint8_t a[WR_DIGEST_BYTES], const uint8_t b[WR_DIGEST_BYTES]);

#endif

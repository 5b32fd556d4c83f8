/* coding.h: content codings: what a client takes, and whether an answer that the upstream has
 * compressed, though weir asks for identity, may pass to it. Pure. Internal to relay/. */
#ifndef WR_RELAY_CODING_H
#define WR_RELAY_CODING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

/* The codings that a field Accept-Encoding names and doesn't refuse (q=0), as bits; those of
 * several fields add up. Others than weir knows (gzip, deflate, br, zstd) count for nothing. */
uint8_t wr_coding_accepted(struct wr_span accept_encoding);
/* Does a client that takes these understand what is coded so? The empty value and identity: any
 * does. */
bool wr_coding_suits(uint8_t accepted, struct wr_span content_encoding);

#endif

/* stamp.h: what `weir mock` writes into each event on demand, so that `weir bench` can tell on the
 * other side what happened to it on the way.
 *
 * A stamp is the last member of the event's object: which request it belongs to (tag), its number
 * in the stream, when it was made, and a checksum of everything before it. All of it has a fixed
 * width, so it is found and read without parsing. Payloads that aren't an object ("[DONE]") carry
 * none: the stamp before them says that it is the last one. Pure functions, any thread. */
#ifndef WR_MOCK_STAMP_H
#define WR_MOCK_STAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

struct wr_mock_stamp {
  uint64_t sent_ns; /* CLOCK_MONOTONIC of the machine that made it */
  uint32_t tag;     /* what the request's option `stamp` said */
  uint32_t number;  /* of the event in its stream, from 0; unstamped ones count as well */
  bool last;        /* no stamped event follows in a whole stream */
  bool intact;      /* of wr_mock_stamp_read: the bytes before it are as they were made */
};

/* Puts the stamp into the payload that begins at `from` and ends with the buffer, if that is an
 * object; true if it is one. May overflow the buffer. */
bool wr_mock_stamp_put(struct wr_buf *out, size_t from, const struct wr_mock_stamp *stamp);
/* False: the payload has none. */
bool wr_mock_stamp_read(struct wr_span payload, struct wr_mock_stamp *out);

#endif

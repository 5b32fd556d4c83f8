/* attempt.h: one try at one peer. Internal to relay/; owned by the session. */
#ifndef WR_RELAY_ATTEMPT_H
#define WR_RELAY_ATTEMPT_H

#include "mem/viewq.h"
#include "relay/headbuf.h"
#include "upstream/dial.h"
#include "wire/http1_body.h"
#include "wire/ndjson.h"
#include "wire/sse_parse.h"

#define WR_ATTEMPT_MAGIC 0xa77eu

struct wr_attempt {
  uint32_t magic;
  bool reused;          /* the connection came from the shelf */
  bool answered;        /* a byte of the answer has come */
  bool keep_alive;      /* the upstream is willing */
  bool body_ended;      /* by its framing */
  struct wr_peer *peer; /* held until the attempt ends */
  struct wr_conn *conn; /* owned; NULL while dialing */
  struct wr_dial *dial; /* owned; NULL after */
  struct wr_headbuf head;
  struct wr_view answer_head; /* for the client: written, not yet sent */
  struct wr_http1_body body;
  union {
    struct wr_sse_parser sse;
    struct wr_ndjson lines;
  } cut;
  struct wr_viewq part; /* pieces of the event that isn't complete */
};

#endif

/* attempt.h: one try at one peer. Internal to relay/; owned by the session. */
#ifndef WR_RELAY_ATTEMPT_H
#define WR_RELAY_ATTEMPT_H

#include "mem/viewq.h"
#include "upstream/dial.h"
#include "wire/http1_body.h"
#include "wire/ndjson.h"
#include "wire/sse_parse.h"

#define WR_ATTEMPT_MAGIC 0xa77eu

struct wr_windows;

struct wr_attempt {
  uint32_t magic;
  bool reused;          /* the connection came from the shelf */
  bool answered;        /* a byte of the answer has come */
  bool keep_alive;      /* the upstream is willing */
  bool body_ended;      /* by its framing */
  bool head_whole;      /* rq->answer is all of the answer's head */
  uint8_t noted;        /* 1 + enum wr_note: what its peer has heard of it last; 0: nothing */
  bool judged;          /* its failure has been judged */
  bool settled;         /* on_response_start has been asked */
  uint8_t dialect;      /* enum wr_dialect: of the events; NONE where framing alone decides */
  uint8_t lead; /* data is the whole of a chunk whose head of so many bytes stands before it, as
                   weir would write it, and its line end behind it: an event that is all of it may
                   leave as it came; 0: no */
  uint64_t in_from;     /* bytes that the connection had brought before */
  uint64_t started_us;  /* wr_loop_now_us when it was picked */
  struct wr_peer *peer; /* borrowed: held until the attempt ends */
  struct wr_conn *conn; /* owned; NULL while dialing */
  struct wr_dial *dial; /* owned; NULL after */
  const char *model;    /* borrowed: gen's; this upstream's name for the model, NULL: unchanged */
  struct wr_http1_body body;
  union {
    struct wr_sse_parser sse;
    struct wr_ndjson lines;
  } cut;
  uint32_t epoch;       /* of the peer when it was picked */
  /* What has been taken from the connection stays here until there is room for what becomes of
   * it. */
  struct wr_view in;    /* not decoded yet */
  struct wr_view data;  /* decoded, not cut into events yet */
  struct wr_viewq part; /* pieces of the event that isn't complete */
  struct wr_windows *win; /* owned; NULL where no hook wants text */
};

/* As many as streams. With what the heap adds this fills a size class of glibc. */
_Static_assert(sizeof(struct wr_attempt) <= 264, "each idle stream costs a size class more");

#endif

/* load.h: many clients of token streams at once on one loop, that check and time every event.
 *
 * `weir bench` is this. A load has a fixed number of slots; each carries one stream at a time and
 * keeps its connection for the next one. Three ways to begin streams: each slot begins the next
 * one when one ends (closed loop); a stream is due every 1/rate seconds, and its times count from
 * when it was due, however late a slot was free (open loop); each slot begins one and holds it.
 *
 * Everything is allocated by wr_load_new but connections and pieces of events that came in parts.
 * wr_load_free before wr_loop_free, and turn the loop once between them. Loop thread only. */
#ifndef WR_LOAD_LOAD_H
#define WR_LOAD_LOAD_H

#include "load/api.h"
#include "load/fault.h"
#include "load/hist.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/tls_ctx.h"

#define WR_LOAD_MAX_STREAMS 100000u
#define WR_LOAD_REQUEST_BYTES 65536u

/* Plain data. Strings are needed by wr_load_new only, but for server_name. */
struct wr_load_plan {
  struct wr_addr addr;
  struct wr_tls_ctx *tls;  /* borrowed: outlives the load; NULL: plain */
  const char *server_name; /* borrowed: outlives the load; for TLS */
  const char *authority;   /* borrowed: the value of Host */
  const char *path;        /* borrowed: with its query */
  const char *fields;      /* borrowed: further header lines, each with CRLF; or NULL */
  const char *model;       /* borrowed */
  struct wr_span body;     /* the request's body; empty: what the API needs */
  enum wr_load_api api;
  uint32_t streams;        /* slots: 1 .. WR_LOAD_MAX_STREAMS */
  double rate;             /* streams a second; 0: closed loop */
  uint64_t count;          /* streams to begin; 0: no end */
  uint64_t tokens;         /* 0: as many as the server likes */
  uint32_t timeout_ms;     /* of silence; 1 .. 3,600,000 */
  uint32_t slow_permille;  /* streams whose client reads slowly */
  uint32_t slow_bytes;     /* how much of its body it reads a second; at least 1 */
  uint32_t leave_permille; /* streams whose client goes away */
  uint32_t leave_events;   /* after 1 .. so many events; at least 1 */
  bool hold;               /* a slot begins one stream only */
  bool fresh;              /* a connection for each stream */
  bool stamps;             /* ask for stamps (a header that only weir mock knows) */
  bool must_stamp;         /* an event without a stamp is a fault, from the first one on */
};

struct wr_load_totals {
  uint64_t begun;
  uint64_t whole;  /* ended as they should, whatever happened to their events */
  uint64_t left;   /* by us, on purpose */
  uint64_t failed; /* did not end as they should */
  uint64_t dials;
  uint64_t events; /* that were read: heartbeats aren't events, terminators are */
  uint64_t stamped;
  uint64_t bytes; /* of bodies */
  uint64_t faults[WR_LOAD_FAULTS];
  uint16_t last_status; /* of an answer that was no 200 */
  struct wr_load_hist first; /* from when a stream was due to its first content */
  struct wr_load_hist gap;   /* between events of one stream from then on */
  struct wr_load_hist delay; /* from the stamp to here */
  struct wr_load_hist span;  /* of a whole stream, from when it was due */
};

struct wr_load;

/* WR_E_ARG: the plan is out of range, or the request is too long. NOMEM. */
WR_MUST_USE enum wr_err wr_load_new(struct wr_loop *loop, const struct wr_load_plan *plan,
                                    struct wr_load **out);
void wr_load_start(struct wr_load *load);
/* The totals begin anew: what went before was warming up. Streams that run go on. */
void wr_load_reset(struct wr_load *load);
/* Leaves all streams. What those that had no content yet have waited is counted as their time to
 * the first token, and so are streams that were due and had no slot: leaving them out would make
 * a stalled server look fast. */
void wr_load_stop(struct wr_load *load);
void wr_load_free(struct wr_load *load);

/* Borrowed until wr_load_free; changes as the loop runs. */
const struct wr_load_totals *wr_load_totals(const struct wr_load *load);
/* Streams under way; with content; due without a slot. */
uint32_t wr_load_open(const struct wr_load *load);
uint32_t wr_load_streaming(const struct wr_load *load);
uint64_t wr_load_backlog(const struct wr_load *load);
/* All of plan.count have ended, and when the last one did (CLOCK_MONOTONIC). */
bool wr_load_is_over(const struct wr_load *load);
uint64_t wr_load_over_ns(const struct wr_load *load);

#endif

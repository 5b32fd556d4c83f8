/* stream.h: one slot of a load: a connection, and the stream that it carries. Private to load.
 * Loop thread only. */
#ifndef WR_LOAD_STREAM_H
#define WR_LOAD_STREAM_H

#include "base/list.h"
#include "base/rand.h"
#include "load/load.h"
#include "net/conn.h"
#include "net/timer.h"
#include "wire/head.h"
#include "wire/http1_body.h"
#include "wire/ndjson.h"
#include "wire/sse_parse.h"

enum wr_load_state {
  WR_LOAD_IDLE, /* no stream; perhaps a connection for the next one */
  WR_LOAD_HEAD,
  WR_LOAD_BODY,
  WR_LOAD_REST /* after a failure: the slot rests a little */
};

struct wr_load_stream {
  struct wr_list link; /* in the load's free slots, or alone */
  struct wr_task task;
  struct wr_timer timer; /* silence; or the rest; or the pause of a slow reader */
  struct wr_load *load;  /* borrowed: outlives its slots */
  struct wr_conn *conn;  /* owned; or NULL */
  char *held;            /* owned: a head or an event that came in part; or NULL */
  uint32_t held_len, held_cap;
  size_t resume; /* of the head's end */
  uint64_t due_ns;
  uint64_t last_ns; /* when the last event came */
  uint64_t heard_ms;
  uint64_t events;
  uint32_t tag;
  uint32_t leave_after; /* events; 0: stays */
  struct wr_load_order order;
  struct wr_http1_body body;
  union {
    struct wr_sse_parser sse;
    struct wr_ndjson lines;
  } cut;
  uint8_t state; /* enum wr_load_state */
  bool slow, paused;
  bool reusable; /* the head said that the connection goes on */
  bool has_content, has_stamps, saw_end, saw_error;
};

struct wr_load {
  struct wr_loop *loop; /* borrowed: outlives us */
  struct wr_load_plan plan;
  struct wr_load_totals totals;
  struct wr_load_stream *slots; /* owned: plan.streams of them */
  struct wr_list free_slots;
  struct wr_timer timer; /* the next stream is due */
  struct wr_rand rand;
  char *request; /* owned */
  size_t request_len;
  size_t tag_at; /* where the tag's digits stand in it; 0: nowhere */
  uint64_t start_ns;
  uint64_t over_ns; /* when the last of plan.count ended */
  uint64_t begun; /* since the start; the totals' count begins anew after warming up */
  uint64_t ended;
  uint32_t open;
  uint32_t streaming;
  uint32_t next_tag;
  bool running;
  struct wr_head head; /* the head that is being read */
};

uint64_t wr_load_now_ns(void);

/* stream.c */
void wr_load_stream_init(struct wr_load_stream *s, struct wr_load *load);
void wr_load_stream_begin(struct wr_load_stream *s, uint64_t due_ns);
/* Ends what it does, without a word to anybody. */
void wr_load_stream_fini(struct wr_load_stream *s);

/* events.c: takes body bytes; false when the stream is over because of them. */
WR_MUST_USE bool wr_load_events_take(struct wr_load_stream *s, struct wr_span data,
                                     uint64_t now_ns);
/* Keeps bytes until more come. False: too many, or no memory. */
WR_MUST_USE bool wr_load_hold(struct wr_load_stream *s, struct wr_span bytes);

/* load.c: the slot is free. */
void wr_load_slot_free(struct wr_load_stream *s);

#endif

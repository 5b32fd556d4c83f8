/* session.h: one client connection and the request that it carries now. Internal to relay/.
 *
 * To add a step, start here: name it in enum wr_step, write it in a step_*.c, give it a row in
 * session_fsm.c with the steps that may follow. A step looks at the connections, does what it
 * can, and returns the next step or WR_STEP_WAIT; helpers never transition. The driver
 * (session_fsm.c) runs steps until one waits, checks each move, and keeps the last 16. What a
 * step waits for must have a waker: a deadline of `due`. The client's end is looked for before
 * every turn, in every step.
 *
 * Memory: the struct lives as long as the connection; `rq` from a request's first byte until its
 * answer is committed and its body has gone; `at` while an upstream is being tried. */
#ifndef WR_RELAY_SESSION_H
#define WR_RELAY_SESSION_H

#include "mem/viewq.h"
#include "net/timer.h"
#include "obs/record.h"
#include "relay/admit.h"
#include "relay/attempt.h"
#include "relay/dialect.h"
#include "relay/relay.h"
#include "relay/request.h"
#include "relay/stream.h"

#define WR_SESSION_MAGIC 0x5e55u

enum wr_step {
  WR_STEP_READ_HEAD,
  WR_STEP_READ_BODY,
  WR_STEP_ROUTE,
  WR_STEP_PICK,
  WR_STEP_QUEUE,
  WR_STEP_DIAL,
  WR_STEP_SEND,
  WR_STEP_WAIT_FIRST_BYTE,
  WR_STEP_STREAM,
  WR_STEP_RETRY,
  WR_STEP_FLUSH,
  WR_STEP_FINISH,
  WR_STEPS,
  WR_STEP_WAIT = WR_STEPS, /* no move: until something marks the task */
  WR_STEP_GONE             /* the session's memory is gone */
};

enum wr_due {
  WR_DUE_STEP,      /* of the step; fails it with due_err */
  WR_DUE_TOTAL,     /* of the request */
  WR_DUE_BODY,      /* of the request's body, however it comes */
  WR_DUE_TOKEN,     /* first content */
  WR_DUE_IDLE,      /* next event */
  WR_DUE_RATE,      /* the content that min_rate asks for */
  WR_DUE_HEARTBEAT,
  WR_DUE_HEDGE,     /* a second attempt beside the first */
  WR_DUE_SLOW,      /* a client that doesn't read */
  WR_DUE_POOL,      /* memory was short, or is held for long: another look */
  WR_DUES
};

enum wr_mode { WR_MODE_RAW, WR_MODE_EVENTS, WR_MODE_LINES };

struct wr_session {
  uint32_t magic;
  uint8_t step;               /* enum wr_step */
  uint8_t trail_at;
  uint8_t trail[16];          /* the last moves */
  uint8_t dialect;            /* enum wr_dialect: of the client */
  uint8_t mode;               /* enum wr_mode: of the answer's body */
  uint8_t outcome;            /* enum wr_outcome; NONE while it runs */
  uint8_t due_err;            /* enum wr_err: what WR_DUE_STEP means */
  uint8_t retry_err;          /* enum wr_err: why the last attempt but the present failed */
  uint16_t err;               /* enum wr_err: why the outcome is what it is */
  uint16_t status;            /* sent to the client, 0: none yet */
  uint16_t upstream_status;
  uint16_t attempts;
  bool head_request : 1;      /* HEAD: the answer has no body */
  bool http10 : 1;
  bool keep_alive : 1;        /* the client wants, and we let it */
  bool committed : 1;         /* the answer's head has been queued for the client */
  bool chunked : 1;           /* the answer's framing towards the client */
  bool no_body : 1;           /* the answer has none */
  bool source_done : 1;       /* nothing more will come into the log */
  bool clean : 1;             /* and it ended as it should */
  bool terminator : 1;        /* the dialect's end has been seen */
  bool finish : 1;            /* a finish reason has been seen */
  bool content : 1;           /* real content has been seen */
  bool paused : 1;            /* the upstream read is stopped */
  bool active : 1;            /* counted as a running request */
  bool stopping : 1;          /* a policy has ended the stream */
  bool policy_failed : 1;     /* a guard failed on an event */
  bool served : 1;            /* a request has begun on this connection */
  bool keyed : 1;             /* counted for its key */
  bool hooked : 1;            /* some hook ran: `end` must */
  bool abortive : 1;          /* the client's connection ends with a reset */
  bool running : 1;
  bool rearm : 1;             /* a deadline was set that the timer doesn't stand before */
  bool slow : 1;              /* the client is above its mark */
  bool tight : 1;             /* the upstream is read in small pieces */
  bool shed : 1;              /* memory is short, and this stream is the one that ends */
  bool deaf : 1;              /* and its client takes nothing, so that there is nobody to tell */
  bool reused : 1;            /* the last attempt's connection came from the shelf */
  uint8_t hedged;             /* 1 + enum wr_hedge_end; 0: there was none */
  uint8_t slow_do;            /* enum wr_slow_action, or a script's "wait" */
  uint8_t method;             /* enum wr_method of the request */
  uint8_t continued;          /* times that another upstream went on */
  uint32_t listen_number;     /* of the listener that accepted it */
  uint32_t key_slot;          /* of shared->keys */
  uint32_t group;             /* index of conf->groups */
  struct wr_relay *relay;     /* borrowed: outlives its sessions */
  struct wr_list link;        /* in the relay's list */
  struct wr_task task;
  struct wr_timer timer;      /* at the earliest of `due`, or before it */
  uint32_t due[WR_DUES];      /* low bits of the loop's clock in ms; 0: not set */
  struct wr_conn *client;     /* owned */
  struct wr_request *rq;      /* owned */
  struct wr_attempt *at;      /* owned */
  struct wr_hedge *hedge;     /* owned; a second attempt beside `at` (relay/hedge.h) */
  struct wr_continue *cont;   /* owned; NULL unless the route continues (relay/continue.h) */
  struct wr_peer *peer;       /* borrowed: gen's; of the last attempt, for the record */
  struct wr_relay_gen *gen;   /* ref; NULL between requests */
  const struct wr_conf_route *route; /* borrowed: gen's; NULL before it is known */
  const struct wr_conf_key *key; /* borrowed: gen's; who asks; NULL: nobody that is known */
  struct wr_hook_stream *hook; /* owned; NULL without hooks */
  char *answer_id; /* owned; of the answer, as the upstream says; only kept where a policy may end
                      it */
  char *names;                /* owned: path and model, for the record */
  uint16_t path_len, model_len, why_len; /* in names, in this order */
  uint16_t names_cap;
  uint64_t tried;             /* bit a peer: not to be asked in this round */
  uint64_t asked;             /* bit an upstream of the generation: there was an attempt */
  struct wr_stream stream;
  struct wr_reader reader;
  uint64_t id;
  uint64_t started_us;
  uint32_t first_byte_us, first_token_us; /* from started_us; UINT32_MAX: never */
  uint32_t open;              /* what has begun and not ended. Anthropic: index of the content
                                 block plus one; chat: bit a choice, of the first 32 */
  uint32_t chunk_left;        /* bytes of the chunk that is being written, its CRLF included */
  uint32_t retry_after_ms;    /* of a refusal; 0: nothing is known */
  uint32_t queued_us;         /* waited for room */
  uint32_t hedge_from_us;     /* when the first attempt began, where the route hedges: low bits */
  uint32_t answer_created;    /* Unix seconds, as the upstream says; 0: not known */
  struct wr_admitted admitted;
  uint32_t slow_from;         /* low bits of the client's sent bytes when it became slow */
  uint32_t slow_charged;      /* bytes that count in the process's for slow clients */
  uint32_t continued_bytes;   /* of text that the client had at the last of them */
  uint32_t coalesced;         /* events that were joined into others, or left out */
  uint32_t slow_since_ms, slow_moved_ms; /* when it became slow, and took something last: low bits
                                            of the loop's clock */
  uint32_t join_at;           /* bytes in the log at which they are joined */
  uint32_t taken;             /* low bits of the client's sent bytes when pressure last looked */
  uint32_t progress;          /* low bits of the client's sent bytes when WR_DUE_SLOW was set */
  uint64_t events;
  uint64_t contents;          /* events with content: tokens, as far as weir can count them */
  uint64_t out_bytes;         /* of the answer's body */
  uint64_t in_bytes;          /* of the request's body */
  uint64_t copied;
  int64_t usage[4];           /* input, output, cached, reasoning */
};

/* Thousands of them are open. With what the heap adds this fills a size class of glibc. */
_Static_assert(sizeof(struct wr_session) <= 600, "each idle stream costs a size class more");

/* session.c */
WR_MUST_USE enum wr_err wr_session_new(struct wr_relay *relay, uint32_t listen_number,
                                       struct wr_conn *take_conn);
/* Frees all; the client connection is aborted if it is still held. */
void wr_session_free(struct wr_session *s);
/* Ready for the next request on the same connection. */
void wr_session_reset(struct wr_session *s);
uint64_t wr_session_now_ms(const struct wr_session *s);
/* 0 clears it; more than 24 days are 24 days. */
void wr_session_due(struct wr_session *s, enum wr_due which, uint64_t delay_ms);
/* How long until then, below 0 if it has passed; it is set. */
static inline int32_t wr_session_due_in(const struct wr_session *s, unsigned which,
                                        uint64_t now_ms) {
  return (int32_t)(s->due[which] - (uint32_t)now_ms);
}
void wr_session_due_step(struct wr_session *s, uint64_t delay_ms, enum wr_err err);
/* The pool has nothing now: looks again soon. */
void wr_session_due_pool(struct wr_session *s);
/* A request that is held for long moves out of the blocks that others fill, in a while. */
void wr_session_due_tidy(struct wr_session *s);
struct wr_slabs *wr_session_slabs(const struct wr_session *s);
/* The effective value of a deadline: the route's, else the upstream's. */
struct wr_conf_timeouts wr_session_timeouts(const struct wr_session *s);
uint32_t wr_session_idle_ms(const struct wr_session *s);
struct wr_span wr_session_path(const struct wr_session *s);
struct wr_span wr_session_model(const struct wr_session *s);
/* Keeps path, model and a detail for the record; any may be empty. */
void wr_session_name(struct wr_session *s, struct wr_span path, struct wr_span model,
                     struct wr_span why);
void wr_session_mark(struct wr_session *s);

/* step_dial.c: is the model one of this upstream's, and the API one that it can have? *name: its
 * own name for the model; NULL: unchanged. */
bool wr_session_serves(const struct wr_session *s, const struct wr_conf_upstream *up,
                       const char **name);

/* hook_request.c: what a policy knows of the request, for as long as that is held. */
WR_MUST_USE enum wr_err wr_session_hook_make(struct wr_session *s, const struct wr_conf_key *key);
/* Brings what a policy reads outside of events up to date. */
void wr_session_hook_now(struct wr_session *s);
/* What is held is about to go or has moved. */
void wr_session_hook_held(struct wr_session *s);
/* Asks on_response_start, once an attempt. WAIT: the answer may begin; else what happens then. */
enum wr_step wr_session_hook_response(struct wr_session *s);

/* step_end.c: the line of a connection on which nothing was asked. */
void wr_session_record_unused(struct wr_session *s);

/* session_fsm.c */
void wr_session_run(struct wr_task *task);
const char *wr_step_name(enum wr_step step);

/* The steps. */
enum wr_step wr_step_read_head(struct wr_session *s);
enum wr_step wr_step_read_body(struct wr_session *s);
enum wr_step wr_step_route(struct wr_session *s);
enum wr_step wr_step_pick(struct wr_session *s);
enum wr_step wr_step_queue(struct wr_session *s); /* queue.c */
enum wr_step wr_step_dial(struct wr_session *s);
enum wr_step wr_step_send(struct wr_session *s);
enum wr_step wr_step_wait_first_byte(struct wr_session *s);
enum wr_step wr_step_stream(struct wr_session *s);
enum wr_step wr_step_retry(struct wr_session *s);
enum wr_step wr_step_flush(struct wr_session *s);
enum wr_step wr_step_finish(struct wr_session *s);

/* fail.c: what ends a request other than well. Each returns the step that follows. */
/* An error of the client's request, or of weir: an answer in the dialect if none has begun, else
 * the stream's end. */
enum wr_step wr_session_fail(struct wr_session *s, enum wr_err err, struct wr_span why);
/* The same with a status and text of its own (policy). */
enum wr_step wr_session_refuse(struct wr_session *s, unsigned status, struct wr_span text,
                               const struct wr_verdict *headers);
/* A whole answer made here. */
enum wr_step wr_session_answer(struct wr_session *s, struct wr_span text, bool stream);
/* The attempt failed; before the commit point it may be tried elsewhere. */
enum wr_step wr_session_attempt_failed(struct wr_session *s, enum wr_err err, struct wr_span why);
/* The window of min_rate is over and the content isn't there: WAIT when the stream goes on in spite
 * of that, because there is nobody else. */
enum wr_step wr_session_crawls(struct wr_session *s);
/* Memory is short: the stream ends, and what can be given back is. */
enum wr_step wr_session_shed(struct wr_session *s);
/* The client is gone. */
enum wr_step wr_session_client_gone(struct wr_session *s);
/* A policy, or weir for a client's sake, ends a stream that runs, legally. */
void wr_session_stop(struct wr_session *s, struct wr_span reason);
/* Has the answer given a finish reason, for each of its choices that has begun? */
bool wr_session_finished(const struct wr_session *s);
/* Ends the attempt: its connection goes to the shelf if `reusable`, else away. */
void wr_session_attempt_end(struct wr_session *s, bool reusable);
/* What every attempt has, once its peer was noted. */
void wr_session_attempt_free(struct wr_session *s, struct wr_attempt *take_at, bool reusable);

/* encode.c */
/* Queues the answer's head; the log may flow to the client from now on. */
WR_MUST_USE enum wr_err wr_session_commit(struct wr_session *s);
/* Moves frames from the log to the client's connection, as much as fits, and sends. POOL_FULL:
 * nothing is lost, the next call goes on where this one stopped. */
WR_MUST_USE enum wr_err wr_session_drain_log(struct wr_session *s);
/* Bytes on their way to the client. */
size_t wr_session_queued(const struct wr_session *s);

/* pump.c */
/* Takes what the upstream has sent, as far as the client keeps up. WR_OK: more may come.
 * WR_E_END: the body has ended as it should. WR_E_POOL_FULL: there is no room now; nothing is
 * lost, the next call goes on. Others: the attempt has failed. */
WR_MUST_USE enum wr_err wr_pump_run(struct wr_session *s);

#endif

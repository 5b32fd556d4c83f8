/* request.h: the client's request until it has been sent and its answer is committed. Internal
 * to relay/. */
#ifndef WR_RELAY_REQUEST_H
#define WR_RELAY_REQUEST_H

#include "mem/arena.h"
#include "mem/viewq.h"
#include "relay/headbuf.h"
#include "relay/retry.h"
#include "wire/head.h"
#include "wire/http1_body.h"
#include "wire/json_stream.h"

struct wr_conf_upstream;
struct wr_hook_request;
struct wr_session;
struct wr_waiter;
struct wr_buf;

/* What routing reads of a JSON body: the places of the paths. */
enum wr_request_path {
  WR_RQ_MODEL,
  WR_RQ_STREAM,
  WR_RQ_MAX_TOKENS,
  WR_RQ_MAX_COMPLETION_TOKENS,
  WR_RQ_MAX_OUTPUT_TOKENS,
  WR_RQ_NUM_PREDICT, /* Ollama's, and what it lies in */
  WR_RQ_OPTIONS,
  WR_RQ_MESSAGES, /* from here on only where they begin matters */
  WR_RQ_INPUT,
  WR_RQ_PROMPT,
  WR_RQ_PATHS
};
extern const char *const wr_request_paths[WR_RQ_PATHS];

/* A body up to this size is kept until the answer begins, for a kept connection that turns out to
 * be dead. Larger ones are kept only where another attempt is possible and memory isn't short. */
#define WR_REQUEST_RESEND_BYTES 65536u

struct wr_request {
  struct wr_arena arena;       /* what lives as long as the request: the scan, names */
  struct wr_headbuf head;      /* kept for writing the upstream's head */
  struct wr_headbuf answer;    /* of the attempt that is made: nothing once it is committed */
  struct wr_view answer_head;  /* for the client: written, not yet sent */
  struct wr_viewq body;        /* decoded bytes that are held: the first inspect_bytes */
  struct wr_http1_body decode; /* of the client's body */
  struct wr_json_stream *scan; /* borrowed: the arena; NULL when the body isn't JSON */
  uint8_t method;              /* enum wr_method */
  bool length_known;
  bool body_done;              /* the client's body has ended */
  bool streaming;              /* bytes beyond the held ones flow by: no second attempt */
  bool head_sent;
  bool forgotten;              /* nothing is held any more */
  bool kept;                   /* the body stays when it has been sent */
  bool malformed;              /* the body isn't the JSON that it should be */
  bool expect;                 /* 100-continue is waited for */
  uint8_t codings;             /* that the client takes (relay/coding.h); set when it is sent */
  int8_t stream;               /* 1, 0, -1: not said */
  int64_t max_tokens;          /* -1: not said */
  int64_t cap_tokens;          /* -1: none */
  uint64_t content_length;
  uint64_t held_bytes; /* of the body, when its beginning was sent */
  struct wr_retry_state retry;
  struct wr_waiter *wait;      /* owned; NULL unless it stands in a queue (relay/queue.h) */
  struct wr_hook_request *hook; /* borrowed: the arena; NULL: no policy */
  const char *model; /* borrowed: the arena; what to put in place of the client's model, or NULL */
};

WR_MUST_USE enum wr_err wr_request_new(struct wr_slabs *slabs, struct wr_request **out);
void wr_request_free(struct wr_request *rq);
/* No attempt will need what is held any more: head, body and arena go back. */
void wr_request_forget(struct wr_request *rq);
/* Takes what the client has sent of its body into rq->body, up to `hold` bytes held. WR_OK: more
 * may come, or `hold` is reached. WR_E_END: the body is complete. HTTP_CHUNK, HTTP_FRAMING,
 * BODY_TOO_LARGE, POOL_FULL. */
WR_MUST_USE enum wr_err wr_request_read_body(struct wr_session *s, size_t hold);
/* Makes the relay's scratch head the one of this request: parsed anew only where the scratch has
 * served another since. */
WR_MUST_USE enum wr_err wr_request_parse(struct wr_session *s);
/* Makes the held body one piece, or as much of its beginning as the largest block holds. */
WR_MUST_USE enum wr_err wr_request_flatten(struct wr_session *s);
/* May the body go to this upstream, as far as it is known? Where names of models or a cap hold,
 * what they are about must have been read. BODY_JSON, UNREAD. */
WR_MUST_USE enum wr_err wr_request_judge(const struct wr_request *rq,
                                         const struct wr_conf_upstream *up);
/* The same for what came after the beginning was sent, before it is sent too. */
WR_MUST_USE enum wr_err wr_request_judge_more(const struct wr_request *rq,
                                              const struct wr_conf_upstream *up);
/* Moves head and held body out of big blocks that they would pin (copy reason `compact`). */
void wr_request_tidy(struct wr_session *s);
/* Queues head and held body on the upstream's connection. */
WR_MUST_USE enum wr_err wr_request_send(struct wr_session *s);
/* The literal of a scanned path, or the empty span. */
struct wr_span wr_request_value(const struct wr_request *rq, enum wr_request_path which);

#endif

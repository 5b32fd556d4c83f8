/* record.h: one finished exchange: what the access log prints and the metrics count.
 *
 * Filled by the session when it ends and handed down once; every span is borrowed for the call. No
 * credential and no byte of a body is ever in it. */
#ifndef WR_OBS_RECORD_H
#define WR_OBS_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

enum wr_record_kind {
  WR_RECORD_REQUEST,   /* a request with its answer (a stream or not) */
  WR_RECORD_CONNECTION /* a connection that ended without one: TLS failed, nothing was sent */
};

struct wr_record {
  uint8_t kind;            /* enum wr_record_kind */
  bool streamed;           /* the answer was an event stream */
  bool reused;             /* the upstream connection came from the shelf */
  uint16_t status;         /* sent to the client; 0: none */
  uint16_t upstream_status;/* 0: none came */
  uint16_t attempts;
  enum wr_err err;         /* WR_OK, or why it ended otherwise */
  uint64_t id;
  uint64_t started_unix_us;/* wall clock */
  uint64_t duration_us;
  int64_t first_byte_us;   /* from the request's start to the upstream's head; -1: never */
  int64_t first_token_us;  /* to the first real content; -1: never */
  uint64_t events;
  uint64_t bytes_in;       /* of the request's body */
  uint64_t bytes_out;      /* of the answer's body, without framing */
  uint64_t queued_us;      /* waited until an upstream had room */
  uint64_t joined_events; /* joined into others, or left out, as the client was slow */
  uint64_t copied_bytes;   /* on the data path of this exchange */
  /* As the provider says; -1: not reported. */
  int64_t input_tokens, output_tokens, cached_tokens, reasoning_tokens;
  struct wr_span client;   /* address */
  struct wr_span method, path;
  struct wr_span route, key, model, upstream, peer;
  struct wr_span tried;    /* upstreams of all attempts, commas between; empty: one attempt */
  enum wr_err retried;     /* with several attempts: why the last but one failed */
  uint32_t continued;      /* times that another upstream went on with the stream */
  uint32_t continued_bytes; /* of text that had been sent when the last of them began */
  struct wr_span hedge;    /* static: how a second attempt beside the first ended; empty: none */
  struct wr_span outcome;  /* static */
  struct wr_span operation;/* gen_ai.operation.name: chat, text_completion, embeddings, "" */
  struct wr_span provider; /* gen_ai.provider.name: openai, anthropic, … or "" */
  struct wr_span why;      /* detail of err, for operators; may be empty */
};

#endif

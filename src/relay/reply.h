/* reply.h: what weir says itself, in the words of the client's dialect. Pure functions into a
 * buffer. */
#ifndef WR_RELAY_REPLY_H
#define WR_RELAY_REPLY_H

#include "base/buf.h"
#include "relay/dialect.h"

/* The JSON body of an error answer. code: snake_case, "" for none. */
void wr_reply_error_body(struct wr_buf *out, enum wr_dialect dialect, unsigned status,
                         struct wr_span code, struct wr_span message);
/* An error inside a stream that has begun: a whole event (a line for Ollama). Nothing for NONE. */
void wr_reply_error_event(struct wr_buf *out, enum wr_dialect dialect, unsigned status,
                          struct wr_span code, struct wr_span message, uint64_t sequence);
/* The content type of a stream of the dialect. */
struct wr_span wr_reply_stream_type(enum wr_dialect dialect);
/* A heartbeat between two events; the empty span where the dialect has none. Static. */
struct wr_span wr_reply_heartbeat(enum wr_dialect dialect);

/* What the legal ending of a cut stream needs to know of the stream; spans are borrowed. */
struct wr_reply_ending {
  struct wr_span id, model;
  struct wr_span reason;    /* what the policy said: "length", "content_filter", … */
  uint64_t created;         /* chat: Unix seconds of the stream */
  uint64_t unix_s;          /* Ollama: now */
  uint64_t sequence;        /* Responses: of the next event */
  int64_t open_block;       /* Anthropic: index of the content block that is open, or -1 */
  uint32_t open_choices;    /* chat: bit a choice that has begun and has no finish reason yet */
  /* As the provider has said, else as weir has counted; -1: not known, then usage isn't told. */
  int64_t input_tokens, output_tokens;
  bool finished;            /* a finish reason has been sent: only the terminator is missing */
};
/* The events that end a stream before its time, so that a client sees a legal end with a reason
 * that isn't "stop". */
void wr_reply_ending(struct wr_buf *out, enum wr_dialect dialect,
                     const struct wr_reply_ending *ending);

/* A whole answer with this text, as a completed call of the dialect: a JSON document, or a
 * stream of events. */
void wr_reply_answer(struct wr_buf *out, enum wr_dialect dialect, bool stream, struct wr_span model,
                     struct wr_span text, uint64_t id, uint64_t unix_s);

#endif

/* dialect.h: the provider dialects as tables: where text, usage and ends stand in an event.
 *
 * The dialect follows from the request's path and headers, never from a body. Reading an event
 * is a pure function of its bytes: one scan for the few paths that matter, or none where the
 * event looks like a recent one. The programs are compiled once a worker. */
#ifndef WR_RELAY_DIALECT_H
#define WR_RELAY_DIALECT_H

#include "conf/conf.h"
#include "relay/event.h"
#include "wire/json_scan.h"
#include "wire/json_shape.h"

enum wr_dialect {
  WR_DIALECT_NONE,      /* an unknown API: framing alone decides */
  WR_DIALECT_CHAT,      /* OpenAI chat completions, and the older completions */
  WR_DIALECT_RESPONSES, /* OpenAI Responses */
  WR_DIALECT_ANTHROPIC, /* Anthropic Messages */
  WR_DIALECT_OLLAMA,    /* NDJSON */
  WR_DIALECTS
};

#define WR_DIALECT_SHAPES 4

/* One a worker. */
struct wr_dialects {
  struct wr_json_prog progs[WR_DIALECTS]; /* of NONE: unused */
  struct wr_json_shape shapes[WR_DIALECTS][WR_DIALECT_SHAPES]; /* of recent events: the short way */
  uint8_t last[WR_DIALECTS]; /* the shape that matched last */
};

WR_MUST_USE enum wr_err wr_dialects_init(struct wr_dialects *dialects);

/* anthropic: the request has an anthropic-version field. */
enum wr_dialect wr_dialect_of(struct wr_span path, bool anthropic);
/* OpenTelemetry's gen_ai.operation.name for a path: "chat", "text_completion", "embeddings",
 * "generate_content", or "". */
struct wr_span wr_dialect_operation(struct wr_span path);

/* Fills kind, text, terminator, finish, content and index of *ev from ev->name and ev->data, and
 * what the event says of usage. WR_E_EVENT_SYNTAX: the payload is not the JSON that the dialect
 * promises (kind is UNKNOWN then). */
WR_MUST_USE enum wr_err wr_dialect_read(struct wr_dialects *dialects, enum wr_dialect dialect,
                                        struct wr_event *ev, struct wr_usage *usage);

/* Can an upstream of this kind have an API of this dialect? */
bool wr_dialect_served_by(enum wr_dialect dialect, enum wr_kind kind);

/* What a stream of this dialect needs to be told before it ends of itself. */
bool wr_dialect_has_terminator(enum wr_dialect dialect);

#endif

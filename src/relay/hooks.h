/* hooks.h: the policy as the relay sees it: a table of C functions.
 *
 * One table a worker and generation, filled by policy/hooks.c (or by a test with fakes). The
 * relay calls a function only when the route's mask (conf.h: enum wr_hook_bit) has its bit.
 * Hooks never block and never keep what they are given: every span and struct is borrowed for
 * the call. A failure of a script never shows here: the engine turns it into the verdict that
 * its fail mode asks for. */
#ifndef WR_RELAY_HOOKS_H
#define WR_RELAY_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "conf/conf.h"
#include "mem/view.h"
#include "relay/event.h"

enum wr_outcome {
  WR_OUTCOME_NONE,
  WR_OUTCOME_COMPLETE,
  WR_OUTCOME_STOPPED,
  WR_OUTCOME_OVER_BUDGET,
  WR_OUTCOME_TRUNCATED,
  WR_OUTCOME_STALLED,
  WR_OUTCOME_UPSTREAM_ERROR,
  WR_OUTCOME_CLIENT_GONE,
  WR_OUTCOME_SHED,
  WR_OUTCOME_REFUSED, /* answered by weir itself: bad request, no route, policy */
  WR_OUTCOMES
};
const char *wr_outcome_name(enum wr_outcome outcome);

/* What a script knows as `s`; one a session, from the request's head to the end. */
struct wr_hook_stream {
  uint64_t id;
  const struct wr_conf_route *route; /* borrowed: the generation's */
  const struct wr_conf_key *key;     /* borrowed: the generation's; NULL: no keys declared */
  struct wr_span model;    /* borrowed: the session's; as the client named it */
  const char *upstream;    /* borrowed: the generation's; "" before the first attempt */
  uint32_t attempt;        /* 1-based; 0 before the first */
  uint32_t status;         /* sent to the client; 0 before */
  uint64_t started_us;     /* wr_loop_now_us */
  uint64_t now_us;
  uint64_t sent_bytes, queued_bytes;
  uint64_t events;
  uint64_t output_tokens;  /* counted: content events, or the provider's figure once known */
  struct wr_usage usage;
  void *policy;            /* borrowed: the engine's own; NULL at first; given back by `end` */
};

struct wr_hook_request {
  struct wr_span method, path, query;
  struct wr_span model;   /* decoded; empty: none found */
  int stream;             /* 1, 0; -1: not said */
  int64_t max_tokens;     /* -1: not said */
  int64_t prompt_tokens;  /* estimate: body bytes / 4 */
  int64_t body_bytes;     /* Content-Length, or what has come so far with chunks */
  struct wr_view body;    /* what has been held so far, in one piece; borrowed */
  bool body_complete;
  /* The value of a request header, or the empty span with ptr NULL. */
  struct wr_span (*header)(const struct wr_hook_request *rq, struct wr_span name);
  const void *head;       /* borrowed: for `header` */
};

enum wr_verdict_kind {
  WR_VERDICT_DEFAULT,
  WR_VERDICT_ROUTE,  /* request: go to `group`, with `model` if set */
  WR_VERDICT_REJECT, /* request: `status`, `text`, `headers` */
  WR_VERDICT_ANSWER, /* request: `text` as a complete answer of the client's dialect */
  WR_VERDICT_DROP,   /* event, text: all of the window */
  WR_VERDICT_STOP, /* event, text: `text` is the reason ("length" ends over_budget; anything else
                      stopped) */
  WR_VERDICT_REPLACE, /* text: `text` in place of the bytes i to j; called again for what follows */
  WR_VERDICT_HOLD     /* text: what stands before byte i may go */
};

#define WR_VERDICT_HEADERS 8
struct wr_verdict {
  uint8_t kind;
  uint16_t status;
  uint32_t group;          /* index into conf.groups */
  int64_t max_tokens;      /* -1: unchanged; sets the request's cap */
  int64_t deadline_ms;     /* -1: unchanged; total */
  struct wr_span text;     /* borrowed: until the next hook call */
  struct wr_span model;    /* borrowed: as above; empty: unchanged */
  /* Of a window, 1-based; replace: 1 <= i, i - 1 <= j <= length (j = i - 1 inserts); hold: 1 <= i
   * <= length + 1. */
  size_t i, j;
  size_t header_count;
  struct { struct wr_span name, value; } headers[WR_VERDICT_HEADERS]; /* borrowed: as above */
};

/* raw: the event as it came, in one piece. */
typedef void (*wr_hook_event_fn)(void *ctx, struct wr_hook_stream *s, const struct wr_event *ev,
                                 const struct wr_view *raw, struct wr_verdict *out);

/* The text of one kind, of one choice or content block, that a hook has not judged yet: decoded,
 * wherever the provider has cut it. */
struct wr_hook_window {
  struct wr_span text; /* borrowed: the call; never empty */
  uint8_t kind;        /* WR_EVENT_TEXT, _REASONING or _TOOL */
  bool last;           /* nothing follows in this choice or block */
  uint32_t index;      /* of the choice or block */
  uint32_t stage;      /* which of the route's `texts` is asked */
};
/* DEFAULT lets all of the window go. The same struct for scripts and for filters in C. */
typedef void (*wr_hook_text_fn)(void *ctx, struct wr_hook_stream *s,
                                const struct wr_hook_window *win, struct wr_verdict *out);

struct wr_hooks {
  void *ctx; /* borrowed: the engine; outlives the table */
  void (*request)(void *ctx, struct wr_hook_stream *s, const struct wr_hook_request *rq,
                  struct wr_verdict *out);
  wr_hook_event_fn event;
  /* Once for every stream for which any other hook ran, always; frees s->policy. */
  void (*end)(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome);
  wr_hook_text_fn text;
};

#endif

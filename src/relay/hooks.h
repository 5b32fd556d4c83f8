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

/* How well the tokens of a stream are known when it ends. */
enum wr_usage_status {
  WR_USAGE_MISSING,   /* nothing is known, or nothing was served */
  WR_USAGE_ESTIMATED, /* weir's own count of what came, and its estimate of the request */
  WR_USAGE_PARTIAL,   /* the provider's figures so far, for a stream that didn't end well */
  WR_USAGE_COMPLETE,  /* the provider's figures */
  WR_USAGE_STATUSES
};
struct wr_reserves;

/* What a script knows as `s`; one a session, from the request's head to the end. */
struct wr_hook_stream {
  uint64_t id;
  const struct wr_conf_route *route; /* borrowed: the generation's */
  const struct wr_conf_key *key;     /* borrowed: the generation's; NULL: no keys declared */
  struct wr_span model;    /* borrowed: the session's; as the client named it */
  const char *upstream;    /* borrowed: the generation's; "" before the first attempt */
  uint64_t tried; /* bit an index of conf->upstreams (the first 64): an attempt was made there */
  const struct wr_hook_request *request; /* borrowed: while the request is held, else NULL */
  uint32_t attempt;        /* 1-based; 0 before the first */
  uint32_t status;         /* sent to the client; 0 before */
  uint64_t started_us;     /* wr_loop_now_us */
  uint64_t now_us;
  uint64_t sent_bytes, queued_bytes;
  uint64_t events;
  uint64_t output_tokens;  /* counted: content events, or the provider's figure once known */
  struct wr_usage usage;
  int64_t prompt_tokens;   /* estimate from the request's size */
  struct wr_reserves *reserves; /* owned: relay/reserve.h; NULL: nothing was taken from a budget */
  int64_t charged;         /* tokens, in and out, that budgets are charged; set before `end` */
  uint8_t usage_status;    /* enum wr_usage_status; as above */
  bool settled;            /* both were set */
  uint64_t first_token_us; /* from the start; UINT64_MAX: no content yet */
  /* Lines "name: value\r\n" that the answer's head gets, in place of the upstream's of those
   * names; checked. */
  struct wr_span headers;  /* borrowed: the engine's, until `end`; empty: none */
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
  WR_VERDICT_HOLD,    /* text: what stands before byte i may go */
  WR_VERDICT_FALLBACK, /* response, error: to `group`, if nothing is committed */
  WR_VERDICT_RETRY,    /* error: another peer of the same group, after `delay_ms` */
  WR_VERDICT_FAIL,     /* error: no further attempt; `status` and `text` if status is set */
  WR_VERDICT_WAIT,     /* slow client: nothing yet */
  WR_VERDICT_PAUSE,    /* slow client: pause_upstream */
  WR_VERDICT_COALESCE, /* slow client: join the queued text */
  WR_VERDICT_STEP      /* pressure: the ladder stands on `step` */
};

#define WR_VERDICT_HEADERS 8
struct wr_verdict {
  uint8_t kind;
  bool failed;             /* said in place of a guard that could not judge, or wasn't asked */
  bool guard;              /* response: said by a guard */
  uint16_t status;
  uint32_t group;          /* index into conf.groups */
  int64_t max_tokens;      /* -1: unchanged; sets the request's cap */
  int64_t deadline_ms;     /* -1: unchanged; total */
  int64_t delay_ms;        /* retry: -1: the backoff of the group; reject: 0 or less: a second */
  uint32_t step;
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

/* An answer that is about to begin: called once an attempt, before a byte of it reaches the
 * client. */
struct wr_hook_response {
  unsigned status;
  uint64_t first_token_us; /* from the request's start; UINT64_MAX: no content yet, or no stream */
  /* The value of a field of the answer's head, or the empty span with ptr NULL. */
  struct wr_span (*header)(const struct wr_hook_response *rs, struct wr_span name);
  const void *head; /* borrowed: for `header` */
};

/* A client that reads too slowly: called at the high mark, then once a second above it. */
struct wr_hook_slow {
  uint64_t bytes;  /* queued for it */
  uint64_t events; /* frames that no reader has taken */
  uint64_t age_ms; /* since it went over the mark */
  double rate;     /* bytes a second that it took since then */
};

/* What went wrong with an attempt: called for each that fails, before the declared rules decide. */
struct wr_hook_error {
  const char *kind; /* static: connect, tls … status: wr_retry_name of base/err.h */
  unsigned status;  /* of the upstream's answer; 0: none came */
  int64_t retry_after_ms; /* as the upstream said; -1: it didn't */
  uint32_t attempt; /* 1-based */
  bool committed;
};

/* How short things are on this worker: called at each change of the step, then each second while
 * it is above 0. */
struct wr_hook_pressure {
  uint32_t step;    /* of the ladder; 0: calm */
  double memory;    /* process or cgroup, as a share of what it may have; 0: no limit is set */
  double pool;      /* share of the pool */
  double lua;       /* share of the VM's cap */
  double loop_lag_s;
  uint32_t streams; /* of this worker */
};

/* What runs beside the stream, for weir.live. */
struct wr_live_upstream {
  bool healthy;
  int64_t room;            /* further streams; INT64_MAX: no limit */
  uint32_t streams;        /* that run now, over all workers */
  double first_token_s;    /* moving average; 0: not known */
  const struct wr_conf_upstream *conf; /* borrowed: the generation */
};
struct wr_live {
  void *ctx; /* borrowed: the worker; outlives the engine */
  /* index: of conf->upstreams. */
  void (*upstream)(void *ctx, uint32_t index, struct wr_live_upstream *out);
  void (*pressure)(void *ctx, struct wr_hook_pressure *out);
};

struct wr_hooks {
  void *ctx; /* borrowed: the engine; outlives the table */
  /* Before any other hook of a request, on every route with hooks: DEFAULT, or REJECT while a guard
   * of the route can't be asked. NULL: there are no guards. */
  void (*admit)(void *ctx, struct wr_hook_stream *s, struct wr_verdict *out);
  void (*request)(void *ctx, struct wr_hook_stream *s, const struct wr_hook_request *rq,
                  struct wr_verdict *out);
  wr_hook_event_fn event;
  /* Once for every stream for which any other hook ran, always; frees s->policy. */
  void (*end)(void *ctx, struct wr_hook_stream *s, enum wr_outcome outcome);
  wr_hook_text_fn text;
  /* What `text` said can't be done, why ("returned ..."): a failure of the hook of that stage. Sets
   * what its fail mode asks for: DEFAULT or STOP. NULL: the route's `texts` say it. */
  void (*text_failed)(void *ctx, struct wr_hook_stream *s, uint32_t stage, const char *why,
                      struct wr_verdict *out);
  void (*response_start)(void *ctx, struct wr_hook_stream *s, const struct wr_hook_response *rs,
                         struct wr_verdict *out);
  void (*slow_client)(void *ctx, struct wr_hook_stream *s, const struct wr_hook_slow *q,
                      struct wr_verdict *out);
  void (*upstream_error)(void *ctx, struct wr_hook_stream *s, const struct wr_hook_error *er,
                         struct wr_verdict *out);
  void (*pressure)(void *ctx, const struct wr_hook_pressure *p, struct wr_verdict *out);
};

#endif

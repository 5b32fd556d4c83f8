/* trial.h: a configuration tried out: the relay, its hooks and its upstreams in one place, without
 * a network and without waiting.
 *
 * A trial is a small world of its own: a pool, a loop whose clock stands still, the configuration
 * as the server loads it (schema, sandbox, limits), the relay with the policy's hooks, and for
 * every upstream a socket of this process that answers as it is told. An exchange is a request
 * through all of that. Nothing is imitated but the two ends. While nobody has anything to do, the
 * clock jumps to the next timer, so that deadlines and delays cost no time.
 *
 * `weir explain`, `weir replay` and the Lua module weir.test use it. One thread; a trial is its
 * maker's until wr_trial_free. */
#ifndef WR_TRIAL_TRIAL_H
#define WR_TRIAL_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "policy/diag.h"
#include "relay/hooks.h"

struct wr_trial;

struct wr_trial_options {
  const char *file;      /* borrowed: for the call; the configuration, and names count from it */
  struct wr_span source; /* borrowed: for the call; its text; ptr NULL: that of the file */
  uint64_t seed;         /* of weir.random and math.random */
  uint64_t unix_us;      /* what weir.now begins with */
};

/* CONFIG: see diag, which the caller inits. */
WR_MUST_USE enum wr_err wr_trial_new(const struct wr_trial_options *options, struct wr_trial **out,
                                     struct wr_diag *diag);
void wr_trial_free(struct wr_trial *t);
/* As it is tried: the keys are those of this trial. Borrowed from the trial. */
const struct wr_conf *wr_trial_conf(const struct wr_trial *t);

/* Makes a key known by its name; one that is declared gets the class only if it is not NULL.
 * WR_E_ARG: there are too many. */
WR_MUST_USE enum wr_err wr_trial_key(struct wr_trial *t, const char *name, const char *class_name);
/* What weir.live.upstream says from now on (state->conf is not used); at first all are healthy and
 * have room. WR_E_ARG: there is no such upstream. */
WR_MUST_USE enum wr_err wr_trial_upstream(struct wr_trial *t, const char *name,
                                          const struct wr_live_upstream *state);
/* Switches a weir.flag; false: there is none of that name. */
bool wr_trial_flag(struct wr_trial *t, const char *name, bool on);
/* Time passes: timers fire, weir.every runs. */
void wr_trial_advance(struct wr_trial *t, uint64_t us);
uint64_t wr_trial_now_us(struct wr_trial *t); /* since 1970, as scripts see it */
void wr_trial_seed(struct wr_trial *t, uint64_t seed);

/* How an upstream's answer ends. */
enum wr_trial_then {
  WR_TRIAL_END,    /* as it should */
  WR_TRIAL_CUT,    /* the connection ends in the middle */
  WR_TRIAL_RESET,  /* likewise, with a reset */
  WR_TRIAL_HANG,   /* nothing more comes */
  WR_TRIAL_REFUSE  /* nobody listens: no answer at all */
};

/* Spans are borrowed for the exchange. */
struct wr_trial_answer {
  unsigned status;             /* 0: 200 */
  struct wr_span type;         /* content-type; empty: text/event-stream */
  struct wr_span headers;      /* further lines, each with CRLF */
  struct wr_span raw;          /* if set: these bytes instead of an answer */
  const struct wr_span *parts; /* borrowed: for the exchange; each is one chunk of the body */
  size_t part_count;
  uint32_t pace_ms; /* of the clock, between two parts */
  uint8_t then;     /* enum wr_trial_then */
};

struct wr_trial_ask {
  const char *method;     /* borrowed: for the exchange, as all below; NULL: POST */
  const char *path;       /* borrowed: as above */
  struct wr_span headers; /* further lines, each with CRLF */
  struct wr_span body;
  const char *key;                      /* borrowed: as above; a name; NULL: asks without one */
  const struct wr_trial_answer *answer; /* borrowed: as above; of upstreams that work */
  const struct wr_trial_answer *fault;  /* borrowed: as above; of one that doesn't; NULL: none */
  const char *fault_upstream; /* borrowed: as above; NULL: the first one that is asked */
  uint32_t faults;            /* it fails so often; 0: always */
  size_t leave_bytes; /* the client goes when it has so many of the answer; 0: it stays */
};

/* What one hook said. Events and windows that a hook let pass are only counted. */
struct wr_trial_note {
  const char *hook;    /* borrowed: static; "on_request" */
  const char *plugin;  /* borrowed: the trial */
  const char *verdict; /* borrowed: static; NULL: none, C decides */
  const char *group;   /* borrowed: the configuration; of route and fallback; else NULL */
  const char *fail;    /* borrowed: static; how it failed; NULL: it didn't */
  unsigned status;     /* 0: none */
  int64_t max_tokens, deadline_ms, delay_ms; /* -1: not said */
  uint32_t step;
  uint32_t instructions;
  struct wr_span text, model, error; /* until the next exchange */
};

/* A request as it reached an upstream. */
struct wr_trial_sent {
  const char *upstream;      /* borrowed: the configuration */
  struct wr_span head, body; /* until the next exchange */
};

/* Everything is borrowed until the next call on this trial. */
struct wr_trial_result {
  unsigned status; /* that the client saw; 0: none */
  struct wr_span head, body;
  bool whole;             /* the body's framing ended as it should */
  bool stuck;             /* nothing happened any more: ended from outside */
  const char *outcome;    /* borrowed: static */
  const char *err;        /* borrowed: static; label of the reason; "ok" */
  const char *route;      /* borrowed: the configuration; "" when none matched */
  struct wr_usage usage;
  uint32_t attempts;
  uint64_t calls;                    /* of hooks */
  uint32_t max_instructions;         /* of one of them */
  const struct wr_trial_note *notes; /* borrowed: the trial */
  size_t note_count;
  const struct wr_trial_sent *sent; /* borrowed: the trial */
  size_t sent_count;
  struct wr_span log; /* a line each, "warn: text" */
};

/* WR_E_ARG: no such key or upstream. */
WR_MUST_USE enum wr_err wr_trial_run(struct wr_trial *t, const struct wr_trial_ask *ask,
                                     struct wr_trial_result *out);
/* Asks on_slow_client or on_pressure alone, with these figures; the notes have the answers. route:
 * a name; NULL: the first. step and figures stay what weir.live.pressure() says. */
WR_MUST_USE enum wr_err wr_trial_slow(struct wr_trial *t, const char *route, const char *key,
                                      const struct wr_hook_slow *slow,
                                      struct wr_trial_result *out);
WR_MUST_USE enum wr_err wr_trial_pressure(struct wr_trial *t,
                                          const struct wr_hook_pressure *pressure,
                                          struct wr_trial_result *out);

#endif

/* events.h: what a client reads out of a stream: its events, with the server's own parsers and
 * tables. For trials and tools; one thread. */
#ifndef WR_TRIAL_EVENTS_H
#define WR_TRIAL_EVENTS_H

#include "relay/dialect.h"
#include "relay/event.h"

struct wr_trial_events;

/* Of a body, which is borrowed until the reader is freed. */
WR_MUST_USE enum wr_err wr_trial_events_new(enum wr_dialect dialect, struct wr_span body,
                                            struct wr_trial_events **out);
void wr_trial_events_free(struct wr_trial_events *r);
/* The next event; its spans are borrowed until the next call. text: decoded; ptr NULL: it has none.
 * A comment has no data. WR_E_END behind the last; EVENT_SYNTAX, TRUNCATED: what is left is no
 * event (the event then has what is left as its raw). */
WR_MUST_USE enum wr_err wr_trial_events_next(struct wr_trial_events *r, struct wr_event *ev,
                                             struct wr_span *text);

/* Of a kind's or a dialect's name ("openai", "responses", "anthropic", "ollama"); NONE when it is
 * none of them. */
enum wr_dialect wr_trial_dialect_named(struct wr_span name);
/* A path under which the dialect is asked for. Static. */
const char *wr_trial_dialect_path(enum wr_dialect dialect);

#endif

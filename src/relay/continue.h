/* continue.h: a stream that breaks off behind the commit point goes on at another upstream, where
 * the route says so. Internal to relay/.
 *
 * While the first answer runs its text is kept, and the request too. When the upstream fails, the
 * next attempt gets the request with that text as a last message of the assistant, and what it
 * says is joined to what the client has: what begins an answer is left out, numbers of blocks, the
 * id and the counts of tokens go on, text that comes again is cut. The session goes back to the
 * step RETRY with its head committed; the log, the windows of text hooks and all counts stay.
 *
 * Not continued: what isn't text alone (a tool call, several choices), longer text than
 * limits.continue, APIs without a message to put it in, failures that are the request's fault.
 *
 * One a session, made with the first answer of a route that continues, if there is somebody to go
 * on; s->cont is NULL for all others, and they pay one branch an event. */
#ifndef WR_RELAY_CONTINUE_H
#define WR_RELAY_CONTINUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct wr_conf_upstream;
struct wr_continue;
struct wr_event;
struct wr_session;
struct wr_view;
struct wr_viewq;

/* What became of a stream that broke off, for the metric. */
enum wr_continue_end {
  WR_CONTINUE_JOINED,
  WR_CONTINUE_FAILED,  /* somebody was asked and sent no content */
  WR_CONTINUE_REFUSED, /* nobody was asked */
  WR_CONTINUE_ENDS
};

/* --- continue.c: when, and how it is asked for --- */

/* The first answer is a stream: its text is kept from now on, if it can be of use. */
void wr_continue_watch(struct wr_session *s);
/* The attempt is dropped before the commit point, with all that it said. */
void wr_continue_reset(struct wr_session *s);
/* The source has ended: nothing is kept any more, nor the request. Harmless without. */
void wr_continue_end(struct wr_session *s);
void wr_continue_free(struct wr_session *s);
/* Is the request to be kept beyond the commit point? */
bool wr_continue_keeps(const struct wr_session *s);
/* Can this upstream go on with somebody else's answer? */
bool wr_continue_is_able(const struct wr_conf_upstream *up);
/* Is the attempt that comes, or runs, one that goes on? */
bool wr_continue_is_on(const struct wr_session *s);
/* It is, and hasn't brought anything yet. */
bool wr_continue_is_pending(const struct wr_session *s);

/* The attempt has failed by its upstream's fault, with content behind it: may another one follow,
 * as far as the stream is concerned? Then wr_continue_is_on. */
bool wr_continue_wanted(struct wr_session *s, enum wr_err err);
/* And whether it does. */
void wr_continue_decided(struct wr_session *s, bool follows);
/* What the client reads of a failure: the first one's, while nobody has gone on. */
enum wr_err wr_continue_err(const struct wr_session *s, enum wr_err err);
/* The same for the end of a request in whatever way: only where nobody was found to ask. */
enum wr_err wr_continue_end_err(struct wr_session *s, enum wr_err err);
/* RETRY: the attempt ends, the session gets ready for the next one. */
void wr_continue_begin(struct wr_session *s);
/* SEND: what goes into the request before the last byte of its messages, or of its prompt.
 * Borrowed until the next call. NOMEM, POOL_FULL. */
WR_MUST_USE enum wr_err wr_continue_message(struct wr_session *s, struct wr_viewq **out,
                                            uint64_t *off);
/* What goes first into its object; may be empty. Static. */
struct wr_span wr_continue_members(const struct wr_session *s);
/* Tokens of the answer that earlier attempts brought. */
int64_t wr_continue_spent(const struct wr_session *s);
/* The answer has begun as it should. */
void wr_continue_start(struct wr_session *s);
/* While there is no stream: what waits in the log goes to the client. As a step: WAIT, or what the
 * client's end asks for (enum wr_step). */
unsigned wr_continue_gap(struct wr_session *s);

/* --- continue_event.c: what its events become --- */

/* An event that passes, before hooks see it: its text is kept. */
void wr_continue_note(struct wr_session *s, const struct wr_event *ev);
/* An error event: is it the request's fault, so that nobody else is asked? */
void wr_continue_error(struct wr_session *s, const struct wr_event *ev);
/* An event of an attempt that goes on. *made: it doesn't pass; what does, if anything, is in
 * wr_continue_made. NOMEM; EVENT_TOO_LARGE: it can't be changed as it must be. */
WR_MUST_USE enum wr_err wr_continue_event(struct wr_session *s, const struct wr_event *ev,
                                          bool *made);
/* One whole event after the other; false: none is left. */
bool wr_continue_made(struct wr_session *s, struct wr_view *out);
/* Frames that the next event may bring beyond its own. */
size_t wr_continue_frames(const struct wr_session *s);

/* Programs for the above, made on first use; of the worker. */
struct wr_continue_reader;
void wr_continue_reader_free(struct wr_continue_reader *reader);

#endif

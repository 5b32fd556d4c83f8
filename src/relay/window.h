/* window.h: the text filter between upstream and log: what a route's on_text hooks judge.
 *
 * Events wait in a queue, in their order, until the hooks have let go of the text in them. One
 * window a choice (or content block) and kind holds the decoded text of all that wait: the cuts
 * that a provider made are not to be seen in it. An event whose text was not changed leaves as the
 * view that came; of one that was changed only the string literal is new. Several hooks (stages)
 * work on the same window one after another: each sees what the ones before have let go.
 *
 * Owned by the attempt, made with its first event, freed with it; NULL and costless for routes
 * without WR_HOOK_TEXT. Heap memory only for buffers that grow and stay; events stay in the pool,
 * at most the route's `held_bytes` of them. One thread. Internal to relay/. */
#ifndef WR_RELAY_WINDOW_H
#define WR_RELAY_WINDOW_H

#include "mem/view.h"
#include "relay/event.h"

struct wr_session;
struct wr_windows;

/* One event on its way to the log. `whole` is empty when its bytes lie elsewhere: in pieces in the
 * attempt's `part`, in one piece in `raw`. */
struct wr_window_event {
  const struct wr_event *ev; /* borrowed: the call */
  struct wr_view *whole;     /* borrowed: the caller's; taken */
  struct wr_span raw;        /* borrowed: the call */
  uint8_t lead;              /* as of the attempt */
  bool joined;               /* ev->data is a copy: it doesn't lie in raw */
};

/* Takes an event: asks the hooks, puts into the log what may go. WR_E_POLICY_ERROR: a guard could
 * not judge it. WR_E_POOL_FULL: nothing is lost, wr_window_flush goes on. WR_E_NOMEM. */
WR_MUST_USE enum wr_err wr_window_take(struct wr_session *s, const struct wr_window_event *event);
/* Puts into the log what may go. WR_E_POOL_FULL: the next call goes on. */
WR_MUST_USE enum wr_err wr_window_flush(struct wr_session *s);
/* The upstream has said all: the last word of every window, and all that waits goes out. Errors as
 * of wr_window_take. Does nothing the second time. */
WR_MUST_USE enum wr_err wr_window_end(struct wr_session *s);
/* Has no content been let go so far? Then the client must not see that the answer has begun: what
 * the hooks say of it may still be an error with a status. win may be NULL: nothing is withheld. */
bool wr_windows_withhold(const struct wr_windows *win);
/* win may be NULL. */
void wr_windows_free(struct wr_windows *win);

struct wr_window_reader;
void wr_window_reader_free(struct wr_window_reader *reader);

#endif

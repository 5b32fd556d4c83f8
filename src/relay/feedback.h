/* feedback.h: what the relay tells upstream/ of its attempts, and by what it lets it choose.
 * Internal to relay/.
 *
 * Each attempt is noted when it is decided (upstream/note.h): `begin` when its peer was picked,
 * then whichever of the others comes; `end` before the attempt goes. */
#ifndef WR_RELAY_FEEDBACK_H
#define WR_RELAY_FEEDBACK_H

#include "base/err.h"
#include "upstream/peer.h"

struct wr_session;
struct wr_head;

/* The next peer for the session's request, but none of `tried` (bit a peer); held. any: the first
 * attempt is at one that should be left alone, if there is no other. NULL: there is none. */
struct wr_peer *wr_session_choose(struct wr_session *s, uint64_t tried, bool any);

void wr_session_note_begin(struct wr_session *s);
/* The answer's head: says something where no content will, or where it is a refusal. */
void wr_session_note_answer(struct wr_session *s, const struct wr_head *h, const char *base);
void wr_session_note_content(struct wr_session *s);
void wr_session_note_failed(struct wr_session *s, enum wr_err err);
void wr_session_note_end(struct wr_session *s);

#endif

#include "relay/feedback.h"

#include "base/check.h"
#include "relay/queue.h"
#include "relay/relay_priv.h"
#include "relay/session.h"
#include "upstream/note.h"

static void tell(struct wr_session *s, enum wr_note what, uint32_t first_token_us,
                 uint64_t retry_after_ms) {
  struct wr_attempt *at = s->at;
  WR_DCHECK(at != NULL && at->magic == WR_ATTEMPT_MAGIC);
  at->noted = (uint8_t)(1u + (unsigned)what);
  wr_peer_note(at->peer, at->epoch, what, first_token_us, retry_after_ms,
               wr_loop_now_ms(s->relay->loop));
  if (what == WR_NOTE_FIRST || what == WR_NOTE_GOOD) wr_queue_hear(s, at->peer);
}

static bool was_noted(const struct wr_attempt *at, enum wr_note what) {
  return at->noted == 1u + (unsigned)what;
}

void wr_session_note_begin(struct wr_session *s) {
  WR_DCHECK(s->at != NULL && s->at->noted == 0);
  s->at->epoch = wr_peer_epoch(s->at->peer);
  s->at->started_us = wr_loop_now_us(s->relay->loop);
}

void wr_session_note_answer(struct wr_session *s, const struct wr_head *h, const char *base) {
  WR_DCHECK(s->at != NULL && h->status >= 200);
  bool busy = h->status == 429 || h->status == 503 || h->status == 529;
  int64_t after_ms = busy ? wr_retry_after_ms(h, base) : 0;
  if (after_ms > 0) tell(s, WR_NOTE_BUSY, 0, (uint64_t)after_ms);
  else if (h->status == 429) return; /* busy, not broken: says nothing */
  else if (h->status >= 500) tell(s, WR_NOTE_FAILED, 0, 0);
  else if (s->mode == WR_MODE_RAW) tell(s, WR_NOTE_GOOD, 0, 0);
}

void wr_session_note_content(struct wr_session *s) {
  WR_DCHECK(s->at != NULL);
  if (s->at->noted) return;
  uint64_t us = wr_loop_now_us(s->relay->loop) - s->at->started_us;
  tell(s, WR_NOTE_FIRST, us < UINT32_MAX ? (uint32_t)us : UINT32_MAX, 0);
}

/* How long an attempt that should have streamed has had no content; 0: none was due. */
static uint32_t so_far_us(const struct wr_session *s) {
  const struct wr_attempt *at = s->at;
  if (at->noted || !at->conn || !s->rq || s->rq->stream != 1) return 0;
  uint64_t us = wr_loop_now_us(s->relay->loop) - at->started_us;
  return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

/* What an error says of the peer. */
static enum wr_note note_of(enum wr_err err) {
  switch (err) {
    case WR_E_RESOLVE:
    case WR_E_CONNECT:
    case WR_E_CONNECT_TIMEOUT:
    case WR_E_TLS:
    case WR_E_TLS_VERIFY:
    case WR_E_TLS_TIMEOUT: return WR_NOTE_CONNECT;
    case WR_E_RESET:
    case WR_E_IO:
    case WR_E_FIRST_BYTE_TIMEOUT:
    case WR_E_FIRST_TOKEN_TIMEOUT:
    case WR_E_IDLE_TIMEOUT:
    case WR_E_UPSTREAM_SYNTAX:
    case WR_E_UPSTREAM_FRAMING:
    case WR_E_UPSTREAM_ERROR:
    case WR_E_TRUNCATED:
    case WR_E_TOO_SLOW:
    case WR_E_EVENT_TOO_LARGE:
    case WR_E_EVENT_SYNTAX:
    case WR_E_ENCODING: return WR_NOTE_FAILED;
    default: return WR_NOTE_NOTHING;
  }
}

void wr_session_note_failed(struct wr_session *s, enum wr_err err) {
  const struct wr_attempt *at = s->at;
  WR_DCHECK(at != NULL);
  if (was_noted(at, WR_NOTE_FAILED) || was_noted(at, WR_NOTE_CONNECT) ||
      was_noted(at, WR_NOTE_BUSY))
    return;
  /* A kept connection that had died meanwhile is nobody's fault. */
  bool stale = at->reused && !at->answered && (err == WR_E_RESET || err == WR_E_IO);
  bool late = err == WR_E_FIRST_BYTE_TIMEOUT || err == WR_E_FIRST_TOKEN_TIMEOUT ||
              err == WR_E_CLIENT_GONE;
  tell(s, stale ? WR_NOTE_NOTHING : note_of(err), late ? so_far_us(s) : 0, 0);
}

void wr_session_note_end(struct wr_session *s) {
  const struct wr_attempt *at = s->at;
  if (!at) return;
  if (s->err == WR_E_UPSTREAM_ERROR) wr_session_note_failed(s, WR_E_UPSTREAM_ERROR);
  if (at->noted) return;
  /* A stream may end well without any content: a refusal, a tool call of no words. */
  bool whole = s->source_done && s->clean && s->err == WR_OK && !s->stopping;
  tell(s, whole ? WR_NOTE_GOOD : WR_NOTE_NOTHING, whole ? 0 : so_far_us(s), 0);
}

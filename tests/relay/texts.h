/* texts.h: whole answers of an upstream, and one exchange with the rig. */
#ifndef TESTS_RELAY_TEXTS_H
#define TESTS_RELAY_TEXTS_H

#include "relay/rig.h"

static char answer_room[96 << 10];

/* Head, one chunk a part, last chunk. */
static inline struct wr_span chunked(const char *const *parts, size_t n) {
  size_t at = (size_t)snprintf(answer_room, sizeof answer_room, "%s", SSE_HEAD);
  for (size_t i = 0; i < n; i++)
    at += (size_t)snprintf(answer_room + at, sizeof answer_room - at, "%zx\r\n%s\r\n",
                           strlen(parts[i]), parts[i]);
  at += (size_t)snprintf(answer_room + at, sizeof answer_room - at, "0\r\n\r\n");
  assert_true(at < sizeof answer_room);
  return wr_span_make(answer_room, at);
}
static inline struct wr_span whole_answer(void) {
  const char *const parts[] = { ROLE, HELLO, STOP, USAGE, DONE };
  return chunked(parts, 5);
}
static inline void answer_with(struct rig *r, struct wr_span answer) {
  r->answer = answer;
  r->answer_bytes = answer.len;
}

static char body[RIG_GOT];

static inline void ask(struct rig *r, const char *text) {
  unsigned before = r->records;
  assert_true(rig_dial(r));
  rig_send(r, text);
  TURN_UNTIL(&r->w, r->records > before);
}

#endif

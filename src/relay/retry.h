/* retry.h: what happens when an attempt fails before the client has got anything: whether there is
 * another one, whom it asks and when. Internal to relay/.
 *
 * A failure is judged once an attempt: by the policy's on_upstream_error where the route has one,
 * else by the rules of the group. What was decided waits in the request for the step RETRY. An
 * attempt that is not to be followed by another keeps its own answer: a status or an error event
 * of the upstream passes on as it came. */
#ifndef WR_RELAY_RETRY_H
#define WR_RELAY_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct wr_conf_upstream;
struct wr_head;
struct wr_peer;
struct wr_session;
struct wr_verdict;

/* Attempts of one request at most, whatever group or policy say. */
#define WR_RETRY_MAX_ATTEMPTS 10u

enum wr_again {
  WR_AGAIN_NO,   /* what failed is what the client gets */
  WR_AGAIN_YES,
  WR_AGAIN_FAIL  /* the client gets what the policy says */
};

/* Why there was another attempt, for the metric: enum wr_retry up to SLOW, then these. */
enum wr_retry_why {
  WR_RETRY_WHY_429 = WR_RETRY_STATUS,
  WR_RETRY_WHY_503,
  WR_RETRY_WHY_STATUS,
  WR_RETRY_WHY_POLICY, /* on_response_start said so */
  WR_RETRY_WHY_STALE,  /* a kept connection was dead */
  WR_RETRY_WHYS
};
const char *wr_retry_why_name(unsigned why);

/* Of one request. */
struct wr_retry_state {
  uint8_t again;          /* enum wr_again: of the attempt that failed */
  uint8_t why;            /* enum wr_retry_why */
  bool stale;             /* the attempt failed on a kept connection that was dead */
  bool invited;           /* the upstream's answer asked for a retry */
  bool rate_over;         /* the window of min_rate has passed */
  uint32_t chars;         /* of content, while it is held for min_rate */
  uint16_t status;        /* of the upstream's answer that was a failure; 0: none */
  uint16_t fail_status;   /* with FAIL; 0: that of the error */
  struct wr_span fail_text; /* borrowed: the request's arena */
  int64_t retry_after_ms; /* as the upstream said; -1: it didn't */
  uint64_t delay_ms;      /* before the next attempt */
  uint64_t busy;          /* bit a peer: asked to be left alone */
  uint64_t refused;       /* bit a peer: of upstreams that don't want the request again */
  uint64_t unreached;     /* bit a peer: addresses that could not be connected to */
  uint64_t busy_until_ms; /* the first of them may be asked again; the loop's clock */
  uint32_t home;          /* the group that the request came to: its budget */
  const struct wr_conf_upstream *at; /* borrowed: the generation's; whose other peers come first;
                                        NULL: nobody's */
};

/* The peers of s->group that may be asked next, as bits. At first all; later those whose turn it is
 * in the list, of those that aren't left alone. 0: nobody is left. *unserved: somebody was left out
 * because of the model. */
uint64_t wr_retry_peers(const struct wr_session *s, bool *unserved);
/* Those beside the peer that is being asked. */
uint64_t wr_retry_others(const struct wr_session *s);
/* Judges the failure of the attempt that runs, once. With WR_E_UPSTREAM_STATUS the state's `status`
 * and `retry_after_ms` have been set. */
enum wr_again wr_retry_judge(struct wr_session *s, enum wr_err err);
/* The answer's head says that the upstream failed: judged. */
enum wr_again wr_retry_judge_head(struct wr_session *s, const struct wr_head *h, const char *base);
/* What an answer's head says about coming back, in seconds, milliseconds or as a date; a day at
 * most; -1: nothing that can be read. */
int64_t wr_retry_after_ms(const struct wr_head *h, const char *base);
/* Is this status one of the upstream's own failures? Others are the request's fault. */
bool wr_retry_is_failure(const struct wr_session *s, const struct wr_head *h, const char *base);
/* The policy wants another group instead of an answer that is about to begin. */
bool wr_retry_fall_back(struct wr_session *s, uint32_t group);
/* Content has come that is held: is it fast enough to be shown? Sets WR_DUE_RATE with the first. */
void wr_retry_count_chars(struct wr_session *s, struct wr_span text);
bool wr_retry_is_fast(const struct wr_session *s);
/* Is there anybody beside the peer that is asked who could go on with its answer, should it break
 * off, and an attempt left for that? */
bool wr_retry_can_go_on(const struct wr_session *s);
/* Is another attempt possible after the one that runs, so that the request must be kept? */
bool wr_retry_may_follow(const struct wr_session *s);

#endif

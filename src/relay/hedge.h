/* hedge.h: a second attempt beside one that is late. Internal to relay/.
 *
 * The session's `at` goes on as ever. The rival, in `hedge`, is only watched: it dials, sends what
 * is held of the request, and lets its answer lie in its connection, read but not taken, until that
 * shows real content. Then it takes the place of `at` by way of the step RETRY and is read from its
 * first byte like any attempt. So nothing of two answers is ever mixed, and a rival costs a
 * connection and at most that connection's credit. It takes over as well when `at` fails. When `at`
 * has content first, the rival's connection is aborted at once.
 *
 * Before the commit point only, once a request, for whole bodies that are held. */
#ifndef WR_RELAY_HEDGE_H
#define WR_RELAY_HEDGE_H

#include <stdbool.h>
#include <stdint.h>

struct wr_hedge;
struct wr_session;

/* How it ended, for the metric. */
enum wr_hedge_end {
  WR_HEDGE_WON,     /* its content came first */
  WR_HEDGE_RESCUED, /* the first attempt failed meanwhile */
  WR_HEDGE_LOST,
  WR_HEDGE_FAILED,  /* by itself, while the first one went on */
  WR_HEDGE_DROPPED, /* the request ended otherwise: its client left */
  WR_HEDGE_ENDS
};
const char *wr_hedge_end_name(unsigned how); /* "won" */
/* Why there was none when it was time. */
enum wr_hedge_not {
  WR_HEDGE_NOT_BUDGET,
  WR_HEDGE_NOT_PRESSURE,
  WR_HEDGE_NOT_BODY,
  WR_HEDGE_NOT_PEER, /* nobody else may be asked, or has room */
  WR_HEDGE_NOTS
};

/* The first attempt begins: sets WR_DUE_HEDGE where the route wants that. */
void wr_hedge_plan(struct wr_session *s);
/* May there be one yet, so that the request must be kept? */
bool wr_hedge_may_follow(const struct wr_session *s);
/* It is time. */
void wr_hedge_begin(struct wr_session *s);
/* The rival's turn; s->hedge is set. True: it has won, and takes over at the step RETRY. */
bool wr_hedge_turn(struct wr_session *s);
/* The rival becomes `at`, which has ended. The session's step is that to go on with (enum
 * wr_step). */
unsigned wr_hedge_take_over(struct wr_session *s);
/* Harmless where there is none. */
void wr_hedge_drop(struct wr_session *s, enum wr_hedge_end how);
/* Content has come to `at`. */
void wr_hedge_content(struct wr_session *s);

#endif

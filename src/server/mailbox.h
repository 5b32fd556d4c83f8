/* mailbox.h: messages from any thread to a loop's thread. For cold paths: drain, stop,
 * snapshots. */
#ifndef WR_SERVER_MAILBOX_H
#define WR_SERVER_MAILBOX_H

#include <pthread.h>

#include "base/list.h"
#include "net/loop.h"

/* The sender owns the memory until `run` is called on the receiver's thread, which then owns it. */
struct wr_letter {
  struct wr_list link;
  void (*run)(struct wr_letter *letter);
};

struct wr_mailbox {
  pthread_mutex_t lock;
  struct wr_list letters;
  struct wr_loop *loop; /* borrowed: outlives the mailbox */
  void (*woken)(void *ctx, struct wr_mailbox *box); /* besides the letters; may be NULL */
  void *woken_ctx; /* borrowed: the owner */
};

/* Takes the loop's wake function. */
void wr_mailbox_init(struct wr_mailbox *box, struct wr_loop *loop);
/* Also called on each wake-up of the loop: for what a signal handler noted. */
void wr_mailbox_on_wake(struct wr_mailbox *box, void (*woken)(void *ctx, struct wr_mailbox *box),
                        void *ctx);
/* Runs what is left, then ends. */
void wr_mailbox_fini(struct wr_mailbox *box);
void wr_mailbox_post(struct wr_mailbox *box, struct wr_letter *letter);

#endif

#include "server/mailbox.h"

#include "base/check.h"

static void open_all(void *ctx) {
  struct wr_mailbox *box = ctx;
  struct wr_list taken;
  wr_list_init(&taken);
  pthread_mutex_lock(&box->lock);
  wr_list_splice(&taken, &box->letters);
  pthread_mutex_unlock(&box->lock);
  struct wr_list *l;
  while ((l = wr_list_pop_front(&taken)) != NULL) {
    struct wr_letter *letter = WR_CONTAINER(l, struct wr_letter, link);
    letter->run(letter);
  }
  if (box->woken) box->woken(box->woken_ctx, box);
}

void wr_mailbox_on_wake(struct wr_mailbox *box, void (*woken)(void *ctx, struct wr_mailbox *box),
                        void *ctx) {
  box->woken = woken;
  box->woken_ctx = ctx;
}

void wr_mailbox_init(struct wr_mailbox *box, struct wr_loop *loop) {
  WR_CHECK(pthread_mutex_init(&box->lock, NULL) == 0);
  wr_list_init(&box->letters);
  box->loop = loop;
  box->woken = NULL;
  wr_loop_on_wake(loop, open_all, box);
}

void wr_mailbox_fini(struct wr_mailbox *box) {
  box->woken = NULL;
  open_all(box);
  WR_CHECK(wr_list_empty(&box->letters));
  pthread_mutex_destroy(&box->lock);
}

void wr_mailbox_post(struct wr_mailbox *box, struct wr_letter *letter) {
  WR_CHECK(letter->run != NULL);
  wr_list_init(&letter->link);
  pthread_mutex_lock(&box->lock);
  wr_list_push_back(&box->letters, &letter->link);
  pthread_mutex_unlock(&box->lock);
  wr_loop_wake(box->loop);
}

/* continue_priv.h: what the files of continue.h share. */
#ifndef WR_RELAY_CONTINUE_PRIV_H
#define WR_RELAY_CONTINUE_PRIV_H

#include "relay/continue.h"
#include "relay/join.h"
#include "relay/relay_priv.h"
#include "relay/session.h"

#define WR_CONTINUE_MAGIC 0xc047u

/* An event of the attempt that goes on, without its text: text that was held goes out in it. */
struct wr_continue_frame {
  struct wr_block *block; /* owned: the name, then the JSON; NULL: none */
  uint32_t name_len, doc_len;
  uint32_t text_off;      /* in the JSON, where the text goes */
};

struct wr_continue {
  uint32_t magic;
  bool off;       /* what came can't be continued */
  bool next;      /* the attempt that comes, or runs, goes on */
  bool joining;   /* it runs: its events are changed */
  bool begun;     /* it has brought content, or an end */
  bool block_open; /* Anthropic: the block that was open at the break waits for its text */
  bool passing_over; /* a block of it is left out */
  uint16_t err;   /* enum wr_err: what broke the stream */
  uint32_t block; /* Anthropic: the block that was open */
  uint32_t blocks; /* Anthropic: how many the client has seen */
  int64_t shift;  /* Anthropic: from the attempt's numbers to the client's */
  int64_t spent;  /* tokens of output that earlier attempts brought */
  struct wr_kept kept;
  struct wr_join join;
  struct wr_continue_frame frame;
  struct wr_windows *win;  /* owned; between two attempts */
  struct wr_viewq message; /* of the request that is sent */
  struct wr_viewq made;    /* events in place of one */
};

/* Nothing is kept from now on. */
void wr_continue_off(struct wr_session *s);

#endif

/* headbuf.h: collects the head of a message from a connection.
 *
 * When the whole head lies in the first piece of input, which is nearly always, it stays where
 * it is and is only pointed at; else its pieces are copied into one block that grows to the
 * limit (copy reason `straddle`). */
#ifndef WR_RELAY_HEADBUF_H
#define WR_RELAY_HEADBUF_H

#include "mem/view.h"
#include "net/conn.h"

struct wr_headbuf {
  struct wr_view head; /* the bytes so far; the whole head once complete */
  size_t resume;       /* of wr_http1_head_end */
};

void wr_headbuf_init(struct wr_headbuf *hb);
void wr_headbuf_fini(struct wr_headbuf *hb);
/* Takes input until the head is complete; what follows it is put back. WR_OK: hb->head is
 * exactly the head. WR_E_AGAIN. HTTP_SYNTAX, HEAD_TOO_LARGE; POOL_FULL: nothing is lost, it may
 * be called again; RESET: something is. skip_crlf: one empty line before the head is skipped
 * (requests). */
WR_MUST_USE enum wr_err wr_headbuf_read(struct wr_headbuf *hb, struct wr_conn *conn,
                                        size_t max_bytes, bool skip_crlf);

#endif

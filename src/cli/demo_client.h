/* demo_client.h: a client for one streamed chat completion, on a loop that its caller turns.
 * Internal to cli/. */
#ifndef WR_CLI_DEMO_CLIENT_H
#define WR_CLI_DEMO_CLIENT_H

#include <stdbool.h>

#include "mem/viewq.h"
#include "net/conn.h"
#include "wire/http1_body.h"
#include "wire/json_scan.h"
#include "wire/sse_parse.h"

struct wr_demo_client {
  struct wr_task task;
  struct wr_loop *loop;  /* borrowed: outlives the client */
  struct wr_conn *conn;  /* owned */
  struct wr_viewq held;  /* bytes of the head, then of the event, that isn't complete */
  size_t resume;
  struct wr_http1_body body;
  struct wr_sse_parser sse;
  struct wr_json_prog prog;
  void (*token)(void *ctx, struct wr_span text); /* each piece of text, as it arrives */
  void *ctx;             /* borrowed: the caller */
  unsigned status;
  unsigned events;
  bool head_done, done, terminated, failed;
};

WR_MUST_USE enum wr_err wr_demo_client_start(struct wr_demo_client *c, struct wr_loop *loop,
                                             const struct wr_addr *addr, struct wr_span model);
void wr_demo_client_end(struct wr_demo_client *c);

#endif

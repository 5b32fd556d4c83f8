/* loop_priv.h: the insides of a loop, for the files of net/ only. */
#ifndef WR_NET_LOOP_PRIV_H
#define WR_NET_LOOP_PRIV_H

#include <stdatomic.h>
#include <uv.h>

#include "net/addr.h"
#include "net/loop.h"
#include "net/wheel.h"

#define WR_LOOP_MAGIC 0x100b100bu
#define WR_LOOP_SCRATCH_BYTES 4096u

struct wr_conn_req;

struct wr_loop {
  uint32_t magic;
  bool in_phase;  /* tasks run */
  bool now_known; /* now_us was read in this turn */
  bool idle_on;   /* the next poll must not wait */
  bool held;      /* the clock moves by wr_loop_advance only */
  bool ending;    /* wr_loop_free runs: no task and no timer is run any more */
  uv_loop_t uv;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle;
  uv_async_t async;
  /* The wheel's: a timer of the kernel's. A wait with a limit would set up one of its own for
   * each event, at a twentieth of what an event costs; this one is set where the wheel's next
   * work moves. */
  uv_poll_t tick;
  int tick_fd;
  uv_timer_t limit; /* of wr_loop_turn */

  struct wr_slabs *slabs; /* borrowed: the worker's, outlives us */
  size_t credit_bytes; /* untaken input of any connection at the most */
  struct wr_rxbuf rx;
  struct wr_rxbuf tx;
  struct wr_rxbuf cipher; /* what TLS connections receive; free again as soon as it is decrypted */

  struct wr_list ready; /* tasks to run in this turn's phase */
  struct wr_list next;  /* tasks that ran in this phase and were marked again */
  uint64_t now_us, now_ms;
  struct wr_wheel wheel;
  uint64_t armed_ms; /* what `tick` waits for; UINT64_MAX: nothing */
  struct wr_loop_stats stats;

  _Atomic bool stop;
  _Atomic bool wake;
  void (*wake_fn)(void *ctx);
  void *wake_ctx; /* borrowed: the worker's, outlives us */

  /* Connections. */
  struct wr_list dying; /* closed by their owners, not yet by us; the oldest first */
  struct wr_timer dying_timer;
  struct wr_list starved; /* wait for pool memory or a request struct */
  struct wr_timer starved_timer;
  struct wr_conn_req *free_reqs; /* owned: chain of request structs to use again */
  unsigned free_req_count;
  uint32_t accepted_open;
  uint32_t accepted_most;        /* 0: no limit */
  uint64_t handshake_turn; /* the turn that handshake_count is of */
  unsigned handshake_count;
  void *spare; /* owned: room for libuv's table of descriptors, when the heap has none */
  size_t spare_bytes;
  int fd_room; /* descriptors below have a place in the table, or in the spare one */
  struct wr_addr peer; /* what wr_conn_peer returned last */
  char scratch[WR_LOOP_SCRATCH_BYTES]; /* plaintext of one record; bytes that nobody wants */
};

/* To be called before libuv hears of a descriptor, on the loop's thread. NOMEM: it must not. */
WR_MUST_USE enum wr_err wr_loop_expect_fd(struct wr_loop *loop, int fd);
/* `tick` became due. In timer.c. */
void wr_loop_tick(uv_poll_t *handle, int status, int events);
/* Connections that wait for memory try again in 10 ms. */
void wr_loop_start_starved(struct wr_loop *loop);
/* Ends what still lingers, at once. In conn.c. */
void wr_loop_end_dying(struct wr_loop *loop);
void wr_loop_dying_due(struct wr_timer *timer);
void wr_loop_starved_due(struct wr_timer *timer);
void wr_loop_free_reqs(struct wr_loop *loop);

#endif

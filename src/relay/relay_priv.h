/* relay_priv.h: what sessions share on one worker. Internal to relay/. */
#ifndef WR_RELAY_RELAY_PRIV_H
#define WR_RELAY_RELAY_PRIV_H

#include "base/rand.h"
#include "relay/dialect.h"
#include "relay/relay.h"
#include "relay/request.h"
#include "wire/head.h"

struct wr_coalescer;
struct wr_continue_reader;
struct wr_window_reader;

struct wr_relay {
  struct wr_loop *loop;           /* borrowed: the worker's */
  struct wr_relay_shared *shared; /* borrowed: the process's */
  struct wr_relay_gen *gen;       /* ref: the current one */
  struct wr_list sessions;
  struct wr_list woken;           /* waiters that another worker gave a place; the queues' lock */
  uint32_t count;
  bool draining;
  bool drained;
  struct wr_timer drain_timer;
  void (*record)(void *ctx, const struct wr_record *record);
  void *record_ctx;               /* borrowed: the worker */
  void (*drained_fn)(void *ctx);
  void (*pressed)(void *ctx, const struct wr_relay_change *change);
  struct wr_degrade degrade;
  struct wr_relay_stats stats;
  struct wr_dialects dialects;
  struct wr_json_prog request_prog;
  struct wr_json_prog identity_prog; /* of an answer, from its first event */
  struct wr_json_prog text_prog;  /* of the upstream below */
  const struct wr_conf_upstream *text_prog_of; /* borrowed: a generation's; only compared */
  struct wr_rand rand;            /* of the waits between attempts */
  struct wr_head head;            /* scratch: the head that is being parsed or written from */
  const struct wr_request *head_of; /* borrowed: whose head that is; only compared */
  struct wr_window_reader *window_reader; /* owned; NULL until a route wants text */
  struct wr_continue_reader *continue_reader; /* owned; NULL until a stream is continued */
  struct wr_coalescer *coalescer; /* owned; NULL until a client is slow */
  bool coalesce_all;              /* the pressure ladder wants what waits to be joined */
  char *scratch; /* owned: for an event in one piece, and for what weir writes itself */
  size_t scratch_bytes;
};

#define WR_RELAY_COUNT(relay, field, n)                                                            \
  atomic_store_explicit(&(relay)->stats.field,                                                     \
                        atomic_load_explicit(&(relay)->stats.field, memory_order_relaxed) +        \
                            (uint64_t)(n),                                                         \
                        memory_order_relaxed)

/* Scratch of at least this size; NULL when memory is short. Valid until the next call. */
char *wr_relay_scratch(struct wr_relay *relay, size_t bytes);
/* What a refusal says when to come back: after so long, at least a second and at most twenty, and
 * up to half as long again by chance, so that who was refused together doesn't come together. */
uint32_t wr_relay_wait_ms(struct wr_relay *relay, uint64_t expected_ms);
struct wr_relay_gen *wr_relay_gen_ref(struct wr_relay_gen *gen);
void wr_relay_gen_unref(struct wr_relay_gen *gen);
/* Where things are counted in wr_relay_shared: the same for all generations. */
uint32_t wr_relay_upstream_number(const struct wr_relay_gen *gen,
                                  const struct wr_conf_upstream *up);
uint32_t wr_relay_key_number(const struct wr_relay_gen *gen, const struct wr_conf_key *key);
/* NULL: the generation doesn't have the listener any more. */
const struct wr_conf_listen *wr_relay_listen(const struct wr_relay_gen *gen, uint32_t number);
/* A session has left. */
void wr_relay_left(struct wr_relay *relay);

#endif

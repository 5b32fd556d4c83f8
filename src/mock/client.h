/* client.h: one connection of the stand-in server and the request that it carries.
 *
 * client.c runs the states, client_read.c takes requests in, client_reply.c answers them,
 * client_stream.c writes streams with their pace and faults, client_send.c puts bytes into the
 * connection.
 *
 * A client belongs to the mock's list from accept until wr_mock_client_end. Its exchange lives from
 * the head of a request to the last byte of its answer, so an idle client is small. Nothing is
 * written while bytes are pending: whoever produces asks first. Private to mock. Loop thread only.
 */
#ifndef WR_MOCK_CLIENT_H
#define WR_MOCK_CLIENT_H

#include "base/list.h"
#include "base/rand.h"
#include "mock/answer.h"
#include "mock/mock.h"
#include "mock/prefill.h"
#include "mock/replay.h"
#include "mock/route.h"
#include "net/conn.h"
#include "net/timer.h"
#include "wire/head.h"
#include "wire/http1_body.h"
#include "wire/json_stream.h"

#define WR_MOCK_MAGIC 0x30c430c4u
#define WR_MOCK_CLIENT_MAGIC 0x30c4c11eu
#define WR_MOCK_BODY_MAX_BYTES (64u * 1024 * 1024)
#define WR_MOCK_KEPT_BODY_MAX_BYTES (1024u * 1024)
/* Unsent bytes above which a stream waits for its reader. */
#define WR_MOCK_HIGH_BYTES 65536u

struct wr_mock {
  uint32_t magic;
  struct wr_loop *loop; /* borrowed: outlives us */
  struct wr_mock_options options;
  struct wr_mock_counters counters;
  struct wr_mock_recordings recordings;
  const struct wr_mock_recording *replay; /* borrowed: of recordings; or NULL */
  struct wr_list clients;
  struct wr_rand rand;
  uint64_t faults_given; /* of the default fault */
  char *scratch;         /* owned: where one unit of output is put together */
  size_t scratch_cap;
  struct wr_json_prog prog; /* of request bodies */
  struct wr_head head;      /* the head that is being read */
};

enum wr_mock_state {
  WR_MOCK_ACCEPTED, /* left alone for accept_delay_ms */
  WR_MOCK_HEAD,
  WR_MOCK_BODY,
  WR_MOCK_DELAY, /* the answer begins when the timer fires */
  WR_MOCK_STREAM,
  WR_MOCK_FLUSH, /* everything is produced; then what `after` says */
  WR_MOCK_HOLD   /* until the client goes */
};

enum wr_mock_after {
  WR_MOCK_AFTER_KEEP,
  WR_MOCK_AFTER_CLOSE,
  WR_MOCK_AFTER_ABORT,
  WR_MOCK_AFTER_HOLD
};

/* While a body is read. */
struct wr_mock_intake {
  struct wr_http1_body body;
  struct wr_json_stream json;
  struct wr_mock_prefill prefill;
  enum wr_err json_err;
  char *kept; /* owned: the body itself, where one needs it (embeddings); or NULL */
  size_t kept_len;
  size_t kept_cap;
};

struct wr_mock_exchange {
  struct wr_mock_knobs knobs;
  struct wr_mock_route route;
  struct wr_mock_answer answer;
  struct wr_mock_intake *intake;          /* owned: until the answer begins */
  const struct wr_mock_recording *replay; /* borrowed: the mock's; or NULL */
  uint64_t id;
  uint64_t started_us;
  uint64_t due_us; /* when the next token may leave */
  uint32_t events; /* written */
  uint16_t refuse; /* status to refuse with, or 0 */
  uint16_t status; /* answered */
  bool keep;       /* the connection goes on after the answer */
  bool head_only;  /* HEAD */
  bool old;        /* HTTP/1.0: no chunks */
  bool expects;    /* 100-continue is due */
  bool has_origin;
  bool delayed; /* the delay before the head is over */
  bool raw;     /* the body has no chunk framing */
  bool streams; /* counted as a stream */
  bool fired;   /* the fault has happened */
  bool head_sent;
  char path[48]; /* for the log; cut off */
  char why[128]; /* of refuse */
};

struct wr_mock_client {
  uint32_t magic;
  uint8_t state;       /* enum wr_mock_state */
  uint8_t after;       /* enum wr_mock_after */
  uint8_t waits;       /* ms that the end has waited for bytes to arrive */
  bool on_timer;       /* a stream waits for the clock, not for its reader */
  uint32_t budget;     /* writes that this turn may still do */
  uint32_t split_left; /* bytes that leave one a write (split-head) */
  struct wr_list link;
  struct wr_task task;
  struct wr_timer timer;
  struct wr_mock *mock;              /* borrowed: outlives its clients */
  struct wr_conn *conn;              /* owned */
  struct wr_mock_exchange *exchange; /* owned; or NULL between requests */
  char *pending;                     /* owned: bytes that wait for room; or NULL */
  size_t pending_off, pending_len;
  char *head; /* owned: a head that came in pieces; or NULL */
  size_t head_len;
  size_t head_resume;
};

/* What a step of a client's turn came to. */
enum wr_mock_turn {
  WR_MOCK_TURN_MORE, /* go on */
  WR_MOCK_TURN_WAIT, /* until something happens to the connection or the timer */
  WR_MOCK_TURN_GONE  /* the client is no more: don't touch it */
};

/* client.c */
void wr_mock_client_accept(struct wr_mock *mock, struct wr_conn *take_conn);
/* Ends the connection, by a reset or in good order. The client is freed. */
void wr_mock_client_end(struct wr_mock_client *c, bool abort);

/* client_read.c */
enum wr_mock_turn wr_mock_client_read_head(struct wr_mock_client *c);
enum wr_mock_turn wr_mock_client_read_body(struct wr_mock_client *c);
void wr_mock_exchange_free(struct wr_mock_exchange *x);

/* client_reply.c: begins the answer; the state is another one afterwards, or the client is gone. */
enum wr_mock_turn wr_mock_client_reply(struct wr_mock_client *c);

/* reply_head.c: the head of an answer. */
enum wr_mock_framing_said {
  WR_MOCK_SAYS_LENGTH,
  WR_MOCK_SAYS_CHUNKED,
  WR_MOCK_SAYS_NOTHING, /* the end of the connection ends the body */
  WR_MOCK_SAYS_BOTH     /* a lie: chunks and a length */
};
void wr_mock_reply_head(const struct wr_mock_exchange *x, unsigned status, const char *content_type,
                        enum wr_mock_framing_said says, uint64_t body_bytes, struct wr_buf *out);

/* plain.c: bodies that aren't an answer of a model. Returns the content type. */
const char *wr_mock_plain_body(const struct wr_mock_exchange *x, struct wr_buf *out);
/* Why the embeddings can't be made, or NULL. */
const char *wr_mock_embeddings_check(const struct wr_mock_exchange *x);

/* client_stream.c */
enum wr_mock_turn wr_mock_client_stream(struct wr_mock_client *c);
/* Begins the stream: the head, and the state in which the rest follows. */
enum wr_mock_turn wr_mock_client_stream_begin(struct wr_mock_client *c);

/* client_send.c: sends what it can; the rest becomes pending. bytes may be the mock's scratch.
 * False: the connection failed or memory is short; the caller ends the client. Nothing may be
 * pending. */
WR_MUST_USE bool wr_mock_client_send(struct wr_mock_client *c, struct wr_span bytes);
/* Goes on with what is pending; true when nothing is left. *ok as above. */
WR_MUST_USE bool wr_mock_client_drain(struct wr_mock_client *c, bool *ok);
/* Makes the scratch at least twice as large, keeping what it holds; false: it may not grow further.
 */
WR_MUST_USE bool wr_mock_scratch_grow(struct wr_mock *mock);

#endif

/* mock.h: a stand-in LLM server on a worker's loop: OpenAI chat and Responses, Anthropic Messages,
 * Ollama, embeddings.
 *
 * `weir mock`, `weir demo` and upstreams of kind "mock" are this. It answers with generated or
 * recorded streams, at a chosen pace, and misbehaves on request (mock/fault.h). It owns the
 * connections that it accepts. Everything runs on the loop's thread; wr_mock_free before
 * wr_loop_free, and turn the loop once between them so that closed connections go. To add an
 * option: a field here, a row in options.c, a line in docs/mock.md. To add a dialect: answer.h. */
#ifndef WR_MOCK_MOCK_H
#define WR_MOCK_MOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "mock/fault.h"
#include "net/conn.h"
#include "net/loop.h"

enum wr_mock_line_end { WR_MOCK_LF, WR_MOCK_CRLF, WR_MOCK_CR };
/* Of streamed answers; others have a content-length. CLOSE: the end of the connection ends the
 * body. */
enum wr_mock_framing { WR_MOCK_CHUNKED, WR_MOCK_UNTIL_CLOSE };

/* What one request may choose for itself by headers. */
struct wr_mock_knobs {
  uint64_t seed;           /* of the text; the same seed gives the same bytes, ids aside */
  uint32_t tokens;         /* length of the answer, 0 .. 1,000,000 */
  uint32_t reasoning;      /* tokens of reasoning before the answer, 0: none */
  uint32_t rate;           /* tokens a second, 0: as fast as the reader takes them */
  uint32_t first_token_ms; /* from the head (and the events of the start) to the first token */
  uint32_t write_bytes; /* 0: a write per batch of events; n: writes of n bytes, framing included */
  uint32_t batch_events; /* events that leave in one write and one chunk, 1 .. 1024 */
  uint32_t
      jitter_permille; /* how much a pause between tokens differs from the average, 0 .. 1000 */
  uint32_t stamp;      /* 0: none; else each event carries a stamp with this tag (mock/stamp.h) */
  uint8_t line_end;    /* enum wr_mock_line_end, of SSE lines */
  uint8_t framing;     /* enum wr_mock_framing */
  bool numbered;       /* the text is "t0 t1 t2 ..." */
  bool tool;           /* answer with a call of the request's first tool */
  bool echo;           /* an answer that goes on says what the client has once more */
  struct wr_mock_fault fault;
};

#define WR_MOCK_PATH_BYTES 512
#define WR_MOCK_KEY_BYTES 256

/* Plain data: copied by assignment, nothing to free. Strings are NUL-terminated, empty: not set. */
struct wr_mock_options {
  struct wr_mock_knobs knobs;
  uint32_t accept_delay_ms; /* a new connection is not read for so long */
  uint32_t fault_share_permille; /* share of the requests that get the default fault; 1000: all */
  uint32_t fault_first;          /* only so many requests get the default fault; 0: no such limit */
  bool log;                      /* a line a request to standard error */
  char replay[WR_MOCK_PATH_BYTES];     /* file with one event's payload a line, for every stream */
  char replay_dir[WR_MOCK_PATH_BYTES]; /* where the header x-mock-replay: NAME looks */
  char key[WR_MOCK_KEY_BYTES];         /* the API key that a request must show; never printed */
};

/* Where an option comes from decides which ones are taken. */
enum wr_mock_source {
  WR_MOCK_FROM_OPERATOR, /* the command line or conf.lua: all */
  WR_MOCK_FROM_REQUEST   /* a header x-mock-NAME: the knobs */
};

void wr_mock_options_init(struct wr_mock_options *opts);
/* One table for `--first-token-ms 20`, `x-mock-first-token-ms: 20` and `mock = { first_token_ms =
 * 20 }`: key is the name without its prefix, in any case, "-" and "_" are the same. An empty value
 * of a yes/no option means yes. WR_E_ARG: no such option (or not from there); WR_E_TEXT_*: a bad
 * value. why: one sentence for people. */
WR_MUST_USE enum wr_err wr_mock_options_set(struct wr_mock_options *opts,
                                            enum wr_mock_source source, struct wr_span key,
                                            struct wr_span value, char *why, size_t why_bytes);
/* The table, for help texts: false behind the last row. yes_no: needs no value. All strings are
 * static. */
struct wr_mock_option_info {
  const char *name;  /* borrowed: static; with "-" */
  const char *value; /* borrowed: static */
  const char *help;  /* borrowed: static */
  bool yes_no;
  bool per_request;
};
bool wr_mock_options_info(size_t index, struct wr_mock_option_info *out);

struct wr_mock;

struct wr_mock_counters {
  uint64_t connections;
  uint64_t requests;  /* answered or not */
  uint64_t streams;   /* of them, streamed answers begun */
  uint64_t completed; /* streams written to their end as they should be */
  uint64_t cancelled; /* answers that the client left */
  uint64_t events;
  uint64_t faults;           /* requests that met one */
  uint64_t open_connections; /* now */
  uint64_t open_streams;     /* now */
};

/* options is copied; the replay file is read now. CONFIG (with why: a replay that can't be used),
 * NOMEM, IO. */
WR_MUST_USE enum wr_err wr_mock_new(struct wr_loop *loop, const struct wr_mock_options *options,
                                    struct wr_mock **out, char *why, size_t why_bytes);
/* Aborts what is open. */
void wr_mock_free(struct wr_mock *mock);
/* A wr_listen_fn (net/listen.h): ctx is the struct wr_mock. TLS is the listener's. */
void wr_mock_accept(void *mock, struct wr_conn *take_conn);
const struct wr_mock_counters *wr_mock_counters(const struct wr_mock *mock);

#endif

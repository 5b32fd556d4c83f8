/* conf.h: one checked configuration as plain data.
 *
 * Made by policy/load from conf.lua on the master thread, then read-only: every worker of a
 * generation shares it. All of it lives in one conf arena (strings included) and is freed whole by
 * wr_conf_free. Times in milliseconds (0: none), sizes in bytes, unless the name says otherwise.
 * `line` is the line of conf.lua that declared the thing. */
#ifndef WR_CONF_CONF_H
#define WR_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "conf/ladder.h"
#include "conf/secret.h"

/* How one of several is chosen: of an upstream's peers, of a group's members. */
enum wr_balance {
  WR_BALANCE_ROUND_ROBIN,
  WR_BALANCE_WEIGHTED,
  WR_BALANCE_LEAST_STREAMS,
  WR_BALANCE_FIRST_TOKEN, /* two choices, by the average time to the first token */
  WR_BALANCE_HASH,
  WR_BALANCE_RANDOM,
  WR_BALANCES
};

/* What balance "hash" keeps together. */
enum wr_hash_by { WR_HASH_KEY, WR_HASH_SESSION, WR_HASH_PROMPT };
struct wr_conf_hash {
  enum wr_hash_by by;
  const char *header;    /* borrowed: conf arena; by session: the field that names it */
  uint32_t prompt_bytes; /* by prompt: of the beginning of the messages */
};

/* When a peer is left alone because it fails. */
struct wr_conf_breaker {
  uint32_t failures;      /* in a row; 0: no reason */
  uint32_t rate_permille; /* of the window's results; 0: no reason */
  uint32_t least;         /* results before the rate counts */
  uint32_t window_ms;
  uint32_t open_ms;       /* at first; doubles up to open_max_ms */
  uint32_t open_max_ms;
  uint32_t slow_ms;        /* a first token later than this is a failure; 0: never */
  uint32_t busy_max_ms;    /* how long a retry-after is heeded; 0: not at all */
  uint32_t floor_permille; /* of a group's peers, which stay in use whatever they do */
};

/* Active checks; path NULL: none. */
struct wr_conf_health {
  const char *path; /* borrowed: conf arena */
  uint32_t every_ms, timeout_ms;
  uint32_t rise, fall;
};

/* Of an upstream. */
enum wr_kind {
  WR_KIND_OPENAI,            /* chat and Responses */
  WR_KIND_OPENAI_COMPATIBLE, /* chat as vLLM, llama.cpp and others speak it */
  WR_KIND_ANTHROPIC,
  WR_KIND_OLLAMA,
  WR_KIND_SSE,  /* any event stream: framing only */
  WR_KIND_MOCK, /* weir's own stand-in, in this process */
  WR_KINDS
};
const char *wr_kind_name(enum wr_kind kind); /* "openai-compatible" … */

/* File names; NULL: none. */
struct wr_conf_tls {
  const char *cert; /* borrowed: conf arena, like every pointer of this file */
  const char *key;  /* borrowed: conf arena */
  const char *ca; /* borrowed: conf arena; bundle to verify the other side with; NULL: the system's,
                     for upstreams */
  const char *server_name; /* borrowed: conf arena; upstream: overrides the URL's host for SNI and
                              verification */
  bool verify;             /* upstream: default true; listener: a client certificate is required */
};

struct wr_conf_listen {
  const char *address;           /* borrowed: conf arena; as net/addr.h reads it */
  const struct wr_conf_tls *tls; /* borrowed: conf arena; NULL: plain */
  uint32_t max_streams;          /* over all workers; 0: no limit of its own */
  uint32_t streams_per_address;  /* as above */
  uint32_t requests_per_second;  /* as above */
  uint32_t requests_per_second_per_address; /* as above */
  int line;
};

struct wr_conf_url {
  const char *text;      /* borrowed: conf arena; as written */
  const char *host;      /* borrowed: conf arena; name or literal without brackets */
  const char *authority; /* borrowed: conf arena; what the Host field says */
  const char *base_path; /* borrowed: conf arena; "" or "/prefix" without a trailing slash */
  uint16_t port;
  bool tls;
};

struct wr_conf_model {
  const char *client;   /* borrowed: conf arena; "*" matches any */
  const char *provider; /* borrowed: conf arena */
};

/* Dollars per million tokens. */
struct wr_conf_price {
  const char *model; /* borrowed: conf arena; the client's name for it */
  double input, output;
};

struct wr_conf_header {
  const char *name;  /* borrowed: conf arena; checked */
  const char *value; /* borrowed: conf arena; checked */
};

/* Deadlines of one request. Defaults suit reasoning models. */
struct wr_conf_timeouts {
  uint32_t connect_ms;     /* 5 s */
  uint32_t tls_ms;         /* 5 s */
  uint32_t first_byte_ms;  /* 120 s: the response head */
  uint32_t first_token_ms; /* 300 s: the first real content */
  uint32_t idle_ms;        /* 120 s between events; comments and pings don't count */
  uint32_t total_ms;       /* 0: none */
};

/* Requests that wait for room at an upstream with a limit. */
#define WR_CONF_QUEUE_CLASSES 8u
struct wr_conf_queue {
  uint32_t length; /* 0: nobody waits */
  uint32_t wait_ms;
  const char *const *classes; /* borrowed: conf arena; of keys, the first ones first; "": none */
  size_t class_count;
};

/* How a server is asked to go on with an answer that somebody else has begun: a last message of the
 * assistant, with what it needs beside that. */
enum wr_prefill {
  WR_PREFILL_NONE,
  WR_PREFILL_ASSISTANT, /* the message is enough */
  WR_PREFILL_PREFIX,    /* "prefix": true in the message */
  WR_PREFILL_VLLM       /* "continue_final_message": true, "add_generation_prompt": false */
};

struct wr_conf_upstream {
  const char *name; /* borrowed: conf arena */
  enum wr_kind kind;
  const struct wr_conf_url *urls; /* borrowed: conf arena; each is a peer */
  size_t url_count;
  struct wr_secret key;               /* empty: the client's own credentials pass through */
  const struct wr_conf_model *models; /* borrowed: conf arena; empty: any model, unchanged */
  size_t model_count;
  const struct wr_conf_price *prices; /* borrowed: conf arena */
  size_t price_count;
  const struct wr_conf_header *headers; /* borrowed: conf arena; added to each request */
  size_t header_count;
  struct wr_conf_timeouts timeout;
  struct wr_conf_tls tls; /* used by https URLs */
  uint32_t keep_idle;     /* idle connections a worker keeps; default 32 */
  uint32_t keep_idle_ms;  /* default 60 s */
  uint32_t max_streams;   /* limit = { n }; 0: none; adaptive: the most that it may become */
  struct wr_conf_queue queue; /* of the group of its own */
  uint32_t limit_min;     /* limit = { "adaptive", min =, max = }; 0: it isn't */
  enum wr_balance balance;
  struct wr_conf_hash hash;
  const uint32_t *weights; /* borrowed: conf arena; one a URL, then a 0; NULL: all 1 */
  struct wr_conf_breaker breaker;
  struct wr_conf_health health;
  const struct wr_conf_header *mock; /* borrowed: conf arena; in the words of mock/mock.h */
  size_t mock_count;
  const char *text_path; /* borrowed: conf arena; kind sse: an event's text; NULL: nowhere */
  enum wr_prefill prefill;
  bool prefill_echo; /* it says again what it was given */
  int line;
};

/* Failures that are tried again: bit 1 << enum wr_retry of base/err.h up to SLOW, and these. */
enum wr_retry_on {
  WR_RETRY_ON_429 = 1u << WR_RETRY_STATUS,
  WR_RETRY_ON_503 = 2u << WR_RETRY_STATUS, /* and 529, which is Anthropic's word for it */
  WR_RETRY_ON_5XX = 4u << WR_RETRY_STATUS,
  /* The upstream didn't do it, or says so itself; SLOW is asked for by the route. */
  WR_RETRY_ON_DEFAULT = 1u << WR_RETRY_CONNECT | 1u << WR_RETRY_TLS | 1u << WR_RETRY_ERROR |
                        1u << WR_RETRY_SLOW | WR_RETRY_ON_429 | WR_RETRY_ON_503
};

/* Every upstream is also a group of its own, of the same name; groups come after those. */
struct wr_conf_group {
  const char *name;        /* borrowed: conf arena */
  const uint32_t *members; /* borrowed: conf arena; indexes of upstreams, in order; `last` of the
                              declaration stands last */
  size_t member_count;
  uint32_t attempts; /* 1: no second attempt */
  uint32_t retry_on; /* enum wr_retry_on */
  uint32_t backoff_ms;             /* before the second attempt at most; doubles; 100 ms */
  uint32_t retry_budget_permille;  /* requests that are sent again, of all; 200 */
  struct wr_conf_queue queue;
  bool again; /* declared: who has failed may be asked once more when all have been asked */
  enum wr_balance balance;
  struct wr_conf_hash hash;
  const uint32_t *weights; /* borrowed: conf arena; one a member, then a 0; NULL: all 1 */
  const char *last; /* borrowed: conf arena; NULL: none; already among the members */
  int line;
};

enum wr_commit { WR_COMMIT_CONTENT, WR_COMMIT_ALIVE };
enum wr_slow_action { WR_SLOW_PAUSE, WR_SLOW_COALESCE, WR_SLOW_STOP };

/* Which hooks a route runs; a bit that is not set costs nothing. */
enum wr_hook_bit {
  WR_HOOK_REQUEST = 1u << 0,
  WR_HOOK_RESPONSE_START = 1u << 1,
  WR_HOOK_EVENT = 1u << 2,
  WR_HOOK_TEXT = 1u << 3,
  WR_HOOK_SLOW_CLIENT = 1u << 4,
  WR_HOOK_UPSTREAM_ERROR = 1u << 5,
  WR_HOOK_END = 1u << 6,
  WR_HOOK_PRESSURE = 1u << 7 /* of the configuration, not of a route */
};
#define WR_HOOKS 8
/* "on_request", by the place of its bit (0 .. WR_HOOKS - 1). */
const char *wr_hook_word(unsigned place);

/* What a text hook wants to see. */
enum wr_text_need { WR_TEXT_TEXT = 1u << 0, WR_TEXT_REASONING = 1u << 1, WR_TEXT_TOOL = 1u << 2 };

/* One on_text of a route; its place among them is the `stage` of relay/hooks.h. */
struct wr_conf_text {
  uint32_t needs;      /* enum wr_text_need */
  uint32_t hold_bytes; /* of text that a hook may keep back; default 256 */
  bool guard;          /* what can't be judged ends the stream */
};
#define WR_CONF_TEXTS 8

/* A second attempt beside one that is late. */
struct wr_conf_hedge {
  bool on;
  uint32_t after_ms;     /* 0: the 95th percentile of the route's times to first content */
  uint32_t max_permille; /* of the requests */
};

struct wr_conf_route {
  const char *name; /* borrowed: conf arena */
  const char *path; /* borrowed: conf arena; exact, or a prefix when it ends in "*" */
  const char *host; /* borrowed: conf arena; NULL: any */
  uint32_t methods; /* bit 1 << enum wr_method of wire/head.h; 0: any */
  uint32_t to;      /* index of a group */
  uint32_t hooks;   /* enum wr_hook_bit */
  uint32_t guards;  /* those of them that a guard has */
  /* By the place of the bit: "budget(Lua) cost(Lua)", in the order they run; NULL: none. */
  const char *hook_names[WR_HOOKS]; /* borrowed: conf arena */
  const struct wr_conf_text *texts; /* borrowed: conf arena; in the order they run */
  uint32_t text_count;              /* at most WR_CONF_TEXTS */
  uint64_t body_bytes;     /* limits.body; default 32 MiB */
  uint32_t inspect_bytes; /* how much of a body is held until its model is known; default 1 MiB */
  uint32_t event_bytes;   /* one event at most; default 1 MiB */
  uint32_t body_timeout_ms; /* 60 s without any byte of the body */
  uint32_t body_deadline_ms; /* 10 min for all of the body; 0: none */
  uint32_t output_tokens;   /* cap on max_tokens; 0: none */
  uint32_t streams_per_key; /* 0: none */
  uint32_t streams_per_address; /* 0: none */
  uint32_t requests_per_second_per_key, requests_per_second_per_address; /* 0: none */
  uint32_t heartbeat_ms;    /* 15 s; 0: none */
  enum wr_commit commit;
  uint32_t min_rate_chars;     /* a second, before the commit point; 0: none */
  uint32_t min_rate_window_ms; /* from the first content; 5 s */
  struct wr_conf_hedge hedge;
  bool continues;            /* after the commit point too, another upstream may go on */
  uint32_t continue_bytes;   /* of an answer's text that are kept for that; default 256 KiB */
  uint32_t held_bytes; /* lifecycle frames held before the commit point; default 64 KiB */
  enum wr_slow_action slow_action;
  uint32_t slow_high_bytes;        /* 2 KiB */
  uint32_t slow_low_bytes;         /* 512 B */
  uint32_t slow_max_bytes; /* that wait while the upstream is read on; default 4 * high, at least
                              32 KiB */
  uint32_t slow_drop;      /* bits of enum wr_event_kind: what a slow client may go without */
  uint32_t slow_give_up_ms;        /* 30 s above high without progress; 0: never */
  bool open;                       /* no key is asked for, even where weir.keys is declared */
  bool keys_required;              /* weir.keys is declared and the route isn't `open` */
  bool show_degraded;              /* answers say which step of the ladders they were made on */
  struct wr_conf_timeouts timeout; /* fields that are 0 defer to the upstream's; total_ms too */
  int line;
};

struct wr_conf_key {
  const char *name;       /* borrowed: conf arena */
  const char *class_name; /* borrowed: conf arena; "" when none */
  const char *const *tags; /* borrowed: conf arena */
  size_t tag_count;
  const char *sha256_hex; /* borrowed: conf arena; as written */
  uint8_t sha256[32];
};

enum wr_log_format { WR_LOG_JSON, WR_LOG_LOGFMT };

struct wr_conf_server {
  uint32_t workers;      /* 0: one a core */
  uint64_t memory_bytes; /* 64 MiB */
  const char *admin;     /* borrowed: conf arena; "127.0.0.1:9901", "unix:…", NULL: none */
  const char *log; /* borrowed: conf arena; file name, "stderr", "stdout", "off" */
  enum wr_log_format log_format;
  uint32_t drain_ms;       /* 10 min */
  uint32_t head_timeout_ms; /* from the first byte of a request to the end of its head: 10 s */
  uint32_t client_idle_ms; /* a kept-alive client between requests: 75 s */
  uint32_t max_streams;    /* over all workers; 0: as memory allows */
  uint64_t slow_bytes;     /* that may wait beyond the marks of all slow clients; 0: memory / 4 */
  uint32_t sample_ms;      /* between two looks at the meters: 250 ms */
  uint64_t process_bytes;  /* that the process may have; 0: what the cgroup or the machine says */
};

struct wr_conf_lua {
  const char *path;        /* borrowed: conf arena; "policies/?.lua", relative to conf.lua */
  uint64_t memory_bytes;   /* a worker: 16 MiB */
  uint32_t instructions;   /* a call: 100000 */
  uint32_t retained_bytes; /* a stream: 64 KiB */
};

struct wr_conf {
  const char *file; /* borrowed: conf arena */
  struct wr_conf_server server;
  struct wr_conf_lua lua;
  const struct wr_conf_listen *listens; /* borrowed: conf arena */
  size_t listen_count;
  const struct wr_conf_upstream *upstreams; /* borrowed: conf arena */
  size_t upstream_count;
  const struct wr_conf_group *groups; /* borrowed: conf arena */
  size_t group_count;
  const struct wr_conf_route *routes; /* borrowed: conf arena; the first that matches serves */
  size_t route_count;
  const struct wr_conf_key *keys; /* borrowed: conf arena */
  size_t key_count;
  uint32_t timer_count; /* of weir.every */
  struct wr_conf_ladder ladders[WR_METERS];
  bool keys_declared;
  const char *keys_file; /* borrowed: conf arena; NULL: inline, or none */
  uint32_t hooks;        /* enum wr_hook_bit, of weir.use; those that have no route */
  const char *pressure_hooks; /* borrowed: conf arena; as a route's names; NULL: none */
  void *arena;           /* owned: all of the above */
};

void wr_conf_free(struct wr_conf *conf);
/* The group of a name (upstreams' names are groups too), or UINT32_MAX. */
uint32_t wr_conf_group_find(const struct wr_conf *conf, struct wr_span name);
/* The index of an upstream, or UINT32_MAX. */
uint32_t wr_conf_upstream_find(const struct wr_conf *conf, struct wr_span name);
/* What so many tokens of a model (the client's name) cost there, in dollars; 0 where no price is
 * declared. False: the upstream doesn't have the model, or its price is not known. */
bool wr_conf_price(const struct wr_conf_upstream *up, struct wr_span model, double input,
                   double output, double *dollars);

#endif

/* answer.h: one answer as a list of events, generated on the fly or read from a recording.
 *
 * An answer is plain data with a cursor: copying it copies the place. Each dialect is a table of
 * steps (dialect_*.c); the engine in answer.c walks it. To add a dialect: a value here, a file with
 * a table, a row in answer.c and routes in route.c. Private to mock. One thread. */
#ifndef WR_MOCK_ANSWER_H
#define WR_MOCK_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "mock/mock.h"
#include "mock/text.h"

enum wr_mock_dialect {
  WR_MOCK_CHAT,
  WR_MOCK_RESPONSES,
  WR_MOCK_MESSAGES,
  WR_MOCK_OLLAMA_CHAT,
  WR_MOCK_OLLAMA_GENERATE,
  WR_MOCK_DIALECTS
};

#define WR_MOCK_MODEL_BYTES 128
#define WR_MOCK_TOOL_BYTES 72
#define WR_MOCK_CHOICES 4

/* What the request asked for. Names are NUL-terminated UTF-8. */
struct wr_mock_ask {
  char model[WR_MOCK_MODEL_BYTES]; /* empty: none was named */
  char tool[WR_MOCK_TOOL_BYTES]; /* the request's tool to call, or its first; empty: it has none */
  uint64_t body_bytes;
  uint64_t max_tokens; /* 0: no limit was named */
  uint32_t prefill_bytes; /* of the text of the first choice, that the client has already */
  uint8_t dialect;     /* enum wr_mock_dialect */
  uint8_t choices;     /* 1 .. WR_MOCK_CHOICES */
  bool stream;
  bool include_usage;
  bool must_call; /* the request wants a tool call, whatever the options say */
  bool thinking;  /* the request wants reasoning */
};

struct wr_mock_recording;

struct wr_mock_answer {
  struct wr_mock_ask ask;
  const struct wr_mock_recording
      *replay; /* borrowed: the mock keeps recordings until it ends; or NULL */
  size_t replay_off;
  struct wr_mock_text texts[WR_MOCK_CHOICES]; /* of the token steps under way, one a choice */
  uint64_t seed;
  uint64_t id;        /* unlike any other answer's */
  uint64_t created_s; /* Unix time */
  uint32_t tokens;    /* of the answer's text; in a tool call: what usage says */
  uint32_t given;     /* tokens of the text in front of these, that the client has */
  uint8_t given_bytes; /* and so much of the next */
  uint32_t reasoning; /* tokens of it, may be 0 */
  uint32_t sequence;  /* events so far */
  uint32_t index;     /* repetitions of the step so far */
  uint8_t step;
  uint8_t choice; /* the next event's */
  bool numbered;
  bool limited;    /* max_tokens cut the text */
  bool calls;      /* a tool call instead of text */
  bool terminated; /* of a replay: what follows its last line has been given */
};

struct wr_mock_event {
  struct wr_span name; /* for an `event:` line; empty: none. Static or inside the recording */
  bool token;          /* is paced; others leave at once */
  bool last;           /* the dialect's terminator */
};

/* id: any number that no other answer has. */
void wr_mock_answer_init(struct wr_mock_answer *a, const struct wr_mock_ask *ask,
                         const struct wr_mock_knobs *knobs, const struct wr_mock_recording *replay,
                         uint64_t id, uint64_t created_s);
/* What comes next, without giving it out. WR_E_END: nothing. */
WR_MUST_USE enum wr_err wr_mock_answer_peek(struct wr_mock_answer *a, struct wr_mock_event *event);
/* Appends the payload of the event that peek tells. WR_E_END: there is none. WR_E_NOMEM: out has
 * not the room; the answer and out are as before. */
WR_MUST_USE enum wr_err wr_mock_answer_next(struct wr_mock_answer *a, struct wr_buf *out);
/* The body of the answer when it isn't streamed. Test out->overflow. */
void wr_mock_answer_whole(const struct wr_mock_answer *a, struct wr_buf *out);

/* Private to answer.c and the dialects: how a dialect is a table. */
enum wr_mock_repeat {
  WR_MOCK_ONCE,
  WR_MOCK_EACH_TOKEN,
  WR_MOCK_EACH_THOUGHT,
  WR_MOCK_EACH_ARGUMENT
};
enum wr_mock_when {
  WR_MOCK_ALWAYS,
  WR_MOCK_IF_TEXT,
  WR_MOCK_IF_TOOL,
  WR_MOCK_IF_THOUGHT,
  WR_MOCK_IF_USAGE,
  WR_MOCK_IF_WHOLE,  /* max_tokens did not cut the text */
  WR_MOCK_IF_LIMITED /* it did */
};

/* Appends one payload. piece: the token or the part of the arguments, needs no JSON escape but for
 * the quotes of arguments. */
typedef void (*wr_mock_put_fn)(const struct wr_mock_answer *a, struct wr_span piece,
                               struct wr_buf *out);

struct wr_mock_step {
  wr_mock_put_fn put; /* NULL: the table's end */
  const char *name;   /* static; the event's name, or NULL */
  uint8_t repeat;     /* enum wr_mock_repeat */
  uint8_t when;       /* enum wr_mock_when */
  bool each_choice;
  bool last;
};

extern const struct wr_mock_step wr_mock_chat_steps[];
extern const struct wr_mock_step wr_mock_responses_steps[];
extern const struct wr_mock_step wr_mock_messages_steps[];
extern const struct wr_mock_step wr_mock_ollama_chat_steps[];
extern const struct wr_mock_step wr_mock_ollama_generate_steps[];
void wr_mock_chat_whole(const struct wr_mock_answer *a, struct wr_buf *out);
void wr_mock_responses_whole(const struct wr_mock_answer *a, struct wr_buf *out);
void wr_mock_messages_whole(const struct wr_mock_answer *a, struct wr_buf *out);
void wr_mock_ollama_chat_whole(const struct wr_mock_answer *a, struct wr_buf *out);
void wr_mock_ollama_generate_whole(const struct wr_mock_answer *a, struct wr_buf *out);

/* Common parts. The whole text of a choice; the whole reasoning; the whole arguments (JSON,
 * unescaped). */
void wr_mock_answer_put_text(const struct wr_mock_answer *a, unsigned choice, struct wr_buf *out);
void wr_mock_answer_put_thoughts(const struct wr_mock_answer *a, struct wr_buf *out);
#define WR_MOCK_ARGUMENTS_BYTES 96
struct wr_span wr_mock_answer_arguments(const struct wr_mock_answer *a,
                                        char room[static WR_MOCK_ARGUMENTS_BYTES]);
/* The model's name as a JSON string, the tool's name likewise. */
void wr_mock_answer_put_model(const struct wr_mock_answer *a, struct wr_buf *out);
void wr_mock_answer_put_tool(const struct wr_mock_answer *a, struct wr_buf *out);
uint64_t wr_mock_answer_prompt_tokens(const struct wr_mock_answer *a);
/* Of all choices, reasoning included. */
uint64_t wr_mock_answer_output_tokens(const struct wr_mock_answer *a);

#endif

#include "mock/answer.h"

#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "mock/replay.h"

/* How many bytes of a call's arguments one event carries. */
#define ARGUMENT_PIECE_BYTES 8
/* Reasoning that the request wanted and the options did not size. */
#define THOUGHT_TOKENS 16

static const struct wr_mock_step *const step_tables[WR_MOCK_DIALECTS] = {
  [WR_MOCK_CHAT] = wr_mock_chat_steps,
  [WR_MOCK_RESPONSES] = wr_mock_responses_steps,
  [WR_MOCK_MESSAGES] = wr_mock_messages_steps,
  [WR_MOCK_OLLAMA_CHAT] = wr_mock_ollama_chat_steps,
  [WR_MOCK_OLLAMA_GENERATE] = wr_mock_ollama_generate_steps,
};

static uint64_t thought_seed(const struct wr_mock_answer *a) {
  return wr_hash_mix64(a->seed ^ 0x7468);
}

/* A choice's text behind what the client has of it. */
static void start_text(const struct wr_mock_answer *a, unsigned choice, struct wr_mock_text *out) {
  char room[WR_MOCK_TOKEN_BYTES];
  wr_mock_text_init(out, a->seed + choice, a->numbered);
  for (uint32_t i = 0; choice == 0 && i < a->given; i++) (void)wr_mock_text_next(out, room);
}

static void start_texts(struct wr_mock_answer *a, bool thoughts) {
  for (unsigned i = 0; i < WR_MOCK_CHOICES; i++) {
    if (thoughts) wr_mock_text_init(&a->texts[i], thought_seed(a), a->numbered);
    else start_text(a, i, &a->texts[i]);
  }
}

/* What the client has isn't said again, nor thought about. */
static void take_prefill(struct wr_mock_answer *a) {
  char room[WR_MOCK_TOKEN_BYTES];
  struct wr_mock_text text;
  uint32_t left = a->ask.prefill_bytes;
  if (left == 0 || a->calls || a->replay) return;
  wr_mock_text_init(&text, a->seed, a->numbered);
  while (a->tokens > 0) {
    size_t n = wr_mock_text_next(&text, room).len;
    if (n > left) break;
    left -= (uint32_t)n;
    a->given++;
    a->tokens--;
  }
  a->given_bytes = a->tokens > 0 ? (uint8_t)left : 0;
  a->reasoning = 0;
}

void wr_mock_answer_init(struct wr_mock_answer *a, const struct wr_mock_ask *ask,
                         const struct wr_mock_knobs *knobs, const struct wr_mock_recording *replay,
                         uint64_t id, uint64_t created_s) {
  *a = (struct wr_mock_answer){ 0 };
  a->ask = *ask;
  a->replay = replay;
  a->seed = knobs->seed;
  a->id = id;
  a->created_s = created_s;
  a->numbered = knobs->numbered;
  a->calls = ask->must_call || knobs->tool;
  if (a->ask.tool[0] == 0) (void)snprintf(a->ask.tool, sizeof a->ask.tool, "read_gauge");
  a->tokens = knobs->tokens;
  a->reasoning = knobs->reasoning;
  if (a->reasoning == 0 && ask->thinking) a->reasoning = THOUGHT_TOKENS;
  take_prefill(a);
  if (!a->calls && ask->max_tokens > 0 && ask->max_tokens < a->tokens) {
    a->tokens = (uint32_t)ask->max_tokens;
    a->limited = true;
  }
  start_texts(a, step_tables[ask->dialect][0].repeat == WR_MOCK_EACH_THOUGHT);
}

static bool applies(const struct wr_mock_answer *a, const struct wr_mock_step *s) {
  switch ((enum wr_mock_when)s->when) {
    case WR_MOCK_ALWAYS: return true;
    case WR_MOCK_IF_TEXT: return !a->calls;
    case WR_MOCK_IF_TOOL: return a->calls;
    case WR_MOCK_IF_THOUGHT: return a->reasoning > 0;
    case WR_MOCK_IF_USAGE: return a->ask.include_usage;
    case WR_MOCK_IF_WHOLE: return !a->limited;
    case WR_MOCK_IF_LIMITED: return a->limited;
  }
  return false;
}

static uint32_t repeats(const struct wr_mock_answer *a, const struct wr_mock_step *s) {
  char room[WR_MOCK_ARGUMENTS_BYTES];
  if (!applies(a, s)) return 0;
  switch ((enum wr_mock_repeat)s->repeat) {
    case WR_MOCK_ONCE: return 1;
    case WR_MOCK_EACH_TOKEN: return a->tokens;
    case WR_MOCK_EACH_THOUGHT: return a->reasoning;
    case WR_MOCK_EACH_ARGUMENT:
      return (uint32_t)((wr_mock_answer_arguments(a, room).len + ARGUMENT_PIECE_BYTES - 1) /
                        ARGUMENT_PIECE_BYTES);
  }
  return 0;
}

/* Moves the cursor past steps that are over or don't apply; the step that is next, or NULL. */
static const struct wr_mock_step *settle(struct wr_mock_answer *a) {
  const struct wr_mock_step *steps = step_tables[a->ask.dialect];
  while (steps[a->step].put != NULL && a->index >= repeats(a, &steps[a->step])) {
    a->step++;
    a->index = 0;
    a->choice = 0;
    start_texts(a, steps[a->step].repeat == WR_MOCK_EACH_THOUGHT);
  }
  return steps[a->step].put != NULL ? &steps[a->step] : NULL;
}

static bool is_token(const struct wr_mock_answer *a, const struct wr_mock_step *s) {
  return s->repeat != WR_MOCK_ONCE && a->choice == 0;
}

/* What a recording is followed by: only chat streams end in a payload of their own. */
static bool replay_ends_in_done(const struct wr_mock_answer *a) {
  return a->ask.dialect == WR_MOCK_CHAT && !a->terminated;
}

static enum wr_err replay_peek(const struct wr_mock_answer *a, struct wr_mock_event *event) {
  size_t off = a->replay_off;
  struct wr_span line, after;
  *event = (struct wr_mock_event){ { NULL, 0 }, true, false };
  if (wr_mock_recording_next(a->replay, &off, &line)) {
    bool named = a->ask.dialect == WR_MOCK_RESPONSES || a->ask.dialect == WR_MOCK_MESSAGES;
    if (named) event->name = wr_mock_recording_type(line);
    if (a->ask.dialect != WR_MOCK_CHAT)
      event->last = !wr_mock_recording_next(a->replay, &off, &after);
    return WR_OK;
  }
  event->token = false;
  event->last = true;
  return replay_ends_in_done(a) ? WR_OK : WR_E_END;
}

static enum wr_err replay_next(struct wr_mock_answer *a, struct wr_buf *out) {
  size_t off = a->replay_off;
  struct wr_span line;
  if (wr_mock_recording_next(a->replay, &off, &line)) {
    wr_buf_put(out, line);
    if (!out->overflow) a->replay_off = off;
  } else if (replay_ends_in_done(a)) {
    wr_buf_put(out, WR_SPAN("[DONE]"));
    if (!out->overflow) a->terminated = true;
  } else {
    return WR_E_END;
  }
  return out->overflow ? WR_E_NOMEM : WR_OK;
}

enum wr_err wr_mock_answer_peek(struct wr_mock_answer *a, struct wr_mock_event *event) {
  if (a->replay != NULL) return replay_peek(a, event);
  const struct wr_mock_step *s = settle(a);
  if (s == NULL) return WR_E_END;
  *event = (struct wr_mock_event){ wr_span_str(s->name), is_token(a, s), s->last };
  return WR_OK;
}

static struct wr_span next_piece(struct wr_mock_answer *a, const struct wr_mock_step *s,
                                 char *room) {
  if (s->repeat == WR_MOCK_ONCE) return wr_span_make(NULL, 0);
  if (s->repeat != WR_MOCK_EACH_ARGUMENT) {
    struct wr_span token = wr_mock_text_next(&a->texts[a->choice], room);
    bool first = s->repeat == WR_MOCK_EACH_TOKEN && a->index == 0 && a->choice == 0;
    return first ? wr_span_sub(token, a->given_bytes, token.len - a->given_bytes) : token;
  }
  struct wr_span all = wr_mock_answer_arguments(a, room);
  size_t off = (size_t)a->index * ARGUMENT_PIECE_BYTES;
  size_t left = all.len - off;
  return wr_span_sub(all, off, left < ARGUMENT_PIECE_BYTES ? left : ARGUMENT_PIECE_BYTES);
}

static enum wr_err generated_next(struct wr_mock_answer *a, struct wr_buf *out) {
  const struct wr_mock_step *s = settle(a);
  if (s == NULL) return WR_E_END;
  char room[WR_MOCK_ARGUMENTS_BYTES];
  struct wr_mock_text text = a->texts[a->choice];
  s->put(a, next_piece(a, s, room), out);
  if (out->overflow) {
    a->texts[a->choice] = text;
    return WR_E_NOMEM;
  }
  if (!s->each_choice || ++a->choice >= a->ask.choices) {
    a->choice = 0;
    a->index++;
  }
  return WR_OK;
}

enum wr_err wr_mock_answer_next(struct wr_mock_answer *a, struct wr_buf *out) {
  size_t len_before = out->len;
  enum wr_err err = a->replay != NULL ? replay_next(a, out) : generated_next(a, out);
  if (err == WR_OK) a->sequence++;
  if (err == WR_E_NOMEM) {
    out->len = len_before;
    out->overflow = false;
  }
  return err;
}

void wr_mock_answer_whole(const struct wr_mock_answer *a, struct wr_buf *out) {
  switch ((enum wr_mock_dialect)a->ask.dialect) {
    case WR_MOCK_CHAT: wr_mock_chat_whole(a, out); break;
    case WR_MOCK_RESPONSES: wr_mock_responses_whole(a, out); break;
    case WR_MOCK_MESSAGES: wr_mock_messages_whole(a, out); break;
    case WR_MOCK_OLLAMA_CHAT: wr_mock_ollama_chat_whole(a, out); break;
    case WR_MOCK_OLLAMA_GENERATE: wr_mock_ollama_generate_whole(a, out); break;
    case WR_MOCK_DIALECTS: break;
  }
}

void wr_mock_answer_put_text(const struct wr_mock_answer *a, unsigned choice, struct wr_buf *out) {
  struct wr_mock_text text;
  char room[WR_MOCK_TOKEN_BYTES];
  start_text(a, choice, &text);
  uint32_t n = a->tokens;
  if (choice == 0 && a->given_bytes) {
    struct wr_span token = wr_mock_text_next(&text, room);
    wr_buf_put(out, wr_span_sub(token, a->given_bytes, token.len - a->given_bytes));
    n--;
  }
  wr_mock_text_put(&text, n, out);
}

void wr_mock_answer_put_thoughts(const struct wr_mock_answer *a, struct wr_buf *out) {
  struct wr_mock_text text;
  wr_mock_text_init(&text, thought_seed(a), a->numbered);
  wr_mock_text_put(&text, a->reasoning, out);
}

struct wr_span wr_mock_answer_arguments(const struct wr_mock_answer *a,
                                        char room[static WR_MOCK_ARGUMENTS_BYTES]) {
  static const char *const rivers[] = { "Elbe", "Loire", "Thames", "Vistula", "Douro", "Drina" };
  uint64_t random = wr_hash_mix64(a->seed ^ 0x6172);
  int n =
      snprintf(room, WR_MOCK_ARGUMENTS_BYTES, "{\"river\":\"%s\",\"station\":%u,\"unit\":\"cm\"}",
               rivers[random % (sizeof rivers / sizeof rivers[0])], (unsigned)(random >> 32) % 900);
  WR_CHECK(n > 0 && n < WR_MOCK_ARGUMENTS_BYTES);
  return wr_span_make(room, (size_t)n);
}

void wr_mock_answer_put_model(const struct wr_mock_answer *a, struct wr_buf *out) {
  wr_buf_json_string(out, wr_span_str(a->ask.model));
}

void wr_mock_answer_put_tool(const struct wr_mock_answer *a, struct wr_buf *out) {
  wr_buf_json_string(out, wr_span_str(a->ask.tool));
}

/* Four bytes a token is near enough for text, and it makes usage follow the request. */
uint64_t wr_mock_answer_prompt_tokens(const struct wr_mock_answer *a) {
  return a->ask.body_bytes / 4 + 1;
}

uint64_t wr_mock_answer_output_tokens(const struct wr_mock_answer *a) {
  return (uint64_t)a->tokens * a->ask.choices + a->reasoning;
}

#include "relay/dialect.h"

#include "base/check.h"

/* The paths of each dialect; the enums name their places. */
enum {
  CHAT_CONTENT,
  CHAT_REASONING,
  CHAT_REASONING2,
  CHAT_TOOLS,
  CHAT_REFUSAL,
  CHAT_TEXT,
  CHAT_FINISH,
  CHAT_INDEX,
  CHAT_ROLE,
  CHAT_IN,
  CHAT_OUT,
  CHAT_CACHED,
  CHAT_THOUGHT,
  CHAT_ERROR,
  CHAT_PATHS
};
static const char *const chat_paths[CHAT_PATHS] = {
  [CHAT_CONTENT] = "choices[0].delta.content",
  [CHAT_REASONING] = "choices[0].delta.reasoning_content",
  [CHAT_REASONING2] = "choices[0].delta.reasoning",
  [CHAT_TOOLS] = "choices[0].delta.tool_calls",
  [CHAT_REFUSAL] = "choices[0].delta.refusal",
  [CHAT_TEXT] = "choices[0].text",
  [CHAT_FINISH] = "choices[].finish_reason",
  [CHAT_INDEX] = "choices[0].index",
  [CHAT_ROLE] = "choices[0].delta.role",
  [CHAT_IN] = "usage.prompt_tokens",
  [CHAT_OUT] = "usage.completion_tokens",
  [CHAT_CACHED] = "usage.prompt_tokens_details.cached_tokens",
  [CHAT_THOUGHT] = "usage.completion_tokens_details.reasoning_tokens",
  [CHAT_ERROR] = "error",
};

enum {
  RESP_TYPE,
  RESP_DELTA,
  RESP_INDEX,
  RESP_IN,
  RESP_OUT,
  RESP_CACHED,
  RESP_THOUGHT,
  RESP_PATHS
};
static const char *const responses_paths[RESP_PATHS] = {
  [RESP_TYPE] = "type",
  [RESP_DELTA] = "delta",
  [RESP_INDEX] = "output_index",
  [RESP_IN] = "response.usage.input_tokens",
  [RESP_OUT] = "response.usage.output_tokens",
  [RESP_CACHED] = "response.usage.input_tokens_details.cached_tokens",
  [RESP_THOUGHT] = "response.usage.output_tokens_details.reasoning_tokens",
};

enum {
  ANT_TYPE,
  ANT_INDEX,
  ANT_TEXT,
  ANT_THINKING,
  ANT_JSON,
  ANT_STOP,
  ANT_IN,
  ANT_CACHED,
  ANT_IN2,
  ANT_OUT,
  ANT_PATHS
};
static const char *const anthropic_paths[ANT_PATHS] = {
  [ANT_TYPE] = "type",
  [ANT_INDEX] = "index",
  [ANT_TEXT] = "delta.text",
  [ANT_THINKING] = "delta.thinking",
  [ANT_JSON] = "delta.partial_json",
  [ANT_STOP] = "delta.stop_reason",
  [ANT_IN] = "message.usage.input_tokens",
  [ANT_CACHED] = "message.usage.cache_read_input_tokens",
  [ANT_IN2] = "usage.input_tokens",
  [ANT_OUT] = "usage.output_tokens",
};

enum {
  OLL_CONTENT,
  OLL_RESPONSE,
  OLL_THINKING,
  OLL_TOOLS,
  OLL_DONE,
  OLL_IN,
  OLL_OUT,
  OLL_ERROR,
  OLL_PATHS
};
static const char *const ollama_paths[OLL_PATHS] = {
  [OLL_CONTENT] = "message.content",
  [OLL_RESPONSE] = "response",
  [OLL_THINKING] = "message.thinking",
  [OLL_TOOLS] = "message.tool_calls",
  [OLL_DONE] = "done",
  [OLL_IN] = "prompt_eval_count",
  [OLL_OUT] = "eval_count",
  [OLL_ERROR] = "error",
};

enum wr_err wr_dialects_init(struct wr_dialects *d) {
  enum wr_err err = wr_json_compile(&d->progs[WR_DIALECT_CHAT], chat_paths, CHAT_PATHS);
  if (err == WR_OK)
    err = wr_json_compile(&d->progs[WR_DIALECT_RESPONSES], responses_paths, RESP_PATHS);
  if (err == WR_OK)
    err = wr_json_compile(&d->progs[WR_DIALECT_ANTHROPIC], anthropic_paths, ANT_PATHS);
  if (err == WR_OK) err = wr_json_compile(&d->progs[WR_DIALECT_OLLAMA], ollama_paths, OLL_PATHS);
  return err;
}

static bool ends_with(struct wr_span s, struct wr_span end) {
  return s.len >= end.len && memcmp(s.ptr + s.len - end.len, end.ptr, end.len) == 0;
}

enum wr_dialect wr_dialect_of(struct wr_span path, bool anthropic) {
  if (ends_with(path, WR_SPAN("/messages"))) return WR_DIALECT_ANTHROPIC;
  if (ends_with(path, WR_SPAN("/completions"))) return WR_DIALECT_CHAT;
  if (ends_with(path, WR_SPAN("/responses"))) return WR_DIALECT_RESPONSES;
  if (ends_with(path, WR_SPAN("/api/chat")) || ends_with(path, WR_SPAN("/api/generate")))
    return WR_DIALECT_OLLAMA;
  return anthropic ? WR_DIALECT_ANTHROPIC : WR_DIALECT_NONE;
}

struct wr_span wr_dialect_operation(struct wr_span path) {
  if (ends_with(path, WR_SPAN("/embeddings")) || ends_with(path, WR_SPAN("/api/embed")))
    return WR_SPAN("embeddings");
  if (ends_with(path, WR_SPAN("/chat/completions"))) return WR_SPAN("chat");
  if (ends_with(path, WR_SPAN("/completions")) || ends_with(path, WR_SPAN("/api/generate")))
    return WR_SPAN("text_completion");
  return wr_dialect_of(path, false) == WR_DIALECT_NONE ? WR_SPAN("") : WR_SPAN("chat");
}

/* Only what is known not to exist is ruled out: providers add each other's APIs. */
bool wr_dialect_served_by(enum wr_dialect dialect, enum wr_kind kind) {
  static const uint8_t never[WR_KINDS] = {
    [WR_KIND_OPENAI] = 1u << WR_DIALECT_ANTHROPIC | 1u << WR_DIALECT_OLLAMA,
    [WR_KIND_ANTHROPIC] = 1u << WR_DIALECT_RESPONSES | 1u << WR_DIALECT_OLLAMA,
  };
  WR_DCHECK((unsigned)kind < WR_KINDS);
  return !(never[kind] >> dialect & 1u);
}

bool wr_dialect_has_terminator(enum wr_dialect dialect) { return dialect != WR_DIALECT_NONE; }

static void read_number(struct wr_span doc, const struct wr_json_value *v, int64_t *out) {
  uint64_t n;
  if (v->raw.len == 1) /* nearly every index */
    *out = doc.ptr[v->raw.off] - '0';
  else if (wr_json_u64(wr_json_raw(doc, v), &n) == WR_OK && n <= INT64_MAX)
    *out = (int64_t)n;
}

static inline void take_number(struct wr_span doc, const struct wr_json_value *v, int64_t *out) {
  if (v->type == WR_JSON_NUMBER) read_number(doc, v, out);
}

/* A string value that is not empty becomes the event's text. */
static bool take_text(struct wr_event *ev, const struct wr_json_value *v, enum wr_event_kind kind) {
  WR_DCHECK((unsigned)kind < WR_EVENT_KINDS);
  if (v->type != WR_JSON_STRING || v->raw.len <= 2) return false;
  ev->text = wr_json_unquote(wr_json_raw(ev->data, v));
  ev->text_escaped = v->escaped;
  ev->kind = (uint8_t)kind;
  ev->content = 1;
  return true;
}

static void take_index(struct wr_event *ev, const struct wr_json_value *v) {
  int64_t n = 0;
  take_number(ev->data, v, &n);
  ev->index = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void read_chat(struct wr_event *ev, const struct wr_json_value *v, struct wr_usage *usage) {
  take_index(ev, &v[CHAT_INDEX]);
  take_number(ev->data, &v[CHAT_IN], &usage->input);
  take_number(ev->data, &v[CHAT_OUT], &usage->output);
  take_number(ev->data, &v[CHAT_CACHED], &usage->cached);
  take_number(ev->data, &v[CHAT_THOUGHT], &usage->reasoning);
  ev->finish = v[CHAT_FINISH].type == WR_JSON_STRING;
  if (v[CHAT_ERROR].type == WR_JSON_OBJECT || v[CHAT_ERROR].type == WR_JSON_STRING) {
    ev->kind = WR_EVENT_ERROR;
    return;
  }
  if (take_text(ev, &v[CHAT_CONTENT], WR_EVENT_TEXT) ||
      take_text(ev, &v[CHAT_TEXT], WR_EVENT_TEXT) ||
      take_text(ev, &v[CHAT_REFUSAL], WR_EVENT_TEXT) ||
      take_text(ev, &v[CHAT_REASONING], WR_EVENT_REASONING) ||
      take_text(ev, &v[CHAT_REASONING2], WR_EVENT_REASONING))
    return;
  if (v[CHAT_TOOLS].type == WR_JSON_ARRAY) {
    ev->kind = WR_EVENT_TOOL;
    ev->content = 1;
  } else if (ev->finish) {
    ev->kind = WR_EVENT_STOP;
  } else if (v[CHAT_IN].type == WR_JSON_NUMBER || v[CHAT_OUT].type == WR_JSON_NUMBER) {
    ev->kind = WR_EVENT_USAGE;
  } else if (v[CHAT_ROLE].type == WR_JSON_STRING || v[CHAT_CONTENT].type == WR_JSON_STRING) {
    ev->kind = WR_EVENT_START;
  }
}

/* The name of an event of the Responses API, without "response." in front. */
static void read_responses_type(struct wr_event *ev, struct wr_span type,
                                const struct wr_json_value *v) {
  if (wr_span_eq(type, WR_SPAN("error"))) {
    ev->kind = WR_EVENT_ERROR;
    ev->terminator = 1;
    return;
  }
  if (!wr_span_starts(type, WR_SPAN("response."))) return;
  struct wr_span t = wr_span_sub(type, 9, type.len - 9);
  if (ends_with(t, WR_SPAN(".delta"))) {
    enum wr_event_kind kind = WR_EVENT_UNKNOWN;
    if (wr_span_starts(t, WR_SPAN("output_text.")) || wr_span_starts(t, WR_SPAN("refusal.")))
      kind = WR_EVENT_TEXT;
    else if (wr_span_starts(t, WR_SPAN("reasoning")))
      kind = WR_EVENT_REASONING;
    else
      kind = WR_EVENT_TOOL;
    if (!take_text(ev, &v[RESP_DELTA], kind)) ev->kind = (uint8_t)kind;
    ev->content = 1;
  } else if (wr_span_eq(t, WR_SPAN("completed")) || wr_span_eq(t, WR_SPAN("incomplete"))) {
    ev->kind = WR_EVENT_STOP;
    ev->terminator = ev->finish = 1;
  } else if (wr_span_eq(t, WR_SPAN("failed"))) {
    ev->kind = WR_EVENT_ERROR;
    ev->terminator = 1;
  } else if (wr_span_eq(t, WR_SPAN("created")) || wr_span_eq(t, WR_SPAN("in_progress")) ||
             wr_span_eq(t, WR_SPAN("queued")) || ends_with(t, WR_SPAN(".added"))) {
    ev->kind = WR_EVENT_START;
  }
}

static struct wr_span type_of(const struct wr_event *ev, const struct wr_json_value *v) {
  if (v->type == WR_JSON_STRING && !v->escaped) return wr_json_unquote(wr_json_raw(ev->data, v));
  return ev->name;
}

static void read_responses(struct wr_event *ev, const struct wr_json_value *v,
                           struct wr_usage *usage) {
  take_index(ev, &v[RESP_INDEX]);
  take_number(ev->data, &v[RESP_IN], &usage->input);
  take_number(ev->data, &v[RESP_OUT], &usage->output);
  take_number(ev->data, &v[RESP_CACHED], &usage->cached);
  take_number(ev->data, &v[RESP_THOUGHT], &usage->reasoning);
  read_responses_type(ev, type_of(ev, &v[RESP_TYPE]), v);
}

static void read_anthropic(struct wr_event *ev, const struct wr_json_value *v,
                           struct wr_usage *usage) {
  struct wr_span type = type_of(ev, &v[ANT_TYPE]);
  take_index(ev, &v[ANT_INDEX]);
  if (wr_span_eq(type, WR_SPAN("content_block_delta"))) {
    ev->content = 1;
    if (!take_text(ev, &v[ANT_TEXT], WR_EVENT_TEXT) &&
        !take_text(ev, &v[ANT_THINKING], WR_EVENT_REASONING) &&
        !take_text(ev, &v[ANT_JSON], WR_EVENT_TOOL) && v[ANT_JSON].type == WR_JSON_STRING)
      ev->kind = WR_EVENT_TOOL;
    return;
  }
  take_number(ev->data, &v[ANT_IN], &usage->input);
  take_number(ev->data, &v[ANT_IN2], &usage->input);
  take_number(ev->data, &v[ANT_CACHED], &usage->cached);
  take_number(ev->data, &v[ANT_OUT], &usage->output);
  if (wr_span_eq(type, WR_SPAN("message_start")) || wr_span_eq(type, WR_SPAN("content_block_"
                                                                             "start"))) {
    ev->kind = WR_EVENT_START;
  } else if (wr_span_eq(type, WR_SPAN("ping"))) {
    ev->kind = WR_EVENT_PING;
  } else if (wr_span_eq(type, WR_SPAN("message_delta"))) {
    ev->kind = WR_EVENT_STOP;
    ev->finish = v[ANT_STOP].type == WR_JSON_STRING;
  } else if (wr_span_eq(type, WR_SPAN("message_stop"))) {
    ev->kind = WR_EVENT_STOP;
    ev->terminator = 1;
  } else if (wr_span_eq(type, WR_SPAN("error"))) {
    ev->kind = WR_EVENT_ERROR;
    ev->terminator = 1;
  }
}

static bool is_true(struct wr_span doc, const struct wr_json_value *v) {
  return v->type == WR_JSON_BOOL && doc.ptr[v->raw.off] == 't';
}

static void read_ollama(struct wr_event *ev, const struct wr_json_value *v,
                        struct wr_usage *usage) {
  take_number(ev->data, &v[OLL_IN], &usage->input);
  take_number(ev->data, &v[OLL_OUT], &usage->output);
  if (v[OLL_ERROR].type == WR_JSON_STRING) {
    ev->kind = WR_EVENT_ERROR;
    ev->terminator = 1;
    return;
  }
  ev->terminator = ev->finish = is_true(ev->data, &v[OLL_DONE]);
  if (take_text(ev, &v[OLL_CONTENT], WR_EVENT_TEXT) ||
      take_text(ev, &v[OLL_RESPONSE], WR_EVENT_TEXT) ||
      take_text(ev, &v[OLL_THINKING], WR_EVENT_REASONING))
    return;
  if (v[OLL_TOOLS].type == WR_JSON_ARRAY) {
    ev->kind = WR_EVENT_TOOL;
    ev->content = 1;
  } else if (ev->terminator) {
    ev->kind = WR_EVENT_STOP;
  }
}

static const uint8_t path_counts[WR_DIALECTS] = { 0, CHAT_PATHS, RESP_PATHS, ANT_PATHS, OLL_PATHS };

/* The values of the dialect's paths: by the shape of a recent event, else by a scan that teaches
 * a shape. */
static enum wr_err values_of(struct wr_dialects *d, enum wr_dialect dialect, struct wr_span doc,
                             struct wr_json_value *v) {
  WR_DCHECK(path_counts[dialect] > 0);
  struct wr_json_shape *shapes = d->shapes[dialect];
  size_t n = path_counts[dialect], worst = 0;
  for (size_t i = 0; i < WR_DIALECT_SHAPES; i++) {
    size_t k = (d->last[dialect] + i) % WR_DIALECT_SHAPES;
    if (wr_json_shape_match(&shapes[k], doc, n, v)) {
      d->last[dialect] = (uint8_t)k;
      return WR_OK;
    }
    if (shapes[k].misses > shapes[worst].misses || shapes[k].len == 0) worst = k;
    if (shapes[k].len == 0) break;
  }
  if (wr_json_scan(&d->progs[dialect], doc, v) != WR_OK) return WR_E_EVENT_SYNTAX;
  wr_json_shape_learn(&shapes[worst], doc, n, v);
  return WR_OK;
}

/* What is no document, and still says something. */
static bool is_word(enum wr_dialect dialect, struct wr_event *ev) {
  struct wr_span word = wr_span_trim(ev->data);
  if (word.len == 0) { /* `data:` alone keeps a connection alive */
    ev->kind = WR_EVENT_PING;
    return true;
  }
  if (!wr_span_eq(word, WR_SPAN("[DONE]"))) return false;
  ev->kind = WR_EVENT_STOP; /* some servers say it in every dialect */
  ev->terminator = dialect == WR_DIALECT_CHAT;
  return true;
}

enum wr_err wr_dialect_read(struct wr_dialects *d, enum wr_dialect dialect, struct wr_event *ev,
                            struct wr_usage *usage) {
  WR_DCHECK((unsigned)dialect < WR_DIALECTS);
  ev->kind = WR_EVENT_UNKNOWN;
  ev->text = wr_span_make(NULL, 0);
  ev->text_escaped = false;
  ev->terminator = ev->finish = ev->content = 0;
  ev->index = 0;
  if (dialect == WR_DIALECT_NONE) {
    ev->content = 1;
    return WR_OK;
  }
  if ((ev->data.len == 0 || *ev->data.ptr != '{') && is_word(dialect, ev)) return WR_OK;
  struct wr_json_value v[WR_JSON_MAX_PATHS];
  if (values_of(d, dialect, ev->data, v) != WR_OK) return WR_E_EVENT_SYNTAX;
  if (dialect == WR_DIALECT_CHAT)
    read_chat(ev, v, usage);
  else if (dialect == WR_DIALECT_RESPONSES)
    read_responses(ev, v, usage);
  else if (dialect == WR_DIALECT_ANTHROPIC)
    read_anthropic(ev, v, usage);
  else
    read_ollama(ev, v, usage);
  return WR_OK;
}

/* Where the text of an event is, in each dialect: all of it, which kinds, whose. */
#include "base/check.h"
#include "base/heap.h"
#include "relay/window_priv.h"

enum {
  CHAT_INDEX,
  CHAT_CONTENT,
  CHAT_REASONING,
  CHAT_REASONING2,
  CHAT_REFUSAL,
  CHAT_TEXT,
  CHAT_ARGS,
  CHAT_TOOL_INDEX,
  CHAT_FUNCTION,
  CHAT_FINISH,
  CHAT_LOGPROBS,
  CHAT_CHOICE2,
  CHAT_TOOL2,
  CHAT_MESSAGE,
  CHAT_DETAILS,
  CHAT_PATHS
};
static const char *const chat_paths[CHAT_PATHS] = {
  [CHAT_INDEX] = "choices[0].index",
  [CHAT_CONTENT] = "choices[0].delta.content",
  [CHAT_REASONING] = "choices[0].delta.reasoning_content",
  [CHAT_REASONING2] = "choices[0].delta.reasoning",
  [CHAT_REFUSAL] = "choices[0].delta.refusal",
  [CHAT_TEXT] = "choices[0].text",
  [CHAT_ARGS] = "choices[0].delta.tool_calls[0].function.arguments",
  [CHAT_TOOL_INDEX] = "choices[0].delta.tool_calls[0].index",
  [CHAT_FUNCTION] = "choices[0].delta.function_call.arguments",
  [CHAT_FINISH] = "choices[0].finish_reason",
  [CHAT_LOGPROBS] = "choices[0].logprobs",
  [CHAT_CHOICE2] = "choices[1]",
  [CHAT_TOOL2] = "choices[0].delta.tool_calls[1]",
  [CHAT_MESSAGE] = "choices[0].message.content",
  [CHAT_DETAILS] = "choices[0].delta.reasoning_details[0]",
};

enum {
  RESP_TYPE,
  RESP_DELTA,
  RESP_INDEX,
  RESP_CONTENT_INDEX,
  RESP_SUMMARY_INDEX,
  RESP_TEXT,
  RESP_ARGS,
  RESP_INPUT,
  RESP_REFUSAL,
  RESP_LOGPROBS,
  RESP_PATHS
};
static const char *const responses_paths[RESP_PATHS] = {
  [RESP_TYPE] = "type",
  [RESP_DELTA] = "delta",
  [RESP_INDEX] = "output_index",
  [RESP_CONTENT_INDEX] = "content_index",
  [RESP_SUMMARY_INDEX] = "summary_index",
  [RESP_TEXT] = "text",
  [RESP_ARGS] = "arguments",
  [RESP_INPUT] = "input",
  [RESP_REFUSAL] = "refusal",
  [RESP_LOGPROBS] = "logprobs",
};

enum { ANT_TYPE, ANT_INDEX, ANT_TEXT, ANT_THINKING, ANT_JSON, ANT_START, ANT_START2, ANT_KIND,
       ANT_PATHS };
static const char *const anthropic_paths[ANT_PATHS] = {
  [ANT_TYPE] = "type",
  [ANT_INDEX] = "index",
  [ANT_TEXT] = "delta.text",
  [ANT_THINKING] = "delta.thinking",
  [ANT_JSON] = "delta.partial_json",
  [ANT_START] = "content_block.text",
  [ANT_START2] = "content_block.thinking",
  [ANT_KIND] = "delta.type",
};

enum { OLL_CONTENT, OLL_RESPONSE, OLL_THINKING, OLL_THINKING2, OLL_ARGS, OLL_TOOL2, OLL_PATHS };
static const char *const ollama_paths[OLL_PATHS] = {
  [OLL_CONTENT] = "message.content",
  [OLL_RESPONSE] = "response",
  [OLL_THINKING] = "message.thinking",
  [OLL_THINKING2] = "thinking",
  [OLL_ARGS] = "message.tool_calls[0].function.arguments",
  [OLL_TOOL2] = "message.tool_calls[1]",
};

static const struct {
  const char *const *paths; /* borrowed: static */
  size_t count;
} tables[WR_DIALECTS] = {
  [WR_DIALECT_CHAT] = { chat_paths, CHAT_PATHS },
  [WR_DIALECT_RESPONSES] = { responses_paths, RESP_PATHS },
  [WR_DIALECT_ANTHROPIC] = { anthropic_paths, ANT_PATHS },
  [WR_DIALECT_OLLAMA] = { ollama_paths, OLL_PATHS },
};

/* One a worker, made when a route first needs it. */
struct wr_window_reader {
  struct wr_json_prog progs[WR_DIALECTS];
  struct wr_json_shape shapes[WR_DIALECTS][WR_DIALECT_SHAPES];
  uint8_t last[WR_DIALECTS];
};

static enum wr_err reader_make(struct wr_relay *relay) {
  struct wr_window_reader *r = wr_heap_zalloc(WR_HEAP_RELAY, sizeof *r);
  if (!r) return WR_E_NOMEM;
  enum wr_err err = WR_OK;
  for (unsigned d = 0; d < WR_DIALECTS && err == WR_OK; d++) {
    if (tables[d].count) err = wr_json_compile(&r->progs[d], tables[d].paths, tables[d].count);
  }
  if (!WR_EXPECT(err == WR_OK)) {
    wr_heap_free(WR_HEAP_RELAY, r);
    return WR_E_INTERNAL;
  }
  relay->window_reader = r;
  return WR_OK;
}

void wr_window_reader_free(struct wr_window_reader *reader) {
  wr_heap_free(WR_HEAP_RELAY, reader);
}

static enum wr_err values_of(struct wr_window_reader *r, enum wr_dialect d, struct wr_span doc,
                             struct wr_json_value *v) {
  struct wr_json_shape *shapes = r->shapes[d];
  WR_DCHECK(d < WR_DIALECTS && tables[d].count > 0);
  size_t worst = 0;
  for (size_t i = 0; i < WR_DIALECT_SHAPES; i++) {
    size_t k = (r->last[d] + i) % WR_DIALECT_SHAPES;
    if (wr_json_shape_match(&shapes[k], doc, tables[d].count, v)) {
      r->last[d] = (uint8_t)k;
      return WR_OK;
    }
    if (shapes[k].misses > shapes[worst].misses || shapes[k].len == 0) worst = k;
    if (shapes[k].len == 0) break;
  }
  if (wr_json_scan(&r->progs[d], doc, v) != WR_OK) return WR_E_EVENT_SYNTAX;
  wr_json_shape_learn(&shapes[worst], doc, tables[d].count, v);
  return WR_OK;
}

static uint32_t number(struct wr_span doc, const struct wr_json_value *v) {
  uint64_t n = 0;
  if (v->type != WR_JSON_NUMBER || wr_json_u64(wr_json_raw(doc, v), &n) != WR_OK) return 0;
  return n > 0xffff ? 0xffff : (uint32_t)n;
}

static uint32_t need_of(uint8_t kind) {
  if (kind == WR_EVENT_TEXT) return WR_TEXT_TEXT;
  return kind == WR_EVENT_REASONING ? WR_TEXT_REASONING : WR_TEXT_TOOL;
}

/* NULL: there is no place for one more, which only counts as unknown then. */
static struct wr_window_found_text *add(struct wr_window_found *f, uint8_t kind,
                                        struct wr_span literal) {
  if (f->count == WR_WINDOW_SLOTS) {
    f->unknown |= need_of(kind);
    return NULL;
  }
  struct wr_window_found_text *t = &f->texts[f->count++];
  *t = (struct wr_window_found_text){ .literal = literal, .kind = kind };
  return t;
}

/* A string that isn't empty, or for tools an object, becomes a text. Anything else that holds
 * something may hide one. */
static void take(struct wr_window_found *f, struct wr_span doc, const struct wr_json_value *v,
                 uint8_t kind, uint32_t index, uint32_t sub) {
  struct wr_span raw = wr_json_raw(doc, v);
  bool string = v->type == WR_JSON_STRING;
  bool object = v->type == WR_JSON_OBJECT && kind == WR_EVENT_TOOL;
  if (v->type == WR_JSON_ARRAY || (v->type == WR_JSON_OBJECT && !object))
    f->unknown |= need_of(kind);
  if ((!string && !object) || raw.len <= 2) return;
  struct wr_window_found_text *t = add(f, kind, string ? wr_json_unquote(raw) : raw);
  if (!t) return;
  t->raw = object;
  t->json = kind == WR_EVENT_TOOL;
  t->index = index;
  t->sub = sub;
}

static void read_chat(struct wr_window_found *f, const struct wr_event *ev,
                      const struct wr_json_value *v) {
  struct wr_span doc = ev->data;
  uint32_t index = number(doc, &v[CHAT_INDEX]), tool = number(doc, &v[CHAT_TOOL_INDEX]);
  take(f, doc, &v[CHAT_REASONING], WR_EVENT_REASONING, index, CHAT_REASONING);
  take(f, doc, &v[CHAT_REASONING2], WR_EVENT_REASONING, index, CHAT_REASONING2);
  take(f, doc, &v[CHAT_CONTENT], WR_EVENT_TEXT, index, CHAT_CONTENT);
  take(f, doc, &v[CHAT_TEXT], WR_EVENT_TEXT, index, CHAT_TEXT);
  take(f, doc, &v[CHAT_REFUSAL], WR_EVENT_TEXT, index, CHAT_REFUSAL);
  take(f, doc, &v[CHAT_ARGS], WR_EVENT_TOOL, index, CHAT_PATHS + tool);
  take(f, doc, &v[CHAT_FUNCTION], WR_EVENT_TOOL, index, CHAT_FUNCTION);
  if (v[CHAT_LOGPROBS].type == WR_JSON_OBJECT) f->logprobs = wr_json_raw(doc, &v[CHAT_LOGPROBS]);
  if (v[CHAT_FINISH].type == WR_JSON_STRING) {
    f->ends = WR_WINDOW_ENDS_INDEX;
    f->ends_index = index;
  }
  if (v[CHAT_CHOICE2].type != WR_JSON_MISSING || v[CHAT_MESSAGE].type == WR_JSON_STRING)
    f->unknown = WR_TEXT_TEXT | WR_TEXT_REASONING | WR_TEXT_TOOL;
  if (v[CHAT_TOOL2].type != WR_JSON_MISSING) f->unknown |= WR_TEXT_TOOL;
  if (v[CHAT_DETAILS].type == WR_JSON_OBJECT) f->unknown |= WR_TEXT_REASONING;
}

static bool has(struct wr_span s, const char *end, bool at_end) {
  size_t n = strlen(end);
  return s.len >= n && memcmp(at_end ? s.ptr + s.len - n : s.ptr, end, n) == 0;
}

/* The kind of text of a delta, or of its end, by the event's name; PING: none. */
static uint8_t responses_kind(struct wr_span t) {
  if (has(t, "output_text.", false) || has(t, "refusal.", false) ||
      has(t, "audio.transcript.", false) || has(t, "audio_transcript.", false))
    return WR_EVENT_TEXT;
  if (has(t, "reasoning", false)) return WR_EVENT_REASONING;
  return has(t, "audio.", false) || has(t, "image", false) ? WR_EVENT_PING : WR_EVENT_TOOL;
}

static void read_done(struct wr_window_found *f, struct wr_span doc, struct wr_span t,
                      const struct wr_json_value *v) {
  f->ends = WR_WINDOW_ENDS_INDEX;
  f->ends_index = number(doc, &v[RESP_INDEX]);
  f->repeats = true;
  f->repeat_kind = responses_kind(t);
  if (f->repeat_kind == WR_EVENT_PING) return;
  static const uint8_t places[] = { RESP_TEXT, RESP_ARGS, RESP_INPUT, RESP_REFUSAL };
  for (size_t i = 0; i < sizeof places; i++) {
    const struct wr_json_value *p = &v[places[i]];
    if (p->type == WR_JSON_STRING && p->raw.len > 2) f->repeat = wr_json_raw(doc, p);
  }
}

static void read_responses(struct wr_window_found *f, const struct wr_event *ev,
                           const struct wr_json_value *v) {
  struct wr_span doc = ev->data, type = ev->name;
  if (v[RESP_TYPE].type == WR_JSON_STRING)
    type = wr_json_unquote(wr_json_raw(doc, &v[RESP_TYPE]));
  if (!has(type, "response.", false)) return;
  struct wr_span t = wr_span_sub(type, 9, type.len - 9);
  if (has(t, ".delta", true)) {
    uint8_t kind = responses_kind(t);
    if (kind == WR_EVENT_PING) return;
    uint32_t sub = number(doc, &v[RESP_CONTENT_INDEX]) | number(doc, &v[RESP_SUMMARY_INDEX]) << 10;
    if (has(t, "refusal.", false) || has(t, "reasoning_summary", false)) sub |= 1u << 31;
    uint8_t n = f->count;
    take(f, doc, &v[RESP_DELTA], kind, number(doc, &v[RESP_INDEX]), sub);
    if (f->count > n) f->texts[n].json = kind == WR_EVENT_TOOL && has(t, "arguments.delta", true);
    if (v[RESP_LOGPROBS].type == WR_JSON_ARRAY) f->logprobs = wr_json_raw(doc, &v[RESP_LOGPROBS]);
  } else if (has(t, ".done", true)) {
    read_done(f, doc, t, v);
  } else if (has(t, "completed", false) || has(t, "incomplete", false) || has(t, "failed", false)) {
    f->ends = WR_WINDOW_ENDS_ALL;
    f->repeats = true;
  }
}

static void read_anthropic(struct wr_window_found *f, const struct wr_event *ev,
                           const struct wr_json_value *v) {
  struct wr_span doc = ev->data, type = ev->name;
  uint32_t index = number(doc, &v[ANT_INDEX]);
  if (v[ANT_TYPE].type == WR_JSON_STRING) type = wr_json_unquote(wr_json_raw(doc, &v[ANT_TYPE]));
  take(f, doc, &v[ANT_TEXT], WR_EVENT_TEXT, index, 0);
  take(f, doc, &v[ANT_START], WR_EVENT_TEXT, index, 0);
  take(f, doc, &v[ANT_THINKING], WR_EVENT_REASONING, index, 0);
  take(f, doc, &v[ANT_START2], WR_EVENT_REASONING, index, 0);
  take(f, doc, &v[ANT_JSON], WR_EVENT_TOOL, index, 0);
  if (wr_span_eq(type, WR_SPAN("content_block_stop"))) {
    f->ends = WR_WINDOW_ENDS_INDEX;
    f->ends_index = index;
  } else if (wr_span_eq(type, WR_SPAN("message_delta"))) {
    f->ends = WR_WINDOW_ENDS_ALL;
  } else if (wr_span_eq(type, WR_SPAN("content_block_delta")) && ev->kind == WR_EVENT_UNKNOWN) {
    struct wr_span kind = wr_json_raw(doc, &v[ANT_KIND]);
    if (!wr_span_eq(kind, WR_SPAN("\"signature_delta\"")) &&
        !wr_span_eq(kind, WR_SPAN("\"citations_delta\"")) &&
        !wr_span_eq(kind, WR_SPAN("\"text_delta\"")) &&
        !wr_span_eq(kind, WR_SPAN("\"thinking_delta\"")))
      f->unknown = WR_TEXT_TEXT | WR_TEXT_REASONING | WR_TEXT_TOOL;
  }
}

static void read_ollama(struct wr_window_found *f, const struct wr_event *ev,
                        const struct wr_json_value *v) {
  struct wr_span doc = ev->data;
  take(f, doc, &v[OLL_THINKING], WR_EVENT_REASONING, 0, 0);
  take(f, doc, &v[OLL_THINKING2], WR_EVENT_REASONING, 0, 1);
  take(f, doc, &v[OLL_CONTENT], WR_EVENT_TEXT, 0, 0);
  take(f, doc, &v[OLL_RESPONSE], WR_EVENT_TEXT, 0, 1);
  uint8_t n = f->count;
  take(f, doc, &v[OLL_ARGS], WR_EVENT_TOOL, 0, 0);
  if (f->count > n) f->ends = WR_WINDOW_ENDS_INDEX; /* arguments come whole */
  if (v[OLL_TOOL2].type != WR_JSON_MISSING) f->unknown |= WR_TEXT_TOOL;
}

enum wr_err wr_window_read(struct wr_relay *relay, enum wr_dialect dialect,
                           const struct wr_event *ev, struct wr_window_found *f) {
  memset(f, 0, offsetof(struct wr_window_found, texts));
  if (ev->terminator) f->ends = WR_WINDOW_ENDS_ALL;
  if (dialect == WR_DIALECT_NONE) {
    if (ev->text.len) add(f, WR_EVENT_TEXT, ev->text);
    else if (ev->kind == WR_EVENT_UNKNOWN && ev->data.len)
      f->unknown = WR_TEXT_TEXT | WR_TEXT_REASONING | WR_TEXT_TOOL;
    return WR_OK;
  }
  struct wr_span word = wr_span_trim(ev->data);
  if (word.len == 0 || word.ptr[0] != '{') return WR_OK; /* [DONE] */
  if (!relay->window_reader) {
    enum wr_err made = reader_make(relay);
    if (made != WR_OK) return made;
  }
  struct wr_json_value v[WR_JSON_MAX_PATHS];
  enum wr_err err = values_of(relay->window_reader, dialect, ev->data, v);
  if (err != WR_OK) return err;
  if (dialect == WR_DIALECT_CHAT) read_chat(f, ev, v);
  else if (dialect == WR_DIALECT_RESPONSES) read_responses(f, ev, v);
  else if (dialect == WR_DIALECT_ANTHROPIC) read_anthropic(f, ev, v);
  else read_ollama(f, ev, v);
  if (ev->terminator) f->ends = WR_WINDOW_ENDS_ALL;
  return WR_OK;
}

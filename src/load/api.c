#include "load/api.h"

#include <string.h>

#include "base/check.h"

#define PROMPT "\"Tell me of weirs.\""
#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":" PROMPT "}]"

struct api_row {
  const char *name;   /* static */
  const char *path;   /* static */
  const char *body;   /* static; behind the model and `stream` */
  const char *limit;  /* static; what stands before and behind the number of tokens */
  const char *close;  /* static */
  const char *marks[3]; /* static; members that carry content when they aren't empty; or NULL */
};

static const struct api_row rows[WR_LOAD_APIS] = {
  { "chat", "/v1/chat/completions", MESSAGES, ",\"max_tokens\":", "",
    { "\"content\"", "\"reasoning_content\"", "\"arguments\"" } },
  { "responses", "/v1/responses", "\"input\":" PROMPT, ",\"max_output_tokens\":", "",
    { "\"delta\"", NULL, NULL } },
  { "messages", "/v1/messages", MESSAGES, ",\"max_tokens\":", "",
    { "\"text\"", "\"thinking\"", "\"partial_json\"" } },
  { "ollama-chat", "/api/chat", MESSAGES, ",\"options\":{\"num_predict\":", "}",
    { "\"content\"", "\"thinking\"", "\"tool_calls\"" } },
  { "ollama-generate", "/api/generate", "\"prompt\":" PROMPT, ",\"options\":{\"num_predict\":",
    "}", { "\"response\"", "\"thinking\"", NULL } },
};

const char *wr_load_api_name(enum wr_load_api api) {
  WR_CHECK(api < WR_LOAD_APIS);
  return rows[api].name;
}

bool wr_load_api_find(struct wr_span name, enum wr_load_api *out) {
  for (int i = 0; i < WR_LOAD_APIS; i++) {
    if (!wr_span_eq(name, wr_span_str(rows[i].name))) continue;
    *out = (enum wr_load_api)i;
    return true;
  }
  return false;
}

const char *wr_load_api_path(enum wr_load_api api) {
  WR_CHECK(api < WR_LOAD_APIS);
  return rows[api].path;
}

bool wr_load_api_of_path(struct wr_span path, enum wr_load_api *out) {
  for (int i = 0; i < WR_LOAD_APIS; i++) {
    struct wr_span end = wr_span_str(rows[i].path);
    if (wr_load_api_is_sse((enum wr_load_api)i)) end = wr_span_sub(end, 3, end.len - 3);
    if (path.len < end.len) continue;
    if (!wr_span_eq(wr_span_sub(path, path.len - end.len, end.len), end)) continue;
    *out = (enum wr_load_api)i;
    return true;
  }
  return false;
}

bool wr_load_api_is_sse(enum wr_load_api api) { return api < WR_LOAD_OLLAMA_CHAT; }

void wr_load_api_body(enum wr_load_api api, struct wr_span model, uint64_t tokens,
                      struct wr_buf *out) {
  WR_CHECK(api < WR_LOAD_APIS);
  const struct api_row *row = &rows[api];
  if (tokens == 0 && api == WR_LOAD_MESSAGES) tokens = 1024;
  wr_buf_put(out, WR_SPAN("{\"model\":"));
  wr_buf_json_string(out, model);
  wr_buf_put(out, WR_SPAN(",\"stream\":true,"));
  wr_buf_put(out, wr_span_str(row->body));
  if (tokens > 0) {
    wr_buf_put(out, wr_span_str(row->limit));
    wr_buf_u64(out, tokens);
    wr_buf_put(out, wr_span_str(row->close));
  }
  wr_buf_char(out, '}');
}

const char *wr_load_api_fields(enum wr_load_api api) {
  return api == WR_LOAD_MESSAGES ? "anthropic-version: 2023-06-01\r\n" : "";
}

static bool holds(struct wr_span data, const char *what) {
  return data.len > 0 && memmem(data.ptr, data.len, what, strlen(what)) != NULL;
}

enum wr_load_sign wr_load_api_sign(enum wr_load_api api, struct wr_span name,
                                   struct wr_span data) {
  switch (api) {
    case WR_LOAD_CHAT:
      if (data.len == 6 && wr_span_eq(data, WR_SPAN("[DONE]"))) return WR_LOAD_ENDS;
      return wr_span_starts(data, WR_SPAN("{\"error\"")) ? WR_LOAD_FAILS : WR_LOAD_PLAIN;
    case WR_LOAD_RESPONSES:
      if (wr_span_eq(name, WR_SPAN("response.completed")) ||
          wr_span_eq(name, WR_SPAN("response.incomplete")))
        return WR_LOAD_ENDS;
      if (wr_span_eq(name, WR_SPAN("response.failed"))) return WR_LOAD_FAILS;
      break;
    case WR_LOAD_MESSAGES:
      if (wr_span_eq(name, WR_SPAN("message_stop"))) return WR_LOAD_ENDS;
      break;
    case WR_LOAD_OLLAMA_CHAT:
    case WR_LOAD_OLLAMA_GENERATE:
      if (wr_span_starts(data, WR_SPAN("{\"error\""))) return WR_LOAD_FAILS;
      return holds(data, "\"done\":true") ? WR_LOAD_ENDS : WR_LOAD_PLAIN;
    case WR_LOAD_APIS: break;
  }
  return wr_span_eq(name, WR_SPAN("error")) ? WR_LOAD_FAILS : WR_LOAD_PLAIN;
}

/* Behind a member's name: a value that is a string or an array with something in it. */
static bool has_value(struct wr_span rest) {
  size_t at = 0;
  while (at < rest.len && (rest.ptr[at] == ' ' || rest.ptr[at] == ':')) at++;
  if (at + 1 >= rest.len) return false;
  char open = rest.ptr[at], first = rest.ptr[at + 1];
  return (open == '"' && first != '"') || (open == '[' && first != ']');
}

/* Asked until the first content has come; a search is enough, as a value that happens to hold a
 * member's name would only move the time of the first token by an event. */
bool wr_load_api_has_content(enum wr_load_api api, struct wr_span name, struct wr_span data) {
  WR_CHECK(api < WR_LOAD_APIS);
  if (api == WR_LOAD_MESSAGES && !wr_span_eq(name, WR_SPAN("content_block_delta"))) return false;
  for (size_t i = 0; i < 3 && rows[api].marks[i] != NULL; i++) {
    const char *mark = rows[api].marks[i];
    const char *at = data.len > 0 ? memmem(data.ptr, data.len, mark, strlen(mark)) : NULL;
    if (at == NULL) continue;
    size_t end = (size_t)(at - data.ptr) + strlen(mark);
    if (has_value(wr_span_sub(data, end, data.len - end))) return true;
  }
  return false;
}

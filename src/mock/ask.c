#include "mock/ask.h"

enum path {
  PATH_MODEL,
  PATH_STREAM,
  PATH_INCLUDE_USAGE,
  PATH_MAX_TOKENS,
  PATH_MAX_COMPLETION_TOKENS,
  PATH_MAX_OUTPUT_TOKENS,
  PATH_NUM_PREDICT,
  PATH_N,
  PATH_TOOL_FUNCTION,
  PATH_TOOL,
  PATH_CHOICE,
  PATH_CHOICE_TYPE,
  PATH_CHOICE_FUNCTION,
  PATH_CHOICE_NAME,
  PATH_THINKING,
  PATH_THINK,
  PATH_SUMMARY,
  PATHS
};

enum wr_err wr_mock_ask_compile(struct wr_json_prog *prog) {
  static const char *const paths[PATHS] = {
    [PATH_MODEL] = "model",
    [PATH_STREAM] = "stream",
    [PATH_INCLUDE_USAGE] = "stream_options.include_usage",
    [PATH_MAX_TOKENS] = "max_tokens",
    [PATH_MAX_COMPLETION_TOKENS] = "max_completion_tokens",
    [PATH_MAX_OUTPUT_TOKENS] = "max_output_tokens",
    [PATH_NUM_PREDICT] = "options.num_predict",
    [PATH_N] = "n",
    [PATH_TOOL_FUNCTION] = "tools[0].function.name",
    [PATH_TOOL] = "tools[0].name",
    [PATH_CHOICE] = "tool_choice",
    [PATH_CHOICE_TYPE] = "tool_choice.type",
    [PATH_CHOICE_FUNCTION] = "tool_choice.function.name",
    [PATH_CHOICE_NAME] = "tool_choice.name",
    [PATH_THINKING] = "thinking.type",
    [PATH_THINK] = "think",
    [PATH_SUMMARY] = "reasoning.summary",
  };
  return wr_json_compile(prog, paths, PATHS);
}

static struct wr_span raw(const struct wr_json_stream *body, enum path path,
                          enum wr_json_type type) {
  if (wr_json_stream_value(body, path)->type != type) return wr_span_make(NULL, 0);
  return wr_json_stream_raw(body, path);
}

static bool is_text(const struct wr_json_stream *body, enum path path, const char *text) {
  struct wr_span value = raw(body, path, WR_JSON_STRING);
  return value.len > 0 && wr_json_string_eq(value, wr_span_str(text));
}

static bool is_true(const struct wr_json_stream *body, enum path path) {
  return wr_span_eq(raw(body, path, WR_JSON_BOOL), WR_SPAN("true"));
}

static uint64_t number(const struct wr_json_stream *body, enum path path) {
  uint64_t n;
  struct wr_span value = raw(body, path, WR_JSON_NUMBER);
  return value.len > 0 && wr_json_u64(value, &n) == WR_OK ? n : 0;
}

/* The text of the first path that has one; false when it is too long for out. */
static bool read_name(const struct wr_json_stream *body, const enum path *paths, size_t n,
                      char *out, size_t out_bytes) {
  out[0] = 0;
  for (size_t i = 0; i < n; i++) {
    if (wr_json_stream_value(body, paths[i])->type != WR_JSON_STRING) continue;
    struct wr_span value = raw(body, paths[i], WR_JSON_STRING);
    struct wr_buf text;
    wr_buf_init(&text, out, out_bytes - 1);
    if (value.len == 0 || wr_json_string_decode(value, &text) != WR_OK || text.overflow) {
      out[0] = 0;
      return false;
    }
    out[text.len] = 0;
    return true;
  }
  return true;
}

static uint64_t max_tokens(const struct wr_json_stream *body) {
  static const enum path paths[] = { PATH_MAX_COMPLETION_TOKENS, PATH_MAX_OUTPUT_TOKENS,
                                     PATH_MAX_TOKENS, PATH_NUM_PREDICT };
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    uint64_t n = number(body, paths[i]);
    if (n > 0) return n;
  }
  return 0;
}

/* "required" (OpenAI), {"type":"function"} (OpenAI), {"type":"any"} and {"type":"tool"}
 * (Anthropic). */
static bool must_call(const struct wr_json_stream *body) {
  return is_text(body, PATH_CHOICE, "required") || is_text(body, PATH_CHOICE_TYPE, "function") ||
         is_text(body, PATH_CHOICE_TYPE, "any") || is_text(body, PATH_CHOICE_TYPE, "tool");
}

enum wr_err wr_mock_ask_read(const struct wr_json_stream *body, enum wr_mock_dialect dialect,
                             uint64_t body_bytes, struct wr_mock_ask *out) {
  static const enum path models[] = { PATH_MODEL };
  static const enum path tools[] = { PATH_CHOICE_FUNCTION, PATH_CHOICE_NAME, PATH_TOOL_FUNCTION,
                                     PATH_TOOL };
  bool ollama = dialect == WR_MOCK_OLLAMA_CHAT || dialect == WR_MOCK_OLLAMA_GENERATE;
  *out = (struct wr_mock_ask){ 0 };
  out->dialect = (uint8_t)dialect;
  out->body_bytes = body_bytes;
  if (!read_name(body, models, 1, out->model, sizeof out->model)) return WR_E_TEXT_RANGE;
  (void)read_name(body, tools, sizeof tools / sizeof tools[0], out->tool, sizeof out->tool);
  /* Ollama streams unless told not to. */
  out->stream = is_true(body, PATH_STREAM) ||
                (ollama && wr_json_stream_value(body, PATH_STREAM)->type == WR_JSON_MISSING);
  out->include_usage = is_true(body, PATH_INCLUDE_USAGE);
  out->max_tokens = max_tokens(body);
  uint64_t n = dialect == WR_MOCK_CHAT ? number(body, PATH_N) : 0;
  out->choices = (uint8_t)(n < 1 ? 1 : n > WR_MOCK_CHOICES ? WR_MOCK_CHOICES : n);
  out->must_call = out->tool[0] != 0 && must_call(body);
  out->thinking = is_text(body, PATH_THINKING, "enabled") ||
                  is_text(body, PATH_THINKING, "adaptive") || is_true(body, PATH_THINK) ||
                  wr_json_stream_value(body, PATH_SUMMARY)->type == WR_JSON_STRING;
  return WR_OK;
}

/* OpenAI's chat completions. */
#include "mock/answer.h"

static void put_id(const struct wr_mock_answer *a, struct wr_buf *out) {
  wr_buf_put(out, WR_SPAN("chatcmpl-"));
  wr_buf_hex(out, a->id, 16);
}

static void put_usage(const struct wr_mock_answer *a, struct wr_buf *out) {
  unsigned long long in = wr_mock_answer_prompt_tokens(a), made = wr_mock_answer_output_tokens(a);
  wr_buf_printf(out,
                "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
                "\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
                "\"completion_tokens_details\":{\"reasoning_tokens\":%u,\"audio_tokens\":0,"
                "\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}",
                in, made, in + made, a->reasoning);
}

static const char *finish_reason(const struct wr_mock_answer *a) {
  return a->calls ? "tool_calls" : a->limited ? "length" : "stop";
}

static void open_object(const struct wr_mock_answer *a, const char *object, struct wr_buf *out) {
  wr_buf_put(out, WR_SPAN("{\"id\":\""));
  put_id(a, out);
  wr_buf_put(out, WR_SPAN("\",\"object\":\""));
  wr_buf_put(out, wr_span_str(object));
  wr_buf_put(out, WR_SPAN("\",\"created\":"));
  wr_buf_u64(out, a->created_s);
  wr_buf_put(out, WR_SPAN(",\"model\":"));
  wr_mock_answer_put_model(a, out);
  wr_buf_put(out, WR_SPAN(",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_weirmock\""));
}

/* Everything up to the inside of the delta. */
static void open_delta(const struct wr_mock_answer *a, struct wr_buf *out) {
  open_object(a, "chat.completion.chunk", out);
  wr_buf_put(out, WR_SPAN(",\"choices\":[{\"index\":"));
  wr_buf_u64(out, a->choice);
  wr_buf_put(out, WR_SPAN(",\"delta\":{"));
}

static void close_delta(const struct wr_mock_answer *a, const char *reason, struct wr_buf *out) {
  if (reason != NULL)
    wr_buf_printf(out, "},\"logprobs\":null,\"finish_reason\":\"%s\"}]", reason);
  else
    wr_buf_put(out, WR_SPAN("},\"logprobs\":null,\"finish_reason\":null}]"));
  if (a->ask.include_usage) wr_buf_put(out, WR_SPAN(",\"usage\":null"));
  wr_buf_char(out, '}');
}

static void put_role(const struct wr_mock_answer *a, struct wr_span piece, struct wr_buf *out) {
  (void)piece;
  open_delta(a, out);
  wr_buf_printf(out, "\"role\":\"assistant\",\"content\":%s,\"refusal\":null",
                a->calls || a->reasoning > 0 ? "null" : "\"\"");
  close_delta(a, NULL, out);
}

static void put_thought(const struct wr_mock_answer *a, struct wr_span piece, struct wr_buf *out) {
  open_delta(a, out);
  wr_buf_put(out, WR_SPAN("\"reasoning_content\":\""));
  wr_buf_put(out, piece);
  wr_buf_char(out, '"');
  close_delta(a, NULL, out);
}

static void put_token(const struct wr_mock_answer *a, struct wr_span piece, struct wr_buf *out) {
  open_delta(a, out);
  wr_buf_put(out, WR_SPAN("\"content\":\""));
  wr_buf_put(out, piece);
  wr_buf_char(out, '"');
  close_delta(a, NULL, out);
}

static void put_call(const struct wr_mock_answer *a, struct wr_buf *out) {
  wr_buf_put(out, WR_SPAN("\"id\":\"call_"));
  wr_buf_hex(out, a->id, 16);
  wr_buf_printf(out, "%u", a->choice);
  wr_buf_put(out, WR_SPAN("\",\"type\":\"function\",\"function\":{\"name\":"));
  wr_mock_answer_put_tool(a, out);
}

static void put_call_begin(const struct wr_mock_answer *a, struct wr_span piece,
                           struct wr_buf *out) {
  (void)piece;
  open_delta(a, out);
  wr_buf_put(out, WR_SPAN("\"tool_calls\":[{\"index\":0,"));
  put_call(a, out);
  wr_buf_put(out, WR_SPAN(",\"arguments\":\"\"}}]"));
  close_delta(a, NULL, out);
}

static void put_call_argument(const struct wr_mock_answer *a, struct wr_span piece,
                              struct wr_buf *out) {
  open_delta(a, out);
  wr_buf_put(out, WR_SPAN("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":"));
  wr_buf_json_string(out, piece);
  wr_buf_put(out, WR_SPAN("}}]"));
  close_delta(a, NULL, out);
}

static void put_finish(const struct wr_mock_answer *a, struct wr_span piece, struct wr_buf *out) {
  (void)piece;
  open_delta(a, out);
  close_delta(a, finish_reason(a), out);
}

static void put_usage_chunk(const struct wr_mock_answer *a, struct wr_span piece,
                            struct wr_buf *out) {
  (void)piece;
  open_object(a, "chat.completion.chunk", out);
  wr_buf_put(out, WR_SPAN(",\"choices\":[],\"usage\":"));
  put_usage(a, out);
  wr_buf_char(out, '}');
}

static void put_done(const struct wr_mock_answer *a, struct wr_span piece, struct wr_buf *out) {
  (void)a;
  (void)piece;
  wr_buf_put(out, WR_SPAN("[DONE]"));
}

const struct wr_mock_step wr_mock_chat_steps[] = {
  { put_role, NULL, WR_MOCK_ONCE, WR_MOCK_ALWAYS, true, false },
  { put_thought, NULL, WR_MOCK_EACH_THOUGHT, WR_MOCK_IF_THOUGHT, false, false },
  { put_token, NULL, WR_MOCK_EACH_TOKEN, WR_MOCK_IF_TEXT, true, false },
  { put_call_begin, NULL, WR_MOCK_ONCE, WR_MOCK_IF_TOOL, true, false },
  { put_call_argument, NULL, WR_MOCK_EACH_ARGUMENT, WR_MOCK_IF_TOOL, true, false },
  { put_finish, NULL, WR_MOCK_ONCE, WR_MOCK_ALWAYS, true, false },
  { put_usage_chunk, NULL, WR_MOCK_ONCE, WR_MOCK_IF_USAGE, false, false },
  { put_done, NULL, WR_MOCK_ONCE, WR_MOCK_ALWAYS, false, true },
  { NULL, NULL, 0, 0, false, false },
};

static void put_message(const struct wr_mock_answer *a, unsigned choice, struct wr_buf *out) {
  char room[WR_MOCK_ARGUMENTS_BYTES];
  wr_buf_put(out, WR_SPAN("{\"role\":\"assistant\",\"refusal\":null,\"annotations\":[],"));
  if (a->reasoning > 0) {
    wr_buf_put(out, WR_SPAN("\"reasoning_content\":\""));
    wr_mock_answer_put_thoughts(a, out);
    wr_buf_put(out, WR_SPAN("\","));
  }
  if (a->calls) {
    wr_buf_put(out, WR_SPAN("\"content\":null,\"tool_calls\":[{"));
    put_call(a, out);
    wr_buf_put(out, WR_SPAN(",\"arguments\":"));
    wr_buf_json_string(out, wr_mock_answer_arguments(a, room));
    wr_buf_put(out, WR_SPAN("}}]}"));
    return;
  }
  wr_buf_put(out, WR_SPAN("\"content\":\""));
  wr_mock_answer_put_text(a, choice, out);
  wr_buf_put(out, WR_SPAN("\"}"));
}

void wr_mock_chat_whole(const struct wr_mock_answer *a, struct wr_buf *out) {
  open_object(a, "chat.completion", out);
  wr_buf_put(out, WR_SPAN(",\"choices\":["));
  for (unsigned choice = 0; choice < a->ask.choices; choice++) {
    wr_buf_printf(out, "%s{\"index\":%u,\"message\":", choice > 0 ? "," : "", choice);
    put_message(a, choice, out);
    wr_buf_printf(out, ",\"logprobs\":null,\"finish_reason\":\"%s\"}", finish_reason(a));
  }
  wr_buf_put(out, WR_SPAN("],\"usage\":"));
  put_usage(a, out);
  wr_buf_char(out, '}');
}

/* Ollama's chat and generate: one JSON object a line, the last one with "done":true. */
#include <time.h>

#include "mock/answer.h"

#define PUT(name) \
  static void name(const struct wr_mock_answer *a, struct wr_span piece, struct wr_buf *out)

static void open_line(const struct wr_mock_answer *a, struct wr_buf *out) {
  char stamp[32] = "1970-01-01T00:00:00Z";
  struct tm parts;
  time_t when = (time_t)a->created_s;
  if (gmtime_r(&when, &parts) != NULL)
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &parts);
  wr_buf_put(out, WR_SPAN("{\"model\":"));
  wr_mock_answer_put_model(a, out);
  wr_buf_printf(out, ",\"created_at\":\"%s\"", stamp);
}

/* Durations are what a machine of 50 tokens a second would need: the same for the same request. */
static void close_last(const struct wr_mock_answer *a, struct wr_buf *out) {
  unsigned long long in = wr_mock_answer_prompt_tokens(a), made = wr_mock_answer_output_tokens(a);
  wr_buf_printf(
      out,
      ",\"done_reason\":\"%s\",\"done\":true,\"total_duration\":%llu,\"load_duration\":1000000,"
      "\"prompt_eval_count\":%llu,\"prompt_eval_duration\":%llu,\"eval_count\":%llu,"
      "\"eval_duration\":%llu}",
      a->limited ? "length" : "stop", 1000000 + in * 1000000 + made * 20000000, in, in * 1000000,
      made, made * 20000000);
}

static void put_call(const struct wr_mock_answer *a, struct wr_buf *out) {
  char room[WR_MOCK_ARGUMENTS_BYTES];
  wr_buf_put(out, WR_SPAN(",\"tool_calls\":[{\"function\":{\"name\":"));
  wr_mock_answer_put_tool(a, out);
  wr_buf_put(out, WR_SPAN(",\"arguments\":"));
  wr_buf_put(out, wr_mock_answer_arguments(a, room));
  wr_buf_put(out, WR_SPAN("}}]"));
}

PUT(put_chat_thought) {
  open_line(a, out);
  wr_buf_put(out, WR_SPAN(",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\""));
  wr_buf_put(out, piece);
  wr_buf_put(out, WR_SPAN("\"},\"done\":false}"));
}

PUT(put_chat_token) {
  open_line(a, out);
  wr_buf_put(out, WR_SPAN(",\"message\":{\"role\":\"assistant\",\"content\":\""));
  wr_buf_put(out, piece);
  wr_buf_put(out, WR_SPAN("\"},\"done\":false}"));
}

PUT(put_chat_call) {
  (void)piece;
  open_line(a, out);
  wr_buf_put(out, WR_SPAN(",\"message\":{\"role\":\"assistant\",\"content\":\"\""));
  put_call(a, out);
  wr_buf_put(out, WR_SPAN("},\"done\":false}"));
}

PUT(put_chat_last) {
  (void)piece;
  open_line(a, out);
  wr_buf_put(out, WR_SPAN(",\"message\":{\"role\":\"assistant\",\"content\":\"\"}"));
  close_last(a, out);
}

PUT(put_generate_thought) {
  open_line(a, out);
  wr_buf_put(out, WR_SPAN(",\"response\":\"\",\"thinking\":\""));
  wr_buf_put(out, piece);
  wr_buf_put(out, WR_SPAN("\",\"done\":false}"));
}

PUT(put_generate_token) {
  open_line(a, out);
  wr_buf_put(out, WR_SPAN(",\"response\":\""));
  wr_buf_put(out, piece);
  wr_buf_put(out, WR_SPAN("\",\"done\":false}"));
}

PUT(put_generate_last) {
  (void)piece;
  open_line(a, out);
  wr_buf_put(out, WR_SPAN(",\"response\":\"\",\"context\":[1,2,3]"));
  close_last(a, out);
}

const struct wr_mock_step wr_mock_ollama_chat_steps[] = {
  { put_chat_thought, NULL, WR_MOCK_EACH_THOUGHT, WR_MOCK_IF_THOUGHT, false, false },
  { put_chat_token, NULL, WR_MOCK_EACH_TOKEN, WR_MOCK_IF_TEXT, false, false },
  { put_chat_call, NULL, WR_MOCK_ONCE, WR_MOCK_IF_TOOL, false, false },
  { put_chat_last, NULL, WR_MOCK_ONCE, WR_MOCK_ALWAYS, false, true },
  { NULL, NULL, 0, 0, false, false },
};

/* Generate knows no tools. */
const struct wr_mock_step wr_mock_ollama_generate_steps[] = {
  { put_generate_thought, NULL, WR_MOCK_EACH_THOUGHT, WR_MOCK_IF_THOUGHT, false, false },
  { put_generate_token, NULL, WR_MOCK_EACH_TOKEN, WR_MOCK_ALWAYS, false, false },
  { put_generate_last, NULL, WR_MOCK_ONCE, WR_MOCK_ALWAYS, false, true },
  { NULL, NULL, 0, 0, false, false },
};

void wr_mock_ollama_chat_whole(const struct wr_mock_answer *a, struct wr_buf *out) {
  open_line(a, out);
  wr_buf_put(out, WR_SPAN(",\"message\":{\"role\":\"assistant\",\"content\":\""));
  if (!a->calls) wr_mock_answer_put_text(a, 0, out);
  wr_buf_char(out, '"');
  if (a->reasoning > 0) {
    wr_buf_put(out, WR_SPAN(",\"thinking\":\""));
    wr_mock_answer_put_thoughts(a, out);
    wr_buf_char(out, '"');
  }
  if (a->calls) put_call(a, out);
  wr_buf_char(out, '}');
  close_last(a, out);
}

void wr_mock_ollama_generate_whole(const struct wr_mock_answer *a, struct wr_buf *out) {
  open_line(a, out);
  wr_buf_put(out, WR_SPAN(",\"response\":\""));
  wr_mock_answer_put_text(a, 0, out);
  wr_buf_char(out, '"');
  if (a->reasoning > 0) {
    wr_buf_put(out, WR_SPAN(",\"thinking\":\""));
    wr_mock_answer_put_thoughts(a, out);
    wr_buf_char(out, '"');
  }
  close_last(a, out);
}

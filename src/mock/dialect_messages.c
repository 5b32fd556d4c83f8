/* Anthropic's Messages API. */
#include "mock/answer.h"

#define PUT(name) \
  static void name(const struct wr_mock_answer *a, struct wr_span piece, struct wr_buf *out)

static unsigned block_index(const struct wr_mock_answer *a) { return a->reasoning > 0 ? 1 : 0; }

static const char *stop_reason(const struct wr_mock_answer *a) {
  return a->calls ? "tool_use" : a->limited ? "max_tokens" : "end_turn";
}

/* Checked by nobody, but clients hand it back, so it has to be there. */
static void put_signature(const struct wr_mock_answer *a, struct wr_buf *out) {
  wr_buf_put(out, WR_SPAN("\"d2Vpcm1vY2s"));
  wr_buf_hex(out, a->id, 16);
  wr_buf_char(out, '"');
}

static void open_message(const struct wr_mock_answer *a, struct wr_buf *out) {
  wr_buf_put(out, WR_SPAN("{\"id\":\"msg_"));
  wr_buf_hex(out, a->id, 16);
  wr_buf_put(out, WR_SPAN("\",\"type\":\"message\",\"role\":\"assistant\",\"model\":"));
  wr_mock_answer_put_model(a, out);
}

static void close_message(const struct wr_mock_answer *a, const char *reason,
                          uint64_t output_tokens, struct wr_buf *out) {
  const char *quote = reason != NULL ? "\"" : "";
  wr_buf_printf(out,
                ",\"stop_reason\":%s%s%s,\"stop_sequence\":null,\"usage\":{\"input_tokens\":%llu,"
                "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
                "\"output_tokens\":%llu,\"service_tier\":\"standard\"}}",
                quote, reason != NULL ? reason : "null", quote,
                (unsigned long long)wr_mock_answer_prompt_tokens(a),
                (unsigned long long)output_tokens);
}

static void put_tool_id(const struct wr_mock_answer *a, struct wr_buf *out) {
  wr_buf_put(out, WR_SPAN("\"toolu_"));
  wr_buf_hex(out, a->id, 16);
  wr_buf_char(out, '"');
}

PUT(put_start) {
  (void)piece;
  wr_buf_put(out, WR_SPAN("{\"type\":\"message_start\",\"message\":"));
  open_message(a, out);
  wr_buf_put(out, WR_SPAN(",\"content\":[]"));
  close_message(a, NULL, 1, out);
  wr_buf_char(out, '}');
}

PUT(put_thinking_start) {
  (void)a;
  (void)piece;
  wr_buf_put(out, WR_SPAN("{\"type\":\"content_block_start\",\"index\":0,\"content_block\":"
                          "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}"));
}

PUT(put_thinking_delta) {
  (void)a;
  wr_buf_put(out, WR_SPAN("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
                          "{\"type\":\"thinking_delta\",\"thinking\":\""));
  wr_buf_put(out, piece);
  wr_buf_put(out, WR_SPAN("\"}}"));
}

PUT(put_signature_delta) {
  (void)piece;
  wr_buf_put(out, WR_SPAN("{\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
                          "{\"type\":\"signature_delta\",\"signature\":"));
  put_signature(a, out);
  wr_buf_put(out, WR_SPAN("}}"));
}

PUT(put_thinking_stop) {
  (void)a;
  (void)piece;
  wr_buf_put(out, WR_SPAN("{\"type\":\"content_block_stop\",\"index\":0}"));
}

PUT(put_text_start) {
  (void)piece;
  wr_buf_printf(out,
                "{\"type\":\"content_block_start\",\"index\":%u,"
                "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
                block_index(a));
}

PUT(put_tool_start) {
  (void)piece;
  wr_buf_printf(
      out, "{\"type\":\"content_block_start\",\"index\":%u,\"content_block\":", block_index(a));
  wr_buf_put(out, WR_SPAN("{\"type\":\"tool_use\",\"id\":"));
  put_tool_id(a, out);
  wr_buf_put(out, WR_SPAN(",\"name\":"));
  wr_mock_answer_put_tool(a, out);
  wr_buf_put(out, WR_SPAN(",\"input\":{}}}"));
}

PUT(put_ping) {
  (void)a;
  (void)piece;
  wr_buf_put(out, WR_SPAN("{\"type\":\"ping\"}"));
}

PUT(put_text_delta) {
  wr_buf_put(out, WR_SPAN("{\"type\":\"content_block_delta\",\"index\":"));
  wr_buf_u64(out, block_index(a));
  wr_buf_put(out, WR_SPAN(",\"delta\":{\"type\":\"text_delta\",\"text\":\""));
  wr_buf_put(out, piece);
  wr_buf_put(out, WR_SPAN("\"}}"));
}

PUT(put_argument_delta) {
  wr_buf_printf(out,
                "{\"type\":\"content_block_delta\",\"index\":%u,"
                "\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":",
                block_index(a));
  wr_buf_json_string(out, piece);
  wr_buf_put(out, WR_SPAN("}}"));
}

PUT(put_stop) {
  (void)piece;
  wr_buf_printf(out, "{\"type\":\"content_block_stop\",\"index\":%u}", block_index(a));
}

PUT(put_message_delta) {
  (void)piece;
  wr_buf_printf(
      out,
      "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%s\",\"stop_sequence\":null},"
      "\"usage\":{\"input_tokens\":%llu,\"cache_creation_input_tokens\":0,"
      "\"cache_read_input_tokens\":0,\"output_tokens\":%llu}}",
      stop_reason(a), (unsigned long long)wr_mock_answer_prompt_tokens(a),
      (unsigned long long)wr_mock_answer_output_tokens(a));
}

PUT(put_message_stop) {
  (void)a;
  (void)piece;
  wr_buf_put(out, WR_SPAN("{\"type\":\"message_stop\"}"));
}

#define ONCE(put, name, when) \
  { put, name, WR_MOCK_ONCE, when, false, false }

const struct wr_mock_step wr_mock_messages_steps[] = {
  ONCE(put_start, "message_start", WR_MOCK_ALWAYS),
  ONCE(put_thinking_start, "content_block_start", WR_MOCK_IF_THOUGHT),
  { put_thinking_delta, "content_block_delta", WR_MOCK_EACH_THOUGHT, WR_MOCK_IF_THOUGHT, false,
    false },
  ONCE(put_signature_delta, "content_block_delta", WR_MOCK_IF_THOUGHT),
  ONCE(put_thinking_stop, "content_block_stop", WR_MOCK_IF_THOUGHT),
  ONCE(put_text_start, "content_block_start", WR_MOCK_IF_TEXT),
  ONCE(put_tool_start, "content_block_start", WR_MOCK_IF_TOOL),
  ONCE(put_ping, "ping", WR_MOCK_ALWAYS),
  { put_text_delta, "content_block_delta", WR_MOCK_EACH_TOKEN, WR_MOCK_IF_TEXT, false, false },
  { put_argument_delta, "content_block_delta", WR_MOCK_EACH_ARGUMENT, WR_MOCK_IF_TOOL, false,
    false },
  ONCE(put_stop, "content_block_stop", WR_MOCK_ALWAYS),
  ONCE(put_message_delta, "message_delta", WR_MOCK_ALWAYS),
  { put_message_stop, "message_stop", WR_MOCK_ONCE, WR_MOCK_ALWAYS, false, true },
  { NULL, NULL, 0, 0, false, false },
};

void wr_mock_messages_whole(const struct wr_mock_answer *a, struct wr_buf *out) {
  char room[WR_MOCK_ARGUMENTS_BYTES];
  open_message(a, out);
  wr_buf_put(out, WR_SPAN(",\"content\":["));
  if (a->reasoning > 0) {
    wr_buf_put(out, WR_SPAN("{\"type\":\"thinking\",\"thinking\":\""));
    wr_mock_answer_put_thoughts(a, out);
    wr_buf_put(out, WR_SPAN("\",\"signature\":"));
    put_signature(a, out);
    wr_buf_put(out, WR_SPAN("},"));
  }
  if (a->calls) {
    wr_buf_put(out, WR_SPAN("{\"type\":\"tool_use\",\"id\":"));
    put_tool_id(a, out);
    wr_buf_put(out, WR_SPAN(",\"name\":"));
    wr_mock_answer_put_tool(a, out);
    wr_buf_put(out, WR_SPAN(",\"input\":"));
    wr_buf_put(out, wr_mock_answer_arguments(a, room));
    wr_buf_put(out, WR_SPAN("}]"));
  } else {
    wr_buf_put(out, WR_SPAN("{\"type\":\"text\",\"text\":\""));
    wr_mock_answer_put_text(a, 0, out);
    wr_buf_put(out, WR_SPAN("\"}]"));
  }
  close_message(a, stop_reason(a), wr_mock_answer_output_tokens(a), out);
}

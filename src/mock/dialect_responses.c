/* OpenAI's Responses API. Every event carries its type and a sequence number. */
#include "mock/answer.h"

enum item { ITEM_REASONING, ITEM_MESSAGE, ITEM_CALL };
enum status { STATUS_RUNNING, STATUS_ENDED };

static void put_item_id(const struct wr_mock_answer *a, enum item item, struct wr_buf *out) {
  static const char *const prefixes[] = { "rs_", "msg_", "fc_" };
  wr_buf_printf(out, "\"%s", prefixes[item]);
  wr_buf_hex(out, a->id, 16);
  wr_buf_char(out, '"');
}

static unsigned output_index(const struct wr_mock_answer *a, enum item item) {
  return item != ITEM_REASONING && a->reasoning > 0 ? 1 : 0;
}

static void put_text_part(const struct wr_mock_answer *a, enum status status, struct wr_buf *out) {
  wr_buf_put(out,
             WR_SPAN("{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\""));
  if (status == STATUS_ENDED) wr_mock_answer_put_text(a, 0, out);
  wr_buf_put(out, WR_SPAN("\"}"));
}

static void put_summary_part(const struct wr_mock_answer *a, enum status status,
                             struct wr_buf *out) {
  wr_buf_put(out, WR_SPAN("{\"type\":\"summary_text\",\"text\":\""));
  if (status == STATUS_ENDED) wr_mock_answer_put_thoughts(a, out);
  wr_buf_put(out, WR_SPAN("\"}"));
}

static const char *item_status(const struct wr_mock_answer *a, enum status status) {
  return status == STATUS_RUNNING ? "in_progress" : a->limited ? "incomplete" : "completed";
}

static void put_item(const struct wr_mock_answer *a, enum item item, enum status status,
                     struct wr_buf *out) {
  char room[WR_MOCK_ARGUMENTS_BYTES];
  bool ended = status == STATUS_ENDED;
  wr_buf_put(out, WR_SPAN("{\"id\":"));
  put_item_id(a, item, out);
  if (item == ITEM_REASONING) {
    wr_buf_put(out, WR_SPAN(",\"type\":\"reasoning\",\"summary\":["));
    if (ended) put_summary_part(a, status, out);
    wr_buf_put(out, WR_SPAN("]}"));
    return;
  }
  wr_buf_printf(out, ",\"status\":\"%s\"", item_status(a, status));
  if (item == ITEM_MESSAGE) {
    wr_buf_put(out, WR_SPAN(",\"type\":\"message\",\"role\":\"assistant\",\"content\":["));
    if (ended) put_text_part(a, status, out);
    wr_buf_put(out, WR_SPAN("]}"));
    return;
  }
  wr_buf_put(out, WR_SPAN(",\"type\":\"function_call\",\"call_id\":\"call_"));
  wr_buf_hex(out, a->id, 16);
  wr_buf_put(out, WR_SPAN("\",\"name\":"));
  wr_mock_answer_put_tool(a, out);
  wr_buf_put(out, WR_SPAN(",\"arguments\":"));
  wr_buf_json_string(out, ended ? wr_mock_answer_arguments(a, room) : WR_SPAN(""));
  wr_buf_char(out, '}');
}

static void put_usage(const struct wr_mock_answer *a, struct wr_buf *out) {
  unsigned long long in = wr_mock_answer_prompt_tokens(a), made = wr_mock_answer_output_tokens(a);
  wr_buf_printf(out,
                "{\"input_tokens\":%llu,\"input_tokens_details\":{\"cached_tokens\":0},"
                "\"output_tokens\":%llu,\"output_tokens_details\":{\"reasoning_tokens\":%u},"
                "\"total_tokens\":%llu}",
                in, made, a->reasoning, in + made);
}

static void put_response(const struct wr_mock_answer *a, enum status status, struct wr_buf *out) {
  bool ended = status == STATUS_ENDED;
  wr_buf_put(out, WR_SPAN("{\"id\":\"resp_"));
  wr_buf_hex(out, a->id, 16);
  wr_buf_printf(out, "\",\"object\":\"response\",\"created_at\":%llu,\"status\":\"%s\",",
                (unsigned long long)a->created_s, item_status(a, status));
  wr_buf_printf(out, "\"background\":false,\"error\":null,\"incomplete_details\":%s,",
                ended && a->limited ? "{\"reason\":\"max_output_tokens\"}" : "null");
  wr_buf_put(out, WR_SPAN("\"instructions\":null,\"max_output_tokens\":"));
  if (a->ask.max_tokens > 0)
    wr_buf_u64(out, a->ask.max_tokens);
  else
    wr_buf_put(out, WR_SPAN("null"));
  wr_buf_put(out, WR_SPAN(",\"model\":"));
  wr_mock_answer_put_model(a, out);
  wr_buf_put(out, WR_SPAN(",\"output\":["));
  if (ended) {
    if (a->reasoning > 0) {
      put_item(a, ITEM_REASONING, status, out);
      wr_buf_char(out, ',');
    }
    put_item(a, a->calls ? ITEM_CALL : ITEM_MESSAGE, status, out);
  }
  wr_buf_put(out, WR_SPAN("],\"parallel_tool_calls\":true,\"previous_response_id\":null,"
                          "\"reasoning\":{\"effort\":null,\"summary\":null},\"store\":true,"
                          "\"temperature\":1.0,\"text\":{\"format\":{\"type\":\"text\"}},"
                          "\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":1.0,"
                          "\"truncation\":\"disabled\",\"usage\":"));
  if (ended)
    put_usage(a, out);
  else
    wr_buf_put(out, WR_SPAN("null"));
  wr_buf_put(out, WR_SPAN(",\"user\":null,\"metadata\":{}}"));
}

static void open_event(const struct wr_mock_answer *a, const char *type, struct wr_buf *out) {
  wr_buf_printf(out, "{\"type\":\"%s\",\"sequence_number\":%u", type, a->sequence);
}

/* The fields that tell which part of which item an event is about. */
static void open_part_event(const struct wr_mock_answer *a, const char *type, enum item item,
                            const char *part_index, struct wr_buf *out) {
  open_event(a, type, out);
  wr_buf_put(out, WR_SPAN(",\"item_id\":"));
  put_item_id(a, item, out);
  wr_buf_printf(out, ",\"output_index\":%u", output_index(a, item));
  if (part_index != NULL) wr_buf_printf(out, ",\"%s\":0", part_index);
}

static void put_response_event(const struct wr_mock_answer *a, const char *type, enum status status,
                               struct wr_buf *out) {
  open_event(a, type, out);
  wr_buf_put(out, WR_SPAN(",\"response\":"));
  put_response(a, status, out);
  wr_buf_char(out, '}');
}

static void put_item_event(const struct wr_mock_answer *a, enum item item, enum status status,
                           struct wr_buf *out) {
  open_event(a, status == STATUS_ENDED ? "response.output_item.done" : "response.output_item.added",
             out);
  wr_buf_printf(out, ",\"output_index\":%u,\"item\":", output_index(a, item));
  put_item(a, item, status, out);
  wr_buf_char(out, '}');
}

#define PUT(name) \
  static void name(const struct wr_mock_answer *a, struct wr_span piece, struct wr_buf *out)

PUT(put_created) {
  (void)piece;
  put_response_event(a, "response.created", STATUS_RUNNING, out);
}
PUT(put_in_progress) {
  (void)piece;
  put_response_event(a, "response.in_progress", STATUS_RUNNING, out);
}
PUT(put_completed) {
  (void)piece;
  put_response_event(a, a->limited ? "response.incomplete" : "response.completed", STATUS_ENDED,
                     out);
}
PUT(put_reasoning_added) {
  (void)piece;
  put_item_event(a, ITEM_REASONING, STATUS_RUNNING, out);
}
PUT(put_reasoning_done) {
  (void)piece;
  put_item_event(a, ITEM_REASONING, STATUS_ENDED, out);
}
PUT(put_message_added) {
  (void)piece;
  put_item_event(a, ITEM_MESSAGE, STATUS_RUNNING, out);
}
PUT(put_message_done) {
  (void)piece;
  put_item_event(a, ITEM_MESSAGE, STATUS_ENDED, out);
}
PUT(put_call_added) {
  (void)piece;
  put_item_event(a, ITEM_CALL, STATUS_RUNNING, out);
}
PUT(put_call_done) {
  (void)piece;
  put_item_event(a, ITEM_CALL, STATUS_ENDED, out);
}

PUT(put_summary_added) {
  (void)piece;
  open_part_event(a, "response.reasoning_summary_part.added", ITEM_REASONING, "summary_index", out);
  wr_buf_put(out, WR_SPAN(",\"part\":"));
  put_summary_part(a, STATUS_RUNNING, out);
  wr_buf_char(out, '}');
}
PUT(put_summary_delta) {
  open_part_event(a, "response.reasoning_summary_text.delta", ITEM_REASONING, "summary_index", out);
  wr_buf_put(out, WR_SPAN(",\"delta\":\""));
  wr_buf_put(out, piece);
  wr_buf_put(out, WR_SPAN("\"}"));
}
PUT(put_summary_text_done) {
  (void)piece;
  open_part_event(a, "response.reasoning_summary_text.done", ITEM_REASONING, "summary_index", out);
  wr_buf_put(out, WR_SPAN(",\"text\":\""));
  wr_mock_answer_put_thoughts(a, out);
  wr_buf_put(out, WR_SPAN("\"}"));
}
PUT(put_summary_done) {
  (void)piece;
  open_part_event(a, "response.reasoning_summary_part.done", ITEM_REASONING, "summary_index", out);
  wr_buf_put(out, WR_SPAN(",\"part\":"));
  put_summary_part(a, STATUS_ENDED, out);
  wr_buf_char(out, '}');
}

PUT(put_part_added) {
  (void)piece;
  open_part_event(a, "response.content_part.added", ITEM_MESSAGE, "content_index", out);
  wr_buf_put(out, WR_SPAN(",\"part\":"));
  put_text_part(a, STATUS_RUNNING, out);
  wr_buf_char(out, '}');
}
PUT(put_text_delta) {
  open_part_event(a, "response.output_text.delta", ITEM_MESSAGE, "content_index", out);
  wr_buf_put(out, WR_SPAN(",\"delta\":\""));
  wr_buf_put(out, piece);
  wr_buf_put(out, WR_SPAN("\",\"logprobs\":[]}"));
}
PUT(put_text_done) {
  (void)piece;
  open_part_event(a, "response.output_text.done", ITEM_MESSAGE, "content_index", out);
  wr_buf_put(out, WR_SPAN(",\"text\":\""));
  wr_mock_answer_put_text(a, 0, out);
  wr_buf_put(out, WR_SPAN("\",\"logprobs\":[]}"));
}
PUT(put_part_done) {
  (void)piece;
  open_part_event(a, "response.content_part.done", ITEM_MESSAGE, "content_index", out);
  wr_buf_put(out, WR_SPAN(",\"part\":"));
  put_text_part(a, STATUS_ENDED, out);
  wr_buf_char(out, '}');
}

PUT(put_argument_delta) {
  open_part_event(a, "response.function_call_arguments.delta", ITEM_CALL, NULL, out);
  wr_buf_put(out, WR_SPAN(",\"delta\":"));
  wr_buf_json_string(out, piece);
  wr_buf_char(out, '}');
}
PUT(put_arguments_done) {
  char room[WR_MOCK_ARGUMENTS_BYTES];
  (void)piece;
  open_part_event(a, "response.function_call_arguments.done", ITEM_CALL, NULL, out);
  wr_buf_put(out, WR_SPAN(",\"name\":"));
  wr_mock_answer_put_tool(a, out);
  wr_buf_put(out, WR_SPAN(",\"arguments\":"));
  wr_buf_json_string(out, wr_mock_answer_arguments(a, room));
  wr_buf_char(out, '}');
}

#define ONCE(put, name, when) \
  { put, name, WR_MOCK_ONCE, when, false, false }

/* The names are those in the payloads. */
const struct wr_mock_step wr_mock_responses_steps[] = {
  ONCE(put_created, "response.created", WR_MOCK_ALWAYS),
  ONCE(put_in_progress, "response.in_progress", WR_MOCK_ALWAYS),
  ONCE(put_reasoning_added, "response.output_item.added", WR_MOCK_IF_THOUGHT),
  ONCE(put_summary_added, "response.reasoning_summary_part.added", WR_MOCK_IF_THOUGHT),
  { put_summary_delta, "response.reasoning_summary_text.delta", WR_MOCK_EACH_THOUGHT,
    WR_MOCK_IF_THOUGHT, false, false },
  ONCE(put_summary_text_done, "response.reasoning_summary_text.done", WR_MOCK_IF_THOUGHT),
  ONCE(put_summary_done, "response.reasoning_summary_part.done", WR_MOCK_IF_THOUGHT),
  ONCE(put_reasoning_done, "response.output_item.done", WR_MOCK_IF_THOUGHT),
  ONCE(put_message_added, "response.output_item.added", WR_MOCK_IF_TEXT),
  ONCE(put_part_added, "response.content_part.added", WR_MOCK_IF_TEXT),
  { put_text_delta, "response.output_text.delta", WR_MOCK_EACH_TOKEN, WR_MOCK_IF_TEXT, false,
    false },
  ONCE(put_text_done, "response.output_text.done", WR_MOCK_IF_TEXT),
  ONCE(put_part_done, "response.content_part.done", WR_MOCK_IF_TEXT),
  ONCE(put_message_done, "response.output_item.done", WR_MOCK_IF_TEXT),
  ONCE(put_call_added, "response.output_item.added", WR_MOCK_IF_TOOL),
  { put_argument_delta, "response.function_call_arguments.delta", WR_MOCK_EACH_ARGUMENT,
    WR_MOCK_IF_TOOL, false, false },
  ONCE(put_arguments_done, "response.function_call_arguments.done", WR_MOCK_IF_TOOL),
  ONCE(put_call_done, "response.output_item.done", WR_MOCK_IF_TOOL),
  { put_completed, "response.completed", WR_MOCK_ONCE, WR_MOCK_IF_WHOLE, false, true },
  { put_completed, "response.incomplete", WR_MOCK_ONCE, WR_MOCK_IF_LIMITED, false, true },
  { NULL, NULL, 0, 0, false, false },
};

void wr_mock_responses_whole(const struct wr_mock_answer *a, struct wr_buf *out) {
  put_response(a, STATUS_ENDED, out);
}

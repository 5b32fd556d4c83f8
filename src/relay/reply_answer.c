/* Whole answers that weir makes itself: what a policy's "answer" verdict becomes. */
#include <inttypes.h>

#include "base/check.h"
#include "relay/reply.h"
#include "wire/sse_write.h"

static void put_str(struct wr_buf *out, const char *s) { wr_buf_put(out, wr_span_str(s)); }

static void chat_document(struct wr_buf *out, struct wr_span model, struct wr_span text,
                          uint64_t id, uint64_t t) {
  wr_buf_printf(out,
                "{\"id\":\"chatcmpl-weir%" PRIx64 "\",\"object\":\"chat.completion\",\"created\":"
                                                  "%" PRIu64 ",\"model\":",
                id, t);
  wr_buf_json_string(out, model);
  put_str(out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
  wr_buf_json_string(out, text);
  put_str(out, ",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
               "\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}");
}

static void chat_chunk(struct wr_buf *out, struct wr_span model, uint64_t id, uint64_t t,
                       const char *delta_open, const struct wr_span *text, const char *finish) {
  wr_buf_printf(out,
                "data: {\"id\":\"chatcmpl-weir%" PRIx64 "\",\"object\":\"chat.completion.chunk\","
                                                        "\"created\":%" PRIu64 ",\"model\":",
                id, t);
  wr_buf_json_string(out, model);
  put_str(out, ",\"choices\":[{\"index\":0,\"delta\":{");
  put_str(out, delta_open);
  if (text) wr_buf_json_string(out, *text);
  wr_buf_printf(out, "},\"logprobs\":null,\"finish_reason\":%s}]}\n\n", finish);
}

static void chat_stream(struct wr_buf *out, struct wr_span model, struct wr_span text, uint64_t id,
                        uint64_t t) {
  struct wr_span none = WR_SPAN("");
  chat_chunk(out, model, id, t, "\"role\":\"assistant\",\"content\":", &none, "null");
  chat_chunk(out, model, id, t, "\"content\":", &text, "null");
  chat_chunk(out, model, id, t, "", NULL, "\"stop\"");
  wr_buf_put(out, WR_SSE_DONE);
}

static void responses_object(struct wr_buf *out, struct wr_span model, const struct wr_span *text,
                             uint64_t id, uint64_t t) {
  wr_buf_printf(out,
                "{\"id\":\"resp_weir%" PRIx64 "\",\"object\":\"response\",\"created_at\":%" PRIu64
                ",\"status\":\"%s\",\"error\":null,\"incomplete_details\":null,\"model\":",
                id, t, text ? "completed" : "in_progress");
  wr_buf_json_string(out, model);
  put_str(out, ",\"output\":[");
  if (text) {
    wr_buf_printf(out,
                  "{\"id\":\"msg_weir%" PRIx64 "\",\"type\":\"message\",\"role\":\"assistant\","
                                               "\"status\":"
                  "\"completed\",\"content\":[{\"type\":\"output_text\",\"annotations\":[],"
                  "\"text\":",
                  id);
    wr_buf_json_string(out, *text);
    put_str(out, "}]}");
  }
  put_str(out, "],\"parallel_tool_calls\":true,\"tools\":[],\"tool_choice\":\"auto\",\"usage\":");
  put_str(out, text ? "{\"input_tokens\":0,\"output_tokens\":0,\"total_tokens\":0}" : "null");
  put_str(out, "}");
}

static void responses_item(struct wr_buf *out, uint64_t id, const struct wr_span *text) {
  wr_buf_printf(out,
                "{\"id\":\"msg_weir%" PRIx64 "\",\"type\":\"message\",\"role\":\"assistant\","
                                             "\"status\":\"%s\","
                "\"content\":[",
                id, text ? "completed" : "in_progress");
  if (text) {
    put_str(out, "{\"type\":\"output_text\",\"annotations\":[],\"text\":");
    wr_buf_json_string(out, *text);
    put_str(out, "}");
  }
  put_str(out, "]}");
}

/* The events of one message, with `kind` numbered as the API numbers them. */
static void responses_text_event(struct wr_buf *out, const char *kind, const char *field,
                                 struct wr_span text, uint64_t id, unsigned seq) {
  wr_buf_printf(out,
                "event: %s\ndata: "
                "{\"type\":\"%s\",\"sequence_number\":%u,\"item_id\":\"msg_weir%" PRIx64
                "\",\"output_index\":0,\"content_index\":0,\"%s\":",
                kind, kind, seq, id, field);
  wr_buf_json_string(out, text);
  put_str(out, "}\n\n");
}

static void responses_part_event(struct wr_buf *out, const char *kind, struct wr_span text,
                                 uint64_t id, unsigned seq) {
  wr_buf_printf(out,
                "event: %s\ndata: "
                "{\"type\":\"%s\",\"sequence_number\":%u,\"item_id\":\"msg_weir%" PRIx64
                "\",\"output_index\":0,\"content_index\":0,\"part\":{\"type\":\"output_text\","
                "\"annotations\":[],"
                "\"text\":",
                kind, kind, seq, id);
  wr_buf_json_string(out, text);
  put_str(out, "}}\n\n");
}

static void responses_object_event(struct wr_buf *out, const char *kind, struct wr_span model,
                                   const struct wr_span *text, uint64_t id, uint64_t t,
                                   unsigned seq) {
  wr_buf_printf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%u,\"response\":", kind,
                kind, seq);
  responses_object(out, model, text, id, t);
  put_str(out, "}\n\n");
}

static void responses_item_event(struct wr_buf *out, const char *kind, const struct wr_span *text,
                                 uint64_t id, unsigned seq) {
  wr_buf_printf(out,
                "event: %s\ndata: "
                "{\"type\":\"%s\",\"sequence_number\":%u,\"output_index\":0,\"item\":",
                kind, kind, seq);
  responses_item(out, id, text);
  put_str(out, "}\n\n");
}

static void responses_stream(struct wr_buf *out, struct wr_span model, struct wr_span text,
                             uint64_t id, uint64_t t) {
  struct wr_span none = WR_SPAN("");
  responses_object_event(out, "response.created", model, NULL, id, t, 0);
  responses_item_event(out, "response.output_item.added", NULL, id, 1);
  responses_part_event(out, "response.content_part.added", none, id, 2);
  responses_text_event(out, "response.output_text.delta", "delta", text, id, 3);
  responses_text_event(out, "response.output_text.done", "text", text, id, 4);
  responses_part_event(out, "response.content_part.done", text, id, 5);
  responses_item_event(out, "response.output_item.done", &text, id, 6);
  responses_object_event(out, "response.completed", model, &text, id, t, 7);
}

static void anthropic_message(struct wr_buf *out, struct wr_span model, const struct wr_span *text,
                              uint64_t id) {
  wr_buf_printf(
      out,
      "{\"id\":\"msg_weir%" PRIx64 "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", id);
  wr_buf_json_string(out, model);
  put_str(out, ",\"content\":[");
  if (text) {
    put_str(out, "{\"type\":\"text\",\"text\":");
    wr_buf_json_string(out, *text);
    put_str(out, "}");
  }
  wr_buf_printf(out,
                "],\"stop_reason\":%s,\"stop_sequence\":null,\"usage\":{\"input_tokens\":0,"
                "\"output_tokens\":0}}",
                text ? "\"end_turn\"" : "null");
}

static void anthropic_stream(struct wr_buf *out, struct wr_span model, struct wr_span text,
                             uint64_t id) {
  put_str(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
  anthropic_message(out, model, NULL, id);
  put_str(out, "}\n\nevent: content_block_start\ndata: "
               "{\"type\":\"content_block_start\",\"index\":0,"
               "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
               "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
               "\"delta\":{\"type\":\"text_delta\",\"text\":");
  wr_buf_json_string(out, text);
  put_str(out, "}}\n\nevent: content_block_stop\ndata: "
               "{\"type\":\"content_block_stop\",\"index\":0}\n\n"
               "event: message_delta\ndata: "
               "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\","
               "\"stop_sequence\":null},\"usage\":{\"output_tokens\":0}}\n\n"
               "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void ollama_line(struct wr_buf *out, struct wr_span model, struct wr_span text) {
  put_str(out, "{\"model\":");
  wr_buf_json_string(out, model);
  put_str(out, ",\"created_at\":\"1970-01-01T00:00:00Z\",\"message\":{\"role\":\"assistant\","
               "\"content\":");
  wr_buf_json_string(out, text);
  put_str(out, "},\"response\":");
  wr_buf_json_string(out, text);
  put_str(out, ",\"done\":true,\"done_reason\":\"stop\"}");
}

void wr_reply_answer(struct wr_buf *out, enum wr_dialect dialect, bool stream, struct wr_span model,
                     struct wr_span text, uint64_t id, uint64_t unix_s) {
  WR_DCHECK(!out->overflow);
  if (dialect == WR_DIALECT_RESPONSES) {
    if (stream) responses_stream(out, model, text, id, unix_s);
    else responses_object(out, model, &text, id, unix_s);
  } else if (dialect == WR_DIALECT_ANTHROPIC) {
    if (stream) anthropic_stream(out, model, text, id);
    else anthropic_message(out, model, &text, id);
  } else if (dialect == WR_DIALECT_OLLAMA) {
    ollama_line(out, model, text);
    if (stream) put_str(out, "\n");
  } else {
    if (stream) chat_stream(out, model, text, id, unix_s);
    else chat_document(out, model, text, id, unix_s);
  }
}

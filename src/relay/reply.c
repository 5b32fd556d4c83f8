#include "relay/reply.h"

#include <inttypes.h>
#include <time.h>

#include "base/check.h"
#include "wire/sse_write.h"

static const char *openai_type(unsigned status) {
  if (status == 401) return "authentication_error";
  if (status == 403) return "permission_error";
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

static const char *anthropic_type(unsigned status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    case 504: return "timeout_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

static void put_str(struct wr_buf *out, const char *s) { wr_buf_put(out, wr_span_str(s)); }

static void openai_error(struct wr_buf *out, unsigned status, struct wr_span code,
                         struct wr_span message) {
  put_str(out, "{\"error\":{\"message\":");
  wr_buf_json_string(out, message);
  wr_buf_printf(out, ",\"type\":\"%s\",\"param\":null,\"code\":", openai_type(status));
  if (code.len)
    wr_buf_json_string(out, code);
  else
    put_str(out, "null");
  put_str(out, "}}");
}

static void anthropic_error(struct wr_buf *out, unsigned status, struct wr_span message) {
  wr_buf_printf(
      out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", anthropic_type(status));
  wr_buf_json_string(out, message);
  put_str(out, "}}");
}

static void ollama_error(struct wr_buf *out, struct wr_span message) {
  put_str(out, "{\"error\":");
  wr_buf_json_string(out, message);
  put_str(out, "}");
}

void wr_reply_error_body(struct wr_buf *out, enum wr_dialect dialect, unsigned status,
                         struct wr_span code, struct wr_span message) {
  WR_DCHECK(status >= 400 && status <= 599);
  if (dialect == WR_DIALECT_ANTHROPIC)
    anthropic_error(out, status, message);
  else if (dialect == WR_DIALECT_OLLAMA)
    ollama_error(out, message);
  else
    openai_error(out, status, code, message);
}

void wr_reply_error_event(struct wr_buf *out, enum wr_dialect dialect, unsigned status,
                          struct wr_span code, struct wr_span message, uint64_t sequence) {
  WR_DCHECK(status >= 400 && status <= 599 && !out->overflow);
  switch (dialect) {
    case WR_DIALECT_CHAT:
      put_str(out, "data: ");
      openai_error(out, status, code, message);
      put_str(out, "\n\n");
      break;
    case WR_DIALECT_RESPONSES:
      put_str(out, "event: error\ndata: {\"type\":\"error\",\"code\":");
      wr_buf_json_string(out, code);
      put_str(out, ",\"message\":");
      wr_buf_json_string(out, message);
      wr_buf_printf(out, ",\"param\":null,\"sequence_number\":%" PRIu64 "}\n\n", sequence);
      break;
    case WR_DIALECT_ANTHROPIC:
      put_str(out, "event: error\ndata: ");
      anthropic_error(out, status, message);
      put_str(out, "\n\n");
      break;
    case WR_DIALECT_OLLAMA:
      ollama_error(out, message);
      put_str(out, "\n");
      break;
    case WR_DIALECT_NONE:
    case WR_DIALECTS:
      break;
  }
}

struct wr_span wr_reply_stream_type(enum wr_dialect dialect) {
  return dialect == WR_DIALECT_OLLAMA ? WR_SPAN("application/x-ndjson")
                                      : WR_SPAN("text/event-stream; charset=utf-8");
}

struct wr_span wr_reply_heartbeat(enum wr_dialect dialect) {
  if (dialect == WR_DIALECT_OLLAMA) return wr_span_make(NULL, 0);
  return dialect == WR_DIALECT_ANTHROPIC ? WR_SSE_ANTHROPIC_PING : WR_SSE_HEARTBEAT;
}

/* A policy's reason in the words of the dialect; what the dialect doesn't know is a content
 * filter. */
static struct wr_span chat_reason(struct wr_span reason) {
  if (wr_span_eq(reason, WR_SPAN("length"))) return WR_SPAN("length");
  return WR_SPAN("content_filter");
}

static bool has_usage(const struct wr_reply_ending *e) {
  return e->input_tokens >= 0 && e->output_tokens >= 0;
}

/* What was used, in OpenAI's two spellings. */
static void put_usage(struct wr_buf *out, const char *member, const char *in, const char *made,
                      const struct wr_reply_ending *e) {
  put_str(out, member);
  if (has_usage(e))
    wr_buf_printf(out,
                  "{\"%s_tokens\":%" PRId64 ",\"%s_tokens\":%" PRId64
                  ",\"total_tokens\":%" PRId64 "}",
                  in, e->input_tokens, made, e->output_tokens,
                  e->input_tokens + e->output_tokens);
  else
    put_str(out, "null");
}

/* RFC 3339. */
static void put_time(struct wr_buf *out, uint64_t unix_s) {
  struct tm tm;
  time_t t = (time_t)unix_s;
  char text[32];
  size_t n = gmtime_r(&t, &tm) ? strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) : 0;
  wr_buf_put(out, wr_span_make(text, n));
}

static void ending_chat(struct wr_buf *out, const struct wr_reply_ending *e) {
  if (!e->finished) {
    put_str(out, "data: {\"id\":");
    wr_buf_json_string(out, e->id);
    put_str(out, ",\"object\":\"chat.completion.chunk\"");
    wr_buf_printf(out, ",\"created\":%" PRIu64 ",\"model\":", e->created);
    wr_buf_json_string(out, e->model);
    put_str(out, ",\"choices\":[");
    uint32_t open = e->open_choices ? e->open_choices : 1u;
    for (unsigned i = 0; open; i++, open >>= 1) {
      if (!(open & 1u)) continue;
      wr_buf_printf(out, "{\"index\":%u,\"delta\":{},\"logprobs\":null,\"finish_reason\":", i);
      wr_buf_json_string(out, chat_reason(e->reason));
      put_str(out, open > 1 ? "}," : "}");
    }
    put_str(out, "]");
    put_usage(out, ",\"usage\":", "prompt", "completion", e);
    put_str(out, "}\n\n");
  }
  wr_buf_put(out, WR_SSE_DONE);
}

static void ending_responses(struct wr_buf *out, const struct wr_reply_ending *e) {
  put_str(out, "event: response.incomplete\ndata: "
               "{\"type\":\"response.incomplete\",\"response\":{\"id\":");
  wr_buf_json_string(out, e->id);
  put_str(out, ",\"object\":\"response\",\"status\":\"incomplete\",\"error\":null,\"incomplete_"
               "details\":{\"reason\":");
  bool length = wr_span_eq(e->reason, WR_SPAN("length"));
  wr_buf_json_string(out, length ? WR_SPAN("max_output_tokens") : WR_SPAN("content_filter"));
  put_str(out, "},\"model\":");
  wr_buf_json_string(out, e->model);
  put_str(out, ",\"output\":[]");
  put_usage(out, ",\"usage\":", "input", "output", e);
  wr_buf_printf(out, "},\"sequence_number\":%" PRIu64 "}\n\n", e->sequence);
}

static void ending_anthropic(struct wr_buf *out, const struct wr_reply_ending *e) {
  if (!e->finished) {
    if (e->open_block >= 0)
      wr_buf_printf(out,
                    "event: content_block_stop\ndata: "
                    "{\"type\":\"content_block_stop\",\"index\":%" PRId64 "}\n\n",
                    e->open_block);
    bool length = wr_span_eq(e->reason, WR_SPAN("length"));
    wr_buf_printf(out,
                  "event: message_delta\ndata: "
                  "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%s\","
                  "\"stop_sequence\":null},\"usage\":{\"output_tokens\":%" PRId64 "}}\n\n",
                  length ? "max_tokens" : "refusal", e->output_tokens < 0 ? 0 : e->output_tokens);
  }
  put_str(out, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void ending_ollama(struct wr_buf *out, const struct wr_reply_ending *e) {
  put_str(out, "{\"model\":");
  wr_buf_json_string(out, e->model);
  put_str(out, ",\"created_at\":\"");
  put_time(out, e->unix_s);
  put_str(out, "\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},");
  put_str(out, "\"response\":\"\",\"done\":true,\"done_reason\":");
  wr_buf_json_string(out, chat_reason(e->reason));
  if (has_usage(e))
    wr_buf_printf(out, ",\"prompt_eval_count\":%" PRId64 ",\"eval_count\":%" PRId64,
                  e->input_tokens, e->output_tokens);
  put_str(out, "}\n");
}

void wr_reply_ending(struct wr_buf *out, enum wr_dialect dialect, const struct wr_reply_ending *e) {
  WR_DCHECK(!out->overflow && e->output_tokens >= -1 && e->input_tokens >= -1);
  switch (dialect) {
    case WR_DIALECT_CHAT: ending_chat(out, e); break;
    case WR_DIALECT_RESPONSES: ending_responses(out, e); break;
    case WR_DIALECT_ANTHROPIC: ending_anthropic(out, e); break;
    case WR_DIALECT_OLLAMA: ending_ollama(out, e); break;
    case WR_DIALECT_NONE:
    case WR_DIALECTS: break;
  }
}

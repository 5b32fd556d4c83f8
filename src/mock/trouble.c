#include "mock/trouble.h"

const char *wr_mock_trouble_text(unsigned status) {
  switch (status) {
    case 400: return "the request is malformed";
    case 401: return "incorrect API key provided";
    case 403: return "this key may not do that";
    case 404: return "there is no such thing here";
    case 413: return "the request is too large";
    case 429: return "rate limit reached; try again in 1s";
    case 503: return "the server is overloaded; try again later";
    case 529: return "overloaded";
    default:
      return status >= 500 ? "the server had an error while processing the request" : "refused";
  }
}

static const char *openai_type(unsigned status) {
  if (status == 429) return "rate_limit_exceeded";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

static const char *anthropic_type(unsigned status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503:
    case 529: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

static void put_string_or_null(const char *text, struct wr_buf *out) {
  if (text != NULL)
    wr_buf_json_string(out, wr_span_str(text));
  else
    wr_buf_put(out, WR_SPAN("null"));
}

void wr_mock_trouble_body(enum wr_mock_dialect dialect, unsigned status, const char *message,
                          const char *param, const char *code, uint64_t request_id,
                          struct wr_buf *out) {
  switch (dialect) {
    case WR_MOCK_MESSAGES:
      wr_buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":",
                    anthropic_type(status));
      wr_buf_json_string(out, wr_span_str(message));
      wr_buf_put(out, WR_SPAN("},\"request_id\":\"req_"));
      wr_buf_hex(out, request_id, 16);
      wr_buf_put(out, WR_SPAN("\"}"));
      return;
    case WR_MOCK_OLLAMA_CHAT:
    case WR_MOCK_OLLAMA_GENERATE:
      wr_buf_put(out, WR_SPAN("{\"error\":"));
      wr_buf_json_string(out, wr_span_str(message));
      wr_buf_char(out, '}');
      return;
    default:
      wr_buf_put(out, WR_SPAN("{\"error\":{\"message\":"));
      wr_buf_json_string(out, wr_span_str(message));
      wr_buf_printf(out, ",\"type\":\"%s\",\"param\":", openai_type(status));
      put_string_or_null(param, out);
      wr_buf_put(out, WR_SPAN(",\"code\":"));
      put_string_or_null(code, out);
      wr_buf_put(out, WR_SPAN("}}"));
  }
}

struct wr_span wr_mock_trouble_event(enum wr_mock_dialect dialect, uint32_t sequence,
                                     struct wr_buf *out) {
  switch (dialect) {
    case WR_MOCK_RESPONSES:
      wr_buf_printf(
          out,
          "{\"type\":\"error\",\"sequence_number\":%u,\"error\":{\"type\":\"server_error\","
          "\"code\":\"server_error\",\"message\":\"the dam broke\",\"param\":null}}",
          sequence);
      return WR_SPAN("error");
    case WR_MOCK_MESSAGES:
      wr_buf_put(out, WR_SPAN("{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
                              "\"message\":\"Overloaded\"}}"));
      return WR_SPAN("error");
    case WR_MOCK_OLLAMA_CHAT:
    case WR_MOCK_OLLAMA_GENERATE: wr_buf_put(out, WR_SPAN("{\"error\":\"the dam broke\"}")); break;
    default:
      wr_buf_put(out, WR_SPAN("{\"error\":{\"message\":\"the dam broke\",\"type\":\"server_error\","
                              "\"param\":null,\"code\":null}}"));
  }
  return wr_span_make(NULL, 0);
}

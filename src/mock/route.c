#include "mock/route.h"

struct row {
  const char *path; /* static */
  enum wr_mock_place place;
  enum wr_mock_dialect dialect;
  bool post;
};

static const struct row rows[] = {
  { "/v1/chat/completions", WR_MOCK_AT_ANSWER, WR_MOCK_CHAT, true },
  { "/v1/responses", WR_MOCK_AT_ANSWER, WR_MOCK_RESPONSES, true },
  { "/v1/messages", WR_MOCK_AT_ANSWER, WR_MOCK_MESSAGES, true },
  { "/v1/messages/count_tokens", WR_MOCK_AT_COUNT, WR_MOCK_MESSAGES, true },
  { "/api/chat", WR_MOCK_AT_ANSWER, WR_MOCK_OLLAMA_CHAT, true },
  { "/api/generate", WR_MOCK_AT_ANSWER, WR_MOCK_OLLAMA_GENERATE, true },
  { "/v1/embeddings", WR_MOCK_AT_EMBEDDINGS, WR_MOCK_CHAT, true },
  { "/v1/models", WR_MOCK_AT_MODELS, WR_MOCK_CHAT, false },
  { "/api/tags", WR_MOCK_AT_TAGS, WR_MOCK_OLLAMA_CHAT, false },
  { "/api/version", WR_MOCK_AT_VERSION, WR_MOCK_OLLAMA_CHAT, false },
  { "/health", WR_MOCK_AT_HEALTH, WR_MOCK_CHAT, false },
  { "/", WR_MOCK_AT_HEALTH, WR_MOCK_CHAT, false },
};

static bool path_is(struct wr_span path, struct wr_span row) {
  if (wr_span_eq(path, row)) return true;
  struct wr_span v1 = WR_SPAN("/v1");
  return wr_span_starts(row, v1) && wr_span_eq(path, wr_span_sub(row, v1.len, row.len - v1.len));
}

static enum wr_mock_dialect dialect_of(struct wr_span path, bool anthropic) {
  if (anthropic || wr_span_starts(path, WR_SPAN("/v1/messages"))) return WR_MOCK_MESSAGES;
  return wr_span_starts(path, WR_SPAN("/api/")) ? WR_MOCK_OLLAMA_CHAT : WR_MOCK_CHAT;
}

struct wr_mock_route wr_mock_route_find(enum wr_method method, struct wr_span path,
                                        bool anthropic) {
  struct wr_mock_route route = { WR_MOCK_AT_NOTHING, dialect_of(path, anthropic), false };
  if (method == WR_METHOD_OPTIONS) {
    route.place = WR_MOCK_AT_OPTIONS;
    return route;
  }
  bool reads = method == WR_METHOD_GET || method == WR_METHOD_HEAD;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if (!path_is(path, wr_span_str(rows[i].path))) continue;
    bool fits = rows[i].post ? method == WR_METHOD_POST : reads;
    route.place = fits ? rows[i].place : WR_MOCK_AT_OTHER_METHOD;
    route.post = rows[i].post;
    if (rows[i].place != WR_MOCK_AT_MODELS) route.dialect = rows[i].dialect;
    return route;
  }
  if (reads && wr_span_starts(path, WR_SPAN("/v1/models/"))) route.place = WR_MOCK_AT_MODEL;
  return route;
}
